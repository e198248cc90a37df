"""The command `foretable simulate`, and the same for the demo. Only click is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from foretable import options

if TYPE_CHECKING:
    from rich.console import Console


@click.command()
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

    write_simulated(make_console(), users, days, seed, out, change_at)


def write_simulated(
    console: Console, users: int, days: int, seed: int, out: Path, change_at: int | None = None
) -> None:
    """Write the shop with progress, and show what was written; raises Refusal where it cannot be."""
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
