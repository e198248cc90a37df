"""What a model with materialized='prediction' does: decide, train, judge, register, score.

Nothing that was there before changes until all has gone well: the new version, its macro, the scores and the log
appear in one transaction.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import duckdb

from ibis_features import (
    ConfigError,
    Examples,
    ExamplesError,
    ForetableError,
    check_keys,
    check_labels,
    connect_backend,
    read_examples,
    read_schema,
)
from models_ml.artifact import pack, unpack
from models_ml.judging import check_slices, judge, not_beaten
from models_ml.leaks import leak_suspects
from models_ml.registry import (
    ActiveModel,
    PredictionRun,
    TrainedVersion,
    activate,
    active_model,
    add_row,
    add_run,
    add_version,
    last_train_seconds,
    read_artifact,
    version_trained_on,
)
from models_ml.spec import PredictionSpec, parse_spec
from models_ml.splitting import split_examples
from models_ml.trainer import FittedModel, Progress, fit_of, merged_params
from udfs.decision import Decision, Fingerprint, Request, decide, environment_of, fingerprint_of, is_copy, rows_hash
from udfs.progress import report, say
from udfs.scorers import identifier, refresh
from udfs.serving import (
    Scoring,
    check_keys_of_scores,
    exists,
    newest_snapshot,
    now,
    publish_sql,
    row_count,
    write_scores,
)
from udfs.transactions import outside_transaction, transaction
from udfs.watching import Watch, write_drift, write_realised


def build(con: duckdb.DuckDBPyConnection, request: Mapping[str, Any]) -> None:
    """Build one prediction on dbt's connection, or with `is_plan` only say what a build would do.

    A fault that a user can mend is left as a sentence in the temporary table `foretable_outcome`, and nothing else is
    changed; anything unforeseen is raised.
    """
    con = getattr(con, "_cursor", con)  # dbt-duckdb wraps the cursor and hides the types of DuckDB's errors
    asked = Request(**request)
    message = None
    with outside_transaction(con):
        try:
            gathered = _gathered(con, asked)
            if asked.is_plan:
                _plan(con, gathered)
            else:
                _build(con, gathered, report(asked.name))
        except (ForetableError, duckdb.ConversionException, duckdb.OutOfMemoryException, MemoryError) as error:
            con.execute(f"drop table if exists {asked.building}")
            message = f"prediction '{asked.name}': {_in_words(error)}"
        con.execute("create or replace temp table foretable_outcome as select ?::varchar as message", [message])


def _in_words(error: Exception) -> str:
    if isinstance(error, MemoryError | duckdb.OutOfMemoryException):
        said = str(error).removeprefix("Out of Memory Error: ").partition("\n")[0]
        return f"memory did not suffice ({said}); let fewer steps run at a time, or give DuckDB another memory_limit"
    return str(error)


@dataclass(frozen=True)
class _Order:
    """A request understood: what is asked for, and on which rows."""

    spec: PredictionSpec
    examples: Examples
    newest: datetime


@dataclass(frozen=True)
class _Standing:
    """What there is already, and what follows from it."""

    fingerprint: Fingerprint
    active: ActiveModel | None
    decision: Decision


def _gathered(con: duckdb.DuckDBPyConnection, request: Request) -> Request:
    """The request with its rows in a table: the examples of before where the SELECT returns the same, else a new one.

    Hundreds of columns take longer to write than all else that a build does in which nothing changed.
    """
    if is_copy(con, request.examples, request.select):
        return replace(request, building=request.examples)
    con.execute(f"create or replace table {request.building} as from {request.select}")
    return request


def _understand(con: duckdb.DuckDBPyConnection, request: Request) -> _Order:
    asked_for = {"promote": request.promote} if request.promote else {}
    spec = parse_spec({**request.config, **asked_for})
    check_keys_of_scores(spec)
    merged_params(spec.model, spec.params or {})
    exclude = (*spec.exclude, *_without_history(con, request, spec))
    schema = read_schema(con, request.building, entity=spec.entity, label=spec.label, as_of=spec.as_of, exclude=exclude)
    examples = read_examples(connect_backend(con), request.building, schema)
    check_keys(examples)
    check_labels(examples)
    check_slices(examples, spec)
    return _Order(spec, examples, newest_snapshot(con, request.building, spec.as_of))


def _decide(con: duckdb.DuckDBPyConnection, request: Request, order: _Order) -> _Standing:
    """Whether to train, once the outcomes that are known by now are written down: a policy may ask for them."""
    spec, schema = order.spec, order.examples.schema
    write_realised(con, request.name, request.building, schema, now())
    fingerprint = fingerprint_of(con, request, spec, schema)
    active = active_model(con, request.name)
    candidate = version_trained_on(con, request.name, fingerprint.whole)
    watch = None
    if active is not None and active.schema == schema:
        watch = Watch(con, active, order.examples, order.newest)
    decision = decide(active, fingerprint, schema, request, spec, candidate=candidate, watch=watch, now=now())
    return _Standing(fingerprint, active, decision)


def _plan(con: duckdb.DuckDBPyConnection, request: Request) -> None:
    """Write into foretable.plans what a build would do with the rows as they are now."""
    order = _understand(con, request)
    con.begin()
    try:
        standing = _decide(con, request, order)
    finally:
        con.rollback()
    is_trained = standing.decision.is_trained
    split, parts = split_examples(order.examples, order.spec) if is_trained else (None, {})
    as_of = identifier(order.spec.as_of)
    plan = {
        "run_id": request.run_id,
        "prediction": request.name,
        "model": order.spec.model,
        "is_trained": is_trained,
        "reason": standing.decision.reason,
        "serving_version": standing.active.version if standing.active else None,
        **{f"{part}_rows": parts[part].rows() if split else None for part in ("train", "validate", "test")},
        **{f"{part}_as_of": list(split[part]) if split else None for part in ("train", "validate", "test")},
        "purged_as_of": list(split.purged) if split else None,
        "scored_as_of": order.newest,
        "scored_rows": row_count(con, f"{request.building} where {as_of} = timestamp '{order.newest}'"),
        "feature_count": len(order.examples.schema.features),
        "last_train_seconds": last_train_seconds(con, request.name),
    }
    add_row(con, "plans", plan)
    if request.building != request.examples:
        con.execute(f"drop table {request.building}")


def _build(con: duckdb.DuckDBPyConnection, request: Request, progress: Progress) -> None:
    started = time.monotonic()
    order = _understand(con, request)
    standing = _decide(con, request, order)
    active, decision = standing.active, standing.decision
    run = _Run(con, request, order, started)
    if not decision.is_trained:
        assert active is not None
        run.score(active, decision, progress)
        return
    trained, fitted = _train(con, request, order.spec, order.examples, standing.fingerprint, progress)
    objection = _objection(trained, order.spec)
    if objection is None:
        run.serve(trained, fitted, decision, progress)
    elif active is not None and active.schema == order.examples.schema:
        version = run.keep(trained)
        reason = f"{decision.reason}; version {version} is a candidate: {objection}"
        run.score(active, Decision(True, reason), progress)
    else:
        version = run.keep_with_examples(trained)
        raise ConfigError(
            f"version {version} was trained and does not serve: {objection}. Let it serve all the same with "
            f"`foretable promote {request.name} {version}`, or with promote='always' in its config"
        )


def _objection(trained: TrainedVersion, spec: PredictionSpec) -> str | None:
    """Why the version must not serve; None where it may."""
    if spec.promote == "never":
        return "promote is never"
    return not_beaten(trained.metrics) if spec.promote == "when_better" else None


@dataclass(frozen=True)
class _Run:
    """What one build of a prediction writes, each in one transaction."""

    con: duckdb.DuckDBPyConnection
    request: Request
    order: _Order
    started: float

    def keep(self, trained: TrainedVersion) -> int:
        """The version as a candidate."""
        with transaction(self.con):
            return add_version(self.con, trained)

    def keep_with_examples(self, trained: TrainedVersion) -> int:
        """The version as a candidate, and the rows that it would score, since no other version can."""
        with transaction(self.con):
            self._keep_examples()
            return add_version(self.con, trained)

    def serve(self, trained: TrainedVersion, fitted: FittedModel, decision: Decision, progress: Progress) -> None:
        """The version, its macro, its scores and the log, all at once."""
        progress("writing", 0.0)
        with transaction(self.con):
            version = add_version(self.con, trained)
            activate(self.con, self.request.name, version, at=trained.trained_at, by="build")
            publish_sql(self.con, self.request.name, fitted, self.order.examples)
            self._finish(version, fitted, decision)
        refresh(self.con, self.request.name)
        progress("done", 1.0)

    def score(self, active: ActiveModel, decision: Decision, progress: Progress) -> None:
        """The newest rows by the version that serves, unless the table holds what it says of them."""
        progress("writing", 0.0)
        fitted = None
        if not _is_scored_already(self.con, self.request, active, self._scored_hash):
            blob = read_artifact(self.con, self.request.name, active.version)
            fitted = unpack(blob, expected_sha256=active.sha256)
        with transaction(self.con):
            self._finish(active.version, fitted, decision)
        refresh(self.con, self.request.name)
        progress("done", 1.0)

    def _finish(self, version: int, fitted: FittedModel | None, decision: Decision) -> None:
        con, request, order = self.con, self.request, self.order
        scored_hash = self._scored_hash
        if fitted is None:
            rows = row_count(con, request.target)
        else:
            rows = write_scores(
                con,
                Scoring(
                    prediction=request.name,
                    version=version,
                    entity=order.spec.entity,
                    as_of=order.spec.as_of,
                    examples=request.building,
                    newest=order.newest,
                    target=request.target,
                    run_id=request.run_id,
                    run_at=request.run_at,
                ),
                fitted,
            )
            write_drift(con, request.name, version, fitted, order.examples, order.newest, now())
        _refuse_broken_contract(con, request)
        self._keep_examples()
        add_run(
            con,
            PredictionRun(
                run_id=request.run_id,
                prediction=request.name,
                version=version,
                source=request.source,
                reason=decision.reason,
                scored_hash=scored_hash,
                row_count=rows,
                seconds=time.monotonic() - self.started,
                is_trained=decision.is_trained,
                is_scored=fitted is not None,
                as_of=order.newest,
                ended_at=now(),
            ),
        )

    def _keep_examples(self) -> None:
        if self.request.building == self.request.examples:
            return
        self.con.execute(f"drop table if exists {self.request.examples}")
        self.con.execute(
            f"alter table {self.request.building} rename to {identifier(self.request.examples_identifier)}"
        )

    @cached_property
    def _scored_hash(self) -> str:
        condition = f"{identifier(self.order.spec.as_of)} = timestamp '{self.order.newest}'"
        return rows_hash(self.con, self.request.building, condition)


def _without_history(con: duckdb.DuckDBPyConnection, request: Request, spec: PredictionSpec) -> list[str]:
    """The columns of the SELECT that show an attribute as it is today, and so may tell the future."""
    if spec.include_unversioned:
        return []
    there = {row[0] for row in con.execute(f"describe {request.building}").fetchall()}
    keys = {spec.entity, spec.label, spec.as_of, *spec.exclude}
    left_out = [name for name in request.unversioned if name in there - keys]
    if left_out:
        say(
            f"{request.name}: without {', '.join(left_out)}, of which the source keeps only the present; "
            "include_unversioned=true takes them in"
        )
    return left_out


def _train(
    con: duckdb.DuckDBPyConnection,
    request: Request,
    spec: PredictionSpec,
    examples: Examples,
    fingerprint: Fingerprint,
    progress: Progress,
) -> tuple[TrainedVersion, FittedModel]:
    started = time.monotonic()
    split, parts = split_examples(examples, spec)
    if spec.leak_check:
        _refuse_leaks(parts["train"])
    fitted = fit_of(spec.model)(
        parts["train"],
        parts["validate"],
        params=merged_params(spec.model, spec.params or {}),
        seed=spec.seed,
        class_weight=spec.class_weight,
        progress=progress,
    )
    progress("judging", 0.0)
    truth = f"{identifier(request.truth_schema)}.{identifier(spec.truth)}" if spec.truth else None
    judgement = judge(con, fitted, spec, parts, truth=truth)
    trained = TrainedVersion(
        prediction=request.name,
        spec=spec,
        fingerprint=fingerprint.whole,
        definition=fingerprint.definition,
        schema=examples.schema,
        environment=environment_of(spec.model),
        split=split,
        rows={name: part.rows() for name, part in parts.items()},
        train_seconds=time.monotonic() - started,
        artifact=pack(spec.model, fitted),
        metrics=judgement.metrics,
        pictures=judgement.pictures,
        importance=fitted.importance(),
        target=request.local(request.target),
        examples=request.local(request.examples),
        trained_at=now(),
    )
    return trained, fitted


def _refuse_leaks(train: Examples) -> None:
    suspects = leak_suspects(train)
    if suspects:
        found = ", ".join(f"'{feature}' (AUC {auc:.4f})" for feature, auc in suspects)
        raise ExamplesError(
            f"a feature tells the label by itself on the training rows: {found}. It most likely reads what happened "
            "after as_of; leave it out with exclude, or set leak_check=false if it is right"
        )


def _refuse_broken_contract(con: duckdb.DuckDBPyConnection, request: Request) -> None:
    """The columns of the target and their types are those that its YAML promises, in whatever order."""
    if not request.contract:
        return
    described = con.execute(f"describe {request.target}").fetchall()
    found = {column: duckdb.sqltype(kind) for column, kind, *_ in described}
    promised = {column: duckdb.sqltype(kind) for column, kind in request.contract.items()}
    if found != promised:
        wrong = ", ".join(
            f"{column} is {found.get(column, 'missing')} and promised as {promised.get(column, 'nothing')}"
            for column in sorted(found.keys() | promised.keys())
            if found.get(column) != promised.get(column)
        )
        raise ConfigError(f"the table breaks its contract: {wrong}; mend data_type of its columns in YAML")


def _is_scored_already(
    con: duckdb.DuckDBPyConnection, request: Request, active: ActiveModel | None, scored_hash: str
) -> bool:
    """Does the target already hold what the serving version says of these very rows?"""
    row = con.execute(
        "select version, scored_hash from foretable.runs where prediction = ? order by rowid desc limit 1",
        [request.name],
    ).fetchone()
    is_same = row is not None and active is not None and row == (active.version, scored_hash)
    return is_same and exists(con, request.target)
