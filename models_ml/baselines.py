"""What a model has to beat: scores that need no model.

Labels are 0 or 1 and scores probabilities, or both are numbers where a function says so; all [rows].
"""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models_ml.inputs import signed_log
from models_ml.logistic import logistic

DRAWN = 10
"""The mean of a few rows is drawn towards that of all as if so many more rows had that."""


def constant_scores(train_labels: np.ndarray, n: int) -> np.ndarray:
    """The mean label of the training rows, of truth values the event rate, for each of `n` rows, float32."""
    return np.full(n, np.mean(train_labels, dtype=np.float64), np.float32)


def popularity_scores(
    train_items: Sequence[str | None], train_labels: np.ndarray, items: Sequence[str | None]
) -> np.ndarray:
    """The mean label of each item on the training rows, drawn towards the overall one, float32 [rows].

    An item without a training row gets the overall mean.
    """
    known = pa.array(train_items, pa.string()).dictionary_encode()
    codes, labels = known.indices.to_numpy(), np.asarray(train_labels, np.float64)
    mean, rows = labels.mean(), np.bincount(codes, minlength=len(known.dictionary))
    means = (np.bincount(codes, labels, len(rows)) + mean * DRAWN) / (rows + DRAWN)
    places = pc.index_in(pa.array(items, pa.string()), known.dictionary).fill_null(len(means)).to_numpy()
    return np.append(means, mean)[places].astype(np.float32)


def share_scores(train_classes: pa.ChunkedArray, classes: pa.ChunkedArray) -> np.ndarray:
    """The share of the training rows that have each of `classes`, float32 [classes]; 0 where none has it."""
    counted = pc.value_counts(train_classes)
    shares = counted.field("counts").to_numpy() / len(train_classes)
    places = pc.fill_null(pc.index_in(classes, counted.field("values")), len(shares)).to_numpy()
    return np.append(shares, 0.0)[places].astype(np.float32)


def single_feature_scores(train_column: np.ndarray, train_labels: np.ndarray, column: np.ndarray) -> np.ndarray:
    """What one feature alone predicts: a logistic curve over its rank among the training rows, float32 [rows].

    The curve is monotone, so its AUC is that of the feature itself in the direction learned on the training rows,
    without the ties that bins would bring; ranks make it indifferent to skew and outliers. Missing values (NaN) get
    the event rate of the missing training rows, drawn towards the overall one.
    """
    labels = np.asarray(train_labels, np.float64)
    missing = np.isnan(train_column)
    rate = labels.mean()
    missing_rate = (labels[missing].sum() + rate * DRAWN) / (missing.sum() + DRAWN)
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
    design = _design_of(train_columns)
    coefficients = logistic(design(train_columns), np.asarray(train_labels, np.float64))
    return (1.0 / (1.0 + np.exp(-design(columns) @ coefficients))).astype(np.float32)


def single_feature_numbers(train_column: np.ndarray, train_labels: np.ndarray, column: np.ndarray) -> np.ndarray:
    """What one feature alone says of a number: a parabola over its rank among the training rows, float32 [rows].

    Missing values (NaN) get the mean label of the missing training rows, drawn towards the overall one.
    """
    labels = np.asarray(train_labels, np.float64)
    missing = np.isnan(train_column)
    mean = labels.mean()
    missing_mean = (labels[missing].sum() + mean * DRAWN) / (missing.sum() + DRAWN)
    known = np.sort(train_column[~missing])
    if not len(known):
        return np.full(len(column), missing_mean, np.float32)

    def design(values: np.ndarray) -> np.ndarray:
        ranks = _rank(known, values)
        return np.column_stack([np.ones_like(ranks), ranks, ranks**2])

    coefficients = _least_squares(design(train_column[~missing]), labels[~missing])
    curve = design(np.where(np.isnan(column), known[0], column)) @ coefficients
    return np.where(np.isnan(column), missing_mean, _within(curve, labels)).astype(np.float32)


def regression_numbers(train_columns: np.ndarray, train_labels: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """What a linear regression on a few columns says of a number, float32 [rows]; columns as in `regression_scores`."""
    labels = np.asarray(train_labels, np.float64)
    design = _design_of(train_columns)
    coefficients = _least_squares(design(train_columns), labels)
    return _within(design(columns) @ coefficients, labels).astype(np.float32)


def _design_of(train_columns: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """From columns, [rows, columns], to what a regression reads of them."""
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

    return design


def _least_squares(design: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(design, labels, rcond=None)[0]


def _within(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """No score beyond what the training labels were."""
    return np.clip(scores, labels.min(), labels.max())


def _squashed(columns: np.ndarray) -> np.ndarray:
    return signed_log(np.where(np.isfinite(columns), columns, np.nan).astype(np.float64))


def _rank(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The share of `known` (sorted) below each value, ties counting half, from -0.5 to 0.5."""
    places = np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")
    return places / (2 * len(known)) - 0.5
