"""The feature store through Ibis: point-in-time joins, lookups and padded sequences over small warehouses."""

import datetime as dt
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ibis_features
from ibis_features import ConfigError, EntitiesError, ExamplesError, FeatureStore, NotFoundError, Vocabulary
from tests.conftest import DBT_PROJECT, Shop, run_dbt

MONDAY = dt.datetime(2025, 1, 6)
WEEK = dt.timedelta(days=7)
SECOND = dt.timedelta(seconds=1)

TABLES = """
create table features__user as
from (values
    ('a', timestamp '2025-01-06', 1, 'x'), ('a', '2025-01-13', 2, 'y'), ('a', '2025-01-27', 4, null),
    ('b', '2025-01-13', 20, 'z')
) as rows (user_id, as_of, event_count_7d, "odd ""name");
create table features__item as
from (values (7, timestamp '2025-01-06', 0.5), (8, '2025-01-06', null)) as rows (item_id, as_of, event_count_7d);
create table features__user_item as
from (values ('a', 7, timestamp '2025-01-06', 3), ('a', 7, '2025-01-13', 9), ('b', 7, '2025-01-06', 5))
    as rows (user_id, item_id, as_of, pair_count);
create table online__user as select * from features__user where as_of = timestamp '2025-01-27'
    or (user_id = 'b' and as_of = timestamp '2025-01-13');
create unique index index__online__user on online__user (user_id);
create table online__user_item as from features__user_item where as_of = timestamp '2025-01-06';
create table sequences__user as
from (values
    ('a', timestamp '2025-01-06', ['view', 'view', 'cart'], [1.5, null, 2], [9, 10, 11], 60.0),
    ('b', '2025-01-06', ['buy'], [3], [23], 5.0),
    ('c', '2025-01-06', []::varchar[], []::double[], []::integer[], null),
    ('a', '2025-01-13', ['cart', null, 'new'], [1, 2, 3], [1, 2, 3], 6.0)
) as rows (user_id, as_of, event_types, prices, hours, seconds_since_last_event);
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute(TABLES)
    return path


@pytest.fixture
def store(file: Path) -> Iterator[FeatureStore]:
    with ibis_features.open(file) as opened:
        yield opened


@pytest.fixture(params=["short", "long"])
def plan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both plans of the join, whatever the length of the list."""
    monkeypatch.setattr("ibis_features.historical.SHORT_LIST", 50_000 if request.param == "short" else -1)
    return str(request.param)


def asked(*pairs: tuple[Any, Any], key: str = "user_id") -> dict[str, list[Any]]:
    return {key: [one for one, _ in pairs], "as_of": [at for _, at in pairs]}


def none_last(row: tuple[Any, ...]) -> list[tuple[bool, Any]]:
    return [(value is None, 0 if value is None else value) for value in row]


def answers(rows: ibis_features.Rows, *columns: str) -> list[tuple[Any, ...]]:
    return sorted((tuple(row[name] for name in columns) for row in rows.to_arrow().to_pylist()), key=none_last)


@pytest.mark.usefixtures("plan")
def test_a_row_gets_the_newest_snapshot_at_or_before_its_instant(store: FeatureStore) -> None:
    entities = asked(
        ("a", MONDAY - SECOND), ("a", MONDAY), ("a", MONDAY + SECOND), ("a", MONDAY + WEEK), ("a", MONDAY + 2 * WEEK)
    )
    rows = store.historical(entities, {"n": "features__user.event_count_7d", "snapshot": "features__user.as_of"})
    assert answers(rows, "as_of", "n", "snapshot") == [
        (MONDAY - SECOND, None, None),
        (MONDAY, 1, MONDAY),
        (MONDAY + SECOND, 1, MONDAY),
        (MONDAY + WEEK, 2, MONDAY + WEEK),
        (MONDAY + 2 * WEEK, 2, MONDAY + WEEK),
    ]


@pytest.mark.usefixtures("plan")
def test_every_row_of_the_list_comes_back_once_with_its_own_columns(store: FeatureStore) -> None:
    entities = pa.table(
        {
            "user_id": ["a", "a", "nobody", None, "b"],
            "as_of": pa.array([MONDAY, MONDAY, MONDAY, MONDAY, None], pa.timestamp("us")),
            "note": [1, 2, 3, 4, 5],
        }
    )
    rows = store.historical(entities, ["features__user.event_count_7d"])
    assert answers(rows, "note", "event_count_7d") == [(1, 1), (2, 1), (3, None), (4, None), (5, None)]
    assert rows.to_arrow().column_names == ["user_id", "as_of", "note", "event_count_7d"]


@pytest.mark.usefixtures("plan")
def test_features_of_several_entities_come_in_one_answer(store: FeatureStore) -> None:
    entities = {"user_id": ["a", "b"], "item_id": [7, 8], "when": [MONDAY + WEEK, MONDAY + WEEK]}
    features = {
        "of_user": "features__user.event_count_7d",
        "of_item": "features__item.event_count_7d",
        "of_pair": "features__user_item.pair_count",
        "odd": 'features__user.odd "name',
    }
    rows = store.historical(entities, features, at="when")
    found = [
        (row["user_id"], row["of_user"], row["of_item"] and float(row["of_item"]), row["of_pair"], row["odd"])
        for row in rows.to_arrow().sort_by("user_id").to_pylist()
    ]
    assert found == [("a", 2, 0.5, 9, "y"), ("b", 20, None, None, "z")]


@pytest.mark.usefixtures("plan")
def test_a_snapshot_older_than_max_age_is_not_known(store: FeatureStore) -> None:
    entities = asked(("a", MONDAY + dt.timedelta(days=3)), ("a", MONDAY + dt.timedelta(days=3) + SECOND))
    rows = store.historical(entities, ["features__user.event_count_7d"], max_age=dt.timedelta(days=3))
    assert [value for _, value in answers(rows, "as_of", "event_count_7d")] == [1, None]
    with pytest.raises(ConfigError, match="positive"):
        store.historical(entities, ["features__user.event_count_7d"], max_age=-SECOND)


def test_all_ways_to_give_entities_give_the_same_rows(file: Path) -> None:
    listed = asked(("a", MONDAY), ("b", MONDAY + WEEK))
    feature = ["features__user.event_count_7d"]
    with duckdb.connect(str(file)) as con:
        con.execute(
            "create temp table mine as "
            "from (values ('a', timestamp '2025-01-06'), ('b', '2025-01-13')) as rows (user_id, as_of)"
        )
        con.execute("create schema other; create table other.mine as from mine")
        store = ibis_features.open(con)
        frame = pd.DataFrame(listed)
        ways = [
            listed, frame, pa.table(listed), ibis.memtable(frame), "mine", "other.mine",
            store.backend.table("mine"), store.backend.table("mine").filter(ibis._.user_id != "zz"),
        ]  # fmt: skip
        expected = [("a", MONDAY, 1), ("b", MONDAY + WEEK, 20)]
        for entities in ways:
            rows = store.historical(entities, feature)
            assert answers(rows, "user_id", "as_of", "event_count_7d") == expected
            assert sum(batch.num_rows for batch in rows.batches(1)) == 2


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
def test_instants_with_a_time_zone_are_turned_to_utc_whatever_the_session_has(file: Path, zone: str) -> None:
    with duckdb.connect(str(file)) as con:
        store = ibis_features.open(con)
        con.execute(f"set timezone = '{zone}'")
        before, at = (pd.Timestamp(MONDAY - SECOND, tz="UTC"), pd.Timestamp(MONDAY, tz="UTC"))
        instants = pd.Series([before, at]).dt.tz_convert("Europe/Berlin")
        entities = pd.DataFrame({"user_id": ["a", "a"], "as_of": instants})
        rows = store.historical(entities, ["features__user.event_count_7d"]).to_pandas()
    assert sorted(rows["event_count_7d"].fillna(-1)) == [-1, 1]


def test_a_date_is_its_midnight(store: FeatureStore) -> None:
    rows = store.historical(asked(("a", MONDAY.date()), ("a", dt.date(2025, 1, 5))), ["features__user.event_count_7d"])
    assert answers(rows, "event_count_7d") == [(1,), (None,)]


HOURS = st.sampled_from([0, 1, 2, 24, 25, 48, 168, 336, 337])  # clusters, and a gap of a week
SNAPSHOTS = st.lists(st.tuples(st.sampled_from("abc"), HOURS), unique=True, max_size=18)
LISTS = st.lists(st.tuples(st.sampled_from("abcd"), HOURS | st.integers(-1, 340)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(snapshots=SNAPSHOTS, wanted=LISTS, max_age=st.none() | st.integers(0, 200))
def test_any_list_gets_what_a_loop_over_the_snapshots_finds(
    plan: str, snapshots: list[tuple[str, int]], wanted: list[tuple[str, int]], max_age: int | None
) -> None:
    def hour(number: int) -> dt.datetime:
        return MONDAY + dt.timedelta(hours=number)

    with duckdb.connect() as con:
        con.execute("create table features__user (user_id varchar, as_of timestamp, value integer)")
        for place, (user, number) in enumerate(snapshots):
            con.execute("insert into features__user values (?, ?, ?)", [user, hour(number), place])
        entities = {**asked(*((user, hour(number)) for user, number in wanted)), "row": list(range(len(wanted)))}
        age = None if max_age is None else dt.timedelta(hours=max_age)
        found = ibis_features.open(con).historical(entities, ["features__user.value"], max_age=age)
        expected = []
        for row, (user, number) in enumerate(wanted):
            known = [
                (snapshot, place)
                for place, (one, snapshot) in enumerate(snapshots)
                if one == user and snapshot <= number and (max_age is None or snapshot >= number - max_age)
            ]
            expected.append((row, max(known)[1] if known else None))
        assert sorted(answers(found, "row", "value")) == expected


@pytest.mark.usefixtures("plan")
def test_random_pairs_in_a_table_with_holes_get_what_a_correlated_query_finds() -> None:
    with duckdb.connect() as con:
        con.execute("select setseed(0.3)")
        con.execute(
            """
            create table features__user_item as
            select 'u' || users.n as user_id, items.n as item_id, date '2025-01-01' + days.n::integer as as_of,
                users.n * 1000 + items.n * 100 + days.n as value
            from range(30) as users (n), range(3) as items (n), range(20) as days (n)
            where (users.n % 3 = 0 or hash(users.n, items.n, days.n) % 10 < 6) and days.n >= users.n % 7
            """
        )
        con.execute(
            """
            create table wanted as
            select row_number() over () as place, 'u' || (random() * 35)::integer as user_id,
                (random() * 3)::tinyint as item_id,
                timestamp '2024-12-30' + to_seconds((random() * 25 * 86400)::integer) as as_of
            from range(4000)
            """
        )
        expected = con.execute(
            """
            select wanted.place, (
                select max_by(features.value, features.as_of) from features__user_item as features
                where features.user_id = wanted.user_id and features.item_id = wanted.item_id
                    and features.as_of <= wanted.as_of
            ) as value
            from wanted order by wanted.place
            """
        ).fetchall()
        assert 1000 < sum(value is None for _, value in expected) < 3000
        for entities in ("wanted", con.execute("from wanted").to_arrow_table()):
            rows = ibis_features.open(con).historical(entities, ["features__user_item.value"])
            assert sorted(answers(rows, "place", "value")) == expected


@pytest.mark.usefixtures("plan")
def test_an_empty_table_and_instants_at_no_end_give_null(file: Path) -> None:
    entities = {"user_id": ["a"] * 3, "n": [1, 2, 3]}
    with duckdb.connect(str(file)) as con:
        con.execute("create table features__shop (shop_id varchar, as_of timestamp, value integer)")
        con.execute("insert into features__user values ('b', null, 0, ''), ('b', 'infinity', 0, '')")
        store = ibis_features.open(con)
        assert answers(store.historical(asked(("s", MONDAY), key="shop_id"), ["features__shop.value"]), "value") == [
            (None,)
        ]
        con.register("given", pa.table(entities))
        con.execute(
            "create temp table endless as select *, (['-infinity', 'infinity', null])[n]::timestamp as as_of from given"
        )
        rows = store.historical("endless", ["features__user.event_count_7d"]).table.drop("as_of")
        assert sorted(tuple(row.values())[1:] for row in rows.to_pyarrow().to_pylist()) == [
            (1, None),
            (2, 4),
            (3, None),
        ]


@pytest.mark.usefixtures("plan")
def test_a_table_is_named_once_in_the_query(store: FeatureStore) -> None:
    rows = store.historical(asked(("a", MONDAY)), ["features__user.event_count_7d", 'features__user.odd "name'])
    assert rows.sql.count("features__user") == 1


def test_a_relation_whose_rows_change_when_it_is_read_again_is_read_once() -> None:
    with duckdb.connect() as con:
        con.execute(
            "create table features__user as select 'always' as user_id, timestamp '2025-01-06' + to_hours(n) as as_of "
            "from range(5000) as hours (n)"
        )
        con.execute("alter table features__user add column value integer default 7")
        con.execute("insert into features__user values ('once', timestamp '2025-01-06', 8)")
        con.execute(
            "create view drawn as select 'once' as user_id, "
            "timestamp '2025-01-06' + to_hours((random() * 5000)::integer) as as_of from range(200)"
        )
        rows = ibis_features.open(con).historical("drawn", ["features__user.value"])
        assert [value for (value,) in answers(rows, "value")] == [8] * 200


@pytest.mark.parametrize(
    ("entities", "features", "error", "words"),
    [
        (asked(("a", MONDAY)), ["features__user.event_cont_7d"], NotFoundError, "did you mean event_count_7d"),
        (asked(("a", MONDAY)), ["features__usr.event_count_7d"], NotFoundError, "did you mean features__user"),
        (asked(("a", MONDAY)), ["features__user.user_id"], NotFoundError, "no feature 'user_id'"),
        (asked(("a", MONDAY)), ["event_count_7d"], ConfigError, "table.column"),
        (asked(("a", MONDAY)), [], ConfigError, "no features are asked for"),
        (asked(("a", MONDAY)), ["online__user.event_count_7d"], NotFoundError, "no table online__user"),
        (asked((5, MONDAY)), ["features__user.event_count_7d"], EntitiesError, "BIGINT in the entities and VARCHAR"),
        (asked(("a", MONDAY), key="item_id"), ["features__item.*"], EntitiesError, "VARCHAR in the entities"),
        (asked(("a", MONDAY), key="user"), ["features__user.event_count_7d"], EntitiesError, "no column 'user_id'"),
        ({"user_id": ["a"]}, ["features__user.event_count_7d"], EntitiesError, "no column 'as_of'"),
        (asked(("a", "2025-01-06")), ["features__user.event_count_7d"], EntitiesError, "'as_of' is VARCHAR"),
        ("nowhere", ["features__user.event_count_7d"], EntitiesError, "no relation"),
        ([1, 2], ["features__user.event_count_7d"], EntitiesError, "are a list"),
        (
            {**asked(("a", MONDAY)), "event_count_7d": [0]},
            ["features__user.event_count_7d"],
            ConfigError,
            "already have a column",
        ),
        (
            {**asked(("a", MONDAY)), "item_id": [7]},
            ["features__user.event_count_7d", "features__item.event_count_7d"],
            ConfigError,
            "would both be 'event_count_7d'",
        ),
    ],
)
def test_what_cannot_be_joined_is_refused_with_the_way_out(
    store: FeatureStore, entities: Any, features: list[str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        store.historical(entities, features)


def test_nothing_is_read_before_the_last_step(file: Path) -> None:
    with duckdb.connect(str(file)) as con:
        store = ibis_features.open(con)
        rows = store.historical(asked(("a", MONDAY + WEEK)), ["features__user.event_count_7d"])
        con.execute("update features__user set event_count_7d = 99")
        assert answers(rows, "event_count_7d") == [(99,)]
        sequences = store.sequences("user", length=2, columns=["prices"])
        con.execute("insert into sequences__user values ('d', timestamp '2025-02-03', ['buy'], [8], [1], 2.0)")
        assert sequences.to_numpy()["user_id"].tolist() == ["d"]


@pytest.mark.usefixtures("plan")
def test_rows_are_an_ibis_table_too_also_after_they_were_read(file: Path) -> None:
    with duckdb.connect(str(file)) as con:
        rows = ibis_features.open(con).historical(
            asked(("a", MONDAY), ("b", MONDAY + WEEK)), ["features__user.event_count_7d"]
        )
        table = rows.table
        assert rows.to_arrow().num_rows == 2
        assert table.filter(table.event_count_7d > 5).user_id.to_pyarrow().to_pylist() == ["b"]


def test_two_answers_can_be_read_batch_by_batch_at_once(store: FeatureStore) -> None:
    entities = {"user_id": ["a"] * 5000, "as_of": [MONDAY] * 5000}
    feature = ["features__user.event_count_7d"]
    batches = zip(
        store.historical(entities, feature).batches(500), store.historical(entities, feature).batches(500), strict=True
    )
    counted = [(one.num_rows, two.num_rows) for one, two in batches]
    assert sum(one for one, _ in counted) == sum(two for _, two in counted) == 5000
    assert len(counted) > 1


def test_numpy_says_null_as_nan_and_tf_too(store: FeatureStore) -> None:
    entities = asked(("a", MONDAY), ("nobody", MONDAY))
    rows = store.historical(entities, {"n": "features__user.event_count_7d", "text": 'features__user.odd "name'})
    order = np.argsort(rows.to_numpy()["user_id"])
    np.testing.assert_array_equal(rows.to_numpy()["n"][order], [1, np.nan])
    batch = next(iter(rows.to_tf(10)))
    order = np.argsort(batch["user_id"].numpy())
    np.testing.assert_array_equal(batch["n"].numpy()[order], np.array([1, np.nan], np.float32))
    assert batch["text"].numpy()[order].tolist() == [b"x", b""]
    assert batch["as_of"].numpy()[0] == int(MONDAY.replace(tzinfo=dt.UTC).timestamp() * 1e6)
    with pytest.raises(ExamplesError, match="padded"):
        store.historical(entities, ["sequences__user.prices"]).to_tf()


def test_online_gives_the_ids_in_their_order_doubles_and_strangers_too(store: FeatureStore) -> None:
    found = store.online("user", ["b", "stranger", "a", "b"], ["features__user.event_count_7d"])
    assert [(row["user_id"], row["event_count_7d"]) for row in found] == [
        ("b", 20), ("stranger", None), ("a", 4), ("b", 20)
    ]  # fmt: skip
    assert found[2]["as_of"] == dt.datetime(2025, 1, 27)
    assert found[1]["as_of"] is None
    assert store.online("user", "a", {"n": "features__user.event_count_7d"})[0]["n"] == 4
    assert store.online("user", [], ["features__user.event_count_7d"]) == []


def test_online_finds_pairs_and_not_their_mixtures(store: FeatureStore) -> None:
    found = store.online("user_item", [("a", 7), ("b", 8), ("b", 7)], ["features__user_item.pair_count"])
    assert [row["pair_count"] for row in found] == [3, None, 5]
    assert store.online("user_item", ("a", 7), ["features__user_item.pair_count"])[0]["item_id"] == 7


@pytest.mark.parametrize(
    ("entity", "ids", "features", "error", "words"),
    [
        ("user", [5], ["features__user.event_count_7d"], EntitiesError, "user_id is text"),
        ("user", [None], ["features__user.event_count_7d"], EntitiesError, "NoneType"),
        ("user_item", ["a"], ["features__user_item.pair_count"], EntitiesError, r"\(user_id, item_id\)"),
        ("user_item", [("a", "7")], ["features__user_item.pair_count"], EntitiesError, "item_id is INTEGER"),
        ("item", [7], ["features__item.event_count_7d"], NotFoundError, "no table online__item"),
        ("user", ["a"], ["features__user.evnt_count_7d"], NotFoundError, "did you mean event_count_7d"),
        ("user", ["a"], ["features__item.event_count_7d"], NotFoundError, "no table features__item"),
    ],
)
def test_what_cannot_be_looked_up_is_refused(
    store: FeatureStore, entity: str, ids: list[Any], features: list[str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        store.online(entity, ids, features)


def test_ids_are_values_and_never_sql(store: FeatureStore) -> None:
    hostile = ["a' or '1'='1", '"', "a'; drop table online__user; --"]
    found = store.online("user", [*hostile, "a"], ["features__user.event_count_7d"])
    assert [row["event_count_7d"] for row in found] == [None, None, None, 4]


def test_lookups_run_from_many_threads_at_once(store: FeatureStore) -> None:
    lookup = store.lookup("user", ["features__user.event_count_7d"])
    wrong: list[Any] = []

    def ask(user: str, expected: int) -> None:
        try:
            wrong.extend(row for _ in range(100) for row in lookup([user]) if row["event_count_7d"] != expected)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=("ab"[n % 2], [4, 20][n % 2])) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_lookup_goes_through_the_index_on_one_thread(store: FeatureStore, file: Path) -> None:
    with duckdb.connect(str(file.with_name("many.duckdb"))) as con:
        con.execute(
            "create table online__user as select 'u' || n as user_id, timestamp '2025-01-01' as as_of, n "
            "from range(50000) as rows (n)"
        )
        con.execute("create unique index one on online__user (user_id)")
    with ibis_features.open(file.with_name("many.duckdb")) as many:
        lookup = many.lookup("user", ["features__user.n"])
        assert [row["n"] for row in lookup(["u7", "u49999"])] == [7, 49999]
        con = lookup._connection.cursor()
        for count in (1, 100):
            ids = [f"u{i}" for i in range(count)]
            sql = f"explain analyze {lookup._select}user_id in ({', '.join('?' * count)})"
            assert "Index Scan" in con.execute(sql, ids).fetchall()[0][1]
        assert con.execute("select current_setting('threads')").fetchone() == (1,)


def test_a_prepared_lookup_finds_every_block_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "many.duckdb"
    with duckdb.connect(str(file)) as con:
        con.execute(
            "create table online__user (user_id varchar, as_of timestamp, n bigint using compression uncompressed, "
            "x double using compression uncompressed, other double using compression uncompressed)"
        )
        con.execute(
            "insert into online__user select 'user-' || n, timestamp '2025-01-01', n, random(), random() "
            "from range(200000) as rows (n) order by hash(n)"
        )
        con.execute("create unique index one on online__user (user_id)")
        con.execute("create view online__item as select n as item_id, as_of, x from online__user")

    def held(con: duckdb.DuckDBPyConnection) -> int:
        (size,) = con.execute(
            "select sum(memory_usage_bytes) from duckdb_memory() where tag in ('BASE_TABLE', 'ART_INDEX')"
        ).fetchall()[0]
        return int(size)

    with ibis_features.open(file) as store:
        lookup = store.lookup("user", ["features__user.n", "features__user.x"])
        con = lookup._connection.cursor()
        before = held(con)
        assert before > 2 * 200_000 * 8
        users = [f"user-{n}" for n in range(0, 200_000, 997)]
        assert [row["n"] for row in lookup(users)] == list(range(0, 200_000, 997))
        assert held(con) == before
        store.lookup("user", ["features__user.other"])
        assert held(con) > before
        assert store.online("item", [5], ["features__item.x"])[0]["item_id"] == 5


def test_a_store_over_a_connection_leaves_it_open_and_looks_up_through_it(file: Path) -> None:
    with duckdb.connect(str(file)) as con:
        with ibis_features.open(con) as store:
            assert store.online("user", "a", ["features__user.event_count_7d"])[0]["event_count_7d"] == 4
            con.execute("update online__user set event_count_7d = 5 where user_id = 'a'")
            assert store.online("user", "a", ["features__user.event_count_7d"])[0]["event_count_7d"] == 5
        assert con.execute("select 1").fetchone() == (1,)


VOCABULARY = Vocabulary({"event_types": ("view", "cart")})


@pytest.mark.parametrize(
    ("padding", "ids", "mask", "hours"),
    [
        (
            "left",
            [[0, 2, 2, 3], [0, 0, 0, 1], [0, 0, 0, 0]],
            [[0, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]],
            [0, 9, 10, 11],
        ),
        (
            "right",
            [[2, 2, 3, 0], [1, 0, 0, 0], [0, 0, 0, 0]],
            [[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]],
            [9, 10, 11, 0],
        ),
    ],
)
def test_sequences_are_padded_on_the_side_asked_for(
    store: FeatureStore, padding: str, ids: list[list[int]], mask: list[list[int]], hours: list[int]
) -> None:
    found = store.sequences("user", as_of=MONDAY, length=4, padding=padding, vocabulary=VOCABULARY).to_numpy()
    assert found["user_id"].tolist() == ["a", "b", "c"]
    assert found["event_types"].tolist() == ids
    assert found["mask"].tolist() == [[bool(one) for one in row] for row in mask]
    assert found["hours"][0].tolist() == hours
    assert (found["event_types"].dtype, found["prices"].dtype, found["hours"].dtype) == ("int32", "float32", "int64")


def test_a_longer_sequence_keeps_its_newest_events_and_null_is_unknown(store: FeatureStore) -> None:
    found = store.sequences("user", length=2, vocabulary=VOCABULARY).to_numpy()
    assert found["as_of"].tolist() == [MONDAY + WEEK]
    assert found["event_types"].tolist() == [[1, 1]]
    assert found["prices"].tolist() == [[2, 3]]


def test_a_null_among_numbers_is_nan_under_a_true_mask(store: FeatureStore) -> None:
    found = store.sequences("user", as_of=MONDAY, length=3, columns=["prices"]).to_numpy()
    np.testing.assert_array_equal(found["prices"][0], np.array([1.5, np.nan, 2], np.float32))
    assert found["mask"][0].all()


def test_batches_of_sequences_hold_the_same_rows_and_tf_the_same_arrays(store: FeatureStore) -> None:
    sequences = store.sequences("user", as_of=None, length=3, vocabulary=VOCABULARY)
    whole = sequences.to_numpy()
    parts = list(sequences.batches(1))
    for name in ("event_types", "mask", "hours"):
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), whole[name])
    tensors = list(sequences.to_tf(2))
    np.testing.assert_array_equal(np.concatenate([one["event_types"].numpy() for one in tensors]), whole["event_types"])
    assert sequences.to_arrow()["event_types"].to_pylist()[0] == ["view", "view", "cart"]


def test_a_vocabulary_knows_training_snapshots_only(store: FeatureStore) -> None:
    vocabulary = store.vocabulary("user", train=[MONDAY])
    assert vocabulary.columns == {"event_types": ("view", "buy", "cart")}
    assert vocabulary.size("event_types") == 5
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    assert store.vocabulary("user", train=[MONDAY], least_count=2).columns["event_types"] == ("view",)
    assert store.vocabulary("user", train=[MONDAY.replace(tzinfo=dt.UTC)], most=1).columns["event_types"] == ("view",)
    with pytest.raises(ConfigError, match="training snapshots"):
        store.vocabulary("user", train=[])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"padding": "both"}, "known: left, right"),
        ({"length": 0}, "at least 1"),
        ({}, "needs ids; give vocabulary"),
        ({"columns": ["prizes"]}, "no column 'prizes'"),
        ({"columns": ["seconds_since_last_event"]}, "none of the columns is a list"),
        ({"as_of": "oldest", "columns": ["hours"]}, "'newest', or None"),
    ],
)
def test_what_cannot_be_padded_is_refused(store: FeatureStore, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        store.sequences("user", **options)


def test_lists_that_are_not_parallel_are_refused(tmp_path: Path) -> None:
    with duckdb.connect() as con:
        con.execute(
            "create table sequences__user as "
            "select 'a' as user_id, timestamp '2025-01-06' as as_of, [1, 2] as x, [1] as y"
        )
        with pytest.raises(ExamplesError, match="'y' are not as long"):
            ibis_features.open(con).sequences("user").to_numpy()


def test_a_missing_file_and_a_table_of_two_schemas_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no warehouse"):
        ibis_features.open(tmp_path / "none.duckdb")
    with duckdb.connect() as con:
        con.execute(f"{TABLES}; create schema b; create table b.features__user as from features__user")
        with pytest.raises(ConfigError, match="schemas b and main"):
            ibis_features.open(con).tables()
        assert list(ibis_features.open(con, schema="b").tables()) == ["features__user"]


@pytest.mark.slow
@pytest.mark.usefixtures("plan")
def test_on_a_built_shop_the_grid_itself_comes_back(tiny_shop: Shop) -> None:
    with ibis_features.open(tiny_shop.warehouse) as store:
        grid = store.backend.con.execute("select user_id, as_of from features__user").to_arrow_table()
        rows = store.historical(grid, ["features__user.*"]).to_arrow()
        assert rows.num_rows == grid.num_rows
        names = ", ".join(f'"{name}"' for name in store.tables()["features__user"].features)
        con = store.backend.con
        con.register("rows_found", rows)
        differing = con.execute(
            f"select count(*) from ((select user_id, as_of, {names} from rows_found) except all "
            f"(select user_id, as_of, {names} from features__user))"
        ).fetchone()
        assert differing == (0,)


@pytest.mark.slow
@pytest.mark.parametrize("entity", ["user", "item", "category"])
def test_on_a_built_shop_online_is_the_newest_snapshot(tiny_shop: Shop, entity: str) -> None:
    with ibis_features.open(tiny_shop.warehouse) as store:
        table = f"features__{entity}"
        newest = store.backend.con.execute(
            f"select * from {table} where as_of = (select max(as_of) from {table})"
        ).to_arrow_table()
        found = store.online(entity, newest[f"{entity}_id"].to_pylist(), [f"{table}.*"])
        assert len(found) > 5
        for row, expected in zip(found, newest.to_pylist(), strict=True):
            assert row == expected


STORES = """
select 's1' as store_id, timestamp '2025-01-06' as as_of, 1 as visit_count
union all
select 's1', timestamp '2025-01-13', 2
union all
select 's2', timestamp '2025-01-13', 3
{% if var('doubled', false) %}union all select 's2', timestamp '2025-01-13', 4{% endif %}
"""
ONLINE_STORES = """
{{ config(materialized='online', entity='store_id') }}
{{ foretable.newest_snapshot(ref('features__store')) }}
"""


@pytest.mark.slow
def test_a_team_gets_an_online_table_with_one_model_and_keeps_it_where_a_later_run_fails(tmp_path: Path) -> None:
    team, warehouse = tmp_path / "team", tmp_path / "built.duckdb"
    (team / "models").mkdir(parents=True)
    (team / "dbt_project.yml").write_text(yaml.safe_dump({"name": "team", "version": "1.0", "profile": "foretable"}))
    (team / "packages.yml").write_text(yaml.safe_dump({"packages": [{"local": str(DBT_PROJECT)}]}))
    shutil.copy(DBT_PROJECT / "profiles.yml", team)
    (team / "models" / "features__store.sql").write_text(STORES)
    (team / "models" / "online__store.sql").write_text(ONLINE_STORES)
    assert run_dbt("deps", warehouse=warehouse, project=team).code == 0
    for variables, code in (({}, 0), ({}, 0), ({"doubled": True}, 1)):
        run = run_dbt("run", "--select", "package:team", warehouse=warehouse, project=team, variables=variables)
        assert run.code == code, run.output
        with ibis_features.open(warehouse) as store:
            found = store.online("store", ["s1", "s2", "s3"], ["features__store.visit_count"])
            assert [row["visit_count"] for row in found] == [2, 3, None]
    assert run.results()["online__store"] == "error"


@pytest.mark.slow
def test_examples_of_a_prediction_come_with_the_schema_it_was_trained_with(tiny_shop: Shop) -> None:
    with ibis_features.open(tiny_shop.warehouse) as store:
        examples = store.examples("pred__purchase_30d")
        assert examples.schema == store.examples("purchase_30d").schema
        arrays = examples.as_rows().to_numpy()
        assert set(arrays) == {*examples.schema.names, "__label"}
        assert len(arrays["__label"]) == examples.rows() > 1000
        with pytest.raises(NotFoundError, match="purchase_30d"):
            store.examples("purchase_31d")
