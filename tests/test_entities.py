"""Features of items, categories, pairs of user and item, and sessions are what a plain count of the seen rows gives."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import run_dbt
from tests.pipeline import Pipeline, event, rows_of

NEWEST = datetime(2025, 5, 1)
TABLES = ("features__item", "features__category", "features__user_item", "features__session", "sequences__session")
ITEMS = [
    {"item_id": "i", "category_id": "c", "brand": "a", "price": 10, "listed_at": "2025-01-01"},
    {"item_id": "j", "category_id": "c", "brand": "b", "price": 20, "listed_at": "2025-01-01"},
    {"item_id": "k", "category_id": "d", "brand": "b", "price": 30, "listed_at": "2025-04-20"},
]


class EntityPipeline(Pipeline):
    """The models that these tables are made of."""

    def models(self) -> list[dict[str, Any]]:
        nodes = {node["unique_id"]: node for node in super().models()}
        wanted = [f"model.foretable.{name}" for name in TABLES]
        for key in wanted:
            wanted += [key for key in nodes[key]["depends_on"]["nodes"] if key in nodes and key not in wanted]
        return [node for key, node in nodes.items() if key in wanted]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    variables = {
        "history_days": 3,
        "snapshot_every": "20 days",
        "newest_as_of": str(NEWEST),
        "snapshot_anchor": str(NEWEST),
    }
    variables |= {"near_duplicate_seconds": 0}
    return EntityPipeline(tmp_path_factory.mktemp("entities"), variables)


Value = Callable[..., Any]


def value_in(con: duckdb.DuckDBPyConnection, table: str) -> Value:
    """One column of one row of a table at a snapshot."""

    def value(column: str, as_of: datetime = NEWEST, **keys: str) -> Any:
        where = " and ".join(f"{key} = ?" for key in keys)
        found = con.execute(f"select {column} from {table} where as_of = ? and {where}", [as_of, *keys.values()])
        rows = found.fetchall()
        assert len(rows) == 1, f"{table} has {len(rows)} rows of {keys} at {as_of}"
        return rows[0][0]

    return value


def redelivered(row: dict[str, Any], hours: int, **changes: Any) -> dict[str, Any]:
    loaded_at = datetime.fromisoformat(row["loaded_at"]) + timedelta(hours=hours)
    return {**row, **changes, "loaded_at": str(loaded_at)}


@st.composite
def logs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Events that came late, and some that were corrected later: another item, another user's, another type."""
    rows = []
    for number in range(draw(st.integers(1, 30))):
        occurred_at = datetime(2025, 3, 1) + timedelta(hours=draw(st.integers(0, 24 * 64)))
        row = event(
            draw(st.sampled_from(["u", "v", "w"])),
            draw(st.sampled_from(["view", "cart", "remove", "purchase", "return"])),
            str(occurred_at),
            event_id=f"e{number}",
            session_id=draw(st.sampled_from(["s", "t", None])),
            item_id=draw(st.sampled_from(["i", "j", "k", None])),
            price=draw(st.integers(1, 9)),
            loaded_at=str(occurred_at + timedelta(hours=draw(st.sampled_from([0, 0, 1, 30, 24 * 25])))),
        )
        rows.append(row)
        if draw(st.integers(0, 4)) == 0:
            changes = draw(st.sampled_from([{"item_id": "j"}, {"user_id": "w"}, {"event_type": "purchase"}]))
            rows.append(redelivered(row, draw(st.sampled_from([5, 24 * 3, 24 * 30])), **changes))
    return rows


SEEN = """
    create or replace temp table seen as
    select events.*, grid.as_of
    from cleaning.int_events__imputed as events
    inner join cleaning.int_snapshots__grid as grid
        on events.known_at < grid.as_of and grid.as_of <= events.hidden_on
"""


def window(days: int) -> str:
    return f"filter (where occurred_at >= as_of - interval '{days} days')"


def counts_of_things(key: str, things: dict[str, str]) -> str:
    """What the features of items and categories count, written down without tiles."""
    columns = ["count(*) as event_count_lifetime", "max(occurred_at) as last_at"]
    for days in (1, 7, 30, 90):
        columns += [
            f"count(*) {window(days)} as event_count_{days}d",
            f"count(case event_type when 'return' then 1 end) {window(days)} as return_count_{days}d",
            f"coalesce(sum(price) {window(days)[:-1]} and event_type = 'purchase'), 0) as purchase_value_{days}d",
            f"count(distinct case event_type when 'purchase' then user_id end) {window(days)}"
            f" as distinct_buyer_count_{days}d",
        ]
        columns += [
            f"count(distinct {column}) {window(days)} as distinct_{thing}_count_{days}d"
            for thing, column in things.items()
        ]
    return f"select {key}, as_of, {', '.join(columns)} from seen where {key} is not null group by {key}, as_of"


def differences(con: duckdb.DuckDBPyConnection, table: str, expected: str, keys: list[str]) -> list[tuple[Any, ...]]:
    """Rows of a count that the table does not have, in the columns that both have."""
    known = {name for name, *_ in con.execute(f"describe {table}").fetchall()}
    shared = [name for name, *_ in con.execute(f"describe {expected}").fetchall() if name in known]
    assert len(shared) > len(keys)
    names = ", ".join(shared)
    return con.execute(f"select {names} from ({expected}) except select {names} from {table}").fetchall()


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(log=logs())
def test_every_entity_counts_the_rows_that_a_snapshot_sees(pipeline: Pipeline, log: list[dict[str, Any]]) -> None:
    con = pipeline.run(log, ITEMS)
    con.execute(SEEN)
    check_items_and_categories(con)
    check_pairs(con)
    check_sessions(con)


def check_items_and_categories(con: duckdb.DuckDBPyConnection) -> None:
    of_items = counts_of_things("item_id", {"user": "user_id"})
    assert differences(con, "features__item", of_items, ["item_id", "as_of"]) == []
    of_categories = counts_of_things("category_id", {"user": "user_id", "item": "item_id", "brand": "brand"})
    assert differences(con, "features__category", of_categories, ["category_id", "as_of"]) == []


def check_pairs(con: duckdb.DuckDBPyConnection) -> None:
    expected = f"""
        select
            user_id, item_id, as_of,
            count(*) as event_count_30d,
            count(*) {window(7)} as event_count_7d,
            count(case event_type when 'view' then 1 end) {window(1)} as view_count_1d,
            count(case event_type when 'return' then 1 end) as return_count_30d,
            date_diff('second', max(occurred_at), as_of) / 86400.0 as recency_days
        from seen
        where item_id is not null and occurred_at >= as_of - interval '30 days'
        group by user_id, item_id, as_of
    """
    assert differences(con, "features__user_item", expected, ["user_id", "item_id", "as_of"]) == []
    assert con.execute(f"select count(*) from ({expected})").fetchone() == (
        con.execute("select count(*) from features__user_item").fetchone()
    )
    shares = """
        select pairs.user_id, pairs.item_id, pairs.as_of,
            count(case when items.category_id = features.category_id then 1 end) / count(*) as category_affinity_90d,
            count(case when items.price_band = item_price_band then 1 end) / count(*) as price_band_affinity_90d
        from (select distinct user_id, item_id, as_of from features__user_item) as pairs
        inner join features__user_item as features using (user_id, item_id, as_of)
        inner join seen on pairs.user_id = seen.user_id and pairs.as_of = seen.as_of
            and seen.occurred_at >= pairs.as_of - interval '90 days'
        inner join features__item as items on seen.item_id = items.item_id and seen.as_of = items.as_of
        where features.category_id is not null
        group by all
    """
    assert differences(con, "features__user_item", shares, ["user_id", "item_id", "as_of"]) == []


def check_sessions(con: duckdb.DuckDBPyConnection) -> None:
    expected = """
        with sessions as (
            select
                user_id, session_id, as_of,
                min(occurred_at) as started_at,
                count(*) as event_count,
                count(distinct item_id) as distinct_item_count,
                count(case event_type when 'cart' then 1 end) as cart_count
            from seen
            group by all
        )
        select
            * exclude (started_at),
            row_number() over (partition by user_id, as_of order by started_at, session_id) as session_number,
            hour(started_at) as start_hour
        from sessions
        qualify started_at >= as_of - interval '1 day'
    """
    assert differences(con, "features__session", expected, ["user_id", "session_id", "as_of"]) == []
    counts = [con.execute(f"select count(*) from {table}").fetchone() for table in (f"({expected})", *TABLES[3:])]
    assert counts[0] == counts[1] == counts[2]
    lengths = "select user_id, session_id, as_of, len(event_types) as event_count from sequences__session"
    assert differences(con, "features__session", lengths, ["user_id", "session_id", "as_of"]) == []


POISONED_FROM = NEWEST - timedelta(days=20)


def changed_by_the_future(pipeline: Pipeline, poison: list[dict[str, Any]], **faults: Any) -> list[str]:
    """The tables in which a snapshot up to POISONED_FROM changes when rows known from then on are added."""
    past = [
        event("u", "view", "2025-01-01", item_id="i"),
        event("u", "view", "2025-04-10 10:00:00", item_id="i", session_id="s"),
        event("u", "purchase", "2025-04-10 11:00:00", item_id="i", session_id="s"),
        event("end", "view", str(NEWEST)),
    ]
    written = {"user_id": "v", "item_id": "i", "rating": 1, "body": "poison"}
    reviews = [
        {**written, "review_id": "r", "created_at": "2025-04-01", "loaded_at": str(POISONED_FROM)},
        {**written, "review_id": "q", "created_at": str(POISONED_FROM)},
    ]
    catalogue = {"item_id": "i", "category_id": "poison", "brand": "poison", "price": 99, "listed_at": "2025-01-01"}
    items = [{**catalogue, "updated_at": str(POISONED_FROM)}, {**catalogue, "item_id": "p", "listed_at": str(NEWEST)}]
    before = pipeline.run(past, ITEMS, **faults)
    after = pipeline.run([*past, *poison], [*ITEMS, *items], reviews, **faults)
    return [
        table
        for table in TABLES
        if rows_of(before, f"(from {table} where as_of <= timestamp '{POISONED_FROM}')")
        != rows_of(after, f"(from {table} where as_of <= timestamp '{POISONED_FROM}')")
    ]


POISON = [
    event("u", "view", str(POISONED_FROM), item_id="i", session_id="s"),
    event("u", "cart", "2025-04-10 11:30:00", item_id="j", session_id="s", loaded_at=str(POISONED_FROM)),
    event("new", "view", "2025-04-10 12:00:00", item_id="new", price=9, loaded_at=str(POISONED_FROM)),
]


def test_rows_of_the_future_never_change_an_earlier_snapshot(pipeline: Pipeline) -> None:
    assert changed_by_the_future(pipeline, POISON) == []


@pytest.mark.parametrize(
    ("model", "bound", "fault", "seen_in"),
    [
        ("int_items__activity", "tiles.known_on < rings.as_of", "true", "features__item"),
        ("int_items__audience", "tiles.known_on < rings.as_of", "true", "features__item"),
        ("int_items__ratings", "tiles.known_on < rings.as_of", "tiles.known_on <= rings.as_of", "features__item"),
        (
            "int_items__snapshots",
            "snapshots.as_of > items.valid_from",
            "snapshots.as_of >= items.valid_from",
            "features__item",
        ),
        ("int_items__snapshots", "first_seen.first_known_on <", "first_seen.first_known_on <=", "features__item"),
        ("int_categories__audience", "tiles.known_on < rings.as_of", "true", "features__category"),
        ("int_user_items__pairs", "events.known_on < days.as_of", "true", "features__user_item"),
        ("int_user_items__tastes", "events.known_on < days.as_of", "true", "features__user_item"),
        ("features__session", "events.known_on < sessions.as_of", "true", "features__session"),
        ("sequences__session", "events.known_on < sessions.as_of", "true", "sequences__session"),
    ],
)
def test_a_leak_that_is_planted_in_a_model_is_seen(
    pipeline: Pipeline, model: str, bound: str, fault: str, seen_in: str
) -> None:
    def plant(name: str, sql: str) -> str:
        if name != model:
            return sql
        assert bound in sql, f"{model} has no bound {bound!r} to break"
        return sql.replace(bound, fault)

    assert seen_in in changed_by_the_future(pipeline, POISON, rewrite=plant)


def test_a_user_counts_in_a_window_by_the_last_meeting_that_was_known(pipeline: Pipeline) -> None:
    con = pipeline.run(
        [
            event("u", "view", "2025-01-01"),
            event("u", "view", "2025-04-02", item_id="i"),
            event("u", "view", "2025-04-29", item_id="i", loaded_at="2025-05-01"),
            event("v", "view", "2025-04-30", item_id="i"),
            event("u", "view", str(NEWEST), item_id="i"),
        ],
        ITEMS,
    )
    item = value_in(con, "features__item")
    assert [item(f"distinct_user_count_{days}d", item_id="i") for days in (1, 7, 30)] == [1, 1, 2]


def test_a_meeting_that_was_replaced_counts_in_the_snapshots_that_saw_it(pipeline: Pipeline) -> None:
    seen = event("u", "view", "2025-04-05", event_id="e", item_id="j", loaded_at="2025-04-05")
    con = pipeline.run(
        [
            event("u", "view", "2025-01-01", item_id="i"),
            event("v", "view", "2025-04-06", item_id="j"),
            seen,
            redelivered(seen, 24 * 9, item_id="i"),
            event("u", "view", str(NEWEST), item_id="i"),
        ],
        ITEMS,
    )
    item = value_in(con, "features__item")
    for as_of, users_of_i, users_of_j in ((POISONED_FROM, 0, 2), (NEWEST, 1, 1)):
        assert item("distinct_user_count_30d", as_of, item_id="i") == users_of_i
        assert item("distinct_user_count_30d", as_of, item_id="j") == users_of_j
        assert item("event_count_30d", as_of, item_id="j") == users_of_j


def test_a_session_that_runs_over_midnight_belongs_to_the_day_on_which_it_started(pipeline: Pipeline) -> None:
    con = pipeline.run(
        [
            event("u", "view", "2025-01-01"),
            event("u", "view", "2025-04-29 23:59:59", session_id="night", item_id="i"),
            event("u", "view", "2025-04-30 00:00:01", session_id="night", item_id="i"),
            event("u", "view", "2025-04-30 00:00:02", session_id="day", item_id="i"),
            event("v", "view", "2025-04-30 09:00:00", session_id="day", item_id="i"),
            event("u", "view", str(NEWEST), session_id="day", item_id="i"),
        ],
        ITEMS,
    )
    rows = con.execute(
        "select user_id, session_id, event_count, session_number from features__session where as_of = ? order by all",
        [NEWEST],
    ).fetchall()
    assert rows == [("u", "day", 1, 3), ("v", "day", 1, 1)]


def test_a_review_counts_from_when_it_was_known_and_for_the_category_its_item_had_then(pipeline: Pipeline) -> None:
    moved = {**ITEMS[0], "category_id": "d", "updated_at": "2025-04-15"}
    written = {"user_id": "u", "item_id": "i", "created_at": "2025-04-10", "body": "fine"}
    con = pipeline.run(
        [event("u", "view", "2025-01-01", item_id="i"), event("u", "view", str(NEWEST), item_id="i")],
        [*ITEMS, moved],
        [
            {**written, "review_id": "a", "rating": 5},
            {**written, "review_id": "b", "rating": 2, "body": "well", "user_id": "v"},
            {**written, "review_id": "c", "rating": 1, "body": "late", "user_id": "w", "loaded_at": str(NEWEST)},
        ],
    )
    item, category = value_in(con, "features__item"), value_in(con, "features__category")
    assert item("rating_mean_lifetime", item_id="i") == 3.5
    assert item("rating_count_30d", item_id="i") == 2
    assert item("category_id", item_id="i") == "d"
    assert category("rating_count_lifetime", category_id="c") == 2
    assert category("rating_count_lifetime", category_id="d") == 0


@pytest.fixture(scope="module")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], dict[str, bool]]:
    folder = tmp_path_factory.mktemp("contracts")

    def enforced(variables: dict[str, Any]) -> dict[str, bool]:
        run = run_dbt("parse", warehouse=Path(folder / "parsed.duckdb"), variables=variables)
        assert run.code == 0, run.output
        nodes = json.loads((run.target / "manifest.json").read_text())["nodes"]
        return {name: nodes[f"model.foretable.{name}"]["contract"]["enforced"] for name in TABLES}

    return enforced


@pytest.mark.slow
def test_contracts_hold_where_the_settings_that_name_columns_have_their_defaults(
    contracts: Callable[[dict[str, Any]], dict[str, bool]],
) -> None:
    assert set(contracts({}).values()) == {True}
    changed = contracts({"windows": [7, 14, 30, 60, 90]})
    assert changed == dict.fromkeys(TABLES, False) | {"features__session": True, "sequences__session": True}
