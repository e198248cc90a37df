"""What a prediction's SELECT offers to a model: keys, label, and features told apart by their SQL type."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import duckdb

from ibis_features.errors import ExamplesError

NUMERIC = re.compile(
    r"^(BOOLEAN|U?TINYINT|U?SMALLINT|U?INTEGER|U?BIGINT|U?HUGEINT|FLOAT|DOUBLE|DECIMAL(\(\d+,\d+\))?)$"
)
CATEGORY = re.compile(r"^(VARCHAR|ENUM\(.*\)|UUID)$")
EMBEDDING = re.compile(r"^(FLOAT|DOUBLE)\[(\d+)\]$")
SEQUENCE = re.compile(r"^(.*)\[\]$")
INSTANT = re.compile(r"^(DATE|TIMESTAMP.*)$")
READABLE = (
    "numbers, BOOLEAN, VARCHAR (a category), FLOAT[n] (an embedding) or a list of numbers or VARCHAR (a sequence)"
)


@dataclass(frozen=True)
class Feature:
    """One feature column.

    `role` is number, category, embedding (`width` numbers a row), number_sequence or category_sequence.
    """

    name: str
    role: str
    sql_type: str
    width: int = 1

    @property
    def is_sequence(self) -> bool:
        return self.role.endswith("_sequence")


@dataclass(frozen=True)
class FeatureSchema:
    """The columns of a prediction: its keys, one label, and the features in the SELECT's order.

    item: the third key of a prediction that puts items in order, one row an entity, item and as_of; None in others.
    Where the items are the classes of a label, it is a feature, too: that of which class a score is asked.
    """

    entity: str
    as_of: str
    label: str
    features: tuple[Feature, ...]
    item: str | None = None

    @property
    def keys(self) -> list[str]:
        """What a row is told by, in the order in which rows are read."""
        return [self.as_of, self.entity, *([self.item] if self.item else [])]

    @property
    def names(self) -> list[str]:
        return [feature.name for feature in self.features]

    @property
    def static(self) -> list[Feature]:
        return [feature for feature in self.features if not feature.is_sequence]

    @property
    def has_classes(self) -> bool:
        """Are the items the classes of a label?"""
        return self.item in self.names

    @property
    def label_in_select(self) -> str:
        """What the SELECT calls the label."""
        return self.item if self.item is not None and self.has_classes else self.label

    @property
    def sequences(self) -> list[Feature]:
        return [feature for feature in self.features if feature.is_sequence]

    def is_within(self, other: "FeatureSchema") -> bool:
        """Do the rows of the other schema have the same keys and label, and every feature with its type?"""
        return (*self.keys, self.label) == (*other.keys, other.label) and set(self.features) <= set(other.features)

    def to_json(self) -> dict[str, Any]:
        """`item` stands in it only where there is one, as in what older releases wrote."""
        state = asdict(self)
        return state if self.item else {name: value for name, value in state.items() if name != "item"}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "FeatureSchema":
        features = tuple(Feature(**feature) for feature in state["features"])
        return cls(state["entity"], state["as_of"], state["label"], features, state.get("item"))


def read_schema(
    con: duckdb.DuckDBPyConnection,
    relation: str,
    *,
    entity: str,
    label: str,
    as_of: str = "as_of",
    item: str | None = None,
    exclude: Sequence[str] = (),
) -> FeatureSchema:
    """Read the feature schema of `relation` (a quoted SQL name) from its column types.

    Raises ExamplesError where a key or the label is missing, a column is named twice, a type cannot be read,
    or an excluded column is not there.
    """
    columns = {row[0]: row[1] for row in con.execute(f"describe select * from {relation}").fetchall()}
    named = {"entity": entity, **({"item": item} if item else {}), "as_of": as_of, "label": label}
    for role, name in named.items():
        if name not in columns:
            raise ExamplesError(
                f"the SELECT has no column '{name}', which the prediction needs as its {role}; "
                f"add it to the SELECT or name another one in config(). It has: {', '.join(columns)}"
            )
    if not INSTANT.match(columns[as_of]):
        raise ExamplesError(f"column '{as_of}' is {columns[as_of]}; as_of has to be a DATE or a TIMESTAMP")
    twice = [name for name in columns if re.fullmatch(rf"{re.escape(label)}_\d+", name)]
    if twice:
        raise ExamplesError(
            f"the label '{label}' is also among the features (the SELECT returns it twice); "
            f"leave it out there: `features.* exclude ({label})`"
        )
    missing = [name for name in exclude if name not in columns]
    if missing:
        raise ExamplesError(f"exclude names columns that the SELECT does not return: {', '.join(missing)}")
    kept = {name: kind for name, kind in columns.items() if name not in {*named.values(), *exclude}}
    features = tuple(_feature(name, kind) for name, kind in kept.items())
    if not features:
        *others, last = named.values()
        raise ExamplesError(f"the SELECT returns no feature beside {', '.join(others)} and {last}")
    return FeatureSchema(entity, as_of, label, features, item)


def _feature(name: str, sql_type: str) -> Feature:
    if NUMERIC.match(sql_type):
        return Feature(name, "number", sql_type)
    if CATEGORY.match(sql_type):
        return Feature(name, "category", sql_type)
    if embedding := EMBEDDING.match(sql_type):
        return Feature(name, "embedding", sql_type, width=int(embedding.group(2)))
    if sequence := SEQUENCE.match(sql_type):
        element = sequence.group(1)
        if NUMERIC.match(element):
            return Feature(name, "number_sequence", sql_type)
        if CATEGORY.match(element):
            return Feature(name, "category_sequence", sql_type)
    raise ExamplesError(
        f"feature '{name}' is {sql_type}, which no model reads; cast it to {READABLE}, "
        f"or leave it out with config(exclude=['{name}'])"
    )
