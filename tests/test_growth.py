"""Tables that grow run by run are, cell by cell, the tables that one full refresh builds."""

import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import run_dbt

START = datetime(2025, 1, 1)
SETTINGS = {"history_days": 20, "near_duplicate_seconds": 60, "late_days": 3}
MODELS = ("--resource-type", "model", "--resource-type", "seed", "--exclude", "pred__*", "mart__*", "online__*")
TYPES = ("view", "view", "view", "cart", "purchase", "search", "click", "remove")

Row = dict[str, Any]


def make_log(seed: int, days: int, *, has_loaded_at: bool) -> list[Row]:
    """Events with the day on which each arrives: late ones, redelivered ones, corrected ones, near copies."""
    draw = random.Random(seed)
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
            "event_type": draw.choice(TYPES),
            "item_id": f"i{draw.randrange(9)}" if draw.random() < 0.8 else None,
            "occurred_at": occurred,
            "price": draw.choice((None, 5.0, 7.25)),
            "quantity": draw.choice((None, 1.0, 3.0)),
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
            rows += knot(draw, {**row, "event_id": f"knot{number}", "item_id": "i2"})
    for row in rows:
        row["loaded_at"] = row["arrives"] if has_loaded_at else None
    return rows


def knot(draw: random.Random, row: Row) -> list[Row]:
    """Copies of one event, near and without id, a row that bridges two, and corrections, in any order of days."""
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


def write_shop(folder: Path, rows: Iterable[Row], items: Sequence[Row]) -> None:
    folder.mkdir(exist_ok=True)
    instant, text, number = pa.timestamp("us"), pa.string(), pa.float64()
    kinds = {
        **dict.fromkeys(("event_id", "user_id", "session_id", "event_type", "item_id"), text),
        **dict.fromkeys(("occurred_at", "loaded_at"), instant),
        **dict.fromkeys(("price", "quantity"), number),
    }
    given = list(rows)
    pq.write_table(
        pa.table({name: pa.array([row[name] for row in given], kind) for name, kind in kinds.items()}),
        folder / "events.parquet",
    )
    kinds = {"item_id": text, "category_id": text, "brand": text, "price": number, "listed_at": instant}
    pq.write_table(
        pa.table({name: pa.array([row[name] for row in items], kind) for name, kind in kinds.items()}),
        folder / "items.parquet",
    )


def build(folder: Path, *arguments: str, settings: dict[str, object] | None = None) -> None:
    run = run_dbt(
        "build", *MODELS, *arguments,
        warehouse=folder / "grown.duckdb", data=folder / "shop", variables=settings or SETTINGS,
    )  # fmt: skip
    assert run.code == 0, run.output[-3000:]


def tables_of(warehouse: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every table of the project, its rows in an order that depends on nothing but their content."""
    with duckdb.connect(str(warehouse), read_only=True) as con:
        names = con.execute(
            "select table_schema || '.' || table_name from information_schema.tables "
            "where table_schema in ('main', 'staging', 'cleaning') order by 1"
        ).fetchall()
        return {name: con.execute(f"select * from {name} order by all").fetchall() for (name,) in names}


def assert_equal_tables(grown: dict[str, list[tuple[Any, ...]]], whole: dict[str, list[tuple[Any, ...]]]) -> None:
    assert grown.keys() == whole.keys()
    different = [name for name in whole if repr(grown[name]) != repr(whole[name])]
    sample = {name: [row for row in grown[name] if row not in whole[name]][:2] for name in different}
    assert not different, f"{different}: {sample}"


def rebuilt_models(warehouse: Path) -> set[str]:
    """The models that the last run built anew."""
    with duckdb.connect(str(warehouse), read_only=True) as con:
        rows = con.execute(
            "select model from foretable.builds where is_rebuilt and run_id = "
            "(select arg_max(run_id, build_number) from foretable.builds)"
        )
        return {name for (name,) in rows.fetchall()}


ITEMS = [
    {"item_id": f"i{n}", "category_id": f"c{n % 3}", "brand": f"b{n % 2}", "price": None if n == 1 else 10.0 + n,
     "listed_at": START - timedelta(days=5)}
    for n in range(8)
]  # fmt: skip


@pytest.mark.parametrize(
    ("seed", "has_loaded_at", "mode"), [(1, True, "known"), (2, False, "known"), (3, True, "occurred")]
)
def test_runs_day_by_day_give_the_tables_of_one_full_refresh(
    tmp_path: Path, seed: int, has_loaded_at: bool, mode: str
) -> None:
    settings = {**SETTINGS, "as_of_mode": mode}
    log = make_log(seed, 60, has_loaded_at=has_loaded_at)
    shuffled = random.Random(seed)
    for days in (40, 41, 48, 60, 70):
        rows = [row for row in log if row["arrives"] < START + timedelta(days=days)]
        shuffled.shuffle(rows)
        items = ITEMS if days < 48 else [*ITEMS, {**ITEMS[0], "item_id": "i8", "listed_at": START}]
        write_shop(tmp_path / "shop", rows, items)
        build(tmp_path, settings=settings)
    assert rebuilt_models(tmp_path / "grown.duckdb") == set(), "the last run adds to the tables"
    grown = tables_of(tmp_path / "grown.duckdb")
    build(tmp_path, "--full-refresh", settings=settings)
    assert_equal_tables(grown, tables_of(tmp_path / "grown.duckdb"))
