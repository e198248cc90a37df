"""Trees of classes as SQL: one walk through the trees of all classes, a margin for each, and the softmax of these."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa

from models_ml.calibration import LEAST_LOG_ODDS
from models_ml.class_trees import ClassesModel
from udfs.compiling.calibration import double
from udfs.compiling.scope import Compiled, Scope
from udfs.compiling.tree_nodes import TreeNodes, lay_together, places_of, probes_of
from udfs.compiling.trees import filled_slots, leaf_sum, leaves_sql, nodes_table
from udfs.quoting import literal


def compile_classes(model: ClassesModel) -> Compiled:
    """Raises ArtifactError where the trees are not of the kind that is known here."""
    nodes = lay_together(model.members)
    return Compiled(
        tables={"trees": nodes_table(nodes)},
        margin=partial(_score, model, nodes, places_of(model.members)),
        probes=_probes(model, nodes),
        tolerance=0.0,
        is_score=True,
    )


def _score(model: ClassesModel, nodes: TreeNodes, by_class: Sequence[tuple[range, np.float32]], scope: Scope) -> str:
    """A SELECT of the probability of the row's class: 0 of one that is not known, NULL where it is NULL.

    A step at a time, so that each is computed once.
    """
    asked = f"c{scope.places[model.label]}"
    step = replace(scope, kept=tuple(dict.fromkeys([*scope.kept, asked])))
    rows, trees, one, total = map(scope.own, ("rows", "trees", "one", "total"))
    slots, leaves, margins, most, sizes = map(scope.working, ("slots", "leaves", "margins", "most", "sizes"))
    sums = [
        leaf_sum(f"{rows}.{leaves}[{own.start + 1}:{own.stop}]", base_margin, scope) for own, base_margin in by_class
    ]
    below = f"greatest({one}::DOUBLE - {rows}.{most}, {double(LEAST_LOG_ODDS)})"
    classes = ", ".join(map(literal, model.classes))
    size = f"{rows}.{sizes}[list_position([{classes}]::VARCHAR[], {rows}.{asked})]"
    whole = f"list_reduce({rows}.{sizes}, lambda {total}, {one}: {total} + {one})"
    score = f"case when {rows}.{asked} is not null then coalesce(({size} / {whole})::FLOAT, 0) end"
    return f"""
        select {scope.listed(rows, f"{score} as {scope.out}")}
        from (
            select {step.listed(rows, f"list_transform({rows}.{margins}, lambda {one}: exp({below})) as {sizes}")}
            from (
                select {step.listed(rows, f"{rows}.{margins}", f"list_max({rows}.{margins})::DOUBLE as {most}")}
                from (
                    select {step.listed(rows, f"[{', '.join(sums)}] as {margins}")}
                    from (
                        select {step.listed(rows, f"{leaves_sql(nodes, f'{rows}.{slots}', trees, scope)} as {leaves}")}
                        from ({filled_slots(model.trees, nodes.columns, slots, step)}) as {rows},
                            {scope.table("trees")} as {trees}
                    ) as {rows}
                ) as {rows}
            ) as {rows}
        ) as {rows}
    """


def _probes(model: ClassesModel, nodes: TreeNodes) -> pa.RecordBatch:
    """Those of the trees, and every class in turn, one that is not known, and none."""
    probes = probes_of(model.members[0], nodes)
    choices = np.array([*model.classes, "not seen in training\0", None], object)
    asked = pa.array(np.resize(choices, probes.num_rows).tolist(), pa.string())
    return probes.set_column(probes.schema.get_field_index(model.label), model.label, asked)
