"""Our side of the join with Feast: `python -m benchmarks.our_join TASK`; task and output are those of feast_join.

The store is open and the list of entities in memory before the clock runs, which stops when the answer is an Arrow
table.
"""

import json
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

import ibis_features


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    features = [f"{task['table']}.{column}" for column in task["columns"]]
    seconds: dict[str, list[tuple[float, float]]] = {}
    with ibis_features.open(task["warehouse"]) as store:
        for file in task["entities"]:
            entities = pq.read_table(file)
            laps: list[tuple[float, float]] = []
            for _ in range(task["repeat"]):
                started, worked = time.perf_counter(), time.process_time()
                answer = store.historical(entities, features, at="moment").to_arrow()
                laps.append((time.perf_counter() - started, time.process_time() - worked))
            pq.write_table(answer, Path(task["out"]) / Path(file).name)
            seconds[Path(file).stem] = laps
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
