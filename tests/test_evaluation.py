"""Metrics against values worked out by hand, intervals, baselines, and features that leak."""

import time

import duckdb
import ibis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from ibis_features import Examples, ExamplesError, read_examples, read_schema
from models_ml.baselines import constant_scores, regression_scores, single_feature_scores
from models_ml.evaluation import METRICS, difference_interval, evaluate, roc_auc
from models_ml.leaks import leak_suspects
from models_ml.logistic import RIDGE

LABELS = np.array([1, 0, 1, 0, 0, 1, 0, 0, 0, 0])
SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("roc_auc", 17 / 21),  # of 3 x 7 pairs, those above 0, 1 and 3 false labels: 7 + 6 + 4
        ("pr_auc", (1 / 1 + 2 / 3 + 3 / 6) / 3),
        ("brier", (0.01 + 0.64 + 0.09 + 0.36 + 0.25 + 0.36 + 0.09 + 0.04 + 0.01 + 0) / 10),
        ("expected_calibration_error", (0.1 + 0.8 + 0.3 + 0.6 + 0.5 + 0.6 + 0.3 + 0.2 + 0.1 + 0) / 10),
        ("accuracy", 6 / 10),
        ("precision", 2 / 5),
        ("recall", 2 / 3),
        ("f1", 4 / 8),
        ("top_decile_lift", 1 / 0.3),
    ],
)
def test_a_metric_is_what_a_hand_computes(name: str, expected: float) -> None:
    assert METRICS[name](LABELS, SCORES) == pytest.approx(expected)


def test_log_loss_is_the_mean_surprise_and_a_certain_miss_stays_finite() -> None:
    expected = -np.mean([np.log(0.8), np.log(0.6)])
    assert METRICS["log_loss"](np.array([1, 0]), np.array([0.8, 0.4])) == pytest.approx(expected)
    assert METRICS["log_loss"](np.array([1]), np.array([0.0])) == pytest.approx(-np.log(1e-7))


def test_tied_scores_count_half_whatever_the_order_of_the_rows() -> None:
    labels, scores = np.array([1, 0, 0, 1]), np.full(4, 0.5)
    assert METRICS["roc_auc"](labels, scores) == 0.5
    assert METRICS["pr_auc"](labels, scores) == 0.5
    assert METRICS["top_decile_lift"](labels, scores) == pytest.approx(1.0)
    assert METRICS["expected_calibration_error"](labels, scores) == 0.0


@pytest.mark.parametrize("label", [0, 1])
def test_one_kind_of_label_has_no_auc_and_no_exception(label: int) -> None:
    labels, scores = np.full(5, label), np.linspace(0.1, 0.4, 5)
    metrics = {metric.name: metric for metric in evaluate(labels, scores, seed=1, resamples=20)}
    assert np.isnan([metrics["roc_auc"].value, metrics["roc_auc"].lower]).all()
    assert np.isfinite(metrics["brier"].value)


def test_no_rows_give_metrics_that_are_not_defined() -> None:
    assert all(np.isnan(metric.value) for metric in evaluate(np.empty(0), np.empty(0), seed=1, resamples=5))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=40), st.randoms())
def test_auc_counts_pairs_and_heeds_neither_row_order_nor_a_rising_map(rows: list[tuple[bool, int]], random) -> None:
    labels, scores = np.array([row[0] for row in rows], int), np.array([row[1] for row in rows]) / 10
    pairs = np.sign(scores[labels == 1][:, None] - scores[labels == 0][None, :]) / 2 + 0.5
    expected = pairs.mean() if pairs.size else np.nan
    order = random.sample(range(len(rows)), len(rows))
    assert roc_auc(labels, scores) == pytest.approx(expected, nan_ok=True)
    assert roc_auc(labels[order], np.exp(scores[order])) == pytest.approx(expected, nan_ok=True)
    assert roc_auc(1 - labels, -scores) == pytest.approx(expected, nan_ok=True)


def test_intervals_hold_the_value_and_the_same_seed_gives_the_same_ones() -> None:
    labels, scores = _simulated(2000)
    metrics = evaluate(labels, scores, seed=7, resamples=50)
    assert [metric.name for metric in metrics] == list(METRICS)
    assert metrics == evaluate(labels, scores, seed=7, resamples=50)
    for metric in metrics:
        assert metric.value == pytest.approx(METRICS[metric.name](labels, scores))
        assert metric.lower < metric.upper
        assert metric.rows == 2000
    auc = metrics[0]
    assert auc.lower < auc.value < auc.upper


def test_doubling_every_entity_narrows_the_interval_only_if_rows_are_resampled_alone() -> None:
    labels, scores = _simulated(500)
    doubled, twice = np.repeat(labels, 4), np.repeat(scores, 4)
    by_row = evaluate(doubled, twice, seed=1)[0]
    by_entity = evaluate(doubled, twice, entities=np.repeat(np.arange(500), 4), seed=1)[0]
    once = evaluate(labels, scores, seed=1)[0]
    assert by_entity.upper - by_entity.lower == pytest.approx(once.upper - once.lower, rel=0.01)
    assert by_row.upper - by_row.lower < 0.7 * (by_entity.upper - by_entity.lower)


def test_the_difference_of_a_model_to_itself_is_zero_and_to_noise_is_above_zero() -> None:
    labels, scores = _simulated(2000)
    itself = difference_interval("roc_auc", labels, scores, scores, seed=1)
    assert (itself.value, itself.lower, itself.upper) == (0.0, 0.0, 0.0)
    noise = np.random.default_rng(3).random(2000)
    better = difference_interval("roc_auc", labels, scores, noise, entities=np.arange(2000) // 2, seed=1)
    assert better.lower > 0.1
    assert better.value == pytest.approx(roc_auc(labels, scores) - roc_auc(labels, noise))


def test_twenty_thousand_rows_are_evaluated_within_seconds() -> None:
    labels, scores = _simulated(20_000)
    started = time.process_time()
    evaluate(labels, scores, entities=np.arange(20_000) // 2, seed=1)
    assert time.process_time() - started < 3


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ExamplesError, match="NaN"):
        evaluate(np.array([0, 1]), np.array([0.5, np.nan]), seed=1)
    with pytest.raises(ExamplesError, match="differ in shape"):
        evaluate(np.array([0, 1]), np.array([0.5]), seed=1)


def test_the_base_rate_is_the_same_for_every_row() -> None:
    assert constant_scores(np.array([1, 0, 0, 0]), 3).tolist() == [0.25, 0.25, 0.25]


def test_one_feature_alone_scores_in_the_direction_that_training_rows_show() -> None:
    draws = np.random.default_rng(0)
    days = draws.exponential(30, 4000)
    labels = (draws.random(4000) < 1 / (1 + days / 20)).astype(float)
    days[:400], labels[:400] = np.nan, 0
    scores = single_feature_scores(days[:3000], labels[:3000], days[3000:])
    assert roc_auc(labels[3000:], scores) == pytest.approx(roc_auc(labels[3000:], -days[3000:]), abs=0.01)
    assert abs(scores.mean() - labels[3000:].mean()) < 0.05
    unseen = single_feature_scores(days, labels, np.array([np.nan, 1.0, 1e9]))
    assert unseen[0] < 0.02 < unseen[2] < unseen[1]


def test_a_feature_that_is_always_missing_scores_the_base_rate() -> None:
    scores = single_feature_scores(np.full(4, np.nan), np.array([0, 1, 0, 0]), np.array([1.0, np.nan]))
    assert scores == pytest.approx([0.25, 0.25])


def test_a_regression_is_the_least_of_the_penalised_log_loss_whatever_minimises_it() -> None:
    draws = np.random.default_rng(5)
    columns = draws.exponential([30.0, 4.0, 200.0], (900, 3)).astype(np.float32)
    labels = (draws.random(900) < 1 / (1 + columns[:, 0] / 20)).astype(float)
    columns[::7, 2] = np.nan
    columns[5, 1] = np.inf
    seen, later = columns[:600], columns[600:]

    def rows(values: np.ndarray) -> list[list[float]]:
        """By hand, a value at a time: 1, each logarithm standardised or 0, and whether the last two are missing."""
        known = [[np.log(1 + v) for v in column if np.isfinite(v)] for column in seen.T.tolist()]
        return [
            [
                1.0,
                *(
                    (np.log(1 + v) - np.mean(k)) / np.std(k) if np.isfinite(v) else 0.0
                    for v, k in zip(row, known, strict=True)
                ),
                *(float(not np.isfinite(v)) for v in row[1:]),
            ]
            for row in values.tolist()
        ]

    def penalised_log_loss(coefficients: np.ndarray) -> float:
        margins = np.where(labels[:600] == 1, 1, -1) * (np.array(rows(seen)) @ coefficients)
        return np.logaddexp(0, -margins).sum() + RIDGE / 2 * (coefficients**2).sum()

    best = minimize(penalised_log_loss, np.zeros(6), method="BFGS", options={"gtol": 1e-6}).x
    expected = 1 / (1 + np.exp(-np.array(rows(later)) @ best))
    assert regression_scores(seen, labels[:600], later) == pytest.approx(expected, abs=1e-4)


def test_a_regression_on_columns_that_say_nothing_gives_the_base_rate() -> None:
    columns, labels = np.full((8, 2), [np.nan, 3.0]), np.array([0, 1, 0, 0] * 2)
    assert regression_scores(columns, labels, columns) == pytest.approx(np.full(8, 0.25), abs=0.01)


def test_features_that_tell_the_label_are_named_and_others_are_not() -> None:
    examples = _examples(
        """
        select user_id, timestamp '2024-01-01' as as_of, user_id % 3 = 0 as bought,
            (user_id % 3 = 0) as copied, -(user_id % 3 = 0)::int * 2.5 as turned,
            case when user_id % 3 = 0 then user_id end as present_only_if_bought,
            if(user_id % 3 = 0, 'yes', 'no') as said, user_id::varchar as key, (user_id * 7919) % 101 as noise,
            if(user_id % 3 = 0, null, 'x') as said_if_not, [1.0, 2.0]::float[2] as vector
        from range(300) as numbers(user_id)
        """
    )
    suspects = dict(leak_suspects(examples))
    assert list(suspects) == ["copied", "turned", "present_only_if_bought", "said", "said_if_not"]
    assert set(suspects.values()) == {1.0}


def test_labels_of_one_kind_raise_no_suspicion() -> None:
    examples = _examples("select 1 as user_id, timestamp '2024-01-01' as as_of, true as bought, 1 as x, 'a' as c")
    assert leak_suspects(examples) == []


def _simulated(rows: int) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(0)
    scores = draws.random(rows)
    return (draws.random(rows) < scores).astype(float), scores


def _examples(select: str) -> Examples:
    con = duckdb.connect()
    con.execute(f"create table examples as {select}")
    schema = read_schema(con, "examples", entity="user_id", label="bought")
    return read_examples(ibis.duckdb.from_connection(con), "examples", schema)
