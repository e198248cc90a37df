"""Rows as networks read them, in SQL: standardised numbers, what is missing, and numbers that stand for categories."""

from collections.abc import Sequence

import numpy as np
from sqlglot import exp

from ibis_features import FeatureSchema
from models_ml.inputs import CLIP, FIRST_KNOWN, NULL, UNKNOWN, CategoryInput, InputEncoding
from udfs.portable.dialects import Dialect
from udfs.portable.formula import Step, clipped, code, feature_of, number, whole


def inputs(
    encoding: InputEncoding, tables: Sequence[np.ndarray], schema: FeatureSchema, dialect: Dialect, prefix: str
) -> tuple[list[Step], list[str]]:
    """The steps to a row's inputs, and the names of these in the encoding's order: numbers, indicators, categories.

    tables: of each category the numbers that stand for a code, [codes, width].
    """
    raw: dict[str, exp.Expression] = {}
    squashed: dict[str, exp.Expression] = {}
    scaled: dict[str, exp.Expression] = {}
    made: dict[str, exp.Expression] = {}
    for place, known in enumerate(encoding.numbers):
        for position, (mean, scale) in enumerate(zip(known.mean, known.scale, strict=True)):
            name = _name(prefix, place, position)
            raw[f"{name}_raw"] = number(feature_of(schema, known.feature), dialect, position)
            is_squashed = known.role == "number"
            squashed[f"{name}_log"] = _signed_log(f"{name}_raw", dialect) if is_squashed else exp.column(f"{name}_raw")
            scaled[f"{name}_scaled"] = _scaled(f"{name}_log", mean, scale, dialect)
            present = clipped(f"{name}_scaled", -CLIP, CLIP, dialect)
            made[name] = exp.Coalesce(this=present, expressions=[dialect.number(0.0)])
    for place, known in enumerate(encoding.numbers):
        if known.has_indicator:
            name = _name(prefix, place, 0)
            is_missing = exp.Is(this=exp.column(f"{name}_raw"), expression=exp.Null())
            made[f"{name}_missing"] = exp.If(this=is_missing, true=dialect.number(1.0), false=dialect.number(0.0))
    for place, (category, table) in enumerate(zip(encoding.categories, tables, strict=True)):
        name = f"{prefix}category_{place}"
        raw[f"{name}_code"] = _code(category, schema, dialect)
        made |= {f"{name}_{at}": _of_code(f"{name}_code", column, dialect) for at, column in enumerate(table.T)}
    return [raw, squashed, scaled, made], list(made)


def _name(prefix: str, place: int, position: int) -> str:
    """Of a number, or of one of an embedding's."""
    return f"{prefix}number_{place}" + (f"_{position}" if position else "")


def _signed_log(column: str, dialect: Dialect) -> exp.Expression:
    """`sign(x) * ln(1 + |x|)`; no branch takes the logarithm of what has none, as some engines compute both."""
    x, one = exp.column(column), dialect.number(1.0)
    is_below = exp.LT(this=x, expression=dialect.number(0.0))
    sign = exp.If(this=is_below, true=dialect.number(-1.0), false=one)
    return exp.Mul(this=sign, expression=exp.Ln(this=exp.Add(this=one.copy(), expression=exp.Abs(this=x.copy()))))


def _scaled(column: str, mean: float, scale: float, dialect: Dialect) -> exp.Expression:
    difference = exp.Sub(this=exp.column(column), expression=dialect.number(np.float32(mean)))
    return exp.Mul(this=exp.paren(difference), expression=dialect.number(np.float32(scale)))


def _code(category: CategoryInput, schema: FeatureSchema, dialect: Dialect) -> exp.Expression:
    feature = feature_of(schema, category.feature)
    is_null = exp.Is(this=dialect.column(feature.name), expression=exp.Null())
    known = code(feature, category.vocabulary, dialect, first=FIRST_KNOWN)
    return exp.If(this=is_null, true=whole(NULL), false=exp.Coalesce(this=known, expressions=[whole(UNKNOWN)]))


def _of_code(column: str, values: np.ndarray, dialect: Dialect) -> exp.Expression:
    chosen = [exp.If(this=whole(code), true=dialect.number(value)) for code, value in enumerate(values)]
    return exp.cast(exp.Case(this=exp.column(column), ifs=chosen), "double")
