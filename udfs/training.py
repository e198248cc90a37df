"""One training of a prediction: split, look for leaks, select features, search params, fit, judge."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import duckdb

from ibis_features import Examples, Split
from models_ml.artifact import pack, unpack
from models_ml.class_rows import example_count
from models_ml.fitting import fit_spec
from models_ml.importance import importances
from models_ml.interaction_search import named_interactions
from models_ml.interactions import interactions_of
from models_ml.judging import RFM, judge, rfm_columns
from models_ml.leaks import refuse_leaks
from models_ml.registry import ActiveModel, TrainedVersion, read_artifact
from models_ml.score_map import unmapped
from models_ml.selection import select_features
from models_ml.spec import PredictionSpec
from models_ml.splitting import split_examples
from models_ml.trainer import FittedModel, Progress, merged_params
from models_ml.warm_start import Compared, better_of
from udfs.decision import Fingerprint, Request, environment_of
from udfs.going_on import in_words, start_of
from udfs.progress import say
from udfs.serving import now
from udfs.tuning import searched_params


def train(
    con: duckdb.DuckDBPyConnection,
    request: Request,
    spec: PredictionSpec,
    examples: Examples,
    fingerprint: Fingerprint,
    active: ActiveModel | None,
    progress: Progress,
) -> tuple[TrainedVersion, FittedModel, str]:
    """A version as it goes into the registry, its model, and what is to be said of a warm start, in words.

    Nothing is written but the trials of a search. `active` is the version that serves.
    """
    started = time.monotonic()
    split, parts = split_examples(examples, spec)
    if spec.leak_check:
        refuse_leaks(parts["train"], spec.of_kind)
    kept, selection = select_features(spec, parts, progress=progress)
    pairs = named_interactions(spec, kept["train"], kept["validate"], progress=progress)
    with_pairs = replace(spec, interactions=pairs)
    params = searched_params(con, request.name, with_pairs, kept, fingerprint, progress=progress)
    compared = _fitted(con, with_pairs, kept, split, params, fingerprint, active, progress=progress)
    fitted = compared.fitted
    progress("judging", 0.0)
    _say_which_rfm(request.name, examples, spec)
    judgement = judge(con, fitted, spec, parts, truth=request.truth_of(spec))
    judgement = replace(judgement, metrics=(*judgement.metrics, *compared.metrics))
    trained = TrainedVersion(
        prediction=request.name,
        spec=spec,
        fingerprint=fingerprint.whole,
        definition=fingerprint.definition,
        schema=fitted.schema,
        selection=selection,
        interactions=interactions_of(fitted),
        params=merged_params(spec.model, params),
        environment=environment_of(spec.model),
        split=split,
        rows={name: example_count(part) for name, part in parts.items()},
        train_seconds=time.monotonic() - started,
        artifact=pack(spec.model, fitted),
        judgement=judgement,
        importances=importances(fitted, kept["test"], spec.of_kind, seed=spec.seed),
        base_log_odds=fitted.base_log_odds if fitted.tells_contributions else None,
        target=request.local(request.target),
        examples=request.local(request.examples),
        trained_at=now(),
    )
    return trained, fitted, compared.words


def _fitted(
    con: duckdb.DuckDBPyConnection,
    spec: PredictionSpec,
    parts: Mapping[str, Examples],
    split: Split,
    params: Mapping[str, Any],
    fingerprint: Fingerprint,
    active: ActiveModel | None,
    *,
    progress: Progress,
) -> Compared:
    """A model trained in full, or with `warm_start` the better one of it and of one that goes on from `active`."""
    full = fit_spec(spec, parts["train"], parts["validate"], params=params, progress=progress)
    if not spec.warm_start or active is None:
        return Compared(full, (), "")
    start = start_of(con, active, fingerprint, spec, split, parts["train"], params=params)
    if start.obstacle:
        return Compared(full, (), in_words(active.version, start))
    blob = read_artifact(con, active.prediction, active.version)
    warm = fit_spec(
        spec,
        parts["train"].at(start.snapshots),
        parts["validate"],
        params=params,
        progress=lambda step, share: progress(f"warm start: {step}", share),
        start=unmapped(unpack(blob, expected_sha256=active.sha256)),
    )
    compared = better_of(warm, full, spec, parts)
    return replace(compared, words=f"{in_words(active.version, start)}: {compared.words}")


def _say_which_rfm(name: str, examples: Examples, spec: PredictionSpec) -> None:
    """Tell what the SELECT lacks for the baseline of recency, frequency and money."""
    used = rfm_columns(examples.schema, spec)
    lacking = [column for column in RFM if column not in examples.schema.names]
    if spec.rfm is None and lacking and not spec.of_kind.has_classes:
        regression = f"reads only {' and '.join(used)}" if used else "is left out"
        say(f"{name}: the baseline rfm {regression}, since the SELECT lacks {', '.join(lacking)}; rfm=[…] names others")
