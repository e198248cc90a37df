"""Metrics with bootstrap intervals, of one model or of the difference of two, whatever the metrics are.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13: the percentile interval.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models_ml.measures import Measures

INTERVAL = (0.025, 0.975)
RESAMPLES = 200
NUMBERS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Metric:
    """A metric, its 95% bootstrap interval, and the number of rows it was computed on."""

    name: str
    value: float
    lower: float
    upper: float
    rows: int


def with_intervals(
    measures: Measures, rows: int, *, entities: np.ndarray | None = None, seed: int, resamples: int = RESAMPLES
) -> list[Metric]:
    """Every metric with its 95% percentile interval.

    `entities` (integer codes, [rows]) are resampled whole, since the rows of one entity resemble each other; without
    them each row is resampled on its own.
    """
    drawn: dict[str, list[np.ndarray]] = {}
    for weights in resampled(rows, entities, seed, resamples):
        for name, values in measures(weights).items():
            drawn.setdefault(name, []).append(values)
    whole = on_all_rows(measures, rows)
    return [with_interval(name, value, drawn.get(name, []), rows) for name, value in whole.items()]


def with_difference(
    metric: str,
    one: Measures,
    other: Measures,
    rows: int,
    *,
    entities: np.ndarray | None = None,
    seed: int,
    resamples: int = RESAMPLES,
    interval: tuple[float, float] = INTERVAL,
) -> Metric:
    """The metric by `one` less that by `other`, both on the same resampled rows (a paired bootstrap)."""
    drawn = [one(weights)[metric] - other(weights)[metric] for weights in resampled(rows, entities, seed, resamples)]
    value = on_all_rows(one, rows)[metric] - on_all_rows(other, rows)[metric]
    return with_interval(metric, value, drawn, rows, interval)


def on_all_rows(measures: Measures, rows: int) -> dict[str, float]:
    """Every metric where each row counts once."""
    return {name: float(values[0]) for name, values in measures(np.ones((1, rows))).items()}


def resampled(rows: int, entities: np.ndarray | None, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """How often each row is drawn, [some resamples, rows], until there are `resamples`."""
    draws = np.random.default_rng(seed)
    codes = np.arange(rows) if entities is None else np.unique(entities, return_inverse=True)[1]
    units = int(codes.max(initial=-1)) + 1
    at_once = max(1, NUMBERS_AT_ONCE // max(1, rows))
    for start in range(0, resamples if rows else 0, at_once):
        times = min(at_once, resamples - start)
        drawn = [np.bincount(draws.integers(0, units, units), minlength=units) for _ in range(times)]
        yield np.stack(drawn)[:, codes]


def with_interval(
    name: str, value: float, drawn: list[np.ndarray], rows: int, interval: tuple[float, float] = INTERVAL
) -> Metric:
    """A metric with the interval of what was drawn of it; NaN is left out of the draws."""
    values = np.concatenate([np.empty(0), *drawn])
    values = values[~np.isnan(values)]
    lower, upper = np.quantile(values, interval) if len(values) else (np.nan, np.nan)
    return Metric(name, float(value), float(lower), float(upper), rows)
