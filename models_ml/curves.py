"""What a model's scores look like on judged rows: deciles, curves, confusion at thresholds, and slices.

Labels are 0 or 1 and scores probabilities, or both are numbers where a function says so; both [rows]. Rows of equal
score share their place, so that nothing depends on the order of the rows. What is not defined on the rows at hand (a
lift where no label is true) is NaN.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models_ml.evaluation import roc_auc
from models_ml.measures import TiedRows, equal_count_bins, one_each_row

MOST_POINTS = 200
SCORE_BINS = 20
SHOWN = (0.0, 0.99)
"""Between which quantiles of numbers the bins of a histogram lie: a few whales leave all others in one."""
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
MOST_VALUES = 20
OTHER = "other"
MISSING = "missing"


@dataclass(frozen=True)
class Decile:
    """A tenth of the rows, 1 holding the highest scores. Counts are no whole numbers where a tenth cuts through rows.

    lift: the event rate over that of all rows. gain: the share of all true labels in this decile and those above.
    Where labels are numbers, positive_count is their sum and event_rate their mean.
    """

    decile: int
    row_count: float
    positive_count: float
    mean_score: float
    event_rate: float
    lift: float
    gain: float


@dataclass(frozen=True)
class Point:
    """A point of a curve.

    roc: false positive rate, true positive rate; precision_recall: recall, precision; both of the row_count rows that
    score highest. calibration: mean score and event rate of a bin. score: middle of a bin, share of all rows.
    """

    curve: str
    x: float
    y: float
    row_count: int


@dataclass(frozen=True)
class Confusion:
    """How rows with score >= threshold, which are said to be true, agree with their labels."""

    threshold: float
    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int
    is_chosen: bool


@dataclass(frozen=True)
class Slice:
    """The rows with one value of a column, and the deciding metric on them.

    roc_auc: the same once more, NaN where the kind has another one. event_rate: where labels are numbers their mean.
    """

    column_name: str
    value: str
    row_count: int
    event_rate: float
    mean_score: float
    roc_auc: float
    metric: str
    metric_value: float


@dataclass(frozen=True)
class CostPoint:
    """What the mistakes on all rows cost where rows with score >= threshold are said to be true."""

    threshold: float
    false_positive: int
    false_negative: int
    cost: float
    cost_per_row: float


Cost = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""What so many false positives and false negatives cost."""

Row = Decile | Point | Confusion | Slice | CostPoint


def deciles(labels: np.ndarray, scores: np.ndarray) -> list[Decile]:
    """Ten tenths of the rows by falling score; of tied rows on an edge each decile takes its share.

    >>> deciles(np.array([1, 0] * 5), np.linspace(1, 0.1, 10))[0].lift
    2.0
    """
    groups = Groups(labels, scores)
    if not groups.rows:
        return []
    edges = groups.rows * np.arange(11) / 10
    found = np.interp(edges, groups.above, groups.found)
    summed = np.interp(edges, groups.above, np.concatenate([[0.0], np.cumsum(groups.scores * groups.counts)]))
    size = groups.rows / 10
    positive = groups.found[-1]
    return [
        Decile(
            decile=place + 1,
            row_count=size,
            positive_count=float(found[place + 1] - found[place]),
            mean_score=float(summed[place + 1] - summed[place]) / size,
            event_rate=float(found[place + 1] - found[place]) / size,
            lift=float(10 * (found[place + 1] - found[place]) / positive) if positive > 0 else np.nan,
            gain=float(found[place + 1] / positive) if positive > 0 else np.nan,
        )
        for place in range(10)
    ]


def curves(labels: np.ndarray, scores: np.ndarray) -> list[Point]:
    """The points of `roc`, `precision_recall`, `calibration` and `score`; none of a curve that is not defined."""
    groups = Groups(labels, scores)
    return [*_roc(groups), *_precision_recall(groups), *_calibration(groups), *_histogram(groups, 0.0, 1.0)]


def number_curves(labels: np.ndarray, scores: np.ndarray) -> list[Point]:
    """The points of `calibration`, the mean label in place of the event rate, and of `score`; both are numbers."""
    groups = Groups(labels, scores)
    return [*_calibration(groups), *score_curve(labels, scores)] if groups.rows else []


def score_curve(labels: np.ndarray, scores: np.ndarray) -> list[Point]:
    """The points of `score`, of numbers that may mean nothing but an order."""
    groups = Groups(labels, scores)
    if not groups.rows:
        return []
    low, high = np.quantile(scores, SHOWN).astype(np.float64)
    return _histogram(groups, float(low), float(high if high > low else low + 1))


def confusion(labels: np.ndarray, scores: np.ndarray, chosen: float) -> list[Confusion]:
    """Counts at each of THRESHOLDS, and at the one that was `chosen` on validation."""
    groups = Groups(labels, scores)
    positive, negative = groups.found[-1], groups.missed[-1]
    thresholds = [(threshold, False) for threshold in THRESHOLDS]
    rows = []
    for threshold, is_chosen in [*thresholds, (chosen, True)]:
        said_true = np.searchsorted(-groups.scores, -threshold, "right")
        right, wrong = groups.found[said_true], groups.missed[said_true]
        rows.append(
            Confusion(threshold, int(right), int(wrong), int(negative - wrong), int(positive - right), is_chosen)
        )
    return rows


def best_f1_threshold(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """The score from which on saying true has the best F1, the highest such one; None where no label is true."""
    groups = Groups(labels, scores)
    if not groups.found[-1]:
        return None
    f1 = 2 * groups.found[1:] / (groups.above[1:] + groups.found[-1])
    return float(groups.scores[np.argmax(f1)])


def cost_curve(labels: np.ndarray, scores: np.ndarray, cost: Cost) -> list[CostPoint]:
    """What mistakes cost at scores that occur, the highest first."""
    groups = Groups(labels, scores)
    wrong, missed = groups.missed[1:], groups.found[-1] - groups.found[1:]
    costs = cost(wrong, missed)
    return [
        CostPoint(
            threshold=float(groups.scores[place]),
            false_positive=int(wrong[place]),
            false_negative=int(missed[place]),
            cost=float(costs[place]),
            cost_per_row=float(costs[place]) / groups.rows,
        )
        for place in (_thinned(groups.above[1:]) if groups.rows else [])
    ]


def frequent_values(values: Sequence[str | None], most: int = MOST_VALUES) -> list[str]:
    """The at most `most` values that most rows hold, the most frequent first; None is no value."""
    counted = Counter(value for value in values if value is not None)
    return sorted(counted, key=lambda value: (-counted[value], value))[:most]


def slices(
    column: str,
    values: Sequence[str | None],
    kept: Sequence[str],
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    metric: str = "roc_auc",
    measured: Callable[[np.ndarray], float] | None = None,
) -> list[Slice]:
    """A row for each of the `kept` values, one for all `other` ones and one for the `missing`, where rows hold them.

    measured: the metric of this name, from the mask of some rows, [rows]; without it the AUC.
    """
    known = set(kept)
    named = np.array([MISSING if v is None else v if v in known else OTHER for v in values], object)
    rows = []
    for value in dict.fromkeys([*kept, OTHER, MISSING]):
        is_in = named == value
        if not is_in.any():
            continue
        groups = Groups(labels[is_in], scores[is_in])
        rate = float(groups.found[-1] / groups.rows)
        mean = float(groups.scores @ groups.counts / groups.rows)
        found = measured(is_in) if measured else roc_auc(labels[is_in], scores[is_in])
        auc = found if metric == "roc_auc" else np.nan
        rows.append(Slice(column, value, groups.rows, rate, mean, auc, metric, found))
    return rows


class Groups:
    """Groups of tied scores, the highest first, and the rows down to each: `above`, `found`, `missed` begin with 0.

    `positive` are the true labels of each group, and `found` those down to it; of numbers their sums.
    """

    def __init__(self, labels: np.ndarray, scores: np.ndarray) -> None:
        labels, scores = one_each_row(labels=labels, scores=scores)
        self.rows, once = len(labels), np.ones((1, len(labels)))
        tied = TiedRows(scores)
        self.scores = tied.values
        self.counts, self.positive = tied.summed(once)[0], tied.summed(once, labels)[0]
        self.found = np.concatenate([[0.0], np.cumsum(self.positive)])
        self.above = np.concatenate([[0.0], np.cumsum(self.counts)])
        self.missed = self.above - self.found  # false labels


def _roc(groups: Groups) -> list[Point]:
    if not groups.found[-1] or not groups.missed[-1]:
        return []
    x, y = groups.missed / groups.missed[-1], groups.found / groups.found[-1]
    kept = _thinned(x + y)
    return _points("roc", x[kept], y[kept], groups.above[kept])


def _precision_recall(groups: Groups) -> list[Point]:
    """Points where a true label is found: steps down to them have the area of the average precision."""
    if not groups.found[-1]:
        return []
    steps = np.flatnonzero(groups.positive) + 1
    recall, precision = groups.found[steps] / groups.found[-1], groups.found[steps] / groups.above[steps]
    kept = _thinned(recall)
    x, y, above = recall[kept], precision[kept], groups.above[steps][kept]
    return _points("precision_recall", x, y, above)


def _calibration(groups: Groups) -> list[Point]:
    bins = equal_count_bins(groups.counts[None])[0]
    rows, positive = np.bincount(bins, groups.counts), np.bincount(bins, groups.positive)
    summed = np.bincount(bins, groups.scores * groups.counts)
    is_held = rows > 0
    x, y = summed[is_held] / rows[is_held], positive[is_held] / rows[is_held]
    return _points("calibration", x[::-1], y[::-1], rows[is_held][::-1])


def _histogram(groups: Groups, low: float, high: float) -> list[Point]:
    """Bins of one width from `low` to `high`; what lies beyond counts in the outermost ones."""
    if not groups.rows:
        return []
    places = (groups.scores - low) / (high - low) * SCORE_BINS
    rows = np.bincount(np.clip(places, 0, SCORE_BINS - 1).astype(np.int64), groups.counts, SCORE_BINS)
    middles = low + (np.arange(SCORE_BINS) + 0.5) / SCORE_BINS * (high - low)
    return _points("score", middles, rows / groups.rows, rows)


def _thinned(path: np.ndarray) -> np.ndarray:
    """Places of at most MOST_POINTS points, ends among them, spread evenly along a rising path.

    Of each stretch the points about its ends are kept, so that a long straight line stays the line it is.
    """
    if len(path) <= MOST_POINTS:
        return np.arange(len(path))
    marks = np.linspace(path[0], path[-1], MOST_POINTS // 2)
    after = np.minimum(np.searchsorted(path, marks, "left"), len(path) - 1)
    before = np.maximum(np.searchsorted(path, marks, "right") - 1, 0)
    return np.unique(np.concatenate([[0, len(path) - 1], before[1:], after[:-1]]))


def _points(curve: str, x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> list[Point]:
    return [Point(curve, float(a), float(b), int(n)) for a, b, n in zip(x, y, rows, strict=True)]
