"""Interactions as SQL, with the bits of the model's own step, and rows that find faults in them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa

from ibis_features import FeatureSchema
from models_ml.encoding import empty_batch
from models_ml.interactions import CrossedModel, Interaction, uncrossed_text, widened
from udfs.compiling.scope import Compiled, Scope

SCALES = np.array([1.0, -1.0, 0.5, 1024.0], np.float32)
"""What a probe divides a product by: powers of two, so that multiplied again it is the product to the bit."""


def compile_crossed(model: CrossedModel, inner: Compiled) -> Compiled:
    """`inner` is the model that reads the interactions, compiled; what they add to each feature is not said in SQL."""
    is_settled = inner.is_settled
    return replace(
        inner,
        margin=partial(_margin, model, inner),
        probes=feature_probes(model, inner.probes),
        explained=None,
        is_settled=None if is_settled is None else lambda batch: is_settled(model.widen(batch)),
    )


def _margin(model: CrossedModel, inner: Compiled, scope: Scope) -> str:
    """The inner model's SQL over a source with a column more for each interaction."""
    schema = widened(model.schema, model.interactions)
    places = {name: place for place, name in enumerate(schema.names)}
    read = read_from(schema, model.interactions, [scope.column(name) for name in model.schema.names])
    more = [f"{read[pair.name]} as c{places[pair.name]}" for pair in model.interactions]
    source = f"(select {', '.join([f'{scope.alias}.*', *more])} from {scope.source} as {scope.alias})"
    return inner.margin(replace(scope, source=source, places=places))


def read_from(schema: FeatureSchema, pairs: Sequence[Interaction], columns: Sequence[str]) -> dict[str, str]:
    """The SQL of each feature and interaction by name: features are read from `columns`, cast as `readable` does it.

    schema: with the interactions as its last features.
    """
    sources = dict(zip(schema.names, columns, strict=False))
    roles = {feature.name: feature.role for feature in schema.features}
    for pair in pairs:
        one, other = sources[pair.feature], sources[pair.other]
        is_number = roles[pair.name] == "number"
        sources[pair.name] = (
            f"({one} * {other})" if is_number else f"(length({one})::VARCHAR || ':' || {one} || {other})"
        )
    return sources


def feature_probes(model: CrossedModel, probes: pa.RecordBatch) -> pa.RecordBatch:
    """Rows of the model's features from rows that have its interactions, too, as they come.

    On a share of the rows, one for each interaction, its features get values that give what the row has of it.
    """
    pairs, rng = model.interactions, np.random.default_rng(1)
    turns = rng.integers(0, len(pairs) + 1, probes.num_rows)
    columns = {name: probes.column(name).to_pylist() for name in model.schema.names}
    for number, pair in enumerate(pairs):
        rows = np.flatnonzero(turns == number)
        for row, value in zip(rows.tolist(), probes.column(pair.name).take(pa.array(rows)).to_pylist(), strict=True):
            columns[pair.feature][row], columns[pair.other][row] = _factors(value, rng)
    return pa.RecordBatch.from_pydict(columns, schema=empty_batch(model.schema).schema)


def _factors(value: float | str | None, rng: np.random.Generator) -> Sequence[float | str | None]:
    if value is None:
        return (None, None)
    if isinstance(value, str):
        return uncrossed_text(value) if ":" in value else (value, value)
    scale = rng.choice(SCALES)
    return (float(scale), float(np.float32(value) / scale))
