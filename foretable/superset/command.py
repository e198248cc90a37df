"""The command `foretable superset`. Only click is imported here."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import click

from foretable import options


@click.command()
@click.option(
    "--file",
    "published",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("warehouse_published.duckdb"),
    show_default=True,
    metavar="FILE",
    help="The published file.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8088, show_default=True, help="On 127.0.0.1.")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where Superset keeps what it knows.  [default: .foretable/superset beside the file]",
)
@click.option(
    "--venv",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="FORETABLE_SUPERSET_VENV",
    show_envvar=True,
    metavar="FOLDER",
    help="The virtual environment that Superset is installed into.  [default: venv in the home]",
)
@click.option(
    "--password",
    envvar="FORETABLE_SUPERSET_PASSWORD",
    show_envvar=True,
    help="Of the account admin, also to set it anew.  [default: made up and shown once]",
)
@options.debug
def superset(published: Path, port: int, home: Path | None, venv: Path | None, password: str | None) -> None:
    """Show a published file in Apache Superset: installed, set up and started on this machine, with a dashboard.

    The first start installs Superset into a virtual environment of its own, which takes minutes and needs pip's index;
    later ones take seconds. The dashboard shows how the scores are spread, the likeliest buyers and those likely to
    leave with the reasons, segments, the funnel, how good the models are, and what has drifted. What is published
    anew is shown at once. A start with another release or file brings the shipped charts anew; your own stay.

    \b
    Examples:
        foretable publish && foretable superset
        foretable superset --file shared/shop.duckdb --port 9000
        FORETABLE_SUPERSET_PASSWORD=… foretable superset     a password of your own, or one that you have forgotten
    """
    from foretable.screen import make_console
    from foretable.superset.bundle import make_bundle
    from foretable.superset.environment import make_environment
    from foretable.superset.server import Superset, serve

    console = make_console()

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    published = published.absolute()
    bundle = make_bundle(published)
    home = (home or published.parent / ".foretable" / "superset").absolute()
    venv = (venv or home / "venv").absolute()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_environment(venv, home / "install.log", say)
        serve(Superset(home, venv, port), bundle, password=password, say=say)
    except KeyboardInterrupt:
        say("Superset has stopped.")


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
