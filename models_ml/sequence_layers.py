"""What networks over a row's sequences share: how their steps come in, and how what is read of them becomes a logit."""

from collections.abc import Mapping
from typing import Any

from models_ml.inputs import InputEncoding
from models_ml.network import embedded, import_keras, joined


def steps_of(encoding: InputEncoding, inputs: Mapping[str, Any]) -> Any:
    """The sequences of a row side by side, [rows, steps, numbers and embeddings]."""
    steps = [inputs["sequence_numbers"]] if "sequence_numbers" in inputs else []
    if "sequence_categories" in inputs:
        steps += embedded(encoding.sequence_categories, inputs["sequence_categories"], "step")
    return joined(steps, "steps")


def logit_of(encoding: InputEncoding, inputs: Mapping[str, Any], read: Any, params: Mapping[str, Any]) -> Any:
    """The logit, [rows, 1], from what was read of the sequences, [rows, units], and the static features."""
    layers = import_keras().layers
    branches = [read]
    static = [inputs["numbers"]] if "numbers" in inputs else []
    if "categories" in inputs:
        static += embedded(encoding.categories, inputs["categories"], "category")
    if static:
        features = joined(static, "features")
        branches.append(layers.Dense(params["dense_units"], activation="relu", name="static")(features))
    hidden = layers.Dropout(params["dropout"], name="dropout")(joined(branches, "branches"))
    hidden = layers.Dense(params["dense_units"], activation="relu", name="dense")(hidden)  # [rows, dense_units]
    hidden = layers.Dropout(params["dropout"], name="dropout_dense")(hidden)
    return layers.Dense(1, name="logit")(hidden)
