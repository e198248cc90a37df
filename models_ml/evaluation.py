"""How good probabilities are: metrics with bootstrap intervals, of one model or of the difference of two.

Labels are 0 or 1, scores are probabilities, both [rows]. A metric that is not defined on the rows at hand (an AUC
where all labels are the same) is NaN.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from ibis_features import ExamplesError
from models_ml.bootstrap import (
    INTERVAL,
    RESAMPLES,
    Metric,
    with_difference,
    with_intervals,
)
from models_ml.measures import Measures, TiedRows, calibration_error, ratio, top_share_lift

THRESHOLD = 0.5
LEAST_PROBABILITY = 1e-7  # about half the distance from 1 to the float32 below it
AT_THRESHOLD = ("accuracy", "precision", "recall", "f1")
TRUE_CALIBRATION_ERROR = "true_calibration_error"


def evaluate(
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    entities: np.ndarray | None = None,
    seed: int,
    resamples: int = RESAMPLES,
    threshold: float = THRESHOLD,
) -> list[Metric]:
    """Every metric of METRICS with a 95% percentile bootstrap interval; those of yes and no at `threshold`.

    `entities` (integer codes, [rows]) are resampled whole. Raises ExamplesError on NaN or lengths that differ.
    """
    measures = binary_measures(labels, scores, threshold)
    return with_intervals(measures, len(labels), entities=entities, seed=seed, resamples=resamples)


def binary_measures(labels: np.ndarray, scores: np.ndarray, threshold: float = THRESHOLD) -> Measures:
    """Every metric of METRICS; those of yes and no at `threshold`."""
    ranking = Ranking(labels, scores)
    formulas: dict[str, Formula] = {
        **FORMULAS,
        **{name: partial(FORMULAS[name], threshold=threshold) for name in AT_THRESHOLD},
    }

    def measured(weights: np.ndarray) -> dict[str, np.ndarray]:
        counts = ranking.counts(weights)
        return {name: formula(*counts) for name, formula in formulas.items()}

    return measured


def true_calibration_error(
    truth: np.ndarray, scores: np.ndarray, *, entities: np.ndarray | None = None, seed: int, resamples: int = RESAMPLES
) -> Metric:
    """The expected calibration error against the true probabilities themselves, [rows], in place of what happened."""
    tied = TiedRows(np.asarray(scores, np.float64))

    def measured(weights: np.ndarray) -> dict[str, np.ndarray]:
        error = calibration_error(tied.values, tied.summed(weights), tied.summed(weights, truth))
        return {TRUE_CALIBRATION_ERROR: error}

    [metric] = with_intervals(measured, len(scores), entities=entities, seed=seed, resamples=resamples)
    return metric


def difference_interval(
    metric: str,
    labels: np.ndarray,
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    *,
    entities: np.ndarray | None = None,
    seed: int,
    resamples: int = RESAMPLES,
    interval: tuple[float, float] = INTERVAL,
) -> Metric:
    """The metric of `scores_a` less that of `scores_b`, both on the same resampled rows (a paired bootstrap)."""
    one, other = (_one_metric(metric, labels, scores) for scores in (scores_a, scores_b))
    return with_difference(
        metric, one, other, len(labels), entities=entities, seed=seed, resamples=resamples, interval=interval
    )


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """The chance that a random true label scores above a random false one; a tie counts half.

    >>> roc_auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    return _on_all_rows(_roc_auc, labels, scores)


def pr_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Average precision: the precision at each true label, going down the scores; tied scores count as one step."""
    return _on_all_rows(_pr_auc, labels, scores)


def log_loss(labels: np.ndarray, scores: np.ndarray) -> float:
    """The mean of -log(probability given to what happened), in nats; scores are kept within 1e-7 of 0 and 1."""
    return _on_all_rows(_log_loss, labels, scores)


def brier(labels: np.ndarray, scores: np.ndarray) -> float:
    """The mean squared difference between score and label."""
    return _on_all_rows(_brier, labels, scores)


def expected_calibration_error(labels: np.ndarray, scores: np.ndarray) -> float:
    """The mean over rows of |event rate - mean score| in ten bins of equal count; tied scores share a bin."""
    return _on_all_rows(_expected_calibration_error, labels, scores)


def accuracy(labels: np.ndarray, scores: np.ndarray) -> float:
    """The share of rows where score >= 0.5 agrees with the label."""
    return _on_all_rows(_accuracy, labels, scores)


def precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """The share of true labels among rows with score >= 0.5; NaN where there is no such row."""
    return _on_all_rows(_precision, labels, scores)


def recall(labels: np.ndarray, scores: np.ndarray) -> float:
    """The share of true labels that have score >= 0.5."""
    return _on_all_rows(_recall, labels, scores)


def f1(labels: np.ndarray, scores: np.ndarray) -> float:
    """The harmonic mean of precision and recall at score >= 0.5."""
    return _on_all_rows(_f1, labels, scores)


def top_decile_lift(labels: np.ndarray, scores: np.ndarray) -> float:
    """The event rate among the tenth with the highest scores, over that of all rows; of tied rows a share counts."""
    return _on_all_rows(_top_decile_lift, labels, scores)


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "roc_auc": roc_auc,
    "pr_auc": pr_auc,
    "log_loss": log_loss,
    "brier": brier,
    "expected_calibration_error": expected_calibration_error,
    "accuracy": accuracy,
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "top_decile_lift": top_decile_lift,
}


class Ranking:
    """Rows in groups of equal score, the highest first. Every metric follows from the labels within the groups."""

    def __init__(self, labels: np.ndarray, scores: np.ndarray) -> None:
        labels, scores = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
        if labels.shape != scores.shape or labels.ndim != 1:
            raise ExamplesError(f"labels {labels.shape} and scores {scores.shape} differ in shape; give one each a row")
        if np.isnan(scores).any() or not np.isin(labels, (0.0, 1.0)).all():
            raise ExamplesError("scores hold NaN, or labels other than 0 and 1; leave unlabelled rows out")
        self._tied = TiedRows(scores)
        self.scores = self._tied.values
        self.rows = len(labels)
        self._positive = labels == 1

    def counts(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores [groups], and by weights [resamples, rows] the true and false labels, [resamples, groups] each."""
        return self.scores, self._tied.summed(weights, self._positive), self._tied.summed(weights, ~self._positive)


def _one_metric(metric: str, labels: np.ndarray, scores: np.ndarray) -> Measures:
    ranking = Ranking(labels, scores)
    return lambda weights: {metric: FORMULAS[metric](*ranking.counts(weights))}


def _on_all_rows(formula: "Formula", labels: np.ndarray, scores: np.ndarray) -> float:
    ranking = Ranking(labels, scores)
    return float(formula(*ranking.counts(np.ones((1, ranking.rows))))[0])


# Below, `scores` are [groups] and fall; `positive` and `negative` are how many true and false labels each group holds,
# [resamples, groups]. A formula returns [resamples]; those of AT_THRESHOLD also take the threshold.

Formula = Callable[..., np.ndarray]


def _roc_auc(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    above = np.cumsum(positive, axis=1) - positive / 2
    return ratio((negative * above).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))


def _pr_auc(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    found = np.cumsum(positive, axis=1)
    precisions = found / np.maximum(found + np.cumsum(negative, axis=1), 1e-300)
    return ratio((positive * precisions).sum(axis=1), positive.sum(axis=1))


def _log_loss(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    kept = np.clip(scores, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return ratio(-(positive @ np.log(kept) + negative @ np.log1p(-kept)), (positive + negative).sum(axis=1))


def _brier(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    return ratio(positive @ (1 - scores) ** 2 + negative @ scores**2, (positive + negative).sum(axis=1))


def _expected_calibration_error(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    return calibration_error(scores, positive + negative, positive)


def _accuracy(
    scores: np.ndarray, positive: np.ndarray, negative: np.ndarray, threshold: float = THRESHOLD
) -> np.ndarray:
    said_true = scores >= threshold
    right = positive[:, said_true].sum(axis=1) + negative[:, ~said_true].sum(axis=1)
    return ratio(right, (positive + negative).sum(axis=1))


def _precision(
    scores: np.ndarray, positive: np.ndarray, negative: np.ndarray, threshold: float = THRESHOLD
) -> np.ndarray:
    said_true = scores >= threshold
    return ratio(positive[:, said_true].sum(axis=1), (positive + negative)[:, said_true].sum(axis=1))


def _recall(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    return ratio(positive[:, scores >= threshold].sum(axis=1), positive.sum(axis=1))


def _f1(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    said_true = scores >= threshold
    said = (positive + negative)[:, said_true].sum(axis=1)
    return ratio(2 * positive[:, said_true].sum(axis=1), said + positive.sum(axis=1))


def _top_decile_lift(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    return top_share_lift(positive + negative, positive)


FORMULAS: dict[str, Formula] = {
    "roc_auc": _roc_auc,
    "pr_auc": _pr_auc,
    "log_loss": _log_loss,
    "brier": _brier,
    "expected_calibration_error": _expected_calibration_error,
    "accuracy": _accuracy,
    "precision": _precision,
    "recall": _recall,
    "f1": _f1,
    "top_decile_lift": _top_decile_lift,
}
