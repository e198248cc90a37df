"""What a version that serves is to SQL: its table of scores, its macro in the file, and its rows in the log."""

from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from ibis_features import ConfigError, Examples
from models_ml.spec import PredictionSpec
from models_ml.trainer import FittedModel
from models_ml.trees import TreesModel
from udfs.scorers import create_scorer, drop_scorer, identifier
from udfs.trees_sql import compile_sql, drop_sql

PARITY_ROWS = 2_000
SCORE_COLUMNS = ("version", "score", "score_rank", "score_decile", "scored_at")
"""What the table of scores has besides the entity and as_of."""


@dataclass(frozen=True)
class Scoring:
    """Which rows to score with which version, and where the scores go. Relations are quoted SQL names."""

    prediction: str
    version: int
    entity: str
    as_of: str
    examples: str
    newest: datetime
    target: str
    run_id: str
    run_at: str


def check_keys_of_scores(spec: PredictionSpec) -> None:
    """Raises ConfigError where a key is named as a column that the table of scores has besides."""
    if taken := [name for name in (spec.entity, spec.as_of) if name.casefold() in SCORE_COLUMNS]:
        raise ConfigError(
            f"the key '{taken[0]}' is named as a column of the table of scores ({', '.join(SCORE_COLUMNS)}); give it "
            "another name in the SELECT"
        )


def publish_sql(con: duckdb.DuckDBPyConnection, name: str, fitted: FittedModel, examples: Examples) -> None:
    """Trees become a macro in the file; another family's name must not go on scoring with an older version's trees."""
    drop_sql(con, name)
    if isinstance(fitted, TreesModel):
        compile_sql(con, name, fitted, examples, rows=PARITY_ROWS)


def write_scores(con: duckdb.DuckDBPyConnection, scoring: Scoring, fitted: FittedModel) -> int:
    """Write the target table and the log from the rows of the newest snapshot; return their number."""
    scorer = f"foretable_new__{scoring.prediction}"
    create_scorer(con, scorer, fitted.schema, lambda: fitted)
    entity, as_of = identifier(scoring.entity), identifier(scoring.as_of)
    try:
        con.execute(f"drop table if exists {scoring.target}")
        con.execute(
            f"""
            create table {scoring.target} as
            with scored as (
                select
                    examples.{entity},
                    {identifier(scorer)}(examples) as score,
                    examples.{as_of}
                from {scoring.examples} as examples
                where examples.{as_of} = timestamp '{scoring.newest}'
            )

            select
                scored.{entity},
                {scoring.version}::integer as version,
                scored.score,
                row_number() over (order by scored.score desc, scored.{entity})::integer as score_rank,
                ntile(10) over (order by scored.score desc, scored.{entity})::integer as score_decile,
                scored.{as_of},
                timestamp '{scoring.run_at}' as scored_at
            from scored
            order by score_rank
            """
        )
    finally:
        drop_scorer(con, scorer)
    con.execute(
        f"""
        insert into foretable.prediction_log by name
        select ? as run_id, ? as prediction, version, ? as entity, {entity}::varchar as entity_id, score,
            {as_of} as as_of, scored_at
        from {scoring.target}
        """,
        [scoring.run_id, scoring.prediction, scoring.entity],
    )
    return row_count(con, scoring.target)


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
