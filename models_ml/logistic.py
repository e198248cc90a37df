"""Logistic regression on a few columns."""

import numpy as np

RIDGE = 1e-2
"""Keeps coefficients finite where a column separates the labels."""


def logistic(design: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The coefficients of a logistic regression with a faint ridge, [columns], by Newton's method.

    `design` is [rows, columns], an intercept among them where there is to be one; `weights` [rows] are 1 without.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    ridge = RIDGE * np.eye(design.shape[1])
    coefficients = np.zeros(design.shape[1])
    for _ in range(30):
        p = 1.0 / (1.0 + np.exp(-design @ coefficients))
        gradient = design.T @ (weights * (labels - p)) - ridge @ coefficients
        step = np.linalg.solve((design * (weights * p * (1 - p))[:, None]).T @ design + ridge, gradient)
        coefficients += np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-9:
            break
    return coefficients
