"""What stands between a model's margin and its score, laid around the model as one more step of it.

A family gives a margin: a sum that its features add up to. A score map makes of it what the prediction promises.
"""

from typing import Protocol

import numpy as np
import pyarrow as pa

from ibis_features import FeatureSchema
from models_ml.trainer import FittedModel


class ScoreMap(Protocol):
    """A rising map from margins to scores."""

    @property
    def part(self) -> str:
        """The name of the artifact's part that holds the map; the other parts are the model's own."""

    def scores(self, margin: np.ndarray) -> np.ndarray:
        """Scores, float32 [rows], of a model's margins, float32 [rows]: the bits that DuckDB gives."""

    def dump(self) -> bytes: ...


class WrappedModel:
    """What a step laid around a model leaves as it is in the model. `schema` holds the features that are asked for."""

    def __init__(self, model: FittedModel, schema: FeatureSchema) -> None:
        self.model = model
        self.schema = schema

    @property
    def tells_contributions(self) -> bool:
        return self.model.tells_contributions

    @property
    def base_log_odds(self) -> float:
        return self.model.base_log_odds


class MappedModel(WrappedModel):
    """A fitted model whose score is mapped. `model` is the one that gives the margin."""

    def __init__(self, model: FittedModel, score_map: ScoreMap) -> None:
        super().__init__(model, model.schema)
        self.score_map = score_map

    def predict(self, batch: pa.RecordBatch) -> np.ndarray:
        """The mapped score, float32 [rows]."""
        return self.score_map.scores(self.margin(batch))

    def margin(self, batch: pa.RecordBatch) -> np.ndarray:
        """The margin as the model itself gives it, float32 [rows]."""
        return self.model.margin(batch)

    def contributions(self, batch: pa.RecordBatch) -> np.ndarray:
        """What each feature adds to the model's own margin, float64 [rows, features]."""
        return self.model.contributions(batch)

    def dump(self) -> dict[str, bytes]:
        return {**self.model.dump(), self.score_map.part: self.score_map.dump()}

    def importance(self) -> dict[str, float]:
        return self.model.importance()


def unmapped(fitted: FittedModel) -> FittedModel:
    """The model itself, without a map around it."""
    return fitted.model if isinstance(fitted, MappedModel) else fitted


def score_map_of(fitted: FittedModel) -> ScoreMap | None:
    """The map around a model; None where its own probability is the score."""
    return fitted.score_map if isinstance(fitted, MappedModel) else None
