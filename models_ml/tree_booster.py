"""Trees of any library as a booster of XGBoost, which walks through them faster than arrays do.

Its JSON is documented: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html
"""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from models_ml.tree_table import TreeTable

if TYPE_CHECKING:
    import xgboost

NO_PARENT = 2**31 - 1


def as_booster(trees: TreeTable, columns: int, *, base_score: str = "0E0") -> "xgboost.Booster":
    """A booster with these trees over so many columns; leaves are float32 there.

    base_score: what the margin starts from, as XGBoost spells it.
    """
    import xgboost

    ends = [*trees.roots[1:].tolist(), len(trees.children)]
    counts = [end - root for root, end in zip(trees.roots.tolist(), ends, strict=True)]
    model = {
        "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
        "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(counts))},
        "iteration_indptr": list(range(len(counts) + 1)),
        "tree_info": [0] * len(counts),
        "trees": [
            _tree(trees, number, root, count, columns)
            for number, (root, count) in enumerate(zip(trees.roots.tolist(), counts, strict=True))
        ],
    }
    learner = {
        "attributes": {},
        "feature_names": [],
        "feature_types": [],
        "gradient_booster": {"model": model, "name": "gbtree"},
        "learner_model_param": {
            **{"base_score": f"[{base_score}]", "boost_from_average": "0"},
            **{"num_class": "0", "num_feature": str(columns), "num_target": "1"},
        },
        "objective": {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}},
    }
    content = json.dumps({"learner": learner, "version": [3, 0, 0]}).encode()
    return xgboost.Booster({"nthread": 1}, model_file=bytearray(content))


def _tree(trees: TreeTable, number: int, root: int, count: int, columns: int) -> dict[str, Any]:
    own = slice(root, root + count)
    is_leaf = trees.is_leaf[own]
    left = trees.children[own] - root
    parents = np.full(count, NO_PARENT)
    parents[left[~is_leaf]] = parents[left[~is_leaf] + 1] = np.flatnonzero(~is_leaf)
    nothing: dict[str, Any] = {f"categories{what}": [] for what in ("", "_nodes", "_segments", "_sizes")}
    counts = {"num_deleted": 0, "num_feature": columns, "num_nodes": count, "size_leaf_vector": 1}
    return {
        **nothing,
        "id": number,
        "left_children": np.where(is_leaf, -1, left).tolist(),
        "right_children": np.where(is_leaf, -1, left + 1).tolist(),
        "parents": parents.tolist(),
        "split_indices": trees.columns[own].tolist(),
        "split_conditions": np.where(is_leaf, trees.values[own], trees.thresholds[own]).tolist(),
        "split_type": [0] * count,
        "default_left": trees.is_left_default[own].astype(int).tolist(),
        "base_weights": np.where(is_leaf, trees.values[own], 0.0).tolist(),
        "loss_changes": trees.gains[own].tolist(),
        "sum_hessian": trees.weights[own].tolist(),
        "tree_param": {name: str(value) for name, value in counts.items()},
    }
