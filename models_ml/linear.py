"""Logistic regression with an L2 penalty, over the inputs that networks read, for a binary label.

The log-odds are a sum: an intercept, each standardised number times its coefficient, and one coefficient for the code
of each category. It is the least that a model can be, quick to train, and its contributions are exact.

Source: Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2nd edition, section 4.4.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from ibis_features import ArtifactError, Examples, FeatureSchema
from models_ml.calibration import probabilities
from models_ml.inputs import Encoded, InputEncoding, blank_encoding, fit_statistics, read_rows
from models_ml.kinds import BINARY, Kind
from models_ml.preconditions import Bounds, check_kind, check_params, positive_weight, refuse_sequences
from models_ml.trainer import Observe, Progress

KINDS = ("binary",)
DEFAULT_PARAMS: Mapping[str, Any] = {
    "reg_lambda": 300.0,  # snapshots of one user are alike: a penalty for fewer rows than there are
    "max_iterations": 300,
    "max_rows": 200_000,  # more training rows than this are sampled
}
BOUNDS: Bounds = {
    "reg_lambda": (1e-3, 1e6),
    "max_iterations": (1, 100_000),
    "max_rows": (100, 10_000_000),
}
SPACE: Mapping[str, Mapping[str, Any]] = {
    "reg_lambda": {"low": 1.0, "high": 10000.0, "log": True},
}
WARM_UP = 50
"""A weak penalty takes more iterations than a strong one."""
PARTS = ("logistic.json", "coefficients.json")
ROWS_AT_A_TIME = 2_048
"""Numbers are float32 in memory; so many rows at a time are float64."""
TOLERANCE = 1e-7
"""The solver stops where no slope of the mean loss is larger."""


def fit(
    train: Examples,
    validate: Examples,
    *,
    params: Mapping[str, Any],
    seed: int,
    class_weight: str | None,
    kind: Kind = BINARY,
    progress: Progress,
    observe: Observe | None = None,
    start: "LogisticModel | None" = None,
) -> "LogisticModel":
    """Minimise the log-loss summed over the rows, plus half of `reg_lambda` times the squared coefficients, by L-BFGS.

    Where there are more than `max_rows` training rows, a seeded sample of that size trains. `validate` stops nothing:
    the penalty does what early stopping does. With `start` the penalty draws the coefficients to those of `start`, in
    its encoding, in place of 0. Raises ConfigError and ExamplesError as `check_params`, `positive_weight` and
    `refuse_sequences` do.
    """
    check_kind("logistic", kind.name, KINDS)
    check_params("logistic", params, BOUNDS)
    refuse_sequences("logistic", train.schema)
    weight = positive_weight(train, validate, class_weight)
    progress("reading", 0.0)
    draws = np.random.default_rng(seed)
    blank = start.encoding if start else blank_encoding(train, steps=0)
    squashed, labels = read_rows(train, blank, params["max_rows"], draws)
    encoding = start.encoding if start else fit_statistics(blank, squashed)
    rows = encoding.standardise(squashed)
    offsets = _offsets(encoding)
    drawn_to = start.coefficients if start else np.zeros(offsets[-1])
    loss = _PenalisedLoss(rows, labels, offsets, weight=weight, reg_lambda=params["reg_lambda"], drawn_to=drawn_to)
    judged = None
    if observe is not None:
        validate_rows, truth = read_rows(validate, encoding, params["max_rows"], draws)
        judged = _PenalisedLoss(
            encoding.standardise(validate_rows), truth, offsets, weight=weight, reg_lambda=0.0, drawn_to=drawn_to
        )

    def told(iteration: int, coefficients: np.ndarray) -> None:
        progress("training", iteration / params["max_iterations"])
        if judged is not None and observe is not None:
            observe(iteration, judged(coefficients)[0])

    coefficients = _least(loss, drawn_to, params["max_iterations"], told)
    progress("training", 1.0)
    return LogisticModel(encoding, params, coefficients, _means(rows, offsets), train.schema)


def load(parts: Mapping[str, bytes], schema: FeatureSchema) -> "LogisticModel":
    """Build a fitted model from the parts of its `dump`; raises ArtifactError where they do not fit."""
    if set(parts) != set(PARTS):
        raise ArtifactError(
            f"a logistic regression consists of {', '.join(PARTS)}, found {', '.join(parts) or 'nothing'}; train anew"
        )
    try:
        state, numbers = (json.loads(parts[name]) for name in PARTS)
        encoding, params = InputEncoding.from_json(state["encoding"]), dict(state["params"])
        check_params("logistic", params, BOUNDS)
        coefficients, means = (np.array(numbers[name], np.float64) for name in ("coefficients", "means"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError("the logistic regression cannot be read; the artifact is damaged: train anew") from error
    if sorted(encoding.features) != sorted(schema.names):
        raise ArtifactError("the logistic regression is not over the columns of the feature schema; train anew")
    wanted = (_offsets(encoding)[-1],)
    if not coefficients.shape == means.shape == wanted or not np.isfinite([coefficients, means]).all():
        raise ArtifactError("the coefficients are not those of the inputs; the artifact is damaged: train anew")
    return LogisticModel(encoding, params, coefficients, means, schema)


class LogisticModel:
    """A fitted logistic regression.

    coefficients: float64 [1 + numbers + codes], the intercept first, then the numbers as the encoding orders them, then
    one for each code of each category. means: of what they are multiplied by, over the training rows, [the same].
    """

    def __init__(
        self,
        encoding: InputEncoding,
        params: Mapping[str, Any],
        coefficients: np.ndarray,
        means: np.ndarray,
        schema: FeatureSchema,
    ) -> None:
        self.encoding = encoding
        self.params = params
        self.coefficients = coefficients
        self.means = means
        self.schema = schema
        self.offsets = _offsets(encoding)

    @property
    def numbers(self) -> np.ndarray:
        """The coefficients of the numbers, [encoding.number_width]."""
        return self.coefficients[1 : self.offsets[0]]

    @property
    def categories(self) -> list[np.ndarray]:
        """The coefficients of each category by its code, [codes] each."""
        return [self.coefficients[start:end] for start, end in pairwise(self.offsets)]

    def predict(self, batch: pa.RecordBatch) -> np.ndarray:
        """The probability of a true label, float32 [rows]."""
        return probabilities(self.margin(batch).astype(np.float64))

    def margin(self, batch: pa.RecordBatch) -> np.ndarray:
        """The log-odds of a true label, float32 [rows]."""
        return _log_odds(self.encoding.encode(batch), self.coefficients, self.offsets).astype(np.float32)

    tells_contributions = True

    @property
    def base_log_odds(self) -> float:
        """The mean log-odds of the training rows."""
        return float(self.coefficients @ self.means)

    def contributions(self, batch: pa.RecordBatch) -> np.ndarray:
        """Coefficient × (value − mean of the training rows), summed up by feature, float64 [rows, features]."""
        rows = self.encoding.encode(batch)
        places = {feature: place for place, feature in enumerate(self.schema.names)}
        out = np.zeros((batch.num_rows, len(places)))
        moved = (rows.numbers - self.means[1 : self.offsets[0]]) * self.numbers
        np.add.at(out.T, [places[feature] for feature in self.encoding.number_features], moved.T)
        shares = [self.means[start:end] for start, end in pairwise(self.offsets)]
        for codes, category, of_code, share in zip(
            rows.categories.T, self.encoding.categories, self.categories, shares, strict=True
        ):
            out[:, places[category.feature]] = of_code[codes] - of_code @ share
        return out

    def dump(self) -> dict[str, bytes]:
        state = {"params": dict(self.params), "encoding": self.encoding.to_json()}
        numbers = {"coefficients": self.coefficients.tolist(), "means": self.means.tolist()}
        settings, coefficients = PARTS
        return {
            settings: json.dumps(state, ensure_ascii=False, allow_nan=False).encode(),
            coefficients: json.dumps(numbers, allow_nan=False).encode(),
        }

    def importance(self) -> dict[str, float]:
        """Empty: there is no gain to share out."""
        return {}


@dataclass(frozen=True)
class _PenalisedLoss:
    """The mean log-loss of rows by coefficients with its penalty, and its slopes; a true label weighs `weight`."""

    rows: Encoded
    labels: np.ndarray
    offsets: list[int]
    weight: float
    reg_lambda: float
    drawn_to: np.ndarray

    def __call__(self, coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        from scipy.special import expit

        weights = np.where(self.labels == 1, self.weight, 1.0)
        slopes, loss = np.zeros_like(coefficients), 0.0
        for start in range(0, len(weights), ROWS_AT_A_TIME):
            piece = slice(start, start + ROWS_AT_A_TIME)
            numbers, codes = self.rows.numbers[piece].astype(np.float64), self.rows.categories[piece]
            log_odds = _sum(numbers, codes, coefficients, self.offsets)
            truth = self.labels[piece]
            loss += float(weights[piece] @ (np.logaddexp(0.0, log_odds) - truth * log_odds))
            missed = weights[piece] * (expit(log_odds) - truth)
            slopes[0] += missed.sum()
            slopes[1 : self.offsets[0]] += missed @ numbers
            for (low, high), column in zip(pairwise(self.offsets), codes.T, strict=True):
                slopes[low:high] += np.bincount(column, missed, minlength=high - low)
        away = coefficients - self.drawn_to
        away[0] = 0.0  # the intercept is free
        total = weights.sum()
        loss += self.reg_lambda / 2 * float(away @ away)
        return loss / total, (slopes + self.reg_lambda * away) / total


def _least(loss: _PenalisedLoss, start: np.ndarray, max_iterations: int, told: Any) -> np.ndarray:
    """The coefficients with the least loss; `told` gets the number of each iteration, from 0, and what it reached."""
    from scipy.optimize import OptimizeResult, minimize

    iterations = iter(range(max_iterations))

    def after(intermediate_result: OptimizeResult) -> None:
        told(next(iterations), intermediate_result.x)

    options = {"maxiter": max_iterations, "maxfun": 10 * max_iterations, "gtol": TOLERANCE, "ftol": 0.0, "maxcor": 30}
    return minimize(loss, start, jac=True, method="L-BFGS-B", callback=after, options=options).x


def _offsets(encoding: InputEncoding) -> list[int]:
    """Where the coefficients of the numbers end and those of each category do, the intercept standing first."""
    counts = [1 + encoding.number_width, *(category.codes for category in encoding.categories)]
    return np.cumsum(counts).tolist()


def _log_odds(rows: Encoded, coefficients: np.ndarray, offsets: list[int]) -> np.ndarray:
    """Float64 [rows]."""
    pieces = [slice(start, start + ROWS_AT_A_TIME) for start in range(0, len(rows.lengths), ROWS_AT_A_TIME)]
    found = [
        _sum(rows.numbers[piece].astype(np.float64), rows.categories[piece], coefficients, offsets) for piece in pieces
    ]
    return np.concatenate([np.empty(0), *found])


def _sum(numbers: np.ndarray, codes: np.ndarray, coefficients: np.ndarray, offsets: list[int]) -> np.ndarray:
    """The log-odds, float64 [rows], of numbers [rows, numbers] and codes [rows, categories]."""
    log_odds = coefficients[0] + numbers @ coefficients[1 : offsets[0]]
    for start, column in zip(offsets, codes.T, strict=False):
        log_odds += coefficients[start + column]
    return log_odds


def _means(rows: Encoded, offsets: list[int]) -> np.ndarray:
    """The mean of 1, of each number, and the share of each code, [coefficients]."""
    shares = [
        np.bincount(column, minlength=end - start) / len(column)
        for (start, end), column in zip(pairwise(offsets), rows.categories.T, strict=True)
    ]
    return np.concatenate([[1.0], rows.numbers.mean(axis=0, dtype=np.float64), *shares])
