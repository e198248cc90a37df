"""Gradient-boosted trees that grow leaf by leaf (LightGBM).

Source: Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NIPS 2017.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ibis_features import ArtifactError, Examples, FeatureSchema
from models_ml.encoding import MatrixColumn, dump_columns, fit_matrix_columns, load_columns
from models_ml.extras import check_extras
from models_ml.kinds import BINARY, Kind, lists_of
from models_ml.matrix_rows import MatrixRows, check_same, read_matrix
from models_ml.preconditions import Bounds, check_kind, check_params
from models_ml.trainer import Observe, Progress
from models_ml.tree_model import Pooling, WalkedModel
from models_ml.tree_table import Tree, TreeTable, below, table_of

DEFAULT_PARAMS: Mapping[str, Any] = {
    "n_estimators": 1000,  # at most; early stopping decides
    "num_leaves": 8,  # snapshots of one user are alike: small, much regularised trees carry further
    "max_depth": 6,
    "learning_rate": 0.05,
    "min_data_in_leaf": None,  # by the number of training rows, see least_leaf_rows
    "bagging_fraction": 0.6,
    "feature_fraction": 0.3,
    "lambda_l2": 10.0,
    "lambda_l1": 0.0,
    "min_gain_to_split": 0.0,
    "max_bin": 255,
    "early_stopping_rounds": 40,
}
TWEEDIE_POWER = 1.5
OBJECTIVES: Mapping[str, Mapping[str, Any]] = {
    "binary": {"objective": "binary", "metric": "binary_logloss"},
    "regression": {"objective": "regression", "metric": "rmse"},
    "value": {"objective": "tweedie", "tweedie_variance_power": TWEEDIE_POWER, "metric": "tweedie"},
    "ranking": {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [10],
        "label_gain": [2**g - 1 for g in range(32)],
    },
}
"""What is minimised for each kind of label, and what early stopping goes by."""
KINDS = tuple(OBJECTIVES)
BOUNDS: Bounds = {
    "n_estimators": (1, 10_000),
    "num_leaves": (2, 256),
    "max_depth": (1, 8),  # the SQL scorer takes a step for each level
    "learning_rate": (1e-4, 1.0),
    "min_data_in_leaf": (1, 1_000_000),
    "bagging_fraction": (0.05, 1.0),
    "feature_fraction": (0.05, 1.0),
    "lambda_l2": (0.0, 1e6),
    "lambda_l1": (0.0, 1e6),
    "min_gain_to_split": (0.0, 1e6),
    "max_bin": (2, 1024),
    "early_stopping_rounds": (1, 10_000),
}
SPACE: Mapping[str, Mapping[str, Any]] = {
    "num_leaves": {"low": 4, "high": 64, "log": True},
    "learning_rate": {"low": 0.02, "high": 0.3, "log": True},
    "min_data_in_leaf": {"low": 5, "high": 1000, "log": True},
    "bagging_fraction": {"low": 0.4, "high": 1.0},
    "feature_fraction": {"low": 0.1, "high": 1.0},
    "lambda_l2": {"low": 0.1, "high": 100.0, "log": True},
}
WARM_UP = 100
"""A small learning rate looks worse than a large one in its first rounds."""
PARTS = ("model.txt", "columns.json")
ROUNDS_PER_REPORT = 10
CATEGORICAL, DEFAULT_LEFT, MISSING = 1, 2, 3 << 2
"""The bits of `decision_type`; https://github.com/microsoft/LightGBM/blob/master/include/LightGBM/tree.h"""
MISSING_AS_ZERO, MISSING_IS_NAN = 0, 2 << 2
ZERO = np.float32(1e-35)


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
    start: "LightGbmModel | None" = None,
) -> "LightGbmModel":
    """Boost trees on `train` until the loss on `validate`, of a ranking minus its NDCG, has stopped falling; keep the
    rounds up to its least. With `start` more rounds follow its own.

    All rows lie in memory as float32. Raises ConfigError where LightGBM is not installed, on a kind that it does not
    learn here, a param out of bounds or a sequence feature, ExamplesError on labels that are all alike.
    """
    check_kind("lightgbm", kind.name, KINDS)
    check_extras("lightgbm")
    import lightgbm

    if params["min_data_in_leaf"] is None:
        params = {**params, "min_data_in_leaf": least_leaf_rows(train.rows())}
    check_params("lightgbm", params, BOUNDS)
    columns = start.columns if start else fit_matrix_columns("lightgbm", train)
    weight = kind.row_weight(train, validate, class_weight)
    progress("reading", 0.0)
    rows, stopping = (read_matrix(part, columns, kind, weight) for part in (train, validate))
    settings = {name: value for name, value in params.items() if name not in ("n_estimators", "early_stopping_rounds")}
    settings |= {
        **OBJECTIVES[kind.name],
        **{"bagging_freq": 1, "seed": seed, "deterministic": True, "force_row_wise": True},
        **{"num_threads": os.cpu_count() or 1, "verbosity": -1},
    }
    data = lightgbm.Dataset(**_given(rows, train), params=settings, free_raw_data=False)
    patience = lightgbm.early_stopping(params["early_stopping_rounds"], verbose=False)
    booster = lightgbm.train(
        settings,
        data,
        num_boost_round=params["n_estimators"],
        valid_sets=[lightgbm.Dataset(**_given(stopping, validate), reference=data, free_raw_data=False)],
        init_model=lightgbm.Booster(model_str=start.text) if start else None,
        callbacks=[_reporter(progress, observe, params["n_estimators"], sign=-1 if kind.has_items else 1), patience],
    )
    progress("training", 1.0)
    text = booster.model_to_string(num_iteration=booster.best_iteration)
    model = LightGbmModel(without_parameters(text), columns, train.schema)
    raw = booster.predict(stopping.values, raw_score=True, num_iteration=booster.best_iteration)
    check_same("lightgbm", model.trees.sums(stopping.values), np.asarray(raw))
    return model


def least_leaf_rows(rows: int) -> int:
    """The least rows of a leaf: 200 from 20,000 rows on, less where a few hundred rows have to be split."""
    return min(200, max(5, rows // 100))


def load(parts: Mapping[str, bytes], schema: FeatureSchema) -> "LightGbmModel":
    """Build a fitted model from the parts of `dump`; raises ArtifactError where they do not fit."""
    if set(parts) != set(PARTS):
        raise ArtifactError(f"trees consist of {', '.join(PARTS)}, found {', '.join(parts) or 'nothing'}; train anew")
    try:
        columns, text = load_columns(parts["columns.json"]), parts["model.txt"].decode()
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError("the trees cannot be read; the artifact is damaged: train anew") from error
    return LightGbmModel(text, columns, schema)


class LightGbmModel(WalkedModel):
    """Trees that LightGBM has fitted. `text` is its own text of them, without the parameters."""

    def __init__(self, text: str, columns: tuple[MatrixColumn, ...], schema: FeatureSchema) -> None:
        super().__init__(read_trees(text), columns, schema, Pooling())
        self.text = text

    def dump(self) -> dict[str, bytes]:
        return {"model.txt": self.text.encode(), "columns.json": dump_columns(self.columns)}


def without_parameters(text: str) -> str:
    """A model in LightGBM's text without what it was trained with, such as the number of threads."""
    return text.partition("\nparameters:")[0]


def read_trees(text: str) -> TreeTable:
    """The trees of a model in LightGBM's text; raises ArtifactError where they cannot be read, or split otherwise than
    by numbers.
    """
    header, *sections = text.partition("\nend of trees")[0].split("\nTree=")
    try:
        if lines_of(header).get("num_tree_per_iteration") != "1" or "\naverage_output" in header or not sections:
            raise ArtifactError("one tree a round is known, and their sum; train anew")
        return table_of([_tree(lines_of(section)) for section in sections])
    except (ValueError, KeyError, IndexError) as error:
        raise ArtifactError("the trees cannot be read; the artifact is damaged: train anew") from error


def lines_of(section: str) -> dict[str, str]:
    """The `key=value` of a section of LightGBM's text."""
    pairs = (line.partition("=") for line in section.splitlines())
    return {key: value for key, _, value in pairs}


def _tree(lines: Mapping[str, str]) -> Tree:
    """Inner nodes first, then leaves, as they are numbered."""
    leaves = int(lines["num_leaves"])
    inner = leaves - 1

    def read(name: str, kind: type, count: int) -> np.ndarray:
        values: np.ndarray = np.array(lines.get(name, "").split(), kind) if count else np.empty(0, kind)
        if values.shape != (count,):
            raise ValueError(f"{name} has {len(values)} values, not {count}")
        return values

    decisions = read("decision_type", np.int64, inner)
    if lines.get("is_linear", "0") != "0" or (decisions & CATEGORICAL).any():
        raise ArtifactError("splits of numbers are known, and leaves that are numbers; train anew")
    missing, thresholds = decisions & MISSING, read("threshold", np.float64, inner)
    if not np.isin(missing, (MISSING_AS_ZERO, MISSING_IS_NAN)).all():
        raise ArtifactError("zeros that count as missing (zero_as_missing) are not known; train anew")
    # Where the training rows missed no value, LightGBM reads a missing one as 0.
    is_left = np.where(missing == MISSING_IS_NAN, (decisions & DEFAULT_LEFT) != 0, thresholds >= 0.0)
    # A value of no more than ZERO is read as 0, and goes where 0 goes.
    beside_zero = np.where(thresholds < 0, float(np.nextafter(-ZERO, np.float32(-1))), float(ZERO))
    thresholds = np.where(np.abs(thresholds) <= ZERO, beside_zero, thresholds)
    thresholds32, is_left, is_turned = below(thresholds, is_left)
    sides = [read(name, np.int64, inner) for name in ("left_child", "right_child")]
    left, right = (np.where(side < 0, inner - 1 - side, side) for side in sides)
    blank, ends = np.zeros(leaves), np.full(leaves, -1)
    # Of a tree that never splits no rows are counted.
    counts = [
        read(f"{what}_count", np.float64, n) for what, n in (("internal", inner), ("leaf", leaves if inner else 0))
    ]
    return Tree(
        left=np.concatenate([np.where(is_turned, right, left), ends]),
        right=np.concatenate([np.where(is_turned, left, right), ends]),
        columns=np.concatenate([read("split_feature", np.int64, inner), ends]),
        thresholds=np.concatenate([thresholds32, blank.astype(np.float32)]),
        is_left_default=np.concatenate([is_left, blank.astype(bool)]),
        values=np.concatenate([np.zeros(inner), read("leaf_value", np.float64, leaves)]),
        weights=np.concatenate([*counts, np.ones(0 if inner else 1)]),
        gains=np.concatenate([read("split_gain", np.float64, inner), blank]),
    )


def _given(rows: MatrixRows, examples: Examples) -> dict[str, Any]:
    """The arguments of `Dataset`. The rows of a list stand together."""
    given = {"data": rows.values, "label": rows.labels, "weight": rows.weights}
    lists = lists_of(examples)
    return given if lists is None else {**given, "group": np.unique(lists.groups, return_counts=True)[1]}


def _reporter(progress: Progress, observe: Observe | None, rounds: int, *, sign: int) -> Any:
    """sign: by which the metric of early stopping becomes a loss."""

    def report(env: Any) -> None:
        done = env.iteration - env.begin_iteration
        if done % ROUNDS_PER_REPORT == 0:
            progress("training", done / rounds)
        if observe is not None:
            observe(done, sign * env.evaluation_result_list[0][2])

    return report
