"""A multilayer perceptron as SQL: a layer is a list of inner products with fixed-size arrays of a one-row table.

Inner products add FLOATs in another order than the network's own library does, so that the last bits differ.
"""

from functools import partial

import numpy as np
import pyarrow as pa

from models_ml.inputs import InputEncoding
from models_ml.network import NetworkModel
from udfs.compiling.inputs import probes_of, static_columns, static_inputs
from udfs.compiling.scope import Compiled, Scope
from udfs.compiling.store import one_list

TOLERANCE = 1e-5


def compile_mlp(model: NetworkModel) -> Compiled:
    layers = [model.network.get_layer(f"dense_{place}").get_weights() for place in range(model.params["layers"])]
    layers.append(model.network.get_layer("logit").get_weights())
    embeddings = [
        model.network.get_layer(f"category_{place}").get_weights()[0] for place in range(len(model.encoding.categories))
    ]
    return Compiled(
        tables={"network": _table(model.encoding, layers, embeddings)},
        margin=partial(_margin, model.encoding, layers),
        probes=probes_of(model.encoding, model.schema),
        tolerance=TOLERANCE,
    )


def _table(encoding: InputEncoding, layers: list[list[np.ndarray]], embeddings: list[np.ndarray]) -> pa.Table:
    """One row of lists: those of `static_columns`, and `layer<n>` STRUCT(weights FLOAT[inputs], bias FLOAT) by unit."""
    columns = static_columns(encoding, embeddings)
    for place, (kernel, bias) in enumerate(layers):
        weights = pa.FixedSizeListArray.from_arrays(pa.array(kernel.T.ravel()), len(kernel))
        units = pa.StructArray.from_arrays([weights, pa.array(bias)], ["weights", "bias"])
        columns[f"layer{place}"] = one_list(units)
    return pa.table(columns)


def _margin(encoding: InputEncoding, layers: list[list[np.ndarray]], scope: Scope) -> str:
    rows, network, unit, value = map(scope.own, ("rows", "network", "unit", "value"))
    hidden = scope.working("hidden")
    relation = static_inputs(encoding, scope, out=hidden, width=len(layers[0][0]))
    for layer, (kernel, _) in enumerate(layers):
        inputs = f"{rows}.{hidden}"
        sums = f"array_inner_product({inputs}, {unit}.weights) + {unit}.bias"
        out = f"list_transform({network}.layer{layer}, lambda {unit}: {sums})"
        if layer < len(layers) - 1:
            relu = f"case when signbit({value}) then 0::FLOAT else {value} end"
            out = f"list_transform({out}, lambda {value}: {relu})::FLOAT[{kernel.shape[1]}] as {hidden}"
        else:
            out = f"{out}[1] as {scope.out}"
        relation = f"""
            select {scope.listed(rows, out)}
            from ({relation}) as {rows}, {scope.table("network")} as {network}
        """
    return relation
