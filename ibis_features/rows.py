"""Rows that were asked for and are not yet read: SQL until the last step, then Arrow, pandas, NumPy or tf.data."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import duckdb
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ibis.backends.duckdb import Backend

from ibis_features.errors import ExamplesError
from ibis_features.tables import quoted

if TYPE_CHECKING:
    import pandas as pd
    import tensorflow as tf

ROWS_PER_BATCH = 65_536


@dataclass(frozen=True)
class Rows:
    """A query that runs when its rows are asked for.

    `frames` are the caller's Arrow tables, by their name in the SQL. `is_shared` says that the query runs on the
    store's own connection, since that is the caller's, or a relation is read that may be visible to it alone.
    Nothing is read before one of `to_…`, `batches`, or an execution of `table`.
    """

    backend: Backend
    sql: str
    frames: Mapping[str, pa.Table] = field(default_factory=dict)
    is_shared: bool = True

    @property
    def table(self) -> ir.Table:
        """The rows as an Ibis table, to filter, join and aggregate further. It lives as long as the store."""
        sql = self.sql
        for name, frame in self.frames.items():
            self.backend.con.register(f"{name}_table", frame)
            sql = sql.replace(quoted(name), quoted(f"{name}_table"))
        return self.backend.sql(sql)

    def to_arrow(self) -> pa.Table:
        with self._connection() as con:
            return con.execute(self.sql).to_arrow_table()

    def to_pandas(self) -> "pd.DataFrame":
        return self.to_arrow().to_pandas()

    def to_numpy(self) -> dict[str, np.ndarray]:
        """One array a column, [rows]. NULL is NaN in numbers, NaT in times, None in text.

        Whole numbers with a NULL among them are float64.
        """
        table = self.to_arrow()
        return {name: table[name].to_numpy() for name in table.column_names}

    def batches(self, rows_per_batch: int = ROWS_PER_BATCH) -> Iterator[pa.RecordBatch]:
        """Arrow batches of at most so many rows; one query, read as it is consumed.

        On a connection of the caller's own, or with entities that are a relation, its next query ends this one.
        """
        with self._connection() as con:
            yield from con.execute(self.sql).to_arrow_reader(rows_per_batch)

    def to_tf(self, rows_per_batch: int = 1024) -> "tf.data.Dataset":
        """A tf.data.Dataset of dicts of columns, [rows].

        Numbers and booleans are float32 with NaN for NULL, text is tf.string with "" for NULL, times are int64
        microseconds since 1970. Raises ExamplesError for lists: those come padded from `FeatureStore.sequences`.
        """
        with self._connection() as con:
            schema = con.execute(f"select * from ({self.sql}) limit 0").to_arrow_table().schema
        kinds = {column.name: _tf_kind(column) for column in schema}
        return dataset_of(
            lambda: ({n: _for_tf(b[n], k) for n, k in kinds.items()} for b in self.batches(rows_per_batch))
        )

    @contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        con = self.backend.con if self.is_shared else self.backend.con.cursor()
        try:
            for name, frame in self.frames.items():
                con.register(name, frame)
            yield con
        finally:
            if self.is_shared:
                for name in self.frames:
                    con.unregister(name)
            else:
                con.close()


def dataset_of(batches: Callable[[], Iterator[dict[str, np.ndarray]]]) -> "tf.data.Dataset":
    """A tf.data.Dataset over dicts of arrays; their dtypes and widths are those of the first one."""
    import tensorflow as tf

    first = next(batches(), None)
    if first is None:
        raise ExamplesError("there are no rows to make a dataset of; look at the entities or snapshots asked for")

    def spec(array: np.ndarray) -> tf.TensorSpec:
        dtype = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
        return tf.TensorSpec([None, *array.shape[1:]], dtype)

    return tf.data.Dataset.from_generator(batches, output_signature={name: spec(a) for name, a in first.items()})


def is_number(kind: pa.DataType) -> bool:
    """Is this a type that becomes float32?"""
    types = pa.types
    return types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)


def as_float32(column: pa.Array) -> np.ndarray:
    """Numbers as float32, NaN for NULL."""
    return column.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)


def _tf_kind(column: pa.Field) -> str:
    kind = column.type
    if is_number(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        return "text"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "time"
    raise ExamplesError(
        f"column '{column.name}' is {kind}, which is no single number or text a row; leave it out, "
        "or take lists padded from FeatureStore.sequences(…)"
    )


def _for_tf(column: pa.Array, kind: str) -> np.ndarray:
    if kind == "number":
        return as_float32(column)
    if kind == "text":
        return pc.fill_null(column.cast(pa.string()), "").to_numpy(zero_copy_only=False).astype(object)
    if column.null_count:
        raise ExamplesError("a column of times holds NULL, which a tensor of int64 cannot; leave it out of tf.data")
    return column.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(zero_copy_only=False)
