"""Open a DuckDB file for reading alone, whatever state a build has left it in. Only DuckDB is imported here."""

from pathlib import Path

import duckdb

PUBLISHED = "_published"
"""The table of one row that a published file has and a warehouse has not: which build it holds."""

SHUT: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "allow_community_extensions": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",  # the Python variables around are no tables
    "lock_configuration": "true",
}


def open_reader(path: str | Path) -> duckdb.DuckDBPyConnection:
    """A read-only connection to the DuckDB file at `path`.

    A build that was killed leaves beside the file what it had committed last. DuckDB 1.5 cannot always take that into a
    file that is opened for reading alone, so that it is opened for writing first, where nobody else has it open.
    """
    try:
        return duckdb.connect(str(path), read_only=True)
    except duckdb.IOException as error:
        if "replaying WAL" not in str(error):
            raise
        duckdb.connect(str(path)).close()
        return duckdb.connect(str(path), read_only=True)


def open_shut(path: str | Path, **more: str) -> duckdb.DuckDBPyConnection:
    """A read-only connection on which no SQL reads or writes another file, attaches, loads an extension or changes a
    setting: what strangers may ask a file through. `more` are further settings of DuckDB.
    """
    return duckdb.connect(str(path), read_only=True, config={**SHUT, **more})


def is_published(con: duckdb.DuckDBPyConnection) -> bool:
    """Is the file in use one that `foretable publish` has written?"""
    found = con.execute(
        "select count(*) from duckdb_tables() "
        "where database_name = current_database() and schema_name = 'main' and table_name = ?",
        [PUBLISHED],
    ).fetchone()
    return bool(found and found[0])
