"""The dbt-duckdb plugin: `score_<prediction>` is there for every model that dbt builds.

profiles.yml: `plugins: [{module: udfs.plugin, alias: foretable}]`
"""

from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb import DuckDBPyConnection

from models_ml.registry import has_registry
from udfs.scorers import create_row_macros, register


class Plugin(BasePlugin):
    """Registers the scorers of the warehouse that dbt opens."""

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        if has_registry(conn):
            register(conn)

    def configure_cursor(self, cursor: Any) -> None:
        if has_registry(cursor):
            create_row_macros(cursor)
