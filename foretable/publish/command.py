"""The command `foretable publish`. Only click is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from foretable import options

if TYPE_CHECKING:
    from rich.console import Console

    from foretable.publish.publishing import Publication

MODES = ("drop", "hash", "keep")
KEEP = 3


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The published file.  [default: WAREHOUSE_published.duckdb beside the warehouse]",
)
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    default=KEEP,
    show_default=True,
    metavar="N",
    help="How many of the builds before stay, in a folder beside the file.",
)
@click.option(
    "--personal",
    type=click.Choice(MODES),
    default=MODES[0],
    show_default=True,
    help="What becomes of columns that the dbt project tags as personal.",
)
@click.option(
    "--parquet", type=click.Path(path_type=Path), metavar="FOLDER", help="Also as Parquet files, one a table."
)
@click.option(
    "--to", "address", metavar="ADDRESS", help="Also into Postgres: postgresql://USER:PASSWORD@HOST/DATABASE."
)
@click.option("--schema", default="public", show_default=True, metavar="NAME", help="Postgres: into which schema.")
@options.warehouse
@options.debug
def publish(
    out: Path | None,
    keep: int,
    personal: str,
    parquet: Path | None,
    address: str | None,
    schema: str,
    warehouse: Path,
) -> None:
    """Publish the last build as one DuckDB file for BI tools: marts, scores, monitoring, and the macros of scores.

    The file is written anew, its macros are compared with its scores, and it takes the place of the old one in one
    step: nobody waits, and nobody sees half a build. Where nothing has changed since, it stays as it is. `from
    _published` says which build it is. It is for reading alone, and needs no Python.

    \b
    Examples:
        foretable publish
        foretable sql "select user_id, purchase_score from mart__users limit 5" --file warehouse_published.duckdb
        foretable publish --out shared/shop.duckdb --keep 10
        foretable publish --personal hash                personal columns as hashes that only this warehouse makes
        foretable publish --parquet lake/shop            lake/shop/latest/pred__purchase_30d.parquet
        foretable publish --to 'postgresql://writer:${PGPASSWORD}@host/bi' --schema shop

    `foretable build` publishes by itself, by the defaults; switch it off with --no-publish or the var `publish: false`.
    """
    from foretable.screen import make_console

    console = make_console()
    published = _publish(warehouse, out, keep=keep, personal=personal)
    _show(console, published)
    if parquet is not None:
        from foretable.publish.lake import write_parquet

        folder = write_parquet(published.file, parquet, keep=keep)
        console.print(f"As Parquet in {folder}.", markup=False, soft_wrap=True)
    if address is not None:
        count = _to_postgres(published.file, address, schema)
        console.print(f"{count} tables in the schema {schema} of Postgres.", markup=False)


def publish_after(console: Console, warehouse: Path) -> None:
    """Publish what a build has made, by the defaults; a warehouse without scores and marts has nothing to publish."""
    from foretable.publish.publishing import has_something

    if has_something(warehouse):
        _show(console, _publish(warehouse, None, keep=KEEP, personal=MODES[0]))


def _publish(warehouse: Path, out: Path | None, *, keep: int, personal: str) -> Publication:
    from foretable.build import state_folder
    from foretable.project import check_warehouse
    from foretable.publish.publishing import publish as publish_build
    from ibis_features.errors import NotFoundError

    warehouse = check_warehouse(warehouse)
    if not warehouse.is_file():
        raise NotFoundError(f"no warehouse at {warehouse}; build one with `foretable build` or `foretable demo`")
    target = out.absolute() if out else warehouse.with_name(f"{warehouse.stem}_published.duckdb")
    return publish_build(warehouse, target, state=state_folder(warehouse), keep=keep, personal=personal)


def _to_postgres(published: Path, address: str, schema: str) -> int:
    from importlib.util import find_spec

    from foretable.load.credentials import Credentials
    from foretable.project import Refusal

    if find_spec("psycopg") is None:
        raise Refusal("publishing into Postgres needs psycopg: pip install 'foretable[load]'")
    from foretable.publish.postgres import write_postgres

    return write_postgres(published, address, Credentials(), schema=schema)


def _show(console: Console, published: Publication) -> None:
    from foretable.results import shown_path

    for macro, reason in published.left_out.items():
        console.print(f"Not published: scores.{macro}, since {reason}.", markup=False, soft_wrap=True)
    for table, columns in published.dropped.items():
        console.print(
            f"Left out of {table} as personal: {', '.join(columns)}. --personal keep publishes them.",
            markup=False,
            soft_wrap=True,
        )
    holds = f"{len(published.tables)} tables and {len(published.macros)} macros"
    compared = f", {published.compared:,} of their scores compared" if published.is_new or published.compared else ""
    did = "Published in {}:" if published.is_new else "{} is up to date:"
    console.print(
        f"{did.format(shown_path(published.file))} {holds}{compared}; build {published.build_id}.",
        markup=False,
        soft_wrap=True,
    )
