"""Exact TreeSHAP of the trees of a row's class as SQL: the tables of `tree_explanations` for all classes in one."""

from dataclasses import replace
from functools import partial
from itertools import accumulate, chain

import numpy as np
import pyarrow as pa

from models_ml.class_trees import ClassesModel
from models_ml.tree_shap import Piece, TreeShap
from udfs.compiling.scope import Explained, Scope
from udfs.compiling.store import one_list
from udfs.compiling.tree_explanations import (
    FEATURE,
    MOST_ENTRIES,
    added_sql,
    additions_of,
    code_sql,
    features_of,
    ordered_sql,
    pieces_of,
)
from udfs.compiling.trees import filled_slots
from udfs.quoting import literal


def explain_classes(model: ClassesModel) -> Explained | None:
    """None where the trees are too deep, or too many."""
    found = [member.shap for member in model.members]
    by_class = [shap for shap in found if shap is not None]
    entries = sum(piece.tables.size for shap in by_class for piece in shap.pieces)
    if len(by_class) < len(found) or entries > MOST_ENTRIES:
        return None
    used = np.unique(np.concatenate([shap.used for shap in by_class]))
    alike = [TreeShap(used, tuple(_moved(piece, shap.used, used) for piece in shap.pieces)) for shap in by_class]
    return Explained({"shap": _table(model, alike)}, partial(_contributions, model, used))


def _moved(piece: Piece, own: np.ndarray, used: np.ndarray) -> Piece:
    """A piece whose nodes compare the inputs of `used` in place of those of `own`; each is there twice."""
    places = np.searchsorted(used, own)
    return replace(piece, slots=np.concatenate([places, places + len(used)])[piece.slots])


def _table(model: ClassesModel, by_class: list[TreeShap]) -> pa.Table:
    """One row: `pieces` and `additions` of all classes, one class after another, and by class `first`, the number of
    its first piece, `last`, that of its last one, `features`, which count its pieces from 1, and `own`, what the class
    itself adds.
    """
    sizes = [sum(piece.tables.size for piece in shap.pieces) for shap in by_class]
    starts = list(accumulate(sizes, initial=1))[:-1]
    lasts = list(accumulate(len(shap.pieces) for shap in by_class))
    features = [features_of(model.trees, shap, start=start) for shap, start in zip(by_class, starts, strict=True)]
    whole = TreeShap(by_class[0].used, tuple(chain.from_iterable(shap.pieces for shap in by_class)))
    own = [member.base_log_odds - model.base_log_odds for member in model.members]
    return pa.table(
        {
            "pieces": one_list(pieces_of(whole)),
            "additions": one_list(pa.array(additions_of(model.trees, whole))),
            "features": one_list(pa.array(features, pa.list_(FEATURE))),
            "first": one_list(pa.array([1, *(last + 1 for last in lasts[:-1])], pa.int64())),
            "last": one_list(pa.array(lasts, pa.int64())),
            "own": one_list(pa.array(own)),
        }
    )


def _contributions(model: ClassesModel, used: np.ndarray, scope: Scope) -> str:
    """A SELECT as that of `tree_explanations`; of a class that is not known, or none, an empty list."""
    asked = f"c{scope.places[model.label]}"
    step = replace(scope, kept=tuple(dict.fromkeys([*scope.kept, asked])))
    rows, tables, piece, node, feature, term = map(scope.own, ("rows", "shap", "piece", "node", "feature", "term"))
    slots, codes, found, place = map(scope.working, ("slots", "codes", "found", "place"))
    coded = replace(step, kept=(*step.kept, place))
    classes = ", ".join(map(literal, model.classes))
    numbers = f"range({tables}.first[{rows}.{place}], {tables}.last[{rows}.{place}] + 1)"
    code = code_sql(f"{tables}.pieces[{piece}]", f"{rows}.{slots}", node)
    named = added_sql(feature, f"{tables}.additions", f"{rows}.{codes}", term)
    of_features = f"list_transform({tables}.features[{rows}.{place}], lambda {feature}: {named})"
    of_itself = f"[{{'feature': {literal(model.label)}, 'contribution': {tables}.own[{rows}.{place}]}}]"
    told = f"case when {rows}.{place} > 0 then list_concat({of_features}, {of_itself}) end as {found}"
    listed = f"coalesce({ordered_sql(f'{rows}.{found}', feature, term)}, [])"
    placed = f"list_position([{classes}]::VARCHAR[], {rows}.{asked}) as {place}"
    return f"""
        select {scope.listed(rows, f"{listed} as {scope.out}")}
        from (
            select {coded.listed(rows, told)}
            from (
                select {coded.listed(rows, f"list_transform({numbers}, lambda {piece}: {code}) as {codes}")}
                from (
                    select {step.listed(rows, f"{rows}.{slots}", placed)}
                    from ({filled_slots(model.trees, used, slots, step)}) as {rows}
                ) as {rows}, {scope.table("shap")} as {tables}
            ) as {rows}, {scope.table("shap")} as {tables}
        ) as {rows}
    """
