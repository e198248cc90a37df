"""How fast models score as plain SQL: `python -m benchmarks.sql_scoring [--quick]`.

100,000 users (--quick: 20,000) with 40 numeric features, a tenth of the values missing, and 300 trees, of depth 6
(XGBoost's default) and of depth 3 (ours). Native is `inplace_predict` of the same booster, the columns being in numpy
already; beside it stand the scalar macro and the table macro of the compiled model. The network has layers of 64, 32
and 1 units over 40 features without gaps; beside it stands ONNX Runtime on inputs that are encoded already. orbital
compiles scikit-learn's boosted trees to nested CASE. It gets 20 trees of depth 3, since planning 300 deep ones takes it
minutes, and ours gets as many.

table_macro_slowdown, scalar_macro_slowdown   seconds over those of native, trees of depth 6; …_shallow of depth 3
mlp_slowdown                                  seconds of the scalar macro over those of ONNX Runtime
single_row_ms                                 a call for one row, planning included: trees of depth 6, the median
differing_rows                                rows whose trees score otherwise than native in any bit, or whose
                                              networks' scores differ by more than 1e-5
orbital_slowdown                              seconds of orbital's SQL over those of our scalar macro

Everything uses two threads. The sides of a comparison take turns; the seconds are the least of a side's turns. …_cpu
is by the seconds of all threads, for a machine that does other work.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks.dbt_runs import THREADS
from benchmarks.processes import machine, peer_python, run
from benchmarks.scoring import FEATURES, TREES, numbers, of, write_labelled
from models_ml.encoding import empty_batch, feature_batch, matrix
from models_ml.fitting import fit_spec
from models_ml.network import NetworkModel
from models_ml.spec import parse_spec
from models_ml.trainer import FittedModel
from models_ml.trees import TreesModel
from udfs.compiling import compile_sql

PEERS_TURN = Path(__file__).with_name("sql_scoring_peers.py")
TRAIN_ROWS = 40_000
ORBITAL_TREES = 20
SINGLE_CALLS = 30
TOLERANCE = 1e-5
MODELS: Mapping[str, Mapping[str, Any]] = {
    "deep": {"model": "xgboost", "params": {**TREES, "max_depth": 6}},
    "shallow": {"model": "xgboost", "params": {**TREES, "max_depth": 3}},
    "few": {
        "model": "xgboost",
        "params": {"n_estimators": ORBITAL_TREES, "early_stopping_rounds": ORBITAL_TREES, "max_depth": 3},
    },
    "network": {"model": "mlp", "params": {"epochs": 1, "units": 64, "layers": 2}},
}
"""Predictions by name: what each is trained with."""


@dataclass(frozen=True)
class Timed:
    """The least seconds of a side's turns, by the clock and of all threads."""

    seconds: float
    cpu_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20,000 users; ends within 10 minutes")
    parser.add_argument("--rows", type=int, help="a number of users of your own")
    parser.add_argument("--repeat", type=int, default=3, help="how often each side scores (3)")
    parser.add_argument("--without-peers", action="store_true", help="neither ONNX Runtime nor orbital")
    options = parser.parse_args()
    rows = options.rows or (20_000 if options.quick else 100_000)
    with (
        tempfile.TemporaryDirectory() as temporary,
        duckdb.connect(str(Path(temporary) / "warehouse.duckdb"), config={"threads": THREADS}) as con,
    ):
        fitted = prepare(con, MODELS, rows=rows, train_rows=TRAIN_ROWS)
        found = figures(con, fitted, repeat=options.repeat)
        if not options.without_peers:
            python = peer_python("sql_scoring")
            found |= beside_onnx(con, fitted["network"], python, Path(temporary), repeat=options.repeat)
            found |= beside_orbital(con, python, Path(temporary), repeat=options.repeat)
    libraries = ("duckdb", "xgboost", "keras", "pyarrow")
    print(json.dumps({**found, "rows": rows, "versions": machine(libraries)}))


def prepare(
    con: duckdb.DuckDBPyConnection, models: Mapping[str, Mapping[str, Any]], *, rows: int, train_rows: int
) -> dict[str, FittedModel]:
    """Write the rows to score and compile each of the models into the file; return them as fitted."""
    fitted = {}
    for name, config in models.items():
        gaps = 0.0 if config["model"] == "mlp" else 0.1
        values = numbers(gaps=gaps, kind="float")
        write_labelled(con, "trained_on", values, train_rows)
        write_labelled(con, rows_of(config["model"]), values, rows)
        common = {"entity": "user_id", "label": "bought", "horizon_days": 30, "calibrate": None}
        examples = of(con, "trained_on")
        spec = parse_spec({**common, **config})
        fitted[name] = fit_spec(spec, examples, examples, progress=lambda step, share: None)
        compile_sql(con, name, fitted[name], of(con, rows_of(config["model"])))
    con.execute("drop table trained_on; checkpoint")
    return fitted


def rows_of(model: str) -> str:
    return f"examples__{model}"


def figures(con: duckdb.DuckDBPyConnection, fitted: Mapping[str, FittedModel], *, repeat: int) -> dict[str, Any]:
    """What the line of JSON says of ours and XGBoost alone."""
    found: dict[str, Any] = {"differing_rows": differing_rows(con, fitted)}
    for name, suffix in (("deep", ""), ("shallow", "_shallow")):
        model = fitted[name]
        assert isinstance(model, TreesModel)
        values = matrix(batch_of(con, model, "xgboost"), model.columns)
        model.booster.set_param({"nthread": THREADS})
        timed = take_turns(
            {
                "native": partial(model.booster.inplace_predict, values, missing=np.nan, validate_features=False),
                "table_macro": partial(table_macro, con, name, rows_of("xgboost")),
                "scalar_macro": partial(scalar_macro, con, name, rows_of("xgboost")),
            },
            repeat=repeat,
            title=name,
        )
        for side in ("table_macro", "scalar_macro"):
            found |= slowdown(f"{side}_slowdown{suffix}", timed[side], timed["native"])
    arguments = ", ".join(f"value_{place} := {place / 3}" for place in range(FEATURES))
    call = f"select scores.deep({arguments})"
    calls = [clocked(lambda: con.execute(call).fetchall()) for _ in range(SINGLE_CALLS)]
    found["single_row_ms"] = round(1_000 * statistics.median(timed.seconds for timed in calls), 2)
    found["single_row_ms_cpu"] = round(1_000 * statistics.median(timed.cpu_seconds for timed in calls), 2)
    return found


def differing_rows(con: duckdb.DuckDBPyConnection, fitted: Mapping[str, FittedModel]) -> int:
    """In how many rows any macro says something else than its model."""
    differing = 0
    for name, model in fitted.items():
        family = MODELS[name]["model"]
        expected = model.predict(batch_of(con, model, family))
        scalar = f"select scores.{name}(examples) as score from {rows_of(family)} as examples order by user_id"
        table = f"select score from scores.{name}_table('{rows_of(family)}') order by user_id"
        for sql in (scalar, table):
            scores = con.execute(sql).to_arrow_table()["score"].to_numpy()
            off = np.abs(scores - expected) > TOLERANCE if family == "mlp" else scores != expected
            differing += int(off.sum())
    return differing


def beside_onnx(
    con: duckdb.DuckDBPyConnection, model: FittedModel, python: Path, folder: Path, *, repeat: int
) -> dict[str, Any]:
    """The network by its macro and by ONNX Runtime, which gets its weights and its encoded inputs."""
    assert isinstance(model, NetworkModel)
    encoded = model.encoding.encode(batch_of(con, model, "mlp"))
    layers = [model.network.get_layer(name).get_weights() for name in ("dense_0", "dense_1", "logit")]
    weights = {
        f"{kind}_{place}": array for place, pair in enumerate(layers) for kind, array in zip("kb", pair, strict=True)
    }
    np.savez(folder / "network.npz", inputs=encoded.inputs(np.arange(len(encoded.lengths)))["numbers"], **weights)
    command = [str(python), str(PEERS_TURN), "onnx", str(folder / "network.npz"), str(THREADS), str(repeat)]
    theirs = Timed(**run(command, folder=folder).figures())
    macro = partial(scalar_macro, con, "network", rows_of("mlp"))
    ours = take_turns({"scalar_macro": macro}, repeat=repeat, title="network")["scalar_macro"]
    show("network.onnx", theirs)
    return slowdown("mlp_slowdown", ours, theirs)


def beside_orbital(con: duckdb.DuckDBPyConnection, python: Path, folder: Path, *, repeat: int) -> dict[str, Any]:
    """As many trees as SQL by orbital and by us, over rows without gaps, which orbital's models do not know."""
    sql = folder / "orbital.sql"
    run([str(python), str(PEERS_TURN), "orbital", str(sql), rows_of("mlp"), str(ORBITAL_TREES)], folder=folder)
    theirs = sql.read_text()
    timed = take_turns(
        {
            "orbital": partial(con.execute, f"create or replace temp table scored as {theirs}"),
            "scalar_macro": partial(
                con.execute,
                f"create or replace temp table scored as select scores.few(examples) from {rows_of('mlp')} as examples",
            ),
        },
        repeat=repeat,
        title="few",
    )
    return slowdown("orbital_slowdown", timed["orbital"], timed["scalar_macro"])


def scalar_macro(con: duckdb.DuckDBPyConnection, name: str, examples: str) -> None:
    con.execute(f"select sum(scores.{name}(examples)) from {examples} as examples").fetchall()


def table_macro(con: duckdb.DuckDBPyConnection, name: str, examples: str) -> None:
    con.execute(f"select sum(score) from scores.{name}_table('{examples}')").fetchall()


def take_turns(sides: Mapping[str, Callable[[], object]], *, repeat: int, title: str) -> dict[str, Timed]:
    """Run the sides in turn, `repeat` times after a turn that is not counted."""
    laps: dict[str, list[Timed]] = {name: [] for name in sides}
    for lap in range(repeat + 1):
        for name, side in sides.items():
            timed = clocked(side)
            if lap:
                laps[name].append(timed)
    least = {
        name: Timed(min(lap.seconds for lap in its), min(lap.cpu_seconds for lap in its)) for name, its in laps.items()
    }
    for name, timed in least.items():
        show(f"{title}.{name}", timed)
    return least


def clocked(side: Callable[[], object]) -> Timed:
    started, worked = time.perf_counter(), time.process_time()
    side()
    return Timed(time.perf_counter() - started, time.process_time() - worked)


def show(name: str, timed: Timed) -> None:
    print(f"{name:24}{timed.seconds:10.3f} s{timed.cpu_seconds:10.3f} s of all threads", flush=True)


def slowdown(key: str, ours: Timed, theirs: Timed) -> dict[str, float]:
    return {
        key: round(ours.seconds / theirs.seconds, 2),
        f"{key}_cpu": round(ours.cpu_seconds / theirs.cpu_seconds, 2),
    }


def batch_of(con: duckdb.DuckDBPyConnection, model: FittedModel, family: str) -> pa.RecordBatch:
    """All rows that the models of a family score, as one batch, in the order of user_id."""
    names = ", ".join(model.schema.names)
    table = con.execute(f"select {names} from {rows_of(family)} order by user_id").to_arrow_table()
    return feature_batch(table.columns, empty_batch(model.schema).schema)


if __name__ == "__main__":
    main()
