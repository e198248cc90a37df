"""Boosted trees as one list of nodes, level by level, and rows that find faults in whatever walks through them.

A node is `{slot, threshold, child}`: a row whose value in `slot` is below the threshold goes on to `child - 1`, else to
`child`. A leaf holds its value as threshold, reads a slot that is always -inf, and so leads to itself for ever.

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
    `children` 1-based places of right children.
    """

    columns: np.ndarray
    slots: np.ndarray
    thresholds: np.ndarray
    children: np.ndarray
    trees: int
    depth: int
    base_margin: np.float32


def lay_out(model: TreesModel) -> TreeNodes:
    """The nodes of all trees of a model; raises ArtifactError where they are not of the kind that is known here."""
    nodes = lay_together([model])
    probes = probes_of(model, nodes)
    leaves = _leaves(nodes, matrix(probes, model.columns))
    return replace(nodes, base_margin=_base_margin(model, leaves, model.margin(probes)))


def lay_together(models: Sequence[TreesModel]) -> TreeNodes:
    """The nodes of all trees of models of the same columns, one model after another, without a base margin."""
    return _in_levels([tree for model in models for tree in _read_trees(model)])


def places_of(models: Sequence[TreesModel]) -> list[tuple[range, np.float32]]:
    """Which of the trees that are laid together are those of each model, and its base margin."""
    found, start = [], 0
    for own in map(lay_out, models):
        found.append((range(start, start + own.trees), own.base_margin))
        start += own.trees
    return found


def probes_of(model: TreesModel, nodes: TreeNodes) -> pa.RecordBatch:
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


def _read_trees(model: TreesModel) -> list[dict[str, Any]]:
    """XGBoost's own JSON: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html"""
    learner = json.loads(model.booster.save_raw("json"))["learner"]
    booster, objective = learner["gradient_booster"], learner["objective"]["name"]
    if booster["name"] != "gbtree" or objective not in STARTS:
        raise ArtifactError(
            f"refused to publish: the macro knows gbtree with {', '.join(STARTS)}, not {booster['name']} with "
            f"{objective}"
        )
    trees = booster["model"]["trees"]
    if not trees or any(any(tree["split_type"]) for tree in trees):
        raise ArtifactError("refused to publish: the macro knows one or more trees, all of numeric splits")
    return trees


def _in_levels(trees: list[dict[str, Any]]) -> TreeNodes:
    """Lay out the nodes level by level. Slots: 1 to n default right, n + 1 to 2n default left, 2n + 1 always -inf."""
    order: list[tuple[int, int]] = []
    level = [(tree, 0) for tree in range(len(trees))]
    sides = ("left_children", "right_children")
    depth = -1
    while level:
        order += level
        depth += 1
        inner = [(tree, node) for tree, node in level if trees[tree]["left_children"][node] != -1]
        level = [(tree, trees[tree][side][node]) for tree, node in inner for side in sides]
    place = {key: index for index, key in enumerate(order)}
    inner = [(tree, node) for tree, node in order if trees[tree]["left_children"][node] != -1]
    columns = sorted({trees[tree]["split_indices"][node] for tree, node in inner})
    slot_of = {column: slot for slot, column in enumerate(columns, start=1)}
    slots = np.empty(len(order), np.int32)
    children = np.empty(len(order), np.int32)
    thresholds = np.array([trees[tree]["split_conditions"][node] for tree, node in order], np.float32)
    for index, (tree, node) in enumerate(order):
        left = trees[tree]["left_children"][node]
        if left == -1:
            slots[index], children[index] = 2 * len(columns) + 1, index + 2
        else:
            is_left_default = trees[tree]["default_left"][node]
            slots[index] = slot_of[trees[tree]["split_indices"][node]] + (len(columns) if is_left_default else 0)
            children[index] = place[tree, left] + 2
    if not np.isfinite(thresholds).all():
        raise ArtifactError("refused to publish: a threshold is not finite, and the macro would read it as missing")
    return TreeNodes(np.array(columns, np.int64), slots, thresholds, children, len(trees), depth, np.float32(0))


def _leaves(nodes: TreeNodes, values: np.ndarray) -> np.ndarray:
    """The walk of the macro in numpy: float32 [rows, trees]."""
    lowest = np.full((len(values), 1), -np.inf, np.float32)
    read = values[:, nodes.columns]
    right, left = (np.where(np.isnan(read), np.float32(fill), read) for fill in (np.inf, -np.inf))
    inputs = np.hstack([right, left, lowest])
    at = np.tile(np.arange(nodes.trees), (len(values), 1))
    for _ in range(nodes.depth):
        is_below = np.take_along_axis(inputs, nodes.slots[at] - 1, axis=1) < nodes.thresholds[at]
        at = nodes.children[at] - 1 - is_below
    return nodes.thresholds[at]


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
    infinity = np.float32(np.inf)
    around = np.concatenate([cuts, np.nextafter(cuts, infinity), np.nextafter(cuts, -infinity)])
    odd = np.array([0.0, -0.0, 1.0, -1e30, 1e30, np.inf, -np.inf, np.nan, np.nan], np.float32)
    return np.where(rng.random(PROBES) < 0.7, rng.choice(around, PROBES), rng.choice(odd, PROBES))
