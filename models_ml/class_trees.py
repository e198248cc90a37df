"""Trees that tell classes apart: a margin for each class, and of these the probability of the class that is asked for.

The probability of class k is exp(m_k) over the sum of all exp(m): Bishop, "Pattern Recognition and Machine Learning",
2006, section 4.3.4. All rows of an entity have the same features, and so the same margins.
"""

import json
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibis_features import ArtifactError
from models_ml.calibration import LEAST_LOG_ODDS
from models_ml.encoding import matrix
from models_ml.interactions import uncrossed
from models_ml.score_map import WrappedModel
from models_ml.trainer import FittedModel
from models_ml.tree_booster import as_booster
from models_ml.tree_table import chosen
from models_ml.trees import TreesModel

PART = "classes.json"
"""The artifact's part that names the classes; the other parts are the trees' own."""


class ClassesModel(WrappedModel):
    """Trees with a margin for each of `classes`, as a model of one score a row: that of the row's class.

    The class is a feature like others, named as `schema.item`. `model` holds trees of all classes in turn.
    """

    def __init__(self, model: TreesModel, classes: tuple[str, ...]) -> None:
        super().__init__(model, model.schema)
        self.trees = model
        self.classes = classes

    def predict(self, batch: pa.RecordBatch) -> np.ndarray:
        """The probability of the row's class, float32 [rows]; 0 of a class that is not known, NaN where it is NULL."""
        margins, numbers = self._margins(batch)
        return self._of_class(batch, softmax(margins)[numbers], unknown=0.0)

    def margin(self, batch: pa.RecordBatch) -> np.ndarray:
        """The margin of the row's class, float32 [rows]; NaN where there is none."""
        margins, numbers = self._margins(batch)
        return self._of_class(batch, margins[numbers], unknown=np.nan)

    def contributions(self, batch: pa.RecordBatch) -> np.ndarray:
        """Exact TreeSHAP of the trees of each row's class, float64 [rows, features]; 0 where there is none.

        What the class itself adds is where its trees start from, against the mean of all classes.
        """
        out = np.zeros((batch.num_rows, len(self.schema.features)))
        codes = self._codes(batch)
        for code in np.unique(codes[codes >= 0]).tolist():
            rows, member = np.flatnonzero(codes == code), self.members[code]
            out[rows] = member.contributions(batch.take(pa.array(rows)))
            out[rows, self.schema.names.index(self.label)] = member.base_log_odds - self.base_log_odds
        return out

    @cached_property
    def base_log_odds(self) -> float:
        """The mean of where the margins of all classes start from."""
        return float(np.mean([member.base_log_odds for member in self.members]))

    def dump(self) -> dict[str, bytes]:
        return {**self.trees.dump(), PART: json.dumps({"classes": self.classes}, ensure_ascii=False).encode()}

    def importance(self) -> dict[str, float]:
        """Each feature's share of the gain of the trees of all classes."""
        return self.trees.importance()

    @property
    def label(self) -> str:
        assert self.schema.item is not None
        return self.schema.item

    @cached_property
    def members(self) -> tuple[TreesModel, ...]:
        """The trees of each class by themselves, with the margins that all of them give together, to the bit."""
        return _split(self.trees, len(self.classes))

    def _margins(self, batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        """The margins of the distinct rows, float32 [distinct, classes], and which one each row is, [rows].

        The rows of an entity follow one another, one for each class, and only the first of them is scored.
        """
        values = matrix(batch, self.trees.columns)
        bits = values.view(np.uint32)
        is_first = np.ones(len(values), bool)
        is_first[1:] = (bits[1:] != bits[:-1]).any(axis=1)
        distinct = values[is_first]
        margins = self.trees.margins(distinct) if len(distinct) else np.empty((0, len(self.classes)), np.float32)
        return margins, np.cumsum(is_first) - 1

    def _of_class(self, batch: pa.RecordBatch, by_class: np.ndarray, *, unknown: float) -> np.ndarray:
        """Of each row what belongs to its class, float32 [rows], from [rows, classes]."""
        codes = self._codes(batch)
        is_null = pc.is_null(batch.column(self.label)).to_numpy(zero_copy_only=False)
        found = by_class[np.arange(len(codes)), np.maximum(codes, 0)]
        return np.where(is_null, np.float32(np.nan), np.where(codes < 0, np.float32(unknown), found))

    def _codes(self, batch: pa.RecordBatch) -> np.ndarray:
        """The place of each row's class, [rows]; -1 of one that is not known, or NULL."""
        places = pc.index_in(batch.column(self.label), pa.array(self.classes, pa.string()))
        return pc.fill_null(places, -1).to_numpy(zero_copy_only=False)


def classes_of(fitted: FittedModel) -> tuple[str, ...]:
    """The classes that a model tells apart; none where it is no model of classes."""
    model = uncrossed(fitted)
    return model.classes if isinstance(model, ClassesModel) else ()


def softmax(margins: np.ndarray) -> np.ndarray:
    """Probabilities, float32 [rows, classes], of margins; computed as DuckDB does it, classes summed in their order."""
    wide = margins.astype(np.float64)
    below = np.maximum(wide - wide.max(axis=1, keepdims=True), LEAST_LOG_ODDS)
    # Arrow's exp is the C library's; numpy's own differs from it in the last bit on some machines.
    sizes = pc.exp(pa.array(below.ravel())).to_numpy().reshape(below.shape)
    total = np.zeros(len(sizes))
    for column in sizes.T:
        total += column
    return (sizes / total[:, None]).astype(np.float32)


def with_classes(model: Any, content: bytes) -> ClassesModel:
    """The trees with the classes of their artifact; raises ArtifactError where they do not fit."""
    try:
        classes = json.loads(content)["classes"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError("the classes cannot be read; the artifact is damaged: train anew") from error
    is_list = isinstance(classes, list) and all(isinstance(one, str) for one in classes) and len(classes) > 1
    if not is_list or not isinstance(model, TreesModel) or not model.schema.has_classes:
        raise ArtifactError("the classes do not fit the model; the artifact is damaged: train anew")
    if model.margins(np.zeros((1, len(model.columns)), np.float32)).shape != (1, len(classes)):
        raise ArtifactError(f"the trees do not tell {len(classes)} classes apart; the artifact is damaged: train anew")
    return ClassesModel(model, tuple(classes))


def _split(trees: TreesModel, classes: int) -> tuple[TreesModel, ...]:
    """A part for each class: its trees, and what XGBoost starts its margin from."""
    learner = json.loads(trees.booster.save_raw("json"))["learner"]
    class_of = np.array(learner["gradient_booster"]["model"]["tree_info"])
    starts = learner["learner_model_param"]["base_score"].strip("[]").split(",")
    starts = starts if len(starts) > 1 else starts * classes
    parts = [
        as_booster(chosen(trees.trees, np.flatnonzero(class_of == code)), len(trees.columns), base_score=starts[code])
        for code in range(classes)
    ]
    return tuple(TreesModel(part, trees.columns, trees.schema) for part in parts)
