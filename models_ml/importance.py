"""How much a model rests on each feature: by contributions and by permutation on test rows, and by its own gain."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibis_features import Examples
from ibis_features.examples import LABEL
from models_ml.kinds import BINARY, Kind, lists_of
from models_ml.trainer import FittedModel

CONTRIBUTION_ROWS = 1_000
PERMUTATION_ROWS = 5_000
PERMUTED_FEATURES = 20
"""A feature costs one more scoring of the sample; those with the largest contributions are looked at."""
ROWS_PER_CALL = 2_048


@dataclass(frozen=True)
class Importance:
    """One feature by one method.

    gain: its share of the total gain, trees only. contribution: the mean of its absolute contribution, in log-odds.
    permutation: how much of the deciding metric (of truth values the ROC AUC) is lost where its values are shuffled
    among the rows; below 0 where that helps.
    """

    method: str
    feature: str
    importance: float


def importances(fitted: FittedModel, test: Examples, kind: Kind = BINARY, *, seed: int) -> list[Importance]:
    """All methods that the family and the rows allow, each with the most important feature first; none where the model
    tells no contributions.

    The rows are samples of the test rows, by whole entities. Which class a score is asked for is no feature here.
    """
    if not fitted.tells_contributions:
        return []
    by_gain = [Importance("gain", feature, share) for feature, share in fitted.importance().items()]
    found = by_contributions(fitted, test.sample(CONTRIBUTION_ROWS))
    by_contribution = [one for one in found if one.feature != fitted.schema.item]
    top = [one.feature for one in by_contribution[:PERMUTED_FEATURES]]
    return [*by_gain, *by_contribution, *by_permutation(fitted, test.sample(PERMUTATION_ROWS), top, kind, seed=seed)]


def by_contributions(fitted: FittedModel, rows: Examples) -> list[Importance]:
    """Of every feature that moves some row."""
    sizes = [np.abs(fitted.contributions(batch)) for batch in rows.batches(ROWS_PER_CALL)]
    if not sizes:
        return []
    means = np.concatenate(sizes).mean(axis=0)
    named = zip(fitted.schema.names, means.tolist(), strict=True)
    return _ranked([Importance("contribution", feature, mean) for feature, mean in named if mean > 0])


def by_permutation(
    fitted: FittedModel, rows: Examples, features: Sequence[str], kind: Kind = BINARY, *, seed: int
) -> list[Importance]:
    """Of these features; empty where the labels of the rows are all alike."""
    batches = list(rows.batches(ROWS_PER_CALL))
    if not batches:
        return []
    whole = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    labels = whole.column(LABEL).to_numpy(zero_copy_only=False)
    if len(np.unique(labels)) < 2:
        return []
    rng = np.random.default_rng(seed)
    lists = lists_of(rows)
    measured = kind.value(kind.deciding, labels, _scores(fitted, whole), lists=lists)
    found = []
    for feature in features:
        place = whole.schema.get_field_index(feature)
        shuffled = whole.set_column(place, feature, whole.column(feature).take(_shuffle(whole.column(feature), rng)))
        without = kind.value(kind.deciding, labels, _scores(fitted, shuffled), lists=lists)
        found.append(Importance("permutation", feature, measured - without))
    return _ranked(found)


def _shuffle(column: pa.Array, rng: np.random.Generator) -> pa.Array:
    """Whence each row takes its value: from any row, a list from one as long, since a row's lists have one length."""
    lengths = np.zeros(len(column))
    if pa.types.is_list(column.type):
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    order = np.empty(len(column), np.int64)
    order[np.argsort(lengths, kind="stable")] = np.lexsort((rng.random(len(column)), lengths))
    return pa.array(order)


def _scores(fitted: FittedModel, rows: pa.RecordBatch) -> np.ndarray:
    starts = range(0, rows.num_rows, ROWS_PER_CALL)
    return np.concatenate([fitted.predict(rows.slice(start, ROWS_PER_CALL)) for start in starts])


def _ranked(found: list[Importance]) -> list[Importance]:
    return sorted(found, key=lambda one: (-one.importance, one.feature))
