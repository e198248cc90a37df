"""The dbt models' compiled SQL, run on rows of a test's own without dbt: quick enough for random inputs."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import DBT_PROJECT, run_dbt
from udfs.sentiment import register_sentiment

Row = Mapping[str, Any]

EVENT_COLUMNS = [
    "event_id", "user_id", "session_id", "event_type", "item_id", "occurred_at", "loaded_at", "quantity", "price",
    "duration_seconds", "query", "channel", "device", "campaign_id", "order_id",
]  # fmt: skip
ITEM_COLUMNS = ["item_id", "title", "description", "category_id", "brand", "price", "image", "listed_at", "updated_at"]
REVIEW_COLUMNS = ["review_id", "user_id", "item_id", "rating", "body", "created_at", "updated_at", "loaded_at"]
CAMPAIGN_COLUMNS = ["campaign_id", "kind", "starts_at", "ends_at", "discount", "updated_at"]


class Pipeline:
    """The models from staging to features, sequences and labels, or the targets and what they read, in order."""

    def __init__(self, folder: Path, variables: Mapping[str, object], targets: Sequence[str] = ()) -> None:
        data = folder / "data"
        data.mkdir(parents=True)
        pq.write_table(_table([event("u", "view", "2025-01-01")], EVENT_COLUMNS), data / "events.parquet")
        pq.write_table(_table([{"item_id": "i"}], ITEM_COLUMNS), data / "items.parquet")
        selected = ["--select", *(f"+{name}" for name in targets)] if targets else []
        run = run_dbt("compile", *selected, warehouse=folder / "compiled.duckdb", data=data, variables=variables)
        assert run.code == 0, run.output
        self._manifest = json.loads((run.target / "manifest.json").read_text())

    def models(self) -> list[dict[str, Any]]:
        """The models to run, each after those it reads."""
        nodes = {
            key: node
            for key, node in self._manifest["nodes"].items()
            if node["resource_type"] == "model"
            and node.get("compiled")
            and node["config"]["materialized"] in ("table", "view", "grown", "snapshots")
            and "/sources/" not in node["original_file_path"]
            and "/marts/" not in node["original_file_path"]
            and "/monitoring/" not in node["original_file_path"]
        }
        ordered: dict[str, dict[str, Any]] = {}
        while len(ordered) < len(nodes):
            for key, node in nodes.items():
                if all(parent in ordered or parent not in nodes for parent in node["depends_on"]["nodes"]):
                    ordered.setdefault(key, node)
        return list(ordered.values())

    def run(
        self,
        events: Sequence[Row],
        items: Sequence[Row] = (),
        reviews: Sequence[Row] = (),
        campaigns: Sequence[Row] = (),
        *,
        rewrite: Callable[[str, str], str] = lambda name, sql: sql,
    ) -> duckdb.DuckDBPyConnection:
        """Build the models over these rows; `rewrite(model, sql)` may plant a fault in a model's SQL."""
        con = duckdb.connect(config={"threads": 2})
        con.execute("attach ':memory:' as compiled; use compiled; create schema staging; create schema cleaning")
        register_sentiment(con)
        for seed in self._seeds():
            file, types = DBT_PROJECT / seed["original_file_path"], seed["config"]["column_types"]
            con.execute(
                f"create table {seed['schema']}.{seed['name']} as "
                f"from read_csv('{file}', header = true{f', types = {types}' if types else ''})"
            )
        for name, rows, columns in (
            ("events", events, EVENT_COLUMNS),
            ("items", items, ITEM_COLUMNS),
            ("reviews", reviews, REVIEW_COLUMNS),
            ("campaigns", campaigns, CAMPAIGN_COLUMNS),
        ):
            con.register("given", _table(rows, columns))
            con.execute(f"create table staging.contract__{name} as select * from given")
            con.unregister("given")
        for table in ("users", "truth"):
            con.execute(f"create table staging.contract__{table} as select null as user_id where false")
        for model in self.models():
            sql = rewrite(model["name"], model["compiled_code"])
            con.execute(f"create table {model['schema']}.{model['name']} as {sql}")
        return con

    def _seeds(self) -> list[dict[str, Any]]:
        return [node for node in self._manifest["nodes"].values() if node["resource_type"] == "seed"]


def event(user_id: str | None, event_type: str | None, occurred_at: str | None, **columns: object) -> dict[str, Any]:
    return {"user_id": user_id, "event_type": event_type, "occurred_at": occurred_at, **columns}


def rows_of(con: duckdb.DuckDBPyConnection, table: str) -> list[tuple[Any, ...]]:
    """A table's rows in an order that depends on nothing but their content."""
    return con.execute(f"select * from {table} order by all").fetchall()


def _table(rows: Sequence[Row], columns: Sequence[str]) -> pa.Table:
    return pa.table({c: pa.array([_text(row.get(c)) for row in rows], pa.string()) for c in columns})


def _text(value: object) -> str | None:
    return None if value is None else str(value)
