"""Measures of predicted numbers against sums written out row by row, repeated rows, and what is not defined."""

from itertools import permutations
from math import sqrt
from statistics import mean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibis_features import ExamplesError
from models_ml.value_metrics import value_measures

ROWS = st.lists(st.tuples(st.integers(-2, 6), st.integers(-3, 5), st.integers(0, 3)), min_size=1, max_size=30)


def measured(labels: list[float], scores: list[float], weights: list[float] | None = None) -> dict[str, float]:
    counted = np.ones(len(labels)) if weights is None else np.array(weights, float)
    values = value_measures(np.array(labels, float), np.array(scores, float))(counted[None, :])
    assert all(value.shape == (1,) for value in values.values())
    return {name: float(value[0]) for name, value in values.items()}


def lorenz_gini(labels: list[float], by: list[float]) -> float:
    """Twice the area between the diagonal and the labels summed by falling `by`; tied rows lie on a straight line."""
    area, upto, total = 0.0, 0.0, sum(labels)
    for value in sorted(set(by), reverse=True):
        tied = [label for label, place in zip(labels, by, strict=True) if place == value]
        area += len(tied) / len(labels) * (upto + sum(tied) / 2) / total
        upto += sum(tied)
    return 2 * area - 1


@settings(max_examples=100, deadline=None)
@given(ROWS, st.randoms())
def test_measures_are_those_of_repeated_rows_in_any_order(rows: list[tuple[int, int, int]], random) -> None:
    labels, scores, weights = (list(column) for column in zip(*rows, strict=True))
    repeated = [row[:2] for row in rows for _ in range(row[2])]
    found = measured(labels, scores, weights)
    if not repeated:
        assert np.isnan(list(found.values())).all()
        return
    random.shuffle(repeated)
    again = measured(*(list(column) for column in zip(*repeated, strict=True)))
    assert found == pytest.approx(again, nan_ok=True, abs=1e-12)


def test_each_resample_has_its_own_weights() -> None:
    draws = np.random.default_rng(1)
    labels, scores = draws.integers(0, 5, 40).astype(float), draws.integers(0, 9, 40).astype(float)
    weights = draws.integers(0, 4, (5, 40))
    together = value_measures(labels, scores)(weights)
    for index, row in enumerate(weights):
        alone = measured(list(labels), list(scores), list(row))
        assert {name: values[index] for name, values in together.items()} == pytest.approx(alone)


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_errors_and_gini_are_as_summed_row_by_row(rows: list[tuple[int, int, int]]) -> None:
    labels, scores = [row[0] / 2 + 2 for row in rows], [row[1] / 3 for row in rows]
    errors = [score - label for label, score in zip(labels, scores, strict=True)]
    shares = [abs(error / label) for label, error in zip(labels, errors, strict=True) if label]
    varied = len(set(labels)) > 1
    spread = sum((label - mean(labels)) ** 2 for label in labels)
    expected = {
        "mse": mean(error**2 for error in errors),
        "rmse": sqrt(mean(error**2 for error in errors)),
        "mae": mean(abs(error) for error in errors),
        "r2": 1 - sum(error**2 for error in errors) / spread if varied else np.nan,
        "mape": mean(shares) if shares else np.nan,
        "bias": mean(scores) - mean(labels),
        "normalised_gini": lorenz_gini(labels, scores) / lorenz_gini(labels, labels) if varied else np.nan,
    }
    found = measured(labels, scores)
    assert {name: found[name] for name in expected} == pytest.approx(expected, nan_ok=True, abs=1e-9)


def test_gini_of_tied_scores_is_the_mean_over_their_orders() -> None:
    labels, tied = [1.0, 4.0, 0.0, 3.0], [0.0, 0.0, 0.0, 1.0]
    orders = [lorenz_gini(labels, [float(place) for place in order] + [9.0]) for order in permutations(range(3))]
    assert measured(labels, tied)["normalised_gini"] == pytest.approx(mean(orders) / lorenz_gini(labels, labels))
    assert measured(labels, labels)["normalised_gini"] == pytest.approx(1)
    assert measured(labels, [-label for label in labels])["normalised_gini"] == pytest.approx(-1)


def test_tenths_share_tied_scores() -> None:
    labels, scores = [5.0, 1.0] + [0.0] * 8 + [2.0] * 10, [9.0] * 4 + list(range(8, 0, -1)) + [0.0] * 8
    # 20 rows, so a tenth is 2 of the 4 tied rows, whose labels are 5, 1, 0 and 0: 2 x 1.5 over 2 x 26 / 20.
    assert measured(labels, scores)["top_decile_lift"] == pytest.approx(3 / 2.6)
    # Bins of 2 rows by the middle of the tied ones: 4 at 9; 8 and 7; 6 and 5; 4 and 3; 2 and 1; 8 at 0.
    excess = [6 - 36, 0 - 15, 0 - 11, 0 - 7, 4 - 3, 16 - 0]
    assert measured(labels, scores)["calibration_error"] == pytest.approx(sum(map(abs, excess)) / 20)


def test_what_is_not_defined_is_nan_and_rounding_does_not_define_it() -> None:
    same = measured([0.1] * 7, [0.3, 0.2] * 3 + [0.1])
    assert {name for name, value in same.items() if np.isnan(value)} == {"r2", "normalised_gini"}
    assert np.isnan(measured([0.1, 5.0, 0.1], [1.0, 2.0, 3.0], [2, 0, 1])["r2"])
    assert np.isnan([measured([0.0, 0.0], [1.0, 2.0])[name] for name in ("mape", "top_decile_lift")]).all()
    assert measured([0.0, 2.0, -4.0], [9.0, 3.0, -3.0])["mape"] == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert np.isnan(list(measured([], []).values())).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_by_name(bad: float) -> None:
    with pytest.raises(ExamplesError, match="1 of 2 scores are NaN or infinite; leave rows without a label out"):
        measured([1.0, 2.0], [bad, 1.0])
    with pytest.raises(ExamplesError, match="1 of 2 labels are NaN"):
        measured([1.0, bad], [1.0, 1.0])
    with pytest.raises(ExamplesError, match=r"labels \(2,\) and scores \(3,\) differ in shape.*give one each a row"):
        measured([1.0, 2.0], [1.0, 2.0, 3.0])
