"""What a version that serves is to SQL: its table of scores, its macro in the file, and its rows in the log."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from ibis_features import ConfigError, Examples
from ibis_features.catalog import descriptions_of, read_manifest
from models_ml.class_trees import classes_of
from models_ml.links import Link
from models_ml.reasons import check_reasons
from models_ml.registry import registered_kind, threshold_of
from models_ml.score_map import score_map_of
from models_ml.spec import PredictionSpec
from models_ml.thresholds import Capacity, parse_threshold
from models_ml.trainer import FittedModel
from udfs.answers import MARGIN, REASONS, SCORE, Answer, explanation
from udfs.bulk import Answers, answered
from udfs.class_lists import scored_rows
from udfs.compiling import UncompiledError, compile_sql, drop_sql, registered
from udfs.compiling.calibration import score_sql
from udfs.quoting import identifier

PARITY_ROWS = 2_000
SCORED = "temp.main.foretable_scored"
SCORE_COLUMNS = (
    *("version", "score", "score_rank", "score_decile", "item_rank", "predicted_label", "scored_at", "reasons"),
)
"""What the table of scores has besides the keys."""


@dataclass(frozen=True)
class Scoring:
    """Which rows to score with which version, and where the scores go. Relations are quoted SQL names.

    examples: the rows of the SELECT. reasons: how many of the strongest reasons to write beside each score; 0 for none,
    and no column. item: the key of what is put in order for the entity; None where nothing is.
    """

    prediction: str
    version: int
    entity: str
    as_of: str
    examples: str
    newest: datetime
    target: str
    run_id: str
    run_at: str
    reasons: int = 0
    item: str | None = None


def check_keys_of_scores(spec: PredictionSpec) -> None:
    """Raises ConfigError where a key is named as a column that the table of scores has besides."""
    keys = [name for name in (spec.entity, spec.item, spec.as_of) if name]
    if taken := [name for name in keys if name.casefold() in SCORE_COLUMNS]:
        raise ConfigError(
            f"the key '{taken[0]}' is named as a column of the table of scores ({', '.join(SCORE_COLUMNS)}); give it "
            "another name in the SELECT"
        )


def publish_sql(con: duckdb.DuckDBPyConnection, name: str, fitted: FittedModel, examples: Examples) -> None:
    """What SQL can hold becomes a macro in the file; of anything else no macro of an older version must be left."""
    drop_sql(con, name)
    with suppress(UncompiledError):
        compile_sql(con, name, fitted, examples, rows=PARITY_ROWS)


def write_scores(con: duckdb.DuckDBPyConnection, scoring: Scoring, fitted: FittedModel) -> int:
    """Write the target table and the log from the rows of the newest snapshot; return their number."""
    rows = score_rows(con, scoring, fitted)
    _write_target(con, scoring, rows)
    _append_to_log(con, scoring, is_shadow=False)
    return rows


def log_shadow_scores(con: duckdb.DuckDBPyConnection, scoring: Scoring, fitted: FittedModel) -> int:
    """Write what a candidate says of the rows of the newest snapshot into the log alone; return their number."""
    rows = score_rows(con, scoring, fitted)
    _append_to_log(con, scoring, is_shadow=True)
    return rows


def score_rows(con: duckdb.DuckDBPyConnection, scoring: Scoring, fitted: FittedModel) -> int:
    """Score the rows of the newest snapshot into the temporary table `SCORED`; return their number."""
    entity, as_of = identifier(scoring.entity), identifier(scoring.as_of)
    item = identifier(scoring.item) if scoring.item else "null::varchar"
    listed = f", null::{REASONS} as reasons" if scoring.reasons else ""
    rows_read = scored_rows(scoring.examples, fitted)
    con.execute(
        f"create or replace temp table {SCORED} as "
        f"select {entity} as entity_id, {item} as item_id, null::float as score, null::float as raw_score, "
        f"{as_of} as as_of{listed} from {rows_read} limit 0"
    )
    answers, score, raw_score = _scores(fitted)
    insert = f"""
        insert into {SCORED} by name
        select
            key_0 as entity_id,
            {"key_1" if scoring.item else "null"} as item_id,
            {score} as score,
            {raw_score} as raw_score,
            timestamp '{scoring.newest}' as as_of
            {", reasons" if scoring.reasons else ""}
    """
    condition = f"examples.{as_of} = timestamp '{scoring.newest}'"
    told = _told(con, scoring, fitted, answers)
    keys = [scoring.entity, *([scoring.item] if scoring.item else [])]
    for rows in answered(con, rows_read, condition, keys, fitted.schema, told):
        with registered(con, rows) as batch:
            con.execute(f"{insert} from {batch}")
    return row_count(con, SCORED)


def _scores(fitted: FittedModel) -> tuple[dict[str, Answer], str, str]:
    """What a model is asked, and the score and its own score of that, as SQL. It runs once for each row."""
    if classes_of(fitted):
        return {"score": SCORE}, "score", "score"
    score_map = score_map_of(fitted)
    raw_map = score_map if isinstance(score_map, Link) else None
    return {"margin": MARGIN}, score_sql(score_map, "margin"), score_sql(raw_map, "margin")


def _told(
    con: duckdb.DuckDBPyConnection, scoring: Scoring, fitted: FittedModel, answers: Mapping[str, Answer]
) -> Answers:
    """These answers, and as many reasons as are wanted."""
    answers = dict(answers)
    if scoring.reasons:
        check_reasons(fitted)
        described = descriptions_of(read_manifest(con), f"pred__{scoring.prediction}")
        answers["reasons"] = explanation(lambda: described, most=scoring.reasons)
    return lambda batch: {name: answer.of(fitted, batch) for name, answer in answers.items()}


def _write_target(con: duckdb.DuckDBPyConnection, scoring: Scoring, rows: int) -> None:
    listed = ", reasons" if scoring.reasons else ""
    kind = registered_kind(con, scoring.prediction, scoring.version)
    direction = "asc" if kind.is_lowest_first else "desc"
    predicted = f"{_predicted_label(con, scoring, rows)} as predicted_label," if kind.has_threshold else ""
    item = item_rank = ""
    if scoring.item:
        item = f"item_id as {identifier(scoring.item)},"
        item_rank = "row_number() over (partition by entity_id order by score_rank)::integer as item_rank,"
    con.execute(f"drop table if exists {scoring.target}")
    con.execute(
        f"""
        create table {scoring.target} as
        with ranked as (
            select *, row_number() over (order by score {direction}, entity_id, item_id)::integer as score_rank
            from {SCORED}
        )

        select
            entity_id as {identifier(scoring.entity)},
            {item}
            {scoring.version}::integer as version,
            score,
            score_rank,
            ntile(10) over (order by score_rank)::integer as score_decile,
            {item_rank}
            {predicted}
            as_of as {identifier(scoring.as_of)},
            timestamp '{scoring.run_at}' as scored_at
            {listed}
        from ranked
        order by score_rank
        """
    )


def _append_to_log(con: duckdb.DuckDBPyConnection, scoring: Scoring, *, is_shadow: bool) -> None:
    con.execute(
        f"""
        insert into foretable.prediction_log by name
        select ? as run_id, ? as prediction, ?::integer as version, ? as entity, entity_id::varchar as entity_id,
            item_id::varchar as item_id, score, raw_score, as_of, timestamp '{scoring.run_at}' as scored_at,
            ?::boolean as is_shadow
        from {SCORED}
        """,
        [scoring.run_id, scoring.prediction, scoring.version, scoring.entity, is_shadow],
    )
    con.execute(f"drop table {SCORED}")


def _predicted_label(con: duckdb.DuckDBPyConnection, scoring: Scoring, rows: int) -> str:
    """Whether a row is said to be true, as SQL: exactly as many as the capacity, or from the version's threshold on."""
    given, threshold = threshold_of(con, scoring.prediction, scoring.version)
    if threshold is None:  # a version of before thresholds were kept
        return "null::boolean"
    rule = parse_threshold(given)
    if isinstance(rule, Capacity):
        return f"score_rank <= {rule.of(rows)}"
    return f"score >= '{threshold!r}'::DOUBLE"


def newest_snapshot(con: duckdb.DuckDBPyConnection, examples: str, as_of: str) -> datetime:
    row = con.execute(f"select max({identifier(as_of)})::timestamp from {examples}").fetchone()
    assert row is not None
    return row[0]


def exists(con: duckdb.DuckDBPyConnection, relation: str) -> bool:
    try:
        con.execute(f"select 1 from {relation} limit 0")
    except duckdb.CatalogException:
        return False
    return True


def row_count(con: duckdb.DuckDBPyConnection, relation: str) -> int:
    row = con.execute(f"select count(*) from {relation}").fetchone()
    assert row is not None
    return row[0]


def now() -> datetime:
    """In UTC, as all times in the warehouse."""
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)
