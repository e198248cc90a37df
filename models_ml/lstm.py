"""An LSTM over a row's sequences, joined with its static features.

Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997.
"""

from collections.abc import Mapping
from typing import Any

from models_ml.inputs import InputEncoding
from models_ml.losses import KINDS as LEARNED_KINDS
from models_ml.network import (
    LOSS_PARAMS,
    TRAINING_BOUNDS,
    NetworkFamily,
    import_keras,
    input_tensors,
)
from models_ml.preconditions import Bounds, require_sequences
from models_ml.sequence_layers import logit_of, steps_of

KINDS = LEARNED_KINDS
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
    "max_length": (1, 1000),
    **TRAINING_BOUNDS,
}
SPACE: Mapping[str, Mapping[str, Any]] = {
    "units": {"low": 16, "high": 128, "log": True},
    "dense_units": {"low": 16, "high": 128, "log": True},
    "dropout": {"low": 0.0, "high": 0.5},
    "learning_rate": {"low": 0.0005, "high": 0.01, "log": True},
    "weight_decay": {"low": 0.0001, "high": 0.1, "log": True},
}
WARM_UP = 2


def build(encoding: InputEncoding, params: Mapping[str, Any]) -> Any:
    """The untrained keras.Model: inputs as `input_tensors` names them, to the logit, [rows, 1]."""
    keras = import_keras()
    layers = keras.layers
    inputs = input_tensors(encoding)
    # The mask holds the state still over padding, so padding never changes a score; an empty sequence gives zeros.
    read = layers.LSTM(params["units"], name="lstm")(steps_of(encoding, inputs), mask=inputs["mask"])  # [rows, units]
    return keras.Model(inputs, logit_of(encoding, inputs, read, params))


FAMILY = NetworkFamily("lstm", build, BOUNDS, require_sequences)
fit, load = FAMILY.fit, FAMILY.load
