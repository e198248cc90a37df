"""Rolling-origin cross-validation: train and judge as if the history had ended earlier, and earlier still."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from ibis_features import ConfigError, Examples, Split, labelled_snapshots, rolling_splits
from models_ml.bootstrap import Metric
from models_ml.class_rows import example_count
from models_ml.fitting import fit_spec
from models_ml.judging import judge_part
from models_ml.leaks import refuse_leaks
from models_ml.selection import select_features
from models_ml.spec import PredictionSpec
from models_ml.splitting import parts_of
from models_ml.trainer import Progress

PART = "test"


@dataclass(frozen=True)
class Fold:
    """One of so many folds: its number from 1, the oldest, its split, and its metrics on the test rows.

    metrics: (scored_by, metric).
    """

    number: int
    of: int
    model: str
    split: Split
    train_rows: int
    metrics: tuple[tuple[str, Metric], ...]


def cross_validate(
    con: duckdb.DuckDBPyConnection,
    examples: Examples,
    spec: PredictionSpec,
    params: Mapping[str, Any],
    folds: int,
    *,
    truth: str | None,
    progress: Progress,
) -> Iterator[Fold]:
    """Each fold when it is done, the oldest first; the newest has the split of an ordinary training.

    Raises ExamplesError where the history is too short for so many folds.
    """
    splits = rolling_splits(
        labelled_snapshots(examples, horizon_days=spec.horizon_days),
        horizon_days=spec.horizon_days,
        validate_snapshots=spec.validate_snapshots,
        test_snapshots=spec.test_snapshots,
        folds=folds,
    )
    for number, split in enumerate(splits, start=1):
        progress_of_fold = _of_fold(progress, number)
        parts = parts_of(examples, split, spec)
        if spec.leak_check:
            refuse_leaks(parts["train"], spec.of_kind)
        kept, _ = select_features(spec, parts, progress=progress_of_fold)
        fitted = fit_spec(spec, kept["train"], kept["validate"], params=params, progress=progress_of_fold)
        progress_of_fold("judging", 0.0)
        train = parts["train"]
        thresholds = judge_part(con, fitted, spec, train, parts["validate"], truth=truth).thresholds
        judged = judge_part(con, fitted, spec, train, parts[PART], thresholds=thresholds, truth=truth)
        yield Fold(number, len(splits), spec.model, split, example_count(parts["train"]), judged.metrics)


def check_folds(folds: object) -> int:
    """Raises ConfigError where it is no whole number above 0."""
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 1:
        raise ConfigError(f"folds={folds!r} in --vars is not a whole number above 0")
    return folds


def add_fold(
    con: duckdb.DuckDBPyConnection, fold: Fold, *, run_id: str, prediction: str, definition: str, at: datetime
) -> None:
    """Write a fold's metrics into foretable.cross_validation. The caller holds the transaction."""
    split = fold.split
    con.executemany(
        f"insert into foretable.cross_validation values ({', '.join('?' * 18)})",
        [
            [
                *(run_id, prediction, definition, fold.model, fold.number, fold.of),
                *(split.train[0], split.train[-1], list(split.validate), list(split.test), fold.train_rows),
                *(scored_by, metric.name, metric.value, metric.lower, metric.upper, metric.rows, at),
            ]
            for scored_by, metric in fold.metrics
        ],
    )


def _of_fold(progress: Progress, number: int) -> Progress:
    return lambda step, share: progress(f"fold {number}: {step}", share)
