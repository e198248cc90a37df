"""Trees as SQL: each tree a nest of conditions over doubles, with exactly the splits of float32.

A row's value x is a double in most engines, and the trees compare its float32 with a threshold t. Rounding keeps the
order, so that `float32(x) < t` is `x < m`, m the middle between t and the float32 before it; the middle itself rounds
to the neighbour whose last bit is 0.
"""

import math
from collections.abc import Iterator

import numpy as np
from sqlglot import exp

from models_ml.encoding import MatrixColumn
from models_ml.tree_model import Pooling, TreeModel
from models_ml.tree_table import MOST
from udfs.compiling.tree_nodes import TreeNodes, lay_out
from udfs.portable.dialects import BEYOND_FLOAT32, Dialect
from udfs.portable.formula import Formula, Step, clipped, code, feature_of, number, total, whole


def formula(model: TreeModel, dialect: Dialect, prefix: str) -> Formula:
    """The margin as the model sums it up, in tree order: of float32 in doubles where the engine has no float32."""
    nodes = lay_out(model)
    margin, summed = f"{prefix}margin", f"{prefix}sum"
    out = margin if nodes.is_float32 else summed
    steps = (inputs(model, nodes, dialect, prefix), *sum_steps(model, nodes, range(nodes.trees), out, dialect, prefix))
    return Formula(steps, out) if nodes.is_float32 else _pooled(Formula(steps, out), nodes.pooling, dialect, prefix)


def inputs(model: TreeModel, nodes: TreeNodes, dialect: Dialect, prefix: str) -> Step:
    """What the nodes read, as columns over those of the source."""
    columns = [model.columns[place] for place in nodes.columns]
    step = {f"{prefix}x_{place}": _input(model, column, dialect) for place, column in enumerate(columns)}
    return step or {f"{prefix}x_0": exp.cast(exp.Null(), "double")}


def sum_steps(
    model: TreeModel, nodes: TreeNodes, some: range, out: str, dialect: Dialect, prefix: str
) -> Iterator[Step]:
    """From the columns of `inputs` to the sum of some of the trees, the column `out` of the last step, in doubles."""
    columns = [model.columns[place] for place in nodes.columns]
    kind = "float" if nodes.is_float32 and dialect.has_float32 else "double"
    start: exp.Expression = exp.cast(dialect.number(nodes.start), kind)
    leaves: list[exp.Expression] = []
    for first in some[:: dialect.trees_per_step]:
        trees = {f"{prefix}tree_{tree}": tree for tree in some[first - some.start :][: dialect.trees_per_step]}
        step: dict[str, exp.Expression] = {
            name: exp.cast(_tree(nodes, columns, tree, dialect, prefix), kind) for name, tree in trees.items()
        }
        if leaves:
            step[f"{prefix}sum_{first}"] = total([start, *leaves])
            start = exp.column(f"{prefix}sum_{first}")
        leaves = [exp.column(name) for name in trees]
        yield step
    yield {out: exp.cast(exp.paren(total([start, *leaves])), "double")}


def _pooled(formula: Formula, pooling: Pooling, dialect: Dialect, prefix: str) -> Formula:
    """With the margin of a sum of leaves, see `Pooling`."""
    margin, summed = f"{prefix}margin", exp.column(formula.result)
    mean = exp.Div(this=summed, expression=dialect.number(float(pooling.divisor)), typed=True, safe=False)
    if pooling.least is None:
        return formula.then({margin: _rounded(mean, dialect)})
    probability = clipped(f"{prefix}mean", pooling.least, 1 - pooling.least, dialect)
    one, share = dialect.number(1.0), exp.column(f"{prefix}probability")
    odds_against = exp.Sub(this=exp.Div(this=one, expression=share, typed=True, safe=False), expression=one.copy())
    log_odds = exp.Neg(this=exp.Ln(this=exp.paren(odds_against)))
    return formula.then(
        {f"{prefix}mean": mean}, {f"{prefix}probability": probability}, {margin: _rounded(log_odds, dialect)}
    )


def _rounded(margin: exp.Expression, dialect: Dialect) -> exp.Expression:
    """To float32, as the model's own is, where the engine has it."""
    return exp.cast(exp.cast(margin, "float"), "double") if dialect.has_float32 else margin


def split_value(threshold: np.float32) -> float:
    """The double m with `x < m` where, and only where, `float32(x) < threshold`.

    >>> split_value(np.float32(1)) == 1 - 2.0**-25
    True
    """
    if threshold == -MOST:
        return -BEYOND_FLOAT32
    before = np.nextafter(threshold, np.float32(-np.inf))
    middle = (float(before) + float(threshold)) / 2
    is_even = int(threshold.view(np.uint32)) % 2 == 0
    return middle if is_even else math.nextafter(middle, math.inf)


def _input(model: TreeModel, column: MatrixColumn, dialect: Dialect) -> exp.Expression:
    feature = feature_of(model.schema, column.feature)
    if column.role == "category":
        return code(feature, column.vocabulary, dialect)
    return number(feature, dialect, column.position)


def _tree(nodes: TreeNodes, columns: list[MatrixColumn], node: int, dialect: Dialect, prefix: str) -> exp.Expression:
    """The value of the leaf that a row comes to from this node on. What is NULL is not below and not above."""
    threshold = nodes.thresholds[node]
    slot = int(nodes.slots[node]) - 1
    if slot == 2 * len(columns):
        return dialect.number(nodes.values[node])
    place, is_left_default = slot % len(columns), slot >= len(columns)
    right = int(nodes.children[node]) - 1
    is_code = columns[place].role == "category"
    bound = whole(max(0, math.ceil(threshold))) if is_code else dialect.number(split_value(threshold))
    below, above = (_tree(nodes, columns, child, dialect, prefix) for child in (right - 1, right))
    column = exp.column(f"{prefix}x_{place}")
    if is_left_default:
        return exp.If(this=exp.GTE(this=column, expression=bound), true=above, false=below)
    return exp.If(this=exp.LT(this=column, expression=bound), true=below, false=above)
