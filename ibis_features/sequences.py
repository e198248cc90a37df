"""Sequences of events as padded arrays with a mask."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibis_features.errors import ConfigError, ExamplesError
from ibis_features.rows import ROWS_PER_BATCH, Rows, as_float32, dataset_of, is_number
from ibis_features.tables import AS_OF, FeatureTable, quoted

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import tensorflow as tf
    from ibis.backends.duckdb import Backend

PADDING, UNKNOWN, FIRST_KNOWN = 0, 1, 2
"""Ids: no event here; an event whose value is NULL or not in the vocabulary; the vocabulary's first value."""
SIDES = ("left", "right")
MASK = "mask"
NEWEST = "newest"


@dataclass(frozen=True)
class Vocabulary:
    """The values of each text column on the training snapshots, most frequent first; ties by the value itself."""

    columns: Mapping[str, tuple[str, ...]]

    def size(self, column: str) -> int:
        """How many ids a column has, padding and unknown included: the rows of an embedding."""
        return len(self.columns[column]) + FIRST_KNOWN

    def encode(self, column: str, values: pa.Array) -> np.ndarray:
        """Ids of flat text values, int32 [values]."""
        places = pc.index_in(values.cast(pa.string()), value_set=pa.array(self.columns[column], pa.string()))
        known = pc.and_(pc.is_valid(values), pc.is_valid(places))
        ids = pc.if_else(known, pc.add(pc.fill_null(places, 0), FIRST_KNOWN), UNKNOWN)
        return ids.to_numpy(zero_copy_only=False).astype(np.int32)

    def to_json(self) -> dict[str, Any]:
        return {name: list(values) for name, values in asdict(self)["columns"].items()}

    @classmethod
    def from_json(cls, state: Mapping[str, Sequence[str]]) -> "Vocabulary":
        return cls({name: tuple(values) for name, values in state.items()})


@dataclass(frozen=True)
class Sequences:
    """Rows of sequences that are not yet read. Each row's newest `length` events become one row of padded arrays.

    Rows come ordered by as_of and key. Arrays, by column: ids int32 [rows, length] for text, int64 for whole numbers,
    float32 (NaN for NULL) for other numbers; `mask` bool [rows, length] is True where there is an event; keys, as_of
    and single numbers (float32) are [rows].
    """

    rows: Rows
    keys: tuple[str, ...]
    lists: Mapping[str, str]
    length: int
    padding: str
    vocabulary: Vocabulary | None

    @property
    def table(self) -> "ir.Table":
        """The lists, cut to `length`, as an Ibis table."""
        return self.rows.table

    def to_arrow(self) -> pa.Table:
        """The lists, cut to `length`, not padded."""
        return self.rows.to_arrow()

    def batches(self, rows_per_batch: int = ROWS_PER_BATCH) -> Iterator[dict[str, np.ndarray]]:
        """Padded arrays of at most so many rows each."""
        for batch in self.rows.batches(rows_per_batch):
            if batch.num_rows:
                yield self._padded(batch)

    def to_numpy(self) -> dict[str, np.ndarray]:
        """All rows at once; raises ExamplesError where there are none."""
        batches = list(self.batches())
        if not batches:
            raise ExamplesError("there are no sequences of these snapshots and entities; look at as_of")
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}

    def to_tf(self, rows_per_batch: int = 1024) -> "tf.data.Dataset":
        """A tf.data.Dataset of dicts of the padded arrays. as_of is int64 microseconds since 1970, in UTC."""
        return dataset_of(lambda: (_without_times(batch) for batch in self.batches(rows_per_batch)))

    def _padded(self, batch: pa.RecordBatch) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {}
        mask, slots = None, None
        for name in batch.schema.names:
            column = batch[name]
            if name not in self.lists:
                is_feature = is_number(column.type) and name not in self.keys
                arrays[name] = as_float32(column) if is_feature else column.to_numpy(zero_copy_only=False)
                continue
            lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
            its_mask = _mask(lengths, self.length, self.padding)
            if mask is None:
                mask, slots = its_mask, np.flatnonzero(its_mask)
            elif not np.array_equal(mask, its_mask):
                raise ExamplesError(
                    f"the lists of '{name}' are not as long as the other columns'; they have to be parallel"
                )
            values = self._values(name, pc.list_flatten(column))
            padded = np.zeros(mask.size, values.dtype)
            padded[slots] = values
            arrays[name] = padded.reshape(mask.shape)
        assert mask is not None
        return {**arrays, MASK: mask}

    def _values(self, name: str, values: pa.Array) -> np.ndarray:
        kind = self.lists[name]
        if kind == "text":
            assert self.vocabulary is not None
            return self.vocabulary.encode(name, values)
        if kind == "whole":
            if values.null_count:
                raise ExamplesError(
                    f"'{name}' is a list of whole numbers that holds NULL, for which an array has no value; "
                    "leave it out with columns=[…]"
                )
            return values.cast(pa.int64()).to_numpy(zero_copy_only=False)
        return as_float32(values)


def select_sequences(
    backend: "Backend",
    table: FeatureTable,
    *,
    as_of: datetime | Sequence[datetime] | str | None,
    length: int,
    padding: str,
    columns: Sequence[str] | None,
    vocabulary: Vocabulary | None,
    is_shared: bool = True,
) -> Sequences:
    """The sequences of these snapshots, of the newest or (None) of all; raises ConfigError for what cannot be padded.

    Which is the newest is found when the rows are read.
    """
    if padding not in SIDES:
        raise ConfigError(f"unknown padding {padding!r}; known: {', '.join(SIDES)}")
    if not isinstance(length, int) or isinstance(length, bool) or length < 1:
        raise ConfigError(f"length is {length!r}; it is the number of events kept of each row, at least 1")
    names = list(columns) if columns is not None else table.features
    if unknown := [name for name in names if name not in table.features]:
        raise ConfigError(f"{table.name} has no column '{unknown[0]}'; it has: {', '.join(table.features)}")
    lists = {name: kind for name in names if (kind := list_kind(table.columns[name]))}
    if not lists:
        raise ConfigError(f"none of the columns is a list; {table.name} has: {', '.join(text_lists(table))}")
    known = vocabulary.columns if vocabulary else {}
    if missing := [name for name, kind in lists.items() if kind == "text" and name not in known]:
        raise ConfigError(
            f"{', '.join(missing)} of {table.name} are text, which needs ids; give vocabulary=store.vocabulary("
            f"'{table.entity}', train=…), or leave them out with columns=[…]"
        )
    cut = [
        f"list_slice({quoted(name)}, -{length}, -1) as {quoted(name)}" if name in lists else quoted(name)
        for name in names
    ]
    keys = [*map(quoted, table.keys), AS_OF]
    sql = (
        f"select {', '.join([*keys, *cut])} from {table.relation}{_of_snapshots(table, as_of)} "
        f"order by {', '.join([AS_OF, *keys[:-1]])}"
    )
    return Sequences(Rows(backend, sql, is_shared=is_shared), table.keys, lists, length, padding, vocabulary)


def fit_vocabulary(
    backend: "Backend",
    table: FeatureTable,
    train: Sequence[datetime],
    *,
    columns: Sequence[str] | None = None,
    least_count: int = 1,
    most: int = 100_000,
) -> Vocabulary:
    """The values of the text lists on the training snapshots; raises ConfigError without snapshots or such a list."""
    if not len(train):
        raise ConfigError("a vocabulary is fitted on training snapshots; give some, such as purged_split(…).train")
    names = list(columns) if columns is not None else text_lists(table)
    if unknown := [name for name in names if name not in text_lists(table)]:
        raise ConfigError(f"{table.name} has no list of text '{unknown[0]}'; it has: {', '.join(text_lists(table))}")
    fitted = {}
    for name in names:
        sql = (
            f"select value from (select unnest({quoted(name)}) as value from {table.relation}{_where(train)}) "
            f"where value is not null group by value having count(*) >= {int(least_count)} "
            f"order by count(*) desc, value limit {int(most)}"
        )
        fitted[name] = tuple(str(row[0]) for row in backend.con.execute(sql).fetchall())
    return Vocabulary(fitted)


def text_lists(table: FeatureTable) -> list[str]:
    return [name for name in table.features if list_kind(table.columns[name]) == "text"]


def list_kind(sql_type: str) -> str | None:
    """text, whole or number for a list of one of them; None for what is no list."""
    if not sql_type.endswith("[]"):
        return None
    element = sql_type[:-2]
    if element == "VARCHAR" or element.startswith("ENUM"):
        return "text"
    if element.lstrip("U") in {"TINYINT", "SMALLINT", "INTEGER", "BIGINT"}:
        return "whole"
    if element in {"FLOAT", "DOUBLE", "BOOLEAN", "HUGEINT"} or element.startswith("DECIMAL"):
        return "number"
    raise ConfigError(f"a list of {element} cannot be padded; leave it out with columns=[…]")


def _of_snapshots(table: FeatureTable, as_of: datetime | Sequence[datetime] | str | None) -> str:
    if as_of is None:
        return ""
    if isinstance(as_of, datetime):
        return _where([as_of])
    if not isinstance(as_of, str):
        return _where(list(as_of))
    if as_of != NEWEST:
        raise ConfigError(f"as_of is {as_of!r}; give instants, '{NEWEST}', or None for all snapshots")
    return f" where {AS_OF} = (select max({AS_OF}) from {table.relation})"


def _where(as_of: Sequence[datetime]) -> str:
    in_utc = [one.astimezone(UTC).replace(tzinfo=None) if one.tzinfo else one for one in as_of]
    instants = ", ".join(f"timestamp '{one.isoformat(sep=' ')}'" for one in in_utc)
    return f" where {AS_OF} in ({instants})" if instants else " where false"


def _mask(lengths: np.ndarray, length: int, padding: str) -> np.ndarray:
    """[rows, length], True where there is an event."""
    places = np.arange(length)
    return places >= length - lengths[:, None] if padding == "left" else places < lengths[:, None]


def _without_times(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name: array.astype("datetime64[us]").astype(np.int64) if array.dtype.kind == "M" else array
        for name, array in batch.items()
    }
