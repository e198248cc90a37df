"""A multilayer perceptron: dense layers with relu over standardised numbers and embeddings."""

from collections.abc import Mapping
from typing import Any

from models_ml.inputs import InputEncoding
from models_ml.losses import KINDS as LEARNED_KINDS
from models_ml.network import (
    LOSS_PARAMS,
    TRAINING_BOUNDS,
    NetworkFamily,
    embedded,
    import_keras,
    input_tensors,
    joined,
)
from models_ml.preconditions import Bounds, refuse_sequences

KINDS = LEARNED_KINDS
DEFAULT_PARAMS: Mapping[str, Any] = {
    "units": 128,  # of the first layer; each further layer has half as many
    "layers": 2,
    "dropout": 0.2,
    "learning_rate": 0.002,
    "weight_decay": 0.01,
    "batch_size": 512,
    "epochs": 30,  # at most; early stopping decides
    "patience": 4,
    "max_rows": 200_000,  # more training rows than this are sampled
    **LOSS_PARAMS,
}
BOUNDS: Bounds = {
    "units": (1, 2048),
    "layers": (1, 6),
    **TRAINING_BOUNDS,
}
SPACE: Mapping[str, Mapping[str, Any]] = {
    "units": {"low": 32, "high": 256, "log": True},
    "layers": {"low": 1, "high": 3},
    "dropout": {"low": 0.0, "high": 0.5},
    "learning_rate": {"low": 0.0003, "high": 0.01, "log": True},
    "weight_decay": {"low": 0.0001, "high": 0.1, "log": True},
}
WARM_UP = 3


def build(encoding: InputEncoding, params: Mapping[str, Any]) -> Any:
    """The untrained keras.Model: inputs as `input_tensors` names them, to the logit, [rows, 1]."""
    keras = import_keras()
    inputs = input_tensors(encoding)
    parts = [inputs["numbers"]] if "numbers" in inputs else []
    if "categories" in inputs:
        parts += embedded(encoding.categories, inputs["categories"], "category")
    hidden = joined(parts, "features")  # [rows, features]
    for layer in range(params["layers"]):
        units = max(1, params["units"] // 2**layer)
        hidden = keras.layers.Dense(units, activation="relu", name=f"dense_{layer}")(hidden)  # [rows, units]
        hidden = keras.layers.Dropout(params["dropout"], name=f"dropout_{layer}")(hidden)
    return keras.Model(inputs, keras.layers.Dense(1, name="logit")(hidden))


FAMILY = NetworkFamily("mlp", build, BOUNDS, refuse_sequences)
fit, load = FAMILY.fit, FAMILY.load
