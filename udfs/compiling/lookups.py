"""Scores by an entity's key, and the list of all functions that the file offers.

Beside what `compile_sql` makes of a model, every prediction that serves has `scores.<prediction>_of(entity_id)`, and
`scores.<prediction>_live(entity_id)` where `live_features` tells all its features; where it puts items in order,
`scores.recommend_<prediction>(entity_id, n)`. `scores.describe()` lists them all.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from ibis_features import ConfigError, FeatureSchema
from models_ml.kinds import kind_of
from models_ml.registry import ActiveModel, active_model
from udfs.compiling.recommending import MOST, create_recommendations, item_type
from udfs.compiling.scope import Names
from udfs.compiling.store import FUNCTIONS, SCHEMA, create_schemas, function, function_names
from udfs.quoting import ARGUMENT_TYPES, has_function, identifier
from udfs.transactions import transaction

PREPARING = threading.Lock()
LIVE = "live_features"
LIVE_ENTITY = "user_id"


@dataclass(frozen=True)
class _Function:
    """A line of `scores.describe()`; not `is_there` where the prediction cannot have it, and `meaning` says why."""

    name: str
    arguments: str
    returns: str
    meaning: str
    is_there: bool = True


def prepare_functions(con: duckdb.DuckDBPyConnection) -> None:
    """Create the list of functions and `scores.describe()` where they are missing, in a transaction of their own.

    Two predictions that are built at once must not both create them: one of the two transactions would fail.
    """
    with PREPARING:
        if has_function(con, function("describe"), is_table=True):
            return
        with transaction(con):
            create_schemas(con)
            con.execute(
                f"create table {FUNCTIONS} (function_name varchar, arguments varchar, returns varchar, "
                "meaning varchar, is_there boolean, prediction varchar, version integer, place integer)"
            )
            con.execute(
                f"create macro {function('describe')}() as table "
                f"select function_name, arguments, returns, meaning, is_there, prediction, version from {FUNCTIONS} "
                "order by prediction, place"
            )


def publish_lookups(con: duckdb.DuckDBPyConnection, prediction: str, *, target: str, examples: str) -> None:
    """Create the functions of a prediction that serves that take an entity's key, and write down what all of its are.

    `prepare_functions` has to have been called. target, examples: the tables of its scores and of the rows of its last
    build, quoted SQL names without a catalog. Raises ConfigError where a function would take the name of another's.
    """
    model = active_model(con, prediction)
    assert model is not None
    with transaction(con):
        check_names_are_free(con, prediction)
        names = function_names(prediction)
        is_compiled, is_explained = (has_function(con, function(name)) for name in (names.scalar, names.explain))
        if model.schema.item:
            create_recommendations(con, model, target=target)
        else:
            _create_lookup(con, model, is_compiled=is_compiled, target=target, examples=examples)
        con.execute(f"drop macro if exists {function(names.live)}")
        lacking = _why_not_live(model, is_compiled=is_compiled) or _create_live(con, model)
        con.execute(f"delete from {FUNCTIONS} where prediction = ?", [prediction])
        score = _label_of(con, model)
        listed = _listed(model, score, is_compiled=is_compiled, is_explained=is_explained, lacking=lacking)
        if model.schema.item:
            item = f"{identifier(model.schema.item)} {item_type(con, model, target=target)}"
            listed = _of_lists(model, score, listed, item)
        con.executemany(
            f"insert into {FUNCTIONS} values (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                [f.name, f.arguments, f.returns, f.meaning, f.is_there, prediction, model.version, place]
                for place, f in enumerate(listed)
            ],
        )


def check_names_are_free(con: duckdb.DuckDBPyConnection, prediction: str) -> None:
    """Raises ConfigError where a function of the prediction would take the name of another prediction's.

    `prepare_functions` has to have been called.
    """
    names = [name.casefold() for name in function_names(prediction)]
    row = con.execute(
        f"select function_name, prediction from {FUNCTIONS} "
        f"where prediction <> ? and list_contains(?::varchar[], lower(split_part(function_name, '.', 2))) limit 1",
        [prediction, names],
    ).fetchone()
    if row is not None:
        raise ConfigError(
            f"the prediction '{prediction}' would take the name of {row[0]}, a function of the prediction '{row[1]}'; "
            "rename one of the two"
        )


def _create_lookup(
    con: duckdb.DuckDBPyConnection, model: ActiveModel, *, is_compiled: bool, target: str, examples: str
) -> None:
    entity, as_of = identifier(model.schema.entity), identifier(model.schema.as_of)
    read = examples if is_compiled else target
    own = Names(row[0] for row in con.execute(f"describe select * from {read}").fetchall())
    argument, latest = own.plain("entity_id"), own.plain("latest")
    score = f"{function(model.prediction)}({latest})" if is_compiled else f"{latest}.score"
    # An argument stands in a SELECT without tables: next to the table, `user_id` would be the table's own column.
    con.execute(
        f"""
        create or replace macro {function(f"{model.prediction}_of")}({argument}) as (
            select {score}
            from (select {argument} as entity_key) as asked, {read} as {latest}
            where
                {latest}.{entity} = asked.entity_key
                and {latest}.{as_of} = (select max(any_row.{as_of}) from {read} as any_row)
        )
        """
    )


def _why_not_live(model: ActiveModel, *, is_compiled: bool) -> str | None:
    """Why no live function could score as this prediction does; None where one might."""
    if model.schema.item:
        if model.schema.has_classes:
            return f"{LIVE} gives a {LIVE_ENTITY} one score, and there is one for each {model.schema.item}"
        return f"{LIVE} knows the features of a {LIVE_ENTITY}, not those of its {model.schema.item}s"
    if not is_compiled:
        return "the model is not compiled"
    if model.schema.entity != LIVE_ENTITY:
        return f"{LIVE} knows the features of a {LIVE_ENTITY}, not of a {model.schema.entity}"
    return None


def _create_live(con: duckdb.DuckDBPyConnection, model: ActiveModel) -> str | None:
    """Create the live function; say what it lacks where it cannot be."""
    row = con.execute(
        "select schema_name from duckdb_functions() "
        "where database_name = current_database() and function_name = ? and function_type = 'table_macro' "
        "order by schema_name limit 1",
        [LIVE],
    ).fetchone()
    if row is None:
        return f"{LIVE} was not there when the prediction was built"
    live = f"{identifier(row[0])}.{identifier(LIVE)}"
    try:
        types = {row[0]: row[1] for row in con.execute(f"describe select * from {live}(null)").fetchall()}
    except (duckdb.BinderException, duckdb.CatalogException) as error:  # of an earlier build, over tables of then
        return f"{LIVE} cannot be read: {str(error).splitlines()[0]}"
    if lacking := _lacking(model.schema, types):
        return f"{LIVE} does not tell {', '.join(lacking)}"
    argument, row_now = Names(types).plain("entity_id"), Names(types).plain("live")
    con.execute(
        f"create macro {function(function_names(model.prediction).live)}({argument}) as "
        f"(select {function(model.prediction)}({row_now}) from {live}({argument}) as {row_now})"
    )
    return None


def _lacking(schema: FeatureSchema, types: Mapping[str, str]) -> list[str]:
    return [feature.name for feature in schema.features if types.get(feature.name) != feature.sql_type]


def _label_of(con: duckdb.DuckDBPyConnection, model: ActiveModel) -> str:
    """What a score is, in words."""
    row = con.execute(
        "select kind, label, horizon_days from foretable.models where prediction = ? and version = ?",
        [model.prediction, model.version],
    ).fetchone()
    assert row is not None
    return kind_of(row[0], row[2]).score_words(row[1], row[2])


def _listed(
    model: ActiveModel, score: str, *, is_compiled: bool, is_explained: bool, lacking: str | None
) -> list[_Function]:
    scalar, table, explain, of, live, _ = (f"{SCHEMA}.{name}" for name in function_names(model.prediction))
    entity = model.schema.entity
    typed = ", ".join(f"{identifier(f.name)} {ARGUMENT_TYPES[f.role]} := NULL" for f in model.schema.features)
    arguments = f'"row" STRUCT := NULL, {typed}'
    why = f"not there: a model of the kind {model.model} is not compiled to SQL; take {of}"
    returned = f"{score} of the newest features of a {entity}; NULL for one that has none"
    return [
        _Function(
            scalar,
            arguments,
            "FLOAT",
            f"{score}, for a row of features, for features by name, or for a row with some features changed"
            if is_compiled
            else why,
            is_compiled,
        ),
        _Function(
            table,
            "relation VARCHAR",
            "TABLE (the columns of the relation, score FLOAT)",
            f"{score}, for each row of a table or view" if is_compiled else why,
            is_compiled,
        ),
        _Function(
            explain,
            arguments,
            "STRUCT(feature VARCHAR, contribution DOUBLE)[]",
            "what each feature adds to the log-odds of the model itself, the largest by size first"
            if is_explained
            else f"not there: a model of the kind {model.model} tells its contributions through Python alone",
            is_explained,
        ),
        _Function(of, "entity_id", "FLOAT", f"{returned}, {'computed' if is_compiled else 'looked up'}"),
        _Function(
            live,
            "entity_id",
            "FLOAT",
            f"not there: {lacking}" if lacking else f"{score} of the features of a {entity} as they are at this moment",
            lacking is None,
        ),
    ]


def _of_lists(model: ActiveModel, score: str, listed: list[_Function], item: str) -> list[_Function]:
    """The functions of a prediction that puts items in order: its lookup gives a list, and one more its first rows."""
    names, entity = function_names(model.prediction), model.schema.entity
    of, recommend = (f"{SCHEMA}.{name}" for name in (names.of, names.recommend))
    row = f"{item}, score FLOAT, item_rank INTEGER"
    lookup = _Function(
        of, "entity_id", f"STRUCT({row})[]", f"{score}: the newest list of a {entity}, best first; NULL without one"
    )
    table = _Function(
        recommend,
        f"entity_id, n INTEGER := {MOST}",
        f"TABLE ({row})",
        f"the first n of the newest list of a {entity}, best first; no rows without one",
    )
    return [*(lookup if one.name == of else one for one in listed), table]
