"""The command that prints a prediction as SQL for another engine. Only click is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from foretable import options

if TYPE_CHECKING:
    import duckdb

DIALECTS = ("postgres", "sqlite", "spark", "bigquery", "snowflake", "trino", "duckdb")


@click.command("compile")
@click.argument("prediction")
@click.option("--dialect", type=click.Choice(DIALECTS), required=True, help="The engine that will run it.")
@click.option(
    "--from",
    "relation",
    metavar="RELATION",
    help="Where the keys and features are read: a table, or a SELECT in brackets.  [default: examples__PREDICTION]",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write to a file, not to the screen."
)
@options.warehouse
@options.debug
def compile_command(prediction: str, dialect: str, relation: str | None, out: Path | None, warehouse: Path) -> None:
    """Print the version that serves as one plain SELECT for another engine: keys and features in, score out.

    It needs nothing of foretable there, neither a macro nor a table of the model: trees or weights, categories and
    calibration stand in the text. The relation needs the entity, as_of and every feature as a column of that name.
    Trees, logistic, mlp and ensembles of them can be compiled; of a model over sequences publish the table of scores.

    \b
    Examples:
        foretable compile purchase_30d --dialect postgres
        foretable compile purchase_30d --dialect sqlite --from features --out purchase_30d.sql
        foretable compile churn_30d --dialect postgres --from "(select *, current_date as as_of from users_now)"
        foretable compile churn_30d --dialect postgres --from shop.features | psql shop
    """
    from foretable.project import Refusal
    from foretable.query import open_reader

    if out is not None and not out.absolute().parent.is_dir():
        raise Refusal(f"no folder {out.absolute().parent} to write {out.name} to; make it first")
    with open_reader(warehouse) as con:
        text = _compiled(con, prediction, dialect, relation or f"examples__{prediction}")
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        click.echo(f"{len(text.encode()):,} bytes of {dialect} in {out}", err=True)


def _compiled(con: duckdb.DuckDBPyConnection, prediction: str, dialect: str, relation: str) -> str:
    """The text, headed by what it was made of."""
    from ibis_features.errors import NotFoundError
    from models_ml.artifact import unpack
    from models_ml.registry import active_model, has_registry, read_artifact
    from udfs.portable import compile_select

    active = active_model(con, prediction) if has_registry(con) else None
    if active is None:
        raise NotFoundError(
            f"no version of a prediction '{prediction}' serves; `foretable predictions` lists those that do, and "
            "`foretable build` trains"
        )
    fitted = unpack(read_artifact(con, prediction, active.version), expected_sha256=active.sha256)
    head = f"-- {prediction}, version {active.version} ({active.model}), sha256 {active.sha256}: SQL of {dialect}\n"
    return head + compile_select(fitted, dialect, relation=relation)
