"""Which version of a prediction serves: promote, roll back, retire, and compare, on a warehouse as it stands."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from ibis_features import ConfigError, Examples, NotFoundError, connect_backend, read_examples
from models_ml import registry
from models_ml.artifact import unpack
from models_ml.bootstrap import with_difference, with_intervals
from models_ml.class_rows import without_class
from models_ml.class_trees import classes_of
from models_ml.judging import entity_codes, scored
from models_ml.kinds import lists_of
from models_ml.registry import (
    PredictionRun,
    RegisteredVersion,
    activate,
    active_model,
    add_run,
    last_reasons,
    read_artifact,
    registered_kind,
    status_of,
    threshold_of,
    trained_version,
    version_before,
)
from models_ml.trainer import FittedModel
from udfs.class_lists import keep_view, rows_of, scored_rows
from udfs.compiling import check_names_are_free, prepare_functions, publish_lookups
from udfs.decision import rows_hash
from udfs.quoting import identifier
from udfs.scorers import refresh
from udfs.serving import Scoring, exists, newest_snapshot, now, publish_sql, write_scores
from udfs.transactions import transaction
from udfs.watching import write_drift

SEED = 7


@dataclass(frozen=True)
class Promotion:
    """A version that serves now, and how many rows it scored anew."""

    prediction: str
    version: int
    rows: int


def promote(con: duckdb.DuckDBPyConnection, prediction: str, version: int, *, by: str = "promote") -> Promotion:
    """Let a version serve: its scores, its macro and the row that says so change in one transaction.

    The newest rows of the last build are scored. Raises NotFoundError where there is no such version, ConfigError
    where it serves already or its features are no longer those of the SELECT.
    """
    started = time.monotonic()
    if status_of(con, prediction, version) == "active":
        raise ConfigError(f"version {version} of '{prediction}' serves already")
    found = trained_version(con, prediction, version)
    examples = examples_of(con, prediction, found)
    fitted = able_to_score(con, prediction, found, examples)
    reasons = last_reasons(con, prediction)
    ended_at = now()
    prepare_functions(con)
    check_names_are_free(con, prediction)
    with transaction(con):
        activate(con, prediction, version, at=ended_at, by=by)
        rows_of_all = read_examples(connect_backend(con), scored_rows(examples, fitted), found.schema)
        publish_sql(con, prediction, fitted, rows_of_all)
        scoring = scoring_by(con, prediction, found, examples, at=ended_at, reasons=reasons)
        rows = write_scores(con, scoring, fitted)
        if classes := classes_of(fitted):
            keep_view(con, found.examples, found.schema.item or "", classes)
        publish_lookups(con, prediction, target=found.target, examples=found.examples)
        write_drift(con, prediction, version, fitted, rows_of_all, scoring.newest, ended_at)
        add_run(
            con,
            PredictionRun(
                run_id=scoring.run_id,
                prediction=prediction,
                version=version,
                source=by,
                reason=f"{by} of version {version}",
                scored_hash=rows_hash(
                    con, examples, f"{identifier(found.schema.as_of)} = timestamp '{scoring.newest}'"
                ),
                reasons=reasons,
                row_count=rows,
                seconds=time.monotonic() - started,
                is_trained=False,
                is_scored=True,
                as_of=scoring.newest,
                ended_at=ended_at,
            ),
        )
    refresh(con, prediction)
    return Promotion(prediction, version, rows)


def scoring_by(
    con: duckdb.DuckDBPyConnection,
    prediction: str,
    found: RegisteredVersion,
    examples: str,
    *,
    at: datetime,
    reasons: int = 0,
) -> Scoring:
    """The scoring of the newest of these rows by a version, apart from a build."""
    return Scoring(
        prediction=prediction,
        version=found.version,
        entity=found.schema.entity,
        item=found.schema.item,
        as_of=found.schema.as_of,
        examples=examples,
        newest=newest_snapshot(con, examples, found.schema.as_of),
        target=found.target,
        run_id=str(uuid.uuid4()),
        run_at=f"{at:%Y-%m-%d %H:%M:%S}",
        reasons=reasons,
    )


def roll_back(con: duckdb.DuckDBPyConnection, prediction: str) -> Promotion:
    """Let the version serve again that served before the one that serves; again and again, further back each time."""
    if active_model(con, prediction) is None:
        raise NotFoundError(f"no version of a prediction '{prediction}' serves; `foretable predictions` lists them")
    return promote(con, prediction, version_before(con, prediction), by="rollback")


def retire(con: duckdb.DuckDBPyConnection, prediction: str, version: int) -> None:
    """Take a candidate out of the choice; its artifact and its metrics stay."""
    with transaction(con):
        registry.retire(con, prediction, version, at=now())


def compare(con: duckdb.DuckDBPyConnection, prediction: str, one: int, other: int) -> list[dict[str, Any]]:
    """Two versions on the newest labelled snapshot that neither trained on nor chose its settings by.

    A row a metric: its value for each, and for the deciding one, of truth values the AUC, the difference with its 95%
    interval, from the same resampled entities. Raises ConfigError where every labelled snapshot was seen by one of
    them.
    """
    versions = [trained_version(con, prediction, version) for version in (one, other)]
    models = [
        unpack(read_artifact(con, prediction, version.version), expected_sha256=version.sha256) for version in versions
    ]
    examples = scored_rows(examples_of(con, prediction, versions[0]), *models)
    rows = read_examples(connect_backend(con), examples, versions[0].schema)
    newest = _newest_unseen(prediction, rows, versions)
    part = rows.at([newest])
    scores = []
    for version, fitted in zip(versions, models, strict=True):
        labels, values = scored(fitted, Examples(part.table, version.schema))
        scores.append(values)
    entities, lists = entity_codes(part), lists_of(part)
    kind = registered_kind(con, prediction, one)
    measures = [
        kind.measures(labels, values, threshold=threshold_of(con, prediction, version.version)[1], lists=lists)
        for values, version in zip(scores, versions, strict=True)
    ]
    measured = [with_intervals(by_one, len(labels), seed=SEED, resamples=0) for by_one in measures]
    first_measures, second_measures = measures
    above = with_difference(kind.deciding, first_measures, second_measures, len(labels), entities=entities, seed=SEED)
    return [
        {
            "metric": first.name,
            f"version {one}": first.value,
            f"version {other}": second.value,
            "difference": first.value - second.value,
            "lower": above.lower if first.name == kind.deciding else None,
            "upper": above.upper if first.name == kind.deciding else None,
            "as_of": newest,
            "rows": first.rows,
        }
        for first, second in zip(*measured, strict=True)
    ]


def able_to_score(
    con: duckdb.DuckDBPyConnection, prediction: str, version: RegisteredVersion, examples: str
) -> FittedModel:
    """A version's model; raises ConfigError where the examples, a quoted relation, lack what it reads, as it was."""
    columns = {name: kind for name, kind, *_ in con.execute(f"describe {examples}").fetchall()}
    schema = without_class(version.schema)
    if gone := [name for name in schema.names if name not in columns]:
        raise ConfigError(
            f"version {version.version} of '{prediction}' reads features that the SELECT no longer returns "
            f"({', '.join(gone)}); it cannot score today's rows"
        )
    if changed := [feature for feature in schema.features if columns[feature.name] != feature.sql_type]:
        kinds = ", ".join(f"{feature.name}: {feature.sql_type}, now {columns[feature.name]}" for feature in changed)
        raise ConfigError(
            f"version {version.version} of '{prediction}' reads features that have another type now ({kinds}); "
            "it cannot score today's rows"
        )
    return unpack(read_artifact(con, prediction, version.version), expected_sha256=version.sha256)


def examples_of(con: duckdb.DuckDBPyConnection, prediction: str, version: RegisteredVersion) -> str:
    """The quoted relation of the rows that the SELECT of the last build returned.

    Raises NotFoundError where there are none.
    """
    rows = rows_of(version.examples, has_classes=version.schema.has_classes)
    if not exists(con, rows):
        raise NotFoundError(f"the warehouse holds no rows of '{prediction}'; build it once")
    return rows


def _newest_unseen(prediction: str, rows: Examples, versions: Sequence[RegisteredVersion]) -> datetime:
    seen = {as_of for version in versions for part in ("train", "validate") for as_of in version.split[part]}
    as_of, label = rows.table[rows.schema.as_of], rows.table[rows.schema.label]
    labelled = rows.table.filter(label.notnull()).select(as_of=as_of.cast("timestamp")).distinct().to_pyarrow()
    unseen = [day for day in labelled["as_of"].to_pylist() if f"{day:%Y-%m-%d %H:%M:%S}" not in seen]
    if not unseen:
        raise ConfigError(f"no labelled snapshot of '{prediction}' is new to both versions; wait for the next labels")
    return max(unseen)
