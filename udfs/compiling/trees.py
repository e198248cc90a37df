"""Boosted trees as SQL with the bits that XGBoost gives.

All nodes of all trees lie in one list, level by level, in a one-row table; `tree_nodes` tells what a node is. A row
walks through all trees at once, one level a step, by nested `list_transform`. docs/performance.md tells what else was
tried, and what it took.
"""

from functools import partial

import numpy as np
import pyarrow as pa

from models_ml.encoding import MatrixColumn
from models_ml.trees import TreesModel
from udfs.compiling.scope import Compiled, Scope
from udfs.compiling.store import one_list
from udfs.compiling.tree_nodes import TreeNodes, lay_out, probes_of
from udfs.quoting import literal


def compile_trees(model: TreesModel) -> Compiled:
    """Raises ArtifactError where the trees are not of the kind that is known here."""
    nodes = lay_out(model)
    return Compiled(
        tables={"trees": _table(nodes)},
        margin=partial(_margin, model, nodes),
        probes=probes_of(model, nodes),
        tolerance=0.0,
    )


def _table(nodes: TreeNodes) -> pa.Table:
    """One row of lists: `nodes`, the first of them as `roots`, and `leaves` with the value of each node that is one.

    A value lies below a threshold where the sign bit of their difference is set, which takes DuckDB half the time of
    `<`. Of -0.0 and 0.0 it would call the first one lower; a threshold of -0.0 calls neither so.
    """
    is_leaf = nodes.slots == 2 * len(nodes.columns) + 1
    thresholds = np.where((nodes.thresholds == 0) & ~is_leaf, np.float32(-0.0), nodes.thresholds)
    structs = pa.StructArray.from_arrays(
        [pa.array(nodes.slots), pa.array(thresholds), pa.array(nodes.children)],
        ["slot", "threshold", "child"],
    )
    return pa.table(
        {
            "nodes": one_list(structs),
            "roots": one_list(structs.slice(0, nodes.trees)),
            "leaves": one_list(pa.array(nodes.thresholds, mask=~is_leaf)),
        }
    )


def filled_slots(model: TreesModel, places: np.ndarray, out: str, scope: Scope) -> str:
    """A SELECT of the matrix columns at these places as the list `out`, FLOAT[]: for a missing value +inf in the first
    copy of the columns and -inf in the second; -inf at the end.
    """
    rows, names = scope.own("rows"), [scope.working(f"v{place}") for place in places.tolist()]
    columns = [model.columns[place] for place in places]
    values = [
        f"{_value(scope.column(column.feature), column)} as {name}" for column, name in zip(columns, names, strict=True)
    ]
    filled = [f"coalesce({rows}.{name}, '{fill}'::FLOAT)" for fill in ("inf", "-inf") for name in names]
    least = "'-inf'::FLOAT"
    # Trees that never split read nothing, and a SELECT has to list something.
    read = scope.listed(scope.alias, *(values or [f"null as {scope.working('nothing')}"]))
    return f"""
        select {scope.listed(rows, f"[{', '.join([*filled, least])}] as {out}")}
        from (select {read} from {scope.source} as {scope.alias}) as {rows}
    """


def _margin(model: TreesModel, nodes: TreeNodes, scope: Scope) -> str:
    rows, trees, node, total, leaf = map(scope.own, ("rows", "trees", "node", "total", "leaf"))
    slots = scope.working("slots")
    child = f"{node}.child - signbit({rows}.{slots}[{node}.slot] - {node}.threshold)::INTEGER"
    walk = f"{trees}.roots"
    for _ in range(nodes.depth - 1):
        walk = f"list_transform({walk}, lambda {node}: {trees}.nodes[{child}])"
    leaves = f"list_transform({walk}, lambda {node}: {trees}.leaves[{child}])"
    start = _float_literal(nodes.base_margin)
    # Leaves are summed as FLOAT in the order of the trees, as XGBoost does it.
    margin = f"list_reduce({leaves}, lambda {total}, {leaf}: ({total} + {leaf})::FLOAT, {start})"
    return f"""
        select {scope.listed(rows, f"{margin} as {scope.out}")}
        from ({filled_slots(model, nodes.columns, slots, scope)}) as {rows}, {scope.table("trees")} as {trees}
    """


def _value(column_sql: str, column: MatrixColumn) -> str:
    """One matrix column as FLOAT, NULL where `models_ml.encoding.matrix` gives NaN."""
    if column.role == "category":
        vocabulary = ", ".join(literal(value) for value in column.vocabulary)
        return f"(list_position([{vocabulary}]::VARCHAR[], {column_sql}) - 1)::FLOAT"
    if column.role == "embedding":
        column_sql = f"{column_sql}[{column.position + 1}]"
    return f"case when isfinite({column_sql}) then {column_sql} end"


def _float_literal(value: np.float32) -> str:
    return f"'{np.format_float_scientific(value, unique=True, trim='-')}'::FLOAT"
