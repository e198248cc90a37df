"""What a training goes on from where the config says `warm_start`, as the training itself and a plan of it see it."""

from collections.abc import Mapping
from typing import Any

import duckdb

from ibis_features import Examples, Split
from models_ml.preconditions import has_both_labels
from models_ml.registry import ActiveModel, trained_version
from models_ml.spec import PredictionSpec
from models_ml.splitting import undersampled
from models_ml.trainer import merged_params
from models_ml.warm_start import Start, start_from
from udfs.decision import Fingerprint


def start_of(
    con: duckdb.DuckDBPyConnection,
    active: ActiveModel,
    fingerprint: Fingerprint,
    spec: PredictionSpec,
    split: Split,
    train: Examples,
    *,
    is_selected: bool = True,
    params: Mapping[str, Any] | None,
) -> Start:
    """The snapshots of `train` on which a training goes on from `active`, or why it does not.

    A plan cannot know what a training finds first: `is_selected` says whether `train` has the features that `select`
    leaves, `params` are those that the training takes, or None where a search comes before it.
    """
    before = trained_version(con, active.prediction, active.version)
    if active.definition != fingerprint.definition:
        return Start(obstacle="the SELECT, the config, the features or a library are not those that it has")
    if is_selected and before.schema != train.schema:
        return Start(obstacle="other features were selected")
    if params is not None and before.params != merged_params(spec.model, params):
        return Start(obstacle="the search has found other params")
    start = start_from(before.split, split, horizon_days=spec.horizon_days)
    fresh = train.at(start.snapshots)
    if not start.obstacle and not has_both_labels(undersampled(fresh, spec.undersample, seed=spec.seed)):
        return Start(obstacle="what is new has labels of one kind only")
    return start


def in_words(version: int, start: Start) -> str:
    """From which version on, on how many snapshots; or that the training is full, and why."""
    if start.obstacle:
        return f"trained in full and not from version {version} on: {start.obstacle}"
    count = len(start.snapshots)
    return f"warm start from version {version} on {count} new {'snapshot' if count == 1 else 'snapshots'}"
