"""The command that writes what is known of the predictions as pages to read. Only click is imported here."""

from __future__ import annotations

from pathlib import Path

import click

from foretable import options


@click.command()
@click.argument("predictions", nargs=-1, metavar="[PREDICTION]...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report"),
    show_default=True,
    metavar="FOLDER",
    help="Where the pages go; it is made where it is not there.",
)
@options.warehouse
@options.debug
def report(predictions: tuple[str, ...], out: Path, warehouse: Path) -> None:
    """Write a page for each prediction, and an index: how good it is, where it errs, and its model card.

    The pages are self-contained HTML and need no network. They show the version that serves, or the newest where none
    does. Without PREDICTION, all of them are written.

    \b
    Examples:
        foretable report
        foretable report churn_30d purchase_30d --out pages
    """
    from importlib.util import find_spec

    from foretable.project import Refusal
    from foretable.query import open_reader

    if find_spec("matplotlib") is None:
        raise Refusal("a report needs matplotlib for its pictures: pip install 'foretable[report]'")
    from foretable.reporting.facts import asked_for, read_facts
    from foretable.reporting.pages import write_pages

    with open_reader(warehouse) as con:
        asked, others = asked_for(con, predictions)
        facts = [read_facts(con, prediction) for prediction in [*asked, *others]]
    index = write_pages(out, facts[: len(asked)], facts[len(asked) :])
    count = f"{len(asked)} report{'s' if len(asked) != 1 else ''}"
    click.echo(f"{count} in {out}; open {index}")
