"""A multilayer perceptron as SQL: each unit is an inner product with a fixed-size array of a one-row table.

The inputs are those of `models_ml.inputs`: squashed and standardised numbers, the places of embeddings, flags of what is
missing, and the embeddings of categories. Inner products add FLOATs in another order than the network's own library
does, so that the last bits differ.
"""

from functools import partial

import numpy as np
import pyarrow as pa

from models_ml.encoding import empty_batch
from models_ml.inputs import CLIP, FIRST_KNOWN, NULL, UNKNOWN, CategoryInput, InputEncoding, NumberInput
from models_ml.network import NetworkModel
from udfs.compiling.scope import Compiled, Scope
from udfs.quoting import literal

TOLERANCE = 1e-5
PROBES = 1_024
EXTREMES = (0.0, -0.0, 1.0, -1.0, 1e-30, 1e9, -1e9, 3e38, -3e38, np.inf, -np.inf, np.nan)


def compile_mlp(model: NetworkModel) -> Compiled:
    layers = [model.network.get_layer(f"dense_{place}").get_weights() for place in range(model.params["layers"])]
    layers.append(model.network.get_layer("logit").get_weights())
    embeddings = [
        model.network.get_layer(f"category_{place}").get_weights()[0] for place in range(len(model.encoding.categories))
    ]
    return Compiled(
        tables={"weights": _table(model.encoding, layers, embeddings)},
        margin=partial(_margin, model.encoding, layers),
        probes=network_probes(model),
        tolerance=TOLERANCE,
    )


def network_probes(model: NetworkModel) -> pa.RecordBatch:
    """Rows for numbers of every size, missing values, infinities and unknown categories."""
    rng = np.random.default_rng(0)
    inputs: dict[str, object] = {}
    for number in model.encoding.numbers:
        values = _probe_values(number, rng)  # [rows, positions]
        if number.role == "embedding":
            inputs[number.feature] = [None, *values[1:].tolist()]
        else:
            inputs[number.feature] = pa.array(values[:, 0], mask=rng.random(PROBES) < 0.1)
    for category in model.encoding.categories:
        choices = np.array([*category.vocabulary, "not seen in training\0", None], object)
        inputs[category.feature] = rng.choice(choices, PROBES).tolist()
    return pa.RecordBatch.from_pydict(inputs, schema=empty_batch(model.schema).schema)


def _probe_values(number: NumberInput, rng: np.random.Generator) -> np.ndarray:
    """Float32 [rows, positions]: most are such as the training rows had, some are extreme."""
    shape = (PROBES, len(number.mean))
    mean, scale = np.array(number.mean), np.array(number.scale)
    spread = np.divide(1.0, scale, out=np.ones_like(scale), where=scale > 0)
    values = mean + 2 * spread * rng.normal(size=shape)
    if number.role == "number":
        values = np.sign(values) * np.expm1(np.abs(values))
    return np.where(rng.random(shape) < 0.2, rng.choice(EXTREMES, shape), values).astype(np.float32)


def _table(encoding: InputEncoding, layers: list[list[np.ndarray]], embeddings: list[np.ndarray]) -> pa.Table:
    """One row of the columns that `_margin` reads.

    `w<layer>_<unit>` FLOAT[inputs] and `b<layer>_<unit>` FLOAT are a unit's weights and bias, `e<category>` FLOAT[][] the
    embeddings by code, `m<number>` and `s<number>` FLOAT[] the means and scales of an embedding's places.
    """
    columns: dict[str, pa.Array] = {}
    for layer, (kernel, bias) in enumerate(layers):
        for unit in range(kernel.shape[1]):
            weights = pa.array(np.ascontiguousarray(kernel[:, unit]), pa.float32())
            columns[f"w{layer}_{unit}"] = pa.FixedSizeListArray.from_arrays(weights, len(weights))
            columns[f"b{layer}_{unit}"] = pa.array(bias[unit : unit + 1], pa.float32())
    for place, embedding in enumerate(embeddings):
        columns[f"e{place}"] = pa.array([embedding.tolist()], pa.list_(pa.list_(pa.float32())))
    for place, number in enumerate(encoding.numbers):
        if number.role == "embedding":
            columns[f"m{place}"] = pa.array([number.mean], pa.list_(pa.float32()))
            columns[f"s{place}"] = pa.array([number.scale], pa.list_(pa.float32()))
    return pa.table(columns)


def _margin(encoding: InputEncoding, layers: list[list[np.ndarray]], scope: Scope) -> str:
    rows, weights, hidden = scope.own("rows"), scope.own("weights"), scope.working("hidden")
    relation = _encoded(encoding, f"{hidden}_0", len(layers[0][0]), scope)
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


def _encoded(encoding: InputEncoding, out: str, width: int, scope: Scope) -> str:
    """The source with all inputs of the first layer as one array, in the order of `Encoded.inputs`, numbers first."""
    rows, weights = scope.own("rows"), scope.own("weights")
    numbers = [(place, number, scope.working(f"number_{place}")) for place, number in enumerate(encoding.numbers)]
    scalars = [(number, name) for _, number, name in numbers if number.role == "number"]
    squashed = [f"{_squashed(scope.column(number.feature))} as {name}_squashed" for number, name in scalars]
    standardised = [
        f"({rows}.{name}_squashed - {_float(number.mean[0])}) * {_float(number.scale[0])} as {name}"
        for number, name in scalars
    ]
    parts: list[str] = []
    for place, number, name in numbers:
        column = f"{rows}.c{scope.places[number.feature]}"
        parts.append(f"[{_clipped(f'{rows}.{name}')}]" if number.role == "number" else _embedding(place, column, scope))
    flags = [
        f"({rows}.{name} is null)::FLOAT"
        if number.role == "number"
        else f"(not coalesce(isfinite({rows}.c{scope.places[number.feature]}[1]), false))::FLOAT"
        for _, number, name in numbers
        if number.has_indicator
    ]
    parts += [f"[{', '.join(flags)}]"] if flags else []
    parts += [
        f"{weights}.e{place}[{_code(category, f'{rows}.c{scope.places[category.feature]}')}]"
        for place, category in enumerate(encoding.categories)
    ]
    return f"""
        select {rows}.*, {_joined(parts)}::FLOAT[{width}] as {out}
        from (
            select {", ".join([f"{rows}.*", *standardised])}
            from (
                select {", ".join([f"{scope.alias}.*", *squashed])} from {scope.source} as {scope.alias}
            ) as {rows}
        ) as {rows}, {scope.table("weights")} as {weights}
    """


def _squashed(column: str) -> str:
    """As `signed_log`, in DOUBLE and then rounded; NULL where the number is missing."""
    return f"case when isfinite({column}) then (sign({column}) * ln(1 + abs({column}::DOUBLE)))::FLOAT end"


def _clipped(value: str) -> str:
    """`value` names a column."""
    return f"case when {value} is null then 0 when {value} > {CLIP} then {CLIP} when {value} < -{CLIP} then -{CLIP} else {value} end::FLOAT"


def _embedding(place: int, column: str, scope: Scope) -> str:
    """A list of the standardised places of an embedding, 0 where one is missing."""
    weights, value, index = map(scope.own, ("weights", "value", "index"))
    standardised = f"({value} - {weights}.m{place}[{index}]) * {weights}.s{place}[{index}]"
    return (
        f"list_transform(list_resize(coalesce({column}, []::FLOAT[]), len({weights}.m{place})), lambda {value}, {index}: "
        f"least(greatest(case when isfinite({value}) then {standardised} else 0 end, -{CLIP}), {CLIP})::FLOAT)"
    )


def _code(category: CategoryInput, column: str) -> str:
    """The 1-based place of a category's embedding: NULL, unknown, and then the vocabulary."""
    vocabulary = ", ".join(literal(value) for value in category.vocabulary)
    known = f"coalesce(list_position([{vocabulary}]::VARCHAR[], {column}), {UNKNOWN - FIRST_KNOWN + 1}) + {FIRST_KNOWN}"
    return f"case when {column} is null then {NULL + 1} else {known} end"


def _joined(lists: list[str]) -> str:
    """One list of all members; neighbours that are written out become one."""
    merged: list[str] = []
    for part in lists:
        if merged and merged[-1].startswith("[") and part.startswith("["):
            merged[-1] = f"{merged[-1][:-1]}, {part[1:]}"
        else:
            merged.append(part)
    return merged[0] if len(merged) == 1 else f"list_concat({', '.join(merged)})"


def _float(value: float) -> str:
    return f"'{value!r}'::FLOAT"
