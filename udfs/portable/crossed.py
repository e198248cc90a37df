"""Interactions as SQL: columns that are not in the relation, made of two that are."""

from collections.abc import Mapping

from sqlglot import exp

from models_ml.interactions import CrossedModel
from udfs.portable.dialects import Dialect
from udfs.portable.formula import number, text_of

SPLITTER = 2.0**29 + 1
"""Times this, and less what that has grown by, a double keeps the 24 bits of a float32."""
VANISHING = 2.0**-150
"""The greatest double that is 0 once it is rounded to float32."""


def made_of(model: CrossedModel, dialect: Dialect) -> Mapping[str, exp.Expression]:
    """The SQL of each interaction by its name."""
    features = {feature.name: feature for feature in model.schema.features}
    made: dict[str, exp.Expression] = {}
    for pair in model.interactions:
        one, other = features[pair.feature], features[pair.other]
        if one.role == "number":
            # Two float32 have an exact product in doubles; what reads it rounds it to float32, as the model does.
            factors = [exp.paren(_rounded(number(feature, dialect), dialect)) for feature in (one, other)]
            made[pair.name] = exp.Mul(this=factors[0], expression=factors[1])
        else:
            texts = [text_of(feature, dialect) for feature in (one, other)]
            length = exp.cast(exp.Length(this=texts[0].copy()), "text")
            parts = [length, exp.Literal.string(":"), *texts]
            joined = parts[0]
            for part in parts[1:]:
                joined = exp.DPipe(this=joined, expression=part, safe=True)
            made[pair.name] = joined
    return made


def _rounded(value: exp.Expression, dialect: Dialect) -> exp.Expression:
    """A double as the float32 next to it, as a double; Postgres raises an error where the cast gives 0.

    Where there is no float32, by Veltkamp's splitting: T. J. Dekker, "A floating-point technique for extending the
    available precision", 1971. It may round a double that lies right between two float32 to the other one.
    """
    zero = dialect.number(0.0)
    vanishes = exp.LTE(this=exp.Abs(this=value.copy()), expression=dialect.number(VANISHING))
    if dialect.has_float32:
        kept: exp.Expression = exp.cast(exp.cast(value, "float"), "double")
    else:
        grown = exp.paren(exp.Mul(this=value.copy(), expression=dialect.number(SPLITTER)))
        kept = exp.Sub(this=grown, expression=exp.paren(exp.Sub(this=grown.copy(), expression=value)))
    return exp.If(this=vanishes, true=zero, false=kept)
