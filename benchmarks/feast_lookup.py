"""Feast's turn of the lookups: `python feast_lookup.py TASK`, in Feast's own environment. TASK is a JSON file with

    store       the folder of a store, made by `feast_lookup.py TASK fill` from the Parquet file `features`
    columns     the features asked for; the first one is the number in the id
    asked       by name a list of lists of ids: each is one call

Local provider, sqlite online store, Feast's defaults. Prints one line of JSON: the seconds of each call by
name, by the clock and of all threads.
"""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float64, Int64, ValueType


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(task["store"])
    folder.mkdir(parents=True, exist_ok=True)
    store = FeatureStore(
        config=RepoConfig(
            project="benchmark",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            entity_key_serialization_version=3,
        )
    )
    if sys.argv[2:] == ["fill"]:
        fill(store, task)
        return
    names = [f"users:{column}" for column in task["columns"]]
    seconds: dict[str, list[tuple[float, float]]] = {}
    for name, lists in task["asked"].items():
        store.get_online_features(features=names, entity_rows=[{"user_id": one} for one in lists[0]]).to_dict()
        seconds[name] = []
        for ids in lists:
            started, worked = time.perf_counter(), time.process_time()
            found = store.get_online_features(features=names, entity_rows=[{"user_id": one} for one in ids]).to_dict()
            seconds[name].append((time.perf_counter() - started, time.process_time() - worked))
            if found[task["columns"][0]] != [int(one.removeprefix("user-")) for one in ids]:
                raise SystemExit(f"wrong answer for {ids[0]}")
    print(json.dumps(seconds))


def fill(store: FeatureStore, task: dict) -> None:
    """Write the rows of `features` into the online store."""
    frame = pd.read_parquet(task["features"])
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="users",
        entities=[user],
        ttl=timedelta(days=0),
        schema=[
            Field(name=column, dtype=Int64 if frame[column].dtype == "int64" else Float64) for column in task["columns"]
        ],
        source=FileSource(path=str(Path(task["features"]).resolve()), timestamp_field="as_of"),
        online=True,
    )
    store.apply([user, view])
    for first in range(0, len(frame), 10_000):
        store.write_to_online_store("users", frame.iloc[first : first + 10_000])


if __name__ == "__main__":
    main()
