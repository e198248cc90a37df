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
