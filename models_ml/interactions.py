"""Interactions: columns that a model makes of two of its features before it reads them.

Of two numbers their product, of two categories both values as one category: what they tell together and neither tells
alone. They are a step of the model, as its encoding is: a caller gives the features alone, and a contribution of an
interaction is shared half and half between its two features.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibis_features import ArtifactError, ConfigError, Examples, Feature, FeatureSchema
from models_ml.score_map import WrappedModel, unmapped
from models_ml.trainer import FittedModel

PART = "interactions.json"
CROSSED_ROLES = ("number", "category")
SQL_TYPES = {"number": "FLOAT", "category": "VARCHAR"}
EXAMPLE = "interactions=[['visits', 'spent']], or interactions=5 for the five best pairs"


@dataclass(frozen=True)
class Interaction:
    """Two features that become one column.

    gain: how much the splits on one below the other gained when the pair was searched; None where the config names it.
    """

    feature: str
    other: str
    gain: float | None = None

    @property
    def name(self) -> str:
        return f"{self.feature} * {self.other}"


def parse_interactions(config: Any) -> int | tuple[Interaction, ...]:
    """The pairs that a config names, or how many are to be found; raises ConfigError on anything else."""
    if config is None:
        return ()
    if isinstance(config, int) and not isinstance(config, bool) and config > 0:
        return config
    if not isinstance(config, list) or not all(_is_pair(one) for one in config):
        raise ConfigError(
            f"config interactions={config!r} is neither a whole number above 0 nor a list of pairs of different "
            f"features: {EXAMPLE}"
        )
    if twice := [pair for place, pair in enumerate(config) if sorted(pair) in map(sorted, config[:place])]:
        raise ConfigError(f"config interactions names {' and '.join(twice[0])} twice; leave one of the pairs out")
    return tuple(Interaction(*pair) for pair in config)


def check_interactions(examples: Examples, interactions: int | Sequence[Interaction]) -> None:
    """Raises ConfigError where a named pair cannot become a column of these examples."""
    if isinstance(interactions, int):
        return
    roles = {feature.name: feature.role for feature in examples.schema.features}
    columns = {column.casefold() for column in examples.table.columns}
    for pair in interactions:
        if gone := [name for name in (pair.feature, pair.other) if name not in roles]:
            raise ConfigError(f"interactions names {' and '.join(gone)}; it takes features of the SELECT")
        found = [roles[pair.feature], roles[pair.other]]
        if found[0] != found[1] or found[0] not in CROSSED_ROLES:
            raise ConfigError(
                f"interactions names {pair.feature} and {pair.other}, which are {found[0]} and {found[1]}; a pair is "
                "of two numbers or of two categories: cut the number into ranges, say, and cast them to VARCHAR"
            )
        if pair.name.casefold() in columns:
            raise ConfigError(f"the interaction '{pair.name}' is named as a column of the SELECT; rename that one")


def with_interactions(examples: Examples, interactions: Sequence[Interaction]) -> Examples:
    """The examples with a column and a feature more for each pair."""
    if not interactions:
        return examples
    roles = _roles(examples.schema)
    columns = {pair.name: _ibis_column(examples.table, pair, roles[pair.feature]) for pair in interactions}
    return Examples(examples.table.mutate(**columns), widened(examples.schema, interactions))


def widened(schema: FeatureSchema, interactions: Sequence[Interaction]) -> FeatureSchema:
    """The features, and after them the interactions."""
    roles = _roles(schema)
    more = (Feature(pair.name, roles[pair.feature], SQL_TYPES[roles[pair.feature]]) for pair in interactions)
    return replace(schema, features=(*schema.features, *more))


def crossed(fitted: FittedModel, interactions: Sequence[Interaction], schema: FeatureSchema) -> FittedModel:
    """A model of the widened features as one of `schema` alone; itself where there are no interactions."""
    return CrossedModel(fitted, interactions, schema) if interactions else fitted


def uncrossed(fitted: FittedModel) -> FittedModel:
    """The model that reads features and interactions, without its calibration."""
    model = unmapped(fitted)
    return model.model if isinstance(model, CrossedModel) else model


def interactions_of(fitted: FittedModel) -> tuple[Interaction, ...]:
    """The pairs that a model makes columns of."""
    model = unmapped(fitted)
    return model.interactions if isinstance(model, CrossedModel) else ()


class CrossedModel(WrappedModel):
    """A model with the step before it that makes its interactions. `schema` holds the features without these."""

    def __init__(self, model: FittedModel, interactions: Sequence[Interaction], schema: FeatureSchema) -> None:
        super().__init__(model, schema)
        self.interactions = tuple(interactions)
        self._roles = _roles(schema)
        self._places = {name: place for place, name in enumerate(schema.names)}

    def predict(self, batch: pa.RecordBatch) -> np.ndarray:
        """The probability of a true label, float32 [rows]."""
        return self.model.predict(self.widen(batch))

    def margin(self, batch: pa.RecordBatch) -> np.ndarray:
        """The log-odds of a true label, float32 [rows]."""
        return self.model.margin(self.widen(batch))

    def contributions(self, batch: pa.RecordBatch) -> np.ndarray:
        """Those of the model, float64 [rows, features]; of an interaction one half goes to each of its features."""
        told = self.model.contributions(self.widen(batch))
        width = len(self.schema.features)
        out = told[:, :width].copy()
        for pair, added in zip(self.interactions, told[:, width:].T, strict=True):
            for name in (pair.feature, pair.other):
                out[:, self._places[name]] += added / 2
        return out

    def dump(self) -> dict[str, bytes]:
        pairs = json.dumps([asdict(pair) for pair in self.interactions], ensure_ascii=False)
        return {**self.model.dump(), PART: pairs.encode()}

    def importance(self) -> dict[str, float]:
        """Each feature's share of the gain, half of that of its interactions included."""
        shares = self.model.importance()
        for pair in self.interactions:
            share = shares.pop(pair.name, 0.0)
            for name in (pair.feature, pair.other):
                if share:
                    shares[name] = shares.get(name, 0.0) + share / 2
        return dict(sorted(shares.items(), key=lambda one: -one[1]))

    def widen(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with a column more for each interaction."""
        for pair in self.interactions:
            one, other = batch.column(pair.feature), batch.column(pair.other)
            batch = batch.append_column(pair.name, _arrow_column(one, other, self._roles[pair.feature]))
        return batch


def read_interactions(content: bytes, schema: FeatureSchema) -> tuple[Interaction, ...]:
    """The pairs of an artifact; raises ArtifactError where they do not fit its features."""
    try:
        state: Sequence[Mapping[str, Any]] = json.loads(content)
        pairs = tuple(_of_json(one) for one in state)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError("the interactions cannot be read; the artifact is damaged: train anew") from error
    roles = _roles(schema)
    found = [(roles.get(pair.feature), roles.get(pair.other)) for pair in pairs]
    if not pairs or any(one != other or one not in CROSSED_ROLES for one, other in found):
        raise ArtifactError("the interactions do not fit the columns of the feature schema; train anew")
    return pairs


def crossed_text(one: str, other: str) -> str:
    """Two categories as one, so that no two pairs are written alike; `uncrossed_text` undoes it.

    >>> crossed_text("card", "Leeds")
    '4:cardLeeds'
    """
    return f"{len(one)}:{one}{other}"


def uncrossed_text(text: str) -> tuple[str, str]:
    """
    >>> uncrossed_text("4:cardLeeds")
    ('card', 'Leeds')
    """
    length, _, both = text.partition(":")
    return both[: int(length)], both[int(length) :]


def _is_pair(one: Any) -> bool:
    return isinstance(one, list) and len(one) == 2 and all(isinstance(name, str) for name in one) and one[0] != one[1]


def _of_json(one: Mapping[str, Any]) -> Interaction:
    gain = one["gain"]
    return Interaction(str(one["feature"]), str(one["other"]), None if gain is None else float(gain))


def _roles(schema: FeatureSchema) -> dict[str, str]:
    return {feature.name: feature.role for feature in schema.features}


def _ibis_column(table: ir.Table, pair: Interaction, role: str) -> ir.Value:
    """Missing where either is; numbers are multiplied as float32, in the engine as elsewhere."""
    if role == "number":
        return (table[pair.feature].cast("float32") * table[pair.other].cast("float32")).cast("float32")
    one, other = table[pair.feature].cast("string"), table[pair.other].cast("string")
    return one.length().cast("string") + ":" + one + other


def _arrow_column(one: pa.Array, other: pa.Array, role: str) -> pa.Array:
    """As `_ibis_column`, from the types that models read."""
    if role == "number":
        return pc.multiply(one.cast(pa.float32()), other.cast(pa.float32()))
    length = pc.utf8_length(one).cast(pa.string())
    return pc.binary_join_element_wise(pc.binary_join_element_wise(length, one, ":"), other, "")
