"""The command line. Only click is imported here: `--help` is instant; everything else where it is used."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from foretable import options
from foretable.compile import compile_command
from foretable.export import export
from foretable.features import features
from foretable.lifecycle import compare, import_command, promote, retire, rollback, shadow, versions
from foretable.load.command import load
from foretable.publish.command import publish
from foretable.reading import predictions, sql
from foretable.report import report
from foretable.runs import backfill, build, cross_validate, demo, plan
from foretable.serving.command import serve
from foretable.simulating import simulate
from foretable.superset.command import superset
from foretable.ui.command import ui

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
    *(demo, simulate, load, build, plan, backfill, cross_validate),
    *(features, sql, predictions, report, publish, serve, ui, superset, export, compile_command),
    *(versions, promote, rollback, compare, shadow, retire, import_command),
):
    main.add_command(command)
