"""The registry: trained versions and their artifacts, as tables of the schema `foretable` in the warehouse.

Which version serves is one row of `foretable.active`. A version that does not serve is a candidate until it is retired.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import duckdb

from ibis_features import ConfigError, FeatureSchema, NotFoundError, Split
from models_ml.artifact import sha256
from models_ml.importance import Importance
from models_ml.interactions import Interaction
from models_ml.judgements import add_judgement, add_rows
from models_ml.judging import Judgement
from models_ml.kinds import Kind, kind_of
from models_ml.selection import Verdict
from models_ml.spec import PredictionSpec


@dataclass(frozen=True)
class ActiveModel:
    """The version of a prediction that serves. `definition` is the fingerprint without the training rows."""

    prediction: str
    version: int
    model: str
    fingerprint: str
    definition: str | None
    schema: FeatureSchema
    sha256: str
    trained_at: datetime


@dataclass(frozen=True)
class TrainedVersion:
    """A version as it goes into the registry, with its artifact's bytes and what was measured of it.

    `target` and `examples` are the tables of its scores and its rows, as quoted SQL names without a catalog.
    """

    prediction: str
    spec: PredictionSpec
    fingerprint: str
    definition: str | None
    schema: FeatureSchema
    selection: Sequence[Verdict]
    """What each step of `select` said of each feature; `schema` holds those that stayed."""
    interactions: Sequence[Interaction]
    params: Mapping[str, Any]
    environment: Mapping[str, str]
    split: Split
    rows: Mapping[str, int]
    train_seconds: float
    artifact: bytes
    judgement: Judgement
    importances: Sequence[Importance]
    base_log_odds: float | None
    """What the contributions to a score start from; None where the model tells none."""
    target: str
    examples: str
    trained_at: datetime


@dataclass(frozen=True)
class RegisteredVersion:
    """Any version of a prediction. `split` gives the as_of of each part as text, the rest is as in TrainedVersion."""

    version: int
    target: str
    examples: str
    schema: FeatureSchema
    sha256: str
    split: Mapping[str, tuple[str, ...]]
    params: Mapping[str, Any] | None
    """None of a version that is older than they were kept."""


@dataclass(frozen=True)
class PredictionRun:
    """What one build, or a promotion, did with a prediction. `scored_hash` tells the rows that were scored.

    reasons: how many stand beside each score at most.
    """

    run_id: str
    prediction: str
    version: int
    source: str
    reason: str
    scored_hash: str
    reasons: int
    row_count: int
    seconds: float
    is_trained: bool
    is_scored: bool
    as_of: datetime
    ended_at: datetime


def has_registry(con: duckdb.DuckDBPyConnection) -> bool:
    """Is the open warehouse one that foretable has built?"""
    found = con.execute(
        "select count(*) from duckdb_tables() "
        "where database_name = current_database() and schema_name = 'foretable' and table_name = 'active'"
    ).fetchone()
    return bool(found and found[0])


def active_models(con: duckdb.DuckDBPyConnection) -> list[ActiveModel]:
    """Every prediction's serving version, by name; without the artifacts, so that it is quick."""
    rows = con.execute(
        """
        select models.prediction, models.version, models.model, models.fingerprint, models.definition,
            models.feature_schema, models.artifact_sha256, models.trained_at
        from foretable.active as active
        inner join foretable.models as models
            on active.prediction = models.prediction and active.version = models.version
        order by models.prediction
        """
    ).fetchall()
    return [
        ActiveModel(
            prediction, version, model, whole, definition, FeatureSchema.from_json(json.loads(schema)), digest, at
        )
        for prediction, version, model, whole, definition, schema, digest, at in rows
    ]


def active_model(con: duckdb.DuckDBPyConnection, prediction: str) -> ActiveModel | None:
    """The serving version of one prediction; None before its first training."""
    return next((model for model in active_models(con) if model.prediction == prediction), None)


def read_artifact(con: duckdb.DuckDBPyConnection, prediction: str, version: int) -> bytes:
    """The bytes of a version's artifact; raises NotFoundError where there is no such version."""
    row = con.execute(
        "select artifact from foretable.models where prediction = ? and version = ?", [prediction, version]
    ).fetchone()
    if row is None:
        raise NotFoundError(f"no version {version} of prediction '{prediction}'; `foretable predictions` lists them")
    return row[0]


def add_version(con: duckdb.DuckDBPyConnection, trained: TrainedVersion) -> int:
    """Write a version with its metrics, as a candidate, and give its number. The caller holds the transaction."""
    spec, prediction = trained.spec, trained.prediction
    row = con.execute(
        "select coalesce(max(version), 0) + 1 from foretable.models where prediction = ?", [prediction]
    ).fetchone()
    assert row is not None
    version: int = row[0]
    split = {name: [f"{as_of:%Y-%m-%d %H:%M:%S}" for as_of in days] for name, days in asdict(trained.split).items()}
    add_row(
        con,
        "models",
        {
            "prediction": prediction,
            "version": version,
            "model": spec.model,
            "kind": spec.kind,
            "entity": spec.entity,
            "label": spec.label,
            "horizon_days": spec.horizon_days,
            "fingerprint": trained.fingerprint,
            "definition": trained.definition,
            "config": json.dumps(asdict(spec)),
            "feature_schema": json.dumps(trained.schema.to_json()),
            "environment": json.dumps(dict(trained.environment)),
            "split": json.dumps(split),
            **{f"{part}_rows": trained.rows[part] for part in ("train", "validate", "test")},
            "train_seconds": trained.train_seconds,
            "threshold": trained.judgement.threshold,
            "deciding_metric": spec.of_kind.deciding,
            "artifact": trained.artifact,
            "artifact_sha256": sha256(trained.artifact),
            "base_log_odds": trained.base_log_odds,
            "target": trained.target,
            "examples": trained.examples,
            "params": json.dumps(dict(trained.params)),
            "trained_at": trained.trained_at,
        },
    )
    add_judgement(con, prediction, version, trained.judgement)
    add_rows(con, "importances", prediction, version, trained.importances)
    add_rows(con, "feature_selection", prediction, version, trained.selection)
    add_rows(con, "interactions", prediction, version, trained.interactions)
    return version


def newest_version(con: duckdb.DuckDBPyConnection, prediction: str) -> int:
    """The highest number of a version; raises NotFoundError where there is no such prediction."""
    row = con.execute("select max(version) from foretable.models where prediction = ?", [prediction]).fetchone()
    if row is None or row[0] is None:
        raise NotFoundError(f"no prediction '{prediction}'; `foretable predictions` lists them")
    return row[0]


def config_of(con: duckdb.DuckDBPyConnection, prediction: str, version: int) -> tuple[dict[str, Any], str | None]:
    """The config of a version, and its fingerprint without the rows; raises NotFoundError where there is none."""
    status_of(con, prediction, version)
    row = con.execute(
        "select config, definition from foretable.models where prediction = ? and version = ?", [prediction, version]
    ).fetchone()
    assert row is not None
    return json.loads(row[0]), row[1]


def threshold_of(con: duckdb.DuckDBPyConnection, prediction: str, version: int) -> tuple[Any, float | None]:
    """The `threshold` of a version's config and the score that it has led to; None where neither was kept."""
    row = con.execute(
        "select config, threshold from foretable.models where prediction = ? and version = ?", [prediction, version]
    ).fetchone()
    if row is None:
        raise NotFoundError(f"no version {version} of prediction '{prediction}'; `foretable predictions` lists them")
    return json.loads(row[0]).get("threshold"), row[1]


def last_train_seconds(con: duckdb.DuckDBPyConnection, prediction: str) -> float | None:
    """How long the newest version's training took, judging included; None where none was trained."""
    row = con.execute(
        "select train_seconds from foretable.models where prediction = ? order by version desc limit 1", [prediction]
    ).fetchone()
    return row[0] if row else None


def last_reasons(con: duckdb.DuckDBPyConnection, prediction: str) -> int:
    """How many reasons the last run wrote beside each score."""
    row = con.execute(
        "select coalesce(reasons, 0) from foretable.runs where prediction = ? order by rowid desc limit 1", [prediction]
    ).fetchone()
    return row[0] if row else 0


def add_run(con: duckdb.DuckDBPyConnection, run: PredictionRun) -> None:
    add_row(con, "runs", asdict(run))


def add_row(con: duckdb.DuckDBPyConnection, table: str, row: Mapping[str, Any]) -> None:
    """Insert one row into a table of the schema `foretable`, by the names of its columns."""
    con.execute(
        f"insert into foretable.{table} ({', '.join(row)}) values ({', '.join('?' * len(row))})", list(row.values())
    )


def activate(con: duckdb.DuckDBPyConnection, prediction: str, version: int, *, at: datetime, by: str) -> None:
    """Let a version serve. The caller holds the transaction and writes what it serves."""
    con.execute(
        "update foretable.models set retired_at = null, shadow_since = null where prediction = ? and version = ?",
        [prediction, version],
    )
    con.execute("insert or replace into foretable.active values (?, ?, ?)", [prediction, version, at])
    con.execute("insert into foretable.promotions values (?, ?, ?, ?)", [prediction, version, at, by])


def retire(con: duckdb.DuckDBPyConnection, prediction: str, version: int, *, at: datetime) -> None:
    """Take a version out of the candidates; raises ConfigError where it serves."""
    if status_of(con, prediction, version) == "active":
        raise ConfigError(f"version {version} of '{prediction}' serves; promote another one first, or roll back")
    con.execute(
        "update foretable.models set retired_at = ?, shadow_since = null where prediction = ? and version = ?",
        [at, prediction, version],
    )


def set_shadow(con: duckdb.DuckDBPyConnection, prediction: str, version: int, *, since: datetime | None) -> None:
    """Whether a candidate is scored beside the version that serves, and since when; raises ConfigError on any other."""
    if (status := status_of(con, prediction, version)) != "candidate":
        raise ConfigError(
            f"version {version} of '{prediction}' is {status}; only a candidate is scored in the shadow of the version "
            f"that serves: `foretable versions {prediction}` lists them"
        )
    con.execute(
        "update foretable.models set shadow_since = ? where prediction = ? and version = ?",
        [since, prediction, version],
    )


def shadows_of(con: duckdb.DuckDBPyConnection, prediction: str) -> list[int]:
    """The candidates that are scored beside the version that serves."""
    rows = con.execute(
        "select version from foretable.models where prediction = ? and shadow_since is not null order by version",
        [prediction],
    ).fetchall()
    return [version for (version,) in rows]


def trained_version(con: duckdb.DuckDBPyConnection, prediction: str, version: int) -> RegisteredVersion:
    """Any version, without its artifact; raises NotFoundError where there is no such version."""
    status_of(con, prediction, version)
    row = con.execute(
        "select feature_schema, artifact_sha256, split, target, examples, params from foretable.models "
        "where prediction = ? and version = ?",
        [prediction, version],
    ).fetchone()
    assert row is not None
    schema, digest, split, target, examples, params = row
    parts = {name: tuple(days) for name, days in json.loads(split).items()}
    read = FeatureSchema.from_json(json.loads(schema))
    return RegisteredVersion(version, target, examples, read, digest, parts, json.loads(params) if params else None)


def registered_kind(con: duckdb.DuckDBPyConnection, prediction: str, version: int) -> Kind:
    """The kind of a version; raises NotFoundError where there is no such version."""
    status_of(con, prediction, version)
    row = con.execute(
        "select kind, horizon_days from foretable.models where prediction = ? and version = ?", [prediction, version]
    ).fetchone()
    assert row is not None
    return kind_of(*row)


def status_of(con: duckdb.DuckDBPyConnection, prediction: str, version: int) -> str:
    """active, candidate or retired; raises NotFoundError where there is no such version."""
    row = con.execute(
        "select status from foretable.versions where prediction = ? and version = ?", [prediction, version]
    ).fetchone()
    if row is None:
        known = con.execute(
            "select version from foretable.versions where prediction = ? order by version", [prediction]
        ).fetchall()
        if not known:
            raise NotFoundError(f"no prediction '{prediction}'; `foretable predictions` lists them")
        numbers = ", ".join(str(number) for (number,) in known)
        raise NotFoundError(f"no version {version} of prediction '{prediction}'; there are: {numbers}")
    return row[0]


def version_before(con: duckdb.DuckDBPyConnection, prediction: str) -> int:
    """The version that served before the one that serves; raises NotFoundError where there is none."""
    rows = con.execute(
        """
        select promotions.version
        from foretable.promotions as promotions
        inner join foretable.versions as versions
            on promotions.prediction = versions.prediction and promotions.version = versions.version
        where
            promotions.prediction = ? and versions.status = 'candidate'
            -- Going back again leads further back, not to and fro.
            and promotions.rowid < (
                select min(first.rowid)
                from foretable.promotions as first
                inner join foretable.active as active
                    on first.prediction = active.prediction and first.version = active.version
                where first.prediction = promotions.prediction
            )
        order by promotions.rowid desc
        limit 1
        """,
        [prediction],
    ).fetchall()
    if not rows:
        raise NotFoundError(f"no version of '{prediction}' served before the one that serves; nothing to roll back to")
    return rows[0][0]


def version_trained_on(con: duckdb.DuckDBPyConnection, prediction: str, fingerprint: str) -> int | None:
    """The newest version with this fingerprint that is not retired."""
    row = con.execute(
        "select max(version) from foretable.versions where prediction = ? and fingerprint = ? and status <> 'retired'",
        [prediction, fingerprint],
    ).fetchone()
    return row[0] if row else None
