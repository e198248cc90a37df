"""Snapshots of a range of the past, beside those that the grid gives by itself."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb

from foretable.build import Order, last_order
from foretable.project import Refusal, check_warehouse, find_project

REBUILT = ("int_snapshots__grid+",)
LEFT_OUT = ("config.materialized:prediction+",)
"""Models train on the new snapshots at the next build."""


def backfill_order(warehouse: Path, first: date, last: date) -> Order:
    """Write the range down in the warehouse, and say what to build: the order of the last build, narrowed to snapshots.

    The range stays until it is deleted from foretable.backfills: later builds and full refreshes hold it too.
    Raises Refusal where the range is empty or the warehouse was never built.
    """
    warehouse = check_warehouse(warehouse)
    if first > last:
        raise Refusal(f"the range is empty: --from {first} lies after --to {last}")
    known = last_order(warehouse)
    if not warehouse.is_file() or not known:
        raise Refusal(f"{warehouse} was not built yet by `foretable build`; build it once, then backfill")
    with duckdb.connect(str(warehouse)) as con:
        con.execute(
            "insert into foretable.backfills select $first, $last, current_localtimestamp() where not exists "
            "(from foretable.backfills where first_as_of = $first and last_as_of = $last)",
            {"first": first, "last": last},
        )
    project = find_project(None if known["project"] == "packaged" else Path(known["project"]))
    return Order(
        project=project,
        warehouse=warehouse,
        data=Path(known["data"]) if known["data"] else None,
        vars=known["vars"],
        select=REBUILT,
        exclude=LEFT_OUT,
    )
