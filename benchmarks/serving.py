"""How fast many clients get scores over HTTP: `python -m benchmarks.serving [--quick]`.

`foretable serve` on a file with a million users (--quick: 100,000) of 40 numeric features, 300 trees of depth 3. 32
clients, each a connection of its own in one other process, ask for the score of a drawn user (*entity*), or send a row
of features (*row*), which the macro scores. *at once*: each client asks again as soon as it has its answer. *paced*:
each asks ten times a second. Every answer is compared with the table of scores. The clients share the cores with the
server.

p50_ms, p99_ms               of a score of an entity, paced
p50_ms_at_once, …            the same without a pause between requests
row_…                        of a row of features
cpu_ms, row_cpu_ms           seconds of the server's processes over requests, for a machine that does other work
"""

import argparse
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from benchmarks.processes import machine, run
from benchmarks.scoring import FEATURES, TRAIN_ROWS, TREES, of, write_examples
from models_ml.fitting import fit_spec
from models_ml.spec import parse_spec
from udfs.compiling import compile_sql

ROOT = Path(__file__).parent.parent
CLIENTS = 32
PAUSE_SECONDS = 0.1
NAME = "purchase"
ASKED_ROWS = 2_000
"""How many users are drawn; each is asked for several times."""
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100,000 users, and a third of the requests")
    options = parser.parse_args()
    users, requests = (100_000, 60) if options.quick else (1_000_000, 200)
    figures: dict[str, Any] = {}
    headings = ("p50 ms", "p99 ms", "max ms", "cpu ms", "a second", "requests")
    print(f"{'':18}" + "".join(f"{heading:>10}" for heading in headings), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        asked = prepared(folder, users)
        with served(folder / "served.duckdb") as (port, token, server):
            for what in ("entity", "row"):
                for pause, pace in ((PAUSE_SECONDS, "paced"), (0.0, "at once")):
                    task = {"port": port, "token": token, "clients": CLIENTS, "requests": requests, "pause": pause}
                    turn = asked_by_clients(folder, {**task, "asked": asked[what]}, server)
                    show(f"{what}, {pace}", turn)
                    figures |= named(turn, what, pace)
    print(f"{users:,} users, {CLIENTS} clients; load average {os.getloadavg()[0]:.1f}")
    libraries = ("duckdb", "fastapi", "uvicorn", "xgboost")
    print(json.dumps({**figures, "users": users, "clients": CLIENTS, "machine": machine(libraries)}))


def prepared(folder: Path, users: int) -> dict[str, list[dict[str, Any]]]:
    """The file that is served, and the requests with the scores that have to come back."""
    with duckdb.connect(str(folder / "served.duckdb")) as con:
        write_examples(con, "trained_on", "xgboost", TRAIN_ROWS)
        config = {"entity": "user_id", "label": "bought", "horizon_days": 30, "model": "xgboost"}
        spec = parse_spec({**config, "calibrate": None, "params": {**TREES, "max_depth": 3}})
        examples = of(con, "trained_on")
        fitted = fit_spec(spec, examples, examples, progress=lambda step, share: None)
        compile_sql(con, NAME, fitted, examples)
        write_examples(con, f"examples__{NAME}", "xgboost", users)
        con.execute(
            f"""
            create table pred__{NAME} as
            select
                user_id, 1 as version, score, row_number() over (order by score desc, user_id)::integer as score_rank,
                1 as score_decile, score > 0.5 as predicted_label, as_of, as_of as scored_at
            from scores.{NAME}_table('examples__{NAME}')
            order by score_rank
            """
        )
        con.execute("drop table trained_on; checkpoint")
        listed = ", ".join(f"value_{place}" for place in range(FEATURES))
        drawn = con.execute(
            f"select user_id, score, {listed} from pred__{NAME} inner join examples__{NAME} using (user_id, as_of) "
            f"using sample reservoir({ASKED_ROWS} rows) repeatable (7)"
        ).fetchall()
    random.Random(7).shuffle(drawn)
    names = [f"value_{place}" for place in range(FEATURES)]
    return {
        "entity": [{"path": f"/score/{NAME}?entity={row[0]}", "body": None, "score": row[1]} for row in drawn],
        "row": [
            {
                "path": f"/score/{NAME}",
                "body": {"features": dict(zip(names, row[2:], strict=True))},
                "score": row[1],
            }
            for row in drawn
        ],
    }


@contextmanager
def served(file: Path) -> Iterator[tuple[int, str, int]]:
    """`foretable serve`; its port, its token and the id of its process."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    token = secrets.token_urlsafe(16)
    command = [sys.executable, "-m", "foretable", "serve", str(file), "--port", str(port)]
    with subprocess.Popen(command, env={**os.environ, "FORETABLE_TOKEN": token}, stderr=subprocess.DEVNULL) as process:
        try:
            until_up(port, process)
            yield port, token, process.pid
        finally:
            process.terminate()


def until_up(port: int, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=seconds).close()
        except urllib.error.URLError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the server did not come up; try `foretable serve` by hand")


def asked_by_clients(folder: Path, task: dict[str, Any], server: int) -> dict[str, Any]:
    """All clients' requests in a process of their own, after some that are not counted."""
    file = folder / "task.json"
    command = [sys.executable, "-m", "benchmarks.serving_turn", str(file)]
    environment = {"PYTHONPATH": str(ROOT)}
    file.write_text(json.dumps({**task, "requests": 5}))
    run(command, folder=folder, environment=environment)
    file.write_text(json.dumps(task))
    before = cpu_seconds(server)
    found = run(command, folder=folder, environment=environment).figures()
    return {**found, "cpu_seconds": cpu_seconds(server) - before}


def cpu_seconds(pid: int) -> float:
    """Of a process and all its children that live."""
    total, waiting = 0.0, [pid]
    while waiting:
        one = waiting.pop()
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICKS
        for thread in Path(f"/proc/{one}/task").iterdir():
            waiting += [int(child) for child in (thread / "children").read_text().split()]
    return total


def show(name: str, turn: dict[str, Any]) -> None:
    laps = turn["laps"]
    p50, p99 = np.percentile(laps, [50, 99]) * 1000
    print(
        f"{name:18}{p50:10.2f}{p99:10.2f}{max(laps) * 1000:10.2f}{turn['cpu_seconds'] / len(laps) * 1000:10.2f}"
        f"{len(laps) / turn['seconds']:10.0f}{len(laps):10}",
        flush=True,
    )


def named(turn: dict[str, Any], what: str, pace: str) -> dict[str, float]:
    prefix, suffix = "row_" if what == "row" else "", "" if pace == "paced" else "_at_once"
    p50, p99 = np.percentile(turn["laps"], [50, 99]) * 1000
    return {
        f"{prefix}p50_ms{suffix}": round(float(p50), 2),
        f"{prefix}p99_ms{suffix}": round(float(p99), 2),
        f"{prefix}cpu_ms{suffix}": round(turn["cpu_seconds"] / len(turn["laps"]) * 1000, 2),
        f"{prefix}a_second{suffix}": round(len(turn["laps"]) / turn["seconds"]),
    }


if __name__ == "__main__":
    main()
