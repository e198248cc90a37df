"""Options that several commands take. Only click is imported here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

DEBUG = "foretable.debug"

F = TypeVar("F", bound=Callable[..., Any])


def debug(function: F) -> F:
    def remember(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        ctx.find_root().meta[DEBUG] = ctx.find_root().meta.get(DEBUG, False) or value

    return click.option(
        "--debug", is_flag=True, expose_value=False, callback=remember, help="Show the traceback of an error."
    )(function)


def warehouse(function: F) -> F:
    return click.option(
        "--warehouse",
        type=click.Path(path_type=Path),
        default=Path("warehouse.duckdb"),
        show_default=True,
        envvar="FORETABLE_WAREHOUSE",
        show_envvar=True,
        metavar="FILE",
        help="The DuckDB file.",
    )(function)


def shop(function: F) -> F:
    for option in (
        click.option(
            "--out",
            type=click.Path(path_type=Path),
            default=Path("shop"),
            show_default=True,
            metavar="DIR",
            help="The shop's folder.",
        ),
        click.option("--seed", default=7, show_default=True, help="The same seed gives the same bytes."),
        click.option("--days", default=330, show_default=True, help="How many days the log covers, at least 60."),
        click.option("--users", default=5000, show_default=True, help="How many users visit the simulated shop."),
    ):
        function = option(function)
    return function


def order(function: F) -> F:
    """What is built, from what, and into which file: the arguments of `Order`."""
    for option in (
        click.option(
            "--threads", type=click.IntRange(min=1), metavar="N", help="Steps at a time.  [default: the profile's]"
        ),
        click.option(
            "--profiles-dir",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Where your profiles.yml is.  [default: the project]",
        ),
        click.option(
            "--project-dir",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Your dbt project.  [default: the current folder if it is one, else foretable's]",
        ),
        click.option(
            "--vars",
            "vars_text",
            metavar="YAML",
            help="Settings such as '{snapshot_every: 1 month, history_days: 60}'.",
        ),
        click.option(
            "--promote",
            type=click.Choice(["when_better", "always", "never"]),
            help="Whether new versions serve, over what each prediction says.  [default there: when_better]",
        ),
        click.option(
            "--train",
            type=click.Choice(["when_changed", "always", "never"]),
            default="when_changed",
            show_default=True,
            help="When to train; never only scores.",
        ),
        click.option("--exclude", multiple=True, metavar="NODES", help="Leave these out."),
        click.option(
            "--select",
            multiple=True,
            metavar="NODES",
            help="Only these, in dbt's words: pred__churn_30d, +mart__users.",
        ),
        warehouse,
        click.option(
            "--data",
            type=click.Path(path_type=Path),
            envvar="FORETABLE_DATA",
            show_envvar=True,
            metavar="FOLDER",
            help="Folder of the raw files.  [default: shop]",
        ),
        click.option(
            "--source",
            metavar="NAME",
            help="The mapping that reads the raw files: contract, online_retail, taobao, or your own.",
        ),
    ):
        function = option(function)
    return function
