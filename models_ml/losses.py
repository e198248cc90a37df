"""What networks minimise: for each kind of label the loss of a row, given the label and the network's margin.

A loss is written once, over NumPy for early stopping and over `keras.ops` for training: both know its few functions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models_ml.kinds import Binary, Kind, Ranking, TimeToEvent
from models_ml.kinds.times import LEAST_DAYS

KINDS = ("binary", "regression", "value", "time_to_event", "ranking")


@dataclass(frozen=True)
class Loss:
    """The loss of rows, and where a network starts.

    of_rows: from a module with NumPy's functions, labels and margins, both [rows], to losses, [rows]. weight: of a row
    with the label 1 against any other. start: the margin that a network says of every row at first. scale: what its
    margins are in units of, while it learns: an optimiser's steps suit numbers about 1.
    """

    of_rows: Callable[[Any, Any, Any], Any]
    weight: float
    start: float
    centre: float = 0.0
    scale: float = 1.0

    def weights(self, labels: np.ndarray) -> np.ndarray:
        return np.where(labels == 1, np.float32(self.weight), np.float32(1))

    def mean(self, margins: np.ndarray, labels: np.ndarray) -> float:
        """The mean over rows, by their weights."""
        losses = self.of_rows(np, labels.astype(np.float64), margins.astype(np.float64))
        return float(np.average(losses, weights=self.weights(labels)))


def loss_of(kind: Kind, labels: np.ndarray, params: Mapping[str, Any], weight: float) -> Loss:
    """The loss for labels of this kind, float32 [rows]; params.loss 'focal' is one of probabilities.

    Items are put in order by the probability that one is relevant at all, row by row: a batch holds pieces of lists.
    """
    if isinstance(kind, Binary | Ranking):
        gamma = params["gamma"] if params["loss"] == "focal" else 0.0
        return Loss(_focal(gamma), weight, _log_odds(labels > 0, weight))
    if isinstance(kind, TimeToEvent):
        days = np.clip(labels, LEAST_DAYS, kind.horizon_days)
        return Loss(_failure_time(kind.horizon_days), 1.0, float(np.log(days).mean()))
    if kind.name == "value":
        return Loss(_tweedie, 1.0, float(np.log(labels.mean(dtype=np.float64))))
    centre, scale = float(labels.mean(dtype=np.float64)), float(labels.std(dtype=np.float64))
    return Loss(_squared(centre, scale), 1.0, 0.0, centre, scale)


def _focal(gamma: float) -> Callable[[Any, Any, Any], Any]:
    """The log-loss, and with gamma the focal one of Lin et al., "Focal loss for dense object detection", 2017."""

    def losses(xp: Any, labels: Any, margins: Any) -> Any:
        signed = xp.where(labels > 0, margins, -margins)
        zero = xp.zeros_like(signed)
        loss = xp.logaddexp(zero, -signed)
        return loss * xp.exp(-gamma * xp.logaddexp(zero, signed)) if gamma else loss

    return losses


def _squared(centre: float, scale: float) -> Callable[[Any, Any, Any], Any]:
    return lambda xp, labels, margins: ((labels - centre) / scale - margins) ** 2


def _tweedie(xp: Any, labels: Any, margins: Any) -> Any:
    """The Tweedie deviance of power 1.5 but for what no margin changes: 2 y exp(-m / 2) + 2 exp(m / 2)."""
    return 2 * labels * xp.exp(-margins / 2) + 2 * xp.exp(margins / 2)


def _failure_time(horizon_days: float) -> Callable[[Any, Any, Any], Any]:
    """Minus the log-likelihood where the logarithm of the days is the margin and a standard logistic error."""

    def losses(xp: Any, labels: Any, margins: Any) -> Any:
        excess = xp.log(xp.clip(labels, LEAST_DAYS, horizon_days)) - margins
        zero = xp.zeros_like(excess)
        has_happened = excess + 2 * xp.logaddexp(zero, -excess)
        return xp.where(labels < horizon_days, has_happened, xp.logaddexp(zero, excess))

    return losses


def _log_odds(labels: np.ndarray, weight: float) -> float:
    """Of a true one among these truth values, 1 added to both kinds."""
    return float(np.log((labels.sum() * weight + 1) / ((~labels).sum() + 1)))
