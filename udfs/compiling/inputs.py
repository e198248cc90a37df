"""The inputs of `models_ml.inputs` as SQL: numbers squashed and standardised, categories as rows of a table by code.

Rows that find faults in it are made here, too.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ibis_features import FeatureSchema
from models_ml.encoding import empty_batch
from models_ml.inputs import CLIP, FIRST_KNOWN, NULL, UNKNOWN, CategoryInput, InputEncoding, NumberInput
from udfs.compiling.scope import Scope
from udfs.quoting import literal

PROBES = 1_024
EXTREMES = (0.0, -0.0, 1.0, -1.0, 1e-30, 1e9, -1e9, 3e38, -3e38, np.inf, -np.inf, np.nan)
UNSEEN = "not seen in training\0"


def static_table(encoding: InputEncoding, by_code: Sequence[np.ndarray]) -> dict[str, pa.Array]:
    """The columns, of one row, that `static_inputs` reads from the model table `weights`.

    `e<category>` FLOAT[][] is what stands for each code, `m<number>` and `s<number>` FLOAT[] are the means and scales
    of an embedding's places.
    """
    columns: dict[str, pa.Array] = {}
    for place, rows in enumerate(by_code):
        columns[f"e{place}"] = list_of_lists(rows)
    for place, number in enumerate(encoding.numbers):
        if number.role == "embedding":
            columns[f"m{place}"] = pa.array([number.mean], pa.list_(pa.float32()))
            columns[f"s{place}"] = pa.array([number.scale], pa.list_(pa.float32()))
    return columns


def static_inputs(encoding: InputEncoding, scope: Scope, *, out: str, width: int) -> str:
    """The source with one more column, `out`: FLOAT[width] of all static inputs, in the order of `Encoded`."""
    rows, weights = scope.own("rows"), scope.own("weights")
    numbers = [(place, number, scope.working(f"number_{place}")) for place, number in enumerate(encoding.numbers)]
    scalars = [(number, name) for _, number, name in numbers if number.role == "number"]
    squashed = [f"{squashed_sql(scope.column(number.feature))} as {name}" for number, name in scalars]
    standardised = [
        f"({rows}.{name} - {_float(number.mean[0])}) * {_float(number.scale[0])} as {name}" for number, name in scalars
    ]
    parts: list[str] = []
    for place, number, name in numbers:
        column = f"{rows}.c{scope.places[number.feature]}"
        is_scalar = number.role == "number"
        parts.append(f"[{clipped_sql(f'{rows}.{name}')}]" if is_scalar else _embedding(place, column, scope))
    flags = [
        f"({rows}.{name} is null)::FLOAT"
        if number.role == "number"
        else f"(not coalesce(isfinite({rows}.c{scope.places[number.feature]}[1]), false))::FLOAT"
        for _, number, name in numbers
        if number.has_indicator
    ]
    parts += [f"[{', '.join(flags)}]"] if flags else []
    parts += [
        f"{weights}.e{place}[{code_sql(category, f'{rows}.c{scope.places[category.feature]}', null=NULL)}]"
        for place, category in enumerate(encoding.categories)
    ]
    working = [name for _, name in scalars]
    relation = f"select {', '.join([f'{scope.alias}.*', *squashed])} from {scope.source} as {scope.alias}"
    relation = f"select {', '.join([excluding(rows, working), *standardised])} from ({relation}) as {rows}"
    return f"""
        select {excluding(rows, working)}, {_joined(parts)}::FLOAT[{width}] as {out}
        from ({relation}) as {rows}, {scope.table("weights")} as {weights}
    """


def excluding(relation: str, columns: Sequence[str]) -> str:
    """All columns of a relation but these."""
    return f"{relation}.* exclude ({', '.join(columns)})" if columns else f"{relation}.*"


def list_of_lists(rows: np.ndarray) -> pa.Array:
    """[rows, width] as one value of FLOAT[][]."""
    return pa.array([np.asarray(rows, np.float32).tolist()], pa.list_(pa.list_(pa.float32())))


def list_of_arrays(rows: np.ndarray) -> pa.Array:
    """[rows, width] as one value of FLOAT[width][]."""
    return pa.array([np.asarray(rows, np.float32).tolist()], pa.list_(pa.list_(pa.float32(), rows.shape[1])))


def squashed_sql(value: str) -> str:
    """As `signed_log`: in DOUBLE, then rounded; NULL where the number is missing. `value` is a FLOAT."""
    return f"case when isfinite({value}) then (sign({value}) * ln(1 + abs({value}::DOUBLE)))::FLOAT end"


def standardised_sql(value: str, number: NumberInput) -> str:
    return f"({value} - {_float(number.mean[0])}) * {_float(number.scale[0])}"


def clipped_sql(value: str) -> str:
    """`value` is a name; it is written several times."""
    return (
        f"case when {value} is null then 0 when {value} > {CLIP} then {CLIP} when {value} < -{CLIP} then -{CLIP} "
        f"else {value} end::FLOAT"
    )


def code_sql(category: CategoryInput, value: str, *, null: int) -> str:
    """The 1-based place of what stands for a category's code; `null` is the code of a NULL."""
    vocabulary = ", ".join(literal(known) for known in category.vocabulary)
    known = f"coalesce(list_position([{vocabulary}]::VARCHAR[], {value}), {UNKNOWN - FIRST_KNOWN + 1}) + {FIRST_KNOWN}"
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
    for sequence in (*encoding.sequence_numbers, *encoding.sequence_categories):
        if isinstance(sequence, NumberInput):
            steps = _probe_values(sequence, int(lengths.sum()), rng)[:, 0].astype(object)
            steps[rng.random(len(steps)) < 0.1] = None
        else:
            steps = rng.choice(_choices(sequence), lengths.sum())
        lists = [piece.tolist() for piece in np.split(steps, ends)]
        inputs[sequence.feature] = [None if absent else one for one, absent in zip(lists, is_null, strict=True)]
    return pa.RecordBatch.from_pydict(inputs, schema=empty_batch(schema).schema)


def _choices(category: CategoryInput) -> np.ndarray:
    return np.array([*category.vocabulary, UNSEEN, None], object)


def _probe_values(number: NumberInput, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Float32 [rows, positions]: most are such as the training rows had, some are extreme."""
    shape = (rows, len(number.mean))
    mean, scale = np.array(number.mean), np.array(number.scale)
    spread = np.divide(1.0, scale, out=np.ones_like(scale), where=scale > 0)
    values = mean + 2 * spread * rng.normal(size=shape)
    if number.role != "embedding":
        values = np.sign(values) * np.expm1(np.abs(values))
    return np.where(rng.random(shape) < 0.2, rng.choice(EXTREMES, shape), values).astype(np.float32)


def _embedding(place: int, column: str, scope: Scope) -> str:
    """A list of the standardised places of an embedding, 0 where one is missing."""
    weights, value, index = map(scope.own, ("weights", "value", "index"))
    standardised = f"({value} - {weights}.m{place}[{index}]) * {weights}.s{place}[{index}]"
    return (
        f"list_transform(list_resize(coalesce({column}, []::FLOAT[]), len({weights}.m{place})), "
        f"lambda {value}, {index}: "
        f"least(greatest(case when isfinite({value}) then {standardised} else 0 end, -{CLIP}), {CLIP})::FLOAT)"
    )


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
