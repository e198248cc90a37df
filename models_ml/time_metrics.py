"""How good scores are that foretell the days until an event, where the event may lie beyond the horizon."""

from dataclasses import dataclass

import numpy as np

from models_ml.measures import Measures, one_each_row, ratio


def time_measures(labels: np.ndarray, scores: np.ndarray, horizon: float) -> Measures:
    """The measures of `scores` for `labels`, both [rows] and in days, of an event within `horizon` days.

    A label of `horizon` or more says that there was no event within it; `scores` are predicted days, lower is sooner.

    concordance: Harrell's C (Harrell et al. 1982, https://doi.org/10.1001/jama.1982.03320430047030). Of the pairs in
    which one row's event is known to come before that of the other, the share in which it also has the lower score;
    a tied score counts half. Two events at the same time are no pair, nor are two rows without an event. It is
    exact for any number of distinct times.
    brier_at_horizon: the mean squared difference between the probability of an event within `horizon`, see
    `probability_within`, and whether there was one.
    event_share_error: the mean of this probability less the share of rows with an event.

    Raises ExamplesError on NaN, infinities, and columns that are not of one length.

    >>> measures = time_measures(np.array([2.0, 5.0, 30.0]), np.array([4.0, 9.0, 6.0]), horizon=30)
    >>> round(float(measures(np.ones((1, 3)))["concordance"][0]), 3)  # the second comes before the third: missed
    0.667
    """
    labels, scores = one_each_row(labels=labels, scores=scores)
    happened = labels < horizon
    excess = probability_within(scores, horizon) - happened
    by_row = np.stack([np.ones(len(labels)), excess**2, excess], axis=1)
    times = _times(labels, happened)
    score = np.unique(scores, return_inverse=True)[1]
    levels = [_halves(times >> level, score) for level in range(int(times.max(initial=0)).bit_length())]

    def measures(weights: np.ndarray) -> dict[str, np.ndarray]:
        rows, squares, excesses = (weights @ by_row).T
        by_resample = np.ascontiguousarray(weights.T)
        concordant = sum((half.concordant(by_resample) for half in levels), start=np.zeros(len(weights)))
        return {
            "concordance": ratio(concordant, _pairs(weights, times)),
            "brier_at_horizon": ratio(squares, rows),
            "event_share_error": ratio(excesses, rows),
        }

    return measures


def probability_within(medians: np.ndarray, horizon: float) -> np.ndarray:
    """The chance of an event within `horizon` days where so many days, [rows], are the median.

    It is horizon / (horizon + days): the logarithm of the days has a standard logistic error, as in training. A
    negative median counts as 0.

    >>> probability_within(np.array([30.0, 10.0]), 30).tolist()
    [0.5, 0.75]
    """
    return horizon / (horizon + np.maximum(np.asarray(medians, np.float64), 0.0))


def _times(labels: np.ndarray, happened: np.ndarray) -> np.ndarray:
    """The place of each row's event among the distinct times, from 0; without an event a power of 2 above them all.

    Two times differ in a highest bit. So each pair is met once if at each bit the rows that agree in the bits above
    are parted into those with a 0, the earlier ones, and those with a 1. Rows without an event are met at one bit only.
    """
    distinct, place = np.unique(labels[happened], return_inverse=True)
    times = np.full(len(labels), 1 << max(0, len(distinct) - 1).bit_length(), dtype=np.int64)
    times[happened] = place
    return times


def _pairs(weights: np.ndarray, times: np.ndarray) -> np.ndarray:
    """How many pairs of an event and a row that comes later there are, [resamples]."""
    rows = np.stack([np.bincount(times, row) for row in weights])
    later = rows.sum(axis=1, keepdims=True) - np.cumsum(rows, axis=1)
    return (rows * later).sum(axis=1)


@dataclass(frozen=True)
class _Halves:
    """Rows of an `early` half and of a `late` half, [early] and [late], in parts that are not compared with each other.

    The early rows go part by part, and in each by score. Of each late row's part they begin at `first`; those with a
    lower score end at `below`, those with an equal one at `tied`, all [late].
    """

    early: np.ndarray
    late: np.ndarray
    first: np.ndarray
    below: np.ndarray
    tied: np.ndarray

    def concordant(self, weights: np.ndarray) -> np.ndarray:
        """How many pairs have the lower score in the early half, ties counting half; weights are [rows, resamples]."""
        upto = np.zeros((len(self.early) + 1, weights.shape[1]))
        np.cumsum(weights[self.early], axis=0, out=upto[1:])
        lower = (upto[self.below] + upto[self.tied]) / 2 - upto[self.first]
        return np.einsum("ij,ij->j", weights[self.late], lower)


def _halves(times: np.ndarray, score: np.ndarray) -> _Halves:
    """The halves by the last bit of `times` in parts by the bits above; `score` is the place of the score, both [rows].

    Parts with one half only hold no pair and are left out.
    """
    part, is_late = times >> 1, (times & 1) == 1
    parts = int(part.max(initial=-1)) + 1
    both = (np.bincount(part[is_late], minlength=parts) > 0) & (np.bincount(part[~is_late], minlength=parts) > 0)
    key = part * (int(score.max(initial=0)) + 1) + score
    ordered = np.argsort(key, kind="stable")
    ordered = ordered[both[part[ordered]]]
    early, late = ordered[~is_late[ordered]], ordered[is_late[ordered]]
    return _Halves(
        early=early,
        late=late,
        first=np.searchsorted(part[early], part[late], side="left"),
        below=np.searchsorted(key[early], key[late], side="left"),
        tied=np.searchsorted(key[early], key[late], side="right"),
    )
