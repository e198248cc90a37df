"""The same features and sequences in pandas, as a practitioner writes them: the other side of benchmarks.features.

Runs by itself, with pandas, NumPy and PyArrow only: `python pandas_features.py TASK`, where TASK is a JSON file with

    events, items   Parquet files of typed rows (the columns of stg_events and stg_items)
    out             the folder to write: one Parquet file a snapshot in activity/, variety/ and sequences/
    snapshots       midnights as text
    windows         days
    event_types     the types that are counted
    recency_types   the types whose last event is dated
    things          what is counted apart: item, category, …
    sequence_length, near_duplicate_seconds
    style           plain or tuned

Both styles loop over snapshots and windows, and every step is vectorised over all users of a window. `plain` is what
the pandas documentation teaches: merge, groupby, nunique, agg(list). `tuned` is what somebody writes who has
profiled that: ids as integer codes from the start, drop_duplicates instead of nunique, lists cut from sorted columns
with np.split. Prints one line of JSON: seconds by step.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

READ = [
    "event_id", "user_id", "event_type", "item_id", "quantity", "price", "duration_seconds", "occurred_at", "loaded_at",
]  # fmt: skip

# A column of the events, and the list that is made of it.
LISTS = {
    "event_type": "event_types",
    "item_id": "item_ids",
    "category_id": "category_ids",
    "price": "prices",
    "gaps_seconds": "gaps_seconds",
    "hour": "hours",
}


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps(run(task)))


def run(task: dict[str, Any]) -> dict[str, float]:
    """Do the whole task; seconds by step."""
    seconds = dict.fromkeys(("read", "deduplicate", "activity", "variety", "sequences", "write"), 0.0)
    last = time.perf_counter()

    def lap(step: str) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[step] += now - last
        last = now

    for name in ("activity", "variety", "sequences"):
        (Path(task["out"]) / name).mkdir(parents=True, exist_ok=True)
    events, users = read(task)
    lap("read")
    events = deduplicated(events, task["near_duplicate_seconds"], task["style"])
    lap("deduplicate")
    for snapshot in task["snapshots"]:
        as_of = pd.Timestamp(snapshot)
        known = events[events["known_at"] < as_of]
        tables = {"activity": activity(known, as_of, task)}
        lap("activity")
        tables["variety"] = variety(known, as_of, tables["activity"].index, task)
        lap("variety")
        tables["sequences"] = sequences(known, as_of, task["sequence_length"], task["style"])
        lap("sequences")
        for name, table in tables.items():
            if users is not None:
                table.index = users[table.index]
            table.assign(as_of=as_of).rename_axis("user_id").reset_index().to_parquet(
                Path(task["out"]) / name / f"{as_of:%Y-%m-%d}.parquet"
            )
        lap("write")
    return {step: round(value, 3) for step, value in seconds.items()}


def read(task: dict[str, Any]) -> tuple[pd.DataFrame, pd.Index | None]:
    """The events with their item's attributes; tuned: users as numbers, and the users' names by number."""
    events = pd.read_parquet(task["events"], columns=READ)
    attributes = [column_of(thing) for thing in task["things"] if thing != "item"]
    items = pd.read_parquet(task["items"], columns=["item_id", *attributes])
    events["loaded_at"] = events["loaded_at"].fillna(events["occurred_at"])
    events["known_at"] = np.maximum(events["occurred_at"], events["loaded_at"])
    events["event_type"] = events["event_type"].astype("category")
    if task["style"] == "plain":
        return events.merge(items, on="item_id", how="left"), None
    item_codes, item_names = pd.factorize(events["item_id"])
    of_item = items.set_index("item_id").reindex(item_names)
    events["item_id"] = pd.Categorical.from_codes(item_codes, item_names)
    for column in attributes:
        of_item_codes, names = pd.factorize(of_item[column])
        codes = np.where(item_codes >= 0, of_item_codes[item_codes], -1)
        events[column] = pd.Categorical.from_codes(codes, names)
    user_codes, users = pd.factorize(events["user_id"])
    events["user_id"] = user_codes
    return events, pd.Index(users)


def column_of(thing: str) -> str:
    return f"{thing}_id" if thing in ("item", "category") else thing


def deduplicated(events: pd.DataFrame, gap_seconds: float, style: str) -> pd.DataFrame:
    """One row an event: the first known of an id, and the first of a chain of clicks. In the order they happened."""
    events = events.sort_values("loaded_at", kind="stable").drop_duplicates("event_id").drop(columns="event_id")
    events = events.sort_values(["user_id", "occurred_at"], ignore_index=True)
    if gap_seconds > 0:
        copies = copies_in_codes if style == "tuned" else copies_in_groups
        events = events.drop(index=copies(events.dropna(subset="item_id"), pd.Timedelta(seconds=gap_seconds)))
    events["occurred_on"] = events["occurred_at"].dt.normalize()
    events["value"] = (events["price"] * events["quantity"].fillna(1)).where(events["event_type"] == "purchase", 0.0)
    return events


def copies_in_groups(events: pd.DataFrame, gap: pd.Timedelta) -> pd.Index:
    since_last = events.groupby(["user_id", "item_id", "event_type"], observed=True)["occurred_at"].diff()
    return events.index[since_last <= gap]


def copies_in_codes(events: pd.DataFrame, gap: pd.Timedelta) -> pd.Index:
    keys = pd.DataFrame(
        {
            "user": events["user_id"],
            "item": events["item_id"].cat.codes,
            "type": events["event_type"].cat.codes,
            "at": events["occurred_at"],
        }
    ).sort_values(["user", "item", "type", "at"])
    before = keys.shift()
    is_same = (keys["user"] == before["user"]) & (keys["item"] == before["item"]) & (keys["type"] == before["type"])
    return keys.index[is_same & (keys["at"] - before["at"] <= gap)]


def windows_of(known: pd.DataFrame, as_of: pd.Timestamp, windows: list[int]) -> Iterator[tuple[str, pd.DataFrame]]:
    """The events of each window with its name in a column, the longest first: each is cut from the one before."""
    yield "lifetime", known
    seen = known
    for days in sorted(windows, reverse=True):
        seen = seen[seen["occurred_at"] >= as_of - pd.Timedelta(days=days)]
        yield f"{days}d", seen


def activity(known: pd.DataFrame, as_of: pd.Timestamp, task: dict[str, Any]) -> pd.DataFrame:
    """Counts, sums, active days and recency: one row a user."""
    by_user = known.groupby("user_id")
    counts: dict[str, pd.Series | int] = {}
    sums: dict[str, pd.Series] = {}
    for window, seen in windows_of(known, as_of, task["windows"]):
        in_window = seen.groupby("user_id")
        by_type = seen.groupby(["user_id", "event_type"], observed=True).size().unstack()
        counts[f"event_count_{window}"] = in_window.size()
        for event_type in task["event_types"]:
            counts[f"{event_type}_count_{window}"] = by_type.get(event_type, 0)
        counts[f"active_day_count_{window}"] = distinct(seen, "occurred_on", task["style"])
        sums[f"purchase_value_{window}"] = in_window["value"].sum()
        sums[f"duration_seconds_{window}"] = in_window["duration_seconds"].sum()
    users = by_user.size().index
    last = known.groupby(["user_id", "event_type"], observed=True)["occurred_at"].max().unstack()
    ages = {
        "recency_days": days_before(as_of, by_user["occurred_at"].max()),
        **{
            f"{event_type}_recency_days": days_before(as_of, last[event_type]) if event_type in last else np.nan
            for event_type in task["recency_types"]
        },
        "tenure_days": days_before(as_of, by_user["occurred_at"].min()),
    }
    return pd.concat(
        [
            pd.DataFrame(counts, index=users).fillna(0).astype("int32"),
            pd.DataFrame(sums, index=users).fillna(0.0),
            pd.DataFrame(ages, index=users),
        ],
        axis=1,
    )


def distinct(seen: pd.DataFrame, column: str, style: str) -> pd.Series:
    """How many values of a column each user has."""
    if style == "plain":
        return seen.groupby("user_id")[column].nunique()
    values = seen[column].cat.codes if isinstance(seen[column].dtype, pd.CategoricalDtype) else seen[column]
    pairs = pd.DataFrame({"user_id": seen["user_id"], "value": values})[seen[column].notna()]
    return pairs.drop_duplicates().groupby("user_id").size()


def days_before(as_of: pd.Timestamp, moments: pd.Series) -> pd.Series:
    return (as_of - moments.dt.floor("s")).dt.total_seconds() / 86_400


def variety(known: pd.DataFrame, as_of: pd.Timestamp, users: pd.Index, task: dict[str, Any]) -> pd.DataFrame:
    """Distinct items, categories, …: one row a user."""
    counts = {}
    for window, seen in windows_of(known, as_of, task["windows"]):
        for thing in task["things"]:
            counts[f"distinct_{thing}_count_{window}"] = distinct(seen, column_of(thing), task["style"])
    return pd.DataFrame(counts, index=users).fillna(0).astype("int32")


def sequences(known: pd.DataFrame, as_of: pd.Timestamp, length: int, style: str) -> pd.DataFrame:
    """Each user's last events as parallel lists, oldest first. `known` is sorted by user and time."""
    tail = known.groupby("user_id").tail(length)
    tail = tail.assign(
        hour=tail["occurred_at"].dt.hour, microseconds=tail["occurred_at"].dt.as_unit("us").astype("int64")
    )
    return (lists_by_split if style == "tuned" else lists_by_group)(tail, as_of)


def lists_by_group(tail: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    gaps = tail.groupby("user_id")["microseconds"].diff().fillna(0) / 1_000_000
    tail = tail.assign(gaps_seconds=gaps)
    by_user = tail.groupby("user_id")
    table = by_user[list(LISTS)].agg(list).rename(columns=LISTS)
    table["seconds_since_last_event"] = (microseconds_of(as_of) - by_user["microseconds"].last()) / 1_000_000
    return table


def lists_by_split(tail: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    users = tail["user_id"].to_numpy()
    starts = np.flatnonzero(np.r_[True, users[1:] != users[:-1]])
    moments = tail["microseconds"].to_numpy()
    gaps = np.diff(moments, prepend=moments[0]) / 1_000_000
    gaps[starts] = 0.0
    tail = tail.assign(gaps_seconds=gaps)
    table = pd.DataFrame(
        {name: pd.Series(np.split(tail[column].to_numpy(), starts[1:]), dtype=object) for column, name in LISTS.items()}
    ).set_index(users[starts])
    last = moments[np.r_[starts[1:], len(users)] - 1]
    table["seconds_since_last_event"] = (microseconds_of(as_of) - last) / 1_000_000
    return table


def microseconds_of(moment: pd.Timestamp) -> int:
    return moment.value // 1_000


if __name__ == "__main__":
    main()
