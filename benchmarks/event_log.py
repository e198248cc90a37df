"""A large log of a shop, for measurements: `python -m benchmarks.event_log FOLDER --events 1000000`.

Unlike the simulated shop it has no truth to learn, but 30 million rows take minutes: numbers come from NumPy a day
at a time, text and Parquet from DuckDB. Users are heavy-tailed (50 events each on average), items and categories
follow Zipf's law, sessions follow a funnel. One row in a hundred is delivered twice, one in a hundred is a second
click within two seconds, and one in fifty comes up to ten days late. Files are in the order of `loaded_at`, and the
last one holds exactly the rows that were loaded on the last day.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import duckdb
import numpy as np
import pyarrow as pa

FIRST_DAY = "2024-02-01"
DAYS = 330
DAY_US = 86_400_000_000
EVENTS_A_USER = 50
EVENTS_A_SESSION = 5
ROWS_A_FILE = 1_000_000
REDELIVERED = 0.01
CLICKED_TWICE = 0.01
LATE = 0.02

EVENT_TYPES = ["view", "search", "cart", "remove", "favourite", "purchase", "return", "click", "impression", "share"]
# The share of each type where a session starts and where it ends.
AT_START = [0.60, 0.17, 0.05, 0.01, 0.03, 0.01, 0.00, 0.07, 0.05, 0.01]
AT_END = [0.50, 0.08, 0.16, 0.03, 0.04, 0.10, 0.01, 0.05, 0.02, 0.01]

# One file's numbers as rows of the raw contract.
EVENTS_SQL = f"""
    select
        md5('{{seed}}-' || event_number) as event_id,
        'u' || lpad(user_number::varchar, 8, '0') as user_id,
        's' || lpad(session_number::varchar, 10, '0') as session_id,
        {EVENT_TYPES}[type_number + 1] as event_type,
        case when not is_search then 'i' || lpad(item_number::varchar, 7, '0') end as item_id,
        make_timestamp(occurred_us) as occurred_at,
        make_timestamp(loaded_us) as loaded_at,
        case when is_purchase then 1 + item_number % 3 end::double as quantity,
        case when not is_search then cents / 100.0 end::double as price,
        case when type_number = 0 then duration_ms / 1000.0 end::double as duration_seconds,
        case when is_search then 'words ' || item_number % 500 end as query,
        ['direct', 'search', 'mail', 'social', 'ad'][1 + session_number % 5] as channel,
        ['mobile', 'desktop', 'tablet'][1 + user_number % 3] as device,
        case when session_number % 20 = 0 then 'c' || session_number % 40 end as campaign_id,
        case when is_purchase then 'o' || session_number end as order_id
    from (select *, type_number = 1 as is_search, type_number = 5 as is_purchase from batch)
"""
ITEMS_SQL = """
    select
        'i' || lpad(item_number::varchar, 7, '0') as item_id,
        'Item ' || item_number as title,
        'k' || lpad(category_number::varchar, 3, '0') as category_id,
        'b' || item_number % 200 as brand,
        (cents / 100.0)::double as price
    from items
"""

Columns: TypeAlias = dict[str, np.ndarray]  # column name to values, all of one length


@dataclass(frozen=True)
class World:
    """What does not change from day to day. Users are numbered in the order they join."""

    joined_on: np.ndarray  # (users,) day
    reach: np.ndarray  # (users,) running sum of how active each user is
    item_reach: np.ndarray  # (items,) running sum of how popular each item is
    item_categories: np.ndarray  # (items,)
    item_cents: np.ndarray  # (items,)


def write_log(folder: Path, *, events: int, seed: int = 7, days: int = DAYS, two_times: bool = True) -> Path:
    """Write `events/*.parquet` (about `events` rows, copies included) and `items.parquet` of the raw contract.

    Without `two_times` there is no loaded_at and nothing is late. A folder that holds a whole log already is left as it
    is. Returns the folder.
    """
    if (folder / "items.parquet").exists():
        return folder
    (folder / "events").mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    world = _world(random, events, days)
    select = EVENTS_SQL.format(seed=seed)
    if not two_times:
        select = f"select * exclude (loaded_at) from ({select})"
    with duckdb.connect(config={"threads": 2}) as con:
        for number, batch in enumerate(_files(_days(random, world, events, days), days)):
            con.register("batch", pa.table(batch))
            con.execute(f"copy ({select}) to '{folder}/events/{number:05d}.parquet' (format parquet)")
            con.unregister("batch")
        items = {"item_number": np.arange(len(world.item_cents)), "category_number": world.item_categories}
        con.register("items", pa.table({**items, "cents": world.item_cents}))
        con.execute(f"copy ({ITEMS_SQL}) to '{folder}/items.parquet' (format parquet)")
    return folder


def last_file(folder: Path) -> Path:
    """The file that holds the rows loaded on the last day."""
    return max((folder / "events").glob("*.parquet"))


def _world(random: np.random.Generator, events: int, days: int) -> World:
    users = max(events // EVENTS_A_USER, 20)
    items = max(users // 4, 500)
    categories = 60
    category_weights = 1.0 / np.arange(1, categories + 1)
    return World(
        joined_on=np.sort(np.where(random.random(users) < 0.4, 0, random.integers(0, days, users))),
        reach=np.cumsum(random.lognormal(0.0, 1.2, users)),
        item_reach=np.cumsum(random.permutation(1.0 / np.arange(1, items + 1) ** 0.8)),
        item_categories=random.choice(categories, items, p=category_weights / category_weights.sum()),
        item_cents=(100 * random.lognormal(3.0, 0.9, items)).astype(np.int64) + 99,
    )


def _days(random: np.random.Generator, world: World, events: int, days: int) -> Iterator[Columns]:
    """Each day's events with their copies; a row is loaded on the day itself or later."""
    fresh_a_day = events / (1 + REDELIVERED + CLICKED_TWICE) / days
    midnight = _first_us()
    event_number = session_number = 0
    for day in range(days):
        lengths = random.geometric(1 / EVENTS_A_SESSION, max(int(random.poisson(fresh_a_day / EVENTS_A_SESSION)), 1))
        columns = _sessions(random, world, day, lengths)
        rows = len(columns["user_number"])
        columns["event_number"] = event_number + np.arange(rows)
        columns["session_number"] += session_number
        columns["occurred_us"] += midnight
        delay = random.exponential(180e6, rows).astype(np.int64)
        delay += np.where(random.random(rows) < LATE, random.integers(DAY_US // 24, 10 * DAY_US, rows), 0)
        columns["loaded_us"] = columns["occurred_us"] + delay
        yield _with_copies(random, columns, event_number + rows)
        event_number += 2 * rows
        session_number += len(lengths)
        midnight += DAY_US


def _sessions(random: np.random.Generator, world: World, day: int, lengths: np.ndarray) -> Columns:
    """The events of one day's sessions, `lengths` events each; occurred_us counts from midnight."""
    rows = int(lengths.sum())
    session = np.repeat(np.arange(len(lengths)), lengths)
    first = np.cumsum(lengths) - lengths
    place = np.arange(rows) - first[session]
    joined = max(int(np.searchsorted(world.joined_on, day, side="right")), 1)
    user = np.searchsorted(world.reach[:joined], random.random(len(lengths)) * world.reach[joined - 1])
    # Sessions start between 7 and 22 o'clock, most of them in the evening.
    start = (7 + 15 * random.beta(2.6, 1.6, len(lengths))) * 3_600e6
    running = np.cumsum(random.exponential(45e6, rows) + 3e6)
    occurred = start[session] + running - running[first][session]
    towards_end = np.minimum(place / 8, 1)[:, None]
    thresholds = (1 - towards_end) * np.cumsum(AT_START) + towards_end * np.cumsum(AT_END)
    event_type = (random.random(rows)[:, None] > thresholds[:, :-1]).sum(axis=1)
    item = np.searchsorted(world.item_reach, random.random(rows) * world.item_reach[-1])
    stays_with_item = (random.random(rows) < 0.4) & (place > 0)
    item = item[np.maximum.accumulate(np.where(stays_with_item, 0, np.arange(rows)))]
    discount = random.choice([1.0, 1.0, 1.0, 0.9, 0.75], rows)
    return {
        "user_number": user[session],
        "session_number": session,
        "type_number": event_type,
        "item_number": item,
        "cents": (world.item_cents[item] * discount).astype(np.int64),
        "duration_ms": (random.lognormal(2.6, 0.9, rows) * 1_000).astype(np.int64),
        "occurred_us": occurred.astype(np.int64),
    }


def _with_copies(random: np.random.Generator, day: Columns, next_number: int) -> Columns:
    """The day's rows, some a second time as they are, some again within two seconds under a number of their own."""
    rows = len(day["event_number"])
    again = np.flatnonzero(random.random(rows) < REDELIVERED)
    twice = np.flatnonzero((random.random(rows) < CLICKED_TWICE) & (day["type_number"] != EVENT_TYPES.index("search")))
    redelivered = {name: column[again] for name, column in day.items()}
    redelivered["loaded_us"] = redelivered["loaded_us"] + random.integers(0, DAY_US // 24, len(again))
    clicked = {name: column[twice] for name, column in day.items()}
    gap = random.integers(100_000, 1_900_000, len(twice))
    clicked["occurred_us"] = clicked["occurred_us"] + gap
    clicked["loaded_us"] = clicked["loaded_us"] + gap
    clicked["event_number"] = next_number + np.arange(len(twice))
    return {name: np.concatenate([column, redelivered[name], clicked[name]]) for name, column in day.items()}


def _files(days: Iterator[Columns], last_day: int) -> Iterator[Columns]:
    """Rows in the order they are loaded, in batches of whole days; the last batch is the last day's alone."""
    waiting: Columns = {}
    ready: list[Columns] = []
    for number, day in enumerate(days, start=1):
        rows = {name: np.concatenate([waiting[name], column]) for name, column in day.items()} if waiting else day
        is_loaded = rows["loaded_us"] < _first_us() + number * DAY_US
        order = np.flatnonzero(is_loaded)[np.argsort(rows["loaded_us"][is_loaded], kind="stable")]
        waiting = {name: column[~is_loaded] for name, column in rows.items()}
        ready.append({name: column[order] for name, column in rows.items()})
        if number >= last_day - 1 or sum(len(part["loaded_us"]) for part in ready) >= ROWS_A_FILE:
            yield {name: np.concatenate([part[name] for part in ready]) for name in ready[0]}
            ready = []


def _first_us() -> int:
    return int(np.datetime64(FIRST_DAY, "us").astype(np.int64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=1_000_000, help="rows, copies included (1000000)")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    print(write_log(options.folder, events=options.events, seed=options.seed))


if __name__ == "__main__":
    main()
