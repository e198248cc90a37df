"""A transformer as SQL: a row's steps are a list of arrays, and each layer is one projection from list to list.

A layer over a step is a list of inner products with the rows of its matrix, in a one-row table; biases are one more
column, met by a 1 behind the step. A layer normalisation subtracts a step's mean, and only such layers read the steps:
so everything that adds to a step is stored with its mean taken off, and what is left to do is to divide by the length.
There is no padding: a row has the steps that it has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa

from models_ml.inputs import UNKNOWN, CategoryInput, InputEncoding, NumberInput
from models_ml.network import NetworkModel
from models_ml.transformer import EPSILON
from udfs.compiling.inputs import (
    TABLE,
    clipped_sql,
    code_sql,
    finite_sql,
    list_of_lists,
    probes_of,
    squashed_sql,
    static_columns,
    static_inputs,
)
from udfs.compiling.scope import Compiled, Scope, UncompiledError
from udfs.quoting import literal

TOLERANCE = 1e-5
MOST_STEPS = 128
"""DuckDB computes 2,048 rows at a time, and an attention holds a number for each two steps of each of them."""


def compile_transformer(model: NetworkModel) -> Compiled:
    """Raises UncompiledError where it reads more than MOST_STEPS steps."""
    if model.encoding.steps > MOST_STEPS:
        raise UncompiledError(
            f"a transformer over {model.encoding.steps} steps needs too much memory in SQL, which holds up to "
            f"{MOST_STEPS} (params.max_length)"
        )
    layers = {variable.path: np.asarray(variable, np.float64) for variable in model.network.weights}
    encoding, matrices = model.encoding, _matrices(layers, model.params["blocks"], model.params["heads"])
    by_code = [layers[f"category_{place}/embeddings"] for place in range(len(encoding.categories))]
    columns = static_columns(encoding, by_code)
    columns |= {name: _list_of_arrays(matrix) for name, matrix in matrices.items()}
    columns["places"] = list_of_lists(_centred(layers["place/embeddings"]))
    for place in range(len(encoding.sequence_categories)):
        columns[f"step_category_{place}"] = list_of_lists(layers[f"step_{place}/embeddings"])
    widths = {name: matrix.shape[1] for name, matrix in matrices.items()}
    heights = {name: matrix.shape[0] for name, matrix in matrices.items()}
    sizes = _Sizes(model.params["blocks"], model.params["heads"], widths, heights)
    return Compiled(
        tables={TABLE: pa.table(columns)},
        margin=partial(_margin, encoding, sizes),
        probes=probes_of(encoding, model.schema),
        tolerance=TOLERANCE,
    )


@dataclass(frozen=True)
class _Sizes:
    """How often each part comes, and the columns and rows of each matrix by name."""

    blocks: int
    heads: int
    widths: Mapping[str, int]
    heights: Mapping[str, int]

    @property
    def units(self) -> int:
        return self.heights["project"]


def _matrices(layers: Mapping[str, np.ndarray], blocks: int, heads: int) -> dict[str, np.ndarray]:
    """Each layer as [outputs, inputs and a bias], in the order in which the SQL puts its inputs together."""

    def after(norm: str, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """A layer that reads normalised steps: the scale and the shift go into it."""
        gamma, beta = layers[f"{norm}/gamma"], layers[f"{norm}/beta"]
        return _with_bias(kernel * gamma[:, None], beta @ kernel + bias)

    units = len(layers["project/bias"])
    kept = np.eye(units)
    # A step's numbers and embeddings, a 1, and its place, which is added as it is.
    project = _with_bias(_centred(layers["project/kernel"]), _centred(layers["project/bias"]))
    found = {"project": np.column_stack([project, kept])}
    for block in map("block_{}".format, range(blocks)):
        attention = f"{block}_attention"
        size = layers[f"{attention}/query/kernel"].shape[2]
        for head in range(heads):
            for role, scale in (("query", size**-0.5), ("key", 1.0), ("value", 1.0)):
                kernel, bias = (layers[f"{attention}/{role}/{part}"] for part in ("kernel", "bias"))
                norm = f"{block}_normalise_attention"
                found[f"{block}_{role}_{head}"] = after(norm, kernel[:, head] * scale, bias[head] * scale)
        out, bias = (layers[f"{attention}/attention_output/{part}"] for part in ("kernel", "bias"))
        read = _with_bias(_centred(out.reshape(-1, units)), _centred(bias))
        found[f"{block}_out"] = np.column_stack([kept, read])
        wide, narrow = f"{block}_wide", f"{block}_narrow"
        found[wide] = after(f"{block}_normalise_feed_forward", layers[f"{wide}/kernel"], layers[f"{wide}/bias"])
        read = _with_bias(_centred(layers[f"{narrow}/kernel"]), _centred(layers[f"{narrow}/bias"]))
        found[narrow] = np.column_stack([kept, read])
    found["pool"] = after("normalise", kept, np.zeros(units))
    for name in ("static", "dense", "logit"):
        if f"{name}/kernel" in layers:
            found[name] = _with_bias(layers[f"{name}/kernel"], layers[f"{name}/bias"])
    return found


def _with_bias(kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return np.column_stack([kernel.T, bias])


def _centred(outputs: np.ndarray) -> np.ndarray:
    """[…, units] with the mean over the units taken off."""
    return outputs - outputs.mean(axis=-1, keepdims=True)


def _list_of_arrays(matrix: np.ndarray) -> pa.Array:
    """[rows, width] as one value of FLOAT[width][]."""
    return pa.array([matrix.tolist()], pa.list_(pa.list_(pa.float32(), matrix.shape[1])))


def _margin(encoding: InputEncoding, sizes: _Sizes, scope: Scope) -> str:
    read = {name: f"c{scope.places[sequence.feature]}" for name, sequence in _sequences(encoding).items()}
    if has_static := "static" in sizes.widths:
        inputs, width = scope.working("inputs"), sizes.widths["static"] - 1
        kept = dict.fromkeys((*scope.kept, *read.values()))
        relation = static_inputs(encoding, replace(scope, kept=tuple(kept)), out=inputs, width=width)
        levels = _Levels(scope, sizes, relation, {**read, "inputs": inputs})
        levels.add(drop=["inputs"], static=levels.relu("static", levels.with_one("static", "inputs")))
    else:
        levels = _Levels(scope, sizes, f"select {scope.alias}.* from {scope.source} as {scope.alias}", read)
    _read_steps(levels, encoding)
    for block in map("block_{}".format, range(sizes.blocks)):
        _attend(levels, block)
        _feed_forward(levels, block)
    levels.normalise()
    step, row = scope.own("step"), scope.own("matrix_row")
    mean = f"list_avg({_each(levels.column('read'), step, f'array_inner_product({step}, {row})')})"
    # The mean of no steps is 0.
    levels.add(pooled=_each(levels.matrix("pool"), row, f"coalesce({mean}, 0)::FLOAT"))
    if has_static:
        levels.add(pooled=f"list_concat({levels.column('pooled')}, {levels.column('static')})")
    levels.add(dense=levels.relu("dense", levels.with_one("dense", "pooled")))
    levels.add(logit=levels.dots("logit", levels.with_one("logit", "dense")))
    rows = scope.own("rows")
    logit = f"{levels.column('logit')}[1] as {scope.out}"
    return f"select {scope.listed(rows, logit)} from ({levels.relation}) as {rows}"


class _Levels:
    """A SELECT above a SELECT: each level adds columns to the one below, or replaces them."""

    def __init__(self, scope: Scope, sizes: _Sizes, relation: str, columns: dict[str, str]) -> None:
        """`columns`: what levels read of the relation, by the names that they use for it."""
        self.scope = scope
        self.sizes = sizes
        self.relation = relation
        self._columns = columns

    def add(self, *, drop: Sequence[str] = (), **expressions: str) -> None:
        """One more level with these columns, by name, without those of `drop`."""
        scope, rows = self.scope, self.scope.own("rows")
        stay = {name: column for name, column in self._columns.items() if name not in (*drop, *expressions)}
        added = {name: scope.working(name) for name in expressions}
        listed = [
            *(f"{rows}.{column}" for column in stay.values()),
            *(f"{expression} as {added[name]}" for name, expression in expressions.items()),
        ]
        self._columns = stay | added
        self.relation = f"""
            select {scope.listed(rows, *listed)}
            from ({self.relation}) as {rows}, {scope.table(TABLE)} as {scope.own("network")}
        """

    def column(self, name: str) -> str:
        return f"{self.scope.own('rows')}.{self._columns[name]}"

    def matrix(self, name: str) -> str:
        return f"{self.scope.own('network')}.{name}"

    def dots(self, matrix: str, array: str) -> str:
        """A layer without its activation, FLOAT[]: the inner product of an array with each row of a matrix."""
        row = self.scope.own("matrix_row")
        return _each(self.matrix(matrix), row, f"array_inner_product({array}, {row})")

    def relu(self, matrix: str, array: str) -> str:
        unit = self.scope.own("unit")
        above = f"case when {unit} > 0 then {unit} else 0::FLOAT end"
        return _each(self.dots(matrix, array), unit, above)

    def with_one(self, matrix: str, name: str) -> str:
        """A column's list or array and a 1, as the array that a matrix multiplies."""
        return f"list_append({self.column(name)}::FLOAT[], 1::FLOAT)::FLOAT[{self.sizes.widths[matrix]}]"

    def normalise(self) -> None:
        """The steps divided by their length, and a 1 behind each, as `read`."""
        step, place, unit = map(self.scope.own, ("step", "place", "unit"))
        units = self.sizes.units
        variance = f"array_inner_product({step}, {step}) / {units}"
        self.add(shrink=_each(self.column("steps"), step, f"(1 / sqrt({variance} + {EPSILON}))::FLOAT"))
        shrunk = _each(f"{step}::FLOAT[]", unit, f"{unit} * {self.column('shrink')}[{place}]")
        read = f"list_append({shrunk}, 1::FLOAT)::FLOAT[{units + 1}]"
        self.add(drop=["shrink"], read=_each(self.column("steps"), f"{step}, {place}", read))


def _read_steps(levels: _Levels, encoding: InputEncoding) -> None:
    """The newest steps, FLOAT[units][]: what they hold, and how far back they lie."""
    scope, column = levels.scope, levels.column
    value, place = scope.own("value"), scope.own("place")
    sequences = _sequences(encoding)
    numbers = {name: sequence for name, sequence in sequences.items() if isinstance(sequence, NumberInput)}
    categories = {name: sequence for name, sequence in sequences.items() if isinstance(sequence, CategoryInput)}
    newest = {name: f"coalesce({column(name)}[-{encoding.steps}:], [])" for name in sequences}
    levels.add(length=f"least({_common_length(levels, sequences)}, {encoding.steps})", **newest)
    squashed = {name: _each(column(name), value, finite_sql(value, squashed_sql(value))) for name in numbers}
    codes = {
        name: _each(column(name), value, code_sql(category, value, null=UNKNOWN))
        for name, category in categories.items()
    }
    levels.add(**squashed, **codes)
    if numbers:
        standardised = {name: f"({value} - {_float(n.mean[0])}) * {_float(n.scale[0])}" for name, n in numbers.items()}
        levels.add(**{name: _each(column(name), value, made) for name, made in standardised.items()})
        levels.add(**{name: _each(column(name), value, clipped_sql(value)) for name in numbers})
    parts = [f"[{', '.join(f'{column(name)}[{place}]' for name in numbers)}]"] if numbers else []
    parts += [f"{levels.matrix(f'step_{name}')}[{column(name)}[{place}]]" for name in categories]
    parts += ["[1::FLOAT]", f"{levels.matrix('places')}[{column('length')} - {place} + 1]"]
    together = f"list_concat({', '.join(parts)})::FLOAT[{levels.sizes.widths['project']}]"
    steps = _each(f"range(1, {column('length')} + 1)", place, together)
    levels.add(drop=["length", *numbers, *categories], steps=steps)
    _each_step(levels, "project", column("steps"))


def _sequences(encoding: InputEncoding) -> dict[str, NumberInput | CategoryInput]:
    """The sequences by the names that their columns have here, numbers first."""
    numbers = {f"number_{place}": sequence for place, sequence in enumerate(encoding.sequence_numbers)}
    return numbers | {f"category_{place}": sequence for place, sequence in enumerate(encoding.sequence_categories)}


def _common_length(levels: _Levels, sequences: Mapping[str, NumberInput | CategoryInput]) -> str:
    """How many steps a row has; an error where its sequences differ in length."""
    first, *others = (f"coalesce(len({levels.column(name)}), 0)" for name in sequences)
    if not others:
        return first
    features = ", ".join(sequence.feature for sequence in sequences.values())
    said = literal(f"the sequences {features} of a row differ in length; build them from the same events")
    alike = " and ".join(f"{first} = {other}" for other in others)
    return f"case when {alike} then {first} else error({said})::BIGINT end"


def _attend(levels: _Levels, block: str) -> None:
    """Each step and what each head sees for it in all steps of the row."""
    place = levels.scope.own("place")
    levels.normalise()
    seen = [_see(levels, block, head) for head in range(levels.sizes.heads)]
    together = _beside(levels, [f"{levels.column(name)}[{place}]" for name in seen], f"{block}_out")
    _each_step(levels, f"{block}_out", together, drop=["read", *seen])


def _see(levels: _Levels, block: str, head: int) -> str:
    """For each step the mean of all values, weighed by the softmax of query · key; the name of the column."""
    step, row, other, unit, place = map(levels.scope.own, ("step", "matrix_row", "other", "unit", "place"))
    column, read = levels.column, levels.column("read")

    def projected(role: str) -> str:
        matrix = f"{block}_{role}_{head}"
        return _each(read, step, f"{levels.dots(matrix, step)}::FLOAT[{levels.sizes.heights[matrix]}]")

    # Values lie by unit, each a list over the steps; behind them a list of ones, that sums up the softmax's weights.
    values = _each(
        levels.matrix(f"{block}_value_{head}"), row, _each(read, step, f"array_inner_product({step}, {row})")
    )
    ones = _each(read, step, "1::FLOAT")
    levels.add(query=projected("query"), key=projected("key"), value=f"list_append({values}, {ones})")
    weight = _each(column("query"), step, _each(column("key"), other, f"array_inner_product({step}, {other})"))
    levels.add(drop=["query", "key"], weight=weight)
    levels.add(most=_each(column("weight"), step, f"list_max({step})"))
    risen = _each(step, other, f"exp({other} - {column('most')}[{place}])::FLOAT")
    levels.add(drop=["most"], weight=_each(column("weight"), f"{step}, {place}", risen))
    sums = _each(column("weight"), step, _each(column("value"), unit, f"list_inner_product({step}, {unit})"))
    levels.add(drop=["weight", "value"], sums=sums)
    size = levels.sizes.heights[f"{block}_value_{head}"]
    mean = _each(f"{step}[:{size}]", unit, f"{unit} / {step}[{size + 1}]")
    levels.add(drop=["sums"], **{f"seen_{head}": _each(column("sums"), step, mean)})
    return f"seen_{head}"


def _feed_forward(levels: _Levels, block: str) -> None:
    """Each step and what a layer with relu makes of it."""
    step, place = levels.scope.own("step"), levels.scope.own("place")
    levels.normalise()
    levels.add(drop=["read"], wide=_each(levels.column("read"), step, levels.relu(f"{block}_wide", step)))
    together = _beside(levels, [f"{levels.column('wide')}[{place}]"], f"{block}_narrow")
    _each_step(levels, f"{block}_narrow", together, drop=["wide"])


def _beside(levels: _Levels, lists: Sequence[str], matrix: str) -> str:
    """The steps, behind each of them the members of `lists`, and a 1: arrays for the matrix."""
    step, place = levels.scope.own("step"), levels.scope.own("place")
    together = f"list_concat({', '.join([f'{step}::FLOAT[]', *lists, '[1::FLOAT]'])})"
    array = f"{together}::FLOAT[{levels.sizes.widths[matrix]}]"
    return _each(levels.column("steps"), f"{step}, {place}", array)


def _each_step(levels: _Levels, matrix: str, arrays: str, *, drop: Sequence[str] = ()) -> None:
    """The steps become what the matrix makes of each of the arrays."""
    step = levels.scope.own("step")
    made = f"{levels.dots(matrix, step)}::FLOAT[{levels.sizes.units}]"
    levels.add(drop=drop, steps=_each(arrays, step, made))


def _each(members: str, name: str, made: str) -> str:
    """What is made of each member of a list, called `name` there."""
    return f"list_transform({members}, lambda {name}: {made})"


def _float(value: float) -> str:
    return f"'{value!r}'::FLOAT"
