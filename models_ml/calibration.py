"""Scores that are probabilities: a rising map from a model's log-odds to those of what happens.

It is fitted on the validation rows once the training has stopped, and laid around the model: what the wrapped model
predicts is the calibrated score, wherever a score is asked for.

Sources: Platt, "Probabilistic outputs for support vector machines", 1999; Oron and Flournoy, "Centered isotonic
regression", Statistics in Biopharmaceutical Research 9(3), 2017.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibis_features import ArtifactError, Examples
from ibis_features.examples import LABEL
from models_ml.score_map import MappedModel
from models_ml.trainer import FittedModel

CALIBRATE = ("isotonic", "platt", None)
PART = "calibration.json"
"""The artifact's part that holds the map; the other parts are the model's own."""
MOST_LOG_ODDS = 15.0
"""Calibrated log-odds end here, so that no score is 0 or 1 as float32: the log-loss of these is infinite."""
LEAST_LOG_ODDS = -700.0
"""Below it a probability is 0 as float32 anyway, and exp would overflow."""
LEAST_STEP = 1e-9
"""Isotonic steps that differ by less are one: their means differ by rounding alone."""
LEAST_SLOPE = 0.01
"""A map always rises: the rows keep their order even where the validation rows would turn it round."""


@dataclass(frozen=True)
class Calibration:
    """Straight pieces from log-odds to log-odds, each rising: `y + slope * (log_odds - x)`. A score map.

    Piece k reaches from `x[k]` to `x[k + 1]`, the first one from minus infinity. method: 'isotonic', 'platt', or
    'prior' where only the share of true labels is put right.
    """

    method: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    slope: tuple[float, ...]

    def log_odds(self, margin: np.ndarray) -> np.ndarray:
        """Calibrated log-odds of a model's own, float64 [rows]."""
        x, y, slope = np.array(self.x), np.array(self.y), np.array(self.slope)
        piece = np.searchsorted(x[1:], margin, "right")
        return np.clip(y[piece] + slope[piece] * (margin - x[piece]), -MOST_LOG_ODDS, MOST_LOG_ODDS)

    @property
    def part(self) -> str:
        return PART

    def scores(self, margin: np.ndarray) -> np.ndarray:
        """The calibrated probability, float32 [rows], of log-odds, float32 [rows]."""
        return probabilities(self.log_odds(margin.astype(np.float64)))

    def dump(self) -> bytes:
        return json.dumps(asdict(self)).encode()


class CalibratedModel(MappedModel):
    """A fitted model whose score is calibrated: the probability of a true label, never 0 or 1."""

    def __init__(self, model: FittedModel, calibration: Calibration) -> None:
        super().__init__(model, calibration)
        self.calibration = calibration


def calibrated(fitted: FittedModel, method: str | None, validate: Examples, *, prior_shift: float) -> FittedModel:
    """The model with the map that `method` ('isotonic', 'platt' or None) fits on these labelled rows around it.

    `prior_shift` is what the way of training has added to the log-odds of every row (see `preconditions.prior_shift`).
    It is taken off again where nothing is fitted: with None, and where the rows have labels of one kind only.
    """
    batches = list(validate.batches()) if method else []
    labels = np.concatenate([np.empty(0), *(batch.column(LABEL).to_numpy(zero_copy_only=False) for batch in batches)])
    if method and labels.any() and not labels.all():
        margins = np.concatenate([fitted.margin(batch) for batch in batches]).astype(np.float64)
        return CalibratedModel(fitted, FITS[method](margins, labels))
    return CalibratedModel(fitted, Calibration("prior", (0.0,), (-prior_shift,), (1.0,))) if prior_shift else fitted


def calibration_of(fitted: FittedModel) -> Calibration | None:
    """The map around a model; None where its own score is the score."""
    return fitted.calibration if isinstance(fitted, CalibratedModel) else None


def with_calibration(fitted: FittedModel, content: bytes) -> CalibratedModel:
    """The model with the map of its artifact around it; raises ArtifactError where that is no rising map."""
    try:
        state: Mapping[str, Any] = json.loads(content)
        pieces = {name: tuple(float(value) for value in state[name]) for name in ("x", "y", "slope")}
        calibration = Calibration(str(state["method"]), **pieces)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ArtifactError("the calibration cannot be read; the artifact is damaged: train anew") from error
    numbers = np.array([*calibration.x, *calibration.y, *calibration.slope])
    lengths = {len(values) for values in pieces.values()}
    is_rising = bool(np.isfinite(numbers).all()) and min(calibration.slope, default=0.0) > 0
    if len(lengths) != 1 or not is_rising or list(calibration.x) != sorted(calibration.x):
        raise ArtifactError("the calibration is not a rising map; the artifact is damaged: train anew")
    return CalibratedModel(fitted, calibration)


def probabilities(log_odds: np.ndarray) -> np.ndarray:
    """`1 / (1 + exp(-log_odds))` of float64 [rows], computed as DuckDB does it and rounded to float32."""
    # Arrow's exp is the C library's; numpy's own differs from it in the last bit on some machines.
    odds_against = pc.exp(pa.array(-np.maximum(log_odds, LEAST_LOG_ODDS))).to_numpy()
    return (1.0 / (1.0 + odds_against)).astype(np.float32)


def fit_platt(margins: np.ndarray, labels: np.ndarray) -> Calibration:
    """A logistic curve over the log-odds: one slope, one intercept."""
    from scipy.optimize import minimize

    targets = _targets(labels)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        log_odds = parameters[0] * margins + parameters[1]
        excess = 1 / (1 + np.exp(-np.clip(log_odds, LEAST_LOG_ODDS, -LEAST_LOG_ODDS))) - targets
        value = np.mean(np.logaddexp(0.0, log_odds) - targets * log_odds)
        return float(value), np.array([np.mean(excess * margins), np.mean(excess)])

    bounds = [(LEAST_SLOPE, None), (None, None)]
    slope, intercept = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return Calibration("platt", (0.0,), (float(intercept),), (float(slope),))


def fit_isotonic(margins: np.ndarray, labels: np.ndarray) -> Calibration:
    """The rising steps that fit best, joined at their middles: rows within a step keep their order, too.

    Beyond the outermost middles the map goes on beside the model's own log-odds, with slope 1.
    """
    from scipy.optimize import isotonic_regression

    places, group, rows = np.unique(margins, return_inverse=True, return_counts=True)
    rates = np.bincount(group, _targets(labels)) / rows
    steps = isotonic_regression(rates, weights=rows).x
    starts = np.flatnonzero(np.diff(steps, prepend=-np.inf) > LEAST_STEP)
    x = np.add.reduceat(places * rows, starts) / np.add.reduceat(rows, starts)
    y = np.log(steps[starts]) - np.log1p(-steps[starts])
    slopes = [1.0, *(np.diff(y) / np.diff(x)), 1.0]
    return Calibration("isotonic", *(tuple(map(float, values)) for values in ([x[0], *x], [y[0], *y], slopes)))


FITS = {"isotonic": fit_isotonic, "platt": fit_platt}


def _targets(labels: np.ndarray) -> np.ndarray:
    """Platt's targets in place of 0 and 1: one more row of either kind might have been otherwise."""
    positive, negative = float(labels.sum()), float((1 - labels).sum())
    return np.where(labels == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
