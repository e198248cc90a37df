"""Boosted trees as SQL: each tree a nest of conditions over doubles, with exactly the splits of float32.

A row's value x is a double in most engines, and the trees compare its float32 with a threshold t. Rounding keeps the
order, so that `float32(x) < t` is `x < m`, m the middle between t and the float32 before it; the middle itself rounds
to the neighbour whose last bit is 0.
"""

import math
from collections.abc import Iterator

import numpy as np
from sqlglot import exp

from models_ml.encoding import MatrixColumn
from models_ml.trees import TreesModel
from udfs.compiling.tree_nodes import TreeNodes, lay_out
from udfs.portable.dialects import Dialect
from udfs.portable.formula import Formula, Step, code, feature_of, number, total


def formula(model: TreesModel, dialect: Dialect, prefix: str) -> Formula:
    """The margin as the model sums it up: in float32 and tree order where the engine has float32, else in doubles."""
    nodes = lay_out(model)
    margin = f"{prefix}margin"
    first = inputs(model, nodes, dialect, prefix)
    return Formula((first, *margin_steps(model, nodes, range(nodes.trees), margin, dialect, prefix)), margin)


def inputs(model: TreesModel, nodes: TreeNodes, dialect: Dialect, prefix: str) -> Step:
    """What the nodes read, as columns over those of the source."""
    columns = [model.columns[place] for place in nodes.columns]
    step = {f"{prefix}x_{place}": _input(model, column, dialect) for place, column in enumerate(columns)}
    return step or {f"{prefix}x_0": exp.cast(exp.Null(), "double")}


def margin_steps(
    model: TreesModel, nodes: TreeNodes, some: range, margin: str, dialect: Dialect, prefix: str
) -> Iterator[Step]:
    """From the columns of `inputs` to the sum of some of the trees, the column `margin` of the last step."""
    columns = [model.columns[place] for place in nodes.columns]
    start = _leaf_type(dialect.number(nodes.base_margin), dialect)
    leaves: list[exp.Expression] = []
    for first in some[:: dialect.trees_per_step]:
        trees = {f"{prefix}tree_{tree}": tree for tree in some[first - some.start :][: dialect.trees_per_step]}
        step = {name: _leaf_type(_tree(nodes, columns, tree, dialect, prefix), dialect) for name, tree in trees.items()}
        if leaves:
            step[f"{prefix}sum_{first}"] = total([start, *leaves])
            start = exp.column(f"{prefix}sum_{first}")
        leaves = [exp.column(name) for name in trees]
        yield step
    yield {margin: exp.cast(exp.paren(total([start, *leaves])), "double")}


def split_value(threshold: np.float32) -> float:
    """The double m with `x < m` where, and only where, `float32(x) < threshold`.

    >>> split_value(np.float32(1)) == 1 - 2.0**-25
    True
    """
    before = np.nextafter(threshold, np.float32(-np.inf))
    middle = (float(before) + float(threshold)) / 2
    is_even = int(threshold.view(np.uint32)) % 2 == 0
    return middle if is_even else math.nextafter(middle, math.inf)


def _input(model: TreesModel, column: MatrixColumn, dialect: Dialect) -> exp.Expression:
    feature = feature_of(model.schema, column.feature)
    return code(feature, column.vocabulary, dialect) if column.role == "category" else number(feature, dialect)


def _leaf_type(expression: exp.Expression, dialect: Dialect) -> exp.Expression:
    return exp.cast(expression, "float" if dialect.has_float32 else "double")


def _tree(nodes: TreeNodes, columns: list[MatrixColumn], node: int, dialect: Dialect, prefix: str) -> exp.Expression:
    """The value of the leaf that a row comes to from this node on. What is NULL is not below and not above."""
    threshold = nodes.thresholds[node]
    slot = int(nodes.slots[node]) - 1
    if slot == 2 * len(columns):
        return dialect.number(threshold)
    place, is_left_default = slot % len(columns), slot >= len(columns)
    right = int(nodes.children[node]) - 1
    is_code = columns[place].role == "category"
    bound = exp.Literal.number(str(math.ceil(threshold))) if is_code else dialect.number(split_value(threshold))
    below, above = (_tree(nodes, columns, child, dialect, prefix) for child in (right - 1, right))
    column = exp.column(f"{prefix}x_{place}")
    if is_left_default:
        return exp.If(this=exp.GTE(this=column, expression=bound), true=above, false=below)
    return exp.If(this=exp.LT(this=column, expression=bound), true=below, false=above)
