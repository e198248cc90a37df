"""Names, values and features as the text of SQL."""

import duckdb

from ibis_features import ConfigError, Feature, FeatureSchema
from ibis_features.tables import quoted

ARGUMENT_TYPES = {
    "number": "FLOAT",
    "category": "VARCHAR",
    "embedding": "FLOAT[]",
    "number_sequence": "FLOAT[]",
    "category_sequence": "VARCHAR[]",
}


def identifier(name: str) -> str:
    """The name quoted for SQL; raises ConfigError on a name that DuckDB cannot hold."""
    if not name or "\0" in name:
        raise ConfigError(f"{name!r} cannot be a name in SQL; rename it")
    return quoted(name)


def literal(text: str) -> str:
    """The text as a SQL string. A NUL character would end the statement and is spelled out."""
    return "'" + text.replace("'", "''").replace("\0", "' || chr(0) || '") + "'"


def readable(expression: str, feature: Feature) -> str:
    """A feature cast to what models read, as `Examples.readable` does it; an embedding of another width is an error."""
    kind = ARGUMENT_TYPES[feature.role]
    if feature.role == "embedding":
        return f"({expression})::FLOAT[{feature.width}]::{kind}"
    return f"({expression})::{kind}"


def check_names(schema: FeatureSchema) -> None:
    """Raise ConfigError where two features differ only by case: SQL takes them for one."""
    seen: dict[str, str] = {}
    for name in schema.names:
        identifier(name)
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise ConfigError(f"the features '{other}' and '{name}' differ only by case; SQL ignores it: rename one")


def current_database(con: duckdb.DuckDBPyConnection) -> str:
    row = con.execute("select current_database()").fetchone()
    assert row is not None
    return row[0]


def has_function(con: duckdb.DuckDBPyConnection, name: str, *, is_table: bool = False) -> bool:
    """Is there a function or macro of this quoted name, with whatever arguments?

    The binder is asked with an argument that none has: it knows a name at once, while duckdb_functions() spells every
    macro of the file out, which for a few predictions of trees takes a tenth of a second.
    """
    try:
        con.execute(f"explain {'from' if is_table else 'select'} {name}(foretable_no_argument := 1)")
    except duckdb.CatalogException:
        return False
    except duckdb.BinderException:
        pass
    return True
