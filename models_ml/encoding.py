"""Turn features into numbers for trees. Category vocabularies are fitted on training rows only."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibis_features import Examples, FeatureSchema
from models_ml.preconditions import refuse_sequences

MAX_VOCABULARY = 256


@dataclass(frozen=True)
class MatrixColumn:
    """One column of the matrix that trees see.

    A number is itself; NULL, NaN and the infinities are missing (NaN). An embedding gives one column for each
    `position` (0-based). A category is its place in `vocabulary` (0-based, most frequent first); NULL and
    categories not seen in training are missing.
    """

    feature: str
    role: str
    position: int = 0
    vocabulary: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.feature}[{self.position}]" if self.role == "embedding" else self.feature


def fit_matrix_columns(family: str, train: Examples) -> tuple[MatrixColumn, ...]:
    """The matrix columns for these training examples, in the order of the schema."""
    refuse_sequences(family, train.schema)
    columns: list[MatrixColumn] = []
    for feature in train.schema.features:
        if feature.role == "embedding":
            columns += [MatrixColumn(feature.name, "embedding", position) for position in range(feature.width)]
        elif feature.role == "category":
            columns.append(MatrixColumn(feature.name, "category", vocabulary=fit_vocabulary(train, feature.name)))
        else:
            columns.append(MatrixColumn(feature.name, "number"))
    return tuple(columns)


def fit_vocabulary(train: Examples, name: str, limit: int = MAX_VOCABULARY) -> tuple[str, ...]:
    """The most frequent values of a category (or of the members of a category sequence), ties by name."""
    feature = next(feature for feature in train.schema.features if feature.name == name)
    column = Examples(train.table, replace(train.schema, features=(feature,))).readable()[name]
    values = column.unnest() if isinstance(column, ibis.expr.types.ArrayValue) else column
    table = values.name("value").as_table()
    counted = table.filter(table.value.notnull()).group_by("value").aggregate(n=ibis._.count())
    ranked = counted.order_by([ibis.desc("n"), "value"]).limit(limit)
    return tuple(ranked.to_pyarrow()["value"].to_pylist())


def matrix(batch: pa.RecordBatch, columns: tuple[MatrixColumn, ...]) -> np.ndarray:
    """Float32 [rows, columns] with NaN for what is missing."""
    out = np.empty((batch.num_rows, len(columns)), np.float32)
    for place, column in enumerate(columns):
        values = batch.column(column.feature)
        if column.role == "category":
            values = pc.cast(pc.index_in(values, pa.array(column.vocabulary, values.type)), pa.float32())
        elif column.role == "embedding":
            values = pc.list_element(values, column.position)
        floats = values if values.type == pa.float32() else pc.cast(values, pa.float32())
        out[:, place] = floats.to_numpy(zero_copy_only=False)  # NULL as NaN
    infinite = np.isinf(out)
    if infinite.any():
        out[infinite] = np.nan  # XGBoost refuses to train on infinities
    return out


def dump_columns(columns: tuple[MatrixColumn, ...]) -> bytes:
    """As JSON."""
    state = [
        {"feature": c.feature, "role": c.role, "position": c.position, "vocabulary": list(c.vocabulary)}
        for c in columns
    ]
    return json.dumps(state, ensure_ascii=False).encode()


def load_columns(content: bytes) -> tuple[MatrixColumn, ...]:
    """From the JSON of `dump_columns`; raises ValueError, KeyError or TypeError where it is none."""
    state: list[Mapping[str, Any]] = json.loads(content)
    return tuple(MatrixColumn(s["feature"], s["role"], s["position"], tuple(s["vocabulary"])) for s in state)


def empty_batch(schema: FeatureSchema) -> pa.RecordBatch:
    """A batch of no rows in the readable types."""
    types = {
        "number": pa.float32(),
        "category": pa.string(),
        "embedding": pa.list_(pa.float32()),
        "number_sequence": pa.list_(pa.float32()),
        "category_sequence": pa.list_(pa.string()),
    }
    fields = [pa.field(feature.name, types[feature.role]) for feature in schema.features]
    return pa.RecordBatch.from_pylist([], schema=pa.schema(fields))


def feature_batch(columns: Sequence[pa.Array | pa.ChunkedArray], types: pa.Schema) -> pa.RecordBatch:
    """Columns as SQL hands them over, in the order and with the types of an `empty_batch`."""
    return pa.RecordBatch.from_arrays(
        [_one_array(column, kind.type) for column, kind in zip(columns, types, strict=True)], schema=types
    )


def _one_array(column: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return array if array.type == kind else array.cast(kind)  # a cast that changes nothing costs as much as any
