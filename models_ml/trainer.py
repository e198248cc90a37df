"""The protocol that every model family keeps, and the table of families.

A family is one module: `fit` reads examples through Ibis in batches and returns a fitted model; a fitted model
scores Arrow batches and dumps itself into named parts of bytes, from which `load` builds it again. No pickle.
"""

import importlib
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import duckdb
import numpy as np
import pyarrow as pa

from ibis_features import ConfigError, Examples, FeatureSchema, ForetableError, TrainingError

if TYPE_CHECKING:
    from models_ml.kinds import Kind

Progress = Callable[[str, float], None]
"""Called with a step's name and its share done, 0 to 1."""

Observe = Callable[[int, float], None]
"""Called after each round or epoch, from 0, with the loss on the validation rows; a GivenUpError ends the training."""


class GivenUpError(Exception):
    """A training is not worth going on with."""


TRAINERS = {
    "xgboost": "models_ml.trees",
    "lightgbm": "models_ml.lightgbm_trees",
    "random_forest": "models_ml.random_forest",
    "logistic": "models_ml.linear",
    "mlp": "models_ml.mlp",
    "lstm": "models_ml.lstm",
    "transformer": "models_ml.transformer",
}
READS_SEQUENCES = ("lstm", "transformer")
TOGETHER = " + "
"""Stands between the members in the name of an ensemble: `xgboost + mlp`."""


class FittedModel(Protocol):
    """A trained model.

    base_log_odds: where contributions start from: for trees and the logistic regression the training rows' mean, for
    networks a middle row.
    tells_contributions: whether they can be told here; a network needs TensorFlow for its gradients.
    """

    schema: FeatureSchema

    @property
    def base_log_odds(self) -> float: ...

    @property
    def tells_contributions(self) -> bool: ...

    def predict(self, batch: pa.RecordBatch) -> np.ndarray:
        """Score rows whose columns are those of `Examples.batches` (any order, extra ones ignored).

        Returns float32 [rows]: for a binary prediction the probability of a true label, see `models_ml.kinds`.
        """

    def margin(self, batch: pa.RecordBatch) -> np.ndarray:
        """The log-odds as the model itself gives them, before any calibration; float32 [rows].

        Where the label is no truth value, this is what the kind's link makes a score of.
        """

    def contributions(self, batch: pa.RecordBatch) -> np.ndarray:
        """What each feature adds to each row's log-odds, float64 [rows, features] in the order of the schema.

        A row's contributions and `base_log_odds` add up to its margin, the log-odds before any calibration.
        """

    def dump(self) -> dict[str, bytes]:
        """The model as named parts; `load` of the same module takes them back."""

    def importance(self) -> dict[str, float]:
        """Feature name to its share of the model's gain, summing to 1; empty where the family has none."""


class Trainer(Protocol):
    """What a model family's module offers at its top level."""

    KINDS: Collection[str]
    """The kinds of labels that the family learns, by name."""
    DEFAULT_PARAMS: Mapping[str, Any]
    BOUNDS: Mapping[str, tuple[float, float]]
    SPACE: Mapping[str, Mapping[str, Any]]
    """What a search looks at where its config does not say: by param, low and high, on a scale of logarithms or not."""
    WARM_UP: int
    """How many rounds or epochs a search lets every trial have."""

    def fit(
        self,
        train: Examples,
        validate: Examples,
        *,
        params: Mapping[str, Any],
        seed: int,
        class_weight: str | None,
        kind: "Kind",
        progress: Progress,
        observe: Observe | None = None,
        start: Any = None,
    ) -> FittedModel:
        """Train with early stopping on `validate`. `params` are already merged over DEFAULT_PARAMS.

        kind: what the label is. The model's own score is that of a probability; a score map makes another of it.
        start: a model of this family over the same features that the training goes on from, with its encoding.
        """

    def load(self, parts: Mapping[str, bytes], schema: FeatureSchema) -> FittedModel:
        """Build a fitted model from the parts of its `dump`; raises ArtifactError where they do not fit."""


def families(model: str) -> tuple[str, ...]:
    """The families of a model: one, or all members of an ensemble.

    >>> families("xgboost + mlp")
    ('xgboost', 'mlp')
    """
    return tuple(model.split(TOGETHER))


def trainer(name: str) -> Trainer:
    """The module of a model family, imported now and not before (TensorFlow takes seconds)."""
    if name not in TRAINERS:
        raise ConfigError(f"unknown model '{name}'; known: {', '.join(TRAINERS)}")
    return importlib.import_module(TRAINERS[name])


def fit_of(name: str) -> Callable[..., FittedModel]:
    """The `fit` of a model family. What fails in its library is raised as a TrainingError that names the family.

    Errors of ours and of DuckDB, which say by themselves what to do, come through as they are.
    """
    fit = trainer(name).fit

    def fit_or_say(*examples: Examples, **settings: Any) -> FittedModel:
        try:
            return fit(*examples, **settings)
        except (ForetableError, GivenUpError, duckdb.Error, MemoryError):
            raise
        except Exception as error:
            said = " ".join(str(error).split())
            raise TrainingError(
                f"the trainer '{name}' failed ({type(error).__name__}: {said}); look at params and at features of "
                "extreme values"
            ) from error

    return fit_or_say


def merged_params(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The family's defaults with `params` over them; raises ConfigError on a key the family does not know.

    Those of an ensemble are by member: `{'xgboost': {...}, 'mlp': {...}}`.
    """
    if len(members := families(name)) > 1:
        odd = [key for key, given in params.items() if key not in members or not isinstance(given, Mapping)]
        if odd:
            raise ConfigError(
                f"params of an ensemble are given by member, and {', '.join(odd)} is none with a mapping of its own; "
                f"known: {', '.join(members)}, as in params={{'{members[0]}': {{…}}}}"
            )
        return {member: merged_params(member, params.get(member, {})) for member in members}
    defaults = trainer(name).DEFAULT_PARAMS
    unknown = [key for key in params if key not in defaults]
    if unknown:
        raise ConfigError(f"unknown params for {name}: {', '.join(unknown)}; known: {', '.join(defaults)}")
    return {**defaults, **params}
