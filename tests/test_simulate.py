"""The simulated shop: its bytes, its dirt, its truth."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from foretable import simulate as shop_of
from foretable.simulate import FILES, Manifest, lives, simulate, world
from foretable.simulate.words import EVENT_TYPES, REVIEW_CLOSINGS, REVIEW_OPENINGS

USERS, DAYS, SEED = 200, 120, 3
TYPES = ", ".join(f"'{name}'" for name in EVENT_TYPES)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    out = tmp_path_factory.mktemp("simulated") / "shop"
    return out, simulate(out, users=USERS, days=DAYS, seed=SEED)


@pytest.fixture(scope="module")
def con(shop: tuple[Path, Manifest]) -> Iterator[duckdb.DuckDBPyConnection]:
    """The shop's files as views, and its log cleaned by the rules as the contract words them."""
    con = duckdb.connect(config={"threads": 2})
    for name in FILES:
        if name.endswith(".parquet"):
            con.execute(f"create view {name.removesuffix('.parquet')} as select * from '{shop[0] / name}'")
    con.execute(f"""
        create table judged as
        select *, try_cast(occurred_at as timestamp) as occurred, cast(loaded_at as timestamp) as loaded, case
            when nullif(user_id, '') is null then 'missing_user_id'
            when nullif(event_type, '') is null then 'missing_event_type'
            when nullif(occurred_at, '') is null then 'missing_occurred_at'
            when try_cast(occurred_at as timestamp) is null then 'malformed_occurred_at'
            when event_type not in ({TYPES}) then 'unknown_event_type'
            when occurred > loaded + interval 1 day then 'occurred_in_future'
            when price < 0 or price > 1e6 or isnan(price) then 'impossible_price'
        end as reason
        from events
    """)
    con.execute("""
        create table delivered as select * from judged where reason is null
        qualify event_id is null or row_number() over (partition by event_id order by loaded) = 1
    """)
    con.execute("""
        create table single as select * from delivered
        qualify row_number() over (
            partition by user_id, session_id, event_type, item_id, occurred, quantity, price, duration_seconds, query,
                channel, device, campaign_id, order_id
            order by event_id nulls last) = 1
    """)
    con.execute("""
        create table kept as select * from single
        qualify item_id is null or coalesce(occurred - lag(occurred) over (
            partition by user_id, event_type, item_id order by occurred, event_id) > interval 2 second, true)
    """)
    yield con
    con.close()


def value(con: duckdb.DuckDBPyConnection, query: str) -> Any:
    row = con.execute(query).fetchone()
    assert row is not None
    return row[0]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def test_the_same_seed_gives_the_same_bytes(shop: tuple[Path, Manifest], tmp_path: Path) -> None:
    simulate(tmp_path / "again", users=USERS, days=DAYS, seed=SEED)
    assert bytes_of(tmp_path / "again") == bytes_of(shop[0])


def test_a_shop_says_from_which_day_on_it_is_another(shop: tuple[Path, Manifest], tmp_path: Path) -> None:
    changed = simulate(tmp_path / "changed", users=USERS, days=DAYS, seed=SEED, change_at=100)
    assert (shop[1].change_at, changed.change_at) == (None, 100)
    assert json.loads((tmp_path / "changed" / "manifest.json").read_text())["change_at"] == 100
    assert changed.clean < shop[1].clean


def test_another_seed_gives_another_shop(shop: tuple[Path, Manifest], tmp_path: Path) -> None:
    simulate(tmp_path / "other", users=USERS, days=DAYS, seed=SEED + 1)
    other, first = bytes_of(tmp_path / "other"), bytes_of(shop[0])
    assert all(other[name] != first[name] for name in FILES)


def test_a_shop_is_exactly_its_seven_files(shop: tuple[Path, Manifest]) -> None:
    assert {each.name for each in shop[0].iterdir()} == set(FILES)
    assert json.loads((shop[0] / "manifest.json").read_text()) == json.loads(shop[1].to_json())


def test_the_columns_are_those_of_the_raw_contract(con: duckdb.DuckDBPyConnection) -> None:
    contract = {
        "events": "event_id user_id session_id event_type item_id occurred_at loaded_at quantity price "
        "duration_seconds query channel device campaign_id order_id",
        "users": "user_id registered_at birth_year gender city region occupation income_band updated_at",
        "items": "item_id title description category_id brand price image listed_at updated_at",
        "reviews": "review_id user_id item_id rating body created_at",
        "campaigns": "campaign_id kind starts_at ends_at discount",
        "truth": "user_id as_of purchased_30d churned_30d",
    }
    for table, columns in contract.items():
        assert [row[0] for row in con.execute(f"describe {table}").fetchall()] == columns.split()


def test_every_raw_row_is_kept_a_duplicate_or_quarantined(shop: tuple[Path, Manifest]) -> None:
    manifest = shop[1]
    assert manifest.rows == manifest.clean + sum(manifest.duplicates.values()) + sum(manifest.quarantine.values())
    for counts in (manifest.duplicates, manifest.quarantine, manifest.missing, {"late": manifest.late}):
        assert all(count > 0 for count in counts.values()), "a kind of dirt that never happens tests nothing"


def test_the_manifest_counts_what_sql_counts_in_the_files(
    shop: tuple[Path, Manifest], con: duckdb.DuckDBPyConnection
) -> None:
    manifest = shop[1]
    for table, rows in manifest.counts.items():
        assert value(con, f"select count(*) from {table}") == rows
    assert value(con, "select count(*) from judged") == manifest.rows
    reasons = con.execute("select reason, count(*) from judged where reason is not null group by all").fetchall()
    assert dict(reasons) == manifest.quarantine
    tables = ("judged where reason is null", "delivered", "single", "kept")
    steps = [value(con, f"select count(*) from {table}") for table in tables]
    dropped = [before - after for before, after in pairwise(steps)]
    assert dict(zip(("event_id", "content", "near"), dropped, strict=True)) == manifest.duplicates
    assert steps[-1] == manifest.clean
    assert value(con, "select count(*) from kept where loaded >= occurred + interval 2 hour") == manifest.late
    priced = "('view', 'cart', 'purchase')"
    assert manifest.missing == {
        "price": value(con, f"select count(*) from kept where price is null and event_type in {priced}"),
        "session_id": value(con, "select count(*) from kept where session_id is null"),
        "device": value(con, "select count(*) from kept where device is null"),
    }


def test_no_two_clean_events_look_like_near_duplicates(con: duckdb.DuckDBPyConnection) -> None:
    closest = value(con, """
        select min(gap) from (select occurred - lag(occurred) over (
            partition by user_id, event_type, item_id order by occurred) as gap from kept)
    """)  # fmt: skip
    assert closest.total_seconds() > 4


def test_ids_are_unique_and_refer_to_rows_that_exist(con: duckdb.DuckDBPyConnection) -> None:
    assert value(con, "select count(*) = count(distinct event_id) from kept")
    for column, table in (("user_id", "users"), ("item_id", "items"), ("campaign_id", "campaigns")):
        unknown = f"select count(*) from kept anti join {table} using ({column}) where {column} is not null"
        assert value(con, unknown) == 0
    ordered = "select bool_and((event_type in ('purchase', 'return')) = (order_id is not null)) from kept"
    assert value(con, ordered)


def test_nothing_happens_before_it_can(con: duckdb.DuckDBPyConnection) -> None:
    assert value(con, "select count(*) from kept join items using (item_id) where occurred < listed_at") == 0
    assert value(con, "select count(*) from kept join users using (user_id) where occurred < registered_at") == 0
    bought = "select user_id, item_id, min(occurred) as bought_at from kept where event_type = 'purchase' group by all"
    for later in ("select user_id, item_id, created_at as then_at from reviews",
                  "select user_id, item_id, occurred as then_at from kept where event_type = 'return'"):  # fmt: skip
        assert value(con, f"""
            select count(*) from ({later}) left join ({bought}) using (user_id, item_id)
            where then_at <= bought_at or bought_at is null
        """) == 0  # fmt: skip


def test_the_truth_covers_every_user_with_an_event_at_every_midnight(con: duckdb.DuckDBPyConnection) -> None:
    expected = f"""
        select first.user_id, midnight as as_of
        from (select user_id, min(occurred) as first_event from kept group by all) as first
        join range(timestamp '2025-01-01' + interval 30 day, timestamp '2025-01-01' + to_days({DAYS}), interval 1 day)
            as midnights(midnight) on first_event < midnight
    """
    assert value(con, f"select count(*) from (({expected}) except (select user_id, as_of from truth))") == 0
    assert value(con, f"select count(*) from ((select user_id, as_of from truth) except ({expected}))") == 0
    assert value(con, "select count(*) = count(distinct (user_id, as_of)) from truth")
    assert value(con, "select bool_and(purchased_30d between 0 and 1 and churned_30d between 0 and 1) from truth")


def surprises(pairs: list[tuple[float, float]], groups: int = 8) -> list[float]:
    """Outcomes minus true chances, in standard deviations: of all pairs together, then by size of the chance."""
    pairs = sorted(pairs)
    parts = [pairs] + [
        pairs[group * len(pairs) // groups : (group + 1) * len(pairs) // groups] for group in range(groups)
    ]
    return [
        sum(outcome - chance for chance, outcome in part)
        / math.sqrt(sum(chance * (1 - chance) for chance, _ in part) + 1e-6)
        for part in parts
    ]


def test_what_happens_agrees_with_the_truth(tmp_path: Path) -> None:
    # Windows that do not overlap have uncorrelated surprises. By chance, one of 18 exceeds 4 once in 900 seeds, and
    # the seed is fixed.
    out = tmp_path / "shop"
    simulate(out, users=1500, days=330, seed=11)
    with duckdb.connect(config={"threads": 2}) as con:
        rows = con.execute(f"""
            with outcomes as (
                select user_id, timestamp '2025-01-31' + to_days(30 * number::int) as as_of,
                    max((event_type = 'purchase')::int) as purchased
                from '{out}/events.parquet'
                inner join range(10) as windows(number)
                    on floor(date_diff('day', timestamp '2025-01-31', try_cast(occurred_at as timestamp)) / 30) = number
                where event_type in ({TYPES}) and (price is null or (price >= 0 and price <= 1e6))
                    and try_cast(occurred_at as timestamp) <= loaded_at::timestamp + interval 1 day
                group by all
            )
            select purchased_30d, coalesce(purchased, 0), churned_30d, (purchased is null)::int
            from '{out}/truth.parquet' left join outcomes using (user_id, as_of)
            where date_diff('day', timestamp '2025-01-31', as_of) % 30 = 0 and as_of < timestamp '2025-11-01'
        """).fetchall()
    assert len(rows) > 10_000
    for pairs in ([(row[0], row[1]) for row in rows], [(row[2], row[3]) for row in rows]):
        assert max(abs(surprise) for surprise in surprises(pairs)) < 4
        assert min(pairs)[0] < 0.05
        assert max(pairs)[0] > 0.95


def test_the_truth_counts_those_who_leave_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lives, "STATE_HAZARD", np.array([0.05, 0.02, 0.01, 0.01]))
    calendar = world.make_calendar(60, np.random.default_rng(0))
    users = world.make_users(4000, 60, np.random.default_rng(1))
    sessions, history = lives.live(
        users, calendar, days=60, rng=np.random.default_rng(2), progress=lambda done: None
    )  # fmt: skip
    truth = lives.true_probabilities(users, calendar, sessions, history, progress=lambda done: None)
    first = truth.day == 30
    later = sessions.day >= 30
    purchased = np.isin(truth.user[first], sessions.user[later & sessions.bought])
    churned = ~np.isin(truth.user[first], sessions.user[later])
    for chances, outcomes in ((truth.purchased[first], purchased), (truth.churned[first], churned)):
        pairs = list(zip(chances.tolist(), outcomes.astype(float).tolist(), strict=True))
        assert max(abs(surprise) for surprise in surprises(pairs)) < 4


def test_a_shop_that_changes_is_the_same_until_that_day_and_its_truth_follows() -> None:
    calendar = world.make_calendar(90, np.random.default_rng(0))
    users = world.make_users(4000, 90, np.random.default_rng(1))
    changed = world.change(users, calendar, 45)
    lived = [
        lives.live(*of, days=90, rng=np.random.default_rng(2), progress=lambda done: None)
        for of in ((users, calendar), changed)
    ]
    (same, _), (other, history) = lived
    before, until = same.day < 45, other.day < 45
    assert (same.user[before] == other.user[until]).all()
    assert (same.chance[before] == other.chance[until]).all()
    assert (~until).sum() < 0.4 * (~before).sum()
    for sessions, keener in ((same, True), (other, False)):
        late = sessions.day >= 45
        bought = sessions.user[late & sessions.bought]
        assert (np.median(users.urge[bought]) > np.median(users.urge[sessions.user[late]])) == keener
    truth = lives.true_probabilities(*changed, other, history, progress=lambda done: None)
    blind = lives.true_probabilities(users, calendar, other, history, progress=lambda done: None)
    for as_of in (30, 50):  # a window across the change, and one after it
        then = truth.day == as_of
        within = (other.day >= as_of) & (other.day < as_of + world.HORIZON)
        purchased = np.isin(truth.user[then], other.user[within & other.bought]).astype(float)
        churned = (~np.isin(truth.user[then], other.user[within])).astype(float)
        for chances, outcomes in ((truth.purchased, purchased), (truth.churned, churned)):
            assert max(abs(one) for one in surprises(list(zip(chances[then], outcomes, strict=True)))) < 4
        assert max(abs(one) for one in surprises(list(zip(blind.purchased[then], purchased, strict=True)))) > 6


def test_the_day_of_as_of_counts_and_the_day_at_the_horizon_does_not() -> None:
    calendar = world.make_calendar(62, np.random.default_rng(0))
    only_one_day = np.where(np.arange(len(calendar.traffic)) == 60, 1.0, 0.0)
    before = np.where(np.arange(len(calendar.traffic)) < 30, 1.0, 0.0)
    calendar = replace(calendar, traffic=only_one_day + before)
    users = world.make_users(100, 62, np.random.default_rng(1))
    sessions, history = lives.live(users, calendar, days=62, rng=np.random.default_rng(2), progress=lambda done: None)
    truth = lives.true_probabilities(users, calendar, sessions, history, progress=lambda done: None)
    stays = history[truth.day, truth.user] != lives.GONE
    assert (truth.churned[truth.day == 30] == 1).all()  # [30, 60) ends before day 60
    for day in (31, 60):
        assert (truth.churned[(truth.day == day) & stays] < 1).all()
    assert (truth.churned[truth.day == 61] == 1).all()


def test_the_words_of_a_review_go_with_its_rating(con: duckdb.DuckDBPyConnection) -> None:
    reviews = con.execute("select rating, body from reviews").fetchall()
    assert {rating for rating, _ in reviews} == {1, 2, 3, 4, 5}
    for rating, body in reviews:
        assert body.startswith(REVIEW_OPENINGS[rating])
        assert body.endswith(REVIEW_CLOSINGS[rating])
        assert "{" not in body


def test_an_interrupted_run_leaves_no_half_shop(tmp_path: Path) -> None:
    def interrupt(step: str, done: float) -> None:
        if step == "working out the truth":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "shop", users=20, days=60, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_leaves_the_shop_that_was_there(tmp_path: Path) -> None:
    simulate(tmp_path / "shop", users=20, days=60)
    before = bytes_of(tmp_path / "shop")

    def interrupt(step: str, done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "shop", users=30, days=60, progress=interrupt)
    assert bytes_of(tmp_path / "shop") == before
    simulate(tmp_path / "shop", users=30, days=60)
    assert bytes_of(tmp_path / "shop") != before
    assert [each.name for each in tmp_path.iterdir()] == ["shop"]


def test_a_folder_with_anything_else_in_it_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"holds 'thesis.txt'"):
        simulate(tmp_path, users=5, days=60)
    with pytest.raises(FileExistsError, match="is a file"):
        simulate(tmp_path / "thesis.txt", users=5, days=60)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": 0}, "users is 0; a shop needs at least 1 user"),
        ({"days": 59}, "days is 59; a shop needs at least 60 days"),
        ({"seed": -1}, "seed is -1; a seed is 0 or more"),
        ({"change_at": 0}, "change_at is 0; the change has to come within the 60 days, at day 1 or later"),
        ({"change_at": 60}, "change_at is 60; the change has to come within the 60 days"),
    ],
)
def test_an_argument_out_of_range_is_named(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(tmp_path / "shop", **{"days": 60, **arguments})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", range(4))
def test_a_shop_of_one_user_works(tmp_path: Path, seed: int) -> None:
    manifest = simulate(tmp_path / "shop", users=1, days=60, seed=seed)
    assert manifest.rows == manifest.clean + sum(manifest.duplicates.values()) + sum(manifest.quarantine.values())
    with duckdb.connect() as con:
        for name in FILES[:-1]:
            con.execute(f"select * from '{tmp_path / 'shop' / name}'").fetchall()


def test_progress_goes_from_start_to_end(tmp_path: Path) -> None:
    seen: dict[str, list[float]] = {}
    simulate(tmp_path / "shop", users=5, days=60, progress=lambda step, done: seen.setdefault(step, []).append(done))
    assert list(seen) == ["living", "writing events", "working out the truth"]
    for done in seen.values():
        assert done == sorted(done)
        assert (done[0], done[-1]) == (0, 1)


def test_importing_the_simulator_imports_no_numpy() -> None:
    check = f"import sys; import {shop_of.__name__}; sys.exit('numpy' in sys.modules or 'pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
