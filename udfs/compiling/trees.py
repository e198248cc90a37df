"""Trees as SQL with the bits that the model gives.

All nodes of all trees lie in one list, level by level, in a one-row table; `tree_nodes` tells what a node is. A row
walks through all trees at once, one level a step, by nested `list_transform`. docs/performance.md tells what else was
tried, and what it took.
"""

from functools import partial

import numpy as np
import pyarrow as pa

from models_ml.encoding import MatrixColumn
from models_ml.tree_model import Pooling, TreeModel
from udfs.compiling.calibration import double
from udfs.compiling.scope import Compiled, Scope
from udfs.compiling.store import one_list
from udfs.compiling.tree_nodes import TreeNodes, lay_out, probes_of
from udfs.quoting import literal


def compile_trees(model: TreeModel) -> Compiled:
    """Raises ArtifactError where the trees are not of the kind that is known here."""
    nodes = lay_out(model)
    return Compiled(
        tables={"trees": nodes_table(nodes)},
        margin=partial(_margin, model, nodes),
        probes=probes_of(model, nodes),
        tolerance=0.0,
    )


def nodes_table(nodes: TreeNodes) -> pa.Table:
    """One row of lists: `nodes`, the first of them as `roots`, and `leaves` with the value of each node that is one.

    A node is STRUCT(threshold FLOAT, way), where `way` has the place of its right child in its low bits and its slot
    above them: what DuckDB copies for each node that a row comes to is small. Right children lie at odd places, their
    siblings at the even ones before them, so that the last bit of the place alone says left or right; that takes a node
    that is none behind an even number of roots. A leaf leads to itself, as its slot is the one that is always +inf.

    A value lies below a threshold where the sign bit of their difference is set, which takes DuckDB half the time of
    `<`. Of -0.0 and 0.0 it would call the first one lower; a threshold of -0.0 calls neither so.
    """
    is_leaf = nodes.is_leaf
    thresholds = np.where(nodes.thresholds == 0, np.float32(-0.0), nodes.thresholds)
    gap = 1 - nodes.trees % 2
    own = np.arange(1, len(nodes.slots) + 1)
    own[nodes.trees :] += gap
    ways = (nodes.slots.astype(np.int64) << _place_bits(nodes)) | np.where(is_leaf, own, nodes.children + gap)
    whole = np.int32 if ways.max() < 2**31 else np.int64
    spread = np.zeros(len(nodes.slots) + gap, [("threshold", np.float32), ("way", whole), ("leaf", nodes.values.dtype)])
    spread["leaf"] = np.nan
    spread["threshold"][own - 1] = thresholds
    spread["way"][own - 1] = ways
    spread["leaf"][own - 1] = np.where(is_leaf, nodes.values, np.nan)
    members = ["threshold", "way"]
    structs = pa.StructArray.from_arrays([pa.array(spread[member].copy()) for member in members], members)
    return pa.table(
        {
            "nodes": one_list(structs),
            "roots": one_list(structs.slice(0, nodes.trees)),
            "leaves": one_list(pa.array(spread["leaf"].copy(), from_pandas=True)),
        }
    )


def _place_bits(nodes: TreeNodes) -> int:
    """How many low bits of a way hold a place."""
    return (len(nodes.slots) + 1).bit_length()


def filled_slots(model: TreeModel, places: np.ndarray, out: str, scope: Scope) -> str:
    """A SELECT of the matrix columns at these places as the list `out`, FLOAT[]: for a missing value +inf in the first
    copy of the columns and -inf in the second; +inf at the end.
    """
    rows, names = scope.own("rows"), [scope.working(f"v{place}") for place in places.tolist()]
    columns = [model.columns[place] for place in places]
    values = [
        f"{_value(scope.column(column.feature), column)} as {name}" for column, name in zip(columns, names, strict=True)
    ]
    filled = [f"coalesce({rows}.{name}, '{fill}'::FLOAT)" for fill in ("inf", "-inf") for name in names]
    most = "'inf'::FLOAT"
    # Trees that never split read nothing, and a SELECT has to list something.
    read = scope.listed(scope.alias, *(values or [f"null as {scope.working('nothing')}"]))
    return f"""
        select {scope.listed(rows, f"[{', '.join([*filled, most])}] as {out}")}
        from (select {read} from {scope.source} as {scope.alias}) as {rows}
    """


def _margin(model: TreeModel, nodes: TreeNodes, scope: Scope) -> str:
    rows, trees = map(scope.own, ("rows", "trees"))
    slots = scope.working("slots")
    total = leaf_sum(leaves_sql(nodes, f"{rows}.{slots}", trees, scope), nodes.start, scope)
    return f"""
        select {scope.listed(rows, f"{_pooled(nodes.pooling, total)}::FLOAT as {scope.out}")}
        from ({filled_slots(model, nodes.columns, slots, scope)}) as {rows}, {scope.table("trees")} as {trees}
    """


def leaves_sql(nodes: TreeNodes, slots: str, trees: str, scope: Scope) -> str:
    """The leaves that a row comes to, a list in the order of the trees; `trees` is the alias of `nodes_table`."""
    node = scope.own("node")
    bits = _place_bits(nodes)
    is_below = f"signbit({slots}[{node}.way >> {bits}] - {node}.threshold)"
    child = f"xor({node}.way & {2**bits - 1}, {is_below}::INTEGER)"
    walk = f"{trees}.roots"
    for _ in range(nodes.depth - 1):
        walk = f"list_transform({walk}, lambda {node}: {trees}.nodes[{child}])"
    return f"list_transform({walk}, lambda {node}: {trees}.leaves[{child}])"


def leaf_sum(leaves: str, start: np.float32 | np.float64, scope: Scope) -> str:
    """The sum from `start` on, in the order of the list and in the type of `start`, as the model does it."""
    total, leaf = map(scope.own, ("total", "leaf"))
    kind, of = ("FLOAT", _float_literal(start)) if isinstance(start, np.float32) else ("DOUBLE", double(float(start)))
    return f"list_reduce({leaves}, lambda {total}, {leaf}: ({total} + {leaf})::{kind}, {of})"


def _pooled(pooling: Pooling, total: str) -> str:
    """The margin of a sum of leaves, see `Pooling`; the sum itself where nothing becomes of it."""
    if pooling == Pooling():
        return total
    mean = f"({total} / {double(float(pooling.divisor))})"
    return mean if pooling.least is None else log_odds_sql(mean, pooling.least)


def log_odds_sql(probability: str, least: float) -> str:
    """Of a probability, SQL, held `least` away from 0 and from 1, as DOUBLE."""
    return f"(-ln(1 / least(greatest({probability}, {double(least)}), {double(1 - least)}) - 1))"


def _value(column_sql: str, column: MatrixColumn) -> str:
    """One matrix column as FLOAT, NULL where `models_ml.encoding.matrix` gives NaN."""
    if column.role == "category":
        vocabulary = ", ".join(literal(value) for value in column.vocabulary)
        return f"(list_position([{vocabulary}]::VARCHAR[], {column_sql}) - 1)::FLOAT"
    if column.role == "embedding":
        column_sql = f"{column_sql}[{column.position + 1}]"
    return f"case when isfinite({column_sql}) then {column_sql} end"


def _float_literal(value: np.floating) -> str:
    return f"'{np.format_float_scientific(value, unique=True, trim='-')}'::FLOAT"
