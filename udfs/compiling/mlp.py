"""A multilayer perceptron as SQL: each unit is an inner product with a fixed-size array of a one-row table.

Inner products add FLOATs in another order than the network's own library does, so that the last bits differ.
"""

from functools import partial

import numpy as np
import pyarrow as pa

from models_ml.inputs import InputEncoding
from models_ml.network import NetworkModel
from udfs.compiling.inputs import probes_of, static_inputs, static_table
from udfs.compiling.scope import Compiled, Scope

TOLERANCE = 1e-5


def compile_mlp(model: NetworkModel) -> Compiled:
    layers = [model.network.get_layer(f"dense_{place}").get_weights() for place in range(model.params["layers"])]
    layers.append(model.network.get_layer("logit").get_weights())
    embeddings = [
        model.network.get_layer(f"category_{place}").get_weights()[0] for place in range(len(model.encoding.categories))
    ]
    return Compiled(
        tables={"weights": _table(model.encoding, layers, embeddings)},
        margin=partial(_margin, model.encoding, layers),
        probes=probes_of(model.encoding, model.schema),
        tolerance=TOLERANCE,
    )


def _table(encoding: InputEncoding, layers: list[list[np.ndarray]], embeddings: list[np.ndarray]) -> pa.Table:
    """One row of the columns that `_margin` reads.

    `w<layer>_<unit>` FLOAT[inputs] and `b<layer>_<unit>` FLOAT are a unit's weights and bias.
    """
    columns = static_table(encoding, embeddings)
    for layer, (kernel, bias) in enumerate(layers):
        for unit in range(kernel.shape[1]):
            weights = pa.array(np.ascontiguousarray(kernel[:, unit]), pa.float32())
            columns[f"w{layer}_{unit}"] = pa.FixedSizeListArray.from_arrays(weights, len(weights))
            columns[f"b{layer}_{unit}"] = pa.array(bias[unit : unit + 1], pa.float32())
    return pa.table(columns)


def _margin(encoding: InputEncoding, layers: list[list[np.ndarray]], scope: Scope) -> str:
    rows, weights, hidden = scope.own("rows"), scope.own("weights"), scope.working("hidden")
    relation = static_inputs(encoding, scope, out=f"{hidden}_0", width=len(layers[0][0]))
    for layer, (kernel, _) in enumerate(layers):
        is_last = layer == len(layers) - 1
        names = [scope.out] if is_last else [scope.working(f"unit_{layer}_{unit}") for unit in range(kernel.shape[1])]
        units = [
            f"array_inner_product({rows}.{hidden}_{layer}, {weights}.w{layer}_{unit}) + {weights}.b{layer}_{unit} as {name}"
            for unit, name in enumerate(names)
        ]
        relation = f"""
            select {rows}.*, {", ".join(units)}
            from ({relation}) as {rows}, {scope.table("weights")} as {weights}
        """
        if not is_last:
            # A CASE on a projected column is several times as quick as greatest(…, 0).
            relus = [f"case when {rows}.{name} > 0 then {rows}.{name} else 0::FLOAT end" for name in names]
            relation = f"""
                select {rows}.*, array_value({", ".join(relus)}) as {hidden}_{layer + 1}
                from ({relation}) as {rows}
            """
    return relation
