"""How good scores are that foretell a number, such as what a user will spend: errors, order, calibration."""

import numpy as np

from models_ml.measures import Measures, TiedRows, calibration_error, middle_places, one_each_row, ratio, top_share_lift


def value_measures(labels: np.ndarray, scores: np.ndarray) -> Measures:
    """The measures of `scores` for `labels`, both [rows] and in the label's unit.

    mse (in the unit squared), rmse, mae.
    r2: 1 less the squared error over that of the mean label; NaN where all labels are the same.
    mape: the mean of |score - label| / |label|, 0.1 being a tenth, over rows with a label other than 0.
    bias: the mean score less the mean label.
    normalised_gini: the Gini index of the labels in the order of falling scores over that of the perfect order (Frees,
    Meyers and Cummings 2011, https://doi.org/10.1198/jasa.2011.tm10506): 1 is the perfect order, 0 chance, -1 the
    reverse. The sum of the labels cancels out, so labels below 0 do no harm; NaN where all labels are the same.
    top_decile_lift: the mean label of the tenth that scores highest over that of all rows; NaN where that is not
    above 0.
    calibration_error: the mean over rows of |mean label - mean score| in ten bins of equal count by score.

    Raises ExamplesError on NaN, infinities, and columns that are not of one length.

    >>> measures = value_measures(np.array([0.0, 10.0, 20.0]), np.array([1.0, 9.0, 24.0]))
    >>> float(measures(np.ones((1, 3)))["mae"][0])
    2.0
    """
    labels, scores = one_each_row(labels=labels, scores=scores)
    error, known = scores - labels, labels != 0
    shares = np.divide(np.abs(error), np.abs(labels), out=np.zeros(len(labels)), where=known)
    by_row = np.stack([np.ones(len(labels)), error, np.abs(error), error**2, known, shares], axis=1)
    by_score, by_label = TiedRows(scores), TiedRows(labels)

    def measures(weights: np.ndarray) -> dict[str, np.ndarray]:
        rows, errors, absolute, squared, with_share, relative = (weights @ by_row).T
        counts, summed = by_score.summed(weights), by_score.summed(weights, labels)
        label_counts = by_label.summed(weights)
        mse = ratio(squared, rows)
        return {
            "mse": mse,
            "rmse": np.sqrt(mse),
            "mae": ratio(absolute, rows),
            "r2": 1 - ratio(squared, _squared_deviations(label_counts, by_label.values)),
            "mape": ratio(relative, with_share),
            "bias": ratio(errors, rows),
            "normalised_gini": _normalised_gini(counts, summed, label_counts, by_label.values),
            "top_decile_lift": top_share_lift(counts, summed),
            "calibration_error": calibration_error(by_score.values, counts, summed),
        }

    return measures


# Below, `label_counts` are the rows that have each of the distinct `labels`, [resamples, labels] and [labels].


def _mean_labels(label_counts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[resamples, 1]; NaN where a resample has fewer than two different labels."""
    vary = np.count_nonzero(label_counts, axis=1) > 1
    return np.where(vary, ratio(label_counts @ labels, label_counts.sum(axis=1)), np.nan)[:, None]


def _squared_deviations(label_counts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return (label_counts * (labels - _mean_labels(label_counts, labels)) ** 2).sum(axis=1)


def _normalised_gini(
    counts: np.ndarray, summed: np.ndarray, label_counts: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Both Ginis are, up to the same factor, how the labels go with their places; labels are taken from their mean."""
    mean = _mean_labels(label_counts, labels)

    def gini(counts: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        return (deviations * (counts.sum(axis=1, keepdims=True) / 2 - middle_places(counts))).sum(axis=1)

    return ratio(gini(counts, summed - counts * mean), gini(label_counts, label_counts * (labels - mean)))
