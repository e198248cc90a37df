"""Our turn of the lookups: `python -m benchmarks.lookup_turn TASK`; the task and what is printed as in feast_lookup."""

import json
import sys
import time
from pathlib import Path

import ibis_features


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    features = [f"features__user.{column}" for column in task["columns"]]
    seconds: dict[str, list[tuple[float, float]]] = {}
    with ibis_features.open(task["store"]) as store:
        for name, lists in task["asked"].items():
            store.online("user", lists[0], features)
            seconds[name] = []
            for ids in lists:
                started, worked = time.perf_counter(), time.process_time()
                found = store.online("user", ids, features)
                seconds[name].append((time.perf_counter() - started, time.process_time() - worked))
                if [row[task["columns"][0]] for row in found] != [int(one.removeprefix("user-")) for one in ids]:
                    raise SystemExit(f"wrong answer for {ids[0]}")
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
