"""What one more day costs: `python -m benchmarks.incremental [--quick]`.

A warehouse is built from a log of 10 million events that ends a day early; the rows loaded on the last day are
added, and `dbt build` runs again. The full build is one of the same final rows in a warehouse of its own.
share_of_full compares the time from the first model's start to the last one's end; share_of_full_wall has dbt's
start-up in both. Where the two warehouses do not hold the same features and sequences afterwards, the exit code is 1.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import duckdb

from benchmarks.dbt_runs import Run, run_dbt
from benchmarks.event_log import last_file, write_log
from benchmarks.pandas_comparison import ONLY_TABLES, VARIABLES, one_row, place_of
from benchmarks.processes import machine
from benchmarks.scaling import SELECT

TABLES = ("features__user", "sequences__user")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a million events; ends within 10 minutes")
    parser.add_argument("--events", type=int, help="a number of events of your own")
    parser.add_argument("--folder", type=Path, help="make the log and the warehouses here, and keep them")
    options = parser.parse_args()
    events = options.events or (1_000_000 if options.quick else 10_000_000)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)) / f"log_{events}"
        folder.mkdir(parents=True, exist_ok=True)
        log = write_log(folder / "log", events=events)
        for name in ("incremental", "full"):
            shutil.rmtree(folder / name, ignore_errors=True)
        daily = all_but_the_last_day(log, folder / "daily")
        runs = {"without the last day": built(folder / "incremental", daily)}
        os.link(last_file(log), daily / "events" / last_file(log).name)
        runs["one more day"] = built(folder / "incremental", daily)
        runs["full"] = built(folder / "full", log)
        differing = [
            table for table in TABLES if content(folder / "full", table) != content(folder / "incremental", table)
        ]
    print(f"{'build':24}{'models':>12}{'start-up':>12}{'memory':>10}")
    for name, run in runs.items():
        print(f"{name:24}{run.sql_seconds:10.1f} s{run.seconds - run.sql_seconds:10.1f} s{run.peak_gb:7.2f} GB")
    day, full = runs["one more day"], runs["full"]
    slowest = sorted(day.by_model, key=lambda name: -day.by_model[name])[:8]
    figures = {
        "share_of_full": round(day.sql_seconds / full.sql_seconds, 4),
        "share_of_full_wall": round(day.seconds / full.seconds, 4),
        "events": events,
        "seconds": {name: round(run.sql_seconds, 2) for name, run in runs.items()},
        "slowest_of_the_day": {name: day.by_model[name] for name in slowest},
        "differing": differing,
        "versions": machine(),
    }
    print(json.dumps(figures))
    if differing:
        sys.exit(1)


def all_but_the_last_day(log: Path, daily: Path) -> Path:
    """A folder with the log's files but the last one."""
    shutil.rmtree(daily, ignore_errors=True)
    (daily / "events").mkdir(parents=True)
    os.link(log / "items.parquet", daily / "items.parquet")
    for file in sorted((log / "events").glob("*.parquet"))[:-1]:
        os.link(file, daily / "events" / file.name)
    return daily


def built(folder: Path, data: Path) -> Run:
    folder.mkdir(parents=True, exist_ok=True)
    return run_dbt(
        *("build", "--select", *SELECT, *ONLY_TABLES),
        warehouse=folder / "ours.duckdb",
        data=data,
        variables=VARIABLES,
    )


def content(folder: Path, table: str) -> tuple[int, int]:
    """The number of rows, and a hash that does not depend on their order."""
    with duckdb.connect(str(folder / "ours.duckdb"), read_only=True, config={"threads": 2}) as con:
        place = place_of(con, table)
        count, hashes = one_row(con, f"select count(*), sum(hash(rows)::hugeint) from {place} as rows")
    return count, hashes


if __name__ == "__main__":
    main()
