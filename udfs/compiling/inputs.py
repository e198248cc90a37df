"""The inputs of `models_ml.inputs` as SQL: numbers squashed and standardised, and what stands for categories.

Rows that find faults in it are made here, too.
"""

from collections.abc import Sequence
from itertools import accumulate, groupby

import numpy as np
import pyarrow as pa

from ibis_features import FeatureSchema
from models_ml.encoding import empty_batch
from models_ml.inputs import CLIP, FIRST_KNOWN, NULL, UNKNOWN, CategoryInput, InputEncoding, NumberInput
from udfs.compiling.scope import Scope
from udfs.compiling.store import one_list
from udfs.quoting import literal

TABLE = "network"
"""The role of the table, of one row, that holds the columns of `static_columns`."""
PROBES = 1_024
EXTREMES = (0.0, -0.0, 1.0, -1.0, 1e-30, 1e9, -1e9, 3e38, -3e38, np.inf, -np.inf, np.nan)


def static_columns(encoding: InputEncoding, by_code: Sequence[np.ndarray]) -> dict[str, pa.Array]:
    """The lists that `static_inputs` reads.

    `numbers` holds STRUCT(mean, scale) of each number and each place of an embedding, `e<category>` FLOAT[][] what
    stands for each code of a category: `by_code`, [codes, width] of each.
    """
    floats = pa.float32()
    means, scales = (
        pa.array([value for number in encoding.numbers for value in getattr(number, name)], floats)
        for name in ("mean", "scale")
    )
    columns = {"numbers": one_list(pa.StructArray.from_arrays([means, scales], ["mean", "scale"]))}
    return columns | {f"e{place}": list_of_lists(vectors) for place, vectors in enumerate(by_code)}


def list_of_lists(vectors: np.ndarray) -> pa.Array:
    """[rows, width] as one value of FLOAT[][]."""
    return pa.array([vectors.tolist()], pa.list_(pa.list_(pa.float32())))


def static_inputs(encoding: InputEncoding, scope: Scope, *, out: str, width: int) -> str:
    """The source with all inputs but sequences as one array, FLOAT[width], in the order in which networks join them."""
    rows, network, value = map(scope.own, ("rows", "network", "value"))
    numbers = scope.working("numbers")
    codes = [scope.working(f"code{place}") for place in range(len(encoding.categories))]
    read = [f"{_numbers(encoding, scope)} as {numbers}"]
    read += [
        f"{code_sql(category, scope.column(category.feature), null=NULL)} as {code}"
        for category, code in zip(encoding.categories, codes, strict=True)
    ]
    standardised = (
        f"list_transform(list_zip({rows}.{numbers}, {network}.numbers), "
        f"lambda {value}: ({value}[1] - {value}[2].mean) * {value}[2].scale)"
    )
    parts = [f"list_transform({standardised}, lambda {value}: {clipped_sql(value)})"]
    starts = accumulate((len(number.mean) for number in encoding.numbers), initial=1)
    flags = [
        f"({rows}.{numbers}[{start}] is null)::FLOAT"
        for number, start in zip(encoding.numbers, starts, strict=False)
        if number.has_indicator
    ]
    parts += [f"[{', '.join(flags)}]"] if flags else []
    parts += [f"{network}.e{place}[{rows}.{code}]" for place, code in enumerate(codes)]
    return f"""
        select {scope.listed(rows, f"list_concat({', '.join(parts)})::FLOAT[{width}] as {out}")}
        from (select {scope.listed(scope.alias, *read)} from {scope.source} as {scope.alias}) as {rows},
            {scope.table(TABLE)} as {network}
    """


def _numbers(encoding: InputEncoding, scope: Scope) -> str:
    """All numbers as `InputEncoding.squash` gives them, as one list of FLOAT, NULL where one is missing."""
    value = scope.own("value")
    lists = []
    for role, numbers in groupby(encoding.numbers, key=lambda number: number.role):
        columns = [(scope.column(number.feature), len(number.mean)) for number in numbers]
        if role == "number":
            lists.append((f"[{', '.join(column for column, _ in columns)}]", squashed_sql(value)))
        else:
            lists += [(f"list_resize(coalesce({column}, []), {width})", value) for column, width in columns]
    parts = [f"list_transform({part}, lambda {value}: {finite_sql(value, out)})" for part, out in lists]
    return f"list_concat([]::FLOAT[], {', '.join(parts)})" if parts else "[]::FLOAT[]"


def squashed_sql(value: str) -> str:
    """As `signed_log`: computed as DOUBLE and then rounded."""
    return f"(sign({value}) * ln(1 + abs({value}::DOUBLE)))::FLOAT"


def finite_sql(value: str, made: str) -> str:
    """What is made of a value, NULL where it is missing."""
    return f"case when isfinite({value}) then {made} end"


def clipped_sql(value: str) -> str:
    """The sign bit of a difference takes DuckDB half the time of comparing two FLOATs."""
    low, high = (f"{limit}::FLOAT" for limit in (-CLIP, CLIP))
    return (
        f"case when {value} is null then 0::FLOAT when signbit({high} - {value}) then {high} "
        f"when signbit({value} - ({low})) then {low} else {value} end"
    )


def code_sql(category: CategoryInput, value: str, *, null: int) -> str:
    """The 1-based place of what stands for a category's code: NULL, unknown, and then the vocabulary.

    `null` is the code of a NULL.
    """
    vocabulary = ", ".join(literal(known) for known in category.vocabulary)
    known = f"coalesce(list_position([{vocabulary}]::VARCHAR[], {value}) + {FIRST_KNOWN}, {UNKNOWN + 1})"
    return f"case when {value} is null then {null + 1} else {known} end"


def probes_of(encoding: InputEncoding, schema: FeatureSchema) -> pa.RecordBatch:
    """Rows with numbers of every size, missing values, infinities, unknown categories, and sequences of every length.

    The longest sequences are longer than what is read of them; some are NULL, some empty.
    """
    rng = np.random.default_rng(0)
    inputs: dict[str, object] = {}
    for number in encoding.numbers:
        values = _probe_values(number, PROBES, rng)  # [rows, positions]
        if number.role == "embedding":
            inputs[number.feature] = [None, *values[1:].tolist()]
        else:
            inputs[number.feature] = pa.array(values[:, 0], mask=rng.random(PROBES) < 0.1)
    for category in encoding.categories:
        inputs[category.feature] = rng.choice(_choices(category), PROBES).tolist()
    lengths = rng.integers(0, encoding.steps + 4, PROBES)
    ends = np.cumsum(lengths)[:-1]
    is_null = (lengths == 0) & (np.arange(PROBES) % 2 == 0)
    steps: dict[str, np.ndarray] = {}
    for number in encoding.sequence_numbers:
        values = _probe_values(number, int(lengths.sum()), rng)[:, 0].astype(object)
        values[rng.random(len(values)) < 0.1] = None
        steps[number.feature] = values
    for category in encoding.sequence_categories:
        steps[category.feature] = rng.choice(_choices(category), lengths.sum())
    for feature, members in steps.items():
        lists = [piece.tolist() for piece in np.split(members, ends)]
        inputs[feature] = [None if absent else one for one, absent in zip(lists, is_null, strict=True)]
    return pa.RecordBatch.from_pydict(inputs, schema=empty_batch(schema).schema)


def _choices(category: CategoryInput) -> np.ndarray:
    return np.array([*category.vocabulary, "not seen in training\0", None], object)


def _probe_values(number: NumberInput, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Float32 [rows, positions]: most are such as the training rows had, some are extreme."""
    shape = (rows, len(number.mean))
    mean, scale = np.array(number.mean), np.array(number.scale)
    spread = np.divide(1.0, scale, out=np.ones_like(scale), where=scale > 0)
    values = mean + 2 * spread * rng.normal(size=shape)
    if number.role != "embedding":
        values = np.sign(values) * np.expm1(np.abs(values))
    return np.where(rng.random(shape) < 0.2, rng.choice(EXTREMES, shape), values).astype(np.float32)
