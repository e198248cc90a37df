"""An LSTM over a row's sequences, joined with its static features, for a binary label.

Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997.
"""

from collections.abc import Mapping
from typing import Any

from ibis_features import Examples, FeatureSchema
from models_ml.inputs import InputEncoding
from models_ml.network import (
    LOSS_BOUNDS,
    LOSS_PARAMS,
    NetworkModel,
    fit_network,
    import_keras,
    input_tensors,
    load_network,
)
from models_ml.preconditions import Bounds, require_sequences
from models_ml.sequence_layers import logit_of, steps_of
from models_ml.trainer import Observe, Progress

DEFAULT_PARAMS: Mapping[str, Any] = {
    "units": 48,  # of the LSTM
    "dense_units": 64,
    "dropout": 0.2,
    "max_length": 50,  # the newest steps that are read
    "learning_rate": 0.003,
    "weight_decay": 0.01,
    "batch_size": 512,
    "epochs": 15,  # at most; early stopping decides
    "patience": 3,
    "max_rows": 60_000,  # more training rows than this are sampled
    **LOSS_PARAMS,
}
BOUNDS: Bounds = {
    "units": (1, 1024),
    "dense_units": (1, 2048),
    "dropout": (0.0, 0.9),
    "max_length": (1, 1000),
    "learning_rate": (1e-6, 1.0),
    "weight_decay": (0.0, 1.0),
    "batch_size": (1, 65_536),
    "epochs": (1, 1000),
    "patience": (1, 1000),
    "max_rows": (100, 10_000_000),
    **LOSS_BOUNDS,
}
SPACE: Mapping[str, Mapping[str, Any]] = {
    "units": {"low": 16, "high": 128, "log": True},
    "dense_units": {"low": 16, "high": 128, "log": True},
    "dropout": {"low": 0.0, "high": 0.5},
    "learning_rate": {"low": 0.0005, "high": 0.01, "log": True},
    "weight_decay": {"low": 0.0001, "high": 0.1, "log": True},
}
WARM_UP = 2


def fit(
    train: Examples,
    validate: Examples,
    *,
    params: Mapping[str, Any],
    seed: int,
    class_weight: str | None,
    progress: Progress,
    observe: Observe | None = None,
    start: NetworkModel | None = None,
) -> NetworkModel:
    """Train with early stopping on `validate`; see `fit_network` for the rows and the errors.

    The sequences of a row have to be equally long (NULL is empty); the newest step stands last.
    """
    require_sequences("lstm", train.schema)
    return fit_network(
        "lstm",
        build,
        BOUNDS,
        train,
        validate,
        params=params,
        seed=seed,
        class_weight=class_weight,
        progress=progress,
        observe=observe,
        start=start,
    )


def load(parts: Mapping[str, bytes], schema: FeatureSchema) -> NetworkModel:
    """Build a fitted model from the parts of its `dump`; raises ArtifactError where they do not fit."""
    return load_network("lstm", build, BOUNDS, parts, schema)


def build(encoding: InputEncoding, params: Mapping[str, Any]) -> Any:
    """The untrained keras.Model: inputs as `input_tensors` names them, to the logit, [rows, 1]."""
    keras = import_keras()
    layers = keras.layers
    inputs = input_tensors(encoding)
    # The mask holds the state still over padding, so padding never changes a score; an empty sequence gives zeros.
    read = layers.LSTM(params["units"], name="lstm")(steps_of(encoding, inputs), mask=inputs["mask"])  # [rows, units]
    return keras.Model(inputs, logit_of(encoding, inputs, read, params))
