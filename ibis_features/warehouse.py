"""Open a warehouse for reading through Ibis."""

from pathlib import Path

import duckdb
import ibis
from ibis.backends.duckdb import Backend

from ibis_features.errors import NotFoundError
from ibis_features.reader import open_reader


def open_warehouse(path: str | Path, *, read_only: bool = True) -> Backend:
    """Open the DuckDB file at `path` as an Ibis backend; raises NotFoundError where there is none."""
    if not Path(path).is_file():
        raise NotFoundError(f"no warehouse at {path}; build one with `foretable build` or `foretable demo`")
    return connect_backend(open_reader(path) if read_only else duckdb.connect(str(path)))


def connect_backend(con: duckdb.DuckDBPyConnection) -> Backend:
    """Wrap a live DuckDB connection (dbt's own, say) as an Ibis backend."""
    return ibis.duckdb.from_connection(con)
