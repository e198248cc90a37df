"""Feast's side of the join: `python feast_join.py TASK`, in Feast's own environment. TASK is a JSON file with

    features    Parquet: user_id, as_of, and the features
    columns     the features asked for
    entities    Parquet files: user_id, moment
    out         the folder for the answers
    repeat      how often each list is joined

Feast's local provider with its DuckDB offline store. The store and the list of entities stand ready in memory before
the clock runs, as in a notebook; the clock stops when the answer is an Arrow table. Prints one line of JSON: for
each list the seconds of every repetition: by the clock, and of all its threads.
"""

import json
import sys
import time
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float64, Int32, ValueType

TYPES = {"int32": Int32, "double": Float64}


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    store = applied(task)
    names = [f"users:{column}" for column in task["columns"]]
    seconds: dict[str, list[tuple[float, float]]] = {}
    for file in task["entities"]:
        entities = pd.read_parquet(file).rename(columns={"moment": "event_timestamp"})
        entities["event_timestamp"] = entities["event_timestamp"].dt.tz_localize("UTC")
        laps = []
        for _ in range(task["repeat"]):
            started, worked = time.perf_counter(), time.process_time()
            answer = store.get_historical_features(entity_df=entities, features=names).to_arrow()
            laps.append((time.perf_counter() - started, time.process_time() - worked))
        pq.write_table(answer, Path(task["out"]) / Path(file).name)
        seconds[Path(file).stem] = laps
    print(json.dumps(seconds))


def applied(task: dict) -> FeatureStore:
    """A store in a folder of its own that knows the features."""
    folder = Path(task["out"]) / "store"
    folder.mkdir(parents=True, exist_ok=True)
    store = FeatureStore(
        config=RepoConfig(
            project="benchmark",
            provider="local",
            registry=str(folder / "registry.db"),
            offline_store={"type": "duckdb"},
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            entity_key_serialization_version=3,
        )
    )
    types = {field.name: str(field.type) for field in pq.read_schema(task["features"])}
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="users",
        entities=[user],
        schema=[Field(name=column, dtype=TYPES[types[column]]) for column in task["columns"]],
        source=FileSource(path=str(Path(task["features"]).resolve()), timestamp_field="as_of"),
        online=False,
    )
    store.apply([user, view])
    return store


if __name__ == "__main__":
    main()
