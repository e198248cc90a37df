"""The feature and sequence tables that a warehouse holds, looked up in the warehouse itself, and names of features."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from ibis_features.errors import ConfigError, NotFoundError

AS_OF = "as_of"
PREFIXES = ("features__", "sequences__", "online__")

Names = str | Sequence[str] | Mapping[str, str]
"""Features as a caller asks for them: `table.column` or `table.*`, or new name to `table.column`."""


@dataclass(frozen=True)
class FeatureTable:
    """A table of one entity: its key columns, `as_of`, and everything else a feature. `columns` is name to SQL type."""

    database: str
    schema: str
    name: str
    entity: str
    keys: tuple[str, ...]
    columns: Mapping[str, str]

    @property
    def relation(self) -> str:
        """The quoted name."""
        return f"{quoted(self.database)}.{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def features(self) -> list[str]:
        return [column for column in self.columns if column not in {*self.keys, AS_OF}]


@dataclass(frozen=True)
class Picked:
    """One feature that was asked for, and the name it gets in the answer."""

    name: str
    table: FeatureTable
    column: str


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def read_tables(con: duckdb.DuckDBPyConnection, *, schema: str | None = None) -> dict[str, FeatureTable]:
    """The tables and views named `features__…`, `sequences__…` and `online__…` that have as_of and their entity's key.

    Raises ConfigError where two schemas hold a table of one name and `schema` picks none of them.
    """
    rows = con.execute(
        """
        select database_name, schema_name, table_name, column_name, data_type
        from duckdb_columns()
        where database_name = current_database() and not internal and (schema_name = $schema or $schema is null)
        order by schema_name, table_name, column_index
        """,
        {"schema": schema},
    ).fetchall()
    columns: dict[tuple[str, str, str], dict[str, str]] = {}
    for database, schema_name, table, column, sql_type in rows:
        if table.startswith(PREFIXES):
            columns.setdefault((database, schema_name, table), {})[column] = sql_type
    tables: dict[str, FeatureTable] = {}
    for (database, schema_name, table), its_columns in columns.items():
        entity = table.split("__", 1)[1]
        keys = entity_keys(entity, its_columns)
        if AS_OF not in its_columns or not keys:
            continue
        if table in tables:
            raise ConfigError(
                f"{table} stands in the schemas {tables[table].schema} and {schema_name}; "
                "say which one with open(…, schema=…)"
            )
        tables[table] = FeatureTable(database, schema_name, table, entity, keys, its_columns)
    return tables


def entity_keys(entity: str, columns: Iterable[str]) -> tuple[str, ...]:
    """The key columns of an entity: user has user_id, user_item has user_id and item_id. Empty where one is missing."""
    known = set(columns)
    for keys in ((f"{entity}_id",), tuple(f"{part}_id" for part in entity.split("_"))):
        if known.issuperset(keys):
            return keys
    return ()


def pick(tables: Mapping[str, FeatureTable], names: Names) -> list[Picked]:
    """The features asked for, in the caller's order.

    Raises NotFoundError for a table or feature that is not there, with the closest names, and ConfigError where two
    would have one name in the answer.
    """
    if isinstance(names, Mapping):
        picked = [_picked(tables, feature, name) for name, feature in names.items()]
    else:
        picked = []
        for feature in [names] if isinstance(names, str) else names:
            if str(feature).endswith(".*"):
                table = find_table(tables, str(feature)[:-2])
                picked += [Picked(column, table, column) for column in table.features]
            else:
                picked.append(_picked(tables, feature))
    if not picked:
        raise ConfigError("no features are asked for; name some, such as 'features__user.purchase_count_30d'")
    seen: dict[str, Picked] = {}
    for one in picked:
        if other := seen.get(one.name):
            raise ConfigError(
                f"{other.table.name}.{other.column} and {one.table.name}.{one.column} would both be '{one.name}'; "
                f"give names of your own: {{'{one.table.entity}_{one.name}': '{one.table.name}.{one.column}', …}}"
            )
        seen[one.name] = one
    return picked


def find_table(tables: Mapping[str, FeatureTable], name: str) -> FeatureTable:
    """A table by name; raises NotFoundError with the closest names."""
    if name in tables:
        return tables[name]
    known = _close(name, list(tables))
    raise NotFoundError(
        f"no table {name} in the warehouse; "
        + (f"did you mean {known}?" if known else "build it with `foretable build`")
    )


def _picked(tables: Mapping[str, FeatureTable], feature: str, name: str | None = None) -> Picked:
    if not isinstance(feature, str) or feature.count(".") != 1:
        raise ConfigError(f"a feature is named 'table.column', such as 'features__user.recency_days'; not {feature!r}")
    table_name, column = feature.split(".")
    table = find_table(tables, table_name)
    if column in table.keys or column not in table.columns:
        close = _close(column, table.features)
        hint = (
            f"did you mean {close}?" if close else f"it has {len(table.features)}; list them with `foretable features`"
        )
        raise NotFoundError(f"{table_name} has no feature '{column}'; {hint}")
    return Picked(name or column, table, column)


def _close(name: str, known: Sequence[str]) -> str:
    return " or ".join(difflib.get_close_matches(name, known, n=3))
