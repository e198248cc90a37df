"""Trees as one list of nodes, level by level, and rows that find faults in whatever walks through them.

A node is `{slot, threshold, child}`: a row whose value in `slot` is below the threshold goes on to `child - 1`, else to
`child`. A leaf has a slot of its own, behind those of all columns, by which whoever walks lets a row stay there.

A missing value follows a node's default direction. So each matrix column has two slots: one holds +inf where the
value is missing, for nodes that then go right, the other -inf, for nodes that then go left.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from ibis_features import ArtifactError
from models_ml.encoding import empty_batch, matrix
from models_ml.tree_model import Pooling, TreeModel
from models_ml.tree_table import TreeTable, joined
from models_ml.trees import TreesModel

PROBES = 1_024
STARTS: Mapping[str, Callable[[np.float32], np.float32]] = {
    "binary:logistic": lambda score: -np.log(np.float32(1) / score - np.float32(1)),
    "reg:squarederror": lambda score: score,
    "reg:tweedie": np.log,
    "survival:aft": np.log,
    "rank:ndcg": lambda score: score,
}
"""The objectives that are known, and what XGBoost makes of base_score in float32 before it adds the leaves.

The logit in float64 would be far off near 0.5, where the subtraction cancels.
"""
ULPS = 16
"""How far from there the float32 that XGBoost starts its sums from is looked for."""


@dataclass(frozen=True)
class TreeNodes:
    """All trees as arrays over nodes in level order; the first `trees` of them are the roots.

    `columns` are the matrix columns that some node reads, `slots` 1-based places in the row's list of inputs,
    `children` 1-based places of right children. values: of leaves, float32 or float64, as which they are summed in the
    order of the trees, from `start` on. pooling: what becomes of the sum.
    """

    columns: np.ndarray
    slots: np.ndarray
    thresholds: np.ndarray
    children: np.ndarray
    values: np.ndarray
    trees: int
    depth: int
    start: np.float32 | np.float64
    pooling: Pooling

    @property
    def is_leaf(self) -> np.ndarray:
        return self.slots == 2 * len(self.columns) + 1

    @property
    def is_float32(self) -> bool:
        """Are leaves summed as 32-bit floats?"""
        return self.values.dtype == np.float32


def lay_out(model: TreeModel) -> TreeNodes:
    """The nodes of all trees of a model; raises ArtifactError where they are not of the kind that is known here."""
    if not isinstance(model, TreesModel):
        return _in_levels(model.trees, np.float64(0), model.pooling)
    nodes = lay_together([model])
    probes = probes_of(model, nodes)
    leaves = model.trees.values[model.trees.leaves(matrix(probes, model.columns))]
    return replace(nodes, start=_base_margin(model, leaves, model.margin(probes)))


def lay_together(models: Sequence[TreesModel]) -> TreeNodes:
    """The nodes of all trees of models of the same columns, one model after another, without a base margin."""
    for model in models:
        _check_kind(model)
    return _in_levels(joined([model.trees for model in models]), np.float32(0), Pooling())


def places_of(models: Sequence[TreesModel]) -> list[tuple[range, np.float32]]:
    """Which of the trees that are laid together are those of each model, and its base margin."""
    found, start = [], 0
    for own in map(lay_out, models):
        found.append((range(start, start + own.trees), np.float32(own.start)))
        start += own.trees
    return found


def probes_of(model: TreeModel, nodes: TreeNodes) -> pa.RecordBatch:
    """Rows that find faults: values on a threshold and next to it, missing ones, infinities, unknown categories."""
    rng = np.random.default_rng(0)
    cuts: dict[int, np.ndarray] = {}
    for slot, column_place in enumerate(nodes.columns.tolist(), start=1):
        is_cut = (nodes.slots == slot) | (nodes.slots == slot + len(nodes.columns))
        cuts[column_place] = nodes.thresholds[is_cut]
    inputs: dict[str, Any] = {feature.name: [None] * PROBES for feature in model.schema.features}
    embeddings = [feature for feature in model.schema.features if feature.role == "embedding"]
    for feature in embeddings:
        inputs[feature.name] = np.full((PROBES, feature.width), np.nan, np.float32)
    for place in nodes.columns.tolist():
        column = model.columns[place]
        if column.role == "category":
            choices = np.array([*column.vocabulary, "not seen in training\0", None], object)
            inputs[column.feature] = rng.choice(choices, PROBES).tolist()
        elif column.role == "embedding":
            inputs[column.feature][:, column.position] = _probe_values(cuts[place], rng)
        else:
            inputs[column.feature] = pa.array(_probe_values(cuts[place], rng), mask=rng.random(PROBES) < 0.1)
    for feature in embeddings:
        inputs[feature.name] = [None, *inputs[feature.name][1:]]
    return pa.RecordBatch.from_pydict(inputs, schema=empty_batch(model.schema).schema)


def _check_kind(model: TreesModel) -> None:
    learner = json.loads(model.booster.save_config())["learner"]
    booster, objective = learner["gradient_booster"]["name"], learner["objective"]["name"]
    if booster != "gbtree" or objective not in STARTS:
        raise ArtifactError(
            f"refused to publish: the macro knows gbtree with {', '.join(STARTS)}, not {booster} with {objective}"
        )


def _in_levels(trees: TreeTable, start: np.float32 | np.float64, pooling: Pooling) -> TreeNodes:
    """Lay out the nodes level by level. Slots: 1 to n default right, n + 1 to 2n default left, 2n + 1 of leaves."""
    levels = [level := trees.roots]
    while len(inner := level[~trees.is_leaf[level]]):
        left = trees.children[inner]
        levels.append(level := np.stack([left, left + 1], axis=1).ravel())
    order = np.concatenate(levels)
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    thresholds = trees.thresholds[order]
    if not np.isfinite(thresholds).all():
        raise ArtifactError("refused to publish: a threshold is not finite, and the macro would read it as missing")
    return TreeNodes(
        columns=trees.used,
        slots=(trees.slots[order] + 1).astype(np.int32),
        thresholds=thresholds,
        children=place[trees.children[order]] + 2,
        values=trees.values[order],
        trees=len(trees.roots),
        depth=trees.depth,
        start=start,
        pooling=pooling,
    )


def _base_margin(model: TreesModel, leaves: np.ndarray, expected: np.ndarray) -> np.float32:
    """The float32 that sums start from, see STARTS."""
    learner = json.loads(model.booster.save_config())["learner"]
    base_score = np.float32(learner["learner_model_param"]["base_score"].strip("[]"))
    guess = np.float32(STARTS[learner["objective"]["name"]](base_score))
    candidates, up, down = [guess], guess, guess
    for _ in range(ULPS):
        up, down = np.nextafter(up, np.float32(np.inf)), np.nextafter(down, np.float32(-np.inf))
        candidates += [up, down]
    for candidate in candidates:
        total = np.full(len(leaves), candidate, np.float32)
        for tree in range(leaves.shape[1]):
            total += leaves[:, tree]
        if np.array_equal(total, expected):
            return candidate
    raise ArtifactError(
        f"refused to publish: no float32 within {ULPS} steps of {guess!r} starts the sums of this model; "
        "please report it"
    )


def _probe_values(cuts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    with np.errstate(over="ignore"):
        around = np.concatenate([cuts, *(np.nextafter(cuts, np.float32(end)) for end in (np.inf, -np.inf))])
    odd = np.array([0.0, -0.0, 1.0, -1e30, 1e30, np.inf, -np.inf, np.nan, np.nan], np.float32)
    return np.where(rng.random(PROBES) < 0.7, rng.choice(around, PROBES), rng.choice(odd, PROBES))
