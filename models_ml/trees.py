"""Gradient-boosted trees (XGBoost).

Source: Chen and Guestrin, "XGBoost: A Scalable Tree Boosting System", https://arxiv.org/abs/1603.02754.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibis_features import ArtifactError, Examples, FeatureSchema
from ibis_features.examples import LABEL
from models_ml.class_rows import known_classes, true_rows, without_class
from models_ml.encoding import MatrixColumn, dump_columns, fit_matrix_columns, load_columns, matrix
from models_ml.kinds import BINARY, Binary, Kind, Multiclass, Ranking, TimeToEvent, lists_of
from models_ml.kinds.times import LEAST_DAYS
from models_ml.preconditions import Bounds, check_params
from models_ml.trainer import Observe, Progress
from models_ml.tree_model import TreeModel
from models_ml.tree_table import Tree, TreeTable, table_of

if TYPE_CHECKING:
    import xgboost

DEFAULT_PARAMS: Mapping[str, Any] = {
    "n_estimators": 1000,  # at most; early stopping decides
    "max_depth": 3,  # snapshots of one user are alike: shallow, much regularised trees carry further
    "eta": 0.05,
    "min_child_weight": None,  # by the number of training rows, see least_leaf_weight
    "subsample": 0.6,
    "colsample_bytree": 0.3,
    "reg_lambda": 10.0,
    "reg_alpha": 0.0,
    "gamma": 0.0,
    "max_bin": 256,
    "early_stopping_rounds": 40,
}
TWEEDIE_POWER = 1.5
OBJECTIVES: Mapping[str, Mapping[str, Any]] = {
    "binary": {"objective": "binary:logistic", "eval_metric": "logloss"},
    "multiclass": {"objective": "multi:softprob", "eval_metric": "mlogloss"},
    "regression": {"objective": "reg:squarederror", "eval_metric": "rmse"},
    "value": {
        "objective": "reg:tweedie",
        "tweedie_variance_power": TWEEDIE_POWER,
        "eval_metric": f"tweedie-nloglik@{TWEEDIE_POWER}",
    },
    "time_to_event": {
        "objective": "survival:aft",
        "eval_metric": "aft-nloglik",
        "aft_loss_distribution": "logistic",
        "aft_loss_distribution_scale": 1.0,
    },
    "ranking": {"objective": "rank:ndcg", "eval_metric": "ndcg@10-"},
}
"""What is minimised for each kind of label, and what early stopping goes by.

The minus lets a list without a relevant item count as 0: one that cannot be put in order is no success.
"""
KINDS = tuple(OBJECTIVES)
BOUNDS: Bounds = {
    "n_estimators": (1, 10_000),
    "max_depth": (1, 8),  # the SQL scorer holds every tree as a full heap of 2 ** max_depth leaves
    "eta": (1e-4, 1.0),
    "min_child_weight": (0.0, 1e6),
    "subsample": (0.05, 1.0),
    "colsample_bytree": (0.05, 1.0),
    "reg_lambda": (0.0, 1e6),
    "reg_alpha": (0.0, 1e6),
    "gamma": (0.0, 1e6),
    "max_bin": (2, 1024),
    "early_stopping_rounds": (1, 10_000),
}
SPACE: Mapping[str, Mapping[str, Any]] = {
    "max_depth": {"low": 2, "high": 6},
    "eta": {"low": 0.02, "high": 0.3, "log": True},
    "min_child_weight": {"low": 1.0, "high": 200.0, "log": True},
    "subsample": {"low": 0.4, "high": 1.0},
    "colsample_bytree": {"low": 0.1, "high": 1.0},
    "reg_lambda": {"low": 0.1, "high": 100.0, "log": True},
}
WARM_UP = 100
"""A small eta looks worse than a large one in its first rounds."""
PARTS = ("model.ubj", "columns.json")
ROUNDS_PER_REPORT = 10


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
    start: "TreesModel | None" = None,
) -> "TreesModel":
    """Boost trees on `train` until the loss on `validate`, of a ranking minus its NDCG, has stopped falling; keep the
    rounds up to its least.

    Of classes the trees learn from the rows that hold an entity's own, and give a margin for each class.

    The rows pass through memory in batches and stay there as bins of one byte or two, not as floats. With `start` they
    are floats: more rounds follow its own, whose trees split between the bins of other rows.
    Raises ConfigError on a param out of bounds or a sequence feature, ExamplesError on labels that are all alike.
    """
    import xgboost

    weight = kind.row_weight(train, validate, class_weight)
    schema = train.schema
    classes: tuple[str, ...] = ()
    if isinstance(kind, Multiclass):
        classes = known_classes(train)
        train, validate = (_of_classes(rows, classes) for rows in (train, validate))
    if params["min_child_weight"] is None:
        params = {**params, "min_child_weight": least_leaf_weight(train.rows())}
    check_params("xgboost", params, BOUNDS)
    columns = start.columns if start else fit_matrix_columns("xgboost", Examples(train.table, without_class(schema)))
    given = _Given(columns, kind, weight, schema.item, classes)
    threads = os.cpu_count() or 1
    progress("reading", 0.0)
    if start:
        train_rows, validate_rows = (_floats(rows, given, threads) for rows in (train, validate))
    else:
        quantiles = {"max_bin": params["max_bin"], "nthread": threads}
        train_rows = xgboost.QuantileDMatrix(_batch_source(train, given), **quantiles)
        validate_rows = xgboost.QuantileDMatrix(_batch_source(validate, given), ref=train_rows, **quantiles)
    for rows, examples in ((train_rows, train), (validate_rows, validate)):
        # Given batch by batch, XGBoost 3.2 would cut a list in two that goes on in the next batch.
        if isinstance(kind, Ranking) and (lists := lists_of(examples)):
            rows.set_info(qid=lists.groups)
    settings = {name: value for name, value in params.items() if name not in ("n_estimators", "early_stopping_rounds")}
    booster = xgboost.train(
        {
            **settings,
            **OBJECTIVES[kind.name],
            **_start(kind, train),
            **({"num_class": len(classes)} if classes else {}),
            "tree_method": "hist",
            "nthread": threads,
            "seed": seed,
            "verbosity": 0,
        },
        train_rows,
        num_boost_round=params["n_estimators"],
        evals=[(validate_rows, "validate")],
        early_stopping_rounds=params["early_stopping_rounds"],
        verbose_eval=False,
        callbacks=[_reporter(progress, observe, params["n_estimators"], sign=-1 if isinstance(kind, Ranking) else 1)],
        xgb_model=start.booster if start else None,
    )
    progress("training", 1.0)
    return TreesModel(booster[: booster.best_iteration + 1], columns, schema)


def least_leaf_weight(rows: int) -> float:
    """The least sum of hessians in a leaf: 50 from 20,000 rows on, less where a few hundred rows have to be split."""
    return min(50.0, max(1.0, rows / 400))


def load(parts: Mapping[str, bytes], schema: FeatureSchema) -> "TreesModel":
    """Build a fitted model from the parts of `dump`; raises ArtifactError where they do not fit."""
    import xgboost

    if set(parts) != set(PARTS):
        raise ArtifactError(f"trees consist of {', '.join(PARTS)}, found {', '.join(parts) or 'nothing'}; train anew")
    try:
        columns = load_columns(parts["columns.json"])
        booster = xgboost.Booster(model_file=bytearray(parts["model.ubj"]))
    except (ValueError, KeyError, TypeError, xgboost.core.XGBoostError) as error:
        raise ArtifactError("the trees cannot be read; the artifact is damaged: train anew") from error
    if booster.num_features() != len(columns) or not {c.feature for c in columns} <= set(schema.names):
        raise ArtifactError("the trees do not fit the columns of the feature schema; train anew")
    return TreesModel(booster, columns, schema)


class TreesModel(TreeModel):
    """Trees that XGBoost has fitted. `columns` says what the booster's features f0, f1, … are."""

    def __init__(self, booster: "xgboost.Booster", columns: tuple[MatrixColumn, ...], schema: FeatureSchema) -> None:
        super().__init__(columns, schema)
        self.booster = booster
        booster.set_param({"nthread": 1})  # DuckDB calls from several threads, with at most 2,048 rows
        self.margins(np.zeros((1, len(columns)), np.float32))  # the first call configures; later ones only read

    @cached_property
    def trees(self) -> TreeTable:
        return read_trees(self.booster.save_raw("json"))

    @property
    def walker(self) -> "xgboost.Booster":
        return self.booster

    def dump(self) -> dict[str, bytes]:
        return {"model.ubj": bytes(self.booster.save_raw("ubj")), "columns.json": dump_columns(self.columns)}

    def _gains(self) -> Mapping[int, float]:
        gains = self.booster.get_score(importance_type="total_gain")
        return {int(key.removeprefix("f")): float(gain) for key, gain in gains.items()}  # type: ignore[arg-type]

    def margins(self, values: np.ndarray) -> np.ndarray:
        """The margins of a matrix, float32 [rows, columns]: float32 [rows], of classes [rows, classes]."""
        return self.booster.inplace_predict(values, predict_type="margin", missing=np.nan, validate_features=False)


def read_trees(content: bytes | bytearray) -> TreeTable:
    """The trees of XGBoost's own JSON: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html

    Raises ArtifactError where there is none, or a split by categories; ValueError, LookupError or TypeError where it is
    no such JSON.
    """
    found = json.loads(content)["learner"]["gradient_booster"]["model"]["trees"]
    if not found or any(any(tree["split_type"]) for tree in found):
        raise ArtifactError("one or more trees are known, all of numeric splits; train anew")
    return table_of([_tree(tree) for tree in found])


def _tree(found: Mapping[str, Any]) -> Tree:
    conditions = np.array(found["split_conditions"], np.float32)
    return Tree(
        left=np.array(found["left_children"]),
        right=np.array(found["right_children"]),
        columns=np.array(found["split_indices"]),
        thresholds=conditions,
        is_left_default=np.array(found["default_left"], bool),
        values=conditions,
        weights=np.array(found["sum_hessian"], np.float64),
        gains=np.array(found["loss_changes"], np.float64),
    )


@dataclass(frozen=True)
class _Given:
    """How rows go to XGBoost. weight: what a true label weighs against a false one. item: the column of the classes."""

    columns: tuple[MatrixColumn, ...]
    kind: Kind
    weight: float
    item: str | None = None
    classes: tuple[str, ...] = ()

    def rows(self, batch: pa.RecordBatch) -> dict[str, np.ndarray]:
        """The arguments of `DMatrix`."""
        label = batch.column(LABEL).to_numpy(zero_copy_only=False)
        data = matrix(batch, self.columns)
        if isinstance(self.kind, Multiclass):
            codes = pc.index_in(batch.column(self.item), pa.array(self.classes, pa.string()))
            return {"data": data, "label": codes.to_numpy(zero_copy_only=False).astype(np.float32)}
        if isinstance(self.kind, TimeToEvent):
            # Of an event that has not come within the horizon only that is known.
            lower = np.maximum(np.minimum(label, self.kind.horizon_days), np.float32(LEAST_DAYS))
            upper = np.where(label < self.kind.horizon_days, lower, np.float32(np.inf))
            return {"data": data, "label_lower_bound": lower, "label_upper_bound": upper}
        if not isinstance(self.kind, Binary):
            return {"data": data, "label": label}
        # Weights rather than scale_pos_weight: early stopping then judges by the same weights.
        return {"data": data, "label": label, "weight": np.where(label == 1, np.float32(self.weight), np.float32(1))}


def _of_classes(examples: Examples, classes: tuple[str, ...]) -> Examples:
    """The rows whose class is an entity's own, as long as it is one of these."""
    own = true_rows(examples)
    return Examples(own.table.filter(own.table[own.schema.item].isin(classes)), own.schema)


def _start(kind: Kind, train: Examples) -> dict[str, float]:
    """Where the trees of amounts and times start from: the mean label; XGBoost's own choice is far off for times.

    Where the scores of a list start from is no matter to their order; those of classes start from their shares.
    """
    if isinstance(kind, Binary | Multiclass):
        return {}
    if isinstance(kind, Ranking):
        return {"base_score": 0.0}
    mean = float(train.table[train.schema.label].cast("float64").mean().execute())
    return {"base_score": max(mean, LEAST_DAYS) if isinstance(kind, TimeToEvent) else mean}


def _batch_source(examples: Examples, given: _Given) -> "xgboost.DataIter":
    """The examples as XGBoost reads them: several passes, one batch in memory at a time."""
    import xgboost

    class BatchSource(xgboost.DataIter):
        def __init__(self) -> None:
            self.batches: Iterator[pa.RecordBatch] = iter(())
            super().__init__()

        def reset(self) -> None:
            self.batches = examples.batches()

        def next(self, input_data: Any) -> bool:
            batch = next(self.batches, None)
            if batch is None:
                return False
            input_data(**given.rows(batch))
            return True

    return BatchSource()


def _floats(examples: Examples, given: _Given, threads: int) -> "xgboost.DMatrix":
    """All rows at once, as floats."""
    import xgboost

    batches = [given.rows(batch) for batch in examples.batches()]
    whole = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    return xgboost.DMatrix(**whole, missing=np.nan, nthread=threads)


def _reporter(
    progress: Progress, observe: Observe | None, rounds: int, *, sign: int
) -> "xgboost.callback.TrainingCallback":
    """sign: by which the metric of early stopping becomes a loss."""
    import xgboost

    class Reporter(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            if epoch % ROUNDS_PER_REPORT == 0:
                progress("training", epoch / rounds)
            if observe is not None:
                [losses] = evals_log["validate"].values()
                observe(epoch, sign * losses[-1])
            return False

    return Reporter()
