"""The functions that a compiled model becomes: a scalar macro and a table macro."""

from dataclasses import dataclass, replace
from functools import cached_property

import duckdb
import ibis
import pyarrow as pa

from ibis_features import ArtifactError, Examples, FeatureSchema
from models_ml.score_map import ScoreMap, score_map_of, unmapped
from models_ml.trainer import FittedModel
from udfs.compiling.calibration import score_sql
from udfs.compiling.families import compiled
from udfs.compiling.parity import PARITY_ROWS, agreeing_rows, check_explanation
from udfs.compiling.scope import Compiled, Explained, Names, Scope, UncompiledError
from udfs.compiling.store import (
    SCHEMA,
    checked_table,
    create_schemas,
    drop_model_tables,
    function,
    function_names,
    registered,
    write_model_tables,
)
from udfs.quoting import check_names, identifier, literal, readable
from udfs.transactions import transaction


def compile_sql(
    con: duckdb.DuckDBPyConnection,
    prediction: str,
    model: FittedModel,
    sample: Examples | pa.RecordBatch | pa.Table | None = None,
    *,
    rows: int = PARITY_ROWS,
) -> None:
    """Store the model as `scores.<prediction>(row, f1 := …, fn := …)` and the table macro `<prediction>_table('name')`,
    and `scores.explain_<prediction>` with the arguments of the first where its family says what features contribute.

        select user_id, scores.churn(features) from features__user as features
        select user_id, scores.churn(features, order_count := 3) from features__user as features
        select scores.churn(order_count := 3, days_since_order := 12)
        from scores.churn_table('features__user')

    A feature that is named takes the place of the row's; one that neither gives is missing. The macros read tables of
    the schema `scores_models` of the database in use: attached under another name, say `use` first. All is done in the
    caller's transaction, or in one of its own.

    Raises UncompiledError where SQL cannot hold the model, and ArtifactError, publishing nothing, where the macro
    differs from the model on rows made for the purpose or on `rows` of `sample`.
    """
    check_names(model.schema)
    try:
        found = compiled(unmapped(model))
    except UncompiledError as error:
        raise UncompiledError(
            f"refused to publish {SCHEMA}.{prediction}: {error}; its scores can be looked up by "
            f"{SCHEMA}.{prediction}_of(entity_id)"
        ) from error
    with transaction(con):
        create_schemas(con)
        drop_model_tables(con, prediction)
        mark = write_model_tables(con, prediction, found.all_tables)
        _create_macros(con, _Macro(prediction, model.schema, found, score_map_of(model), mark))
        try:
            check_probes(con, prediction, model, found)
            if sample is not None:
                _check_sample(con, prediction, model, found, sample, rows)
        except ArtifactError as error:
            raise ArtifactError(f"refused to publish: {error}") from error


def check_probes(con: duckdb.DuckDBPyConnection, prediction: str, model: FittedModel, found: Compiled) -> None:
    """Compare the functions with the model on rows made to find faults; raises ArtifactError where they differ."""
    with registered(con, pa.Table.from_batches([found.probes])) as probes:
        for by_columns in (False, True):
            agreeing_rows(con, prediction, model, found, probes, rows=found.probes.num_rows, by_columns=by_columns)
        if found.explained is not None:
            check_explanation(con, prediction, model, probes)


def _check_sample(
    con: duckdb.DuckDBPyConnection,
    prediction: str,
    model: FittedModel,
    found: Compiled,
    sample: Examples | pa.RecordBatch | pa.Table,
    rows: int,
) -> None:
    if isinstance(sample, Examples):
        agreeing_rows(con, prediction, model, found, f"({ibis.to_sql(sample.table, dialect='duckdb')})", rows=rows)
        return
    table = sample if isinstance(sample, pa.Table) else pa.Table.from_batches([sample])
    with registered(con, table) as relation:
        agreeing_rows(con, prediction, model, found, relation, rows=rows)


def drop_sql(con: duckdb.DuckDBPyConnection, prediction: str) -> None:
    """Drop what `compile_sql` and `publish_lookups` made, if it is there."""
    names = function_names(prediction)
    for name in (names.of, names.live, names.explain, names.scalar):
        con.execute(f"drop macro if exists {function(name)}")
    for name in (names.table, names.recommend):
        con.execute(f"drop macro table if exists {function(name)}")
    drop_model_tables(con, prediction)


@dataclass(frozen=True)
class _Macro:
    """What the SQL of a prediction's functions is made of."""

    prediction: str
    schema: FeatureSchema
    compiled: Compiled
    score_map: ScoreMap | None
    mark: str

    @cached_property
    def own(self) -> Names:
        return Names(self.schema.names)

    def score(self, expressions: list[str], source: str) -> str:
        """The score as a scalar subquery over the features as SQL; `source` is the FROM that they stand above."""
        margin = self.own("margin")
        found = self.compiled.margin(self._scope(expressions, source, "margin"))
        return f"(select {self._score_of(f'{margin}.margin')} from ({found}) as {margin})"

    def explanation(self, explained: Explained, expressions: list[str], source: str) -> str:
        """The contributions, in the same way."""
        return f"({explained.contributions(self._scope(expressions, source, 'contributions'))})"

    def scored(self, expressions: list[str], source: str, row: str) -> str:
        """A SELECT of all columns of the rows that the alias `row` stands for in the FROM, and their score.

        The rows travel through the model's SQL as one column. A subquery that is correlated with them, as `score` is,
        would take DuckDB a microsecond a row more. They are materialised first: of a table DuckDB gives each thread
        122,880 rows at least, of what is materialised 2,048.
        """
        margin, given = self.own("margin"), self.own("given")
        scope = self._scope(expressions, source, "margin", row)
        materialised = f"(with {given} as materialized {scope.source} select {given}.* from {given})"
        found = self.compiled.margin(replace(scope, source=materialised))
        return f"select {row}.*, {self._score_of(f'{margin}.margin')} as score from ({found}) as {margin}"

    def _score_of(self, margin: str) -> str:
        return margin if self.compiled.is_score else score_sql(self.score_map, margin, own=self.own("piece"))

    def _scope(self, expressions: list[str], source: str, out: str, *kept: str) -> Scope:
        columns = [f"{expression} as c{place}" for place, expression in enumerate(expressions)]
        return Scope(
            source=f"(select {', '.join([*kept, *columns])} {source})",
            out=out,
            places={name: place for place, name in enumerate(self.schema.names)},
            own=self.own,
            table_of=lambda role: checked_table(self.prediction, role, self.mark),
            kept=kept,
        )


def _create_macros(con: duckdb.DuckDBPyConnection, macro: _Macro) -> None:
    features, own, names = macro.schema.features, macro.own, function_names(macro.prediction)
    row, taken = own("row"), own.plain("row")
    arguments = ", ".join(f"{identifier(name)} := null" for name in (taken, *macro.schema.names))
    given = [
        f"coalesce({readable(identifier(feature.name), feature)}, "
        f"{readable(_field(row, feature.name, macro.schema), feature)})"
        for feature in features
    ]
    source = f"from (select {identifier(taken)} as {row}) as {own('given')}"
    con.execute(f"create or replace macro {function(names.scalar)}({arguments}) as {macro.score(given, source)}")
    if explained := macro.compiled.explained:
        told = macro.explanation(explained, given, source)
        con.execute(f"create or replace macro {function(names.explain)}({arguments}) as {told}")

    relation = own("relation")
    read = [readable(f"{row}.{identifier(feature.name)}", feature) for feature in features]
    con.execute(
        f"create or replace macro {function(names.table)}({relation}) as table "
        f"{macro.scored(read, f'from query_table({relation}) as {row}', row)}"
    )


def _field(row: str, name: str, schema: FeatureSchema) -> str:
    """A feature of a whole row. The class need not be in the row, which struct_extract would take for an error."""
    if schema.has_classes and name == schema.item:
        pointer = "/" + name.replace("~", "~0").replace("/", "~1")
        return f"json_extract_string(to_json({row}), {literal(pointer)})"
    return f"struct_extract({row}, {literal(name)})"
