"""What a model has to beat: scores that need no model. Labels are 0 or 1, scores probabilities, both [rows]."""

import numpy as np


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
    intercept, slope = _logistic(_rank(known, train_column[~missing]), labels[~missing])
    curve = 1.0 / (1.0 + np.exp(-(intercept + slope * _rank(known, np.where(np.isnan(column), known[0], column)))))
    return np.where(np.isnan(column), missing_rate, curve).astype(np.float32)


def _rank(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The share of `known` (sorted) below each value, ties counting half, from -0.5 to 0.5."""
    places = np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")
    return places / (2 * len(known)) - 0.5


def _logistic(x: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Intercept and slope of a logistic regression with a faint ridge, by Newton's method."""
    design = np.stack([np.ones_like(x), x], axis=1)
    ridge = 1e-2 * np.eye(2)
    coefficients = np.zeros(2)
    for _ in range(30):
        p = 1.0 / (1.0 + np.exp(-design @ coefficients))
        gradient = design.T @ (labels - p) - ridge @ coefficients
        step = np.linalg.solve((design * (p * (1 - p))[:, None]).T @ design + ridge, gradient)
        coefficients += np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-9:
            break
    return float(coefficients[0]), float(coefficients[1])
