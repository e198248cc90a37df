"""A score as steps of named SQL expressions, and the few expressions that families share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from sqlglot import exp

from ibis_features import ArtifactError, Feature, FeatureSchema
from udfs.portable.dialects import BEYOND_FLOAT32, SOURCE, Dialect

Step = Mapping[str, exp.Expression]
"""Columns by name, over columns of the steps before; those of the first step are over columns of the source."""

TERMS = 64
"""A longer sum is a sum of sums: SQLite refuses expressions that are 1,000 levels deep."""


@dataclass(frozen=True)
class Formula:
    """How a model's log-odds come about: `result` is a column of the last step."""

    steps: tuple[Step, ...]
    result: str

    def then(self, *steps: Step) -> "Formula":
        """With more steps; the result is the only column of the last one."""
        [result] = steps[-1]
        return Formula((*self.steps, *steps), result)


def number(feature: Feature, dialect: Dialect, position: int = 0) -> exp.Expression:
    """A number of the source as a double, NULL where models read it as missing: NULL, NaN and the infinities.

    position: of an embedding which of its numbers, from 0 on; raises ArtifactError where the engine has no arrays.
    """
    column = dialect.column(feature.name)
    if feature.role == "embedding":
        if not dialect.has_arrays:
            raise ArtifactError(
                f"the model reads '{feature.name}', which is {feature.sql_type}, and {dialect.name} has no arrays; "
                "list it in exclude and give its numbers columns of their own, or publish the table of scores instead"
            )
        column = exp.Bracket(this=column, expressions=[whole(position)], offset=0, safe=True)
    # Postgres casts no boolean to a double.
    value = exp.cast(exp.cast(column, "int") if feature.sql_type == "BOOLEAN" else column, "double")
    # NaN is neither below one bound nor above the other, or above all numbers: this holds in both kinds of engines.
    is_known = exp.and_(
        exp.GT(this=value.copy(), expression=dialect.number(-BEYOND_FLOAT32)),
        exp.LT(this=value.copy(), expression=dialect.number(BEYOND_FLOAT32)),
    )
    if dialect.is_loosely_typed:
        is_text = exp.EQ(
            this=exp.Anonymous(this="typeof", expressions=[column.copy()]), expression=exp.Literal.string("text")
        )
        is_known = exp.and_(exp.or_(exp.not_(is_text), exp.EQ(this=column.copy(), expression=value.copy())), is_known)
    return exp.If(this=is_known, true=value, false=exp.Null())


def code(feature: Feature, vocabulary: Sequence[str], dialect: Dialect, *, first: int = 0) -> exp.Expression:
    """A category of the source as its place in the vocabulary, counted from `first`; NULL where it is not in it."""
    if spoilt := next((value for value in vocabulary if "\0" in value), None):
        raise ArtifactError(
            f"a category of '{feature.name}' holds a NUL character ({spoilt!r}), which SQL text cannot; clean it and "
            "train the model anew"
        )
    places = [exp.If(this=exp.Literal.string(v), true=whole(first + place)) for place, v in enumerate(vocabulary)]
    if not places:
        return exp.cast(exp.Null(), "int")
    return exp.Case(this=text_of(feature, dialect), ifs=places)


def text_of(feature: Feature, dialect: Dialect) -> exp.Expression:
    """A category of the source as text."""
    text: exp.Expression = exp.cast(dialect.column(feature.name), "text")
    if dialect.is_loosely_typed:  # SQLite: a cast keeps the collation of the column
        text = exp.DPipe(this=text, expression=exp.Literal.string(""))
    return text


def feature_of(schema: FeatureSchema, name: str) -> Feature:
    return next(feature for feature in schema.features if feature.name == name)


def total(terms: Iterable[exp.Expression]) -> exp.Expression:
    """The sum, from the first term to the last."""
    return reduce(lambda left, right: exp.Add(this=left, expression=right), terms)


def shallow_total(terms: Sequence[exp.Expression]) -> exp.Expression:
    """The sum of however many terms, as a sum of sums where there are many."""
    if len(terms) <= TERMS:
        return total(terms)
    pieces = [terms[start : start + TERMS] for start in range(0, len(terms), TERMS)]
    return shallow_total([exp.Paren(this=total(piece)) for piece in pieces])


def times(column: str, value: exp.Expression) -> exp.Expression:
    return exp.Mul(this=exp.column(column), expression=value)


def clipped(column: str, least: float, most: float, dialect: Dialect) -> exp.Expression:
    """The column within bounds; NULL stays NULL. `greatest` and `least` pass over NULL in some engines."""
    below = exp.LT(this=exp.column(column), expression=dialect.number(least))
    above = exp.GT(this=exp.column(column), expression=dialect.number(most))
    inner = exp.If(this=above, true=dialect.number(most), false=exp.column(column))
    return exp.If(this=below, true=dialect.number(least), false=inner)


def whole(value: int) -> exp.Expression:
    return exp.Literal.number(str(value))


def read_columns(expression: exp.Expression) -> set[str]:
    """The columns of steps before that an expression reads."""
    return {column.name for column in expression.find_all(exp.Column) if column.table != SOURCE}
