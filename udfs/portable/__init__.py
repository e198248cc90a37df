"""Compile fitted models to plain SELECT text for engines that know nothing of foretable.

`compile_select(model, dialect)` is all that a caller needs: one SELECT over a relation that has the features as
columns, without a macro, a model's table or a function of one's own. The model's numbers stand in the text.

A family is one module with one function, from a fitted model to a `Formula`: steps of named expressions, each over
the columns of the steps before. `select` writes them as one CTE a step, and `dialects` holds what engines differ in.
"""

from udfs.portable.dialects import DIALECTS
from udfs.portable.select import compile_select

__all__ = ["DIALECTS", "compile_select"]
