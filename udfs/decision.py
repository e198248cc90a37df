"""When to train: what a trained model depends on, and whether any of it changed."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from importlib.metadata import version as version_of
from typing import Any

import duckdb

from ibis_features import ConfigError, FeatureSchema
from models_ml.artifact import FORMAT, libraries_of
from models_ml.kinds import KINDS
from models_ml.metric_words import metric_word
from models_ml.registry import ActiveModel
from models_ml.spec import PredictionSpec
from udfs.class_lists import ROWS, rows_of
from udfs.quoting import identifier
from udfs.watching import Watch

TRAIN = ("when_changed", "always", "never")


@dataclass(frozen=True)
class Request:
    """What the materialization asks for. Relations and the database are quoted SQL names.

    `select` is a view of the SELECT. Its rows are written into `building`, which becomes `rows`, of most kinds
    `examples`, when all has gone well; where they are those of `rows` already, `building` is `rows`. `train` and
    `promote` are the run's own words, over the prediction's `retrain` and `promote`. `unversioned` names columns that
    show an attribute as it is today. `contract` holds the types that the target promises, by column; none where it
    promises nothing. `is_plan` asks what a build would do, `folds` for a cross-validation of so many.
    """

    name: str
    config: Mapping[str, Any]
    train: str
    sql: str
    database: str
    select: str
    building: str
    examples: str
    examples_identifier: str
    target: str
    truth_schema: str
    run_id: str
    run_at: str
    source: str
    unversioned: Sequence[str] = ()
    contract: Mapping[str, str] = field(default_factory=dict)
    promote: str | None = None
    is_plan: bool = False
    folds: int | None = None

    @property
    def has_classes(self) -> bool:
        """Are the rows kept apart from what is read, which says each once for every class?"""
        kind = self.config.get("kind")
        return isinstance(kind, str) and kind in KINDS and KINDS[kind].has_classes

    @property
    def rows(self) -> str:
        """The relation that keeps the rows of the SELECT."""
        return rows_of(self.examples, has_classes=self.has_classes)

    @property
    def rows_identifier(self) -> str:
        return self.examples_identifier + (ROWS if self.has_classes else "")

    def truth_of(self, spec: PredictionSpec) -> str | None:
        """The quoted name of the relation with the true probabilities; None where there is none."""
        return f"{identifier(self.truth_schema)}.{identifier(spec.truth)}" if spec.truth else None

    def local(self, sql: str) -> str:
        """SQL without the name of the warehouse's catalog, which a copy or another file name would change."""
        return sql.replace(f"{self.database}.", "")


@dataclass(frozen=True)
class Decision:
    """Whether to train, and why or why not in words."""

    is_trained: bool
    reason: str


@dataclass(frozen=True)
class Fingerprint:
    """What a trained model depends on, as hashes: all of it, and all but the labelled rows.

    search: what the best params depend on, so all but the rows and the budget of `tune`. rows: the labelled rows alone.
    """

    whole: str
    definition: str
    search: str
    rows: str


def decide(
    active: ActiveModel | None,
    fingerprint: Fingerprint,
    schema: FeatureSchema,
    request: Request,
    spec: PredictionSpec,
    *,
    candidate: int | None,
    watch: Watch | None,
    now: datetime,
) -> Decision:
    """Train or not. A model is never put to rows whose features are not those it was trained on.

    `candidate` is the version that has this fingerprint, if there is one; `watch` tells how the serving one does.
    """
    if request.train not in TRAIN:
        raise ConfigError(f"unknown train '{request.train}' in --vars; known: {', '.join(TRAIN)}")
    mode = request.train if request.train != "when_changed" else spec.retrain
    if mode == "never":
        if active is None:
            raise ConfigError("it was never trained, and train is 'never'; run once without it")
        if not active.schema.is_within(schema):
            raise ConfigError(
                f"the SELECT's features are not those that version {active.version} was trained on "
                f"({_difference(active.schema, schema)}), and train is 'never'; run once without it"
            )
        return Decision(False, "train is never")
    if active is None and candidate is None:
        return Decision(True, "never trained before")
    if mode == "always":
        return Decision(True, "train is always")
    if active is None:
        assert candidate is not None
        raise ConfigError(_waiting(request.name, candidate, "was trained on these rows"))
    if candidate is not None and candidate != active.version and not active.schema.is_within(schema):
        raise ConfigError(
            f"version {active.version} serves, and the SELECT's features are no longer those it was trained on "
            f"({_difference(active.schema, schema)}); {_waiting(request.name, candidate, 'fits them')}"
        )
    return _decide_by_change(active, fingerprint, spec, candidate=candidate, watch=watch, now=now)


def _decide_by_change(
    active: ActiveModel,
    fingerprint: Fingerprint,
    spec: PredictionSpec,
    *,
    candidate: int | None,
    watch: Watch | None,
    now: datetime,
) -> Decision:
    if active.fingerprint == fingerprint.whole:
        return Decision(False, "nothing changed")
    if candidate is not None:
        return Decision(False, f"version {candidate}, a candidate, was trained on these rows")
    if not spec.policy or active.definition != fingerprint.definition:
        return Decision(True, "the SELECT, the config, the training rows or a library changed")
    conditions = _conditions(active, spec, watch, now)
    if due := [words for is_due, words in conditions if is_due]:
        return Decision(True, f"new rows, and {' and '.join(due)}")
    return Decision(False, f"new rows do not train yet: {', '.join(words for _, words in conditions)}")


def _conditions(
    active: ActiveModel, spec: PredictionSpec, watch: Watch | None, now: datetime
) -> list[tuple[bool, str]]:
    """What the policy waits for: has it come, and how far it is, in words."""
    found = []
    if spec.every is not None:
        due_at = active.trained_at + spec.every
        found.append((now >= due_at, f"a training is due from {due_at:%Y-%m-%d %H:%M} on"))
    deciding = metric_word(spec.of_kind.deciding)
    for key, what in (("on_drift", "the PSI of the scores"), ("on_decay", f"the loss of {deciding} since the test")):
        if key in spec.policy and watch is not None:
            value = watch.drift() if key == "on_drift" else watch.decay()
            bound = spec.policy[key]
            known = "not known yet" if value is None else f"{value:.3f}"
            found.append((value is not None and value > bound, f"{what} is {known}, the bound {bound:g}"))
    return found


def _waiting(name: str, version: int, what: str) -> str:
    return (
        f"version {version} {what} and does not serve: see it with `foretable compare {name}`, let it serve with "
        f"`foretable promote {name} {version}`"
    )


def fingerprint_of(
    con: duckdb.DuckDBPyConnection, request: Request, spec: PredictionSpec, schema: FeatureSchema
) -> Fingerprint:
    """What a trained model depends on: SELECT, config, columns, labelled rows, and the libraries that matter.

    Rows are told by DuckDB's hash(), quick but bound to a DuckDB version: so that version is in the fingerprint, too.
    """
    libraries = {name: version_of(name) for name in ("duckdb", *libraries_of(spec.model))}
    definition: dict[str, Any] = {
        "sql": request.local(request.sql),
        "config": asdict(replace(spec, retrain="when_changed", promote="always", reasons=0, threshold="f1")),
        "schema": schema.to_json(),
        "libraries": libraries,
        "format": FORMAT,
    }
    rows = rows_hash(con, request.building, f"{identifier(spec.label)} is not null")
    searched = {**definition["config"], "tune": spec.tune and [spec.tune.metric, spec.tune.space]}
    return Fingerprint(
        whole=_sha256({**definition, "rows": rows}),
        definition=_sha256(definition),
        search=_sha256({**definition, "config": searched}),
        rows=rows,
    )


def _sha256(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def rows_hash(con: duckdb.DuckDBPyConnection, relation: str, condition: str) -> str:
    """A hash of the rows whatever their order."""
    row = con.execute(
        f"select count(*) || '-' || coalesce(sum(hash(hash(foretable_row))::hugeint), 0) "
        f"from {relation} as foretable_row where {condition}"
    ).fetchone()
    assert row is not None
    return row[0]


def is_copy(con: duckdb.DuckDBPyConnection, table: str, relation: str) -> bool:
    """Does the table hold the columns and rows of the relation, in whatever order the rows lie?"""
    try:
        columns, others = (con.execute(f"describe select * from {one}").fetchall() for one in (table, relation))
    except duckdb.CatalogException:
        return False
    # Counting is quick, and on most days there are more rows.
    counts = [con.execute(f"select count(*) from {one}").fetchone() for one in (table, relation)]
    if columns != others or counts[0] != counts[1]:
        return False
    return rows_hash(con, table, "true") == rows_hash(con, relation, "true")


def environment_of(model: str) -> dict[str, str]:
    libraries = {name: version_of(name) for name in ("foretable", "duckdb", "ibis-framework", *libraries_of(model))}
    return {"python": platform.python_version(), "machine": platform.machine(), **libraries}


def _difference(old: FeatureSchema, new: FeatureSchema) -> str:
    gone = [name for name in old.names if name not in new.names]
    added = [name for name in new.names if name not in old.names]
    parts = [f"without {', '.join(gone)}"] if gone else []
    parts += [f"with {', '.join(added)}"] if added else []
    return "; ".join(parts) or "in another order or of other types"
