"""live_features: what the next snapshot would hold of a user, from the raw events of this moment."""

import random
import statistics
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.conftest import run_dbt
from tests.growing import Row, at, make_shop, table_of

SETTINGS = {
    **{"history_days": 10, "snapshot_every": "1 day", "horizons": [1], "windows": [7, 30, 90]},
    **{"raw_schema": "raw", "near_duplicate_seconds": 60},
}
DAYS, BUILT_AT, NEXT_AS_OF = 25, at(24.7), at(25)
RANKS = {"recency_quintile", "frequency_quintile", "money_quintile"}
USERS = [f"u{n}" for n in range(12)]


def add(warehouse: Path, table: str, rows: Iterable[Row]) -> None:
    """Put rows into a table of the schema raw."""
    with duckdb.connect(str(warehouse)) as con:
        con.execute("create schema if not exists raw")
        con.register("given", table_of(table, list(rows)))
        con.execute(f"create table if not exists raw.{table} as from given limit 0")
        con.execute(f"insert into raw.{table} from given")


def build(warehouse: Path, **settings: object) -> None:
    run = run_dbt(
        "build", "--select", "+live_features", "--exclude-resource-type", "test", "unit_test",
        warehouse=warehouse, variables={**SETTINGS, **settings},
    )  # fmt: skip
    assert run.code == 0, run.output[-3000:]


def rows_of(warehouse: Path, sql: str) -> list[dict[str, Any]]:
    with duckdb.connect(str(warehouse), read_only=True) as con:
        cursor = con.execute(sql)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def live(warehouse: Path, user: str, instant: datetime | None = None) -> dict[str, Any] | None:
    at_instant = f", at_instant := timestamp '{instant}'" if instant else ""
    rows = rows_of(warehouse, f"from live_features('{user}'{at_instant})")
    assert len(rows) <= 1
    return rows[0] if rows else None


def snapshot(warehouse: Path, user: str, as_of: datetime) -> dict[str, Any] | None:
    """A user's row of features__user, without what ranks the user among all."""
    rows = rows_of(warehouse, f"from features__user where user_id = '{user}' and as_of = timestamp '{as_of}'")
    return {name: value for name, value in rows[0].items() if name not in RANKS} if rows else None


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse that was built before the last events of a day came; all raw events are in it now."""
    warehouse = tmp_path_factory.mktemp("live") / "live.duckdb"
    shop = make_shop(12, DAYS, has_loaded_at=True)
    events = shop.pop("events")
    quiet = [row for row in events if row["user_id"] != "u4" or row["arrives"] < BUILT_AT]
    for table, rows in shop.items():
        add(warehouse, table, [row for row in rows if row["arrives"] < BUILT_AT])
    add(warehouse, "events", [row for row in quiet if row["arrives"] < BUILT_AT])
    build(warehouse)
    came = [row for row in quiet if BUILT_AT <= row["arrives"] < NEXT_AS_OF]
    sample = random.Random(7).choice([row for row in quiet if row["event_id"] and row["user_id"] == "u2"])
    came.append({**sample, "price": 45.0, "arrives": at(24.8), "loaded_at": at(24.8)})  # a correction
    came.append({**sample, "event_id": "first", "user_id": "new", "arrives": at(24.9), "loaded_at": at(24.9)})
    assert len({row["user_id"] for row in came}) > 4
    add(warehouse, "events", came)
    return warehouse


def test_a_live_row_is_the_row_that_the_next_snapshot_holds(warehouse: Path) -> None:
    users = [*USERS, "new"]
    lived = {user: live(warehouse, user) for user in users}
    newest = {user: snapshot(warehouse, user, at(24)) for user in users}
    assert all(row and row["as_of"] == NEXT_AS_OF for row in lived.values())
    assert newest["new"] is None
    build(warehouse, newest_as_of=str(NEXT_AS_OF))
    assert lived == {user: snapshot(warehouse, user, NEXT_AS_OF) for user in users}


def test_a_live_row_of_an_instant_of_the_past_is_the_row_of_that_snapshot(warehouse: Path) -> None:
    for user, days in (("u1", 12), ("u2", 17), ("u3", 23)):
        assert live(warehouse, user, at(days)) == snapshot(warehouse, user, at(days)) is not None


def test_a_user_whom_no_event_names_has_no_live_row(warehouse: Path) -> None:
    assert live(warehouse, "nobody") is None


def test_a_live_row_takes_seconds_and_no_more(warehouse: Path) -> None:
    seconds = []
    with duckdb.connect(str(warehouse), read_only=True) as con:
        for user in USERS[:3]:
            started = time.perf_counter()
            con.execute("from live_features($user)", {"user": user}).fetchall()
            seconds.append(time.perf_counter() - started)
    print(f"live_features: {statistics.median(seconds):.2f} s")
    assert statistics.median(seconds) < 20
