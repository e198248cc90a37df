"""How far rows and their scores have moved from those that a model was trained and tested on.

The population stability index (PSI) adds up (p - q) ln(p / q) over bins, p and q being the shares of new and old rows;
under 0.1 is calm, over 0.2 is said to call for a look (Siddiqi, Credit Risk Scorecards, 2006). The Kolmogorov-Smirnov
distance is the widest gap between the two cumulative distributions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from ibis_features import Examples, FeatureSchema
from models_ml.curves import frequent_values

SAMPLE_ROWS = 20_000
BINS = 10
CATEGORIES = 50
LEAST_SHARE = 1e-4
"""An empty bin counts as this share: the logarithm of 0 is infinite."""
SCORE = "score"


@dataclass(frozen=True)
class Drift:
    """One feature, or the score, now and then. Shares are of all rows; what has no meaning for the type is None.

    unknown_share: of the rows now, those with a category that no training row had.
    """

    name: str
    psi: float
    ks: float | None
    missing_share_then: float
    missing_share_now: float
    unknown_share: float | None


def feature_drift(then: Examples, now: Examples) -> list[Drift]:
    """Every number and category of the schema, on at most SAMPLE_ROWS rows of each side."""
    schema = then.schema
    measured = [feature for feature in schema.static if feature.role in {"number", "category"}]
    some = replace(schema, features=tuple(measured))
    before, after = _sample(then, some), _sample(now, some)
    if not before.num_rows or not after.num_rows:
        return []
    return [
        number_drift(feature.name, _numbers(before, feature.name), _numbers(after, feature.name))
        if feature.role == "number"
        else category_drift(feature.name, before[feature.name].to_pylist(), after[feature.name].to_pylist())
        for feature in measured
    ]


def score_drift(predict: Callable[[pa.RecordBatch], np.ndarray], then: Examples, now: Examples) -> Drift | None:
    """The scores of both sides by one model; None where a side has no rows."""
    before, after = (_scores(predict, _sample(side, side.schema)) for side in (then, now))
    return number_drift(SCORE, before, after) if len(before) and len(after) else None


def number_drift(name: str, then: np.ndarray, now: np.ndarray) -> Drift:
    """Bins of equal count of the values then; missing values (NaN) are a bin of their own."""
    known_then, known_now = then[~np.isnan(then)], now[~np.isnan(now)]
    edges = np.empty(0)
    if len(known_then):
        edges = np.unique(np.quantile(known_then, np.arange(1, BINS) / BINS, method="lower"))
    counts = [
        np.append(np.bincount(np.searchsorted(edges, side, "left"), minlength=len(edges) + 1), missing)
        for side, missing in ((known_then, len(then) - len(known_then)), (known_now, len(now) - len(known_now)))
    ]
    return Drift(name, _psi(*counts), _ks(known_then, known_now), *_missing_shares(counts), None)


def category_drift(name: str, then: Sequence[str | None], now: Sequence[str | None]) -> Drift:
    """The most frequent categories then are bins, all others one, and missing values one."""
    kept, known = frequent_values(then, CATEGORIES), set(then)
    place = {value: number for number, value in enumerate(kept)}
    counts = [
        np.bincount(
            [len(kept) + 1 if value is None else place.get(value, len(kept)) for value in side], minlength=len(kept) + 2
        )
        for side in (then, now)
    ]
    unknown = sum(value is not None and value not in known for value in now)
    return Drift(name, _psi(*counts), None, *_missing_shares(counts), unknown / len(now))


def _psi(then: np.ndarray, now: np.ndarray) -> float:
    q, p = (np.maximum(side / side.sum(), LEAST_SHARE) for side in (then, now))
    return float(((p - q) * np.log(p / q)).sum())


def _ks(then: np.ndarray, now: np.ndarray) -> float | None:
    if not len(then) or not len(now):
        return None
    values = np.unique(np.concatenate([then, now]))
    reached = [np.searchsorted(np.sort(side), values, "right") / len(side) for side in (then, now)]
    return float(np.abs(reached[0] - reached[1]).max())


def _missing_shares(counts: Sequence[np.ndarray]) -> tuple[float, float]:
    then, now = (float(side[-1] / side.sum()) for side in counts)
    return then, now


def _sample(examples: Examples, schema: FeatureSchema) -> pa.Table:
    return Examples(examples.sample(SAMPLE_ROWS).table, schema).readable().to_pyarrow()


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    values = table[name].to_numpy().astype(np.float64)
    return np.where(np.isinf(values), np.nan, values)


def _scores(predict: Callable[[pa.RecordBatch], np.ndarray], table: pa.Table) -> np.ndarray:
    batches = [predict(batch) for batch in table.to_batches(max_chunksize=2_048)]
    return np.concatenate([np.empty(0), *batches]).astype(np.float64)
