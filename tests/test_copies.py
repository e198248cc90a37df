"""Copies and corrections over time: no row that becomes known later changes which rows an earlier snapshot sees."""

import random
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pipeline import Pipeline, event

START = datetime(2025, 1, 10)
LOADED_FROM = datetime(2025, 1, 11)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    variables = {"history_days": 3, "snapshot_every": "2 days", "horizons": [1]}
    folder: Path = tmp_path_factory.mktemp("copies")
    return Pipeline(folder, variables, ["duplicates__events", "int_events__imputed"])


def view(name: str, second: float, day: int, event_id: str | None = None, **columns: object) -> dict:
    """A view of one item, named by its device, known from that day of January on; ids are those given."""
    occurred_at, loaded_at = START + timedelta(seconds=second), datetime(2025, 1, day)
    given = {"item_id": "i", "device": name, "event_id": event_id, "loaded_at": str(loaded_at), **columns}
    return event("u", "view", str(occurred_at), **given)


def seen(con: duckdb.DuckDBPyConnection, column: str, as_of: datetime) -> list[str]:
    rows = con.execute(
        f"select {column}::varchar from cleaning.int_events__imputed where known_on < ? and ? <= hidden_on order by 1",
        [as_of, as_of],
    )
    return [value for (value,) in rows.fetchall()]


def seen_by_day(con: duckdb.DuckDBPyConnection, days: range) -> list[str]:
    return [" ".join(seen(con, "device", datetime(2025, 1, day))) for day in days]


CASES: dict[str, tuple[list[dict], list[str]]] = {
    # rows, and what the snapshots of 12 January and later see
    "a_near_copy_of_what_is_corrected": (
        [view("e", 0, 11, "e"), view("d", 1, 12, "d"), view("e2", 0, 14, "e", price=2)],
        ["e", "e", "e", "e2"],
    ),
    "a_near_copy_of_what_moves_away": (
        [view("e", 0, 11, "e"), view("d", 1, 12, "d"), view("e2", 60, 14, "e")],
        ["e", "e", "e", "e2"],
    ),
    "a_copy_at_the_same_instant_of_what_is_corrected_twice": (
        [view("e", 0, 11, "e"), view("d", 0, 12, "d"), view("e2", 0, 13, "e"), view("e3", 0, 14, "e", price=3)],
        ["e", "e", "e2", "e3"],
    ),
    "a_corrected_near_copy": (
        [view("f", 0, 12, "f"), view("e", 1, 11, "e"), view("e2", 1, 14, "e", price=2)],
        ["e", "f", "f", "f"],
    ),
    "what_moves_beside_another_takes_its_place": (
        [view("g", 20, 11, "g"), view("e", 0, 11, "e"), view("e2", 21, 13, "e")],
        ["e g", "e g", "e2", "e2"],
    ),
    "what_is_told_a_copy_and_moves_back": (
        [view("e", 0, 11, "e"), view("g", 20, 12, "g"), view("e2", 21, 13, "e"), view("g2", 1, 14, "g")],
        ["e", "e g", "e2", "e2 g2"],
    ),
    "a_late_bridge": (
        [view("a", 0, 11, "a"), view("c", 3, 11, "c"), view("b", 1.5, 13, "b")],
        ["a c", "a c", "a", "a"],
    ),
    "a_row_with_an_id_after_two_without": (
        [view("x", 0, day, event_id, item_id=None) for day, event_id in ((11, None), (12, None), (14, "y"))],
        ["x", "x", "x", "x"],
    ),
    "a_copy_without_id_of_what_is_corrected": (
        [view("x", 0, 11, "e"), view("x", 0, 12), view("x2", 0, 14, "e")],
        ["x", "x", "x", "x2"],
    ),
    "a_copy_of_a_row_that_turns_out_to_be_one_itself": (
        [view("x", 0, 11), view("d", 1, 12, "d"), view("x", 0, 14, "y")],
        ["x", "x", "x", "x"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_copy_stays_a_copy_whatever_is_known_later(pipeline: Pipeline, case: str) -> None:
    rows, expected = CASES[case]
    assert seen_by_day(pipeline.run(rows), range(12, 16)) == expected


def test_medians_stay_where_a_row_from_before_the_first_snapshot_is_corrected_later(pipeline: Pipeline) -> None:
    def medians(*rows: dict) -> list[tuple]:
        log = [event("u", "view", "2025-01-01", price=5), event("u", "view", "2025-02-01"), *rows]
        con = pipeline.run(log)
        assert con.execute("select min(as_of) from cleaning.int_snapshots__grid").fetchone() == (datetime(2025, 1, 5),)
        return con.execute("select price, event_count from cleaning.int_items__price_medians").fetchall()

    def priced(price: int, loaded_at: str) -> dict:
        return event("u", "view", "2025-01-02", item_id="i", event_id="e", price=price, loaded_at=loaded_at)

    first, known_at_midnight = priced(9, "2025-01-03"), priced(1, "2025-01-05")
    assert medians(first) == [(7, 2)]
    assert medians(first, known_at_midnight, priced(2, "2025-01-20")) == [(7, 2)]
    assert medians(first, priced(1, "2025-01-04 23:59:59.999999")) == [(3, 2)]
    assert medians(known_at_midnight) == [(5, 1)]


def make_log(seed: int) -> list[dict]:
    """A few rows of one user: equal instants, loads and contents, corrections, NULL ids and items."""
    draw = random.Random(seed)
    return [
        event(
            "u",
            draw.choice(["view", "view", "view", "cart"]),
            str(START + timedelta(seconds=draw.choice([0, 0, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 30]))),
            item_id=draw.choice(["i", "i", "i", "j", None]),
            event_id=draw.choice([None, None, "a", "b", "c", "d", "e"]),
            price=draw.choice([1, 1, 2]),
            loaded_at=str(LOADED_FROM + timedelta(hours=12 * draw.randrange(12))),
        )
        for _ in range(draw.randrange(2, 14))
    ]


def changed_snapshots(pipeline: Pipeline, rows: list[dict], cut: datetime, **faults: object) -> list[datetime]:
    """The snapshots up to the cut that see other rows once those known from the cut on are there."""
    past = [row for row in rows if datetime.fromisoformat(row["loaded_at"]) < cut]
    if not past:
        return []
    before, after = pipeline.run(past, **faults), pipeline.run(rows, **faults)
    snapshots = [cut - timedelta(days=days) for days in range(7)]
    return [as_of for as_of in snapshots if seen(before, "row_id", as_of) != seen(after, "row_id", as_of)]


quick = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(seed=st.integers(0, 2**32), day=st.integers(12, 17))
def test_rows_known_later_never_change_what_an_earlier_snapshot_sees(pipeline: Pipeline, seed: int, day: int) -> None:
    assert changed_snapshots(pipeline, make_log(seed), datetime(2025, 1, day)) == []


@quick
@given(seed=st.integers(0, 2**32))
def test_every_copy_leads_to_a_row_that_is_kept(pipeline: Pipeline, seed: int) -> None:
    con = pipeline.run(make_log(seed))
    lost = con.execute(
        "select count(*) from cleaning.int_events__matched anti join duplicates__events using (row_id)"
    ).fetchone()
    kept = "(select row_id from cleaning.int_events__imputed where is_kept)"
    astray = con.execute(f"select count(*) from duplicates__events where kept_row_id not in {kept}").fetchone()
    assert (lost, astray) == ((0,), (0,))


@pytest.mark.parametrize(
    ("model", "part", "fault"),
    [
        ("int_events__matched", "min(hidden_at)::date", "max(hidden_at)::date"),
        ("int_events__matched", "not coalesce(versions.is_redelivered, false)", "versions.hidden_at is null"),
        ("int_events__matched", "min(contents.known_at) over before", "first_value(contents.known_at) over so_far"),
        ("int_events__versions", "first_value(row_id) over so_far as first_row_id", "row_id as first_row_id"),
    ],
)  # fmt: skip
def test_a_rule_that_is_broken_is_seen(pipeline: Pipeline, model: str, part: str, fault: str) -> None:
    def plant(name: str, sql: str) -> str:
        if name != model:
            return sql
        assert part in sql, f"{model} has no part {part!r} to break"
        return sql.replace(part, fault)

    def wrong(case: str) -> bool:
        rows, expected = CASES[case]
        return seen_by_day(pipeline.run(rows, rewrite=plant), range(12, 16)) != expected

    assert any(wrong(case) for case in CASES) or any(
        changed_snapshots(pipeline, make_log(seed), datetime(2025, 1, 14), rewrite=plant) for seed in range(40)
    )
