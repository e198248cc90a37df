"""A multilayer perceptron as SQL: a layer is a list of inner products with fixed-size arrays of a one-row table.

The inputs are those of `models_ml.inputs`: squashed and standardised numbers, the places of embeddings, flags of what
is missing, and the embeddings of categories. Inner products add FLOATs in another order than the network's own library
does, so that the last bits differ.
"""

from functools import partial
from itertools import accumulate, groupby

import numpy as np
import pyarrow as pa

from models_ml.encoding import empty_batch
from models_ml.inputs import CLIP, FIRST_KNOWN, NULL, UNKNOWN, CategoryInput, InputEncoding, NumberInput
from models_ml.network import NetworkModel
from udfs.compiling.scope import Compiled, Scope
from udfs.compiling.store import one_list
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
        tables={"network": _table(model.encoding, layers, embeddings)},
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
    """One row of lists.

    `numbers` holds STRUCT(mean, scale) of each number and each place of an embedding, `e<category>` FLOAT[][] the
    embeddings of a category by code, `layer<n>` STRUCT(weights FLOAT[inputs], bias FLOAT) of each unit.
    """
    floats = pa.float32()
    means, scales = (
        pa.array([value for number in encoding.numbers for value in getattr(number, name)], floats)
        for name in ("mean", "scale")
    )
    columns = {"numbers": one_list(pa.StructArray.from_arrays([means, scales], ["mean", "scale"]))}
    for place, vectors in enumerate(embeddings):
        columns[f"e{place}"] = pa.array([vectors.tolist()], pa.list_(pa.list_(floats)))
    for place, (kernel, bias) in enumerate(layers):
        weights = pa.FixedSizeListArray.from_arrays(pa.array(kernel.T.ravel()), len(kernel))
        units = pa.StructArray.from_arrays([weights, pa.array(bias)], ["weights", "bias"])
        columns[f"layer{place}"] = one_list(units)
    return pa.table(columns)


def _margin(encoding: InputEncoding, layers: list[list[np.ndarray]], scope: Scope) -> str:
    rows, network, unit, value = map(scope.own, ("rows", "network", "unit", "value"))
    hidden = scope.working("hidden")
    relation = _inputs(encoding, hidden, scope)
    for layer, (kernel, _) in enumerate(layers):
        inputs = f"{rows}.{hidden}"
        sums = f"array_inner_product({inputs}, {unit}.weights) + {unit}.bias"
        out = f"list_transform({network}.layer{layer}, lambda {unit}: {sums})"
        if layer < len(layers) - 1:
            relu = f"case when {value} > 0 then {value} else 0::FLOAT end"
            out = f"list_transform({out}, lambda {value}: {relu})::FLOAT[{kernel.shape[1]}] as {hidden}"
        else:
            out = f"{out}[1] as {scope.out}"
        relation = f"""
            select {scope.listed(rows, out)}
            from ({relation}) as {rows}, {scope.table("network")} as {network}
        """
    return relation


def _inputs(encoding: InputEncoding, out: str, scope: Scope) -> str:
    """The source with the inputs of the first layer as one array, in the order in which the network joins them."""
    rows, network, value = map(scope.own, ("rows", "network", "value"))
    numbers = scope.working("numbers")
    codes = [scope.working(f"code{place}") for place in range(len(encoding.categories))]
    read = [f"{_numbers(encoding, scope)} as {numbers}"]
    read += [
        f"{_code(category, scope.column(category.feature))} as {code}"
        for category, code in zip(encoding.categories, codes, strict=True)
    ]
    standardised = (
        f"list_transform(list_zip({rows}.{numbers}, {network}.numbers), "
        f"lambda {value}: ({value}[1] - {value}[2].mean) * {value}[2].scale)"
    )
    parts = [f"list_transform({standardised}, lambda {value}: {_clipped(value)})"]
    starts = accumulate((len(number.mean) for number in encoding.numbers), initial=1)
    flags = [
        f"({rows}.{numbers}[{start}] is null)::FLOAT"
        for number, start in zip(encoding.numbers, starts, strict=False)
        if number.has_indicator
    ]
    parts += [f"[{', '.join(flags)}]"] if flags else []
    parts += [f"{network}.e{place}[{rows}.{code}]" for place, code in enumerate(codes)]
    width = encoding.number_width + sum(category.width for category in encoding.categories)
    return f"""
        select {scope.listed(rows, f"list_concat({', '.join(parts)})::FLOAT[{width}] as {out}")}
        from (select {scope.listed(scope.alias, *read)} from {scope.source} as {scope.alias}) as {rows},
            {scope.table("network")} as {network}
    """


def _numbers(encoding: InputEncoding, scope: Scope) -> str:
    """All numbers as `InputEncoding.squash` gives them, as one list of FLOAT, NULL where one is missing."""
    value = scope.own("value")
    lists = []
    for role, numbers in groupby(encoding.numbers, key=lambda number: number.role):
        columns = [(scope.column(number.feature), len(number.mean)) for number in numbers]
        if role == "number":
            # As `signed_log`: computed as DOUBLE and then rounded.
            squashed = f"(sign({value}) * ln(1 + abs({value}::DOUBLE)))::FLOAT"
            lists.append((f"[{', '.join(column for column, _ in columns)}]", squashed))
        else:
            lists += [(f"list_resize(coalesce({column}, []), {width})", value) for column, width in columns]
    parts = [
        f"list_transform({part}, lambda {value}: case when isfinite({value}) then {out} end)" for part, out in lists
    ]
    return f"list_concat([]::FLOAT[], {', '.join(parts)})" if parts else "[]::FLOAT[]"


def _clipped(value: str) -> str:
    low, high = (f"{limit}::FLOAT" for limit in (-CLIP, CLIP))
    return (
        f"case when {value} is null then 0::FLOAT when {value} > {high} then {high} when {value} < {low} then {low} "
        f"else {value} end"
    )


def _code(category: CategoryInput, column: str) -> str:
    """The 1-based place of a category's embedding: NULL, unknown, and then the vocabulary."""
    vocabulary = ", ".join(literal(value) for value in category.vocabulary)
    known = f"coalesce(list_position([{vocabulary}]::VARCHAR[], {column}) + {FIRST_KNOWN}, {UNKNOWN + 1})"
    return f"case when {column} is null then {NULL + 1} else {known} end"
