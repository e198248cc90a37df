"""The registry: trained versions and their artifacts, as tables of the schema `foretable` in the warehouse."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import duckdb

from ibis_features import FeatureSchema, NotFoundError, Split
from models_ml.artifact import sha256
from models_ml.evaluation import Metric
from models_ml.spec import PredictionSpec


@dataclass(frozen=True)
class ActiveModel:
    """The version of a prediction that serves."""

    prediction: str
    version: int
    model: str
    fingerprint: str
    schema: FeatureSchema
    sha256: str


@dataclass(frozen=True)
class TrainedVersion:
    """A version as it goes into the registry, with its artifact's bytes and what was measured of it."""

    prediction: str
    spec: PredictionSpec
    fingerprint: str
    schema: FeatureSchema
    environment: Mapping[str, str]
    split: Split
    rows: Mapping[str, int]
    train_seconds: float
    artifact: bytes
    metrics: tuple[tuple[str, str, Metric], ...]
    """(split, scored_by, metric): the model itself or one of its baselines."""
    importance: Mapping[str, float]
    trained_at: datetime


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
        select models.prediction, models.version, models.model, models.fingerprint, models.feature_schema,
            models.artifact_sha256
        from foretable.active as active
        inner join foretable.models as models
            on active.prediction = models.prediction and active.version = models.version
        order by models.prediction
        """
    ).fetchall()
    return [
        ActiveModel(prediction, version, model, fingerprint, FeatureSchema.from_json(json.loads(schema)), digest)
        for prediction, version, model, fingerprint, schema, digest in rows
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
    """Write a version with its metrics, let it serve, and give its number. The caller holds the transaction."""
    spec, prediction = trained.spec, trained.prediction
    row = con.execute(
        "select coalesce(max(version), 0) + 1 from foretable.models where prediction = ?", [prediction]
    ).fetchone()
    assert row is not None
    version: int = row[0]
    split = {name: [f"{as_of:%Y-%m-%d %H:%M:%S}" for as_of in days] for name, days in asdict(trained.split).items()}
    con.execute(
        f"insert into foretable.models values ({', '.join('?' * 19)})",
        [
            prediction,
            version,
            spec.model,
            spec.kind,
            spec.entity,
            spec.label,
            spec.horizon_days,
            trained.fingerprint,
            json.dumps(asdict(spec)),
            json.dumps(trained.schema.to_json()),
            json.dumps(dict(trained.environment)),
            json.dumps(split),
            trained.rows["train"],
            trained.rows["validate"],
            trained.rows["test"],
            trained.train_seconds,
            trained.artifact,
            sha256(trained.artifact),
            trained.trained_at,
        ],
    )
    con.executemany(
        "insert into foretable.metrics values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            [prediction, version, split_name, scored_by, m.name, m.value, m.lower, m.upper, m.rows]
            for split_name, scored_by, m in trained.metrics
        ],
    )
    if trained.importance:
        con.executemany(
            "insert into foretable.feature_importance values (?, ?, ?, ?)",
            [[prediction, version, feature, share] for feature, share in trained.importance.items()],
        )
    con.execute("insert or replace into foretable.active values (?, ?, ?)", [prediction, version, trained.trained_at])
    return version


def metrics_of(con: duckdb.DuckDBPyConnection, prediction: str, version: int) -> list[dict[str, Any]]:
    """The metrics of a version and of its baselines, as rows."""
    table = con.execute(
        "select split, scored_by, metric, value, lower, upper, row_count from foretable.metrics "
        "where prediction = ? and version = ? order by all",
        [prediction, version],
    ).to_arrow_table()
    return table.to_pylist()
