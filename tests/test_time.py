"""Point-in-time correctness: what a snapshot may see, to the instant, and what no later row may change."""

from datetime import datetime, timedelta
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pipeline import Pipeline, event, rows_of

NEWEST = datetime(2025, 5, 1)
POINT_IN_TIME = ("features__user", "sequences__user")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    variables = {"history_days": 3, "snapshot_every": "10 days", "newest_as_of": str(NEWEST), "horizons": [30]}
    variables["snapshot_anchor"] = str(NEWEST)
    return Pipeline(tmp_path_factory.mktemp("pipeline"), variables)


def feature(con: duckdb.DuckDBPyConnection, column: str, as_of: datetime = NEWEST, user: str = "u") -> Any:
    row = con.execute(f"select {column} from features__user where user_id = ? and as_of = ?", [user, as_of]).fetchone()
    return row[0] if row else None


def label(con: duckdb.DuckDBPyConnection, table: str, as_of: datetime, user: str = "u") -> Any:
    row = con.execute(f"select * exclude (user_id, as_of) from {table} where user_id = ? and as_of = ?", [user, as_of])
    return row.fetchone()[0]


FIRST = event("u", "register", "2025-01-01")


@pytest.mark.parametrize("days", [1, 7, 30, 90])
@pytest.mark.parametrize(
    ("offset", "is_counted"),
    [
        (timedelta(0), True),
        (timedelta(microseconds=-1), False),
    ],
)
def test_a_window_starts_with_the_instant_that_lies_its_days_before_as_of(
    pipeline: Pipeline, days: int, offset: timedelta, is_counted: bool
) -> None:
    con = pipeline.run([FIRST, event("u", "view", str(NEWEST - timedelta(days=days) + offset), item_id="i")])
    assert feature(con, f"view_count_{days}d") == int(is_counted)
    assert feature(con, f"distinct_item_count_{days}d") == int(is_counted)
    assert feature(con, f"session_count_{days}d") == int(is_counted) + int(days == 0)
    assert feature(con, f"active_day_count_{days}d") == int(is_counted)


@pytest.mark.parametrize(("offset", "is_seen"), [(timedelta(microseconds=-1), True), (timedelta(0), False)])
def test_an_event_at_as_of_itself_belongs_to_the_label_and_not_to_the_features(
    pipeline: Pipeline, offset: timedelta, is_seen: bool
) -> None:
    as_of = NEWEST - timedelta(days=40)
    con = pipeline.run(
        [FIRST, event("u", "purchase", str(as_of + offset), item_id="i", price=7), event("v", "view", str(NEWEST))]
    )
    assert feature(con, "purchase_count_1d", as_of) == int(is_seen)
    assert ("purchase" in feature_sequence(con, as_of)) == is_seen
    assert label(con, "labels__purchase_30d", as_of) is (not is_seen)
    assert label(con, "labels__churn_30d", as_of) is is_seen
    assert label(con, "labels__spend_30d", as_of) == (0 if is_seen else 7)
    assert label(con, "labels__next_purchase_30d", as_of) == (30 if is_seen else 0)


def feature_sequence(con: duckdb.DuckDBPyConnection, as_of: datetime) -> list[str]:
    row = con.execute("select event_types from sequences__user where user_id = 'u' and as_of = ?", [as_of]).fetchone()
    return row[0]


@pytest.mark.parametrize(("offset", "is_within"), [(timedelta(microseconds=-1), True), (timedelta(0), False)])
def test_a_label_window_ends_before_the_instant_that_lies_its_horizon_after_as_of(
    pipeline: Pipeline, offset: timedelta, is_within: bool
) -> None:
    as_of = NEWEST - timedelta(days=40)
    bought = event("u", "purchase", str(as_of + timedelta(days=30) + offset), price=7)
    con = pipeline.run([FIRST, bought, event("v", "view", str(NEWEST))])
    assert label(con, "labels__purchase_30d", as_of) is is_within
    assert label(con, "labels__churn_30d", as_of) is (not is_within)
    assert label(con, "labels__spend_30d", as_of) == (7 if is_within else 0)
    assert (label(con, "labels__next_purchase_30d", as_of) < 30) is is_within


@pytest.mark.parametrize(
    ("log_ends_after", "is_known"), [(timedelta(days=30), True), (timedelta(days=30, microseconds=-1), False)]
)
def test_a_label_is_null_where_its_window_reaches_past_the_end_of_the_log(
    pipeline: Pipeline, log_ends_after: timedelta, is_known: bool
) -> None:
    as_of = NEWEST - timedelta(days=40)
    bought = event("u", "purchase", str(as_of), price=7)
    con = pipeline.run([FIRST, bought, event("v", "view", str(as_of + log_ends_after))])
    assert label(con, "labels__purchase_30d", as_of) is (True if is_known else None)
    assert label(con, "labels__churn_30d", as_of) is (False if is_known else None)
    assert label(con, "labels__spend_30d", as_of) == (7 if is_known else None)
    assert label(con, "labels__next_purchase_30d", as_of) == (0 if is_known else None)


def test_a_positive_label_is_true_an_amount_above_0_or_days_within_the_horizon(pipeline: Pipeline) -> None:
    as_of = NEWEST - timedelta(days=40)
    bought = [
        event("at_once", "purchase", str(as_of), price=7),
        event("late", "purchase", str(as_of + timedelta(days=29, hours=23)), price=0.01),
        event("too_late", "purchase", str(as_of + timedelta(days=30)), price=7),
    ]
    users = ("at_once", "late", "too_late", "silent")
    con = pipeline.run([*(event(user, "register", "2025-01-01") for user in users), *bought])
    counted = con.execute(
        "select label, row_count, labelled_count, positive_count from labels__censored where as_of = ? order by label",
        [as_of],
    ).fetchall()
    assert counted == [
        ("churned_30d", 4, 4, 2), ("days_to_purchase_30d", 4, 4, 2), ("purchased_30d", 4, 4, 2), ("spend_30d", 4, 4, 2)
    ]  # fmt: skip


@pytest.mark.parametrize(("offset", "is_known"), [(timedelta(microseconds=-1), True), (timedelta(0), False)])
def test_an_event_counts_only_where_it_was_loaded_before_as_of(
    pipeline: Pipeline, offset: timedelta, is_known: bool
) -> None:
    happened = NEWEST - timedelta(days=2)
    late = event("u", "view", str(happened), item_id="i", loaded_at=str(NEWEST + offset))
    con = pipeline.run([FIRST, late])
    assert feature(con, "view_count_7d") == int(is_known)
    assert feature(con, "distinct_item_count_7d") == int(is_known)
    assert feature(con, "session_count_7d") == int(is_known)
    assert (feature(con, "recency_days") == 2) == is_known
    assert ("view" in feature_sequence(con, NEWEST)) == is_known


def test_a_user_enters_with_the_first_known_event_and_not_before(pipeline: Pipeline) -> None:
    con = pipeline.run([FIRST, event("late", "view", "2025-01-02", loaded_at=str(NEWEST - timedelta(days=1)))])
    seen = con.execute("select as_of from features__user where user_id = 'late'").fetchall()
    assert seen == [(NEWEST,)]


def test_a_user_is_described_by_the_version_that_was_valid_at_as_of(pipeline: Pipeline) -> None:
    def add_versions(name: str, sql: str) -> str:
        if name != "stg_users":
            return sql
        return f"""
            select user_id, gender, city, region, occupation, income_band, 1990 as birth_year,
                null::timestamp as registered_at, valid_from
            from ({sql}) right join (
                values ('u', 'north', timestamp '2025-01-01'), ('u', 'south', timestamp '{NEWEST}')
            ) as versions (user_id, region, valid_from) using (user_id, region, valid_from)
        """

    con = pipeline.run([FIRST], rewrite=add_versions)
    assert feature(con, "region") == "north"


def test_features_are_what_one_would_count_by_hand(pipeline: Pipeline) -> None:
    def on(days: float, event_type: str, **columns: object) -> dict:
        return event("u", event_type, str(NEWEST - timedelta(days=days)), **columns)

    con = pipeline.run(
        [
            on(20, "view", item_id="a", session_id="s1", price=10, duration_seconds=30),
            on(20 - 1 / 1440, "cart", item_id="a", session_id="s1", price=10),
            on(20 - 2 / 1440, "purchase", item_id="a", session_id="s1", price=10, quantity=3, order_id="o"),
            on(14, "view", item_id="b", session_id="s2", price=5, duration_seconds=12.5),
            on(2, "search", query="shoes", session_id="s3"),
        ],
        [{"item_id": "a", "category_id": "c1"}, {"item_id": "b", "category_id": "c2"}],
    )
    expected = {
        "event_count_30d": 5,
        "event_count_7d": 1,
        "view_count_30d": 2,
        "purchase_value_30d": 30.0,
        "purchase_value_7d": 0.0,
        "duration_seconds_30d": 42.5,
        "distinct_item_count_30d": 2,
        "distinct_category_count_30d": 2,
        "session_count_30d": 3,
        "purchase_session_count_30d": 1,
        "session_seconds_mean_30d": 120 / 3,
        "bounce_share_30d": 2 / 3,
        "active_day_count_30d": 3,
        "interval_mean_days_30d": 9.0,
        "interval_stddev_days_30d": pytest.approx(3 * 2**0.5),
        "interval_max_days_30d": 12,
        "view_to_purchase_rate_30d": 0.5,
        "session_conversion_rate_30d": pytest.approx(1 / 3),
        "recency_days": 2.0,
        "purchase_recency_days": pytest.approx(20 - 2 / 1440),
        "tenure_days": 20.0,
    }
    assert {column: feature(con, column) for column in expected} == expected


def test_a_sequence_holds_the_last_events_oldest_first_with_gaps_in_seconds(pipeline: Pipeline) -> None:
    moments = [NEWEST - timedelta(minutes=60 - minute) for minute in range(60)]
    events = [event("u", "view", str(at), item_id=f"i{n}", price=n) for n, at in enumerate(moments)]
    con = pipeline.run(events)
    row = con.execute("select * exclude (user_id, as_of) from sequences__user where as_of = ?", [NEWEST]).fetchone()
    event_types, item_ids, _, prices, gaps, hours, since = row
    assert event_types == ["view"] * 50
    assert item_ids == [f"i{n}" for n in range(10, 60)]
    assert prices == [float(n) for n in range(10, 60)]
    assert gaps == [0.0] + [60.0] * 49
    assert hours == [23] * 50
    assert since == 60.0


def test_events_that_share_the_last_instant_are_all_in_the_sequence(pipeline: Pipeline) -> None:
    lines = [event("u", "purchase", "2025-04-30 12:00:00", item_id=f"i{n}", event_id=f"e{n}") for n in range(40)]
    con = pipeline.run([FIRST, *lines])
    row = con.execute(
        "select len(event_types) from sequences__user where user_id = 'u' and as_of = ?", [NEWEST]
    ).fetchone()
    assert row == (41,)


def test_an_event_that_came_late_leaves_room_for_an_older_one_in_the_sequence(pipeline: Pipeline) -> None:
    moments = [NEWEST - timedelta(minutes=60 - minute) for minute in range(60)]
    events = [event("u", "view", str(at), item_id=f"i{n}", loaded_at=str(at)) for n, at in enumerate(moments)]
    events[55]["loaded_at"] = str(NEWEST)
    con = pipeline.run(events)
    row = con.execute("select item_ids from sequences__user where as_of = ?", [NEWEST]).fetchone()
    assert row[0] == [f"i{n}" for n in range(9, 60) if n != 55]


def test_missing_features_hold_the_median_of_the_training_snapshots_and_say_so(pipeline: Pipeline) -> None:
    def active(user: str, gap: int, until: datetime) -> list[dict]:
        return [event(user, "view", str(until - timedelta(days=gap * n))) for n in range(3)]

    cut = NEWEST - timedelta(days=90)
    con = pipeline.run(
        [
            *(row for user, gap in (("a", 2), ("b", 4), ("c", 6)) for row in active(user, gap, cut)),
            *active("fresh", 3, NEWEST - timedelta(days=1)),
            event("alone", "view", str(NEWEST - timedelta(days=5))),
            event("end", "view", str(NEWEST)),
        ]
    )
    fitted_to, median = con.execute(
        "select fitted_to, value from fitted__statistics where feature = 'interval_mean_days_90d'"
    ).fetchone()
    assert fitted_to <= NEWEST - timedelta(days=60)
    assert median is not None
    assert feature(con, "interval_mean_days_90d", user="alone") == median
    assert feature(con, "is_interval_mean_days_90d_imputed", user="alone") is True
    assert feature(con, "is_interval_mean_days_90d_imputed", user="fresh") is False
    assert feature(con, "interval_mean_days_90d", user="fresh") == 3


def log_of(*days: str) -> list[dict]:
    return [event("u", "view", day, item_id=f"i{n}") for n, day in enumerate(days)]


def grid_begins(con: duckdb.DuckDBPyConnection) -> datetime:
    return con.execute("select min(as_of) from cleaning.int_snapshots__grid").fetchone()[0]


@pytest.mark.parametrize(
    "early",
    [
        ["1970-01-01"],
        ["0001-01-01 12:00"],
        ["1970-01-01", "1970-01-02", "2000-01-01"],
        ["1970-01-01", "1999-12-31", "2024-01-09"],
    ],
)
def test_a_few_events_before_a_year_of_silence_make_no_snapshots(pipeline: Pipeline, early: list[str]) -> None:
    log = log_of(*(str(NEWEST - timedelta(hours=8 * n)) for n in range(300)))
    begins = grid_begins(pipeline.run(log))
    assert begins > NEWEST - timedelta(days=100)
    con = pipeline.run([*log, *log_of(*early)])
    assert grid_begins(con) == begins
    assert feature(con, "event_count_lifetime") == 299 + len(early), "they are not lost"


@pytest.mark.parametrize("early", [["2024-05-15"], ["2023-01-01"] * 4])
def test_a_log_begins_with_its_first_event_where_no_year_is_silent_or_many_lie_before(
    pipeline: Pipeline, early: list[str]
) -> None:
    log = log_of(*(str(NEWEST - timedelta(hours=8 * n)) for n in range(300)))
    first = datetime.fromisoformat(early[0])
    assert grid_begins(pipeline.run([*log, *log_of(*early)])) < first + timedelta(days=14)


PAST = st.lists(
    st.builds(
        lambda user, kind, hours, item: event(
            user, kind, str(datetime(2025, 1, 1) + timedelta(hours=hours)), item_id=item, price=hours % 7
        ),
        st.sampled_from(["u", "v"]),
        st.sampled_from(["view", "cart", "purchase"]),
        st.integers(0, 24 * 100),
        st.sampled_from(["i", "j", None]),
    ),
    min_size=1,
    max_size=30,
)
POISON = st.lists(
    st.builds(
        lambda user, kind, hours, is_late: event(
            user,
            kind,
            str(datetime(2025, 4, 21) + timedelta(hours=-hours if is_late else hours)),
            item_id="poison",
            price=999_999,
            quantity=999,
            loaded_at=str(datetime(2025, 4, 21) + timedelta(hours=hours)),
        ),
        st.sampled_from(["u", "v", "new"]),
        st.sampled_from(["view", "purchase"]),
        st.integers(0, 24 * 9),
        st.booleans(),
    ),
    min_size=1,
    max_size=10,
)
POISONED_FROM = datetime(2025, 4, 21)
quick = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def changed_by_the_future(pipeline: Pipeline, past: list[dict], poison: list[dict], **faults: Any) -> list[str]:
    """The tables in which a snapshot up to POISONED_FROM changes when rows known from then on are added.

    The log ends where it ends, with or without them: its end decides which snapshots train.
    """
    past = [*past, event("end", "view", str(NEWEST))]
    before, after = pipeline.run(past, **faults), pipeline.run([*past, *poison], **faults)
    return [
        table
        for table in POINT_IN_TIME
        if rows_of(before, f"(from {table} where as_of <= timestamp '{POISONED_FROM}')")
        != rows_of(after, f"(from {table} where as_of <= timestamp '{POISONED_FROM}')")
    ]


@quick
@given(past=PAST, poison=POISON)
def test_rows_of_the_future_never_change_an_earlier_snapshot(
    pipeline: Pipeline, past: list[dict], poison: list[dict]
) -> None:
    assert changed_by_the_future(pipeline, past, poison) == []


@pytest.mark.parametrize(
    ("model", "bound", "fault"),
    [
        ("int_users__activity", "tiles.known_on < rings.as_of", "tiles.known_on <= rings.as_of"),
        ("int_users__activity", "tiles.known_on < rings.as_of", "true"),
        ("int_users__unsettled", "events.known_on else", "events.occurred_at else"),
        ("int_users__unsettled_events", "events.known_on < unsettled.as_of", "true"),
    ],
)
def test_a_leak_that_is_planted_in_a_model_is_seen(pipeline: Pipeline, model: str, bound: str, fault: str) -> None:
    def plant(name: str, sql: str) -> str:
        if name != model:
            return sql
        assert bound in sql, f"{model} has no bound {bound!r} to break"
        return sql.replace(bound, fault)

    past = [FIRST, event("u", "view", "2025-04-19", item_id="i")]
    poison = [
        event("u", "view", str(POISONED_FROM), item_id="poison", loaded_at=str(POISONED_FROM)),
        event("u", "view", "2025-04-20 12:00:00", item_id="just late", loaded_at=str(POISONED_FROM)),
        event("u", "view", "2025-04-20", item_id="late", loaded_at=str(POISONED_FROM + timedelta(days=1))),
    ]
    assert changed_by_the_future(pipeline, past, poison, rewrite=plant)
    assert not changed_by_the_future(pipeline, past, poison)
