"""Our activity model beside featuretools with cutoff times: the same counts and sums, equal in every cell."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.dbt_runs import run_dbt
from benchmarks.event_log import write_log
from benchmarks.pandas_comparison import (
    BUILD_STAGING,
    STAGING,
    VARIABLES,
    asked_for,
    close_to,
    columns_of,
    one_row,
    place_of,
)
from benchmarks.processes import run

MODEL = "int_users__activity"
CLEAN = "duplicates__events"
FEATURETOOLS_FEATURES = Path(__file__).parent / "featuretools_features.py"


@dataclass
class Compared:
    """Seconds of each side, each repetition, and the cells that differ."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    cells: int = 0
    differing: dict[str, int] = field(default_factory=dict)


def compare(folder: Path, python: Path, *, events: int, repeat: int, seed: int = 7) -> Compared:
    """Both sides in turn, `repeat` times each, on a log without loaded_at: featuretools knows one time only.

    Ours starts from the typed rows and pays for the deduplication, too; featuretools is given the clean events.
    """
    log = write_log(folder / "log", events=events, seed=seed, two_times=False)
    warehouse = folder / "ours.duckdb"
    warehouse.unlink(missing_ok=True)
    run_dbt(*BUILD_STAGING, warehouse=warehouse, data=log, variables=VARIABLES)
    compared = Compared()
    for _ in range(repeat):
        ours = run_dbt(
            *("run", "--full-refresh", "--select", f"+{MODEL}", "--exclude", STAGING),
            warehouse=warehouse,
            data=log,
            variables=VARIABLES,
        )
        run_dbt("run", "--select", CLEAN, warehouse=warehouse, data=log, variables=VARIABLES)
        task = _task(warehouse, folder)
        (folder / "task.json").write_text(json.dumps(task))
        theirs = run([str(python), str(FEATURETOOLS_FEATURES), "task.json"], folder=folder)
        compared.ours.append(ours.sql_seconds)
        compared.theirs.append(theirs.figures()["seconds"])
    hold_beside(warehouse, Path(task["out"]), compared)
    return compared


def _task(warehouse: Path, folder: Path) -> dict[str, Any]:
    task = {name: str(folder / f"{name}.parquet") for name in ("events", "cutoffs", "out")}
    with duckdb.connect(str(warehouse), read_only=True) as con:
        windows, event_types = asked_for(columns_of(con, MODEL))
        con.execute(
            f"""
            copy (
                select
                    events.row_id::varchar as row_id,
                    events.user_id,
                    events.event_type,
                    events.occurred_at,
                    events.duration_seconds,
                    case when events.event_type = 'purchase' then events.price * events.quantity else 0 end
                        as purchase_value
                from {place_of(con, "stg_events")} as events
                anti join {place_of(con, CLEAN)} as duplicates on events.row_id = duplicates.row_id
                order by events.occurred_at, events.row_id
            ) to '{task["events"]}' (format parquet)
            """
        )
        con.execute(
            f"copy (select user_id, as_of from {place_of(con, MODEL)} order by as_of, user_id) "
            f"to '{task['cutoffs']}' (format parquet)"
        )
    return {**task, "windows": windows, "event_types": event_types}


def hold_beside(warehouse: Path, theirs: Path, compared: Compared) -> None:
    """Count the cells that differ, sums of doubles by more than a part in 1e9."""
    with duckdb.connect(str(warehouse), read_only=True) as con:
        described = con.execute(f"describe select * exclude (user_id, as_of) from '{theirs}'").fetchall()
        names = [name for name, *_ in described]
        counts = ", ".join(f"count(*) filter (where not {close_to(name)})" for name in names)
        rows, unmatched, *differing = one_row(
            con,
            f"""
            select count(*), count(*) filter (where ours.user_id is null or theirs.user_id is null), {counts}
            from {place_of(con, MODEL)} as ours
            full join read_parquet('{theirs}') as theirs
                on ours.user_id = theirs.user_id and ours.as_of = theirs.as_of
            """,
        )
    compared.cells = rows * len(names)
    compared.differing = {name: count for name, count in zip(names, differing, strict=True) if count}
    if unmatched:
        compared.differing["rows"] = unmatched
