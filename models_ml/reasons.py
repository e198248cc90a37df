"""Reasons: the features that add most to a row's log-odds, as Arrow lists of structs."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibis_features import ConfigError, Feature
from models_ml.ensemble import EnsembleModel
from models_ml.interactions import uncrossed
from models_ml.trainer import FittedModel
from models_ml.wording import amount, phrase

REASON = pa.struct(
    [("feature", pa.string()), ("value", pa.string()), ("contribution", pa.float64()), ("sentence", pa.string())]
)
SHOWN_STEPS = 3


def reasons(
    model: FittedModel, batch: pa.RecordBatch, most: int | None, descriptions: Mapping[str, str]
) -> pa.ListArray:
    """For each row its `most` reasons (None: all), the largest by size first, equal ones by the order of the features.

    A feature that adds nothing is no reason, so that a list may be shorter. `descriptions` is what the words of a
    sentence come from, by feature. Values are texts, NULL where the feature is missing. Raises ConfigError as
    `check_reasons` does.
    """
    check_reasons(model)
    contributions = model.contributions(batch)
    places = _largest(np.ascontiguousarray(np.abs(contributions)), most)  # [rows, most]
    sizes = np.take_along_axis(contributions, places, axis=1)
    is_reason = sizes != 0
    rows, features, added = np.nonzero(is_reason)[0], places[is_reason], sizes[is_reason]
    values, phrases = _texts(model, batch, rows, features, descriptions)
    names = pa.array(model.schema.names, pa.string())
    sentences = pc.binary_join_element_wise(phrases, _amounts(added), ": ")
    structs = pa.StructArray.from_arrays([names.take(features), values, pa.array(added), sentences], fields=[*REASON])
    offsets = np.concatenate([[0], np.cumsum(is_reason.sum(axis=1))])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs)


def check_reasons(model: FittedModel) -> None:
    """Raises ConfigError where the model tells no contributions."""
    ensemble = uncrossed(model)
    if isinstance(ensemble, EnsembleModel) and ensemble.combination.way == "vote":
        raise ConfigError("an ensemble that votes tells no reasons; take ensemble='mean', 'weighted' or 'stacking'")
    if not model.tells_contributions:
        raise ConfigError(
            "the reasons of a network need TensorFlow, and KERAS_BACKEND names another backend; unset it, or leave "
            "`reasons` out of the config"
        )


def _largest(sizes: np.ndarray, most: int | None) -> np.ndarray:
    """The places of the largest sizes of each row, int [rows, most]; `sizes` is used up."""
    if most is None or most >= sizes.shape[1]:
        return np.argsort(-sizes, axis=1, kind="stable")
    places = np.empty((len(sizes), most), np.intp)
    for turn in range(most):  # a few passes are quicker than a sort or a partition of hundreds of features
        places[:, turn] = sizes.argmax(axis=1)
        sizes[np.arange(len(sizes)), places[:, turn]] = -1.0
    return places


def _texts(
    model: FittedModel, batch: pa.RecordBatch, rows: np.ndarray, features: np.ndarray, descriptions: Mapping[str, str]
) -> tuple[pa.Array, pa.Array]:
    """The values and the phrases of these cells of the batch; a feature at a time, a distinct value at a time."""
    order = np.argsort(features, kind="stable")
    found, starts = np.unique(features[order], return_index=True)
    values, phrases = [], []
    for place, cells in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
        feature = model.schema.features[place]
        value = pc.dictionary_encode(_as_text(batch.column(feature.name).take(rows[cells]), feature))
        words = partial(
            phrase, feature.name, description=descriptions.get(feature.name), is_number=feature.role == "number"
        )
        said, missing = [words(text) for text in value.dictionary.to_pylist()], words(None)
        values.append(value.cast(pa.string()))
        phrases.append(pc.fill_null(pa.array(said, pa.string()).take(value.indices), missing))
    if not values:
        return pa.array([], pa.string()), pa.array([], pa.string())
    back = pa.array(np.argsort(order, kind="stable"))
    return pa.concat_arrays(values).take(back), pa.concat_arrays(phrases).take(back)


def _as_text(column: pa.Array, feature: Feature) -> pa.Array:
    """A number as short as it is exact, of a sequence its newest steps, of an embedding how many numbers it has."""
    if feature.role == "category":
        return column
    if feature.role == "number":
        known = pc.if_else(pc.fill_null(pc.is_finite(column), False), column, None)
        return pc.cast(known.cast(pa.bool_()) if feature.sql_type == "BOOLEAN" else known, pa.string())
    if feature.role == "embedding":
        return pc.if_else(pc.is_valid(column), f"{feature.width} numbers", pa.scalar(None, pa.string()))
    return pa.array([_newest(steps) for steps in column.to_pylist()], pa.string())


def _newest(steps: list[float | str | None] | None) -> str | None:
    if steps is None:
        return None
    texts = [f"{step:.6g}" if isinstance(step, float) else step or "?" for step in steps[-SHOWN_STEPS:]]
    return f"[{'…, ' if len(steps) > SHOWN_STEPS else ''}{', '.join(texts)}]"


def _amounts(added: np.ndarray) -> pa.Array:
    """The contributions in words; there are few different ones at two decimals."""
    cents, places = np.unique(np.round(added, 2) + 0.0, return_inverse=True)
    return pa.array([amount(value) for value in cents.tolist()], pa.string()).take(pa.array(places))
