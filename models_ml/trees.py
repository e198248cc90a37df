"""Gradient-boosted trees (XGBoost) for a binary label.

Source: Chen and Guestrin, "XGBoost: A Scalable Tree Boosting System", https://arxiv.org/abs/1603.02754.
"""

import json
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibis_features import ArtifactError, Examples, FeatureSchema
from ibis_features.examples import LABEL
from models_ml.encoding import MatrixColumn, columns_from_json, columns_to_json, fit_matrix_columns, matrix
from models_ml.preconditions import Bounds, check_params, positive_weight
from models_ml.trainer import Progress

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
PARTS = ("model.ubj", "columns.json")
ROUNDS_PER_REPORT = 10
LEAST_MARGIN = -700.0
"""Below it the probability is 0 as float32 anyway, and exp would overflow."""


def fit(
    train: Examples,
    validate: Examples,
    *,
    params: Mapping[str, Any],
    seed: int,
    class_weight: str | None,
    progress: Progress,
) -> "TreesModel":
    """Boost trees on `train` until the log loss on `validate` has stopped falling; keep the rounds up to its least.

    The rows pass through memory in batches and stay there as bins of one byte or two, not as floats.
    Raises ConfigError on a param out of bounds or a sequence feature, ExamplesError on labels of one kind only.
    """
    import xgboost

    if params["min_child_weight"] is None:
        params = {**params, "min_child_weight": least_leaf_weight(train.rows())}
    check_params("xgboost", params, BOUNDS)
    columns = fit_matrix_columns(train)
    weight = positive_weight(train, validate, class_weight)
    threads = os.cpu_count() or 1
    progress("reading", 0.0)
    quantiles = {"max_bin": params["max_bin"], "nthread": threads}
    train_bins = xgboost.QuantileDMatrix(_batch_source(train, columns, weight), **quantiles)
    validate_bins = xgboost.QuantileDMatrix(_batch_source(validate, columns, weight), ref=train_bins, **quantiles)
    settings = {name: value for name, value in params.items() if name not in ("n_estimators", "early_stopping_rounds")}
    booster = xgboost.train(
        {
            **settings,
            "objective": "binary:logistic",
            "eval_metric": "logloss",
            "tree_method": "hist",
            "nthread": threads,
            "seed": seed,
            "verbosity": 0,
        },
        train_bins,
        num_boost_round=params["n_estimators"],
        evals=[(validate_bins, "validate")],
        early_stopping_rounds=params["early_stopping_rounds"],
        verbose_eval=False,
        callbacks=[_reporter(progress, params["n_estimators"])],
    )
    progress("training", 1.0)
    return TreesModel(booster[: booster.best_iteration + 1], columns, train.schema)


def least_leaf_weight(rows: int) -> float:
    """The least sum of hessians in a leaf: 50 from 20,000 rows on, less where a few hundred rows have to be split."""
    return min(50.0, max(1.0, rows / 400))


def load(parts: Mapping[str, bytes], schema: FeatureSchema) -> "TreesModel":
    """Build a fitted model from the parts of `dump`; raises ArtifactError where they do not fit."""
    import xgboost

    if set(parts) != set(PARTS):
        raise ArtifactError(f"trees consist of {', '.join(PARTS)}, found {', '.join(parts) or 'nothing'}; train anew")
    try:
        columns = columns_from_json(json.loads(parts["columns.json"]))
        booster = xgboost.Booster(model_file=bytearray(parts["model.ubj"]))
    except (ValueError, KeyError, TypeError, xgboost.core.XGBoostError) as error:
        raise ArtifactError("the trees cannot be read; the artifact is damaged: train anew") from error
    if booster.num_features() != len(columns) or not {c.feature for c in columns} <= set(schema.names):
        raise ArtifactError("the trees do not fit the columns of the feature schema; train anew")
    return TreesModel(booster, columns, schema)


class TreesModel:
    """Fitted trees. `columns` says what the booster's features f0, f1, … are.

    A score is `1 / (1 + exp(-margin))`: a float32 margin, a probability computed as float64 with the C library's
    exp, as DuckDB does it, and rounded to float32, so that SQL gets the same bits.
    """

    def __init__(self, booster: "xgboost.Booster", columns: tuple[MatrixColumn, ...], schema: FeatureSchema) -> None:
        self.booster = booster
        self.columns = columns
        self.schema = schema
        booster.set_param({"nthread": 1})  # DuckDB calls from several threads, with at most 2,048 rows
        self._margin(np.zeros((1, len(columns)), np.float32))  # the first call configures; later ones only read

    def predict(self, batch: pa.RecordBatch) -> np.ndarray:
        """The probability of a true label, float32 [rows]."""
        exponents = -np.maximum(self.margin(batch).astype(np.float64), LEAST_MARGIN)
        # Arrow's exp is the C library's; numpy's own differs from it in the last bit on some machines.
        odds_against = pc.exp(pa.array(exponents)).to_numpy()
        return (1.0 / (1.0 + odds_against)).astype(np.float32)

    def margin(self, batch: pa.RecordBatch) -> np.ndarray:
        """The log-odds of a true label, float32 [rows]."""
        if not batch.num_rows:
            return np.empty(0, np.float32)
        return self._margin(matrix(batch, self.columns))

    def dump(self) -> dict[str, bytes]:
        columns = json.dumps(columns_to_json(self.columns), ensure_ascii=False)
        return {"model.ubj": bytes(self.booster.save_raw("ubj")), "columns.json": columns.encode()}

    def importance(self) -> dict[str, float]:
        """Each feature's share of the total gain; empty where no tree splits."""
        gains = {column.feature: 0.0 for column in self.columns}
        for key, gain in self.booster.get_score(importance_type="total_gain").items():
            gains[self.columns[int(key.removeprefix("f"))].feature] += float(gain)  # type: ignore[arg-type]
        total = sum(gains.values())
        return {name: gains[name] / total for name in sorted(gains, key=lambda n: -gains[n])} if total else {}

    def _margin(self, values: np.ndarray) -> np.ndarray:
        return self.booster.inplace_predict(values, predict_type="margin", missing=np.nan, validate_features=False)


def _batch_source(examples: Examples, columns: tuple[MatrixColumn, ...], weight: float) -> "xgboost.DataIter":
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
            label = batch.column(LABEL).to_numpy(zero_copy_only=False)
            # Weights rather than scale_pos_weight: early stopping then judges by the same weights.
            weights = np.where(label == 1, np.float32(weight), np.float32(1))
            input_data(data=matrix(batch, columns), label=label, weight=weights)
            return True

    return BatchSource()


def _reporter(progress: Progress, rounds: int) -> "xgboost.callback.TrainingCallback":
    import xgboost

    class Reporter(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            if epoch % ROUNDS_PER_REPORT == 0:
                progress("training", epoch / rounds)
            return False

    return Reporter()
