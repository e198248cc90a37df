"""Hostile logs: the build ends, the account closes, no value is silently changed. More of it: python -m tests.fuzz"""

import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fuzz import oracle
from tests.fuzz.__main__ import VARIABLES
from tests.fuzz.check import check_round
from tests.fuzz.mutate import FORMATS, make_case
from tests.fuzz.reading import RefusedError, build, raw_table
from tests.pipeline import Pipeline

ROUNDS = 200
MILLION = 1_000_000


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline(tmp_path_factory.mktemp("fuzz"), VARIABLES)


@pytest.mark.parametrize("first", range(0, ROUNDS, 50))
def test_a_broken_log_is_kept_or_quarantined_to_the_letter_or_refused_with_a_plain_error(
    pipeline: Pipeline, first: int
) -> None:
    ended = [check_round(pipeline, f"1:{number}") for number in range(first, first + 50)]
    assert set(ended) == {"built", "refused"}


def test_the_fuzzer_breaks_every_format_and_most_logs_can_still_be_built() -> None:
    cases = [make_case(f"1:{number}") for number in range(ROUNDS)]
    assert {case.format for case in cases} == set(FORMATS)
    assert len({name for case in cases for name in case.done}) > 200
    assert make_case("1:7").data == make_case("1:7").data


@pytest.mark.parametrize(
    ("data", "usable", "reasons"),
    [
        (b"user_id,event_type,occurred_at\nu,view,2025-01-01\n", 1, []),
        (b'user_id;event_type;occurred_at\r\n"u;""";view;2025-01-01\rv;view;\n', 1, ["missing_occurred_at"]),
        (b'user_id,event_type,occurred_at\n"u,view,2025-01-01\nv,view,2025-01-01', 1, ["malformed_line"]),
    ],
)
def test_the_oracle_reads_csv_as_the_standard_says(data: bytes, usable: int, reasons: list[str]) -> None:
    account = oracle.account_of_csv(data)
    assert (len(account.usable), [reason for reason, _ in account.rejected]) == (usable, reasons)


def test_a_parquet_file_that_names_a_column_of_the_contract_twice_is_refused(tmp_path: Path) -> None:
    names = ["user_id", "User_ID", "event_type", "occurred_at", "colour", "Colour"]
    pq.write_table(pa.table([["u"]] * len(names), names=names), tmp_path / "events.parquet")
    with duckdb.connect() as con, pytest.raises(RefusedError, match="holds the column user_id twice"):
        raw_table(con, "events", data=tmp_path)


def _copies(number: pa.Array) -> dict[str, pa.Array]:
    return {"user_id": pa.repeat("u", MILLION), "occurred_at": pa.repeat("2025-01-01 10:00:00", MILLION)}


def _one_user(number: pa.Array) -> dict[str, pa.Array]:
    seconds = duckdb.sql(
        f"select (timestamp '2024-01-01' + to_seconds(i * 30))::varchar as at from range({MILLION}) t(i)"
    )
    return {"user_id": pa.repeat("u", MILLION), "occurred_at": seconds.to_arrow_table()["at"]}


@pytest.mark.parametrize(("columns", "kept"), [(_copies, 1), (_one_user, MILLION)], ids=["one row", "one user"])
def test_a_million_rows_of_one_kind_are_accounted_for_in_bounded_time(
    tmp_path: Path, pipeline: Pipeline, columns: Callable[[pa.Array], dict[str, pa.Array]], kept: int
) -> None:
    number = pa.array(range(MILLION))
    table = pa.table({**columns(number), "event_type": pa.repeat("view", MILLION), "item_id": pa.repeat("i", MILLION)})
    pq.write_table(table, tmp_path / "events.parquet")
    start = time.process_time()
    con = build(pipeline, data=tmp_path)
    with con:
        counts = con.execute(
            """
            select count(*), count(*) filter (where rejection_reason is not null), count(distinct row_id),
                (select count(*) from duplicates__events), (select count(distinct kept_row_id) from duplicates__events)
            from staging.stg_events
            """
        ).fetchone()
    assert counts == (MILLION, 0, MILLION, MILLION - kept, 1 if kept == 1 else 0)
    assert time.process_time() - start < 60, "more than a minute of one core"
