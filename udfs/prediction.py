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
    ForetableError,
    Split,
    check_keys,
    check_labels,
    connect_backend,
    read_examples,
    read_schema,
)
from models_ml.artifact import unpack
from models_ml.cross_validation import add_fold, check_folds, cross_validate
from models_ml.judgements import replace_judgement
from models_ml.judging import Judgement, check_slices, judge, not_beaten, rfm_columns
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
    threshold_of,
    trained_version,
    version_trained_on,
)
from models_ml.spec import PredictionSpec, parse_spec
from models_ml.splitting import parts_of, split_examples
from models_ml.trainer import FittedModel, Progress, merged_params
from models_ml.tuning import check_search
from udfs.decision import Decision, Fingerprint, Request, decide, fingerprint_of, is_copy, rows_hash
from udfs.progress import report, say
from udfs.quoting import identifier
from udfs.scorers import refresh
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
from udfs.shadow import score_shadows
from udfs.training import train
from udfs.transactions import outside_transaction, transaction
from udfs.tuning import found_params, trials_left
from udfs.watching import Watch, write_drift, write_realised


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
            gathered = _gathered(con, asked)
            if asked.is_plan:
                _plan(con, gathered)
            elif asked.folds is not None:
                _cross_validate(con, gathered, report(asked.name))
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


def _drop_gathered(con: duckdb.DuckDBPyConnection, request: Request) -> None:
    if request.building != request.examples:
        con.execute(f"drop table {request.building}")


def _understand(con: duckdb.DuckDBPyConnection, request: Request) -> _Order:
    asked_for = {"promote": request.promote} if request.promote else {}
    spec = parse_spec({**request.config, **asked_for})
    check_keys_of_scores(spec)
    merged_params(spec.model, spec.params or {})
    check_search(spec)
    exclude = (*spec.exclude, *_without_history(con, request, spec))
    schema = read_schema(con, request.building, entity=spec.entity, label=spec.label, as_of=spec.as_of, exclude=exclude)
    examples = read_examples(connect_backend(con), request.building, schema)
    check_keys(examples)
    check_labels(examples)
    check_slices(examples, spec)
    rfm_columns(schema, spec)
    return _Order(spec, examples, newest_snapshot(con, request.building, spec.as_of))


def _decide(con: duckdb.DuckDBPyConnection, request: Request, order: _Order) -> _Standing:
    """Whether to train, once the outcomes that are known by now are written down: a policy may ask for them."""
    spec, schema = order.spec, order.examples.schema
    with transaction(con):
        write_realised(con, request.name, request.building, schema, now())
    fingerprint = fingerprint_of(con, request, spec, schema)
    active = active_model(con, request.name)
    candidate = version_trained_on(con, request.name, fingerprint.whole)
    watch = None
    if active is not None and active.schema.is_within(schema):
        watch = Watch(con, active, order.examples, order.newest)
    decision = decide(active, fingerprint, schema, request, spec, candidate=candidate, watch=watch, now=now())
    if active is not None and not decision.is_trained and _has_other_threshold(con, active, spec):
        decision = Decision(False, f"{decision.reason}; the threshold is chosen anew")
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
    left = trials_left(con, request.name, order.spec, standing.fingerprint) if is_trained else 0
    searching = f"; a search of at most {left} trials comes first" if left else ""
    as_of = identifier(order.spec.as_of)
    plan = {
        "run_id": request.run_id,
        "prediction": request.name,
        "model": order.spec.model,
        "is_trained": is_trained,
        "reason": standing.decision.reason + searching,
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
    _drop_gathered(con, request)


def _cross_validate(con: duckdb.DuckDBPyConnection, request: Request, progress: Progress) -> None:
    """Write into foretable.cross_validation how a training does on so many histories; nothing else is changed."""
    order = _understand(con, request)
    spec, folds = order.spec, check_folds(request.folds)
    fingerprint = fingerprint_of(con, request, spec, order.examples.schema)
    params = found_params(con, request.name, spec, fingerprint)
    truth = request.truth_of(spec)
    found = list(cross_validate(con, order.examples, spec, params, folds, truth=truth, progress=progress))
    key = {"run_id": request.run_id, "prediction": request.name, "definition": fingerprint.definition}
    with transaction(con):
        for fold in found:
            add_fold(con, fold, **key, at=now())
        _drop_gathered(con, request)
    progress("done", 1.0)


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
    trained, fitted = train(con, request, order.spec, order.examples, standing.fingerprint, progress)
    objection = _objection(trained, order.spec)
    if objection is None:
        run.serve(trained, fitted, decision, progress)
    elif active is not None and active.schema.is_within(order.examples.schema):
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
    return not_beaten(trained.judgement.metrics) if spec.promote == "when_better" else None


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
        fitted = judgement = None
        is_chosen_anew = _has_other_threshold(self.con, active, self.order.spec)
        is_scored = _is_scored_already(self.con, self.request, active, self._scored_hash, self.order.spec.reasons)
        if is_chosen_anew or not is_scored:
            blob = read_artifact(self.con, self.request.name, active.version)
            fitted = unpack(blob, expected_sha256=active.sha256)
            judgement = self._judged_anew(active, fitted) if is_chosen_anew else None
        with transaction(self.con):
            if judgement:
                threshold = self.order.spec.threshold
                replace_judgement(self.con, self.request.name, active.version, judgement, threshold)
            self._finish(active.version, fitted, decision)
        refresh(self.con, self.request.name)
        progress("done", 1.0)

    def _judged_anew(self, active: ActiveModel, fitted: FittedModel) -> Judgement:
        """The serving version by the threshold that the config asks for now, on the rows that it was judged by."""
        split = trained_version(self.con, self.request.name, active.version).split
        examples = self.order.examples
        instants = {name: tuple(map(datetime.fromisoformat, days)) for name, days in split.items()}
        parts = parts_of(examples, Split(**instants), self.order.spec)
        if gone := [name for name in ("train", "validate", "test") if not parts[name].rows()]:
            raise ConfigError(
                f"the threshold has changed, and the labelled {gone[0]} rows of version {active.version} are gone; "
                "choose one with a new version: `foretable build --train always`"
            )
        return judge(self.con, fitted, self.order.spec, parts, truth=self.request.truth_of(self.order.spec))

    def _finish(self, version: int, fitted: FittedModel | None, decision: Decision) -> None:
        con, request, order = self.con, self.request, self.order
        scored_hash = self._scored_hash
        if fitted is None:
            rows = row_count(con, request.target)
        else:
            scoring = Scoring(
                prediction=request.name,
                version=version,
                entity=order.spec.entity,
                as_of=order.spec.as_of,
                examples=request.building,
                newest=order.newest,
                target=request.target,
                run_id=request.run_id,
                run_at=request.run_at,
                reasons=order.spec.reasons,
            )
            rows = write_scores(con, scoring, fitted)
            score_shadows(con, scoring)
            rows_read = Examples(order.examples.table, fitted.schema)
            write_drift(con, request.name, version, fitted, rows_read, order.newest, now())
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
                reasons=order.spec.reasons,
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


def _has_other_threshold(con: duckdb.DuckDBPyConnection, active: ActiveModel, spec: PredictionSpec) -> bool:
    """Does the config ask for another threshold than the serving version has?"""
    return threshold_of(con, active.prediction, active.version)[0] != spec.threshold


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
    con: duckdb.DuckDBPyConnection, request: Request, active: ActiveModel | None, scored_hash: str, reasons: int
) -> bool:
    """Does the target already hold what the serving version says of these very rows, with so many reasons?"""
    row = con.execute(
        "select version, scored_hash, coalesce(reasons, 0) from foretable.runs where prediction = ? "
        "order by rowid desc limit 1",
        [request.name],
    ).fetchone()
    is_same = row is not None and active is not None and row == (active.version, scored_hash, reasons)
    return is_same and exists(con, request.target)
