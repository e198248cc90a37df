"""The dbt-duckdb plugin: raw text files are read to the letter, leak tests can train, macros are compared with their
models, and every model has its `score_<prediction>`.

profiles.yml: `plugins: [{module: udfs.plugin, alias: foretable}]`
"""

from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb import DuckDBPyConnection

from models_ml.registry import has_registry
from udfs.agreement import register_agreement
from udfs.leak_tests import register_leak_tests
from udfs.log_files import register_reader
from udfs.scorers import create_row_macros, register
from udfs.sentiment import register_sentiment


class Plugin(BasePlugin):
    """Registers the reader of raw files and the scorers of the warehouse that dbt opens."""

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        register_reader(conn)
        register_sentiment(conn)
        register_leak_tests(conn)
        register_agreement(conn)
        if has_registry(conn):
            register(conn)

    def configure_cursor(self, cursor: Any) -> None:
        if has_registry(cursor):
            create_row_macros(cursor, explainers=False)  # dbt opens a cursor for every model
