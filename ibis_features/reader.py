"""Open a DuckDB file for reading alone, whatever state a build has left it in. Only DuckDB is imported here."""

from pathlib import Path

import duckdb


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
