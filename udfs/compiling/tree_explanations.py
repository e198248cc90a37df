"""Exact TreeSHAP as SQL: what each feature adds to the log-odds of trees, from the tables of `models_ml.tree_shap`.

Which way a row goes at the nodes of a piece of a tree is a number of at most 8 bits, and what each such number adds
to each column lies in one list for all pieces. So a row's contribution of a feature is a sum of members of that list.
"""

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from models_ml.tree_model import LEAST_MOVE, TreeModel
from models_ml.tree_shap import TreeShap
from udfs.compiling.calibration import double
from udfs.compiling.scope import Explained, Scope
from udfs.compiling.store import one_list
from udfs.compiling.trees import filled_slots, log_odds_sql

MOST_ENTRIES = 2**21
"""FLOATs in the list, 8 MiB: deeper trees would make the file large and a call slow."""
TERMS = pa.list_(pa.struct([("piece", pa.int32()), ("start", pa.int32())]))
FEATURE = pa.struct([("feature", pa.string()), ("terms", TERMS)])


def explain_trees(model: TreeModel) -> Explained | None:
    """None where the trees are too deep."""
    shap = model.shap
    if shap is None or sum(piece.tables.size for piece in shap.pieces) > MOST_ENTRIES:
        return None
    return Explained({"shap": _table(model, shap)}, partial(_contributions, model, shap))


def _table(model: TreeModel, shap: TreeShap) -> pa.Table:
    """One row.

    `pieces` STRUCT(slot, threshold, bit)[][] holds the nodes of each piece, `additions` FLOAT[] or DOUBLE[] what each
    number of each piece adds to each of its columns, `features` STRUCT(feature, terms STRUCT(piece, start)[])[] where
    to look.
    """
    return pa.table(
        {
            "pieces": one_list(pieces_of(shap)),
            "additions": one_list(pa.array(additions_of(model, shap))),
            "features": one_list(pa.array(features_of(model, shap, start=1), FEATURE)),
        }
    )


def pieces_of(shap: TreeShap) -> pa.Array:
    """The nodes of each piece."""
    nodes = [
        [
            {"slot": int(slot) + 1, "threshold": float(threshold), "bit": 1 << place}
            for place, (slot, threshold) in enumerate(zip(piece.slots, piece.thresholds[:, 0], strict=True))
        ]
        for piece in shap.pieces
    ]
    node = pa.struct([("slot", pa.int32()), ("threshold", pa.float32()), ("bit", pa.int32())])
    return pa.array(nodes, pa.list_(node))


def additions_of(model: TreeModel, shap: TreeShap) -> np.ndarray:
    """What each number of each piece adds to each of its columns, float32 or float64."""
    additions = np.concatenate([np.empty(0), *(piece.tables.ravel() for piece in shap.pieces)])
    # Log-odds near their ends would enlarge what float32 rounds off.
    return additions.astype(np.float32) if model.pooling.least is None else additions


def features_of(model: TreeModel, shap: TreeShap, *, start: int) -> list[dict[str, Any]]:
    """Of each feature that some piece reads, which pieces these are, and where what they add lies, from `start` on."""
    terms: dict[str, list[dict[str, int]]] = {name: [] for name in model.schema.names}
    for number, piece in enumerate(shap.pieces, start=1):
        for column, table in zip(piece.columns, piece.tables, strict=True):
            terms[model.columns[column].feature].append({"piece": number, "start": start})
            start += len(table)
    return [{"feature": name, "terms": found} for name, found in terms.items() if found]


def code_sql(piece: str, slots: str, node: str) -> str:
    """Which way a row goes at the nodes of a piece, as one number; `slots` is the list of its inputs."""
    bits = f"case when {slots}[{node}.slot] < {node}.threshold then {node}.bit else 0 end"
    return f"list_sum(list_transform({piece}, lambda {node}: {bits}))::INTEGER"


def added_sql(feature: str, additions: str, codes: str, term: str) -> str:
    """What a feature of `features_of` adds, as STRUCT(feature, contribution)."""
    added = f"{additions}[{term}.start + {codes}[{term}.piece]]::DOUBLE"
    contribution = f"list_sum(list_transform({feature}.terms, lambda {term}: {added}))"
    return f"{{'feature': {feature}.feature, 'contribution': {contribution}}}"


def ordered_sql(contributions: str, feature: str, place: str) -> str:
    """The contributions that are not 0, the largest by size first, equal ones in the order of the features."""
    is_reason = f"list_filter({contributions}, lambda {feature}: {feature}.contribution <> 0)"
    # A list of structs is sorted by their fields in turn.
    sortable = f"{{'size': -abs({feature}.contribution), 'place': {place}, 'of': {feature}}}"
    ordered = f"list_sort(list_transform({is_reason}, lambda {feature}, {place}: {sortable}))"
    return f"list_transform({ordered}, lambda {feature}: {feature}.of)"


def _contributions(model: TreeModel, shap: TreeShap, scope: Scope) -> str:
    """A SELECT of the contributions that are not 0, the largest by size first, as STRUCT(feature, contribution)[]."""
    rows, tables, piece, node, feature, term = map(scope.own, ("rows", "shap", "piece", "node", "feature", "term"))
    slots, codes, found = map(scope.working, ("slots", "codes", "found"))
    code = code_sql(piece, f"{rows}.{slots}", node)
    named = added_sql(feature, f"{tables}.additions", f"{rows}.{codes}", term)
    tabled = f"""
        (
            select {scope.listed(rows, f"list_transform({tables}.features, lambda {feature}: {named}) as {found}")}
            from (
                select {scope.listed(rows, f"list_transform({tables}.pieces, lambda {piece}: {code}) as {codes}")}
                from ({filled_slots(model, shap.used, slots, scope)}) as {rows}, {scope.table("shap")} as {tables}
            ) as {rows}, {scope.table("shap")} as {tables}
        )
    """
    contributions = f"{rows}.{found}"
    if model.pooling.least is not None:
        slope = scope.working("slope")
        listed = scope.listed(rows, contributions, f"{_slope(model, contributions, feature)} as {slope}")
        tabled = f"(select {listed} from {tabled} as {rows})"
        stretched = f"{{'feature': {feature}.feature, 'contribution': {feature}.contribution * {rows}.{slope}}}"
        contributions = f"list_transform({contributions}, lambda {feature}: {stretched})"
    return f"""
        select {scope.listed(rows, f"{ordered_sql(contributions, feature, term)} as {scope.out}")}
        from {tabled} as {rows}
    """


def _slope(model: TreeModel, contributions: str, feature: str) -> str:
    """What `Pooling.pooled` stretches these by, STRUCT(feature, contribution)[]; `feature` stands for one of them."""
    base, least = model.mean, model.pooling.least or 0.0
    moves = f"coalesce(list_sum(list_transform({contributions}, lambda {feature}: {feature}.contribution)), 0)"
    end, start = (log_odds_sql(probability, least) for probability in (f"{double(base)} + {moves}", double(base)))
    at_base = double(1 / (base * (1 - base)))
    return f"case when abs({moves}) < {double(LEAST_MOVE)} then {at_base} else ({end} - {start}) / {moves} end"
