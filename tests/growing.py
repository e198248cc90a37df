"""A shop whose rows come day by day, late, repeated and corrected ones among them, and what its warehouse holds."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

START = datetime(2025, 1, 1)
TYPES = ("view", "view", "view", "cart", "purchase", "search", "click", "remove", "impression", "return")
QUERIES = ("red shoes", "Red  Shoes", "hat", "coat", None)
BODIES = ("a great thing, works well and looks good", "broken on arrival, very bad", "fine", None)
BESIDE_TABLES = ("foretable", "changes", "information_schema", "pg_catalog")
"""Schemas that hold how a table came to be, not what it holds."""

Row = dict[str, Any]
TEXT, INSTANT, NUMBER, WHOLE = pa.string(), pa.timestamp("us"), pa.float64(), pa.int64()
COLUMNS = {
    "events": {
        **dict.fromkeys(("event_id", "user_id", "session_id", "event_type", "item_id", "query", "channel"), TEXT),
        **dict.fromkeys(("device", "campaign_id", "order_id"), TEXT),
        **dict.fromkeys(("occurred_at", "loaded_at"), INSTANT),
        **dict.fromkeys(("price", "quantity", "duration_seconds"), NUMBER),
    },
    "users": {
        **dict.fromkeys(("user_id", "gender", "city", "region"), TEXT),
        **dict.fromkeys(("registered_at", "updated_at"), INSTANT),
        "birth_year": WHOLE,
    },
    "items": {
        **dict.fromkeys(("item_id", "title", "category_id", "brand"), TEXT),
        **dict.fromkeys(("listed_at", "updated_at"), INSTANT),
        "price": NUMBER,
    },
    "reviews": {
        **dict.fromkeys(("review_id", "user_id", "item_id", "body"), TEXT),
        **dict.fromkeys(("created_at", "updated_at", "loaded_at"), INSTANT),
        "rating": NUMBER,
    },
    "campaigns": {
        **dict.fromkeys(("campaign_id", "kind"), TEXT),
        **dict.fromkeys(("starts_at", "ends_at", "updated_at"), INSTANT),
        "discount": NUMBER,
    },
}


def at(days: float) -> datetime:
    return START + timedelta(days=days)


def make_shop(seed: int, days: int, *, has_loaded_at: bool) -> dict[str, list[Row]]:
    """The rows of each contract table; `arrives` says from when on a row is there."""
    draw = random.Random(seed)
    shop = {
        "events": _events(draw, days),
        "users": _users(),
        "items": _items(),
        "reviews": _reviews(draw, days),
        "campaigns": _campaigns(),
    }
    for table in ("events", "reviews"):
        for row in shop[table]:
            row["loaded_at"] = row["arrives"] if has_loaded_at else None
    return shop


def _events(draw: random.Random, days: int) -> list[Row]:
    """Late ones, redelivered ones, corrected ones, near copies, and some that cannot be used."""
    rows: list[Row] = []
    for number in range(days * 14):
        occurred = START + timedelta(seconds=draw.randrange(days * 86400))
        arrives = occurred + timedelta(minutes=draw.choice((0, 1, 30)))
        if draw.random() < 0.12:
            arrives += timedelta(hours=draw.randrange(70))
        row = {
            "event_id": f"e{number}" if draw.random() < 0.8 else None,
            "user_id": f"u{draw.randrange(12)}",
            "session_id": f"s{occurred:%j}" if draw.random() < 0.5 else None,
            "event_type": draw.choice(TYPES) if draw.random() < 0.98 else "dance",
            "item_id": f"i{draw.randrange(10)}" if draw.random() < 0.8 else None,
            "occurred_at": occurred,
            "price": draw.choice((None, 5.0, 7.25)),
            "quantity": draw.choice((None, 1.0, 3.0)),
            "duration_seconds": draw.choice((None, 12.5)),
            "query": draw.choice(QUERIES),
            "channel": draw.choice((None, "ads", "mail")),
            "device": draw.choice((None, "phone", "desk")),
            "campaign_id": draw.choice((None, "spring")),
            "arrives": arrives,
        }
        rows.append(row)
        if draw.random() < 0.08:
            later = arrives + timedelta(hours=draw.randrange(60))
            changes = draw.choice(({}, {"price": 99.5}, {"item_id": "i1"}, {"event_type": "purchase"}))
            rows.append({**row, **changes, "arrives": later})
        if draw.random() < 0.08:
            near = occurred + timedelta(seconds=draw.randrange(90))
            new_id = f"near{number}"
            rows.append({**row, "event_id": new_id, "occurred_at": near, "arrives": max(arrives, near)})
        if draw.random() < 0.05:
            rows += _knot(draw, {**row, "event_id": f"knot{number}", "item_id": "i2"})
    return rows


def _knot(draw: random.Random, row: Row) -> list[Row]:
    """Copies of one event, near and without id, a row that bridges two of them, and corrections, on any days."""
    occurred = row["occurred_at"]
    given: list[Row] = [
        {},
        {"price": 42.0},
        {"occurred_at": occurred + timedelta(seconds=5)},
        {"event_id": None},
        {"event_id": None},
        {"event_id": None, "price": 42.0},
        {"event_id": row["event_id"] + "b", "occurred_at": occurred + timedelta(seconds=40)},
        {"event_id": row["event_id"] + "c", "occurred_at": occurred + timedelta(seconds=90)},
        {"event_id": row["event_id"] + "d", "item_id": None, "event_type": "search"},
        {"event_id": None, "item_id": None, "event_type": "search"},
    ]
    return [
        {**row, **changes, "arrives": occurred + timedelta(minutes=2, hours=draw.randrange(70))}
        for changes in draw.sample(given, draw.randrange(2, len(given)))
    ]


def _users() -> list[Row]:
    first = [
        {"user_id": f"u{n}", "gender": "fm"[n % 2], "city": f"city {n % 3}", "region": "north", "birth_year": 1970 + n,
         "registered_at": at(n - 20), "updated_at": None if n % 2 else at(n - 20), "arrives": at(n - 20)}
        for n in range(11)
    ]  # fmt: skip
    return [
        *first,
        {**first[1], "region": "south", "updated_at": at(30), "arrives": at(45)},  # known long after
        {**first[2], "region": "west", "updated_at": at(44), "arrives": at(44)},
        {**first[3], "region": "east", "updated_at": at(51), "arrives": at(65)},
        {**first[4], "city": "city 9", "arrives": at(55)},  # a second row of the same version
        {**first[0], "user_id": "u11", "updated_at": at(-3), "arrives": at(50)},  # nothing was known before
        {**first[0], "user_id": None, "arrives": at(42)},
    ]


def _items() -> list[Row]:
    first = [
        {"item_id": f"i{n}", "title": f"thing {n}", "category_id": f"c{n % 3}", "brand": f"b{n % 2}",
         "price": None if n == 1 else 10.0 + n, "listed_at": at(-5), "updated_at": at(-5), "arrives": at(-5)}
        for n in range(8)
    ]  # fmt: skip
    return [
        *first,
        {**first[2], "category_id": "c0", "updated_at": at(33), "arrives": at(47)},
        {**first[4], "price": 3.5, "updated_at": at(8), "arrives": at(40.5)},  # before the first snapshot
        {**first[0], "item_id": "i8", "listed_at": at(30), "updated_at": None, "arrives": at(46)},
        {**first[3], "price": 77.0, "brand": "b9", "updated_at": at(50), "arrives": at(65)},
        {**first[5], "price": -1.0, "updated_at": at(43), "arrives": at(43)},
    ]


def _reviews(draw: random.Random, days: int) -> list[Row]:
    """Late ones, changed ones, copies, near copies, and some that cannot be used."""
    rows: list[Row] = []
    for number in range(days * 2):
        created = START + timedelta(seconds=draw.randrange(days * 86400))
        arrives = created + timedelta(hours=draw.choice((0, 0, 0, 50)))
        row = {
            "review_id": f"r{number}",
            "user_id": f"u{draw.randrange(12)}",
            "item_id": f"i{draw.randrange(8)}",
            "rating": float(draw.randrange(1, 6)) if draw.random() < 0.95 else 9.0,
            "body": draw.choice(BODIES),
            "created_at": created,
            "updated_at": None,
            "arrives": arrives,
        }
        rows.append(row)
        later = arrives + timedelta(hours=draw.randrange(1, 200))
        if draw.random() < 0.15:
            rows.append({**row, "rating": 1.0, "body": "no longer good", "updated_at": later, "arrives": later})
        if draw.random() < 0.1:
            rows.append({**row, "review_id": f"copy{number}", "arrives": later})
        if draw.random() < 0.1 and row["body"]:
            near = {"body": row["body"] + "!", "created_at": later, "arrives": later}
            rows.append({**row, "review_id": f"near{number}", **near})
    return rows


def _campaigns() -> list[Row]:
    def campaign(name: str, kind: str, starts: float, planned: float | None, arrives: float) -> Row:
        return {
            **{"campaign_id": name, "kind": kind, "discount": 0.2, "starts_at": at(starts), "ends_at": at(starts + 6)},
            **{"updated_at": None if planned is None else at(planned), "arrives": at(arrives)},
        }

    return [
        campaign("spring", "promotion", 20, 5, 5),
        campaign("radio", "ad", 35, None, 35),
        campaign("radio", "ad", 38, 36, 44),  # put off, and known late
        campaign("easter", "holiday", 58, None, 55),
        campaign("summer", "promotion", 66, 52, 65),
        {**campaign("broken", "ad", 50, None, 50), "discount": float("nan")},
    ]


def write_shop(folder: Path, shop: dict[str, list[Row]], until: datetime, shuffled: random.Random) -> None:
    """The files that lie there at an instant, rows in any order."""
    folder.mkdir(exist_ok=True)
    for table, rows in shop.items():
        there = [row for row in rows if row["arrives"] < until]
        shuffled.shuffle(there)
        pq.write_table(table_of(table, there), folder / f"{table}.parquet")


def table_of(table: str, rows: Sequence[Row]) -> pa.Table:
    return pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in COLUMNS[table].items()})


def tables_of(warehouse: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every table and view: its columns and their types, then its rows in an order that only their content decides."""
    with duckdb.connect(str(warehouse), read_only=True) as con:
        names = con.execute(
            "select format('{}.{}', table_schema, table_name) from information_schema.tables "
            "where not list_contains($beside, table_schema) order by 1",
            {"beside": BESIDE_TABLES},
        ).fetchall()
        return {
            name: [
                *con.execute(f"select column_name, column_type from (describe {name})").fetchall(),
                *con.execute(f"select * from {name} order by all").fetchall(),
            ]
            for (name,) in names
        }


def empty_tables(warehouse: Path) -> set[str]:
    with duckdb.connect(str(warehouse), read_only=True) as con:
        return {name for name in tables_of(warehouse) if not con.execute(f"select 1 from {name} limit 1").fetchall()}


def assert_equal_tables(one: dict[str, list[tuple[Any, ...]]], other: dict[str, list[tuple[Any, ...]]]) -> None:
    assert one.keys() == other.keys()
    different = [name for name in other if repr(one[name]) != repr(other[name])]
    sample = {name: [row for row in one[name] if repr(row) not in map(repr, other[name])][:2] for name in different}
    assert not different, f"{different}: {sample}"


def rebuilt_models(warehouse: Path) -> set[str]:
    """The models that the last run built anew."""
    with duckdb.connect(str(warehouse), read_only=True) as con:
        rows = con.execute(
            "select model from foretable.builds where is_rebuilt and run_id = "
            "(select arg_max(run_id, build_number) from foretable.builds)"
        )
        return {name for (name,) in rows.fetchall()}
