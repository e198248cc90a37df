"""featuretools' side: `python featuretools_features.py TASK`, in its own environment. TASK is a JSON file with

    events      Parquet: row_id, user_id, event_type, occurred_at, duration_seconds, purchase_value; one row an event
    cutoffs     Parquet: user_id, as_of
    windows     days
    event_types the types that are counted
    out         the file to write: a row a user and as_of, a column an aggregate and window

Deep feature synthesis with cutoff times and a training window: count of events, count by type, sums. Both tables
stand in memory before the clock runs. Prints one line of JSON: the seconds.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import featuretools as ft
import pandas as pd

warnings.filterwarnings("ignore")


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    events = pd.read_parquet(task["events"])
    cutoffs = pd.read_parquet(task["cutoffs"]).rename(columns={"as_of": "time"})
    started = time.perf_counter()
    table = computed(events, cutoffs, task["windows"], task["event_types"])
    table.to_parquet(task["out"])
    print(json.dumps({"seconds": time.perf_counter() - started}))


def computed(events: pd.DataFrame, cutoffs: pd.DataFrame, windows: list[int], event_types: list[str]) -> pd.DataFrame:
    """All aggregates over all windows: (cutoffs, 2 + windows * (3 + event_types))."""
    entities = ft.EntitySet("shop")
    entities.add_dataframe(
        events,
        dataframe_name="events",
        index="row_id",
        time_index="occurred_at",
        logical_types={"event_type": "Categorical", "user_id": "Categorical"},
    )
    entities.normalize_dataframe("events", "users", "user_id", make_time_index=False)
    entities.add_interesting_values(dataframe_name="events", values={"event_type": event_types})
    wanted = ["COUNT(events)", "SUM(events.duration_seconds)", "SUM(events.purchase_value)"]
    wanted += [f"COUNT(events WHERE event_type = {event_type})" for event_type in event_types]
    definitions = ft.dfs(
        entityset=entities,
        target_dataframe_name="users",
        agg_primitives=["count", "sum"],
        where_primitives=["count"],
        trans_primitives=[],
        features_only=True,
    )
    definitions = [definition for definition in definitions if definition.get_name() in wanted]
    if len(definitions) != len(wanted):
        raise SystemExit(f"featuretools gives {[definition.get_name() for definition in definitions]}, wanted {wanted}")
    parts = []
    for days in windows:
        matrix = ft.calculate_feature_matrix(
            definitions,
            entityset=entities,
            cutoff_time=cutoffs,
            cutoff_time_in_index=True,
            training_window=f"{days} days",
            include_cutoff_time=False,
        )
        parts.append(matrix.rename(columns=lambda name, days=days: column_of(name, days)))
    return pd.concat(parts, axis=1).reset_index().rename(columns={"time": "as_of"})


def column_of(name: str, days: int) -> str:
    """What our models call it."""
    if name.startswith("SUM("):
        return f"{name.removeprefix('SUM(events.').removesuffix(')')}_{days}d"
    kind = name.removeprefix("COUNT(events WHERE event_type = ").removesuffix(")") if "WHERE" in name else "event"
    return f"{kind}_count_{days}d"


if __name__ == "__main__":
    main()
