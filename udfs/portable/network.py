"""A multilayer perceptron as SQL: one column a unit, two steps a layer, computed in doubles."""

import numpy as np
from sqlglot import exp

from ibis_features import ArtifactError
from models_ml.network import NetworkModel
from udfs.portable.dialects import Dialect
from udfs.portable.formula import Formula, Step, shallow_total, times
from udfs.portable.inputs import inputs


def formula(model: NetworkModel, dialect: Dialect, prefix: str) -> Formula:
    """The logit; dropout does nothing once a network is trained."""
    if not all(np.isfinite(np.asarray(weights)).all() for weights in model.network.weights):
        raise ArtifactError("a weight of the network is not finite; train it anew with a lower params.learning_rate")
    places = range(len(model.encoding.categories))
    tables = [np.asarray(model.network.get_layer(f"category_{place}").embeddings) for place in places]
    steps, read = inputs(model.encoding, tables, model.schema, dialect, prefix)
    for layer in range(model.params["layers"]):
        units = range(_weights(model, f"dense_{layer}")[1].shape[0])
        sums = [f"{prefix}sum_{layer}_{unit}" for unit in units]
        steps.append(_dense(model, f"dense_{layer}", read, sums, dialect))
        read = [f"{prefix}unit_{layer}_{unit}" for unit in units]
        steps.append({name: _relu(of, dialect) for name, of in zip(read, sums, strict=True)})
    return Formula(tuple(steps), "").then(_dense(model, "logit", read, [f"{prefix}margin"], dialect))


def _relu(column: str, dialect: Dialect) -> exp.Expression:
    is_above = exp.GT(this=exp.column(column), expression=dialect.number(0.0))
    return exp.If(this=is_above, true=exp.column(column), false=dialect.number(0.0))


def _dense(model: NetworkModel, layer: str, read: list[str], outputs: list[str], dialect: Dialect) -> Step:
    """`inputs @ kernel + bias`, a column each."""
    kernel, bias = _weights(model, layer)
    return {
        name: shallow_total(
            [dialect.number(bias[unit])]
            + [times(of, dialect.number(weight)) for of, weight in zip(read, kernel[:, unit], strict=True)]
        )
        for unit, name in enumerate(outputs)
    }


def _weights(model: NetworkModel, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Kernel [inputs, outputs] and bias [outputs]."""
    found = model.network.get_layer(layer)
    return np.asarray(found.kernel), np.asarray(found.bias)
