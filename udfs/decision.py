"""When to train: what a trained model depends on, and whether any of it changed."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version as version_of
from typing import Any

import duckdb

from ibis_features import ConfigError, FeatureSchema
from models_ml.artifact import FORMAT, LIBRARIES
from models_ml.registry import ActiveModel
from models_ml.spec import PredictionSpec
from udfs.scorers import identifier

TRAIN = ("when_changed", "always", "never")


@dataclass(frozen=True)
class Request:
    """What the materialization asks for. Relations and the database are quoted SQL names.

    `building` holds the SELECT's rows; it becomes `examples` when all has gone well. `train` is the run's own word,
    over the prediction's `retrain`. `unversioned` names columns that show an attribute as it is today. `contract` holds
    the types that the target promises, by column; none where it promises nothing.
    """

    name: str
    config: Mapping[str, Any]
    train: str
    sql: str
    database: str
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


@dataclass(frozen=True)
class Decision:
    """Whether to train, and why or why not in words."""

    is_trained: bool
    reason: str


def decide(
    active: ActiveModel | None, fingerprint: str, schema: FeatureSchema, request: Request, spec: PredictionSpec
) -> Decision:
    """Train or not. A model is never put to rows whose features are not those it was trained on."""
    if request.train not in TRAIN:
        raise ConfigError(f"unknown train '{request.train}' in --vars; known: {', '.join(TRAIN)}")
    mode = request.train if request.train != "when_changed" else spec.retrain
    if mode == "never":
        if active is None:
            raise ConfigError("it was never trained, and train is 'never'; run once without it")
        if active.schema != schema:
            raise ConfigError(
                f"the SELECT's features are not those that version {active.version} was trained on "
                f"({_difference(active.schema, schema)}), and train is 'never'; run once without it"
            )
        return Decision(False, "train is never")
    if active is None:
        return Decision(True, "never trained before")
    if mode == "always":
        return Decision(True, "train is always")
    if active.fingerprint != fingerprint:
        return Decision(True, "the SELECT, the config, the training rows or a library changed")
    return Decision(False, "nothing changed")


def fingerprint_of(
    con: duckdb.DuckDBPyConnection, request: Request, spec: PredictionSpec, schema: FeatureSchema
) -> str:
    """What a trained model depends on: SELECT, config, columns, labelled rows, and the libraries that matter.

    Rows are told by DuckDB's hash(), quick but bound to a DuckDB version: so that version is in the fingerprint, too.
    """
    libraries = {name: version_of(name) for name in ("duckdb", *LIBRARIES[spec.model])}
    state = {
        "sql": request.sql.replace(f"{request.database}.", ""),  # a warehouse may be copied or renamed
        "config": asdict(replace(spec, retrain="when_changed")),
        "schema": schema.to_json(),
        "rows": rows_hash(con, request.building, f"{identifier(schema.label)} is not null"),
        "libraries": libraries,
        "format": FORMAT,
    }
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def rows_hash(con: duckdb.DuckDBPyConnection, relation: str, condition: str) -> str:
    """A hash of the rows whatever their order."""
    row = con.execute(
        f"select count(*) || '-' || coalesce(sum(hash(examples)::hugeint), 0) "
        f"from {relation} as examples where {condition}"
    ).fetchone()
    assert row is not None
    return row[0]


def environment_of(model: str) -> dict[str, str]:
    libraries = {name: version_of(name) for name in ("foretable", "duckdb", "ibis-framework", *LIBRARIES[model])}
    return {"python": platform.python_version(), "machine": platform.machine(), **libraries}


def _difference(old: FeatureSchema, new: FeatureSchema) -> str:
    gone = [name for name in old.names if name not in new.names]
    added = [name for name in new.names if name not in old.names]
    parts = [f"without {', '.join(gone)}"] if gone else []
    parts += [f"with {', '.join(added)}"] if added else []
    return "; ".join(parts) or "in another order or of other types"
