"""What the measures of all kinds of predictions share: their form, what they refuse, ties, shares of nothing.

Rows of equal score share their place, so that nothing hangs on the order of the rows. What is not defined is NaN.
"""

from collections.abc import Callable

import numpy as np

from ibis_features import ExamplesError

# From weights [resamples, rows], how often each row counts in each resample, to each measure's values, [resamples].
Measures = Callable[[np.ndarray], dict[str, np.ndarray]]

BINS = 10
TOP_SHARE = 0.1


def one_each_row(**columns: np.ndarray) -> list[np.ndarray]:
    """The columns as float64, [rows] each. Raises ExamplesError on other shapes, NaN and infinities, by name."""
    numbers = {name: np.asarray(column, np.float64) for name, column in columns.items()}
    shapes = [column.shape for column in numbers.values()]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        found = " and ".join(f"{name} {column.shape}" for name, column in numbers.items())
        raise ExamplesError(f"{found} differ in shape, or are not flat; give one each a row")
    for name, column in numbers.items():
        faults = len(column) - np.count_nonzero(np.isfinite(column))
        if faults:
            raise ExamplesError(
                f"{faults} of {len(column)} {name} are NaN or infinite; leave rows without a label out, "
                "and give all others finite numbers"
            )
    return list(numbers.values())


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, both [resamples]; NaN where the whole is not above 0."""
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


class TiedRows:
    """Rows in groups of equal value; `values` are those of the groups, [groups], and fall."""

    def __init__(self, values: np.ndarray) -> None:
        negated, self._group = np.unique(-values, return_inverse=True)
        self.values = -negated

    def summed(self, weights: np.ndarray, amounts: np.ndarray | float = 1.0) -> np.ndarray:
        """The weighted sum of `amounts`, [rows] or the same for all, in each group: [resamples, groups]."""
        return np.stack([np.bincount(self._group, row * amounts, len(self.values)) for row in weights])


# Below, `counts` are the rows of each group of tied scores, the highest score first, and `labels` the sum of their
# labels, [resamples, groups] each. Labels of 0 and 1 are a case like any other.


def middle_places(counts: np.ndarray) -> np.ndarray:
    """How many rows stand before the middle of each group, [resamples, groups]: the place that its rows share."""
    return np.cumsum(counts, axis=1) - counts / 2


def equal_count_bins(counts: np.ndarray) -> np.ndarray:
    """Which of BINS bins of equal count each group falls into, by its middle row: [resamples, groups]."""
    total = np.maximum(counts.sum(axis=1), 1)
    return np.minimum(BINS - 1, BINS * middle_places(counts) / total[:, None]).astype(np.int64)


def calibration_error(scores: np.ndarray, counts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean over rows of |mean label - mean score| in BINS bins of equal count; `scores` [groups] fall."""
    bins = equal_count_bins(counts)
    bins += BINS * np.arange(len(bins))[:, None]
    excess = np.bincount(bins.ravel(), (labels - scores * counts).ravel(), BINS * len(bins)).reshape(-1, BINS)
    return ratio(np.abs(excess).sum(axis=1), counts.sum(axis=1))


def top_share_lift(counts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean label of the TOP_SHARE that scores highest over the mean of all; of a group cut through, a share counts.

    NaN where the mean of all is not above 0.
    """
    wanted = TOP_SHARE * counts.sum(axis=1, keepdims=True)
    before = np.cumsum(counts, axis=1) - counts
    share = np.clip((wanted - before) / np.maximum(counts, 1e-300), 0.0, 1.0)
    return ratio((share * labels).sum(axis=1), TOP_SHARE * labels.sum(axis=1))
