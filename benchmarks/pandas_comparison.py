"""Our dbt models beside a practitioner's pandas: the same columns, from the same typed rows, equal in every cell."""

import json
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.dbt_runs import THREADS, Run, run_dbt
from benchmarks.event_log import DAYS, FIRST_DAY, write_log
from benchmarks.processes import run

SNAPSHOTS = 13
# The grid steps back by a week from the midnight that starts the log's last day, as long as this much lies before.
VARIABLES = {
    "snapshot_anchor": str(date.fromisoformat(FIRST_DAY) + timedelta(days=DAYS - 1)),
    "history_days": DAYS - 7 * SNAPSHOTS + 1,
    "sequence_length": 50,
    "near_duplicate_seconds": 2,
}
MODELS = {"activity": "int_users__activity", "variety": "int_users__variety", "sequences": "sequences__user"}
# A view: its rows are worked out when they are read, so that ours takes as long as it takes to read all of them.
VIEW = MODELS["sequences"]
STYLES = ("plain", "tuned")
STAGING = "+path:models/staging"
ONLY_TABLES = ("--resource-type", "model", "--resource-type", "seed")
BUILD_STAGING = ("build", "--select", STAGING, "path:seeds", *ONLY_TABLES)
PANDAS_FEATURES = Path(__file__).parent / "pandas_features.py"
# Growing tables keep what changed in tables of the same name there.
CHANGES = "changes"
KEYS = ("user_id", "as_of")


@dataclass(frozen=True)
class Shop:
    """A log that is staged: both sides start from the same typed Parquet."""

    folder: Path
    events: int
    log: Path
    warehouse: Path
    staging: Run

    @property
    def typed(self) -> Path:
        return self.folder / "typed"


@dataclass
class Compared:
    """What both sides took, and whether they agree.

    ours, theirs    seconds of each turn; theirs by style
    by_model, by_step, cpu_seconds, peak_gb
                    of the last turn. cpu_seconds are those of all threads, start-up included; they suffer less from
                    what else the machine does
    cells, differing, only_ours
                    cells held beside each other, those that differ by column, and columns that pandas does not compute
    """

    ours: list[float] = field(default_factory=list)
    theirs: dict[str, list[float]] = field(default_factory=dict)
    by_model: dict[str, float] = field(default_factory=dict)
    by_step: dict[str, dict[str, float]] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    peak_gb: dict[str, float] = field(default_factory=dict)
    cells: int = 0
    differing: dict[str, int] = field(default_factory=dict)
    only_ours: list[str] = field(default_factory=list)


def staged(folder: Path, *, events: int, seed: int = 7) -> Shop:
    """Write a log, run the staging models on it, and put what they give into Parquet that both sides read."""
    log = write_log(folder / "log", events=events, seed=seed)
    warehouse = folder / "ours.duckdb"
    warehouse.unlink(missing_ok=True)
    staging = run_dbt(*BUILD_STAGING, warehouse=warehouse, data=log, variables=VARIABLES)
    shop = Shop(folder, events, log, warehouse, staging)
    shop.typed.mkdir(exist_ok=True)
    with duckdb.connect(str(warehouse)) as con:
        for table in ("events", "items"):
            file = shop.typed / f"{table}.parquet"
            con.execute(f"copy (select * from staging.stg_{table}) to '{file}' (format parquet)")
            con.execute(f"drop table staging.stg_{table}")
            con.execute(f"create view staging.stg_{table} as select * from read_parquet('{file}')")
    return shop


def compare(shop: Shop, python: Path, *, repeat: int, styles: Sequence[str] = STYLES) -> Compared:
    """Run ours and each style of pandas in turn, `repeat` times; hold the last turn's tables beside each other."""
    compared = Compared(theirs={style: [] for style in styles})
    for turn in range(repeat):
        ours = run_ours(shop)
        reading = seconds_to_read(shop, VIEW)
        compared.ours.append(ours.sql_seconds + reading)
        compared.by_model = {**ours.by_model, f"{VIEW}, every row": round(reading, 3)}
        compared.cpu_seconds["ours"], compared.peak_gb["ours"] = round(ours.cpu_seconds, 1), round(ours.peak_gb, 2)
        for style in styles:
            task = {**_task(shop), "style": style}
            shutil.rmtree(task["out"], ignore_errors=True)
            (shop.folder / "task.json").write_text(json.dumps(task))
            theirs = run([str(python), str(PANDAS_FEATURES), "task.json"], folder=shop.folder)
            compared.by_step[style] = theirs.figures()
            compared.theirs[style].append(sum(theirs.figures().values()))
            compared.cpu_seconds[style], compared.peak_gb[style] = (
                round(theirs.cpu_seconds, 1),
                round(theirs.peak_gb, 2),
            )
            if turn == repeat - 1:
                hold_beside(shop, style, compared)
    return compared


def run_ours(shop: Shop) -> Run:
    """Everything from the typed rows to two tables and the view of the sequences, by dbt."""
    targets = " ".join(f"+{model}" for model in MODELS.values())
    return run_dbt(
        *("run", "--full-refresh", "--select", *targets.split(), "--exclude", STAGING),
        warehouse=shop.warehouse,
        data=shop.log,
        variables=VARIABLES,
    )


def seconds_to_read(shop: Shop, relation: str) -> float:
    """How long every row of a relation takes to come to Python as Arrow, in batches."""
    with duckdb.connect(str(shop.warehouse), read_only=True, config={"threads": THREADS}) as con:
        started = time.perf_counter()
        for _ in con.execute(f"from {place_of(con, relation)}").to_arrow_reader():
            pass
        return time.perf_counter() - started


def _task(shop: Shop) -> dict[str, Any]:
    """What pandas is asked for, read from the tables that our models gave."""
    with duckdb.connect(str(shop.warehouse), read_only=True) as con:
        columns = {part: columns_of(con, model) for part, model in MODELS.items()}
        place = place_of(con, MODELS["activity"])
        snapshots = con.execute(f"select distinct as_of from {place} order by as_of").fetchall()
    if len(snapshots) != SNAPSHOTS:
        raise SystemExit(f"expected {SNAPSHOTS} snapshots, found {len(snapshots)}; see VARIABLES in {__file__}")
    windows, event_types = asked_for(columns["activity"])
    return {
        "events": str(shop.typed / "events.parquet"),
        "items": str(shop.typed / "items.parquet"),
        "out": str(shop.folder / "pandas"),
        "snapshots": [str(as_of) for (as_of,) in snapshots],
        "windows": windows,
        "event_types": event_types,
        "recency_types": re.findall(r"\b(\w+)_recency_days\b", " ".join(columns["activity"])),
        "things": re.findall(r"\bdistinct_(\w+)_count_1d\b", " ".join(columns["variety"])),
        "sequence_length": VARIABLES["sequence_length"],
        "near_duplicate_seconds": VARIABLES["near_duplicate_seconds"],
    }


def asked_for(columns: Iterable[str]) -> tuple[list[int], list[str]]:
    """The windows in days and the event types that the columns of int_users__activity count."""
    names = " ".join(columns)
    windows = [int(days) for days in re.findall(r"\bevent_count_(\d+)d\b", names)]
    counted = re.findall(rf"\b(\w+)_count_{windows[0]}d\b", names)
    return windows, [kind for kind in counted if kind not in ("event", "active_day")]


def hold_beside(shop: Shop, style: str, compared: Compared) -> None:
    """Count the cells that differ: integers, text, instants and lists exactly, sums of doubles to a part in 1e9."""
    with duckdb.connect(str(shop.warehouse), read_only=True) as con:
        for part, model in MODELS.items():
            place = place_of(con, model)
            con.execute(f"create temp view theirs_{part} as from read_parquet('{shop.folder}/pandas/{part}/*.parquet')")
            ours, theirs = columns_of(con, model), columns_of(con, f"theirs_{part}")
            if missing := [name for name in theirs if name not in ours]:
                raise SystemExit(f"{model} lacks {', '.join(missing)}, which pandas computes")
            compared.only_ours += [name for name in ours if name not in (*theirs, *compared.only_ours)]
            shared = [name for name in theirs if name not in KEYS]
            counts = ", ".join(f"count(*) filter (where {_differs(name, ours[name])}) as {name}" for name in shared)
            rows, unmatched, *differing = one_row(
                con,
                f"""
                select count(*), count(*) filter (where ours.user_id is null or theirs.user_id is null), {counts}
                from {place} as ours
                full join theirs_{part} as theirs on ours.user_id = theirs.user_id and ours.as_of = theirs.as_of
                """,
            )
            compared.cells += rows * len(shared)
            found = {f"{style} {model}.{name}": count for name, count in zip(shared, differing, strict=True) if count}
            compared.differing |= found | ({f"{style} {model} rows": unmatched} if unmatched else {})


def _differs(column: str, kind: str) -> str:
    return f"not {close_to(column)}" if kind == "DOUBLE" else f"ours.{column} is distinct from theirs.{column}"


def close_to(column: str) -> str:
    """The condition that ours and theirs are both NULL, or alike to a part in 1e9."""
    ours, theirs = f"ours.{column}", f"theirs.{column}"
    return f"coalesce(abs({ours} - {theirs}) <= 1e-9 * greatest(abs({ours}), 1), {ours} is null and {theirs} is null)"


def columns_of(con: duckdb.DuckDBPyConnection, table: str) -> Mapping[str, str]:
    """A table's columns in order, each with its type."""
    found = con.execute(
        """
        select column_name, data_type
        from information_schema.columns
        where table_name = ? and table_schema <> ?
        order by ordinal_position
        """,
        [table, CHANGES],
    ).fetchall()
    return dict(found)


def one_row(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    """The only row of a query."""
    (row,) = con.execute(sql).fetchall()
    return row


def place_of(con: duckdb.DuckDBPyConnection, table: str) -> str:
    """A table's name with its schema."""
    found = con.execute(
        "select table_schema from information_schema.tables where table_name = ? and table_schema <> ?",
        [table, CHANGES],
    ).fetchall()
    if len(found) != 1:
        raise SystemExit(f"expected one table {table} in the warehouse, found {len(found)}")
    return f"{found[0][0]}.{table}"
