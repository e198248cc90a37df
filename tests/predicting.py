"""One prediction over a handful of made-up examples, built by the function that the materialization calls."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import duckdb

from udfs.prediction import build

BINARY = {
    "entity": "user_id",
    "label": "bought",
    "horizon_days": 30,
    "model": "xgboost",
    "params": {"n_estimators": 20},
}
EXAMPLES = """
    select
        'u' || u as user_id,
        timestamp '2025-01-01' + interval (30 * s) days as as_of,
        case when s < 5 then (u * 7 + s) % 10 + random() * 3 > 6 end as bought,
        ((u * 7 + s) % 10)::double as heat,
        random() as noise,
        case when u % 9 = 0 then null else 'c' || (u % 4) end as kind
    from range(120) as users (u), range(6) as snapshots (s)
"""


def predict(
    con: duckdb.DuckDBPyConnection,
    select: str = EXAMPLES,
    /,
    *,
    train: str = "when_changed",
    promote: str | None = None,
    is_plan: bool = False,
    folds: int | None = None,
    contract: Mapping[str, str] = MappingProxyType({}),
    **config: Any,
) -> str | None:
    """Do what the materialization does; return the sentence it would fail with."""
    con.execute(f"create or replace temp view examples__test__select as ({select})")
    (database,) = con.execute("select current_database()").fetchone() or ("",)
    build(
        con,
        {
            "name": "test",
            "config": {key: value for key, value in {**BINARY, **config}.items() if value != "absent"},
            "train": train,
            "promote": promote,
            "is_plan": is_plan,
            "folds": folds,
            "sql": select,
            "database": f'"{database}"',
            "select": "temp.main.examples__test__select",
            "building": "main.examples__test__building",
            "examples": "main.examples__test",
            "examples_identifier": "examples__test",
            "target": "main.pred__test",
            "truth_schema": "main",
            "run_id": "run",
            "run_at": "2025-12-01 00:00:00",
            "source": "contract",
            "contract": contract,
        },
    )
    return con.execute("select message from foretable_outcome").fetchone()[0]


def fixed(con: duckdb.DuckDBPyConnection, where: str = "true") -> str:
    """Examples that do not change from one SELECT to the next."""
    con.execute(f"create or replace table fixed as select * from ({EXAMPLES}) where {where}")
    return "select * from fixed"


def state_of(con: duckdb.DuckDBPyConnection) -> list[Any]:
    tables = ["pred__test", "examples__test", "foretable.models", "foretable.active", "foretable.prediction_log"]
    return [con.execute(f"select * from {table} order by all").fetchall() for table in tables]


def version_count(con: duckdb.DuckDBPyConnection, prediction: str = "test") -> int:
    return con.execute("select count(*) from foretable.models where prediction = ?", [prediction]).fetchone()[0]


def last_run(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """What the last build of the prediction did."""
    cursor = con.execute("select * from foretable.runs where prediction = 'test' order by rowid desc limit 1")
    names = [column[0] for column in cursor.description or []]
    return dict(zip(names, cursor.fetchone() or [], strict=True))
