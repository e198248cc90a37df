"""The commands that read a warehouse: `foretable sql` and `foretable predictions`. Only click is imported here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from foretable import options

FORMATS = ("table", "csv", "json", "parquet")
ROWS_SHOWN = 50


@click.command()
@click.argument("query")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write to a file; Parquet needs one."
)
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most so many rows.")
@click.option(
    "--file", "published", type=click.Path(path_type=Path), metavar="FILE", help="Ask a published file instead."
)
@options.warehouse
@options.debug
def sql(query: str, form: str, out: Path | None, limit: int | None, published: Path | None, warehouse: Path) -> None:
    """Run SQL on the warehouse, read-only. With `-` the SQL is read from standard input.

    pred__x are the scores, features__user what they were made from, scores.x(features) and score_x(features) score any
    row with those columns, and explain_x(features) gives the reasons. Of a published file (foretable publish) only its
    own tables and macros can be asked: SQL that writes, attaches, reads other files, loads extensions or changes
    settings is refused.

    \b
    Examples:
        foretable sql "select user_id, score from pred__purchase_30d order by score desc limit 5"
        foretable sql "select user_id, score_purchase_30d(features) from features__user as features limit 5"
        foretable sql "select user_id, explain_churn_30d(features)[1].sentence from features__user as features limit 5"
        foretable sql "from pred__churn_30d" --format csv --out churn.csv
        foretable sql - < question.sql
        foretable sql "from mart__users" --file warehouse_published.duckdb
    """
    from foretable import query as queries
    from foretable.project import Refusal

    text = sys.stdin.read() if query == "-" else query
    if form == "parquet" and out is None:
        raise Refusal("Parquet goes to a file; name it with --out FILE")
    if out is not None and not out.absolute().parent.is_dir():
        raise Refusal(f"no folder {out.absolute().parent} to write {out.name} to; make it first")
    with queries.open_reader(published or warehouse) as con:
        _register(con)
        cursor = queries.run_query(con, text, limit)
        if form == "parquet":
            assert out is not None
            rows = queries.write_parquet(cursor, out)
            click.echo(f"{rows:,} rows in {out}", err=True)
        elif form in {"csv", "json"}:
            write = queries.write_csv if form == "csv" else queries.write_json
            if out is None:
                write(cursor, sys.stdout)
            else:
                with out.open("w", encoding="utf-8", newline="") as file:
                    write(cursor, file)
        else:
            _show_rows(cursor, out)


@click.command()
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@options.warehouse
@options.debug
def predictions(form: str, warehouse: Path) -> None:
    """List what is trained: on which rows, how good on the test snapshots beside its baselines, and what is scored.

    \b
    Examples:
        foretable predictions
        foretable predictions --format json
    """
    import csv
    import json

    from foretable.predictions import has_state, list_predictions
    from foretable.query import json_value, open_reader
    from ibis_features.errors import NotFoundError

    with open_reader(warehouse) as con:
        if not has_state(con):
            raise NotFoundError(f"{warehouse} holds no predictions; train some with `foretable build`")
        rows = list_predictions(con)
    if form == "json":
        click.echo(json.dumps([{name: json_value(value) for name, value in row.items()} for row in rows], indent=2))
    elif form == "csv":
        writer = csv.DictWriter(sys.stdout, list(rows[0]) if rows else ["prediction"], lineterminator="\n")
        writer.writeheader()
        writer.writerows([{name: json_value(value) for name, value in row.items()} for row in rows])
    else:
        from foretable.results import show_predictions
        from foretable.screen import make_console

        show_predictions(make_console(), rows)


def _register(con: Any) -> None:
    """score_x and explain_x for every prediction; a file without any is still worth asking."""
    from models_ml.registry import has_registry
    from udfs import register

    if has_registry(con):
        register(con)


def _show_rows(cursor: Any, out: Path | None) -> None:
    from rich.console import Console

    from foretable.query import some_rows
    from foretable.screen import make_console, show_rows

    names, rows, has_more = some_rows(cursor, ROWS_SHOWN)
    if out is None:
        show_rows(make_console(), rows, columns=names)
    else:
        with out.open("w", encoding="utf-8") as file:
            show_rows(Console(file=file, highlight=False), rows, columns=names)
    more = f"the first {ROWS_SHOWN} rows; write all of them with --format csv --out FILE"
    click.echo(more if has_more else f"{len(rows)} row{'s' if len(rows) != 1 else ''}", err=True)
