"""The families of user features (money, rhythm, funnel, taste, trends) against a plain reading of the log in Python."""

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pytest

from tests.conftest import ROOT
from tests.pipeline import Pipeline, Row, event

NEWEST = datetime(2025, 5, 1)
DAYPARTS = ("night", "dawn", "morning", "afternoon", "evening", "late")
PROFILES = {"30d": 30, "90d": 90, "180d": 180, "lifetime": 100_000}
WINDOWS = {f"{days}d": days for days in (1, 3, 7, 14, 30, 60, 90, 180)} | {"lifetime": 100_000}
ITEMS = [
    {"item_id": f"i{n}", "category_id": f"c{n % 3}", "brand": f"b{n % 2}", "price": 10.0 + n, "listed_at": "2024-01-01"}
    for n in range(6)
]

Features = dict[str, Any]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    variables = {
        "history_days": 30, "snapshot_every": "10 days", "newest_as_of": str(NEWEST), "duplicate_rules": ["event_id"],
    }  # fmt: skip
    return Pipeline(tmp_path_factory.mktemp("families"), variables, targets=["int_users__measured"])


def features_of(con: duckdb.DuckDBPyConnection, user: str = "u", as_of: datetime = NEWEST) -> Features:
    found = con.execute("select * from cleaning.int_users__measured where user_id = ? and as_of = ?", [user, as_of])
    row = found.fetchone()
    assert row is not None, f"no row of {user} at {as_of}"
    return dict(zip([column[0] for column in found.description], row, strict=True))


def make_log(seed: int) -> list[Row]:
    """Two hundred days of five users, with late rows, corrected rows, several rows of one instant, and NULL prices."""
    draw = random.Random(seed)
    rows: list[Row] = []
    for number in range(1_200):
        minutes = draw.randrange(200 * 24) * 60
        occurred = NEWEST - timedelta(days=200) + timedelta(minutes=minutes)
        loaded = occurred + timedelta(hours=draw.choice((0, 0, 0, 0, 0, 0, 5, 30, 70)))
        row = event(
            f"u{draw.randrange(5)}",
            draw.choice(("view", "view", "view", "cart", "purchase", "search", "return")),
            str(occurred),
            event_id=f"e{number}",
            session_id=f"s{number // 4}" if draw.random() < 0.7 else None,
            item_id=draw.choice((None, *(item["item_id"] for item in ITEMS))),
            price=draw.choice((None, 4.0, 11.5, 13.0)),
            quantity=draw.choice((None, 1.0, 3.0)),
            duration_seconds=draw.choice((None, 10.0, 42.5)),
            loaded_at=str(loaded),
        )
        rows.append(row)
        if draw.random() < 0.1:
            changes = draw.choice(({"event_type": "purchase"}, {"item_id": "i1"}, {"price": 12.25}))
            rows.append({**row, **changes, "loaded_at": str(loaded + timedelta(hours=draw.randrange(1, 90)))})
    draw.shuffle(rows)
    return rows


def seen_by(rows: Iterable[Row], user: str, as_of: datetime) -> list[Features]:
    """What a snapshot knows of a user: of each event the version that was loaded last before it."""
    versions: dict[str, Row] = {}
    for row in rows:
        if row["user_id"] == user and row["loaded_at"] < str(as_of):
            versions[row["event_id"]] = max(
                row, versions.get(row["event_id"], row), key=lambda version: version["loaded_at"]
            )
    items = {item["item_id"]: item for item in ITEMS}
    events: list[Features] = []
    for row in versions.values():
        item = items.get(row["item_id"], {})
        occurred = datetime.fromisoformat(row["occurred_at"])
        is_imputed = row["price"] is None
        events.append(
            {
                **row,
                "at": occurred,
                "age": (as_of - datetime.combine(occurred.date(), datetime.min.time())).days,
                "session_id": row["session_id"] or f"{user}@{occurred.date()}",
                "category": item.get("category_id"),
                "brand": item.get("brand"),
                "units": row["quantity"] or 1.0,
                "price": item.get("price") if is_imputed else row["price"],
                "list_price": None if is_imputed else item.get("price"),
                "is_imputed": is_imputed and bool(item),
            }
        )
    return events


def of_type(events: Iterable[Features], event_type: str, days: int = 10**6) -> list[Features]:
    return [row for row in events if row["event_type"] == event_type and row["age"] <= days]


def ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def entropy(counts: Iterable[int]) -> float | None:
    given = [count for count in counts if count]
    total = sum(given)
    return -sum(count / total * math.log(count / total) for count in given) if total else None


def money(events: Sequence[Features], medians: dict[str, float]) -> Features:
    found: Features = {}
    for window, days in WINDOWS.items():
        values = [row["price"] * row["units"] for row in of_type(events, "purchase", days) if row["price"] is not None]
        found[f"purchase_value_mean_{window}"] = ratio(sum(values), len(values))
        found[f"purchase_value_max_{window}"] = max(values, default=None)
    for window, days in PROFILES.items():
        bought = of_type(events, "purchase", days)
        listed = [row for row in bought if row["list_price"] is not None]
        saved = sum(max(row["list_price"] - row["price"], 0) * row["units"] for row in listed)
        found[f"discount_share_{window}"] = ratio(saved, sum(row["list_price"] * row["units"] for row in listed))
        found[f"discounted_purchase_share_{window}"] = ratio(
            sum(row["price"] < row["list_price"] for row in listed), len(listed)
        )
        compared = [row for row in bought if not row["is_imputed"] and row["category"] in medians]
        found[f"price_level_{window}"] = ratio(
            sum(row["price"] * row["units"] for row in compared),
            sum(medians[row["category"]] * row["units"] for row in compared),
        )
        found[f"return_rate_{window}"] = ratio(len(of_type(events, "return", days)), len(bought))
    return found


def rhythm(events: Sequence[Features]) -> Features:
    found: Features = {}
    for window, days in PROFILES.items():
        rows = [row for row in events if row["age"] <= days]
        parts = Counter(DAYPARTS[row["at"].hour // 4] for row in rows)
        weekdays = Counter(row["at"].weekday() for row in rows)
        for part in DAYPARTS:
            found[f"{part}_share_{window}"] = ratio(parts[part], len(rows))
        found[f"weekend_share_{window}"] = ratio(weekdays[5] + weekdays[6], len(rows))
        found[f"daypart_entropy_{window}"] = entropy(parts.values())
        found[f"weekday_entropy_{window}"] = entropy(weekdays.values())
        timed = [row for row in of_type(rows, "view") if row["duration_seconds"] is not None]
        found[f"view_seconds_mean_{window}"] = ratio(sum(row["duration_seconds"] for row in timed), len(timed))
    return found


def funnel(events: Sequence[Features]) -> Features:
    steps: dict[str, dict[datetime, list[Features]]] = {}
    for row in events:
        if row["item_id"]:
            steps.setdefault(row["item_id"], {}).setdefault(row["at"], []).append(row)
    last_carts: list[tuple[int, float, bool]] = []
    purchases: list[tuple[int, int]] = []
    for instants in steps.values():
        views, cart = 0, None
        for _, rows in sorted(instants.items()):
            views += len(of_type(rows, "view"))
            if carts := of_type(rows, "cart"):
                cart = (carts[0]["age"], max(row["price"] * row["units"] for row in carts), True)
            if of_type(rows, "purchase"):
                purchases.append((rows[0]["age"], views))
                views = 0
                cart = cart and (cart[0], cart[1], False)
        if cart:
            last_carts.append(cart)
    found: Features = {}
    for window, days in WINDOWS.items():
        open_carts = [value for age, value, is_open in last_carts if age <= days and is_open]
        if window != "lifetime":
            found[f"abandoned_cart_count_{window}"] = len(open_carts)
            found[f"abandoned_cart_value_{window}"] = sum(open_carts)
        if window in PROFILES:
            found[f"abandoned_cart_share_{window}"] = ratio(
                len(open_carts), sum(age <= days for age, _, _ in last_carts)
            )
            before = [count for age, count in purchases if age <= days]
            found[f"views_before_purchase_mean_{window}"] = ratio(sum(before), len(before))
    return found


def pattern_of(session: Sequence[Features]) -> str:
    kinds = Counter(row["event_type"] for row in session)
    rules: dict[str, bool] = {
        "direct_purchase": kinds["purchase"] > 0 and kinds["view"] <= 1,
        "considered_purchase": kinds["purchase"] > 0,
        "abandoned_cart": kinds["cart"] > 0,
        "bounce": len(session) == 1,
        "search_led": kinds["search"] > 0,
        "browsing": True,
    }
    return next(name for name, holds in rules.items() if holds)


def patterns(events: Sequence[Features]) -> Features:
    sessions: dict[str, list[Features]] = {}
    for row in events:
        sessions.setdefault(row["session_id"], []).append(row)
    found: Features = {}
    for window, days in PROFILES.items():
        names = Counter(pattern_of(rows) for rows in sessions.values() if max(row["age"] for row in rows) <= days)
        for name in ("direct_purchase", "considered_purchase", "abandoned_cart", "bounce", "search_led", "browsing"):
            found[f"{name}_session_share_{window}"] = ratio(names[name], names.total())
    return found


def taste(events: Sequence[Features]) -> Features:
    found: Features = {}
    for thing in ("category", "brand"):
        for window, days in PROFILES.items():
            counts = Counter(row[thing] for row in events if row[thing] and row["age"] <= days)
            best = min(counts, key=lambda name: (-counts[name], name), default=None)
            found[f"top_{thing}_share_{window}"] = ratio(counts[best], counts.total()) if best else None
            found[f"{thing}_entropy_{window}"] = entropy(counts.values())
            if window in ("90d", "lifetime"):
                found[f"favourite_{thing}_{window}"] = best
    return found


def trends(events: Sequence[Features]) -> Features:
    measures: dict[str, Callable[[int], float]] = {
        "event": lambda days: sum(row["age"] <= days for row in events),
        "view": lambda days: len(of_type(events, "view", days)),
        "purchase": lambda days: len(of_type(events, "purchase", days)),
        "purchase_value": lambda days: sum(
            row["price"] * row["units"] for row in of_type(events, "purchase", days) if row["price"] is not None
        ),
    }
    found: Features = {}
    for name, measure in measures.items():
        for days in (7, 30, 90):
            last, before = measure(days), measure(2 * days) - measure(days)
            found[f"{name}_trend_{days}d"] = ratio(last - before, last + before)
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_every_family_is_what_a_plain_reading_of_the_known_log_gives(pipeline: Pipeline, seed: int) -> None:
    rows = make_log(seed)
    con = pipeline.run(rows, ITEMS)
    medians = dict(
        con.execute(
            "select category_id, price from cleaning.int_items__price_medians where category_id is not null"
        ).fetchall()
    )
    assert medians
    snapshots = con.execute("select user_id, as_of from cleaning.int_users__snapshots order by all").fetchall()
    unsettled = con.execute("select user_id from cleaning.int_users__unsettled").fetchall()
    assert len(snapshots) > 50
    assert len(unsettled) > 10
    for user, as_of in snapshots:
        events = seen_by(rows, user, as_of)
        found = features_of(con, user, as_of)
        for family in (money(events, medians), rhythm(events), funnel(events), patterns(events), taste(events),
                       trends(events)):  # fmt: skip
            expected = {
                name: value if value is None or isinstance(value, str) else pytest.approx(value, abs=2e-6)
                for name, value in family.items()
            }
            assert {name: found[name] for name in expected} == expected, f"{user} at {as_of}"


def test_a_user_with_one_search_has_no_money_no_carts_and_no_taste(pipeline: Pipeline) -> None:
    found = features_of(pipeline.run([event("u", "search", "2025-04-30 12:00:00", query="shoes")]))
    assert found["event_trend_7d"] == 1.0
    assert found["bounce_session_share_30d"] == 1.0
    assert found["abandoned_cart_count_30d"] == 0
    empty = (
        "purchase_value_mean_30d", "purchase_value_max_30d", "return_rate_30d", "discount_share_30d", "price_level_30d",
        "cart_to_purchase_rate_30d", "abandoned_cart_share_30d", "views_before_purchase_mean_30d", "purchase_trend_7d",
        "category_entropy_30d", "top_brand_share_lifetime", "favourite_category_lifetime", "view_seconds_mean_30d",
        "interval_regularity_30d",
    )  # fmt: skip
    assert {name: found[name] for name in empty} == dict.fromkeys(empty)


@pytest.mark.parametrize(("offset", "is_in"), [(timedelta(0), True), (timedelta(microseconds=-1), False)])
@pytest.mark.parametrize("days", [30, 90, 180])
def test_the_first_instant_of_a_window_is_in_it(pipeline: Pipeline, days: int, offset: timedelta, is_in: bool) -> None:
    at = str(NEWEST - timedelta(days=days) + offset)
    found = features_of(
        pipeline.run(
            [
                event("u", "register", "2024-01-01"),
                event("u", "cart", at, item_id="i0", event_id="1"),
                event("u", "purchase", at, item_id="i1", price=20, event_id="2"),
                event("u", "view", str(NEWEST), item_id="i1", event_id="3"),
            ],
            ITEMS,
        )
    )
    assert found[f"purchase_value_max_{days}d"] == (20.0 if is_in else None)
    assert found[f"abandoned_cart_count_{days}d"] == int(is_in)
    assert found[f"views_before_purchase_mean_{days}d"] == (0.0 if is_in else None)
    assert found[f"top_category_share_{days}d"] == (0.5 if is_in else None)
    assert (found[f"weekend_share_{days}d"] is not None) == is_in
    assert found["category_entropy_lifetime"] == pytest.approx(math.log(2), abs=1e-6)


def test_gaps_that_are_all_alike_are_regular_and_unlike_ones_are_less_so(pipeline: Pipeline) -> None:
    def regularity(*days: int) -> Any:
        visits = [event("u", "view", str(NEWEST - timedelta(days=day)), item_id="i0") for day in days]
        return features_of(pipeline.run(visits))["interval_regularity_30d"]

    assert regularity(21, 14, 7) == 1.0
    assert regularity(13, 12, 1) == pytest.approx(6 / (6 + 50**0.5))
    assert regularity(14, 7) is None, "one gap has no deviation"


def documented() -> set[str]:
    """The columns that the table of families promises, with their windows."""
    text = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    section = text.split("## Families of user features")[1].split("\n## ")[0]
    windows: dict[str, Sequence[str]] = {
        "all, lifetime": list(WINDOWS),
        "all": list(WINDOWS)[:-1],
        "all but 1 day": list(WINDOWS)[1:-1],
        "profile": list(PROFILES),
        "profile without lifetime": list(PROFILES)[:-1],
        "90 days, lifetime": ("90d", "lifetime"),
        "7, 30, 90 days": ("7d", "30d", "90d"),
    }
    rows = re.findall(r"^\| (?:money|time|funnel|taste|trends) \| (`.*?`) \| ([\w ,]+) \|", section, re.MULTILINE)
    assert len(rows) > 15
    return {
        f"{name}_{window}" for names, cell in rows for name in re.findall(r"`(\w+)`", names) for window in windows[cell]
    }


def test_the_table_of_families_names_every_column_with_its_windows(pipeline: Pipeline) -> None:
    con = pipeline.run([event("u", "view", "2025-04-30")])
    names = documented()
    assert names <= features_of(con).keys()
    for family in ("money", "rhythm", "funnel", "taste"):
        columns = con.sql(f"select * exclude (user_id, as_of) from cleaning.int_users__{family} limit 0").columns
        assert set(columns) <= names, family


def test_the_table_of_patterns_names_every_rule_in_order() -> None:
    macro = (ROOT / "dbt_project" / "macros" / "sessions.sql").read_text(encoding="utf-8")
    rules = re.findall(r"^ +'(\w+)': '", macro.split("macro session_patterns()")[1], re.MULTILINE)
    text = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    table = text.split("| pattern | rule |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == rules
