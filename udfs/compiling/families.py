"""Which model families can be compiled to SQL, and by which module."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from models_ml.class_trees import ClassesModel
from models_ml.ensemble import EnsembleModel
from models_ml.interactions import CrossedModel
from models_ml.lightgbm_trees import LightGbmModel
from models_ml.linear import LogisticModel
from models_ml.network import NetworkModel
from models_ml.random_forest import ForestModel
from models_ml.trainer import FittedModel
from models_ml.tree_model import TreeModel
from models_ml.trees import TreesModel
from udfs.compiling.class_explanations import explain_classes
from udfs.compiling.classes import compile_classes
from udfs.compiling.ensembles import compile_ensemble
from udfs.compiling.interactions import compile_crossed
from udfs.compiling.logistic import compile_logistic
from udfs.compiling.mlp import compile_mlp
from udfs.compiling.scope import Compiled, UncompiledError
from udfs.compiling.transformer import compile_transformer
from udfs.compiling.tree_explanations import explain_trees
from udfs.compiling.trees import compile_trees

NETWORKS: Mapping[str, Callable[[NetworkModel], Compiled]] = {
    "mlp": compile_mlp,
    "transformer": compile_transformer,
}


def compiled(model: FittedModel) -> Compiled:
    """The model, without its calibration, as tables and SQL; raises UncompiledError where SQL cannot hold it."""
    family = FAMILIES.get(type(model))
    if family is None:
        raise UncompiledError(f"a {type(model).__name__} cannot be said in SQL")
    return family(model)


def _compile_trees(model: TreeModel) -> Compiled:
    return replace(compile_trees(model), explained=explain_trees(model))


def _compile_classes(model: ClassesModel) -> Compiled:
    return replace(compile_classes(model), explained=explain_classes(model))


def _compile_network(model: NetworkModel) -> Compiled:
    if model.family not in NETWORKS:
        raise UncompiledError(f"an {model.family} reads its steps one after another, which SQL cannot do in good time")
    return NETWORKS[model.family](model)


def _compile_ensemble(model: EnsembleModel) -> Compiled:
    return compile_ensemble(model, {name: compiled(member) for name, member in model.members.items()})


def _compile_crossed(model: CrossedModel) -> Compiled:
    return compile_crossed(model, compiled(model.model))


FAMILIES: Mapping[type, Callable[[Any], Compiled]] = {
    TreesModel: _compile_trees,
    LightGbmModel: _compile_trees,
    ForestModel: _compile_trees,
    LogisticModel: compile_logistic,
    NetworkModel: _compile_network,
    EnsembleModel: _compile_ensemble,
    CrossedModel: _compile_crossed,
    ClassesModel: _compile_classes,
}
"""The function that compiles each kind of fitted model."""
