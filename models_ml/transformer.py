"""A transformer's encoder over a row's sequences, joined with its static features.

Source: Vaswani et al., "Attention Is All You Need", https://arxiv.org/abs/1706.03762; each block normalises what it
reads, as in Xiong et al., "On Layer Normalization in the Transformer Architecture", https://arxiv.org/abs/2002.04745.
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
    "units": 32,  # numbers that stand for one step
    "heads": 2,
    "blocks": 1,
    "feed_forward_units": 64,
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
    "units": (1, 256),
    "heads": (1, 8),
    "blocks": (1, 2),
    "feed_forward_units": (1, 1024),
    "dense_units": (1, 2048),
    "max_length": (1, 500),
    **TRAINING_BOUNDS,
}
SPACE: Mapping[str, Mapping[str, Any]] = {
    "units": {"low": 16, "high": 64, "log": True},
    "blocks": {"low": 1, "high": 2},
    "dense_units": {"low": 16, "high": 128, "log": True},
    "dropout": {"low": 0.0, "high": 0.5},
    "learning_rate": {"low": 0.0005, "high": 0.01, "log": True},
    "weight_decay": {"low": 0.0001, "high": 0.1, "log": True},
}
WARM_UP = 2
EPSILON = 1e-5
"""Added to the variance that a layer normalisation divides by."""


def build(encoding: InputEncoding, params: Mapping[str, Any]) -> Any:
    """The untrained keras.Model: inputs as `input_tensors` names them, to the logit, [rows, 1]."""
    keras = import_keras()
    layers = keras.layers
    inputs = input_tensors(encoding)
    mask = inputs["mask"]  # [rows, steps], true where there is a step
    steps = layers.Dense(params["units"], name="project")(steps_of(encoding, inputs))  # [rows, steps, units]
    places = layers.Embedding(params["max_length"], params["units"], name="place")(_steps_back(mask))
    hidden = layers.Dropout(params["dropout"], name="dropout_steps")(steps + places)
    for block in range(params["blocks"]):
        hidden = _block(hidden, mask, params, f"block_{block}")
    hidden = _normalised(hidden, "normalise")
    return keras.Model(inputs, logit_of(encoding, inputs, _mean_step(hidden, mask), params))


FAMILY = NetworkFamily("transformer", build, BOUNDS, require_sequences)
fit, load = FAMILY.fit, FAMILY.load


def _block(hidden: Any, mask: Any, params: Mapping[str, Any], name: str) -> Any:
    """Attention between the steps, then a layer for each step alone, both added to what they read."""
    layers = import_keras().layers
    read = _normalised(hidden, f"{name}_normalise_attention")
    attention = layers.MultiHeadAttention(
        params["heads"], max(1, params["units"] // params["heads"]), name=f"{name}_attention"
    )
    # No step looks at padding: each row's own steps are the only keys.
    seen = attention(read, read, attention_mask=mask[:, None, :])  # [rows, steps, units]
    hidden = hidden + layers.Dropout(params["dropout"], name=f"{name}_dropout_attention")(seen)
    read = _normalised(hidden, f"{name}_normalise_feed_forward")
    wide = layers.Dense(params["feed_forward_units"], activation="relu", name=f"{name}_wide")(read)
    narrow = layers.Dense(params["units"], name=f"{name}_narrow")(wide)  # [rows, steps, units]
    return hidden + layers.Dropout(params["dropout"], name=f"{name}_dropout_feed_forward")(narrow)


def _normalised(hidden: Any, name: str) -> Any:
    return import_keras().layers.LayerNormalization(epsilon=EPSILON, name=name)(hidden)


def _steps_back(mask: Any) -> Any:
    """How many steps lie between each one and the newest, which is 0; int32 [rows, steps], 0 for padding."""
    ops = import_keras().ops
    counted = ops.cumsum(ops.cast(mask, "int32"), axis=1)
    return counted[:, -1:] - counted


def _mean_step(hidden: Any, mask: Any) -> Any:
    """The mean over a row's own steps, [rows, units]; zeros for an empty sequence."""
    ops = import_keras().ops
    is_step = ops.cast(mask, "float32")[:, :, None]
    return ops.sum(hidden * is_step, axis=1) / ops.maximum(ops.sum(is_step, axis=1), 1.0)
