"""The simulated shop: a raw log with known dirt, and the true probability of what comes next.

    from foretable.simulate import simulate
    manifest = simulate(Path("shop"), users=500, days=120, seed=1)

A shop is seven files: the five tables of the raw contract as Parquet, `truth.parquet` (for each user with an event
before as_of, at each midnight from day 30 on: the true probability of a purchase, and of no event at all, in the
30 days from as_of, given all that is hidden), and `manifest.json` (how many rows of each kind there are, exactly).
Dirt adds rows and takes fields away; it never removes an event, so that the truth holds for the cleaned log.

    world   the calendar, the items, and the users with their hidden traits
    lives   what users do day by day, and what is true of it
    log     sessions as events; reviews
    dirt    duplicates, late arrivals, rows to reject, missing fields
    tables  Parquet
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["FILES", "Manifest", "simulate"]

FILES = (
    "events.parquet", "users.parquet", "items.parquet", "reviews.parquet", "campaigns.parquet", "truth.parquet",
    "manifest.json",
)  # fmt: skip
SHORTEST_DAYS = 60


@dataclass(frozen=True)
class Manifest:
    """What a shop holds. rows = clean + the sum of duplicates + the sum of quarantine."""

    seed: int
    users: int
    days: int
    start: str  # midnight of the first day, UTC
    end: str  # midnight after the last day
    counts: dict[str, int]  # rows per Parquet file, by table
    rows: int  # raw events
    clean: int  # events that remain after cleaning
    duplicates: dict[str, int]  # rows to drop: the same event_id again, a copy without one, within two seconds
    quarantine: dict[str, int]  # rows to reject, by reason
    late: int  # kept rows that were loaded two hours or more after they occurred
    missing: dict[str, int]  # kept rows that lost a field they would otherwise have
    change_at: int | None = None  # the day from which on users behave otherwise

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


def simulate(
    out: Path,
    *,
    users: int = 5000,
    days: int = 330,
    seed: int = 7,
    change_at: int | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Manifest:
    """Write a simulated shop into the folder `out`. The same arguments give the same bytes.

    A shop that is already there is replaced, once the new one is whole.

    Args:
        out: folder to write; its parents are made.
        users: at least 1; 5000 users over 330 days give about half a million events.
        days: at least 60, from 2025-01-01 on.
        seed: not negative.
        change_at: the day, counted from 0, from which on users behave otherwise and the truth with them: less traffic,
            and whoever was keen to buy is not. Who comes when and buys is the same before.
        progress: is called with the name of a step and the share of it that is done.

    Raises:
        ValueError: an argument is out of range.
        FileExistsError: `out` holds something other than a simulated shop.
    """
    if users < 1:
        raise ValueError(f"users is {users}; a shop needs at least 1 user")
    if days < SHORTEST_DAYS:
        raise ValueError(
            f"days is {days}; a shop needs at least {SHORTEST_DAYS} days: 30 to look back, 30 to look ahead"
        )
    if seed < 0:
        raise ValueError(f"seed is {seed}; a seed is 0 or more")
    if change_at is not None and not 0 < change_at < days:
        raise ValueError(f"change_at is {change_at}; the change has to come within the {days} days, at day 1 or later")
    out = Path(out).absolute()
    _refuse_to_replace_anything_else(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        manifest = _write_shop(partial, users, days, seed, change_at, progress or (lambda step, done: None))
        partial.chmod(0o755)  # mkdtemp's folders are private
        _replace(out, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _write_shop(
    folder: Path,
    user_count: int,
    days: int,
    seed: int,
    change_at: int | None,
    progress: Callable[[str, float], None],
) -> Manifest:
    import numpy as np

    from foretable.simulate import dirt, lives, log, tables, world

    def step(name: str) -> Callable[[float], None]:
        progress(name, 0.0)
        return lambda done: progress(name, done)

    # A generator per part, so that a change to one leaves the draws of the others as they are.
    calendar, items, users = (
        world.make_calendar(days, np.random.default_rng((seed, 0))),
        world.make_items(user_count, days, np.random.default_rng((seed, 1))),
        world.make_users(user_count, days, np.random.default_rng((seed, 2))),
    )
    if change_at is not None:
        users, calendar = world.change(users, calendar, change_at)
    sessions, history = lives.live(
        users, calendar, days=days, rng=np.random.default_rng((seed, 3)), progress=step("living")
    )
    clean, reviews = log.make_events(users, items, calendar, sessions, seed=seed)
    events, kinds = dirt.soil(clean, np.random.default_rng((seed, 6)))

    writing = step("writing events")
    registers = np.flatnonzero(clean["type"] == log.TYPE_CODE["register"])
    registered = users.registered * log.DAY_MS + 43_200_000
    registered[clean["user"][registers]] = clean["occurred"][registers]
    item_count, campaign_count = len(items.price), len(calendar.campaigns)
    rng = np.random.default_rng((seed, 7))
    counts = {}
    for name, table in {
        "events": lambda: tables.events_table(events, user_count, item_count, campaign_count),
        "users": lambda: tables.users_table(users, registered, days, rng),
        "items": lambda: tables.items_table(items, days, rng),
        "reviews": lambda: tables.reviews_table(reviews, user_count, item_count),
        "campaigns": lambda: tables.campaigns_table(calendar),
    }.items():
        counts[name] = tables.write(table(), folder / f"{name}.parquet")
    writing(1.0)
    truth = lives.true_probabilities(users, calendar, sessions, history, progress=step("working out the truth"))
    counts["truth"] = tables.write(tables.truth_table(truth, user_count), folder / "truth.parquet")
    manifest = Manifest(
        seed=seed,
        users=user_count,
        days=days,
        start=str(np.datetime64(world.START, "s")).replace("T", " "),
        end=str(np.datetime64(world.START, "s") + np.timedelta64(days, "D")).replace("T", " "),
        counts=counts,
        rows=counts["events"],
        clean=kinds.clean,
        duplicates=kinds.duplicates,
        quarantine=kinds.quarantine,
        late=kinds.late,
        missing=kinds.missing,
        change_at=change_at,
    )
    (folder / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _refuse_to_replace_anything_else(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise FileExistsError(f"{out} is a file; name a folder for the shop")
    others = sorted(each.name for each in out.iterdir() if each.name not in FILES)
    if others:
        raise FileExistsError(f"{out} holds {others[0]!r}, which is no part of a simulated shop; name another folder")


def _replace(out: Path, partial: Path) -> None:
    if out.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        out.rename(old / "shop")
        partial.rename(out)
        shutil.rmtree(old)
    else:
        partial.rename(out)
