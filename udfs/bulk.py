"""Score many rows at once.

A function in SQL is given 2,048 rows a call, and each call costs a model something. Here rows are read as a stream of
larger Arrow batches, and as many of them are in work at a time as DuckDB has threads.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import duckdb
import pyarrow as pa

from ibis_features import FeatureSchema
from models_ml.encoding import empty_batch, feature_batch
from udfs.quoting import current_database, identifier, literal, readable

ROWS_PER_BATCH = 16_384
BYTES_AT_ONCE = 2**24
Answers = Callable[[pa.RecordBatch], Mapping[str, pa.Array]]
"""What a model says of a batch of its features: columns by name, one value a row."""


def answered(
    con: duckdb.DuckDBPyConnection,
    relation: str,
    condition: str,
    keys: Sequence[str],
    schema: FeatureSchema,
    answers: Answers,
) -> Iterator[pa.Table]:
    """The answers for the rows of a relation for which the condition holds, each beside its keys as text.

    The columns of the keys come first, named `key_0`, `key_1` and so on.

    They come in tables of about `BYTES_AT_ONCE`: one statement to write each batch would cost more than its rows do.
    The rows are read on a cursor of their own: they have to be committed, and `con` may write between two batches.
    """
    listed = [f"examples.{identifier(key)}::varchar" for key in keys]
    listed += [readable(f"examples.{identifier(f.name)}", f) for f in schema.features]
    settings = con.execute("select current_setting('threads'), current_setting('TimeZone')").fetchone()
    assert settings is not None
    threads, zone = int(settings[0]), settings[1]
    types = empty_batch(schema).schema

    def answer(batch: pa.RecordBatch) -> pa.RecordBatch:
        of_keys = {f"key_{place}": batch.column(place) for place in range(len(keys))}
        found = answers(feature_batch(batch.columns[len(keys) :], types))
        return pa.RecordBatch.from_pydict({**of_keys, **found})

    cursor = con.cursor()
    try:
        cursor.execute(f"use {identifier(current_database(con))}")
        cursor.execute(f"set TimeZone = {literal(zone)}")  # a cursor has that of the database, not of the connection
        rows = cursor.execute(
            f"select {', '.join(listed)} from {relation} as examples where {condition}"
        ).to_arrow_reader(ROWS_PER_BATCH)
        with ThreadPoolExecutor(max_workers=threads) as pool:
            yield from _gathered(_in_turn(pool, answer, rows, ahead=threads + 1))
    finally:
        cursor.close()


def _in_turn(
    pool: ThreadPoolExecutor,
    work: Callable[[pa.RecordBatch], pa.RecordBatch],
    batches: Iterator[pa.RecordBatch],
    ahead: int,
) -> Iterator[pa.RecordBatch]:
    """The results in the order of the batches, with so many of them in work at most."""
    waiting: deque[Future[pa.RecordBatch]] = deque()
    for batch in batches:
        waiting.append(pool.submit(work, batch))
        if len(waiting) == ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _gathered(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    gathered: list[pa.RecordBatch] = []
    for batch in batches:
        gathered.append(batch)
        if sum(one.nbytes for one in gathered) >= BYTES_AT_ONCE:
            yield pa.Table.from_batches(gathered)
            gathered = []
    if gathered:
        yield pa.Table.from_batches(gathered)
