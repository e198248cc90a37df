"""Rows of users, items and campaigns: each is used or kept with the reason why not."""

from datetime import date, datetime
from pathlib import Path

import duckdb
import pytest

from tests.conftest import run_dbt

FILES = {
    "events.csv": "user_id,event_type,occurred_at\nu1,view,1970-01-01\n"
    + "".join(f"u1,view,2025-01-{day:02}\n" for day in range(1, 32)),
    "users.csv": """user_id,region,birth_year,registered_at,updated_at
        u1,north,1990,2025-01-01,
        u1,south,1990,2025-01-01,2025-01-05 00:00:00+02:00
        u1,north,1990,2025-01-01,
        u1,east,1990,2025-01-01,
        ,north,1990,2025-01-01,
        u2,north,abc,2025-01-01,
        u3,north,1985.7,2025-01-01,
        u4,north,1990,yesterday,
        u5,north,1990,,31.12.2024
        u6,north
        u7,,,,
    """,
    "items.csv": """item_id,title,price,listed_at
        i1,hat,12.5,
        i1,hat,-1,
        i2,coat,1e300,
        i3,coat,1000001,
        i4,coat,"12,50",
        i5,coat,nan,
        i6,coat,1000000,2025-13-01
        ,coat,5,
        i7,coat,,
    """,
    "campaigns.csv": """campaign_id,kind,starts_at,ends_at,discount
        c1,AD,2025-01-01,2025-01-03,0.2
        c2,ad,soon,2025-01-03,0.2
        c3,ad,2025-01-01,2025-01-03,inf
        c4,ad,2025-01-01,2025-01-03,a lot
        ,ad,2025-01-01,2025-01-03,0.2
    """,
}
QUARANTINED = {
    "users": [
        (None, "malformed_line"), (None, "missing_user_id"), ("u1", "same_version"), ("u1", "same_version"),
        ("u2", "malformed_birth_year"), ("u3", "malformed_birth_year"), ("u4", "malformed_registered_at"),
        ("u5", "malformed_updated_at"),
    ],
    "items": [
        (None, "missing_item_id"), ("i1", "impossible_price"), ("i2", "impossible_price"), ("i3", "impossible_price"),
        ("i4", "malformed_price"), ("i5", "impossible_price"), ("i6", "malformed_listed_at"),
    ],
    "campaigns": [
        (None, "missing_campaign_id"), ("c2", "malformed_starts_at"), ("c3", "impossible_discount"),
        ("c4", "malformed_discount"),
    ],
}  # fmt: skip
KEPT_USERS = [
    ("u1", "north", 1990, datetime(2025, 1, 1)),
    ("u1", "south", 1990, datetime(2025, 1, 4, 22)),
    ("u7", None, None, datetime(1, 1, 1)),
]


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attributes")
    (folder / "shop").mkdir()
    for name, text in FILES.items():
        (folder / "shop" / name).write_text("\n".join(line.strip() for line in text.splitlines()) + "\n")
    return folder / "attributes.duckdb"


def build(warehouse: Path, **settings: object) -> dict[str, str]:
    run = run_dbt(
        "build", "--select", "+quarantine__users", "+quarantine__items", "+quarantine__campaigns", "+stg_users",
        "stg_items", "stg_campaigns", "+int_snapshots__grid", "--indirect-selection", "cautious",
        "--exclude-resource-type", "unit_test",
        warehouse=warehouse, data=warehouse.parent / "shop", variables={"history_days": 3, **settings},
    )  # fmt: skip
    assert run.code == 0, run.output[-3000:]
    return run.results()


def quarantined(warehouse: Path, table: str) -> list[tuple[str | None, str]]:
    with duckdb.connect(str(warehouse), read_only=True) as con:
        columns = f"{table[:-1]}_id, rejection_reason"
        return con.execute(f"select {columns} from quarantine__{table} order by all nulls first").fetchall()


def test_rows_of_attributes_that_cannot_be_used_are_kept_with_their_reason(warehouse: Path) -> None:
    results = build(warehouse)
    assert results["assert_every_raw_attribute_is_accounted_for"] == "pass"
    assert results["assert_no_event_lies_long_before_the_log"] == "warn", "an event of 1970 is told"
    for table, expected in QUARANTINED.items():
        assert quarantined(warehouse, table) == expected
    with duckdb.connect(str(warehouse), read_only=True) as con:
        users = con.execute("select user_id, region, birth_year, valid_from from staging.stg_users order by all")
        assert users.fetchall() == KEPT_USERS
        items = con.execute("select item_id, price from staging.stg_items order by all").fetchall()
        assert items == [("i1", 12.5), ("i7", None)]
        campaigns = con.execute("select campaign_id, kind, discount from staging.stg_campaigns").fetchall()
        assert campaigns == [("c1", "ad", 0.2)]
        raw = con.execute("select raw_text from quarantine__users where rejection_reason = 'malformed_line'").fetchall()
        assert raw == [("u6,north",)]
        raw = con.execute("select raw_text->>'price' from quarantine__items where item_id = 'i4'").fetchall()
        assert raw == [("12,50",)]
        grid = con.execute("select min(as_of)::date from cleaning.int_snapshots__grid").fetchall()
        assert grid[0][0] > date(2025, 1, 1), "an event of 1970 makes no snapshots"


def test_a_history_that_is_kept_loses_no_row_either(warehouse: Path) -> None:
    results = build(warehouse, keep_history=True, run_at="2025-02-01")
    assert results["assert_every_raw_attribute_is_accounted_for"] == "pass"
    assert (None, "malformed_line") in quarantined(warehouse, "users")
    assert ("u2", "malformed_birth_year") in quarantined(warehouse, "users")
    assert ("i4", "malformed_price") in quarantined(warehouse, "items")
