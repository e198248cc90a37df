"""What a warehouse knows of its predictions: what is trained, how good it is beside its baselines, what is scored."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ibis_features.errors import NotFoundError

if TYPE_CHECKING:
    import duckdb

PREDICTIONS = "config.materialized:prediction"
"""All predictions, in dbt's words."""
BASELINES = ("base_rate", "class_shares", "mean", "recency", "rfm", "last_value", "popularity", "truth")
DESCRIBED = (
    *("prediction", "version", "model", "kind", "entity", "label", "horizon_days", "trained_at"),
    *("train_rows", "validate_rows", "test_rows", "train_seconds"),
)
"""What a list tells of a version besides how good it is."""
OTHERS = ("pr_auc", "log_loss", "top_3_accuracy", "rmse", "mae", "mrr", "hr_at_10")
"""Metrics that stand beside the deciding one."""
REALISED = (
    *("roc_auc", "log_loss", "expected_calibration_error", "r2", "normalised_gini", "rmse", "mae", "concordance"),
    *("ndcg_at_10", "mrr", "hr_at_10", "macro_roc_auc", "accuracy", "top_3_accuracy"),
)


def list_predictions(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """One row a prediction that serves, sorted by name; the metrics are those of the test snapshots."""
    models = rows_of(
        con,
        """
        select models.* exclude (artifact)
        from foretable.active as active
        inner join foretable.models as models
            on active.prediction = models.prediction and active.version = models.version
        order by models.prediction
        """,
    )
    metrics = {
        (row["prediction"], row["scored_by"], row["metric"]): row
        for row in rows_of(
            con,
            """
            select metrics.prediction, metrics.scored_by, metrics.metric, metrics.value, metrics.lower, metrics.upper
            from foretable.metrics as metrics
            inner join foretable.active as active
                on metrics.prediction = active.prediction and metrics.version = active.version
            where metrics.split = 'test'
            """,
        )
    }
    scored = {
        row["prediction"]: row
        for row in rows_of(
            con,
            """
            select runs.prediction, runs.as_of, runs.row_count
            from foretable.runs as runs
            qualify row_number() over (partition by runs.prediction order by runs.rowid desc) = 1
            """,
        )
    }
    return [_described(model, metrics, scored.get(model["prediction"], {})) for model in models]


def list_versions(con: duckdb.DuckDBPyConnection, prediction: str) -> list[dict[str, Any]]:
    """One row a version, newest first, with its deciding metric on the test snapshots.

    Raises NotFoundError where there is none.
    """
    rows = rows_of(con, "select * from foretable.versions where prediction = ? order by version desc", [prediction])
    if not rows:
        raise NotFoundError(f"no prediction '{prediction}'; `foretable predictions` lists them")
    found = {
        (row["version"], row["metric"]): row
        for row in rows_of(
            con,
            "select version, metric, value, lower, upper from foretable.metrics "
            "where prediction = ? and split = 'test' and scored_by = 'model'",
            [prediction],
        )
    }
    for row in rows:
        row["deciding_metric"] = _deciding(row)
        test = found.get((row["version"], row["deciding_metric"]), {})
        row |= {f"test_{name}": test.get(name) for name in ("value", "lower", "upper")}
    return rows


def versions_to_compare(con: duckdb.DuckDBPyConnection, prediction: str) -> tuple[int, int]:
    """The newest version that is not retired, and the one that serves or, where they are one, the newest other."""
    rows = [row for row in list_versions(con, prediction) if row["status"] != "retired"]
    others = sorted(rows[1:], key=lambda row: row["status"] != "active")
    if not others:
        raise NotFoundError(f"'{prediction}' has one version only; nothing to compare it with")
    return rows[0]["version"], others[0]["version"]


def realised_by_both(con: duckdb.DuckDBPyConnection, prediction: str, one: int, other: int) -> list[dict[str, Any]]:
    """A row a metric of REALISED and snapshot that both have scored and whose outcomes are known, newest first."""
    return rows_of(
        con,
        f"""
        select as_of, metric, min(row_count) as row_count, max(value) filter (version = $one) as one,
            max(value) filter (version = $other) as other
        from foretable.realised
        where prediction = $prediction and version in ($one, $other) and metric in {REALISED}
        group by as_of, metric
        having count(distinct version) = 2
        order by as_of desc, list_position({list(REALISED)}, metric)
        """,
        {"prediction": prediction, "one": one, "other": other},
    )


def runs_of(con: duckdb.DuckDBPyConnection, run_id: str) -> list[dict[str, Any]]:
    """What one build did with each prediction, in its order."""
    return rows_of(
        con,
        "select prediction, version, reason, row_count, seconds, is_trained, is_scored from foretable.runs "
        "where run_id = ? order by rowid",
        [run_id],
    )


def plans_of(con: duckdb.DuckDBPyConnection, run_id: str) -> list[dict[str, Any]]:
    """What a plan found, one row a prediction, sorted by name."""
    return rows_of(con, "select * from foretable.plans where run_id = ? order by prediction", [run_id])


def folds_of(con: duckdb.DuckDBPyConnection, run_id: str) -> list[dict[str, Any]]:
    """What a cross-validation found, one row a fold, who scored and metric, in its order."""
    return rows_of(con, "select * from foretable.cross_validation where run_id = ? order by rowid", [run_id])


def has_state(con: duckdb.DuckDBPyConnection) -> bool:
    """Has foretable ever built this warehouse?"""
    found = con.execute(
        "select count(*) from duckdb_tables() "
        "where database_name = current_database() and schema_name = 'foretable' and table_name in ('active', 'runs')"
    ).fetchone()
    return bool(found and found[0] == 2)


def share_of_the_way(model: float | None, recency: float | None, truth: float | None) -> float | None:
    """How far the model has come from what recency alone tells towards what can be known at all."""
    if model is None or recency is None or truth is None or truth <= recency:
        return None
    return (model - recency) / (truth - recency)


def _described(
    model: Mapping[str, Any], metrics: Mapping[tuple[str, str, str], Mapping[str, Any]], scored: Mapping[str, Any]
) -> dict[str, Any]:
    name = model["prediction"]

    def metric(scored_by: str, metric_name: str, column: str = "value") -> float | None:
        value = metrics.get((name, scored_by, metric_name), {}).get(column)
        return None if value is None or math.isnan(value) else value  # NaN: not defined on these rows

    split = json.loads(model["split"])
    described = {key: model[key] for key in DESCRIBED}
    described["deciding_metric"] = _deciding(model)
    for part in ("train", "validate", "test"):
        days: list[datetime | None] = [datetime.fromisoformat(day) for day in split.get(part, [])] or [None]
        described |= {f"{part}_from": days[0], f"{part}_to": days[-1]}
    deciding = described["deciding_metric"]
    for name_of_end, column in (("test_value", "value"), ("test_lower", "lower"), ("test_upper", "upper")):
        described[name_of_end] = metric("model", deciding, column)
    for baseline in BASELINES:
        described[f"{baseline}_value"] = metric(baseline, deciding)
    for other in OTHERS:
        described[other] = metric("model", other)
    described["scored_as_of"] = scored.get("as_of")
    described["scored_rows"] = scored.get("row_count")
    return described


def _deciding(version: Mapping[str, Any]) -> str:
    """A version's deciding metric; a warehouse that is older than its column holds truth values alone."""
    return version.get("deciding_metric") or "roc_auc"


def rows_of(
    con: duckdb.DuckDBPyConnection, sql: str, values: list[Any] | dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """What a query finds, a dict a row."""
    cursor = con.execute(sql, values or [])
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
