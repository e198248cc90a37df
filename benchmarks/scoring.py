"""How fast models score inside DuckDB: `python -m benchmarks.scoring [--quick]`.

A million users (--quick: 200,000) with 40 numeric features, a tenth of the values missing, and 300 trees, of depth 6
(XGBoost's default) and of depth 3 (ours). Native is `inplace_predict` of the same booster on two threads, the columns
being in numpy already. Beside it DuckDB on two threads, from a table on disk to a table of scores: the UDF, the large
batches in which a build scores, and all that a build does, which also ranks the scores and writes the log.
Networks: our `predict` on Arrow rows against `keras.Model.predict` with its own batches of 32, on inputs that are
encoded already; the same with batches of 4,096 stands beside it.

udf_over_native          rows a second with trees of depth 6, ours over native's; …_shallow of depth 3;
                         …_cpu by the seconds of all threads, for a machine that does other work
batches_over_native, build_over_native   the same of the other two
network_over_predict     the smaller of the two networks' ratios

Each side runs in a process of its own; seconds are the least of the repetitions. `grown_gb` is how much more memory the
process held at most than before it scored.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.dbt_runs import run_dbt
from benchmarks.processes import machine, run
from benchmarks.scoring_turn import NEWEST, warehouse
from ibis_features import Examples, connect_backend, read_examples, read_schema
from models_ml.artifact import pack
from models_ml.fitting import fit_spec
from models_ml.spec import parse_spec

ROOT = Path(__file__).parent.parent
FEATURES = 40
TRAIN_ROWS = 40_000
TREES = {"n_estimators": 300, "early_stopping_rounds": 300}
# A model's family stands before the first underscore.
PARAMS: Mapping[str, Mapping[str, Any]] = {
    "xgboost": {**TREES, "max_depth": 6},
    "xgboost_shallow": {**TREES, "max_depth": 3},
    "mlp": {"epochs": 1},
    "lstm": {"epochs": 1, "max_rows": 5_000},
}
NETWORKS = ("mlp", "lstm")
IN_DUCKDB = ("udf", "batches", "build")

VERSION = """
    insert into foretable.models by name
    select 'test' as prediction, 1 as version, 'xgboost' as model, 'binary' as kind, 'user_id' as entity,
        'bought' as label, 30 as horizon_days, '' as fingerprint, '{"threshold": "f1"}' as config,
        '{}' as feature_schema, '{}' as environment, '{}' as split, 0 as train_rows, 0 as validate_rows, 0 as test_rows,
        0.0 as train_seconds, ''::blob as artifact, '' as artifact_sha256, timestamp '2025-01-02' as trained_at,
        0.5 as threshold
"""
"""A build looks up the threshold of the version that it scores with."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200,000 users; ends within 10 minutes")
    parser.add_argument("--rows", type=int, help="a number of users of your own")
    parser.add_argument("--repeat", type=int, default=3, help="how often each side scores (3)")
    options = parser.parse_args()
    rows = options.rows or (200_000 if options.quick else 1_000_000)
    # Keras takes minutes for a million rows, one step for every 32.
    by_family = {"xgboost": rows, "mlp": max(1, rows // 10), "lstm": max(1, rows // 20)}
    turns: dict[str, dict[str, Any]] = {}
    print(f"{'':20}{'rows':>12}{'seconds':>10}{'cpu':>10}{'rows a second':>16}{'memory grown':>15}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, by_family)
        for model in PARAMS:
            for side in ("keras", "keras_large", "ours") if model in NETWORKS else ("native", *IN_DUCKDB):
                name, scored = f"{model}.{side}", by_family[family_of(model)]
                turns[name] = turn(folder, name, scored, options.repeat)
                found = turns[name]
                print(
                    f"{name:20}{scored:12,}{found['seconds']:10.2f}{found['cpu_seconds']:10.2f}{found['rows_a_second']:16,}"
                    f"{found['grown_gb']:12.2f} GB",
                    flush=True,
                )
    print(json.dumps(figures(turns, rows)))


def prepare(folder: Path, by_family: Mapping[str, int]) -> None:
    """A warehouse with foretable's state, the rows of each family to score, and a trained artifact of each."""
    (folder / "data").mkdir()
    (folder / "data" / "events.csv").write_text("user_id,event_type,occurred_at\nu,view,2025-01-01\n")
    run_dbt("run", "--select", "contract__events", warehouse=folder / "warehouse.duckdb", data=folder / "data")
    with warehouse(folder) as con:
        for family, rows in by_family.items():
            write_examples(con, f"examples__{family}", family, rows)
        for model, params in PARAMS.items():
            family = family_of(model)
            write_examples(con, "trained_on", family, TRAIN_ROWS)
            examples = of(con, "trained_on")
            config = {"entity": "user_id", "label": "bought", "horizon_days": 30, "calibrate": None}
            spec = parse_spec({**config, "model": family, "params": params})
            fitted = fit_spec(spec, examples, examples, progress=lambda step, share: None)
            (folder / f"{model}.artifact").write_bytes(pack(family, fitted))
        con.execute(VERSION)
        con.execute("drop table trained_on; checkpoint")


def write_examples(con: duckdb.DuckDBPyConnection, table: str, family: str, rows: int) -> None:
    """An lstm reads sequences of up to 50 steps, too."""
    values = numbers(gaps=0.1)
    if family == "lstm":
        values = [
            *values[:5],
            "list_transform(range(number % 50), step -> (hash(number + step) % 1000)::double) as gaps",
            "list_transform(range(number % 50), step -> 'k' || (hash(number - step) % 10)) as kinds",
        ]
    write_labelled(con, table, values, rows)


def numbers(*, gaps: float, kind: str = "double") -> list[str]:
    """The features as SQL; `gaps` is the share of values that are missing."""
    return [
        f"if(random() < {gaps}, null, random() * {place + 1})::{kind} as value_{place}" for place in range(FEATURES)
    ]


def write_labelled(con: duckdb.DuckDBPyConnection, table: str, values: Sequence[str], rows: int) -> None:
    """Rows whose label hangs on two features."""
    con.execute("select setseed(0.7)")
    con.execute(
        f"""
        create or replace table {table} as
        select *, random() < 0.1 + 0.6 * coalesce(value_0, 0.5) * (coalesce(value_1, 1) / 2) as bought
        from (
            select 'user-' || number as user_id, {", ".join(values)}, timestamp '{NEWEST}' as as_of
            from range({rows}) as users (number)
        )
        """
    )


def family_of(model: str) -> str:
    return model.split("_", maxsplit=1)[0]


def of(con: duckdb.DuckDBPyConnection, table: str) -> Examples:
    schema = read_schema(con, table, entity="user_id", label="bought", as_of="as_of", exclude=())
    return read_examples(connect_backend(con), table, schema)


def turn(folder: Path, name: str, rows: int, repeat: int) -> dict[str, Any]:
    """One side in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scoring_turn", str(folder), name, str(repeat)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    found = run(command, folder=folder, environment={"PYTHONPATH": path}).figures()
    seconds = min(found["seconds"])
    return {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(min(found["cpu_seconds"]), 3),
        "rows_a_second": round(rows / seconds),
        "grown_gb": round(found["peak_gb"] - found["before_gb"], 3),
        "peak_gb": round(found["peak_gb"], 2),
    }


def figures(turns: Mapping[str, Mapping[str, Any]], rows: int) -> dict[str, Any]:
    """The line of JSON."""

    def over(name: str, other: str) -> float:
        return round(turns[name]["rows_a_second"] / turns[other]["rows_a_second"], 3)

    def over_by_cpu(name: str, other: str) -> float:
        return round(turns[other]["cpu_seconds"] / turns[name]["cpu_seconds"], 3)

    over_native = {}
    for side in IN_DUCKDB:
        for model, which in {"xgboost": "", "xgboost_shallow": "_shallow"}.items():
            ours, native = f"{model}.{side}", f"{model}.native"
            over_native[f"{side}_over_native{which}"] = over(ours, native)
            over_native[f"{side}_over_native{which}_cpu"] = over_by_cpu(ours, native)
    over_predict = {network: over(f"{network}.ours", f"{network}.keras") for network in NETWORKS}
    return {
        **over_native,
        "network_over_predict": min(over_predict.values()),
        "over_predict": over_predict,
        "over_predict_large_batches": {name: over(f"{name}.ours", f"{name}.keras_large") for name in NETWORKS},
        "rows": rows,
        "turns": turns,
        "versions": machine(("duckdb", "xgboost", "keras", "tensorflow", "pyarrow")),
    }


if __name__ == "__main__":
    main()
