"""Predictions that put items in order: trained, judged, scored, compiled to SQL, looked up and watched."""

from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import pytest

import udfs
from ibis_features import Feature, FeatureSchema
from models_ml import trees
from models_ml.baselines import popularity_scores
from tests.predicting import last_run, predict, version_count
from udfs.lifecycle import compare, promote

CANDIDATES = """
    select
        'u' || u as user_id,
        'i' || i as item_id,
        timestamp '2025-01-01' + interval (30 * s) days as as_of,
        ((u * 7 + i * 13 + s * 5) % 100)::double as affinity,
        ((u * 31 + i * 17 + s * 3) % 10)::double as recency_days,
        ((i * 37) % 50)::double as price,
        'c' || (i % 4) as category,
        u % 3 = i % 3 as is_favourite,
        (u * 7919 + i * 104729 + s * 1299709) % 1000 / 1000.0 as luck
    from range(80) as users (u), range(24) as items (i), range(6) as snapshots (s)
    where (u + i + s) % 2 = 0
"""
WANTED = "affinity + 30 * is_favourite::int + price / 5 + 40 * luck"
LABELS = {
    "seen": f"{WANTED} > 120",
    "graded": f"greatest(0, least(3, floor(({WANTED} - 90) / 20)))::integer",
}
QUICK = {"n_estimators": 60, "eta": 0.3, "colsample_bytree": 1.0, "min_child_weight": 1.0}
RANKED = {
    "kind": "ranking",
    "item": "item_id",
    "label": "label",
    "model": "xgboost",
    "params": QUICK,
    "promote": "always",
}


def candidates(con: duckdb.DuckDBPyConnection, label: str = "seen", *, known_before: str = "2025-05-31") -> str:
    """Candidates with their relevance, as long as it is known, in the table `fixed`."""
    con.execute(
        f"create or replace table fixed as select * exclude (luck), case when as_of < timestamp '{known_before}' "
        f"then {LABELS[label]} end as label from ({CANDIDATES})"
    )
    return "select * from fixed"


def figures(con: duckdb.DuckDBPyConnection, split: str = "test") -> dict[tuple[str, str], tuple[float, float]]:
    """Value and lower end of each metric of version 1, by who scored."""
    rows = con.execute(
        "select scored_by, metric, value, lower from foretable.metrics where split = ? and version = 1", [split]
    ).fetchall()
    return {(scored_by, metric): (value, lower) for scored_by, metric, value, lower in rows}


def lists_of(con: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[list[float], list[float]]]:
    """Labels and scores of each list that `sql` tells: user_id, label and score by row."""
    rows = con.execute(f"select list(label::double), list(score::double) from ({sql}) group by user_id").fetchall()
    for labels, scores in rows:  # where labels differ, too, ties would go by an order of their own
        assert len(set(zip(scores, labels, strict=True))) == len(set(scores))
    return rows


def reckoned(lists: list[tuple[list[float], list[float]]]) -> dict[str, float]:
    """The metrics of lists without ties, by walking down each of them."""
    hits, gains, reciprocals = [], [], []
    for labels, scores in lists:
        down = [label for _, label in sorted(zip(scores, labels, strict=True), reverse=True)]
        if not any(down):
            continue
        hits.append(any(down[:10]))
        reciprocals.append(1 / next(place for place, label in enumerate(down, 1) if label))
        gain, best = (
            sum((2**label - 1) / np.log2(1 + place) for place, label in enumerate(order[:10], 1))
            for order in (down, sorted(down, reverse=True))
        )
        gains.append(gain / best)
    return {"hr_at_10": np.mean(hits), "mrr": np.mean(reciprocals), "ndcg_at_10": np.mean(gains)}


@pytest.mark.parametrize("label", LABELS)
def test_the_model_beats_popularity_and_its_metrics_are_those_of_each_list(
    con: duckdb.DuckDBPyConnection, label: str
) -> None:
    config = {**RANKED, "promote": "when_better", "slices": ["category"]}
    assert predict(con, candidates(con, label), **config) is None
    found = figures(con)
    assert found["above_popularity", "ndcg_at_10"][1] > 0.1
    test = con.execute("select max(as_of) from fixed where label is not null").fetchone()[0]
    of_test = f"select user_id, label, scores.test(fixed) as score from fixed where as_of = '{test}'"
    for metric, value in reckoned(lists_of(con, of_test)).items():
        assert found["model", metric][0] == pytest.approx(value)
    slices = con.execute("select value, metric, metric_value from foretable.slices where split = 'test'").fetchall()
    for value, metric, measured in slices:
        assert metric == "ndcg_at_10"
        assert measured == pytest.approx(reckoned(lists_of(con, f"{of_test} and category = '{value}'"))["ndcg_at_10"])


def test_popularity_is_the_mean_relevance_of_an_item_in_training_drawn_towards_that_of_all() -> None:
    scores = popularity_scores(["a", "b", "a", "a", "b"], np.array([1, 0, 1, 0, 0]), ["b", "new", "a"])
    np.testing.assert_allclose(scores, [(0 + 10 * 0.4) / 12, 0.4, (2 + 10 * 0.4) / 13], rtol=1e-6)


@pytest.mark.parametrize("model", ["xgboost", "lightgbm", "mlp"])
def test_table_function_macro_and_lookups_agree_on_scores_and_order(con: duckdb.DuckDBPyConnection, model: str) -> None:
    quick = {"n_estimators": 60, "learning_rate": 0.3}
    params = {"xgboost": QUICK, "lightgbm": quick, "mlp": {"epochs": 6, "units": 16}}[model]
    assert predict(con, candidates(con), **{**RANKED, "model": model, "params": params, "reasons": 2}) is None
    udfs.register(con, ["test"])
    rows = con.execute(
        "select pred.score, score_test(fixed), scores.test(fixed), pred.reasons from pred__test as pred "
        "inner join fixed using (user_id, item_id, as_of)"
    ).fetchall()
    assert len(rows) == 80 * 12
    table, udf, macro = np.array([row[:3] for row in rows], np.float64).T
    assert (table == udf).all()
    np.testing.assert_allclose(macro, table, rtol=0, atol=1e-4 if model == "mlp" else 0)
    assert all(len(row[3]) == 2 for row in rows)
    columns = [name for name, *_ in con.execute("describe pred__test").fetchall()]
    assert columns == [
        *("user_id", "item_id", "version", "score", "score_rank", "score_decile", "item_rank", "as_of", "scored_at"),
        "reasons",
    ]
    expected: dict[str, list[tuple[Any, ...]]] = {}
    for user, item, score in con.execute("select user_id, item_id, score from pred__test").fetchall():
        expected.setdefault(user, []).append((-score, item))
    for user, best_first in ((user, sorted(items)) for user, items in expected.items()):
        [[listed]] = con.execute("select scores.test_of(?)", [user]).fetchall()
        order = [(-row["score"], row["item_id"]) for row in listed]
        assert order == best_first
        assert [row["item_rank"] for row in listed] == list(range(1, len(listed) + 1))
        first = con.execute("from scores.recommend_test(?, n := 3)", [user]).fetchall()
        assert first == [(row["item_id"], row["score"], row["item_rank"]) for row in listed[:3]]
    assert len(con.execute("from scores.recommend_test('u1')").fetchall()) == 10
    assert con.execute("select scores.test_of('nobody')").fetchall() == [(None,)]
    assert con.execute("from scores.recommend_test('nobody')").fetchall() == []


def test_what_lists_offer_in_sql_is_described(con: duckdb.DuckDBPyConnection) -> None:
    assert predict(con, candidates(con), **RANKED) is None
    offered = {name: row for name, *row in con.execute("from scores.describe()").fetchall()}
    assert offered["scores.test_of"][1] == 'STRUCT("item_id" VARCHAR, score FLOAT, item_rank INTEGER)[]'
    assert offered["scores.recommend_test"][0] == "entity_id, n INTEGER := 10"
    assert "knows the features of a user_id, not those of its item_ids" in offered["scores.test_live"][2]
    con.execute("update scores_models.functions set prediction = 'other', function_name = 'scores.RECOMMEND_TEST'")
    message = predict(con, "select * from fixed", **RANKED)
    assert message is not None
    assert "would take the name of scores.RECOMMEND_TEST, a function of the prediction 'other'" in message


def test_equal_scores_stand_in_the_order_of_their_items(con: duckdb.DuckDBPyConnection) -> None:
    candidates(con)
    con.execute("update fixed set price = 0, recency_days = 5, affinity = 50")
    assert predict(con, "select * from fixed", **RANKED, exclude=["category"]) is None
    rows = con.execute(
        "select user_id, score, item_id, item_rank from pred__test order by user_id, item_rank"
    ).fetchall()
    assert len({score for _, score, *_ in rows}) == 2
    assert rows == sorted(rows, key=lambda row: (row[0], -row[1], row[2]))
    assert [row[3] for row in rows] == list(range(1, 13)) * 80


def test_outcomes_judge_lists_by_item_when_they_are_known(con: duckdb.DuckDBPyConnection) -> None:
    select = candidates(con)
    assert predict(con, select, **RANKED) is None
    scored = con.execute("select max(as_of) from pred__test").fetchone()[0]
    con.execute("create table given as from pred__test")
    candidates(con, known_before="2026-01-01")
    assert predict(con, select, **RANKED, retrain="never") is None
    realised = dict(con.execute("select metric, value from foretable.realised where version = 1").fetchall())
    lists = lists_of(con, "select user_id, label, score from given inner join fixed using (user_id, item_id, as_of)")
    for metric, value in reckoned(lists).items():
        assert realised[metric] == pytest.approx(value)
    known = con.execute(
        "select entity_id, item_id, label::boolean from foretable.outcomes order by entity_id, item_id"
    ).fetchall()
    assert (
        known
        == con.execute(
            "select user_id, item_id, label from fixed where as_of = ? order by user_id, item_id", [scored]
        ).fetchall()
    )
    assert con.execute("select metric, realised_value from foretable.decay").fetchall() == [
        ("ndcg_at_10", realised["ndcg_at_10"])
    ]


def test_features_are_selected_params_searched_and_versions_compared_by_lists(con: duckdb.DuckDBPyConnection) -> None:
    select = candidates(con)
    steps = [{"method": "mutual_information", "keep": 4}, {"method": "permutation", "keep": 2}]
    config = {**RANKED, "select": steps, "tune": {"trials": 7, "metric": "mrr"}, "params": {"n_estimators": 20}}
    assert predict(con, select, **config) is None
    kept = con.execute("select feature from foretable.feature_selection where step = 2 and is_kept").fetchall()
    assert ("affinity",) in kept
    found = con.execute("select metric, value, list_last(losses) from foretable.trials where state = 'complete'")
    assert all(metric == "mrr" and 0 < value <= 1 and loss < 0 for metric, value, loss in found.fetchall())
    importance = dict(
        con.execute("select feature, importance from foretable.importances where method = 'permutation'").fetchall()
    )
    assert max(importance, key=lambda name: importance[name]) == "affinity"
    assert predict(con, select, **{**RANKED, "promote": "never", "params": {"n_estimators": 1}}) is None
    rows = {row["metric"]: row for row in compare(con, "test", 1, 2)}
    assert rows["ndcg_at_10"]["lower"] is not None
    promote(con, "test", 2)
    assert con.execute("select distinct version, max(item_rank) from pred__test group by all").fetchall() == [(2, 12)]


def test_a_warm_start_goes_on_with_lists_and_is_compared_by_them(con: duckdb.DuckDBPyConnection) -> None:
    config = {**RANKED, "warm_start": True, "params": {**QUICK, "early_stopping_rounds": 10}}
    select = candidates(con, known_before="2025-05-01")
    assert predict(con, select, **config) is None
    candidates(con)
    assert predict(con, select, **config) is None
    assert "its test NDCG@10 less that of a full retrain is" in last_run(con)["reason"]


def test_an_item_stands_in_a_schema_only_where_there_is_one() -> None:
    schema = FeatureSchema("user_id", "as_of", "label", (Feature("price", "number", "DOUBLE"),))
    assert "item" not in schema.to_json()
    ranked = replace(schema, item="item_id")
    assert FeatureSchema.from_json(ranked.to_json()) == ranked
    assert ranked.keys == ["as_of", "user_id", "item_id"]
    assert not schema.is_within(ranked)


def test_lists_that_go_on_in_the_next_batch_are_trained_as_one(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    select, sizes = candidates(con), []
    read = trees._batch_source

    def in_small_batches(examples: Any, given: Any) -> Any:
        source = read(examples, given)
        monkeypatch.setattr(source, "reset", lambda: setattr(source, "batches", iter(examples.batches(50))))
        sizes.append(examples.rows())
        return source

    assert predict(con, select, **RANKED) is None
    monkeypatch.setattr(trees, "_batch_source", in_small_batches)
    assert predict(con, select, **RANKED, train="always") is None
    assert sizes
    artifacts = con.execute("select artifact_sha256 from foretable.models").fetchall()
    assert len(artifacts) == 2
    assert len(set(artifacts)) == 1


@pytest.mark.parametrize(
    ("select", "config", "sentence"),
    [
        ("select * from fixed", {"item": "absent"}, "kind 'ranking' puts items in order; name the column of their"),
        ("select * from fixed", {"item": "product_id"}, "no column 'product_id', which the prediction needs as its it"),
        ("select * from fixed", {"item": "user_id"}, "config item='user_id' is the entity already"),
        ("select * from fixed", {"item": 7}, "config item=7 is not a name"),
        ("select * from fixed", {"kind": "binary"}, "config item='item_id' is for kind 'ranking' alone"),
        ("select * from fixed", {"slices": ["item_id"]}, "slices names item_id; it takes columns other than keys"),
        ("select * from fixed", {"interactions": [["item_id", "price"]]}, "item_id"),
        ("select * rename (item_id as item_rank) from fixed", {"item": "item_rank"}, "the key 'item_rank' is named"),
        ("from fixed union all from fixed", {}, "triples of user_id, item_id and as_of occur more than once"),
        (
            "select * replace (nullif(item_id, 'i3') as item_id) from fixed",
            {},
            "rows have a NULL user_id, item_id or as_of",
        ),
        ("select * replace (0.5 as label) from fixed", {}, "a label 'label' that is no whole number from 0 to 31"),
        ("select * replace (40 as label) from fixed", {}, "a label 'label' that is no whole number from 0 to 31"),
        ("select * replace (-1 as label) from fixed", {}, "a finite number of at least 0"),
        ("select *, 1 - label::int as told from fixed", {}, "'told' (AUC 1.0000)"),
        ("select * from fixed", {"model": "logistic"}, "model 'logistic' does not predict kind 'ranking'"),
        ("select * from fixed", {"class_weight": "balanced"}, "'class_weight' is about probabilities"),
        ("select * from fixed", {"tune": {"metric": "rmse"}}, "unknown tune metric 'rmse'; known: ndcg_at_10, mrr"),
    ],
)
def test_what_is_no_list_is_refused_in_one_sentence(
    con: duckdb.DuckDBPyConnection, select: str, config: dict[str, Any], sentence: str
) -> None:
    candidates(con)
    message = predict(con, select, **{**RANKED, **config})
    assert message is not None
    assert sentence in message
    assert version_count(con) == 0
