"""One side of the scoring, in a process of its own: `python -m benchmarks.scoring_turn FOLDER SIDE REPEAT`.

Prints a line of JSON: the seconds of each repetition, by the clock and of all threads, and how much memory the process
held before it scored and at most. The first call, which loads the model, is not counted.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks.dbt_runs import MEMORY_LIMIT, THREADS
from ibis_features import connect_backend, read_examples
from models_ml.artifact import unpack
from models_ml.encoding import matrix
from models_ml.network import NetworkModel
from models_ml.trainer import FittedModel
from models_ml.trees import TreesModel
from udfs.scorers import create_scorer
from udfs.serving import Scoring, score_rows, write_scores

NEWEST = datetime(2025, 1, 1)
KERAS_ROWS = 32
"""keras.Model.predict takes so many rows at once unless it is told otherwise."""
LARGE_BATCH = 4096


def main() -> None:
    folder, side, repeat = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    model, _, way = side.partition(".")
    fitted = unpack((folder / f"{model}.artifact").read_bytes())
    with warehouse(folder) as con:
        score = SIDES[way](con, f"examples__{model.split('_')[0]}", fitted)
        score(WARM_UP)
        before = held_gb("VmRSS")
        seconds, cpu_seconds = [], []
        for _ in range(repeat):
            started, worked = time.perf_counter(), time.process_time()
            score(None)
            seconds.append(time.perf_counter() - started)
            cpu_seconds.append(time.process_time() - worked)
    print(
        json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "before_gb": before, "peak_gb": held_gb("VmHWM")})
    )


WARM_UP = 5_000
Score = Callable[[int | None], None]
"""Scores so many of the rows; None: all."""


def in_numpy(con: duckdb.DuckDBPyConnection, examples: str, fitted: FittedModel) -> Score:
    """XGBoost alone, on all cores: the columns are float32 in memory before the clock runs."""
    assert isinstance(fitted, TreesModel)
    values = np.concatenate([matrix(batch, fitted.columns) for batch in batches(con, examples, fitted)])
    fitted.booster.set_param({"nthread": THREADS})

    def score(rows: int | None) -> None:
        found = fitted.booster.inplace_predict(values[:rows], missing=np.nan, validate_features=False)
        assert len(found) == (rows or len(values))

    return score


def in_sql(con: duckdb.DuckDBPyConnection, examples: str, fitted: FittedModel) -> Score:
    """`create table … as select …, score_x(examples)`."""
    create_scorer(con, "score_x", fitted.schema, lambda: fitted)

    def score(rows: int | None) -> None:
        con.execute(
            "create or replace table scored as select user_id, score_x(examples) as score "
            f"from {examples} as examples {f'limit {rows}' if rows else ''}"
        )

    return score


def in_batches(con: duckdb.DuckDBPyConnection, examples: str, fitted: FittedModel) -> Score:
    """The scores of a build: a table of every row's entity and score."""

    def score(rows: int | None) -> None:
        score_rows(con, _scoring(con, examples, rows), fitted)

    return score


def in_a_build(con: duckdb.DuckDBPyConnection, examples: str, fitted: FittedModel) -> Score:
    """What else a build does with them: it ranks them, writes the table and the log."""

    def score(rows: int | None) -> None:
        write_scores(con, _scoring(con, examples, rows), fitted)

    return score


def _scoring(con: duckdb.DuckDBPyConnection, examples: str, rows: int | None) -> Scoring:
    con.execute(f"create or replace view scored_rows as from {examples} {f'limit {rows}' if rows else ''}")
    return Scoring(
        prediction="test",
        version=1,
        entity="user_id",
        as_of="as_of",
        examples="scored_rows",
        newest=NEWEST,
        target="main.pred__test",
        run_id="run",
        run_at="2025-01-02 00:00:00",
    )


def by_keras(rows_at_once: int) -> Callable[[duckdb.DuckDBPyConnection, str, FittedModel], Score]:
    """keras.Model.predict on inputs that are encoded before the clock runs."""

    def made(con: duckdb.DuckDBPyConnection, examples: str, fitted: FittedModel) -> Score:
        assert isinstance(fitted, NetworkModel)
        encoded = fitted.encoding.encode(whole(con, examples, fitted))
        inputs = encoded.inputs(np.arange(len(encoded.lengths)))

        def score(rows: int | None) -> None:
            some = {name: values[:rows] for name, values in inputs.items()}
            fitted.network.predict(some, batch_size=rows_at_once, verbose=0)

        return score

    return made


def by_ours(con: duckdb.DuckDBPyConnection, examples: str, fitted: FittedModel) -> Score:
    """The model's own `predict` on Arrow rows, which encodes them, too."""
    rows_of = list(batches(con, examples, fitted))

    def score(rows: int | None) -> None:
        for batch in rows_of:
            fitted.predict(batch.slice(0, rows) if rows else batch)

    return score


SIDES: dict[str, Callable[[duckdb.DuckDBPyConnection, str, FittedModel], Score]] = {
    "native": in_numpy,
    "udf": in_sql,
    "batches": in_batches,
    "build": in_a_build,
    "keras": by_keras(KERAS_ROWS),
    "keras_large": by_keras(LARGE_BATCH),
    "ours": by_ours,
}


def batches(con: duckdb.DuckDBPyConnection, examples: str, fitted: FittedModel) -> Iterator[pa.RecordBatch]:
    return read_examples(connect_backend(con), examples, fitted.schema).batches()


def whole(con: duckdb.DuckDBPyConnection, examples: str, fitted: FittedModel) -> pa.RecordBatch:
    [batch] = pa.Table.from_batches(batches(con, examples, fitted)).combine_chunks().to_batches()
    return batch


def held_gb(which: str) -> float:
    """The memory that this process holds now (VmRSS) or has held at most (VmHWM), as Linux counts it.

    getrusage would count the memory of the process that started this one, too.
    """
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{which}:")]
    return int(line.split()[1]) / 1024**2


@contextmanager
def warehouse(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    config = {"threads": THREADS, "memory_limit": MEMORY_LIMIT}
    with duckdb.connect(str(folder / "warehouse.duckdb"), config=config) as con:
        yield con


if __name__ == "__main__":
    main()
