"""What a model has to beat: scores that need no model. Labels are 0 or 1, scores probabilities, both [rows]."""

import numpy as np

from models_ml.inputs import signed_log
from models_ml.logistic import logistic


def base_rate_scores(train_labels: np.ndarray, n: int) -> np.ndarray:
    """The event rate of the training rows for each of `n` rows, float32."""
    return np.full(n, np.mean(train_labels), np.float32)


def single_feature_scores(train_column: np.ndarray, train_labels: np.ndarray, column: np.ndarray) -> np.ndarray:
    """What one feature alone predicts: a logistic curve over its rank among the training rows, float32 [rows].

    The curve is monotone, so its AUC is that of the feature itself in the direction learned on the training rows,
    without the ties that bins would bring; ranks make it indifferent to skew and outliers. Missing values (NaN) get
    the event rate of the missing training rows, drawn towards the overall one.
    """
    labels = np.asarray(train_labels, np.float64)
    missing = np.isnan(train_column)
    rate = labels.mean()
    missing_rate = (labels[missing].sum() + rate * 10) / (missing.sum() + 10)
    known = np.sort(train_column[~missing])
    if not len(known) or rate in (0.0, 1.0):
        return np.where(np.isnan(column), missing_rate, rate).astype(np.float32)
    ranks = _rank(known, train_column[~missing])
    intercept, slope = logistic(np.column_stack([np.ones_like(ranks), ranks]), labels[~missing])
    curve = 1.0 / (1.0 + np.exp(-(intercept + slope * _rank(known, np.where(np.isnan(column), known[0], column)))))
    return np.where(np.isnan(column), missing_rate, curve).astype(np.float32)


def regression_scores(train_columns: np.ndarray, train_labels: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """What a logistic regression on a few columns predicts, float32 [rows]; the columns are [rows, columns].

    Counts and sums are skewed, so a column goes in as sign(x) * log(1 + |x|), with the mean and the deviation of the
    training rows brought to 0 and 1. A missing value (NaN or an infinity) is 0, and one more column tells where it is.
    """
    squashed = _squashed(train_columns)
    present = ~np.isnan(squashed)
    counts = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, squashed, 0.0).sum(axis=0) / counts
    spread = np.sqrt((np.where(present, squashed - mean, 0.0) ** 2).sum(axis=0) / counts)
    scale = 1.0 / np.where(spread > 0, spread, 1.0)

    def design(values: np.ndarray) -> np.ndarray:
        standardised = (_squashed(values) - mean) * scale
        missing = np.isnan(standardised)
        return np.column_stack(
            [np.ones(len(values)), np.where(missing, 0.0, standardised), missing[:, ~present.all(0)]]
        )

    coefficients = logistic(design(train_columns), np.asarray(train_labels, np.float64))
    return (1.0 / (1.0 + np.exp(-design(columns) @ coefficients))).astype(np.float32)


def _squashed(columns: np.ndarray) -> np.ndarray:
    return signed_log(np.where(np.isfinite(columns), columns, np.nan).astype(np.float64))


def _rank(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The share of `known` (sorted) below each value, ties counting half, from -0.5 to 0.5."""
    places = np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")
    return places / (2 * len(known)) - 0.5
