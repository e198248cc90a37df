"""Examples: the rows of a prediction's SELECT, read lazily and in batches of Arrow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, reduce
from operator import or_

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from ibis.backends.duckdb import Backend

from ibis_features.errors import ExamplesError
from ibis_features.rows import ROWS_PER_BATCH, Rows
from ibis_features.schema import Feature, FeatureSchema

LABEL = "__label"
MOST_RELEVANT = 31
"""The highest relevance of an item: its gain, 2 ** relevance - 1, is a whole number of 32 bits."""


@dataclass(frozen=True)
class Examples:
    """A lazy table of examples and the schema that says how to read it.

    Rows come ordered by the schema's keys, so that the same rows give the same batches whatever order they lie in.
    """

    table: ir.Table
    schema: FeatureSchema

    def rows(self) -> int:
        return int(self.table.count().execute())

    def snapshot_count(self) -> int:
        return int(self.table[self.schema.as_of].nunique().execute())

    def at(self, snapshots: Sequence[datetime]) -> "Examples":
        """The labelled examples of these snapshots."""
        there = self.all_at(snapshots).table
        return Examples(there.filter(there[self.schema.label].notnull()), self.schema)

    def all_at(self, snapshots: Sequence[datetime]) -> "Examples":
        """The examples of these snapshots, labelled or not."""
        return Examples(self.table.filter(self.table[self.schema.as_of].isin(list(snapshots))), self.schema)

    def sample(self, most: int) -> "Examples":
        """About `most` rows, by whole entities: the same ones each time."""
        rows = self.rows()
        if rows <= most:
            return self
        entity = self.table[self.schema.entity]
        return Examples(self.table.filter(entity.hash().abs() % 1_000_000 < int(1_000_000 * most / rows)), self.schema)

    def readable(self) -> ir.Table:
        """The features in the types that models read: float32, string, or a list of one of them; and the label.

        Numbers are cast in the engine, once, so that training and every way of scoring see the same float32.
        """
        columns = {feature.name: _readable(self.table[feature.name], feature) for feature in self.schema.features}
        label = self.table[self.schema.label].cast("float32")
        return self.table.order_by(self.schema.keys).select(**columns, **{LABEL: label})

    def batches(self, rows_per_batch: int = ROWS_PER_BATCH) -> Iterator[pa.RecordBatch]:
        """Arrow batches with one column a feature, named as it is, and the label as float32 in `LABEL`."""
        yield from self._rows.batches(rows_per_batch)

    def as_rows(self) -> Rows:
        """`readable` as rows that turn into Arrow, NumPy or tf.data; the label is the column `LABEL`."""
        return self._rows

    @cached_property
    def _rows(self) -> Rows:
        """Compiled once: a training passes over the rows many times, and hundreds of columns take half a second."""
        readable = self.readable()
        backend = readable.get_backend()
        return Rows(backend, backend.compile(readable))

    def column(self, name: str) -> pa.Array:
        """One numeric column as float32, in the order of `batches`."""
        table = self.table.order_by(self.schema.keys).select(**{name: self.table[name].cast("float32")})
        return table.to_pyarrow()[name].combine_chunks()


def read_examples(backend: Backend, relation: str, schema: FeatureSchema) -> Examples:
    """The examples that lie in `relation` (a quoted SQL name); raises ExamplesError on a feature named as `LABEL`."""
    if LABEL in schema.names:
        raise ExamplesError(f"a feature is named '{LABEL}', as batches call the label; give it another name")
    return Examples(backend.sql(f"select * from {relation}"), schema)


def check_keys(examples: Examples) -> None:
    """Check that the rows can be scored; raises ExamplesError on no rows, and on NULL or doubled keys."""
    schema, table = examples.schema, examples.table
    names = [schema.entity, *([schema.item] if schema.item else []), schema.as_of]
    is_null = reduce(or_, (table[name].isnull() for name in names))
    counts = table.aggregate(rows=table.count(), null_keys=is_null.sum())
    counted = counts.to_pyarrow().to_pylist()[0]
    if not counted["rows"]:
        raise ExamplesError("the SELECT returns no rows; look at the tables it reads from")
    if counted["null_keys"]:
        raise ExamplesError(f"{counted['null_keys']} rows have a NULL {_listed(names, 'or')}; filter them out")
    doubled = table.group_by(names).aggregate(n=table.count()).filter(ibis._.n > 1).count()
    if doubles := int(doubled.execute()):
        one = "triple" if schema.item else "pair"
        raise ExamplesError(
            f"{doubles} {one}s of {_listed(names, 'and')} occur more than once; "
            f"a join multiplies rows: each {one} has to stand on one row"
        )


def check_labels(examples: Examples) -> None:
    """Raises ExamplesError where a label is neither 0 nor 1 nor NULL."""
    label = examples.table[examples.schema.label]
    strange = examples.table.filter(label.notnull(), ~label.cast("float64").isin([0.0, 1.0])).count()
    if odd := int(strange.execute()):
        raise ExamplesError(
            f"{odd} rows have a label '{examples.schema.label}' that is neither true/1 nor false/0 nor NULL"
        )


def check_numbers(examples: Examples, *, least: float | None = None) -> None:
    """Raises ExamplesError where a label is neither NULL nor a number, or one below `least`."""
    schema, label = examples.schema, examples.table[examples.schema.label]
    if not (label.type().is_numeric() or label.type().is_boolean()):
        raise ExamplesError(f"the label '{schema.label}' is {label.type()}; a prediction of this kind needs a number")
    value = label.cast("float64")
    strange = value.isnan() | value.isinf()
    if least is not None:
        strange |= value < least
    if odd := int(examples.table.filter(label.notnull(), strange).count().execute()):
        allowed = "a finite number" if least is None else f"a finite number of at least {least:g}"
        raise ExamplesError(f"{odd} rows have a label '{schema.label}' that is neither {allowed} nor NULL")


def check_classes(examples: Examples) -> None:
    """Raises ExamplesError where the label is neither text nor a truth value nor a whole number."""
    schema, kind = examples.schema, examples.table[examples.schema.label].type()
    if not (kind.is_string() or kind.is_boolean() or kind.is_integer() or kind.is_uuid()):
        raise ExamplesError(
            f"the label '{schema.label}' is {kind}; a class is text, a whole number or a truth value: cast it to "
            "VARCHAR, amounts in a few ranges"
        )


def check_grades(examples: Examples) -> None:
    """Raises ExamplesError where a label is neither NULL nor a whole number from 0 to MOST_RELEVANT."""
    check_numbers(examples, least=0.0)
    schema, value = examples.schema, examples.table[examples.schema.label].cast("float64")
    strange = (value != value.floor()) | (value > MOST_RELEVANT)
    if odd := int(examples.table.filter(value.notnull(), strange).count().execute()):
        raise ExamplesError(
            f"{odd} rows have a label '{schema.label}' that is no whole number from 0 to {MOST_RELEVANT}; it says how "
            "relevant an item is, in a few grades: make amounts into grades"
        )


def labelled_snapshots(examples: Examples, *, horizon_days: int) -> list[datetime]:
    """The snapshots that have a labelled row, oldest first.

    Raises ExamplesError where no row is labelled.
    """
    schema, table = examples.schema, examples.table
    as_of, label = table[schema.as_of], table[schema.label]
    rows = table.filter(label.notnull()).select(schema.as_of).distinct().to_pyarrow().to_pylist()
    if not rows:
        span = table.aggregate(first=as_of.min(), newest=as_of.max()).to_pyarrow().to_pylist()[0]
        raise ExamplesError(
            f"every label '{schema.label_in_select}' is NULL: no window of {horizon_days} days after a snapshot "
            f"({span['first']:%Y-%m-%d} to {span['newest']:%Y-%m-%d}) lies within the data; "
            "shorten horizon_days, start the snapshots earlier, or bring a longer log"
        )
    return sorted(row[schema.as_of] for row in rows)


def _listed(names: Sequence[str], word: str) -> str:
    """`a, b and c`."""
    return f"{', '.join(names[:-1])} {word} {names[-1]}"


def _readable(column: ir.Value, feature: Feature) -> ir.Value:
    types = {
        "number": "float32",
        "category": "string",
        "embedding": "array<float32>",
        "number_sequence": "array<float32>",
        "category_sequence": "array<string>",
    }
    return column.cast(types[feature.role])
