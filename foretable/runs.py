"""The commands that run dbt: build, plan, cross-validate, backfill and demo. Only click is imported here."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foretable import options
from foretable.publish.command import publish_after
from foretable.simulating import write_simulated

if TYPE_CHECKING:
    from datetime import datetime

    from foretable.build import Order, Report


@click.command()
@options.order
@click.option(
    "--selector",
    metavar="NAME",
    help="Build what a selector of the project's selectors.yml names: cleaning, features, training, scoring, marts, "
    "monitoring.",
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
    from foretable.screen import make_console

    order = _order(selector=selector, full_refresh=full_refresh, is_tested=is_tested, **chosen)
    report = _build(order)
    if order.is_published if is_published is None else is_published:
        publish_after(make_console(), report.warehouse)


@click.command()
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
    from foretable.screen import make_console, make_screen

    order = _order(**chosen)
    _refuse_locked(order.warehouse)
    nodes = [node for nodes in order.select for node in nodes.split()]
    select = tuple(f"{node},{PREDICTIONS}" for node in nodes) or (PREDICTIONS,)
    planned = replace(order, select=select, is_tested=False, is_plan=True)
    console = make_console()
    report = run_build(planned, make_screen(console))
    show_plan(console, report)
    _leave_if_failed(report)


@click.command("cross-validate")
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
    from foretable.screen import make_console, make_screen

    order = order_again(check_warehouse(warehouse), "cross-validate")
    _refuse_locked(warehouse)
    asked = replace(order, select=(f"pred__{prediction},{PREDICTIONS}",), is_tested=False, folds=folds)
    console = make_console()
    report = run_build(asked, make_screen(console))
    _leave_if_failed(report)
    with open_reader(report.warehouse) as con:
        show_folds(console, prediction, folds_of(con, report.run_id))


@click.command()
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


@click.command()
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
    from foretable.screen import make_console

    warehouse = check_warehouse(warehouse)
    refuse_foreign_warehouse(warehouse, out)
    console = make_console()
    if is_same_shop(out, users, days, seed):
        console.print(f"The shop in {out} is the one asked for.", markup=False)
    else:
        write_simulated(console, users, days, seed, out)
    # A shop of few users has models that are no better than their baselines; the demo shows them all the same.
    report = _build(Order(project=find_project(packaged_project()), warehouse=warehouse, data=out, promote="always"))
    publish_after(console, report.warehouse)
    show_demo(console, warehouse)


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


def _build(order: Order) -> Report:
    """Build, show what came of it, and leave with exit code 1 where something failed."""
    from foretable.build import run_build
    from foretable.results import show_build
    from foretable.screen import make_console, make_screen

    console = make_console()
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
