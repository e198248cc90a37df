"""The commands that decide which version of a prediction serves. Only click is imported here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foretable import options

if TYPE_CHECKING:
    import duckdb

VERSIONS_TO_COMPARE = 2


@click.command()
@click.argument("prediction")
@options.warehouse
@options.debug
def versions(prediction: str, warehouse: Path) -> None:
    """List the versions of a prediction, newest first: which one serves, and how good each is.

    \b
    Examples:
        foretable versions churn_30d
    """
    from foretable.predictions import list_versions
    from foretable.query import open_reader
    from foretable.results import version_summary
    from foretable.screen import make_console, show_table

    with open_reader(warehouse) as con:
        rows = list_versions(con, prediction)
    show_table(make_console(), f"Versions of {prediction}", [version_summary(row) for row in rows])


@click.command()
@click.argument("prediction")
@click.argument("version", type=click.IntRange(min=1))
@options.warehouse
@options.debug
def promote(prediction: str, version: int, warehouse: Path) -> None:
    """Let a version of a prediction serve, and score the newest rows with it.

    \b
    Examples:
        foretable versions churn_30d
        foretable promote churn_30d 3
    """
    from udfs.lifecycle import promote as promote_version

    with _open_writer(warehouse) as con:
        done = promote_version(con, prediction, version)
    click.echo(f"Version {done.version} of {prediction} serves; it scored {done.rows:,} rows.")


@click.command("import")
@click.argument("prediction")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@options.warehouse
@options.debug
def import_command(prediction: str, file: Path, warehouse: Path) -> None:
    """Take trees that were trained elsewhere in as a version of a prediction that was built.

    FILE is XGBoost's JSON, LightGBM's text, or a forest of scikit-learn saved by skops. Its features have to be called
    as numbers that the SELECT returns. The trees are calibrated, judged beside the same baselines, and serve where a
    version of the prediction's own would.

    \b
    Examples:
        foretable import churn_30d churn.json
    """
    from foretable.project import Refusal
    from udfs.importing import import_version

    if not file.is_file():
        raise Refusal(f"no file {file} to import")
    with _open_writer(warehouse) as con:
        done = import_version(con, prediction, file)
    if done.promotion:
        click.echo(f"Version {done.version} of {prediction} serves; it scored {done.promotion.rows:,} rows.")
    else:
        click.echo(
            f"Version {done.version} of {prediction} is a candidate: {done.objection}. Let it serve with "
            f"`foretable promote {prediction} {done.version}`."
        )
    click.echo("It looks better than it is on rows that it has learned from; which these are is not known here.")


@click.command()
@click.argument("prediction")
@options.warehouse
@options.debug
def rollback(prediction: str, warehouse: Path) -> None:
    """Let the version serve again that served before, and score the newest rows with it.

    The next build keeps it, until the SELECT, the config or the training rows change again.

    \b
    Examples:
        foretable rollback churn_30d
    """
    from udfs.lifecycle import roll_back

    with _open_writer(warehouse) as con:
        done = roll_back(con, prediction)
    click.echo(f"Version {done.version} of {prediction} serves again; it scored {done.rows:,} rows.")


@click.command()
@click.argument("prediction")
@click.argument("version", type=click.IntRange(min=1))
@options.warehouse
@options.debug
def retire(prediction: str, version: int, warehouse: Path) -> None:
    """Take a version that does not serve out of the candidates. Its metrics and its artifact stay.

    \b
    Examples:
        foretable retire churn_30d 2
    """
    from udfs.lifecycle import retire as retire_version

    with _open_writer(warehouse) as con:
        retire_version(con, prediction, version)
    click.echo(f"Version {version} of {prediction} is retired; `foretable promote {prediction} {version}` undoes it.")


@click.command()
@click.argument("prediction")
@click.argument("version", type=click.IntRange(min=1))
@click.option("--stop", "is_stopped", is_flag=True, help="Score it no more; what is in the log stays.")
@options.warehouse
@options.debug
def shadow(prediction: str, version: int, is_stopped: bool, warehouse: Path) -> None:
    """Score a candidate in the shadow of the version that serves: into the log alone, in this and in each later build.

    Outcomes judge its scores as they judge those that served: `foretable compare` shows both. It ends with --stop, and
    when the version is promoted or retired.

    \b
    Examples:
        foretable shadow churn_30d 3
        foretable compare churn_30d 3 1
        foretable shadow churn_30d 3 --stop
    """
    from udfs.shadow import start, stop

    with _open_writer(warehouse) as con:
        if is_stopped:
            stop(con, prediction, version)
            click.echo(f"Version {version} of {prediction} is no longer scored in the shadow.")
        else:
            rows = start(con, prediction, version)
            click.echo(
                f"Version {version} of {prediction} is scored in the shadow from now on; it scored {rows:,} rows."
            )


@click.command()
@click.argument("prediction")
@click.argument("numbers", nargs=-1, type=click.IntRange(min=1), metavar="[A B]")
@options.warehouse
@options.debug
def compare(prediction: str, numbers: tuple[int, ...], warehouse: Path) -> None:
    """Compare two versions on the newest labelled snapshot that neither has seen: the newest and the one that serves.

    Where both have scored snapshots whose outcomes are known by now, it also shows how good those scores were.

    \b
    Examples:
        foretable compare churn_30d
        foretable compare churn_30d 3 1
    """
    from foretable.predictions import realised_by_both, versions_to_compare
    from foretable.query import open_reader
    from foretable.results import comparison_summary, realised_summary
    from foretable.screen import make_console, show_table
    from ibis_features.errors import ConfigError
    from udfs.lifecycle import compare as compare_versions

    if len(numbers) not in {0, VERSIONS_TO_COMPARE}:
        raise click.UsageError("name two versions, or none for the newest and the one that serves")
    with open_reader(warehouse) as con:
        one, other = numbers or versions_to_compare(con, prediction)
        realised = realised_by_both(con, prediction, one, other)
        try:
            rows = compare_versions(con, prediction, one, other)
        except ConfigError as error:
            if not realised:
                raise
            rows = []
            click.echo(f"{error}.")
    console = make_console()
    if rows:
        title = f"{prediction} on the snapshot of {rows[0]['as_of']:%Y-%m-%d}, {rows[0]['rows']:,} rows"
        show_table(console, title, [comparison_summary(row, one, other) for row in rows])
    if realised:
        title = f"{prediction}: scores that were given, once their outcomes were known"
        show_table(console, title, [realised_summary(row, one, other) for row in realised])


@contextmanager
def _open_writer(warehouse: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse, to be changed; raises Refusal where there is none."""
    import duckdb

    from foretable.predictions import has_state
    from foretable.project import Refusal

    if not warehouse.is_file():
        raise Refusal(f"no warehouse {warehouse}; build one with `foretable build`, or name another with --warehouse")
    with duckdb.connect(str(warehouse)) as con:
        if not has_state(con):
            raise Refusal(f"{warehouse} holds no predictions; train some with `foretable build`")
        yield con
