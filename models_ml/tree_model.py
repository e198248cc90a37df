"""What fitted trees of all libraries have alike: the matrix that they read, their margin, contributions and gains."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibis_features import ArtifactError, FeatureSchema
from models_ml.calibration import probabilities
from models_ml.encoding import MatrixColumn, matrix
from models_ml.tree_booster import as_booster
from models_ml.tree_shap import TreeShap, tabulate
from models_ml.tree_table import TreeTable, check_trees

if TYPE_CHECKING:
    import xgboost

LEAST_MOVE = 1e-9
"""Nearer to the base than this, the slope of the log-odds is taken at the base."""


@dataclass(frozen=True)
class Pooling:
    """How the sum of a row's leaves becomes its margin.

    divisor: of the sum; the number of trees where the mean of their leaves counts. least: where this mean is a
    probability, the margin is its log-odds, and it counts as at least so much and at most 1 less so much.
    """

    divisor: int = 1
    least: float | None = None

    def margins(self, sums: np.ndarray) -> np.ndarray:
        """Float64 [rows] of float64 [rows]."""
        means = sums / self.divisor
        return means if self.least is None else self._log_odds(means, self.least)

    def pooled(self, contributions: np.ndarray, base: float) -> np.ndarray:
        """What columns add to the margin, float64 [columns, rows], from what they add to the mean, with its base.

        Log-odds are no sum: all contributions of a row are stretched alike, so that they add up to its margin.
        """
        if self.least is None:
            return contributions
        moves = contributions.sum(axis=0)
        is_near = np.abs(moves) < LEAST_MOVE
        ends = self._log_odds(np.append(base + moves, base), self.least)
        slopes = np.where(is_near, 1 / (base * (1 - base)), (ends[:-1] - ends[-1]) / np.where(is_near, 1, moves))
        return contributions * slopes

    def _log_odds(self, probabilities: np.ndarray, least: float) -> np.ndarray:
        # Arrow's logarithm is the C library's, as DuckDB's is; numpy's own differs from it in the last bit at times.
        return -pc.ln(pa.array(1 / np.clip(probabilities, least, 1 - least) - 1)).to_numpy()


class TreeModel(ABC):
    """Fitted trees. `columns` says what the columns of the matrix are that they read.

    A score is `1 / (1 + exp(-margin))`: a float32 margin, a probability computed as float64 with the C library's
    exp, as DuckDB does it, and rounded to float32, so that SQL gets the same bits.
    """

    pooling = Pooling()
    tells_contributions = True

    def __init__(self, columns: tuple[MatrixColumn, ...], schema: FeatureSchema) -> None:
        self.columns = columns
        self.schema = schema

    @property
    @abstractmethod
    def trees(self) -> TreeTable:
        """Their nodes; raises ArtifactError where they are of no kind that is known here."""

    @property
    @abstractmethod
    def walker(self) -> "xgboost.Booster":
        """A booster of XGBoost with the same trees."""

    @abstractmethod
    def dump(self) -> dict[str, bytes]:
        """The model as named parts."""

    @abstractmethod
    def margins(self, values: np.ndarray) -> np.ndarray:
        """Float32 [rows] from the matrix, float32 [rows, columns]."""

    def predict(self, batch: pa.RecordBatch) -> np.ndarray:
        """The probability of a true label, float32 [rows]."""
        return probabilities(self.margin(batch).astype(np.float64))

    def margin(self, batch: pa.RecordBatch) -> np.ndarray:
        """The log-odds of a true label, float32 [rows]."""
        if not batch.num_rows:
            return np.empty(0, np.float32)
        return self.margins(matrix(batch, self.columns))

    def contributions(self, batch: pa.RecordBatch) -> np.ndarray:
        """Exact TreeSHAP in log-odds, float64 [rows, features]; with `base_log_odds` they add up to the margin."""
        if not batch.num_rows:
            return np.empty((0, len(self.schema.features)))
        values = matrix(batch, self.columns)
        of_means = self.shap.contributions(values) if self.shap else self._walked(values).T[:-1] / self.pooling.divisor
        of_columns = self.pooling.pooled(of_means, self.mean)
        if [column.feature for column in self.columns] == self.schema.names:
            return of_columns.T
        places = {name: place for place, name in enumerate(self.schema.names)}
        out = np.zeros((len(places), batch.num_rows))
        np.add.at(out, [places[column.feature] for column in self.columns], of_columns)
        return out.T

    @cached_property
    def mean(self) -> float:
        """The mean over the training rows of what `pooling` makes a margin of, as the trees' weights have it."""
        return float(self._walked(np.zeros((1, len(self.columns)), np.float32))[0, -1]) / self.pooling.divisor

    @property
    def base_log_odds(self) -> float:
        """The margin that contributions start from: that of the training rows' mean."""
        return float(self.pooling.margins(np.array([self.mean * self.pooling.divisor]))[0])

    def importance(self) -> dict[str, float]:
        """Each feature's share of the total gain; empty where no tree splits."""
        gains = {column.feature: 0.0 for column in self.columns}
        for column, gain in self._gains().items():
            gains[self.columns[column].feature] += gain
        total = sum(gains.values())
        return {name: gains[name] / total for name in sorted(gains, key=lambda n: -gains[n])} if total else {}

    @cached_property
    def shap(self) -> TreeShap | None:
        """The tables of exact TreeSHAP; None where the trees are too deep for them."""
        return tabulate(self.trees, self.pooling.divisor)

    def _gains(self) -> Mapping[int, float]:
        return self.trees.gain_of_columns()

    def _walked(self, values: np.ndarray) -> np.ndarray:
        """XGBoost's contributions to the sum of the leaves, float64 [rows, columns + 1]; the last one is the base."""
        import xgboost

        rows = xgboost.DMatrix(values, missing=np.nan, nthread=1)
        return self.walker.predict(rows, pred_contribs=True, validate_features=False).astype(np.float64)


class WalkedModel(TreeModel):
    """Trees that score by a walk through their table: their library is needed in training alone."""

    def __init__(
        self, trees: TreeTable, columns: tuple[MatrixColumn, ...], schema: FeatureSchema, pooling: Pooling
    ) -> None:
        """Raises ArtifactError where the trees are none over these columns, or these none of the schema."""
        super().__init__(columns, schema)
        check_trees(trees, len(columns))
        if not {column.feature for column in columns} <= set(schema.names):
            raise ArtifactError("the trees do not fit the columns of the feature schema; train anew")
        self._trees = trees
        self.pooling = pooling

    @property
    def trees(self) -> TreeTable:
        return self._trees

    @cached_property
    def walker(self) -> "xgboost.Booster":
        return as_booster(self.trees, len(self.columns))

    @cached_property
    def mean(self) -> float:
        return self.trees.mean / self.pooling.divisor

    def margins(self, values: np.ndarray) -> np.ndarray:
        return self.pooling.margins(self.trees.sums(values)).astype(np.float32)
