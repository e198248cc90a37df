"""Which model families can be compiled to SQL, and by which module."""

from collections.abc import Callable, Mapping
from typing import Any

from models_ml.trainer import FittedModel
from models_ml.trees import TreesModel
from udfs.compiling.scope import Compiled, UncompiledError
from udfs.compiling.trees import compile_trees

FAMILIES: Mapping[type, Callable[[Any], Compiled]] = {
    TreesModel: compile_trees,
}
"""The function that compiles each kind of fitted model."""


def compiled(model: FittedModel) -> Compiled:
    """The model, without its calibration, as tables and SQL; raises UncompiledError where SQL cannot hold it."""
    family = FAMILIES.get(type(model))
    if family is None:
        raise UncompiledError(f"a {type(model).__name__} cannot be said in SQL")
    return family(model)
