"""Staging and cleaning: every raw row is kept, a duplicate or quarantined, whatever the log holds."""

import random
import statistics
from collections import Counter
from datetime import datetime, timedelta

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Shop
from tests.pipeline import Pipeline, event, rows_of

KEPT = "(from cleaning.int_events__imputed where is_kept)"
CLEANED = (
    "quarantine__events",
    "duplicates__events",
    KEPT,
    "features__user",
    "sequences__user",
)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline(
        tmp_path_factory.mktemp("pipeline"), {"history_days": 3, "snapshot_every": "2 days", "horizons": [1]}
    )


def reasons(con: duckdb.DuckDBPyConnection) -> list[str]:
    return [row[0] for row in con.execute("select rejection_reason from quarantine__events order by 1").fetchall()]


def duplicates(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str | None, str | None]]:
    """(rule, the copy's id, the kept row's id)"""
    return con.execute(
        """
        select duplicates.matched_by, duplicates.event_id, kept.event_id
        from duplicates__events as duplicates
        inner join cleaning.int_events__imputed as kept on kept.is_kept and duplicates.kept_row_id = kept.row_id
        order by all
        """
    ).fetchall()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (event(None, "view", "2025-01-02"), "missing_user_id"),
        (event("  ", "view", "2025-01-02"), "missing_user_id"),
        (event("u", None, "2025-01-02"), "missing_event_type"),
        (event("u", "veiw", "2025-01-02"), "unknown_event_type"),
        (event("u", "view", None), "missing_occurred_at"),
        (event("u", "view", "2025-13-45 99:00"), "malformed_occurred_at"),
        (event("u", "view", "infinity"), "malformed_occurred_at"),
        (event("u", "view", "2025-01-02", loaded_at="soon"), "malformed_loaded_at"),
        (event("u", "view", "2025-01-04", loaded_at="2025-01-02"), "occurred_in_future"),
        (event("u", "view", "9025-01-04"), "occurred_in_future"),
        (event("u", "view", "2025-01-02", price="12,50"), "malformed_price"),
        (event("u", "view", "2025-01-02", price="-1"), "impossible_price"),
        (event("u", "view", "2025-01-02", price="nan"), "impossible_price"),
        (event("u", "view", "2025-01-02", price="inf"), "impossible_price"),
        (event("u", "view", "2025-01-02", price="1000000.01"), "impossible_price"),
        (event("u", "view", "2025-01-02", quantity="-1"), "impossible_quantity"),
        (event("u", "view", "2025-01-02", duration_seconds="1e300"), "impossible_duration_seconds"),
    ],
)
def test_a_row_that_cannot_be_used_is_quarantined_under_its_reason(pipeline: Pipeline, row: dict, reason: str) -> None:
    con = pipeline.run([row, event("u", "view", "2025-01-01")])
    assert reasons(con) == [reason]
    raw_text = con.execute("select raw_text from quarantine__events").fetchone()[0]
    assert all(str(value) in raw_text for value in row.values() if value is not None)
    assert con.execute("select count(*) from cleaning.int_events__imputed").fetchone() == (1,)


def test_names_of_a_shop_are_read_as_the_event_types_of_the_contract(pipeline: Pipeline) -> None:
    con = pipeline.run([event("u", " Add_To_Cart ", "2025-01-01"), event("u", "buy", "2025-01-02")])
    found = con.execute("select event_type from cleaning.int_events__imputed order by occurred_at").fetchall()
    assert found == [("cart",), ("purchase",)]


@pytest.mark.parametrize(
    "text",
    [
        "2025-01-02T01:30:00+02:00",
        "2025-01-02 01:30+02:00",
        "2025-01-02 01:30 +0200",
        "2025-01-02 01:30:00 +02",
        "2025-01-01 23:30:00 Z",
        "2025-01-01 23:30 UTC",
        "2025/1/2T1:30:00.0+02",
        "2025-01-01T23:30Z",
        "2025-01-01 20:00-03:30",
    ],
)
def test_an_instant_with_an_offset_is_read_as_utc(pipeline: Pipeline, text: str) -> None:
    con = pipeline.run([event("u", "view", text)])
    assert con.execute("select occurred_at from cleaning.int_events__imputed").fetchone() == (
        datetime(2025, 1, 1, 23, 30),
    )


def test_of_rows_with_one_id_the_latest_load_is_kept_and_the_earlier_one_seen_until_then(pipeline: Pipeline) -> None:
    con = pipeline.run(
        [
            event("u", "view", "2025-01-01", event_id="e", loaded_at="2025-01-03", device="later"),
            event("u", "view", "2025-01-01", event_id="e", loaded_at="2025-01-01", device="first"),
        ]
    )
    assert duplicates(con) == [("event_id", "e", "e")]
    versions = con.execute(
        "select device, is_kept, known_on::varchar, hidden_on::varchar from cleaning.int_events__imputed order by 1"
    )
    assert versions.fetchall() == [
        ("first", False, "2025-01-01", "2025-01-03"),
        ("later", True, "2025-01-03", "9999-12-31"),
    ]


def test_of_rows_with_one_id_that_say_the_same_the_first_known_is_kept(pipeline: Pipeline) -> None:
    row = event("u", "view", "2025-01-01", event_id="e")
    con = pipeline.run([{**row, "loaded_at": "2025-01-03"}, {**row, "loaded_at": "2025-01-01"}])
    kept = con.execute("select loaded_at, is_kept from cleaning.int_events__imputed").fetchall()
    assert kept == [(datetime(2025, 1, 1), True)]


def test_loads_of_one_instant_are_told_apart_by_their_content(pipeline: Pipeline) -> None:
    rows = [event("u", "view", "2025-01-01", event_id="e", loaded_at="2025-01-02", device=d) for d in "abc"]
    kept = [pipeline.run(order).execute(f"select device from {KEPT}").fetchall() for order in (rows, rows[::-1])]
    assert kept[0] == kept[1]
    assert len(kept[0]) == 1


def test_a_row_without_id_copies_a_row_of_the_same_content(pipeline: Pipeline) -> None:
    row = event("u", "view", "2025-01-01", item_id="i")
    con = pipeline.run([row, {**row, "event_id": "e"}, row])
    assert duplicates(con) == [("content", None, "e"), ("content", None, "e")]


def test_two_rows_with_ids_of_their_own_are_two_events_however_alike(pipeline: Pipeline) -> None:
    row = event("u", "search", "2025-01-01")
    con = pipeline.run([{**row, "event_id": "a"}, {**row, "event_id": "b"}])
    assert duplicates(con) == []


def test_the_same_item_again_within_two_seconds_is_one_event_and_after_that_another(pipeline: Pipeline) -> None:
    def view(event_id: str, second: str) -> dict:
        return event("u", "view", f"2025-01-01 00:00:{second}", item_id="i", event_id=event_id)

    con = pipeline.run([view("a", "00"), view("b", "02"), view("c", "04"), view("d", "06.001")])
    assert duplicates(con) == [("near", "b", "a"), ("near", "c", "a")]


def test_a_copy_points_to_the_row_that_was_kept_in_the_end(pipeline: Pipeline) -> None:
    first = event("u", "view", "2025-01-01 00:00:00", item_id="i", event_id="a")
    second = event("u", "view", "2025-01-01 00:00:01", item_id="i", event_id="b", loaded_at="2025-01-01 00:01:00")
    redelivered = {**second, "loaded_at": "2025-01-02"}
    assert duplicates(pipeline.run([first, second, redelivered])) == [("event_id", "b", "a"), ("near", "b", "a")]


def test_missing_prices_come_from_the_list_price_of_that_time_then_from_the_category(pipeline: Pipeline) -> None:
    items = [
        {"item_id": "listed", "category_id": "c", "price": 5, "updated_at": "2025-01-01"},
        {"item_id": "listed", "category_id": "c", "price": 9, "updated_at": "2025-01-10"},
        {"item_id": "unlisted", "category_id": "c"},
    ]
    priced = [event("v", "view", f"2025-01-0{day}", item_id="unlisted", price=day) for day in range(1, 8)]
    con = pipeline.run(
        [
            *priced,
            event("u", "view", "2025-01-09", item_id="listed", event_id="before"),
            event("u", "view", "2025-01-10", item_id="listed", event_id="after"),
            event("u", "view", "2025-01-12", item_id="unlisted", event_id="median"),
            event("u", "search", "2025-01-12", event_id="no item"),
        ],
        items,
    )
    fitted_to, median = con.execute(
        "select fitted_to, price from cleaning.int_items__price_medians where category_id = 'c'"
    ).fetchone()
    assert median == statistics.median(day for day in range(1, 8) if datetime(2025, 1, day) < fitted_to)
    found = dict(con.execute("select event_id, price from cleaning.int_events__imputed where user_id = 'u'").fetchall())
    assert found == {"before": 5.0, "after": 9.0, "median": median, "no item": None}
    flags = con.execute("select count(*) from cleaning.int_events__imputed where is_price_imputed").fetchone()
    assert flags == (3,)


USERS, ITEMS = ["u1", "u2", None], ["i1", "i2", None]
MOMENTS = st.one_of(
    st.integers(0, 40).map(lambda s: str(datetime(2025, 1, 5) + timedelta(seconds=s / 2))),
    st.integers(0, 40).map(lambda hours: str(datetime(2025, 1, 1) + timedelta(hours=6 * hours))),
    st.sampled_from([None, "yesterday", "2030-01-01"]),
)
EVENTS = st.lists(
    st.builds(
        event,
        st.sampled_from(USERS),
        st.sampled_from(["view", "purchase", "hover", None]),
        MOMENTS,
        item_id=st.sampled_from(ITEMS),
        event_id=st.sampled_from([None, "a", "b", "c"]),
        price=st.sampled_from([None, "1", "2.5", "x", "-3"]),
        loaded_at=st.sampled_from([None, "2025-01-05", "2025-01-09"]),
    ),
    min_size=1,
    max_size=40,
)
quick = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(events=EVENTS)
def test_every_raw_row_is_kept_or_a_duplicate_or_quarantined(pipeline: Pipeline, events: list[dict]) -> None:
    con = pipeline.run(events)
    counts = [len(rows_of(con, table)) for table in CLEANED[:3]]
    assert sum(counts) == len(events)


@quick
@given(events=EVENTS, seed=st.integers(0, 9))
def test_rows_in_any_order_give_the_same_tables(pipeline: Pipeline, events: list[dict], seed: int) -> None:
    shuffled = random.Random(seed).sample(events, len(events))
    first, second = pipeline.run(events), pipeline.run(shuffled)
    for table in CLEANED:
        assert rows_of(first, table) == rows_of(second, table), table


@quick
@given(events=EVENTS)
def test_deduplication_is_idempotent(pipeline: Pipeline, events: list[dict]) -> None:
    columns = (
        "event_id, user_id, event_type, item_id, occurred_at, loaded_at, if(is_price_imputed, null, price) as price"
    )
    once = pipeline.run(events).execute(f"select {columns} from {KEPT} order by all")
    names = [column[0] for column in once.description]
    kept = [dict(zip(names, row, strict=True)) for row in once.fetchall()]
    again = pipeline.run(kept)
    assert rows_of(again, "duplicates__events") == []
    assert len(rows_of(again, KEPT)) == len(kept)


def test_the_simulated_dirt_is_found_to_the_row(tiny_shop: Shop) -> None:
    manifest = tiny_shop.manifest()
    con = duckdb.connect(str(tiny_shop.warehouse), read_only=True)

    def counted(sql: str) -> dict[str, int]:
        return dict(con.execute(sql).fetchall())

    assert counted("select rejection_reason, count(*) from quarantine__events group by 1") == manifest["quarantine"]
    assert counted("select matched_by, count(*) from duplicates__events group by 1") == manifest["duplicates"]
    kept, late, without_session, without_device = con.execute(
        """
        select count(*), count(*) filter (where loaded_at > occurred_at + interval 1 hour),
            count(*) filter (where is_session_id_imputed), count(*) filter (where device is null)
        from cleaning.int_events__imputed
        where is_kept
        """
    ).fetchone()
    missing = manifest["missing"]
    assert (kept, late) == (manifest["clean"], manifest["late"])
    assert (without_session, without_device) == (missing["session_id"], missing["device"])
    imputed = con.execute(
        """
        select count(*) from cleaning.int_events__imputed
        where is_kept and is_price_imputed and event_type in ('view', 'cart', 'purchase')
        """
    ).fetchone()
    assert imputed == (missing["price"],)


def test_quarantined_rows_keep_their_text(tiny_shop: Shop) -> None:
    con = duckdb.connect(str(tiny_shop.warehouse), read_only=True)
    texts = con.execute(
        "select raw_text ->> 'occurred_at' from quarantine__events where rejection_reason = 'malformed_occurred_at'"
    ).fetchall()
    raw = con.execute(f"select occurred_at from '{tiny_shop.data}/events.parquet'").fetchall()
    assert not Counter(texts) - Counter(raw)
