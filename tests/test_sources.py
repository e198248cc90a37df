"""A shop's log is read from files of several formats, or from relations that stand in the warehouse already."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import REAL_SHOPS, DbtRun, run_dbt

COLUMNS = ["user_id", "event_type", "occurred_at", "price", 'colour\'s "shade"']
ROWS = [
    ["u1", "view", "2025-01-01 10:00:00", "9.50", "red"],
    ["ü, 2", "purchase", "2025-01-02T10:00:00Z", "", 'says "no"'],
    ["u3", "view", "2025-01-03 10:00:00", "12,50", None],
    ["u4", "view", "2025-01-04 10:00:00", "1", "blue"],
]
KEPT = [("u1", 9.5), ("u4", 1.0), ("ü, 2", None)]
STAGED_EVENTS = "select user_id, price from staging.stg_events where rejection_reason is null order by all"
STAGED = [
    "build",
    "--select",
    "stg_events",
    "stg_items",
    "stg_items__judged",
    "quarantine__events",
    "int_events__versions",
    "int_events__matched",
]


def write_csv(folder: Path, rows: list[list[Any]] = ROWS, extra: str = "") -> None:
    with (folder / "events.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
        file.write(extra)


def write_csv_gz(folder: Path) -> None:
    write_csv(folder)
    (folder / "events.csv.gz").write_bytes(gzip.compress((folder / "events.csv").read_bytes()))
    (folder / "events.csv").unlink()


def write_json_lines(folder: Path, extra: str = "") -> None:
    lines = [json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) for row in ROWS]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n" + extra)


def write_parquet(folder: Path) -> None:
    pq.write_table(
        pa.Table.from_pylist([dict(zip(COLUMNS, row, strict=True)) for row in ROWS]), folder / "events.parquet"
    )


def write_parts(folder: Path) -> None:
    """Two files a day apart, the second with a column that the first did not have yet."""
    (folder / "events").mkdir()
    for part, (rows, width) in enumerate([(ROWS[:2], 4), (ROWS[2:], 5)]):
        with (folder / "events" / f"2025-01-0{part}.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS[:width], *(row[:width] for row in rows)])


@pytest.fixture
def staged(tmp_path: Path) -> Callable[..., DbtRun]:
    (tmp_path / "data").mkdir()

    def build(**variables: object) -> DbtRun:
        arguments = [*STAGED, "event_type_names", "--indirect-selection", "cautious"]
        arguments[2:2] = [f"path:models/sources/{variables.get('source', 'contract')}"]
        return run_dbt(*arguments, warehouse=tmp_path / "shop.duckdb", data=tmp_path / "data", variables=variables)

    return build


def query(tmp_path: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(tmp_path / "shop.duckdb"), read_only=True) as con:
        return con.execute(sql).fetchall()


@pytest.mark.parametrize("write", [write_csv, write_csv_gz, write_json_lines, write_parquet, write_parts])
def test_every_format_gives_the_same_events_and_keeps_unknown_columns(
    tmp_path: Path, staged: Callable[..., DbtRun], write: Callable[[Path], None]
) -> None:
    write(tmp_path / "data")
    run = staged()
    assert run.code == 0, run.output
    assert query(tmp_path, STAGED_EVENTS) == KEPT
    [(reason, raw_text)] = query(tmp_path, "select rejection_reason, raw_text from quarantine__events")
    assert reason == "malformed_price"
    assert "12,50" in raw_text
    [(shade,)] = query(tmp_path, '''select "colour's ""shade""" from staging.stg_events where user_id = 'u4' ''')
    assert shade == "blue"


@pytest.mark.parametrize(
    ("write", "broken"),
    [
        (write_csv, 'u5,view,2025-01-05,1,blue,one,too,many\nu6,view\nu7,"vi"ew,2025-01-05,1,blue\n'),
        (write_json_lines, '{"user_id": "u5", "event_type": \n[1, 2]\nplain text\n\n'),
    ],
)
def test_a_line_that_cannot_be_read_is_quarantined_as_it_is(
    tmp_path: Path, staged: Callable[..., DbtRun], write: Callable[..., None], broken: str
) -> None:
    write(tmp_path / "data", extra=broken)
    run = staged()
    assert run.code == 0, run.output
    assert query(tmp_path, STAGED_EVENTS) == KEPT
    found = query(tmp_path, "select raw_text from quarantine__events where rejection_reason = 'malformed_line'")
    assert sorted(row[0].strip() for row in found) == sorted(line.strip() for line in broken.splitlines() if line)


def test_relations_of_the_warehouse_are_read_where_a_schema_is_named(
    tmp_path: Path, staged: Callable[..., DbtRun]
) -> None:
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as con:
        con.execute(
            "create schema landing; create table landing.events (user_id int, event_type text, occurred_at timestamptz)"
        )
        con.execute("insert into landing.events values (1, 'view', '2025-01-01 12:00:00+02')")
    run = staged(raw_schema="landing")
    assert run.code == 0, run.output
    assert query(tmp_path, "select user_id, occurred_at::varchar from staging.stg_events") == [
        ("1", "2025-01-01 10:00:00")
    ]


@pytest.mark.parametrize(
    ("prepare", "variables", "sentence"),
    [
        (lambda data: None, {}, "holds no table 'events'; expected events.parquet, .csv, .csv.gz or .jsonl"),
        (lambda data: None, {"raw_schema": "gone"}, "schema 'gone' holds no table 'events'"),
        (lambda data: write_csv(data, rows=[]), {}, "holds no rows; there is nothing to build from"),
        (
            lambda data: (data / "events.csv").write_text("user_id,kind\nu,view\n"),
            {},
            "lacks the required columns event_type, occurred_at; it has: user_id, kind",
        ),
        (lambda data: (data / "events.csv").write_text(""), {}, "events.csv is empty"),
        (lambda data: (data / "events.parquet").write_text("user_id\n"), {}, "events.parquet"),
        (lambda data: None, {"source": "online_retail"}, "no file"),
        (write_csv, {"horizon_days": 14}, "unknown var 'horizon_days' in --vars; known: source"),
        (write_csv, {"horizons": [14]}, "no label or prediction of that many days"),
    ],
)
def test_a_log_that_cannot_be_read_is_an_error_that_says_why(
    tmp_path: Path,
    staged: Callable[..., DbtRun],
    prepare: Callable[[Path], object],
    variables: dict[str, object],
    sentence: str,
) -> None:
    prepare(tmp_path / "data")
    run = staged(**variables)
    assert run.code != 0
    assert sentence in run.output


def test_a_warehouse_that_is_named_as_one_of_its_schemas_is_refused(tmp_path: Path) -> None:
    write_csv(tmp_path)
    run = run_dbt("build", "--select", "event_type_names", warehouse=tmp_path / "foretable.duckdb", data=tmp_path)
    assert run.code != 0
    assert "rename the file" in run.output


@pytest.mark.skipif(
    not (REAL_SHOPS / "online_retail_transactions.parquet").exists(),
    reason="needs online_retail_transactions.parquet in the folder FORETABLE_REAL_SHOPS",
)
def test_online_retail_is_cleaned_as_its_publisher_describes_it(tmp_path: Path) -> None:
    run = run_dbt(
        *("build", "--select", "+labels__purchase_30d", "quarantine__events", "duplicates__events", "stg_items"),
        *("--indirect-selection", "cautious"),
        warehouse=tmp_path / "shop.duckdb",
        data=REAL_SHOPS,
        variables={"source": "online_retail"},
    )
    assert run.code == 0, run.output
    reasons = dict(query(tmp_path, "select rejection_reason, count(*) from quarantine__events group by 1"))
    assert reasons["line_without_customer"] == 135_080
    [(copies,)] = query(
        tmp_path,
        f"""
        select (count(*) - count(distinct lines))::bigint
        from (select * exclude (Description) from '{REAL_SHOPS}/online_retail_transactions.parquet') as lines
        where CustomerID is not null and UnitPrice > 0
        """,
    )
    assert query(tmp_path, "select matched_by, count(*) from duplicates__events group by 1") == [("content", copies)]
    tested = query(
        tmp_path,
        "select count(*), count(*) filter (purchased_30d) from labels__purchase_30d where as_of = '2011-11-09'",
    )
    assert tested == [(4_067, 1_388)]
    assert dict(query(tmp_path, "select category_id, count(*) > 10 from staging.stg_items group by 1")) == {
        "goods": True,
        "not_goods": True,
    }


@pytest.mark.skipif(
    not (REAL_SHOPS / "taobao_userbehavior_sample_events.parquet").exists(),
    reason="needs taobao_userbehavior_sample_events.parquet in the folder FORETABLE_REAL_SHOPS",
)
def test_taobao_keeps_the_days_of_its_collection_in_beijing_time(tmp_path: Path) -> None:
    run = run_dbt(
        *("build", "--select", "+labels__purchase_1d", "quarantine__events", "duplicates__events"),
        *("--indirect-selection", "cautious"),
        warehouse=tmp_path / "shop.duckdb",
        data=REAL_SHOPS,
        variables={"source": "taobao"},
    )
    assert run.code == 0, run.output
    kept = query(tmp_path, "select rejection_reason, count(*) from staging.stg_events group by 1 order by 1")
    assert kept == [("outside_collection_period", 35), (None, 84_440)]
    tested = query(
        tmp_path, "select count(*), count(*) filter (purchased_1d) from labels__purchase_1d where as_of = '2017-12-03'"
    )
    assert tested == [(815, 149)]


@pytest.mark.parametrize(
    "broken", ["user_id,kind\nu,view\n", "user_id,event_type,occurred_at\n", ""], ids=["column", "rows", "file"]
)
def test_a_log_that_cannot_be_read_leaves_every_table_as_it_was(
    tmp_path: Path, staged: Callable[..., DbtRun], broken: str
) -> None:
    write_csv(tmp_path / "data")
    (tmp_path / "data" / "items.csv").write_text("item_id,price\ni,5\n")
    assert staged().code == 0

    def tables() -> dict[str, list[tuple[Any, ...]]]:
        names = query(tmp_path, "select schema_name || '.' || table_name from duckdb_tables() order by 1")
        return {name: query(tmp_path, f"from {name} order by all") for (name,) in names}

    before = tables()
    assert before["staging.stg_items"]
    (tmp_path / "data" / "items.csv").unlink()
    (tmp_path / "data" / "events.csv").write_text(broken)
    run = staged()
    assert run.code == 1
    assert tables() == before
