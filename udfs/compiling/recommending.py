"""What a prediction that puts items in order is to SQL: an entity's list, and the first items of it as a table."""

import duckdb

from models_ml.registry import ActiveModel
from udfs.compiling.scope import Names
from udfs.compiling.store import function, function_names
from udfs.quoting import identifier

MOST = 10
"""How many items are recommended where it is not said."""


def create_recommendations(con: duckdb.DuckDBPyConnection, model: ActiveModel, *, target: str) -> None:
    """Create `<prediction>_of(entity_id)` and `recommend_<prediction>(entity_id, n := 10)` over the table of scores.

    Both look up; where an entity has no list, the first is NULL and the second has no rows.
    """
    names, item = function_names(model.prediction), identifier(model.schema.item or "")
    own = Names(row[0] for row in con.execute(f"describe select * from {target}").fetchall())
    argument, most, listed = own.plain("entity_id"), own.plain("n"), own.plain("listed")
    # Arguments stand in a SELECT without tables: next to the table, `user_id` would be the table's own column.
    rows = (
        f"from (select {argument} as entity_key{{limit}}) as asked inner join {target} as {listed} "
        f"on {listed}.{identifier(model.schema.entity)} = asked.entity_key"
    )
    one = f"{item} := {listed}.{item}, score := {listed}.score, item_rank := {listed}.item_rank"
    con.execute(
        f"create or replace macro {function(names.of)}({argument}) as "
        f"(select list(struct_pack({one}) order by {listed}.item_rank) {rows.format(limit='')})"
    )
    con.execute(
        f"create or replace macro {function(names.recommend)}({argument}, {most} := {MOST}) as table "
        f"select {listed}.{item}, {listed}.score, {listed}.item_rank {rows.format(limit=f', {most} as most')} "
        f"where {listed}.item_rank <= asked.most order by {listed}.item_rank"
    )


def item_type(con: duckdb.DuckDBPyConnection, model: ActiveModel, *, target: str) -> str:
    """The type of an item's key, as SQL says it."""
    types = {row[0]: row[1] for row in con.execute(f"describe select * from {target}").fetchall()}
    return types[model.schema.item or ""]
