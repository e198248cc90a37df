"""How fast the newest features of a user are found: `python -m benchmarks.lookup [--quick]`.

Ours is `ibis_features.open(FILE).online("user", ids, features)` on a file with a million users (--quick: 100,000) and
20 features, its table built by dbt. Beside it Feast's sqlite online store with 50,000 users (--quick: 10,000): filling
it takes minutes, and a smaller store does not make it slower. Every answer is checked. The two take turns, each turn a
process of its own, whose first call is not counted; the percentiles are over the calls of all turns. `cpu` are the
seconds of all threads: those of a loaded machine's other work are not among them.
"""

import argparse
import json
import os
import platform
import random
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from benchmarks.dbt_runs import run_dbt
from benchmarks.processes import REQUIREMENTS, peer_python, run

NUMBERS = 10
ROOT = Path(__file__).parent.parent
SIDES = ("ours", "feast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100,000 users instead of a million")
    options = parser.parse_args()
    users, their_users, turns = (100_000, 10_000, 3) if options.quick else (1_000_000, 50_000, 5)
    with tempfile.TemporaryDirectory() as folder:
        laps = measured(Path(folder), users, their_users, turns)
    feast = REQUIREMENTS["feast"][0].split("==")[1]
    print(f"{'':24}{'p50 ms':>10}{'p99 ms':>10}{'cpu p50':>10}{'cpu p99':>10}{'calls':>8}")
    figures: dict[str, Any] = {}
    cpu: dict[str, tuple[float, float]] = {}
    for name in ("one", "hundred"):
        for side in SIDES:
            (p50, cpu_p50), (p99, cpu_p99) = np.percentile(laps[side][name], [50, 99], axis=0) * 1000
            figures[f"{side}_{name}"] = (round(float(p50), 3), round(float(p99), 3))
            cpu[f"{side}_{name}"] = (round(float(cpu_p50), 3), round(float(cpu_p99), 3))
            shown = f"{side}, {'1 user' if name == 'one' else '100 users'}"
            print(f"{shown:24}{p50:>10.3f}{p99:>10.3f}{cpu_p50:>10.3f}{cpu_p99:>10.3f}{len(laps[side][name]):>8}")
    print(f"{users:,} users with us, {their_users:,} with Feast {feast}; load average {os.getloadavg()[0]:.1f}")
    line = {
        "p50_ms": figures["ours_one"][0],
        "p99_ms": figures["ours_one"][1],
        "p50_100_users_ms": figures["ours_hundred"][0],
        "p99_100_users_ms": figures["ours_hundred"][1],
        "feast": {
            "p50_ms": figures["feast_one"][0],
            "p99_ms": figures["feast_one"][1],
            "p50_100_users_ms": figures["feast_hundred"][0],
            "p99_100_users_ms": figures["feast_hundred"][1],
        },
        "speedup": round(figures["feast_one"][0] / figures["ours_one"][0], 2),
        "speedup_100_users": round(figures["feast_hundred"][0] / figures["ours_hundred"][0], 2),
        "cpu_p50_p99_ms": cpu,
        "users": users,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "duckdb": version("duckdb")},
    }
    print(json.dumps(line))


def measured(folder: Path, users: int, their_users: int, turns: int) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Seconds of every call, by the clock and of all threads, by side and by how many users were asked for."""
    warehouse, features = folder / "warehouse.duckdb", folder / "features.parquet"
    columns = written(warehouse, features, users, their_users)
    run_dbt("run", "--select", "online__user", warehouse=warehouse, data=folder)
    feast = peer_python("feast")
    commands = {
        "ours": [sys.executable, "-m", "benchmarks.lookup_turn"],
        "feast": [str(feast), str(Path(__file__).parent / "feast_lookup.py")],
    }
    stores = {"ours": warehouse, "feast": folder / "feast"}
    tasks = {side: folder / f"{side}.json" for side in SIDES}
    draw = random.Random(7)
    laps: dict[str, dict[str, list[tuple[float, float]]]] = {side: {"one": [], "hundred": []} for side in SIDES}
    for turn in range(-1, turns):
        for side in SIDES:
            known = users if side == "ours" else their_users
            asked = {
                "one": [[f"user-{draw.randrange(known)}"] for _ in range(500)],
                "hundred": [[f"user-{draw.randrange(known)}" for _ in range(100)] for _ in range(50)],
            }
            task = {"store": str(stores[side]), "columns": columns, "features": str(features), "asked": asked}
            tasks[side].write_text(json.dumps(task))
            if turn < 0:
                if side == "feast":
                    run([*commands[side], str(tasks[side]), "fill"], folder=folder)
                continue
            ended = run([*commands[side], str(tasks[side])], folder=folder, environment={"PYTHONPATH": str(ROOT)})
            for name, seconds in ended.figures().items():
                laps[side][name] += seconds
    return laps


def written(warehouse: Path, features: Path, users: int, their_users: int) -> list[str]:
    """features__user with one snapshot, and a part of it as Parquet; the names of the 20 features."""
    counts = [f"count_{place}" for place in range(NUMBERS)]
    values = [f"value_{place}" for place in range(NUMBERS)]
    drawn = [
        "users.number::bigint as count_0",
        *(f"(random() * 1000)::bigint as {name}" for name in counts[1:]),
        *(f"random() * 1000 as {name}" for name in values),
    ]
    with duckdb.connect(str(warehouse)) as con:
        con.execute("select setseed(0.7)")
        con.execute(
            f"create table features__user as select 'user-' || users.number as user_id, {', '.join(drawn)}, "
            f"timestamp '2025-01-06' as as_of from range({users}) as users (number) order by random()"
        )
        con.execute(
            "copy (select * replace (timezone('UTC', as_of) as as_of) from features__user "
            f"where count_0 < {their_users}) to '{features}' (format parquet)"
        )
    return counts + values


if __name__ == "__main__":
    main()
