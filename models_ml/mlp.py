"""A multilayer perceptron for a binary label: dense layers with relu over standardised numbers and embeddings."""

from collections.abc import Mapping
from typing import Any

from ibis_features import Examples, FeatureSchema
from models_ml.inputs import InputEncoding
from models_ml.network import (
    LOSS_BOUNDS,
    LOSS_PARAMS,
    NetworkModel,
    embedded,
    fit_network,
    import_keras,
    input_tensors,
    joined,
    load_network,
)
from models_ml.preconditions import Bounds, refuse_sequences
from models_ml.trainer import Observe, Progress

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
    "dropout": (0.0, 0.9),
    "learning_rate": (1e-6, 1.0),
    "weight_decay": (0.0, 1.0),
    "batch_size": (1, 65_536),
    "epochs": (1, 1000),
    "patience": (1, 1000),
    "max_rows": (100, 10_000_000),
    **LOSS_BOUNDS,
}
SPACE: Mapping[str, Mapping[str, Any]] = {
    "units": {"low": 32, "high": 256, "log": True},
    "layers": {"low": 1, "high": 3},
    "dropout": {"low": 0.0, "high": 0.5},
    "learning_rate": {"low": 0.0003, "high": 0.01, "log": True},
    "weight_decay": {"low": 0.0001, "high": 0.1, "log": True},
}
WARM_UP = 3


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
    """Train with early stopping on `validate`; see `fit_network` for the rows and the errors."""
    refuse_sequences("mlp", train.schema)
    return fit_network(
        "mlp",
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
    return load_network("mlp", build, BOUNDS, parts, schema)


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
