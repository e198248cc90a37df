"""What one build of a prediction writes, each in one transaction."""

import time
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import duckdb

from ibis_features import ConfigError, Examples, Split
from models_ml.artifact import unpack
from models_ml.class_trees import classes_of
from models_ml.judgements import replace_judgement
from models_ml.judging import Judgement, judge
from models_ml.registry import (
    ActiveModel,
    PredictionRun,
    TrainedVersion,
    activate,
    add_run,
    add_version,
    read_artifact,
    trained_version,
)
from models_ml.splitting import parts_of
from models_ml.trainer import FittedModel, Progress
from udfs.class_lists import drop_relation, keep_view, rows_of
from udfs.compiling import publish_lookups
from udfs.decision import Decision, Request, rows_hash
from udfs.order import Order, has_other_threshold
from udfs.quoting import identifier
from udfs.scorers import refresh
from udfs.serving import Scoring, exists, now, publish_sql, row_count, write_scores
from udfs.shadow import score_shadows
from udfs.transactions import transaction
from udfs.watching import write_drift


@dataclass(frozen=True)
class Run:
    """What one build of a prediction writes, each in one transaction."""

    con: duckdb.DuckDBPyConnection
    request: Request
    order: Order
    started: float

    def keep(self, trained: TrainedVersion) -> int:
        """The version as a candidate."""
        with transaction(self.con):
            return add_version(self.con, trained)

    def keep_with_examples(self, trained: TrainedVersion, fitted: FittedModel) -> int:
        """The version as a candidate, and the rows that it would score, since no other version can."""
        with transaction(self.con):
            self._keep_examples(fitted)
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
        is_chosen_anew = has_other_threshold(self.con, active, self.order.spec)
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
                item=order.spec.item,
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
        self._keep_examples(fitted)
        publish_lookups(
            con, request.name, target=request.local(request.target), examples=request.local(request.examples)
        )
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

    def _keep_examples(self, fitted: FittedModel | None) -> None:
        """The rows of the SELECT, and of classes the view of them that shows those of the model, if it is another."""
        request = self.request
        if request.building != request.rows:
            for relation in {request.rows, rows_of(request.examples, has_classes=True)}:
                drop_relation(self.con, relation)
            self.con.execute(f"alter table {request.building} rename to {identifier(request.rows_identifier)}")
        if fitted is not None and (classes := classes_of(fitted)):
            keep_view(self.con, request.local(request.examples), self.order.spec.label, classes)

    @cached_property
    def _scored_hash(self) -> str:
        condition = f"{identifier(self.order.spec.as_of)} = timestamp '{self.order.newest}'"
        return rows_hash(self.con, self.request.building, condition)


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
