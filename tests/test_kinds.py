"""Predictions of amounts, numbers and times: trained, judged, scored, compiled to SQL and watched."""

import json
from typing import Any

import duckdb
import numpy as np
import pytest

import udfs
from models_ml.artifact import unpack
from models_ml.registry import active_model, read_artifact
from models_ml.trainer import trainer
from tests.predicting import predict, version_count
from udfs.lifecycle import compare, promote

ROWS = """
    select
        'u' || u as user_id,
        timestamp '2025-01-01' + interval (30 * s) days as as_of,
        u,
        s,
        ((u * 37 + s * 11) % 100)::double as heat,
        ((u * 7919 + s * 104729) % 1000) / 1000.0 as luck,
        ((u * 31 + s * 17) % 10)::double as spent_before,
        'c' || (u % 3) as kind
    from range(300) as users (u), range(6) as snapshots (s)
"""
LABELS = {
    "regression": "10 * heat - 200 + 100 * luck",
    "value": "case when (u * 13 + s * 7) % 10 < 4 then exp(heat / 40) * (0.5 + luck) else 0 end",
    "time_to_event": "least(exp(1 + heat / 30 + luck), 30)",
}
QUICK = {"n_estimators": 60, "eta": 0.3, "colsample_bytree": 1.0, "min_child_weight": 5.0}
NUMBERS = {"label": "label", "rfm": ["luck", "spent_before"], "recency": "luck", "params": QUICK, "promote": "always"}
PARAMS: dict[str, dict[str, Any]] = {
    "xgboost": QUICK,
    "lightgbm": {"n_estimators": 60, "learning_rate": 0.3, "feature_fraction": 1.0},
    "random_forest": {"n_estimators": 30, "max_features": 1.0},
    "mlp": {"epochs": 8, "units": 16},
}


def examples(con: duckdb.DuckDBPyConnection, kind: str, *, known_before: str = "2025-05-31") -> str:
    """Rows with a label of this kind, as long as it is known, in the table `fixed`."""
    con.execute(
        f"create or replace table fixed as select * exclude (u, s), case when as_of < timestamp '{known_before}' "
        f"then {LABELS[kind]} end as label from ({ROWS})"
    )
    return "select * from fixed"


def figures(con: duckdb.DuckDBPyConnection, split: str = "test") -> dict[tuple[str, str], float]:
    rows = con.execute(
        "select scored_by, metric, value from foretable.metrics where split = ? and version = 1", [split]
    ).fetchall()
    return {(scored_by, metric): value for scored_by, metric, value in rows}


def judged_rows(con: duckdb.DuckDBPyConnection) -> tuple[np.ndarray, np.ndarray]:
    """Labels and the stored macro's scores of the test snapshot."""
    rows = con.execute(
        "select label, scores.test(fixed) from fixed "
        "where as_of = (select max(as_of) from fixed where label is not null)"
    ).fetchall()
    labels, scores = np.array(rows, np.float64).T
    return labels, scores


@pytest.mark.parametrize(
    ("kind", "model"), [(kind, model) for model in PARAMS for kind in LABELS if kind in trainer(model).KINDS]
)
def test_numbers_are_trained_judged_and_scored_alike_in_table_function_and_macro(
    con: duckdb.DuckDBPyConnection, kind: str, model: str
) -> None:
    config = {**NUMBERS, "kind": kind, "model": model, "params": PARAMS[model], "reasons": 2}
    assert predict(con, examples(con, kind), **config) is None
    udfs.register(con, ["test"])
    rows = con.execute(
        "select pred.score, score_test(fixed), scores.test(fixed), pred.reasons from pred__test as pred "
        "inner join fixed using (user_id, as_of)"
    ).fetchall()
    assert len(rows) == 300
    table, udf, macro = np.array([row[:3] for row in rows], np.float64).T
    assert (table == udf).all()
    np.testing.assert_allclose(macro, table, rtol=1e-4 if model == "mlp" else 0)
    assert all(len(row[3]) == 2 for row in rows)
    columns = [name for name, *_ in con.execute("describe pred__test").fetchall()]
    assert "predicted_label" not in columns
    order = con.execute("select score from pred__test order by score_rank").fetchnumpy()["score"]
    assert (np.diff(order) >= 0).all() if kind == "time_to_event" else (np.diff(order) <= 0).all()


def test_contributions_add_up_to_what_the_link_makes_a_score_of(con: duckdb.DuckDBPyConnection) -> None:
    for kind, link in (("regression", lambda score: score), ("value", np.log), ("time_to_event", np.log)):
        assert predict(con, examples(con, kind), **NUMBERS, kind=kind, model="xgboost") is None
        active = active_model(con, "test")
        assert active is not None
        base = con.execute("select max_by(base_log_odds, version) from foretable.models").fetchone()[0]
        told = con.execute(
            "select score, list_sum(list_transform(scores.explain_test(fixed), lambda one: one.contribution)) as added "
            "from pred__test inner join fixed using (user_id, as_of)"
        ).fetchnumpy()
        np.testing.assert_allclose(link(told["score"].astype(np.float64)), base + told["added"], rtol=1e-4, atol=1e-4)
        assert unpack(read_artifact(con, "test", active.version)).schema == active.schema


def test_amounts_are_judged_by_the_metrics_of_amounts_beside_their_baselines(con: duckdb.DuckDBPyConnection) -> None:
    config = {**NUMBERS, "kind": "value", "model": "xgboost", "last_value": "spent_before", "slices": ["kind"]}
    assert predict(con, examples(con, "value"), **config) is None
    found = figures(con)
    labels, scores = judged_rows(con)
    assert found["model", "rmse"] == pytest.approx(np.sqrt(np.mean((scores - labels) ** 2)), rel=1e-6)
    assert found["model", "mae"] == pytest.approx(np.mean(np.abs(scores - labels)), rel=1e-6)
    known = labels != 0
    assert found["model", "mape"] == pytest.approx(np.mean(np.abs(scores - labels)[known] / labels[known]), rel=1e-6)
    assert {by for by, metric in found if metric == "rmse"} == {"model", "mean", "recency", "rfm", "last_value"}
    assert found["mean", "normalised_gini"] == 0
    lead = found["model", "normalised_gini"] - found["last_value", "normalised_gini"]
    assert found["above_last_value", "normalised_gini"] == pytest.approx(lead)
    deciles = con.execute(
        "select mean_score, event_rate, positive_count from foretable.deciles where split = 'test' order by decile"
    ).fetchall()
    highest = np.argsort(-scores, kind="stable")[:30]
    assert deciles[0][0] == pytest.approx(scores[highest].mean(), rel=1e-5)
    assert sum(row[2] for row in deciles) == pytest.approx(labels.sum())
    slices = con.execute(
        "select value, event_rate, metric, metric_value, roc_auc from foretable.slices where split = 'test'"
    ).fetchall()
    assert [row[0] for row in slices] == ["c0", "c1", "c2"]
    assert all(row[2] == "normalised_gini" and 0 < row[3] < 1 and row[4] is None for row in slices)


def test_times_know_what_is_censored(con: duckdb.DuckDBPyConnection) -> None:
    assert predict(con, examples(con, "time_to_event"), **NUMBERS, kind="time_to_event", model="xgboost") is None
    labels, scores = judged_rows(con)
    pairs = [
        (scores[i] < scores[j]) + 0.5 * (scores[i] == scores[j])
        for i in range(len(labels))
        for j in range(len(labels))
        if labels[i] < 30 and labels[i] < labels[j]
    ]
    found = figures(con)
    assert found["model", "concordance"] == pytest.approx(np.mean(pairs))
    chances, happened = 30 / (30 + scores), labels < 30
    assert found["model", "brier_at_horizon"] == pytest.approx(np.mean((chances - happened) ** 2))
    assert found["model", "event_share_error"] == pytest.approx(chances.mean() - happened.mean())
    drawn = con.execute(
        "select sum(positive_count), max_by(mean_score, -decile) from foretable.deciles where split = 'test'"
    ).fetchone()
    assert drawn == (pytest.approx(happened.sum()), pytest.approx(np.sort(chances)[-30:].mean(), rel=1e-5))
    # The event comes at exp(1 + heat / 30 + luck): a median of exp(1.5 + heat / 30), past the horizon from 57 on.
    hot, cold = con.execute(
        "select scores.test(heat := 30, luck := 0.5), scores.test(heat := 95, luck := 0.5)"
    ).fetchone()
    assert hot == pytest.approx(np.exp(2.5), rel=0.25)
    assert cold > 30


def test_outcomes_judge_amounts_when_they_are_known(con: duckdb.DuckDBPyConnection) -> None:
    select = examples(con, "value")
    config = {**NUMBERS, "kind": "value", "model": "xgboost", "retrain": "never"}
    assert predict(con, select, **{**config, "retrain": "when_changed"}) is None
    examples(con, "value", known_before="2026-01-01")
    assert predict(con, select, **config) is None
    labels, scores = con.execute(
        "select list(label order by user_id), list(scores.test(fixed) order by user_id) from fixed "
        "where as_of = (select max(as_of) from fixed)"
    ).fetchone()
    realised = dict(con.execute("select metric, value from foretable.realised").fetchall())
    assert realised["mae"] == pytest.approx(np.mean(np.abs(np.array(labels) - scores)), rel=1e-6)
    metric, test, now, lost = con.execute(
        "select metric, test_value, realised_value, value_lost from foretable.decay"
    ).fetchone()
    assert (metric, test, now) == (
        "normalised_gini",
        pytest.approx(figures(con)["model", "normalised_gini"]),
        pytest.approx(realised["normalised_gini"]),
    )
    assert lost == pytest.approx(test - now)


def test_versions_of_amounts_are_compared_and_promoted(con: duckdb.DuckDBPyConnection) -> None:
    select = examples(con, "value")
    assert predict(con, select, **NUMBERS, kind="value", model="xgboost") is None
    config = {**NUMBERS, "params": {"n_estimators": 5}, "kind": "value", "model": "xgboost", "promote": "never"}
    assert predict(con, select, **config) is None
    rows = {row["metric"]: row for row in compare(con, "test", 1, 2)}
    assert rows["normalised_gini"]["lower"] is not None
    assert rows["rmse"]["difference"] == rows["rmse"]["version 1"] - rows["rmse"]["version 2"]
    before = con.execute("select sum(score) from pred__test").fetchone()
    promote(con, "test", 2)
    assert con.execute("select sum(score) from pred__test").fetchone() != before
    assert version_count(con) == 2


@pytest.mark.parametrize(
    ("select", "config", "sentence"),
    [
        ("select * replace (-1.0 as label) from fixed", {}, "a finite number of at least 0"),
        ("select * replace ('inf'::double as label) from fixed", {}, "a finite number of at least 0"),
        ("select * replace (kind as label) from fixed", {}, "a prediction of this kind needs a number"),
        ("select * replace (5.0 as label) from fixed", {}, "all have the label 'label' 5.0"),
        ("select *, label * 2 as twice from fixed", {}, "'twice' (rank correlation 1.0000)"),
        (
            "select * from fixed",
            {"kind": "values"},
            "unknown kind 'values'; known: binary, multiclass, regression, val",
        ),
        ("select * from fixed", {"model": "logistic"}, "model 'logistic' does not predict kind 'value'"),
        ("select * from fixed", {"model": ["xgboost", "mlp"]}, "an ensemble joins probabilities"),
        ("select * from fixed", {"class_weight": "balanced"}, "'class_weight' is about probabilities"),
        ("select * from fixed", {"calibrate": "platt"}, "'calibrate' is about probabilities"),
        ("select * from fixed", {"threshold": "f1"}, "'threshold' is about probabilities"),
        (
            "select * from fixed",
            {"model": "mlp", "params": {"loss": "focal"}},
            "params.loss 'focal' is about",
        ),
        ("select * from fixed", {"interactions": 3}, "interactions are found for kind 'binary' alone"),
        ("select * from fixed", {"last_value": "kind"}, "last_value names kind; it takes a feature of the SELECT that"),
        ("select * from fixed", {"tune": {"metric": "roc_auc"}}, "unknown tune metric 'roc_auc'; known: rmse, mae, r2"),
    ],
)
def test_what_is_no_amount_is_refused_in_one_sentence(
    con: duckdb.DuckDBPyConnection, select: str, config: dict[str, Any], sentence: str
) -> None:
    examples(con, "value")
    message = predict(con, select, **{**NUMBERS, "kind": "value", "model": "xgboost", **config})
    assert message is not None
    assert sentence in message
    assert version_count(con) == 0


def test_features_are_selected_and_params_searched_by_the_metrics_of_amounts(con: duckdb.DuckDBPyConnection) -> None:
    config = {
        **NUMBERS,
        "kind": "value",
        "model": "xgboost",
        "select": [{"method": "mutual_information", "keep": 3}, {"method": "permutation", "keep": 2}],
        "tune": {"trials": 2, "metric": "normalised_gini"},
        "params": {"n_estimators": 20},
    }
    assert predict(con, examples(con, "value"), **config) is None
    reasons = con.execute("select reason from foretable.feature_selection where method = 'permutation'").fetchall()
    assert all("the validation normalised gini falls by" in reason for (reason,) in reasons)
    kept = con.execute("select config, feature_schema from foretable.models").fetchone()[1]
    assert "heat" in [feature["name"] for feature in json.loads(kept)["features"]]
    assert con.execute("select distinct metric from foretable.trials").fetchall() == [("normalised_gini",)]
