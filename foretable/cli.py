"""The command line. Only click is imported here: `--help` is instant; everything else where it is used."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foretable import options
from foretable.compile import compile_command
from foretable.export import export
from foretable.features import features
from foretable.lifecycle import compare, promote, retire, rollback, shadow, versions
from foretable.load.command import load
from foretable.publish.command import publish, publish_after
from foretable.reading import predictions, sql
from foretable.report import report
from foretable.serving.command import serve
from foretable.superset.command import superset
from foretable.ui.command import ui

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import Console

    from foretable.build import Order, Report

INTERRUPTED = 130


class Commands(click.Group):
    """Turns whatever is raised into one plain line and an exit code; --debug shows the traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException):
            raise
        except (KeyboardInterrupt, click.Abort):
            click.echo("Interrupted; what was not finished is as it was before.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # who read the output has gone
            raise click.exceptions.Exit(1) from None
        except Exception as error:
            if ctx.meta.get(options.DEBUG):
                raise
            from foretable.sentences import plain_exception

            raise click.ClickException(plain_exception(error)) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="foretable", message="%(prog)s %(version)s")
@options.debug
def main() -> None:
    """Turn the event log in a warehouse into predictions that anyone can select.

    \b
    See it work, in an empty folder, within minutes:
        foretable demo
        foretable sql "select user_id, score from pred__purchase_30d order by score desc limit 5"

    \b
    Then with a log of your own (events.parquet, .csv or .jsonl in a folder):
        foretable build --data FOLDER
        foretable predictions
        foretable report

    \b
    With tables that have names of their own, start a dbt project for them:
        foretable init my_shop && cd my_shop && foretable build

    All state is in one DuckDB file, warehouse.duckdb: name another with --warehouse or FORETABLE_WAREHOUSE.
    """


@main.command()
@options.shop
@click.option(
    "--change-at",
    type=int,
    metavar="DAY",
    help="From this day on, counted from 0, users behave otherwise: less traffic, and who was keen to buy is not.",
)
@options.debug
def simulate(users: int, days: int, seed: int, out: Path, change_at: int | None) -> None:
    """Write a simulated shop: a raw log with known dirt, and the true probability of what comes next.

    \b
    Examples:
        foretable simulate
        foretable simulate --users 200 --days 220 --out small
        foretable build --data small
        foretable simulate --change-at 240               a shop on which models grow old
    """
    from foretable.screen import make_console

    _simulate(make_console(), users, days, seed, out, change_at)


@main.command()
@options.order
@click.option(
    "--selector",
    metavar="NAME",
    help="Build what a selector of the project's selectors.yml names: cleaning, features, training, scoring, marts.",
)
@click.option("--full-refresh", is_flag=True, help="Build and train everything anew.")
@click.option(
    "--tests/--no-tests", "is_tested", default=True, show_default=True, help="Test the tables that are built."
)
@click.option(
    "--publish/--no-publish",
    "is_published",
    default=None,
    help="Publish what was built, as `foretable publish` does.  [default: publish, unless the var publish is false]",
)
@options.debug
def build(selector: str | None, full_refresh: bool, is_tested: bool, is_published: bool | None, **chosen: Any) -> None:
    """Clean the log, compute features, train what has changed, and score: dbt build.

    A model with materialized='prediction' is trained when its SELECT, its config or its training rows have changed.
    Where something fails, the tables and predictions of before stay as they are. What was built is published beside the
    warehouse, for BI tools.

    \b
    Examples:
        foretable build --data FOLDER                    events.parquet, .csv or .jsonl, by the contract's names
        foretable build --source online_retail --data FOLDER
        foretable build --train never                    score the newest rows with the models of before
        foretable build --promote always                 even where a model is no better than recency alone
        foretable build --select +pred__churn_30d        one prediction and all it needs
        foretable build --selector scoring --train never
        foretable build --vars '{max_price: 5000}'
        foretable build --project-dir my_shop
    """
    order = _order(selector=selector, full_refresh=full_refresh, is_tested=is_tested, **chosen)
    report = _build(order)
    if order.is_published if is_published is None else is_published:
        publish_after(_build_console(), report.warehouse)


@main.command()
@options.order
@options.debug
def plan(**chosen: Any) -> None:
    """Say what a build would train and why, on which rows, and what that took last time. Nothing is trained or scored.

    It looks at the features and labels as the last build left them: what new rows of the log will change, only a build
    can tell.

    \b
    Examples:
        foretable plan
        foretable plan --select pred__churn_30d
        foretable plan --train always
    """
    from foretable.build import run_build
    from foretable.predictions import PREDICTIONS
    from foretable.results import show_plan
    from foretable.screen import make_screen

    order = _order(**chosen)
    _refuse_locked(order.warehouse)
    nodes = [node for nodes in order.select for node in nodes.split()]
    select = tuple(f"{node},{PREDICTIONS}" for node in nodes) or (PREDICTIONS,)
    planned = replace(order, select=select, is_tested=False, is_plan=True)
    console = _build_console()
    report = run_build(planned, make_screen(console))
    show_plan(console, report)
    _leave_if_failed(report)


@main.command("cross-validate")
@click.argument("prediction")
@click.option("--folds", type=click.IntRange(min=2), default=3, show_default=True, help="How many trainings.")
@options.warehouse
@options.debug
def cross_validate(prediction: str, folds: int, warehouse: Path) -> None:
    """Train and judge a prediction as if the log had ended earlier, several times. What serves stays as it is.

    Each fold is split as a training is, on a longer history than the fold before it; the newest as the next training
    will be. The test snapshots of two folds lie a horizon apart. The figures stay in foretable.cross_validation.

    \b
    Examples:
        foretable cross-validate churn_30d
        foretable cross-validate churn_30d --folds 5
    """
    from foretable.build import order_again, run_build
    from foretable.cross_validation import show_folds
    from foretable.predictions import PREDICTIONS, folds_of
    from foretable.project import check_warehouse
    from foretable.query import open_reader
    from foretable.screen import make_screen

    order = order_again(check_warehouse(warehouse), "cross-validate")
    _refuse_locked(warehouse)
    asked = replace(order, select=(f"pred__{prediction},{PREDICTIONS}",), is_tested=False, folds=folds)
    console = _build_console()
    report = run_build(asked, make_screen(console))
    _leave_if_failed(report)
    with open_reader(report.warehouse) as con:
        show_folds(console, prediction, folds_of(con, report.run_id))


@main.command()
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), required=True, metavar="DATE", help="First as_of.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), required=True, metavar="DATE", help="Last as_of.")
@options.warehouse
@options.debug
def backfill(first: datetime, last: datetime, warehouse: Path) -> None:
    """Add the snapshots of a range of the past to features, sequences and labels, with the settings of the last build.

    Only what is missing is computed, a batch of snapshots at a time: after an interruption the same command goes on
    where it was. The next build trains on the new snapshots too.

    \b
    Examples:
        foretable backfill --from 2025-01-01 --to 2025-03-31
        foretable backfill --from 2025-01-01 --to 2025-01-31 --warehouse shop.duckdb
    """
    from foretable.backfill import backfill_order, snapshot_count

    _refuse_locked(warehouse)
    report = _build(backfill_order(warehouse, first.date(), last.date()))
    count = snapshot_count(report.warehouse, first.date(), last.date())
    click.echo(f"{count:,} snapshot{'s lie' if count != 1 else ' lies'} in {first:%Y-%m-%d} to {last:%Y-%m-%d}.")


@main.command()
@options.shop
@options.warehouse
@options.debug
def demo(users: int, days: int, seed: int, out: Path, warehouse: Path) -> None:
    """Simulate a shop, build everything, and show who is likely to buy and why to trust it.

    A second run takes the shop and the models that are there.

    \b
    Examples:
        foretable demo
        foretable demo --users 300 --days 220            smaller and quicker
    """
    from foretable.build import Order
    from foretable.demo import is_same_shop, refuse_foreign_warehouse
    from foretable.project import check_warehouse, find_project, packaged_project
    from foretable.results import show_demo

    warehouse = check_warehouse(warehouse)
    refuse_foreign_warehouse(warehouse, out)
    console = _build_console()
    if is_same_shop(out, users, days, seed):
        console.print(f"The shop in {out} is the one asked for.", markup=False)
    else:
        _simulate(console, users, days, seed, out)
    # A shop of few users has models that are no better than their baselines; the demo shows them all the same.
    report = _build(Order(project=find_project(packaged_project()), warehouse=warehouse, data=out, promote="always"))
    publish_after(console, report.warehouse)
    show_demo(console, warehouse)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", help="Of the shop: lower-case letters, digits and _.  [default: the folder's name]")
@options.debug
def init(folder: Path, name: str | None) -> None:
    """Start a dbt project for a shop of your own, with an example log that builds at once.

    \b
    Examples:
        foretable init my_shop
        cd my_shop && foretable build
        foretable init warehouse_project --name flowers
    """
    from foretable.init import init_project

    name = init_project(folder, name)
    click.echo(
        f"A dbt project for the shop '{name}' is in {folder}. Next:\n"
        f"    cd {folder}\n"
        f"    foretable build\n"
        f"then put your own log in place of data/log.csv and map it in models/{name}/{name}__events.sql; see README.md."
    )


for command in (
    *(load, features, sql, predictions, report, publish, serve, ui, superset),
    *(versions, promote, rollback, compare, shadow, retire, export, compile_command),
):
    main.add_command(command)


def _order(
    source: str | None,
    data: Path | None,
    warehouse: Path,
    vars_text: str | None,
    project_dir: Path | None,
    profiles_dir: Path | None,
    selector: str | None = None,
    **others: Any,
) -> Order:
    """What is to be built, from the options of `options.order`; raises Refusal where they do not fit."""
    from foretable.build import Order
    from foretable.project import check_data, check_selector, check_warehouse, find_project, read_yaml

    warehouse = check_warehouse(warehouse)
    project = find_project(project_dir, profiles_dir)
    if selector:
        if others["select"] or others["exclude"]:
            raise click.UsageError("--selector says all that is built; leave --select and --exclude out")
        check_selector(project, selector)
    chosen = read_yaml(vars_text, place="--vars") if vars_text else {}
    if source:
        chosen["source"] = source
    if data is not None and "data" in chosen:
        raise click.UsageError("--data and a var 'data' name the folder twice; leave one out")
    if data is None and "data" in chosen:
        data = Path(chosen.pop("data"))
    check_data(project, chosen, data)
    return Order(project=project, warehouse=warehouse, data=data, vars=chosen, selector=selector, **others)


def _build_console() -> Console:
    from foretable.screen import make_console

    return make_console()


def _simulate(console: Console, users: int, days: int, seed: int, out: Path, change_at: int | None = None) -> None:
    import time

    from foretable.project import Refusal
    from foretable.screen import make_screen, show_table
    from foretable.simulate import simulate as write_shop

    started = time.monotonic()
    screen = make_screen(console)
    try:
        screen.say(f"simulating {users:,} users over {days} days")
        manifest = write_shop(
            out,
            users=users,
            days=days,
            seed=seed,
            change_at=change_at,
            progress=lambda step, done: screen.share("simulate", step, done),
        )
    except (ValueError, FileExistsError) as error:
        raise Refusal(str(error)) from None
    finally:
        screen.close()
    seconds = time.monotonic() - started
    rows = [
        {"table": table, "file": str(out / f"{table}.parquet"), "rows": f"{count:,}"}
        for table, count in manifest.counts.items()
    ]
    show_table(console, "The simulated shop", rows, right=["rows"])
    console.print(f"{manifest.rows:,} events in {seconds:.1f} s: {manifest.rows / seconds:,.0f} events/s", markup=False)


def _build(order: Order) -> Report:
    """Build, show what came of it, and leave with exit code 1 where something failed."""
    from foretable.build import run_build
    from foretable.results import show_build
    from foretable.screen import make_screen

    console = _build_console()
    _refuse_locked(order.warehouse)
    report = run_build(order, make_screen(console))
    show_build(console, report)
    _leave_if_failed(report, "Tables and predictions that were not built anew are as they were before.")
    return report


def _leave_if_failed(report: Report, kept: str = "Nothing was changed.") -> None:
    """Say what failed, a line each, and what is as before; exit code 1."""
    from foretable.results import failure_sentences, skipped_count

    if report.is_good:
        return
    sys.stdout.flush()
    for sentence in failure_sentences(report):
        click.echo(f"Error: {sentence}", err=True)
    skipped = skipped_count(report)
    click.echo(f"{skipped} steps after it were left out. {kept}" if skipped else kept, err=True)
    raise click.exceptions.Exit(1)


def _refuse_locked(warehouse: Path) -> None:
    """Say at once that another process holds the file, or that it is no DuckDB file."""
    if warehouse.is_file():
        import duckdb

        duckdb.connect(str(warehouse)).close()
