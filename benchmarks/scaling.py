"""How time and memory grow with the log: `python -m benchmarks.scaling [--quick]`.

Builds features and sequences of 13 weekly snapshots, from raw Parquet on, with plain `dbt build` and two threads, on
logs of 1, 3, 10 and 30 million events. Seconds run from the first model's start to the last one's end; dbt's own
start-up stands beside them, since leaving it in would flatter the exponent. The exponent is the slope of
log(seconds) over log(events). Memory is the most that dbt's process held. Allow 60 GB of disk for the full run.
"""

import argparse
import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dbt_runs import MEMORY_LIMIT, Run, run_dbt
from benchmarks.event_log import write_log
from benchmarks.pandas_comparison import ONLY_TABLES, VARIABLES
from benchmarks.processes import machine

SELECT = ("+features__user", "+sequences__user")
SIZES = [1_000_000, 3_000_000, 10_000_000, 30_000_000]
QUICK_SIZES = [300_000, 1_000_000, 3_000_000]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="0.3, 1 and 3 million events; ends within 10 minutes")
    parser.add_argument("--sizes", type=int, nargs="+", help="numbers of events of your own")
    parser.add_argument("--memory-limit", default=MEMORY_LIMIT, help=f"DuckDB's memory_limit ({MEMORY_LIMIT})")
    parser.add_argument("--folder", type=Path, help="make logs and warehouses here, and keep the logs")
    options = parser.parse_args()
    sizes = sorted(options.sizes or (QUICK_SIZES if options.quick else SIZES))
    print(f"{'events':>12}{'models':>12}{'start-up':>12}{'a million':>12}{'memory':>10}", flush=True)
    runs: dict[int, Run] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for events in sizes:
            folder = (options.folder or Path(temporary)) / f"log_{events}"
            runs[events] = built(folder, events, options.memory_limit)
            seconds, start_up = runs[events].sql_seconds, runs[events].seconds - runs[events].sql_seconds
            print(
                f"{events:12,}{seconds:10.1f} s{start_up:10.1f} s{seconds / events * 1e6:10.2f} s"
                f"{runs[events].peak_gb:7.2f} GB",
                flush=True,
            )
    print(json.dumps(figures(runs, options.memory_limit)))


def built(folder: Path, events: int, memory_limit: str) -> Run:
    """Build a warehouse from nothing and remove it again."""
    folder.mkdir(parents=True, exist_ok=True)
    log = write_log(folder / "log", events=events)
    scratch = folder / "scaling"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    run = run_dbt(
        *("build", "--select", *SELECT, *ONLY_TABLES),
        warehouse=scratch / "ours.duckdb",
        data=log,
        variables=VARIABLES,
        memory_limit=memory_limit,
    )
    shutil.rmtree(scratch)
    return run


def figures(runs: dict[int, Run], memory_limit: str) -> dict[str, Any]:
    """The line of JSON."""
    return {
        "exponent": exponent({events: run.sql_seconds for events, run in runs.items()}),
        "peak_gb": round(max(run.peak_gb for run in runs.values()), 2),
        "seconds": {str(events): round(run.sql_seconds, 1) for events, run in runs.items()},
        "start_up_seconds": {str(events): round(run.seconds - run.sql_seconds, 1) for events, run in runs.items()},
        "by_model": {str(events): run.by_model for events, run in runs.items()},
        "memory_limit": memory_limit,
        "versions": machine(),
    }


def exponent(seconds: dict[int, float]) -> float:
    """The slope of log(seconds) over log(events): 1 where time grows as the log does; NaN for a single size."""
    if len(seconds) < 2:
        return math.nan
    slope, _ = np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)
    return round(float(slope), 3)


if __name__ == "__main__":
    main()
