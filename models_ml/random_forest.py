"""A random forest (scikit-learn): trees on rows drawn anew, side by side, and the mean of what they say.

Source: Breiman, "Random forests", Machine Learning 45, 2001.
"""

import io
import os
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from ibis_features import ArtifactError, Examples, FeatureSchema
from models_ml.encoding import MatrixColumn, dump_columns, fit_matrix_columns, load_columns
from models_ml.extras import check_extras
from models_ml.kinds import BINARY, Binary, Kind
from models_ml.matrix_rows import check_same, read_matrix
from models_ml.preconditions import Bounds, check_kind, check_params
from models_ml.trainer import Observe, Progress
from models_ml.tree_model import Pooling, WalkedModel
from models_ml.tree_table import Tree, TreeTable, below, joined, table_of

KINDS = ("binary", "regression")
DEFAULT_PARAMS: Mapping[str, Any] = {
    "n_estimators": 300,
    "max_depth": 8,
    "min_samples_leaf": None,  # by the number of training rows, see least_leaf_rows
    "max_features": 0.3,
    "max_samples": 0.6,
}
BOUNDS: Bounds = {
    "n_estimators": (1, 2_000),
    "max_depth": (1, 12),  # the SQL scorer takes a step for each level
    "min_samples_leaf": (1, 1_000_000),
    "max_features": (0.01, 1.0),
    "max_samples": (0.01, 1.0),
}
SPACE: Mapping[str, Mapping[str, Any]] = {
    "max_depth": {"low": 4, "high": 10},
    "min_samples_leaf": {"low": 2, "high": 200, "log": True},
    "max_features": {"low": 0.05, "high": 1.0},
    "max_samples": {"low": 0.2, "high": 1.0},
}
WARM_UP = 50
"""A small forest is worse than a large one, whatever its params."""
PARTS = ("trees.npz", "columns.json")
TREES_PER_REPORT = 10


def fit(
    train: Examples,
    validate: Examples,
    *,
    params: Mapping[str, Any],
    seed: int,
    class_weight: str | None,
    kind: Kind = BINARY,
    progress: Progress,
    observe: Observe | None = None,
    start: "ForestModel | None" = None,
) -> "ForestModel":
    """Grow trees on `train`; `validate` stops nothing: more trees do no harm. With `start` its trees stay, and as many
    grow on the new rows.

    All rows lie in memory as float32. Raises ConfigError where scikit-learn is not installed, on a kind that it does
    not learn here, a param out of bounds or a sequence feature, ExamplesError on labels that are all alike.
    """
    check_kind("random_forest", kind.name, KINDS)
    check_extras("random_forest")
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    if params["min_samples_leaf"] is None:
        params = {**params, "min_samples_leaf": least_leaf_rows(train.rows())}
    check_params("random_forest", params, BOUNDS)
    columns = start.columns if start else fit_matrix_columns("random_forest", train)
    weight = kind.row_weight(train, validate, class_weight)
    progress("reading", 0.0)
    rows, judged = (read_matrix(part, columns, kind, weight) for part in (train, validate))
    is_binary = isinstance(kind, Binary)
    family = RandomForestClassifier if is_binary else RandomForestRegressor
    settings = {name: value for name, value in params.items() if name != "n_estimators"}
    forest = family(**settings, n_estimators=0, random_state=seed, n_jobs=os.cpu_count() or 1, warm_start=True)
    tables, sums, most = [], np.zeros(len(judged.labels)), params["n_estimators"]
    for done in range(0, most, TREES_PER_REPORT):
        progress("training", done / most)
        forest.set_params(n_estimators=min(most, done + TREES_PER_REPORT))
        forest.fit(rows.values, rows.labels, sample_weight=rows.weights)
        tables.append(table_of([read_tree(grown.tree_, is_binary=is_binary) for grown in forest.estimators_[done:]]))
        for of_tree in tables[-1].values[tables[-1].leaves(judged.values)].T:
            sums += of_tree
        if observe is not None:
            observe(done, kind.loss(judged.labels, sums / len(forest.estimators_)))
    progress("training", 1.0)
    forest.set_params(n_jobs=1)  # threads would add up the trees in any order
    said = forest.predict_proba(judged.values)[:, 1] if is_binary else forest.predict(judged.values)
    check_same("random_forest", sums / most, said)
    trees = joined([start.trees, *tables] if start else tables)
    return ForestModel(trees, columns, train.schema, 0.5 / len(rows.labels) if is_binary else None)


def least_leaf_rows(rows: int) -> int:
    """The least rows of a leaf: 50 from 20,000 rows on, less where a few hundred rows have to be split."""
    return min(50, max(2, rows // 400))


def load(parts: Mapping[str, bytes], schema: FeatureSchema) -> "ForestModel":
    """Build a fitted model from the parts of `dump`; raises ArtifactError where they do not fit."""
    if set(parts) != set(PARTS):
        raise ArtifactError(
            f"a forest consists of {', '.join(PARTS)}, found {', '.join(parts) or 'nothing'}; train anew"
        )
    try:
        columns = load_columns(parts["columns.json"])
        with np.load(io.BytesIO(parts["trees.npz"]), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        least = float(found.pop("least"))
        trees = TreeTable(**found)
        if any(found[name].dtype != kind for name, kind in DTYPES.items()):
            raise ValueError("arrays of other types")
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ArtifactError("the forest cannot be read; the artifact is damaged: train anew") from error
    if not (np.isnan(least) or 0 < least < 0.5):
        raise ArtifactError("the forest has no bounds of its probability; the artifact is damaged: train anew")
    return ForestModel(trees, columns, schema, None if np.isnan(least) else least)


class ForestModel(WalkedModel):
    """A fitted forest. least: how near its probability may come to 0 and to 1, half a training row; None where it says
    amounts.
    """

    def __init__(
        self, trees: TreeTable, columns: tuple[MatrixColumn, ...], schema: FeatureSchema, least: float | None
    ) -> None:
        super().__init__(trees, columns, schema, Pooling(len(trees.roots), least))

    def dump(self) -> dict[str, bytes]:
        buffer = io.BytesIO()
        least = np.float64(np.nan if self.pooling.least is None else self.pooling.least)
        np.savez(buffer, least=least, **{field.name: getattr(self.trees, field.name) for field in fields(TreeTable)})
        return {"trees.npz": buffer.getvalue(), "columns.json": dump_columns(self.columns)}


DTYPES = {
    **dict.fromkeys(("roots", "children", "columns"), np.int64),
    **dict.fromkeys(("values", "weights", "gains"), np.float64),
    **{"thresholds": np.float32, "is_left_default": np.bool_},
}
"""The types of the arrays of a TreeTable."""


def read_tree(grown: Any, *, is_binary: bool) -> Tree:
    """A `tree_` of scikit-learn: https://scikit-learn.org/stable/auto_examples/tree/plot_unveil_tree_structure.html"""
    is_inner = grown.children_left != -1
    left, right = grown.children_left, grown.children_right
    thresholds = np.where(is_inner, grown.threshold, 0.0)
    thresholds, is_left_default, is_turned = below(thresholds, grown.missing_go_to_left.astype(bool))
    weights = grown.weighted_n_node_samples
    impurities = weights * grown.impurity
    return Tree(
        left=np.where(is_turned, right, left),
        right=np.where(is_turned, left, right),
        columns=grown.feature,
        thresholds=thresholds,
        is_left_default=is_left_default,
        values=grown.value[:, 0, 1 if is_binary else 0],
        weights=weights,
        gains=np.where(is_inner, impurities - impurities[left] - impurities[right], 0.0),
    )
