"""What a model with materialized='prediction' does: decide, train, judge, register, score.

Nothing that was there before changes until all has gone well: the new version, its macro, the scores and the log
appear in one transaction.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import duckdb

from ibis_features import ConfigError, Examples, ForetableError, Split
from models_ml.class_rows import example_count, without_class
from models_ml.cross_validation import add_fold, check_folds, cross_validate
from models_ml.judging import objection_to
from models_ml.registry import add_row, last_train_seconds
from models_ml.splitting import split_examples
from models_ml.trainer import Progress
from udfs.compiling import check_names_are_free, prepare_functions
from udfs.decision import Decision, Request, fingerprint_of
from udfs.going_on import in_words, start_of
from udfs.order import Order, Standing, drop_gathered, gathered, standing_of, understand
from udfs.progress import report
from udfs.quoting import identifier
from udfs.running import Run
from udfs.serving import now, row_count
from udfs.training import train
from udfs.transactions import outside_transaction, transaction
from udfs.tuning import found_params, trials_left


def build(con: duckdb.DuckDBPyConnection, request: Mapping[str, Any]) -> None:
    """Build one prediction on dbt's connection; with `is_plan` only say what a build would do, and with `folds` only
    judge what it would train.

    A fault that a user can mend is left as a sentence in the temporary table `foretable_outcome`, and nothing else is
    changed; anything unforeseen is raised.
    """
    con = getattr(con, "_cursor", con)  # dbt-duckdb wraps the cursor and hides the types of DuckDB's errors
    asked = Request(**request)
    message = None
    with outside_transaction(con):
        try:
            with_rows = gathered(con, asked)
            if asked.is_plan:
                _plan(con, with_rows)
            elif asked.folds is not None:
                _cross_validate(con, with_rows, report(asked.name))
            else:
                prepare_functions(con)
                check_names_are_free(con, asked.name)
                _build(con, with_rows, report(asked.name))
        except (ForetableError, duckdb.ConversionException, duckdb.OutOfMemoryException, MemoryError) as error:
            con.execute(f"drop table if exists {asked.building}")
            message = f"prediction '{asked.name}': {_in_words(error)}"
        con.execute("create or replace temp table foretable_outcome as select ?::varchar as message", [message])


def _in_words(error: Exception) -> str:
    if isinstance(error, MemoryError | duckdb.OutOfMemoryException):
        said = str(error).removeprefix("Out of Memory Error: ").partition("\n")[0]
        return f"memory did not suffice ({said}); let fewer steps run at a time, or give DuckDB another memory_limit"
    return str(error)


def _plan(con: duckdb.DuckDBPyConnection, request: Request) -> None:
    """Write into foretable.plans what a build would do with the rows as they are now."""
    order = understand(con, request)
    con.begin()
    try:
        standing = standing_of(con, request, order)
    finally:
        con.rollback()
    is_trained = standing.decision.is_trained
    split, parts = split_examples(order.examples, order.spec) if is_trained else (None, {})
    steps = _steps(con, request, order, standing, split, parts) if split else ()
    as_of = identifier(order.spec.as_of)
    plan = {
        "run_id": request.run_id,
        "prediction": request.name,
        "model": order.spec.model,
        "is_trained": is_trained,
        "reason": "; ".join([standing.decision.reason, *steps]),
        "serving_version": standing.active.version if standing.active else None,
        **{f"{part}_rows": example_count(parts[part]) if split else None for part in ("train", "validate", "test")},
        **{f"{part}_as_of": list(split[part]) if split else None for part in ("train", "validate", "test")},
        "purged_as_of": list(split.purged) if split else None,
        "scored_as_of": order.newest,
        "scored_rows": row_count(con, f"{request.building} where {as_of} = timestamp '{order.newest}'"),
        "feature_count": len(without_class(order.examples.schema).features),
        "last_train_seconds": last_train_seconds(con, request.name),
    }
    add_row(con, "plans", plan)
    drop_gathered(con, request)


def _steps(
    con: duckdb.DuckDBPyConnection,
    request: Request,
    order: Order,
    standing: Standing,
    split: Split,
    parts: Mapping[str, Examples],
) -> Iterator[str]:
    """What a training does beside training in full, in words."""
    spec, fingerprint, active = order.spec, standing.fingerprint, standing.active
    left = trials_left(con, request.name, spec, fingerprint)
    if left:
        yield f"a search of at most {left} trials comes first"
    if not spec.warm_start or active is None:
        return
    params = None if left else found_params(con, request.name, spec, fingerprint)
    is_selected = not spec.select
    start = start_of(con, active, fingerprint, spec, split, parts["train"], is_selected=is_selected, params=params)
    doubts = [
        *(["other features are selected"] if spec.select else []),
        *(["the search finds other params"] if left else []),
    ]
    unless = f", unless {' or '.join(doubts)}" if doubts else ""
    yield in_words(active.version, start) + ("" if start.obstacle else f", compared with a full retrain{unless}")


def _cross_validate(con: duckdb.DuckDBPyConnection, request: Request, progress: Progress) -> None:
    """Write into foretable.cross_validation how a training does on so many histories; nothing else is changed."""
    order = understand(con, request)
    spec, folds = order.spec, check_folds(request.folds)
    fingerprint = fingerprint_of(con, request, spec, order.examples.schema)
    params = found_params(con, request.name, spec, fingerprint)
    truth = request.truth_of(spec)
    found = list(cross_validate(con, order.examples, spec, params, folds, truth=truth, progress=progress))
    key = {"run_id": request.run_id, "prediction": request.name, "definition": fingerprint.definition}
    with transaction(con):
        for fold in found:
            add_fold(con, fold, **key, at=now())
        drop_gathered(con, request)
    progress("done", 1.0)


def _build(con: duckdb.DuckDBPyConnection, request: Request, progress: Progress) -> None:
    started = time.monotonic()
    order = understand(con, request)
    standing = standing_of(con, request, order)
    active, decision = standing.active, standing.decision
    run = Run(con, request, order, started)
    if not decision.is_trained:
        assert active is not None
        run.score(active, decision, progress)
        return
    trained, fitted, remark = train(con, request, order.spec, order.examples, standing.fingerprint, active, progress)
    if remark:
        decision = replace(decision, reason=f"{decision.reason}; {remark}")
    objection = objection_to(trained.judgement.metrics, order.spec)
    if objection is None:
        run.serve(trained, fitted, decision, progress)
    elif active is not None and active.schema.is_within(order.examples.schema):
        version = run.keep(trained)
        reason = f"{decision.reason}; version {version} is a candidate: {objection}"
        run.score(active, Decision(True, reason), progress)
    else:
        version = run.keep_with_examples(trained, fitted)
        raise ConfigError(
            f"version {version} was trained and does not serve: {objection}. Let it serve all the same with "
            f"`foretable promote {request.name} {version}`, or with promote='always' in its config"
        )
