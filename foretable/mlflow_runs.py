"""A version of a prediction as a run of MLflow: its params, metrics, tags and artifact."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretable.predictions import has_state, list_versions, rows_of
from ibis_features.errors import ArtifactError, NotFoundError

if TYPE_CHECKING:
    import duckdb
    from mlflow import MlflowClient

AT_ONCE = 100
"""MLflow takes no more params in one call."""
LONGEST_PARAM = 6000
MATCHED = ("foretable.prediction", "foretable.version", "foretable.fingerprint", "foretable.artifact_sha256")
"""Tags that together tell whether a run is of this very version."""


@dataclass(frozen=True)
class ExportedVersion:
    """What goes into the run. Metrics that are not defined on their rows are left out."""

    prediction: str
    version: int
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    artifact: bytes
    artifact_sha256: str
    trained_at: datetime


def read_version(con: duckdb.DuckDBPyConnection, prediction: str, version: int | None) -> ExportedVersion:
    """A version of a warehouse, the one that serves where none is named.

    Raises NotFoundError where there is no such version, ArtifactError where its bytes are not those of its sha256.
    """
    from models_ml.artifact import sha256
    from models_ml.registry import read_artifact, status_of

    if not has_state(con):
        raise NotFoundError("the warehouse holds no predictions; train some with `foretable build`")
    if version is None:
        serving = [row["version"] for row in list_versions(con, prediction) if row["status"] == "active"]
        if not serving:
            raise NotFoundError(f"no version of '{prediction}' serves; name one with --version")
        [version] = serving
    status = status_of(con, prediction, version)
    key = [prediction, version]
    [model] = rows_of(con, "select * from foretable.versions where prediction = ? and version = ?", key)
    artifact = read_artifact(con, prediction, version)
    if sha256(artifact) != model["artifact_sha256"]:
        raise ArtifactError(f"the artifact of version {version} of '{prediction}' is not the one that was registered")
    rows = rows_of(
        con,
        "select split, scored_by, metric, value, lower, upper from foretable.metrics "
        "where prediction = ? and version = ?",
        key,
    )
    counts = {name: str(model[name]) for name in ("train_rows", "validate_rows", "test_rows")}
    found = {"params": json.loads(model["params"] or "{}")}  # what a search has found is not in the config
    return ExportedVersion(
        prediction=prediction,
        version=version,
        params={**dict(_flat(json.loads(model["config"]))), **dict(_flat(found)), **counts},
        metrics={name: value for row in rows for name, value in _named(row) if not math.isnan(value)},
        tags={
            "foretable.prediction": prediction,
            "foretable.version": str(version),
            "foretable.status": status,
            "foretable.fingerprint": model["fingerprint"],
            "foretable.artifact_sha256": model["artifact_sha256"],
            **{f"environment.{name}": str(found) for name, found in json.loads(model["environment"]).items()},
        },
        artifact=artifact,
        artifact_sha256=model["artifact_sha256"],
        trained_at=model["trained_at"].replace(tzinfo=UTC),
    )


def export_run(exported: ExportedVersion, *, tracking_uri: str | None, experiment: str) -> tuple[str, bool]:
    """Write the run; give its id, and whether it is new. A run that was broken off does not count as there."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(tracking_uri=tracking_uri)
    found = client.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else client.create_experiment(experiment)
    if known := _run_of(client, experiment_id, exported):
        return known, False
    at = int(exported.trained_at.timestamp() * 1000)
    name = f"{exported.prediction} version {exported.version}"
    run = client.create_run(experiment_id, start_time=at, run_name=name, tags=dict(exported.tags))
    run_id: str = run.info.run_id
    params = [Param(key, value[:LONGEST_PARAM]) for key, value in exported.params.items()]
    metrics = [Metric(key, value, at, 0) for key, value in exported.metrics.items()]
    for start in range(0, max(len(params), len(metrics)), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        client.log_batch(run_id, metrics=metrics[part], params=params[part])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{exported.prediction}.{exported.version}.zip"
        file.write_bytes(exported.artifact)
        client.log_artifact(run_id, str(file))
        sums = file.with_suffix(".sha256")
        sums.write_text(f"{exported.artifact_sha256}  {file.name}\n", encoding="utf-8")
        client.log_artifact(run_id, str(sums))
    client.set_terminated(run_id)
    return run_id, True


def _run_of(client: MlflowClient, experiment_id: str, exported: ExportedVersion) -> str | None:
    runs = client.search_runs(
        [experiment_id], filter_string=f"tags.`foretable.fingerprint` = '{exported.tags['foretable.fingerprint']}'"
    )
    same = [
        run.info.run_id
        for run in runs
        if run.info.status == "FINISHED" and all(run.data.tags.get(tag) == exported.tags[tag] for tag in MATCHED)
    ]
    return same[0] if same else None


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings under dotted names, each value as text."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


def _named(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """A metric and the ends of its interval, named by split and by who scored."""
    name = f"{row['split']}.{row['scored_by']}.{row['metric']}"
    for suffix, column in (("", "value"), (".lower", "lower"), (".upper", "upper")):
        if row[column] is not None:
            yield name + suffix, row[column]
