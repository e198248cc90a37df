"""What a model with materialized='prediction' does: decide, train, judge, register, score.

Nothing that was there before changes until all has gone well: the new version, its macro, the scores and the log
appear in one transaction.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import duckdb

from ibis_features import (
    ConfigError,
    Examples,
    ExamplesError,
    FeatureSchema,
    ForetableError,
    check_keys,
    connect_backend,
    read_examples,
    read_schema,
)
from models_ml.artifact import pack, unpack
from models_ml.evaluation import leak_suspects
from models_ml.judging import judge
from models_ml.registry import ActiveModel, TrainedVersion, active_model, add_version, read_artifact
from models_ml.spec import PredictionSpec, parse_spec
from models_ml.splitting import split_examples
from models_ml.trainer import FittedModel, Progress, merged_params, trainer
from models_ml.trees import TreesModel
from udfs.decision import Request, decide, environment_of, fingerprint_of, rows_hash
from udfs.progress import report, say
from udfs.scorers import create_scorer, drop_scorer, identifier, refresh
from udfs.trees_sql import compile_sql, drop_sql

PARITY_ROWS = 2_000


def build(con: duckdb.DuckDBPyConnection, request: Mapping[str, Any]) -> None:
    """Build one prediction on dbt's connection.

    A fault that a user can mend is left as a sentence in the temporary table `foretable_outcome`, and nothing else is
    changed; anything unforeseen is raised.
    """
    con = getattr(con, "_cursor", con)  # dbt-duckdb wraps the cursor and hides the types of DuckDB's errors
    asked = Request(**request)
    message = None
    with _outside_transaction(con):
        try:
            _build(con, asked, report(asked.name))
        except (ForetableError, duckdb.ConversionException) as error:
            con.execute(f"drop table if exists {asked.building}")
            message = f"prediction '{asked.name}': {error}"
        con.execute("create or replace temp table foretable_outcome as select ?::varchar as message", [message])


def _build(con: duckdb.DuckDBPyConnection, request: Request, progress: Progress) -> None:
    started = time.monotonic()
    spec = parse_spec(request.config)
    merged_params(spec.model, spec.params or {})
    exclude = (*spec.exclude, *_without_history(con, request, spec))
    schema = read_schema(con, request.building, entity=spec.entity, label=spec.label, as_of=spec.as_of, exclude=exclude)
    examples = read_examples(connect_backend(con), request.building, schema)
    check_keys(examples)
    fingerprint = fingerprint_of(con, request, spec, schema)
    active = active_model(con, request.name)
    decision = decide(active, fingerprint, schema, request, spec)
    if decision.is_trained:
        trained, fitted = _train(con, request, spec, examples, fingerprint, progress)
    else:
        assert active is not None
        trained, fitted = None, None
    newest = _newest(con, request, schema)
    scored_hash = rows_hash(con, request.building, f"{identifier(schema.as_of)} = timestamp '{newest}'")
    is_scored = trained is not None or not _is_scored_already(con, request, active, scored_hash)
    if is_scored and fitted is None:
        assert active is not None
        fitted = unpack(read_artifact(con, request.name, active.version), expected_sha256=active.sha256)
    progress("writing", 0.0)
    with _transaction(con):
        version = add_version(con, trained) if trained else active.version  # type: ignore[union-attr]
        if is_scored:
            assert fitted is not None
            if trained:
                _publish_sql(con, request.name, fitted, examples)
            row_count = _score(con, request, spec, fitted, version, newest)
        else:
            row_count = _count(con, request.target)
        _refuse_broken_contract(con, request)
        con.execute(f"drop table if exists {request.examples}")
        con.execute(f"alter table {request.building} rename to {identifier(request.examples_identifier)}")
        con.execute(
            f"insert into foretable.runs values ({', '.join('?' * 12)})",
            [
                request.run_id,
                request.name,
                version,
                request.source,
                decision.reason,
                scored_hash,
                row_count,
                time.monotonic() - started,
                decision.is_trained,
                is_scored,
                newest,
                _now(),
            ],
        )
    refresh(con, request.name)
    progress("done", 1.0)


def _without_history(con: duckdb.DuckDBPyConnection, request: Request, spec: PredictionSpec) -> list[str]:
    """The columns of the SELECT that show an attribute as it is today, and so may tell the future."""
    if spec.include_unversioned:
        return []
    there = {row[0] for row in con.execute(f"describe {request.building}").fetchall()}
    keys = {spec.entity, spec.label, spec.as_of, *spec.exclude}
    left_out = [name for name in request.unversioned if name in there - keys]
    if left_out:
        say(
            f"{request.name}: without {', '.join(left_out)}, of which the source keeps only the present; "
            "include_unversioned=true takes them in"
        )
    return left_out


def _train(
    con: duckdb.DuckDBPyConnection,
    request: Request,
    spec: PredictionSpec,
    examples: Examples,
    fingerprint: str,
    progress: Progress,
) -> tuple[TrainedVersion, FittedModel]:
    started = time.monotonic()
    split, parts = split_examples(examples, spec)
    if spec.leak_check:
        _refuse_leaks(parts["train"])
    fitted = trainer(spec.model).fit(
        parts["train"],
        parts["validate"],
        params=merged_params(spec.model, spec.params or {}),
        seed=spec.seed,
        class_weight=spec.class_weight,
        progress=progress,
    )
    progress("judging", 0.0)
    truth = f"{identifier(request.truth_schema)}.{identifier(spec.truth)}" if spec.truth else None
    metrics = judge(con, fitted, spec, parts, truth=truth)
    trained = TrainedVersion(
        prediction=request.name,
        spec=spec,
        fingerprint=fingerprint,
        schema=examples.schema,
        environment=environment_of(spec.model),
        split=split,
        rows={name: part.rows() for name, part in parts.items()},
        train_seconds=time.monotonic() - started,
        artifact=pack(spec.model, fitted),
        metrics=metrics,
        importance=fitted.importance(),
        trained_at=_now(),
    )
    return trained, fitted


def _refuse_leaks(train: Examples) -> None:
    suspects = leak_suspects(train)
    if suspects:
        found = ", ".join(f"'{feature}' (AUC {auc:.4f})" for feature, auc in suspects)
        raise ExamplesError(
            f"a feature tells the label by itself on the training rows: {found}. It most likely reads what happened "
            "after as_of; leave it out with exclude, or set leak_check=false if it is right"
        )


def _publish_sql(con: duckdb.DuckDBPyConnection, name: str, fitted: FittedModel, examples: Examples) -> None:
    """Trees become a macro in the file; another family's name must not go on scoring with an older version's trees."""
    drop_sql(con, name)
    if isinstance(fitted, TreesModel):
        compile_sql(con, name, fitted, examples, rows=PARITY_ROWS)


def _score(
    con: duckdb.DuckDBPyConnection,
    request: Request,
    spec: PredictionSpec,
    fitted: FittedModel,
    version: int,
    newest: datetime,
) -> int:
    """Write the target table and the log from the rows of the newest snapshot; return their number."""
    scorer = f"foretable_new__{request.name}"
    create_scorer(con, scorer, fitted.schema, lambda: fitted)
    entity, as_of = identifier(spec.entity), identifier(spec.as_of)
    try:
        con.execute(f"drop table if exists {request.target}")
        con.execute(
            f"""
            create table {request.target} as
            with scored as (
                select
                    examples.{entity},
                    {identifier(scorer)}(examples) as score,
                    examples.{as_of}
                from {request.building} as examples
                where examples.{as_of} = timestamp '{newest}'
            )

            select
                scored.{entity},
                {version}::integer as version,
                scored.score,
                row_number() over (order by scored.score desc, scored.{entity})::integer as score_rank,
                ntile(10) over (order by scored.score desc, scored.{entity})::integer as score_decile,
                scored.{as_of},
                timestamp '{request.run_at}' as scored_at
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
        from {request.target}
        """,
        [request.run_id, request.name, spec.entity],
    )
    return _count(con, request.target)


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
    con: duckdb.DuckDBPyConnection, request: Request, active: ActiveModel | None, scored_hash: str
) -> bool:
    """Does the target already hold what the serving version says of these very rows?"""
    row = con.execute(
        "select version, scored_hash from foretable.runs where prediction = ? order by rowid desc limit 1",
        [request.name],
    ).fetchone()
    is_same = row is not None and active is not None and row == (active.version, scored_hash)
    return is_same and _exists(con, request.target)


@contextmanager
def _outside_transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit what dbt has begun, and begin anew at the end: training must not hold a transaction open for minutes."""
    try:
        con.execute("commit")
        was_open = True
    except duckdb.TransactionException:
        was_open = False
    try:
        yield
    finally:
        if was_open:
            con.execute("begin transaction")


@contextmanager
def _transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    con.execute("begin transaction")
    try:
        yield
    except BaseException:
        con.execute("rollback")
        raise
    con.execute("commit")


def _now() -> datetime:
    """In UTC, as all times in the warehouse."""
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)


def _newest(con: duckdb.DuckDBPyConnection, request: Request, schema: FeatureSchema) -> datetime:
    row = con.execute(f"select max({identifier(schema.as_of)})::timestamp from {request.building}").fetchone()
    assert row is not None
    return row[0]


def _exists(con: duckdb.DuckDBPyConnection, relation: str) -> bool:
    try:
        con.execute(f"select 1 from {relation} limit 0")
    except duckdb.CatalogException:
        return False
    return True


def _count(con: duckdb.DuckDBPyConnection, relation: str) -> int:
    row = con.execute(f"select count(*) from {relation}").fetchone()
    assert row is not None
    return row[0]
