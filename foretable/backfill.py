"""Snapshots of a range of the past, beside those that the grid gives by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb

from foretable.build import Order, order_again
from foretable.project import Refusal, check_warehouse

REBUILT = ("int_snapshots__grid+",)
GRID = "cleaning.int_snapshots__grid"
LEFT_OUT = ("config.materialized:prediction+",)
"""Models train on the new snapshots at the next build."""


def backfill_order(warehouse: Path, first: date, last: date) -> Order:
    """Write the range down in the warehouse, and say what to build: the order of the last build, narrowed to snapshots.

    The range stays until it is deleted from foretable.backfills: later builds and full refreshes hold it too.
    Raises Refusal where the range is empty or beside the log, or the warehouse was never built.
    """
    warehouse = check_warehouse(warehouse)
    if first > last:
        raise Refusal(f"the range is empty: --from {first} lies after --to {last}")
    order = order_again(warehouse, "backfill")
    with duckdb.connect(str(warehouse)) as con:
        _refuse_beside_the_log(con, first, last)
        con.execute(
            "insert into foretable.backfills select $first, $last, current_localtimestamp() where not exists "
            "(from foretable.backfills where first_as_of = $first and last_as_of = $last)",
            {"first": first, "last": last},
        )
    return replace(order, select=REBUILT, exclude=LEFT_OUT)


def snapshot_count(warehouse: Path, first: date, last: date) -> int:
    """How many snapshots of a range the grid holds now. A range that holds none is forgotten, and raises Refusal."""
    with duckdb.connect(str(warehouse)) as con:
        found = con.execute(
            f"select count(*) from {GRID} where as_of between $first and $last", {"first": first, "last": last}
        ).fetchone()
        if found and found[0]:
            return int(found[0])
        con.execute(
            "delete from foretable.backfills where first_as_of = $first and last_as_of = $last",
            {"first": first, "last": last},
        )
        near = con.execute(f"select min(as_of)::date, max(as_of)::date from {GRID}").fetchone()
    raise Refusal(
        f"no snapshot of the grid lies in {first} to {last}; the grid goes by the setting snapshot_every"
        + (f", from {near[0]} to {near[1]}; take a longer range" if near else "")
    )


def _refuse_beside_the_log(con: duckdb.DuckDBPyConnection, first: date, last: date) -> None:
    if not con.execute(
        "select 1 from duckdb_tables() where database_name = current_database() "
        "and schema_name = 'cleaning' and table_name = 'int_snapshots__grid'"
    ).fetchone():
        raise Refusal("the warehouse holds no snapshots yet; build it once with `foretable build`, then backfill")
    log = con.execute(
        f"select min(occurred_at)::date, (select max(as_of)::date from {GRID} where is_newest) "
        "from staging.stg_events where rejection_reason is null"
    ).fetchone()
    if log and log[0] and log[1] and (last <= log[0] or first > log[1]):
        raise Refusal(
            f"no snapshot of the grid lies in {first} to {last}: "
            f"the log begins on {log[0]}, and the newest snapshot is that of {log[1]}"
        )
