"""What a build costs in which nothing changed: `python -m benchmarks.rebuild [--quick]`.

A project as `foretable init` makes it, with ten predictions over the shipped features of 100,000 users (--quick: 5,000)
at 8 weekly snapshots: does a user do this or that within a week? `foretable build` runs twice, without dbt's tests.
share_of_first compares the wall time of the two commands, Python's and dbt's start-up in both; share_of_first_models
the time from the first model's start to the last one's end. Where the second build trained or scored anything, the exit
code is 1.
"""

import argparse
import json
import shutil
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.dbt_runs import Run, run_of
from benchmarks.event_log import DAYS, EVENTS_A_USER, FIRST_DAY, write_log
from benchmarks.processes import machine, run
from foretable.init import init_project

SNAPSHOTS = 8
SETTINGS = {
    "source": "contract",
    "mapped_tables": ["events", "items"],
    "snapshot_anchor": str(date.fromisoformat(FIRST_DAY) + timedelta(days=DAYS - 1)),
    "history_days": DAYS - 7 * SNAPSHOTS + 1,
}
# Name to (event type, whether the label is that no such event happens).
PREDICTIONS = {
    **{
        f"{event_type}_7d": (event_type, False)
        for event_type in ("view", "search", "cart", "favourite", "purchase", "click", "impression")
    },
    **{f"no_{event_type}_7d": (event_type, True) for event_type in ("view", "cart", "purchase")},
}
EXAMPLE = "pred__cart_14d.sql"
"""The prediction of a new project, whose SELECT those here take over, with other labels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5,000 users")
    parser.add_argument("--users", type=int, help="a number of users of your own")
    parser.add_argument("--predictions", type=int, default=len(PREDICTIONS), help="only so many predictions")
    parser.add_argument("--folder", type=Path, help="make the log and the warehouse here, and keep them")
    options = parser.parse_args()
    users = options.users or (5_000 if options.quick else 100_000)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        log = write_log(folder / f"log_{users}", events=users * EVENTS_A_USER)
        project = written(folder / "rebuilt", options.predictions)
        runs = {name: built(project, log) for name in ("first", "second")}
        did = what_the_last_build_did(project / "warehouse.duckdb")
    print(f"{'build':12}{'all':>12}{'models':>12}{'memory':>10}")
    for name, one in runs.items():
        print(f"{name:12}{one.seconds:10.1f} s{one.sql_seconds:10.1f} s{one.peak_gb:7.2f} GB")
    print(json.dumps(figures(runs["first"], runs["second"], users, did)))
    if any(is_trained or is_scored for is_trained, is_scored, *_ in did):
        sys.exit(1)


def written(folder: Path, predictions: int) -> Path:
    """A new project with the first so many predictions and without the models of the example shop."""
    shutil.rmtree(folder, ignore_errors=True)
    init_project(folder, "rebuilt")
    example = (folder / "models" / "predictions" / EXAMPLE).read_text()
    for part in ("models", "data"):
        shutil.rmtree(folder / part)
    (folder / "models" / "predictions").mkdir(parents=True)
    for name, (event_type, negate) in list(PREDICTIONS.items())[:predictions]:
        (folder / "models" / "predictions" / f"pred__{name}.sql").write_text(with_label(example, event_type, negate))
    return folder


def with_label(sql: str, event_type: str, negate: bool) -> str:
    """The example's SQL with another label: whether a user does this, or does not, within a week."""
    label = (
        f"{{{{ foretable.event_within('happens', days=7, event_type='{event_type}', negate={str(negate).lower()}) }}}}"
    )
    for before, after in {
        "select * from {{ ref('labels__cart_14d') }}": label,
        "added_to_cart_14d": "happens",
        "horizon_days=14": "horizon_days=7",
    }.items():
        assert before in sql, f"{EXAMPLE} has no {before}"
        sql = sql.replace(before, after)
    return sql


def built(project: Path, log: Path) -> Run:
    chosen = [f"+{file.stem}" for file in sorted((project / "models" / "predictions").glob("*.sql"))]
    command = [
        *(sys.executable, "-m", "foretable", "build", "--no-tests", "--select", " ".join(chosen)),
        *("--data", str(log.resolve()), "--vars", json.dumps(SETTINGS)),
    ]
    return run_of(run(command, folder=project), project / ".foretable" / "warehouse" / "target")


def what_the_last_build_did(warehouse: Path) -> list[tuple[bool, bool, str, int, float]]:
    """is_trained, is_scored, the reason, how many rows have a score, and the seconds, of each prediction."""
    with duckdb.connect(str(warehouse), read_only=True) as con:
        return con.execute(
            "select is_trained, is_scored, reason, row_count, seconds from foretable.runs "
            "where run_id = (select run_id from foretable.runs order by rowid desc limit 1) order by prediction"
        ).fetchall()


def figures(first: Run, second: Run, users: int, did: list[tuple[bool, bool, str, int, float]]) -> dict[str, Any]:
    """The line of JSON."""
    slowest = sorted(second.by_model, key=lambda name: -second.by_model[name])[:12]
    return {
        "share_of_first": round(second.seconds / first.seconds, 4),
        "share_of_first_models": round(second.sql_seconds / first.sql_seconds, 4),
        "users": users,
        "predictions": len(did),
        "scored_rows": sum(rows for *_, rows, _ in did),
        "seconds": {"first": round(first.seconds, 2), "second": round(second.seconds, 2)},
        "cpu_seconds": {"first": round(first.cpu_seconds, 2), "second": round(second.cpu_seconds, 2)},
        "slowest_of_the_second": {name: second.by_model[name] for name in slowest},
        "reasons": sorted({reason for _, _, reason, *_ in did}),
        "versions": machine(("duckdb", "dbt-core", "dbt-duckdb", "xgboost")),
    }


if __name__ == "__main__":
    main()
