"""Reviews: what is one review, what cannot be used, what a snapshot may see of them, and what their texts say."""

import random
import re
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tests.conftest import DBT_PROJECT, REAL_SHOPS, ROOT, run_dbt
from tests.pipeline import Pipeline, event, rows_of
from udfs.sentiment import READ_LENGTH, register_sentiment, sentiment, sentiments

TARGETS = ("int_users__voice", "duplicates__reviews", "quarantine__reviews")
NEWEST = datetime(2025, 5, 1)
TEXT = "I love this dress, it fits me well and the colour is just like in the picture. Would buy it again!"


def compiled(folder: Path, **settings: object) -> Pipeline:
    variables = {
        "history_days": 3,
        "snapshot_every": "10 days",
        "newest_as_of": str(NEWEST),
        "snapshot_anchor": "2025-05-01",
    }
    return Pipeline(folder, {**variables, **settings}, TARGETS)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return compiled(tmp_path_factory.mktemp("reviews"))


def built(
    pipeline: Pipeline, reviews: list[dict[str, Any]], users: Sequence[str] = ("u",)
) -> duckdb.DuckDBPyConnection:
    return pipeline.run([event(user, "register", "2025-01-01") for user in users], reviews=reviews)


def review(review_id: str | None, days: float, rating: object = 5, **columns: object) -> dict[str, Any]:
    created_at = str(NEWEST - timedelta(days=days))
    return {
        "review_id": review_id, "user_id": "u", "item_id": "i", "rating": rating, "created_at": created_at, **columns,
    }  # fmt: skip


def kept(con: duckdb.DuckDBPyConnection) -> list[str]:
    rows = con.execute("select review_id from cleaning.int_reviews__known where is_kept order by review_id").fetchall()
    return [review_id for (review_id,) in rows]


def told(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str]]:
    """Every duplicate: its id, the rule, and the id of the review that was kept."""
    return con.execute(
        "select lost.review_id, lost.matched_by, winner.review_id from duplicates__reviews as lost "
        "inner join staging.stg_reviews as winner on lost.kept_row_id = winner.row_id order by all"
    ).fetchall()


def voice(con: duckdb.DuckDBPyConnection, column: str, as_of: datetime = NEWEST) -> Any:
    row = con.execute(
        f"select {column} from cleaning.int_users__voice where user_id = 'u' and as_of = ?", [as_of]
    ).fetchone()
    return row[0] if row else None


def test_of_rows_with_one_id_the_latest_wins_and_its_copies_name_it(pipeline: Pipeline) -> None:
    con = built(
        pipeline,
        [
            review("a", 20, 1, body="Bad."),
            review("a", 20, 4, body="Better than I thought.", updated_at=str(NEWEST - timedelta(days=12))),
            review("b", 5, 2),
        ],
    )
    assert kept(con) == ["a", "b"]
    assert told(con) == [("a", "review_id", "a")]
    assert con.execute(
        "select rating from cleaning.int_reviews__known where review_id = 'a' and is_kept"
    ).fetchall() == [(4.0,)]


def test_a_snapshot_sees_the_version_that_was_known_by_then(pipeline: Pipeline) -> None:
    changed_at = NEWEST - timedelta(days=5)
    con = built(pipeline, [review("a", 20, 1), review("a", 20, 4, updated_at=str(changed_at))])
    assert voice(con, "rating_mean_30d", NEWEST - timedelta(days=10)) == 1
    assert voice(con, "rating_mean_30d") == 4
    assert voice(con, "review_count_30d", NEWEST - timedelta(days=10)) == 1
    assert voice(con, "review_count_30d") == 1


@pytest.mark.parametrize(("offset", "is_known"), [(timedelta(microseconds=-1), True), (timedelta(0), False)])
@pytest.mark.parametrize("column", ["created_at", "updated_at", "loaded_at"])
def test_a_review_is_known_only_where_it_was_written_changed_and_loaded_before_as_of(
    pipeline: Pipeline, column: str, offset: timedelta, is_known: bool
) -> None:
    con = built(pipeline, [{**review("a", 20), column: str(NEWEST + offset)}])
    assert voice(con, "review_count_lifetime") == int(is_known)


def test_reviews_that_say_the_same_at_the_same_instant_are_one_whatever_their_ids(pipeline: Pipeline) -> None:
    con = built(
        pipeline,
        [
            review("a", 20, body=TEXT, loaded_at=str(NEWEST - timedelta(days=15))),
            review("b", 20, body=TEXT, loaded_at=str(NEWEST - timedelta(days=14))),
            review("c", 20, 4),
            review("d", 20, 4),
            review("e", 20, 3),
            review("f", 20, 3, user_id="v"),
            review("g", 20, 3, item_id="j"),
        ],
    )
    content = [(lost, rule) for lost, rule, _ in told(con) if rule == "content"]
    assert content in ([("b", "content"), ("d", "content")], [("b", "content"), ("c", "content")])
    assert {"a", "e", "f", "g"} <= set(kept(con))


def test_near_identical_texts_of_one_user_on_one_item_are_one_review_the_first(pipeline: Pipeline) -> None:
    reposted = TEXT.replace("colour", "color").upper()
    con = built(
        pipeline,
        [
            review("a", 20, body=TEXT),
            review("b", 15, body=reposted),
            review("c", 10, body="  " + reposted.replace(" ", "\n ") + "!"),
            review("d", 9, body="It tore at the seam after two weeks. I sent it back and got no answer to my letters."),
            review("e", 8, body=TEXT, item_id="j"),
            review("f", 8, body=TEXT, user_id="v"),
            review("g", 8, body=TEXT, item_id=None),
        ],
    )
    assert told(con) == [("b", "near", "a"), ("c", "near", "a")]
    assert kept(con) == ["a", "d", "e", "f", "g"]


def test_a_loser_of_two_rules_names_the_row_that_was_kept(pipeline: Pipeline) -> None:
    con = built(
        pipeline,
        [
            review("a", 20, body=TEXT),
            review("b", 15, body="Something else altogether."),
            review("b", 15, body=TEXT + "!", updated_at=str(NEWEST - timedelta(days=14))),
        ],
    )
    assert told(con) == [("b", "near", "a"), ("b", "review_id", "a")]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], []),
        (["review_id"], [("a", "review_id", "a")]),
        (["content"], [("b", "content", "a")]),
        (["near"], [("a", "near", "a"), ("b", "near", "a"), ("c", "near", "a")]),
    ],
)
def test_every_rule_is_on_or_off(tmp_path: Path, rules: list[str], expected: list[tuple[str, str, str]]) -> None:
    loaded = {"loaded_at": str(NEWEST - timedelta(days=9))}
    con = built(
        compiled(tmp_path, review_duplicate_rules=rules),
        [
            review("a", 20, body=TEXT),
            review("a", 20, body=TEXT + "!", **loaded),
            review("b", 20, body=TEXT, **loaded),
            review("c", 10, body=TEXT),
        ],
    )
    assert told(con) == expected
    assert len(kept(con)) == 4 - len(expected)


def test_an_unknown_rule_is_refused_and_the_known_ones_are_named(tmp_path: Path) -> None:
    run = run_dbt(
        "compile", "--select", "int_reviews__matched",
        warehouse=tmp_path / "w.duckdb", data=tmp_path, variables={"review_duplicate_rules": ["review_ids"]},
    )  # fmt: skip
    assert run.code != 0
    assert "review_duplicate_rules holds 'review_ids'; known: review_id, content, near" in run.output


BROKEN = [
    ({"user_id": " "}, "missing_user_id"),
    ({"rating": None}, "missing_rating"),
    ({"rating": "five"}, "malformed_rating"),
    ({"rating": "nan"}, "malformed_rating"),
    ({"rating": "-1"}, "impossible_rating"),
    ({"rating": "5.5"}, "impossible_rating"),
    ({"created_at": None}, "missing_created_at"),
    ({"created_at": "yesterday"}, "malformed_created_at"),
    ({"created_at": "9998-01-01"}, "created_in_future"),
    ({"loaded_at": "soon"}, "malformed_loaded_at"),
    ({"loaded_at": "9998-01-01"}, "loaded_in_future"),
    ({"updated_at": "0"}, "malformed_updated_at"),
    ({"updated_at": "9998-01-01"}, "updated_in_future"),
]


@pytest.mark.parametrize(("columns", "reason"), BROKEN)
def test_a_review_that_cannot_be_used_is_quarantined_with_its_reason_and_as_it_came(
    pipeline: Pipeline, columns: dict[str, object], reason: str
) -> None:
    con = built(pipeline, [{**review("a", 20, body=TEXT), **columns}, review("b", 20)])
    assert kept(con) == ["b"]
    ((found, text),) = con.execute("select rejection_reason, raw_text from quarantine__reviews").fetchall()
    assert found == reason
    assert TEXT in text
    assert all(value is None or f'"{value}"' in text for value in columns.values())


def test_every_reason_to_quarantine_a_review_is_tested_and_documented() -> None:
    sql = (DBT_PROJECT / "models" / "staging" / "stg_reviews.sql").read_text(encoding="utf-8")
    plain = set(re.findall(r"then '(\w+)'", sql))
    dated = {
        f"{kind}_{column}"
        for columns, kind in re.findall(r"for column in (\[[^]]*\]) %\}\s+when [^\n]*then '(\w+)_\{\{", sql)
        for column in re.findall(r"'(\w+)'", columns)
    }
    assert len(dated) == 6
    reasons = plain | dated
    assert reasons == {reason for _, reason in BROKEN}
    text = (ROOT / "docs" / "raw-contract.md").read_text(encoding="utf-8")
    assert sorted(reason for reason in reasons if f"`{reason}`" not in text) == []


def random_reviews(draw: random.Random) -> list[dict[str, Any]]:
    bodies = [TEXT, TEXT + "!", "Bad.", None]
    rows = [
        review(
            draw.choice([None, "a", "b", "c"]), draw.randrange(1, 60), draw.choice([1, 5, "x"]),
            body=draw.choice(bodies), user_id=draw.choice(["u", "v", None]), item_id=draw.choice(["i", "j", None]),
            loaded_at=draw.choice([None, str(NEWEST - timedelta(days=draw.randrange(1, 30)))]),
        )
        for _ in range(60)
    ]  # fmt: skip
    return [*rows, *rows[:10]]


@pytest.mark.parametrize("seed", range(6))
def test_raw_is_kept_and_duplicate_and_quarantined_and_rows_in_any_order_give_the_same_tables(
    pipeline: Pipeline, seed: int
) -> None:
    draw = random.Random(seed)
    rows = random_reviews(draw)
    con = built(pipeline, rows)
    counts = con.execute(
        "select (select count(*) from cleaning.int_reviews__known where is_kept), "
        "(select count(*) from duplicates__reviews), (select count(*) from quarantine__reviews)"
    ).fetchone()
    assert counts is not None
    assert sum(counts) == len(rows)
    assert all(count > 0 for count in counts)
    draw.shuffle(rows)
    again = built(pipeline, rows)
    for table in ("cleaning.int_reviews__known", "duplicates__reviews", "quarantine__reviews"):
        assert rows_of(con, table) == rows_of(again, table)


@pytest.mark.parametrize("seed", range(6))
def test_reviews_of_the_future_change_no_earlier_snapshot(pipeline: Pipeline, seed: int) -> None:
    draw = random.Random(seed)
    cut = NEWEST - timedelta(days=20)
    rows = random_reviews(draw)
    later = [
        {**row, "rating": "1", "body": "Terrible!", "loaded_at": str(cut + timedelta(days=draw.randrange(19)))}
        for row in rows[::2]
    ]
    seen = f"(select * from cleaning.int_users__voice where as_of <= timestamp '{cut}')"
    before = rows_of(built(pipeline, rows, ("u", "v")), seen)
    assert len(before) > 4
    assert rows_of(built(pipeline, rows + later, ("u", "v")), seen) == before


def seen(con: duckdb.DuckDBPyConnection, as_of: datetime, column: str = "row_id") -> list[str]:
    rows = con.execute(
        f"select {column}::varchar from cleaning.int_reviews__known where known_on < ? and ? <= hidden_on order by all",
        [as_of, as_of],
    )
    return [value for (value,) in rows.fetchall()]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"body": "It tore at the seam after two weeks."}, [["a"], ["a"], ["a"]]),
        ({"item_id": "j"}, [["a"], ["a"], ["a"]]),
        ({"body": TEXT + "!!"}, [["a"], ["a"], ["a"]]),
    ],
)
@pytest.mark.parametrize("copy_days", [{"days": 15}, {"days": 20, "loaded_at": str(NEWEST - timedelta(days=15))}])
def test_a_copy_stays_a_copy_when_what_it_repeats_is_corrected(
    pipeline: Pipeline, copy_days: dict[str, Any], changes: dict[str, Any], expected: list[list[str]]
) -> None:
    corrected = {**review("a", 20, body=TEXT, updated_at=str(NEWEST - timedelta(days=8))), **changes}
    con = built(pipeline, [review("a", 20, body=TEXT), {**review("b", body=TEXT, **copy_days)}, corrected])
    assert [seen(con, NEWEST - timedelta(days=days), "review_id") for days in (12, 6, 0)] == expected


def test_what_comes_to_repeat_a_later_review_hides_it_from_that_day_on(pipeline: Pipeline) -> None:
    repeats = review("a", 20, body=TEXT + "!", updated_at=str(NEWEST - timedelta(days=8)))
    con = built(pipeline, [review("a", 20, body="Bad."), review("b", 15, body=TEXT), repeats])
    assert [seen(con, NEWEST - timedelta(days=days), "review_id") for days in (17, 10, 0)] == [["a"], ["a", "b"], ["a"]]
    assert told(con) == [("a", "review_id", "a"), ("b", "near", "a")]


def repeated_reviews(draw: random.Random) -> list[dict[str, Any]]:
    """Versions and copies of a few reviews of one user and item, in any order."""
    return [
        review(
            draw.choice([None, "a", "b", "c"]), 50, draw.choice([1, 5]),
            body=draw.choice([TEXT, TEXT + "!", "Bad.", "Bad?", "Good, and long enough"]),
            loaded_at=str(NEWEST - timedelta(days=draw.randrange(1, 40))),
        )
        for _ in range(draw.randrange(2, 10))
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(30))
def test_copies_and_corrections_known_later_change_no_earlier_snapshot(pipeline: Pipeline, seed: int) -> None:
    draw = random.Random(seed)
    rows, cut = repeated_reviews(draw), NEWEST - timedelta(days=20)
    past = [row for row in rows if row["loaded_at"] < str(cut)]
    snapshots = [cut - timedelta(days=days) for days in range(0, 20, 2)]
    of_the_past = built(pipeline, past) if past else None
    before = [seen(of_the_past, as_of) if of_the_past else [] for as_of in snapshots]
    con = built(pipeline, rows)
    assert [seen(con, as_of) for as_of in snapshots] == before
    counts = con.execute(
        "select (select count(*) from cleaning.int_reviews__known where is_kept), "
        "(select count(*) from duplicates__reviews inner join cleaning.int_reviews__known as kept "
        "on kept.row_id = kept_row_id and is_kept)"
    ).fetchone()
    assert sum(counts) == len(rows)


def test_the_voice_of_a_user_is_what_one_would_count_by_hand(pipeline: Pipeline) -> None:
    con = built(
        pipeline,
        [
            review("a", 30, 5, body="I love it"),
            review("b", 20, 4),
            review("c", 10.5, 1, body="It broke. Terrible!"),
            review("d", 30 + 1e-6, 3, body=None),
            review("e", 31, 1, user_id="v"),
        ],
    )
    expected = {
        "review_count_30d": 3,
        "rating_mean_30d": pytest.approx(10 / 3),
        "good_review_share_30d": pytest.approx(2 / 3),
        "bad_review_share_30d": pytest.approx(1 / 3),
        "review_sentiment_mean_30d": pytest.approx((0.6369 - 0.7345) / 2),
        "review_count_lifetime": 4,
        "rating_mean_lifetime": 13 / 4,
        "review_recency_days": 10.5,
    }
    assert {column: voice(con, column) for column in expected} == expected


def test_who_wrote_no_review_has_a_count_of_zero_and_no_mean(pipeline: Pipeline) -> None:
    con = built(pipeline, [])
    assert voice(con, "review_count_180d") == 0
    assert voice(con, "rating_mean_180d") is None
    assert voice(con, "review_sentiment_mean_lifetime") is None


def test_sentiment_knows_praise_from_blame_and_negation(pipeline: Pipeline) -> None:
    love, negated, broken, neutral = sentiments(
        pa.array(["I love it", "I do not love it", "It broke. Terrible!", "The parcel is on the table"])
    ).to_pylist()
    assert love > 0.5
    assert 0 > negated > broken
    assert neutral == 0


def test_blank_text_has_no_sentiment_and_a_long_one_is_read_up_to_its_bound() -> None:
    assert [sentiment(text) for text in (None, "", " \n")] == [None, None, None]
    assert sentiment("word " * (READ_LENGTH // 5) + " terrible" * 1000) == 0
    started = time.process_time()
    sentiment("good but bad " * 100_000)
    assert time.process_time() - started < 2


def test_the_function_of_sql_gives_what_the_library_gives_to_nulls_too() -> None:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    texts = [None, "I love it", "meh 🙂", "ÄÖÜ gut", "x" * 5000] * 1000
    with duckdb.connect(config={"threads": 4}) as con:
        register_sentiment(con)
        con.execute("create table texts as select unnest(?::varchar[]) as body", [texts])
        found = con.execute("select body, foretable_sentiment(body) from texts").fetchall()
    library = SentimentIntensityAnalyzer()
    scores = {text: library.polarity_scores(text)["compound"] if text else None for text in set(texts)}
    assert [score for _, score in found] == [scores[text] for text, _ in found]


@pytest.mark.slow
def test_the_sentiment_of_real_reviews_goes_with_their_ratings_and_is_quick() -> None:
    file = REAL_SHOPS / "womens_clothing_reviews.parquet"
    if not file.exists():
        pytest.skip("real reviews are not here")
    with duckdb.connect() as con:
        register_sentiment(con)
        started = time.process_time()
        rows = con.execute(
            f"""select "Rating", avg(foretable_sentiment("Review Text")), count(*) from '{file}'
            where "Review Text" is not null and row_id % 8 = 0 group by 1 order by 1"""
        ).fetchall()
        seconds = time.process_time() - started
    means = [mean for _, mean, _ in rows]
    assert means == sorted(means)
    assert means[-1] - means[0] > 0.4
    assert sum(count for *_, count in rows) / seconds > 2000
