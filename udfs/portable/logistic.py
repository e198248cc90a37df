"""A logistic regression as SQL: one sum over the inputs that networks read, each category its own coefficient."""

from models_ml.linear import LogisticModel
from udfs.portable.dialects import Dialect
from udfs.portable.formula import Formula, shallow_total, times
from udfs.portable.inputs import inputs


def formula(model: LogisticModel, dialect: Dialect, prefix: str) -> Formula:
    """The log-odds, in doubles."""
    tables = [of_code[:, None] for of_code in model.categories]
    steps, read = inputs(model.encoding, tables, model.schema, dialect, prefix)
    numbers, categories = read[: len(model.numbers)], read[len(model.numbers) :]
    terms = [times(name, dialect.number(weight)) for name, weight in zip(numbers, model.numbers, strict=True)]
    terms += [times(name, dialect.number(1.0)) for name in categories]
    intercept = dialect.number(model.coefficients[0])
    return Formula(tuple(steps), "").then({f"{prefix}margin": shallow_total([intercept, *terms])})
