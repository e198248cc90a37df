"""Deciles, curves, confusion and slices against values worked out by hand, and by what has to hold of any rows."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_ml.curves import (
    MOST_POINTS,
    MOST_VALUES,
    THRESHOLDS,
    Point,
    best_f1_threshold,
    confusion,
    curves,
    deciles,
    frequent_values,
    slices,
)
from models_ml.evaluation import METRICS, f1, pr_auc, roc_auc, top_decile_lift

LABELS = np.array([1, 0, 1, 0, 0, 1, 0, 0, 0, 0])
SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])

few_rows = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=1, max_size=40)


def arrays(rows: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row[0] for row in rows], int), np.array([row[1] for row in rows]) / 10


def points(curve: str, labels: np.ndarray, scores: np.ndarray) -> list[Point]:
    return [point for point in curves(labels, scores) if point.curve == curve]


def area(line: list[Point]) -> float:
    return sum((b.x - a.x) * (a.y + b.y) / 2 for a, b in pairwise(line))


def steps_area(line: list[Point]) -> float:
    """Under steps: the precision at each point holds back to the point before."""
    return sum((point.x - before) * point.y for before, point in zip([0.0, *(p.x for p in line)], line, strict=False))


def simulated(rows: int) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(0)
    scores = draws.beta(1, 4, rows)
    return (draws.random(rows) < scores).astype(float), scores


# Deciles


def test_deciles_of_ten_rows_are_the_rows() -> None:
    rows = deciles(LABELS, SCORES)
    assert [row.decile for row in rows] == list(range(1, 11))
    assert [row.row_count for row in rows] == [1.0] * 10
    assert [row.positive_count for row in rows] == LABELS.tolist()
    assert [row.mean_score for row in rows] == pytest.approx(SCORES.tolist())
    assert [row.lift for row in rows] == pytest.approx((LABELS / 0.3).tolist())
    assert [row.gain for row in rows] == pytest.approx((np.cumsum(LABELS) / 3).tolist())


def test_tied_rows_on_an_edge_are_shared_out() -> None:
    first, second, *_ = deciles(np.array([1] * 3 + [0] * 17), np.array([0.9] + [0.5] * 4 + [0.1] * 15))
    assert (first.row_count, first.positive_count) == (2.0, 1.5)
    assert first.mean_score == pytest.approx(0.7)
    assert second.positive_count == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(few_rows)
def test_deciles_add_up_to_all_rows(rows: list[tuple[bool, int]]) -> None:
    labels, scores = arrays(rows)
    found = deciles(labels, scores)
    assert sum(row.row_count for row in found) == pytest.approx(len(rows))
    assert sum(row.positive_count for row in found) == pytest.approx(labels.sum())
    assert sum(row.row_count * row.mean_score for row in found) == pytest.approx(scores.sum())
    assert found[0].lift == pytest.approx(top_decile_lift(labels, scores), nan_ok=True)
    if labels.any():
        assert found[-1].gain == pytest.approx(1.0)
        assert all(a.gain <= b.gain + 1e-12 for a, b in pairwise(found))


# Curves


def test_curves_of_four_rows_are_what_a_hand_draws() -> None:
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    assert [(p.x, p.y, p.row_count) for p in points("roc", labels, scores)] == [
        (0.0, 0.0, 0), (0.0, 0.5, 1), (0.5, 0.5, 2), (0.5, 1.0, 3), (1.0, 1.0, 4),
    ]  # fmt: skip
    assert [(p.x, p.y, p.row_count) for p in points("precision_recall", labels, scores)] == [
        (0.5, 1.0, 1), (1.0, 2 / 3, 3),
    ]  # fmt: skip
    assert [(p.x, p.y, p.row_count) for p in points("calibration", labels, scores)] == [
        (0.1, 0.0, 1), (0.35, 1.0, 1), (0.4, 0.0, 1), (0.8, 1.0, 1),
    ]  # fmt: skip
    held = {round(p.x, 3): (p.y, p.row_count) for p in points("score", labels, scores) if p.row_count}
    assert held == {0.125: (0.25, 1), 0.375: (0.25, 1), 0.425: (0.25, 1), 0.825: (0.25, 1)}
    assert len(points("score", labels, scores)) == 20


def test_scores_of_zero_and_one_lie_in_the_outermost_bins() -> None:
    drawn = points("score", np.array([0, 1]), np.array([0.0, 1.0]))
    assert [p.row_count for p in drawn] == [1, *[0] * 18, 1]


@settings(max_examples=60, deadline=None)
@given(few_rows)
def test_areas_under_the_curves_are_the_metrics(rows: list[tuple[bool, int]]) -> None:
    labels, scores = arrays(rows)
    roc = points("roc", labels, scores)
    assert (area(roc) if roc else math.nan) == pytest.approx(roc_auc(labels, scores), nan_ok=True)
    line = points("precision_recall", labels, scores)
    assert (steps_area(line) if line else math.nan) == pytest.approx(pr_auc(labels, scores), nan_ok=True)
    bins = points("calibration", labels, scores)
    assert sum(p.row_count for p in bins) == len(rows)
    error = sum(p.row_count * abs(p.x - p.y) for p in bins) / len(rows)
    assert error == pytest.approx(METRICS["expected_calibration_error"](labels, scores))


@pytest.mark.parametrize("decimals", [16, 3, 1])
def test_a_thinned_curve_keeps_its_ends_and_its_area(decimals: int) -> None:
    labels, scores = simulated(20_000)
    scores = scores.round(decimals)
    roc, line = points("roc", labels, scores), points("precision_recall", labels, scores)
    assert len(roc) <= MOST_POINTS
    assert len(line) <= MOST_POINTS
    assert (roc[0].x, roc[0].y, roc[-1].x, roc[-1].y, line[-1].x) == (0, 0, 1, 1, 1)
    assert area(roc) == pytest.approx(roc_auc(labels, scores), abs=5e-4)
    assert steps_area(line) == pytest.approx(pr_auc(labels, scores), abs=5e-3)
    assert all(a.x <= b.x and a.y <= b.y and a.row_count < b.row_count for a, b in pairwise(roc))


def test_a_long_tie_stays_a_straight_line() -> None:
    """A thousand distinct scores, and then nine thousand rows of one score."""
    scores = np.concatenate([np.linspace(1, 0.5, 1000), np.full(9000, 0.1)])
    labels = np.concatenate([np.arange(1000) % 3 == 0, np.arange(9000) % 30 == 0]).astype(int)
    roc = points("roc", labels, scores)
    assert area(roc) == pytest.approx(roc_auc(labels, scores), abs=5e-4)
    assert roc[-2].row_count == 1000


@pytest.mark.parametrize("label", [0, 1])
def test_labels_of_one_kind_have_the_curves_that_are_defined(label: int) -> None:
    labels, scores = np.full(5, label), np.linspace(0.1, 0.4, 5)
    drawn = {point.curve for point in curves(labels, scores)}
    assert drawn == {"calibration", "score"} | ({"precision_recall"} if label else set())
    assert math.isnan(deciles(labels, scores)[0].lift) == (label == 0)
    assert (best_f1_threshold(labels, scores) is None) == (label == 0)


def test_no_rows_draw_nothing() -> None:
    nothing = np.empty(0)
    assert (deciles(nothing, nothing), curves(nothing, nothing), best_f1_threshold(nothing, nothing)) == ([], [], None)


# Confusion


def test_a_score_on_the_threshold_is_said_to_be_true() -> None:
    rows = {row.threshold: row for row in confusion(LABELS, SCORES, 0.7) if not row.is_chosen}
    assert list(rows) == list(THRESHOLDS)
    half = rows[0.5]
    counted = (half.true_positive, half.false_positive, half.true_negative, half.false_negative)
    assert counted == (2, 3, 4, 1)


def test_the_best_f1_is_that_of_no_other_score_and_ties_take_the_highest() -> None:
    assert best_f1_threshold(LABELS, SCORES) == 0.7  # 2 of 3 found in 3 rows: F1 is 4 / 6, as at 0.4 (6 / 9)
    [row] = [row for row in confusion(LABELS, SCORES, 0.7) if row.is_chosen]
    assert (row.threshold, row.true_positive, row.false_positive) == (0.7, 2, 1)


@settings(max_examples=60, deadline=None)
@given(few_rows)
def test_confusion_agrees_with_counting(rows: list[tuple[bool, int]]) -> None:
    labels, scores = arrays(rows)
    best = best_f1_threshold(labels, scores)
    for row in confusion(labels, scores, 0.5 if best is None else best):
        said_true = scores >= row.threshold
        assert row.true_positive == (said_true & (labels == 1)).sum()
        assert row.false_positive == (said_true & (labels == 0)).sum()
        assert row.true_negative == (~said_true & (labels == 0)).sum()
        assert row.false_negative == (~said_true & (labels == 1)).sum()
    if best is not None:
        reached = {threshold: f1(labels, (scores >= threshold).astype(float)) for threshold in np.unique(scores)}
        assert best == max(reached, key=lambda threshold: (reached[threshold], threshold))


# Slices


def test_slices_hold_each_value_the_others_and_the_missing() -> None:
    values = ["a", "a", "a", None, "b", "b", "c", "a", "d", None]
    rows = {row.value: row for row in slices("kind", values, ["a", "b", "gone"], LABELS, SCORES)}
    assert {value: row.row_count for value, row in rows.items()} == {"a": 4, "b": 2, "other": 2, "missing": 2}
    assert rows["a"].event_rate == 0.5
    assert rows["a"].mean_score == pytest.approx((0.9 + 0.8 + 0.7 + 0.2) / 4)
    assert rows["a"].roc_auc == 0.75
    assert math.isnan(rows["other"].roc_auc)


def test_a_value_that_is_named_as_the_others_joins_them() -> None:
    rows = slices("kind", ["other", "x", "missing", None], ["other", "missing"], LABELS[:4], SCORES[:4])
    assert {row.value: row.row_count for row in rows} == {"other": 2, "missing": 2}


def test_the_most_frequent_values_are_kept_and_ties_go_by_name() -> None:
    values = [f"v{n:02d}" for n in range(30, 0, -1)] + ["often"] * 2 + [None] * 5
    assert frequent_values(values) == ["often", *(f"v{n:02d}" for n in range(1, MOST_VALUES))]


# The order of the rows


@settings(max_examples=60, deadline=None)
@given(few_rows, st.randoms())
def test_the_order_of_the_rows_changes_nothing(rows: list[tuple[bool, int]], random) -> None:
    labels, scores = arrays(rows)
    values = [None if number == 8 else str(number % 3) for _, number in rows]
    order = random.sample(range(len(rows)), len(rows))

    def drawn(labels: np.ndarray, scores: np.ndarray, values: list[str | None]) -> str:
        kept = frequent_values(values)
        return repr(
            [
                deciles(labels, scores),
                curves(labels, scores),
                confusion(labels, scores, best_f1_threshold(labels, scores) or 0.5),
                slices("column", values, kept, labels, scores),
            ]
        )

    assert drawn(labels[order], scores[order], [values[place] for place in order]) == drawn(labels, scores, values)
