"""The command `foretable load`. Only click is imported here."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foretable import options

if TYPE_CHECKING:
    from rich.console import Console

    from foretable.load.run import Report

FORMATS = ("parquet", "csv", "jsonl", "xml")
PAGING = ("none", "page", "offset", "cursor", "next", "link")
SHOWN = 20


def _pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE or 'NAME: VALUE' as the option's name asks for."""
    sign = ":" if parameter.name == "headers" else "="
    pairs = {}
    for value in values:
        name, found, rest = value.partition(sign)
        if not found or not name.strip():
            expected = "'NAME: VALUE'" if sign == ":" else "NAME=VALUE"
            raise click.BadParameter(f"write it as {expected}", context, parameter)
        pairs[name.strip()] = rest.strip()
    return pairs


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--table", metavar="NAME", help="Into which table of the schema raw.  [default: by name, else events]")
@options.warehouse
@click.option("--format", "form", type=click.Choice(FORMATS), help="What the files are.  [default: by their endings]")
@click.option("--record-tag", metavar="TAG", help="XML: the element that is one row.")
@click.option("--from", "origin", metavar="TABLE", help="Postgres: the table or view, such as public.events.")
@click.option("--cursor", metavar="COLUMN", help="API, Postgres: a column that only grows; what is new comes after it.")
@click.option("--since", metavar="VALUE", help="API, Postgres: where in --cursor the first load starts.")
@click.option("--paging", type=click.Choice(PAGING), help="API: how it gives its pages.")
@click.option("--page-param", metavar="NAME", help="API: the parameter of the page.  [default: page, offset or cursor]")
@click.option("--first-page", type=int, default=1, show_default=True, help="API: the number of the first page.")
@click.option(
    "--next",
    "next_path",
    metavar="PATH",
    help="API: where the body names the next page.  [default: next_cursor or next]",
)
@click.option("--records", metavar="PATH", help="API: where the body has the rows, as in data.items.")
@click.option(
    "--since-param", metavar="NAME", help="API: the parameter that asks for rows since --cursor's last value."
)
@click.option("--param", "params", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="API: a parameter.")
@click.option("--header", "headers", multiple=True, callback=_pairs, metavar="'NAME: VALUE'", help="API: a header.")
@click.option(
    "--batch-rows",
    type=click.IntRange(min=1),
    default=20_000,
    show_default=True,
    help="API, Postgres: rows a transaction.",
)
@click.option("--again", is_flag=True, help="Load files that changed once more, an API or a table from its start.")
@options.debug
def load(
    sources: tuple[str, ...],
    table: str | None,
    warehouse: Path,
    form: str | None,
    record_tag: str | None,
    origin: str | None,
    cursor: str | None,
    since: str | None,
    paging: str | None,
    page_param: str | None,
    first_page: int,
    next_path: str | None,
    records: str | None,
    since_param: str | None,
    params: dict[str, str],
    headers: dict[str, str],
    batch_rows: int,
    again: bool,
) -> None:
    """Put raw rows into the warehouse: files, XML logs, a REST API, a Postgres table. A second load adds what is new.

    \b
    Examples: files and folders (.parquet, .csv, .jsonl, .xml, and .gz of the last three); each file is loaded once:
        foretable load logs/                             tomorrow again: only new files are read
        foretable load users.csv --table users
        foretable load export.xml.gz --record-tag event

    \b
    A REST API, by its pages; secrets come from the environment, where ${NAME} stands:
        foretable load https://shop.example/api/events --paging page --header 'Authorization: Bearer ${TOKEN}'
        foretable load https://shop.example/api/events --paging cursor --next meta.next --cursor id --since-param after
        foretable load https://shop.example/api/users --paging link --param per_page=100 --table users

    \b
    A table of Postgres, by a column that only grows:
        foretable load 'postgresql://reader:${PGPASSWORD}@host/shop' --from public.events --cursor id
        foretable load '${SHOP_DATABASE}' --from orders --cursor updated_at --since 2025-01-01 --table orders

    \b
    Then:
        foretable build --vars '{raw_schema: raw}'

    Every load is recorded in foretable.loads. A load that is interrupted keeps what it had committed; the next goes on.
    """
    from foretable.load.run import Order, run_load
    from foretable.project import check_warehouse
    from foretable.screen import make_console, make_screen

    order = Order(
        sources=sources,
        warehouse=check_warehouse(warehouse),
        table=table,
        format=form,
        record_tag=record_tag,
        origin=origin,
        cursor=cursor,
        since=since,
        paging=paging,
        records=records,
        page_param=page_param,
        first_page=first_page,
        next_path=next_path,
        since_param=since_param,
        params=params,
        headers=headers,
        batch_rows=batch_rows,
        again=again,
    )
    console = make_console()
    screen = make_screen(console)
    try:
        report = run_load(order, screen)
    finally:
        screen.close()
    _show(console, report, warehouse)
    if report.failures:
        sys.stdout.flush()
        for place, text in report.failures:
            click.echo(f"Error: {text if place in text else f'{place}: {text}'}", err=True)
        raise click.exceptions.Exit(1)


def _show(console: Console, report: Report, warehouse: Path) -> None:
    from foretable.screen import show_table

    rows = [
        {
            "from": load.file or load.place,
            "table": f"raw.{load.table}",
            "rows": f"{load.row_count:,}",
            "rejected": f"{load.rejected_count:,}",
        }
        for load in report.loads
    ]
    if rows:
        show_table(console, "Loaded", rows[:SHOWN], right=["rows", "rejected"])
    if len(rows) > SHOWN:
        console.print(
            f"and {len(rows) - SHOWN:,} more; all of them: foretable sql 'from foretable.loads'", markup=False
        )
    for known in report.known[:SHOWN]:
        console.print(f"{known.file.name}: {known.text}", markup=False)
    if len(report.known) > SHOWN:
        console.print(f"and {len(report.known) - SHOWN:,} more that were loaded already", markup=False)
    console.print(f"{report.row_count:,} rows added in {report.seconds:.1f} s", markup=False)
    if report.loads:
        named = "" if warehouse == Path("warehouse.duckdb") else f" --warehouse {shlex.quote(str(warehouse))}"
        console.print(f"Next: foretable build{named} --vars '{{raw_schema: raw}}'", markup=False, soft_wrap=True)
