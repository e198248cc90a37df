"""Trees that somebody has trained elsewhere, as models of the families here. No file is read that could run code.

What their features are called has to be what columns of the SELECT are called.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ibis_features import ArtifactError, ConfigError, FeatureSchema
from models_ml import lightgbm_trees, trees
from models_ml.encoding import MatrixColumn
from models_ml.kinds import Kind
from models_ml.lightgbm_trees import LightGbmModel
from models_ml.random_forest import ForestModel, read_tree
from models_ml.tree_model import TreeModel
from models_ml.tree_table import table_of
from models_ml.trees import TreesModel, read_trees

FORESTS = {"binary": "RandomForestClassifier", "regression": "RandomForestRegressor"}
"""The class of scikit-learn by the kind of label."""


def read_foreign(file: Path, schema: FeatureSchema, kind: Kind) -> tuple[str, TreeModel]:
    """The family and the model of a file: XGBoost's JSON, LightGBM's text, or a forest of scikit-learn saved by skops.

    The model's schema holds those features of `schema` that the model names, in the order of `schema`. Raises
    ArtifactError where the file holds no trees of a kind that is known here, ConfigError where they have learned
    another kind of label, or read what is no number of `schema`.
    """
    content = file.read_bytes()
    if content.startswith(b"tree\n"):
        return "lightgbm", _lightgbm(file, content, schema, kind)
    if content.startswith(b'{"'):  # not UBJ, of which XGBoost reads beyond the end where some of it is missing
        return "xgboost", _xgboost(file, content, schema, kind)
    if content.startswith(b"PK"):
        return "random_forest", _scikit_learn(file, content, schema, kind)
    raise ArtifactError(
        f"{file} is neither XGBoost's JSON nor LightGBM's text nor a zip of skops; save the model by `save_model`, of "
        "XGBoost under a name that ends in .json, or by `skops.io.dump` (a pickle is never read)"
    )


def _xgboost(file: Path, content: bytes, schema: FeatureSchema, kind: Kind) -> TreesModel:
    import xgboost

    try:
        reads = read_trees(content).used  # XGBoost itself follows a child wherever it leads
        booster = xgboost.Booster(model_file=bytearray(content))
        objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    except (xgboost.core.XGBoostError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{file} cannot be read as trees of XGBoost; save it by its `save_model`") from error
    _check_objective(file, kind, objective, trees.OBJECTIVES)
    columns, read = _columns(file, booster.feature_names or [], schema)
    if booster.num_features() != len(columns) or not (reads < len(columns)).all():
        raise ArtifactError(f"{file} has trees over other features than it names; save it by its `save_model`")
    booster.feature_names = None  # they are columns from here on
    best = booster.attr("best_iteration")
    return TreesModel(booster if best is None else booster[: int(best) + 1], columns, read)


def _lightgbm(file: Path, content: bytes, schema: FeatureSchema, kind: Kind) -> LightGbmModel:
    try:
        text = lightgbm_trees.without_parameters(content.decode())
    except ValueError as error:
        raise ArtifactError(f"{file} cannot be read as LightGBM's text; save it by its `save_model`") from error
    header = lightgbm_trees.lines_of(text.partition("\nTree=")[0])
    objective, *settings = header.get("objective", "none").split()
    if set(settings) - {"sigmoid:1"}:
        raise ConfigError(f"{file} has learned by {header['objective']!r}; only its defaults are known here")
    _check_objective(file, kind, objective, lightgbm_trees.OBJECTIVES)
    columns, read = _columns(file, header.get("feature_names", "").split(), schema)
    return LightGbmModel(text, columns, read)


def _scikit_learn(file: Path, content: bytes, schema: FeatureSchema, kind: Kind) -> ForestModel:
    if find_spec("skops") is None:
        raise ConfigError("a forest of scikit-learn is read by skops: pip install 'foretable[sklearn]'")
    import skops.io

    try:
        # scikit-learn would follow a child of such a tree wherever it leads; here it is asked for its arrays alone.
        forest = skops.io.loads(content, trusted=["sklearn.tree._tree.Tree"])
    except Exception as error:  # of a damaged file it raises whatever comes of it
        said = str(error).partition("\n")[0]
        raise ArtifactError(f"{file} cannot be read by skops ({type(error).__name__}: {said})") from error
    wanted = FORESTS.get(kind.name)
    if type(forest).__name__ != wanted:
        raise ConfigError(
            f"{file} holds {type(forest).__name__}; kind '{kind.name}' can take {wanted or 'no forest'} of scikit-learn"
        )
    is_binary = wanted == FORESTS["binary"]
    if forest.n_outputs_ != 1 or (is_binary and list(forest.classes_) != [0, 1]):
        raise ConfigError(f"{file} has other labels than one of 0 and 1, or one number; train it on these")
    columns, read = _columns(file, list(getattr(forest, "feature_names_in_", [])), schema)
    grown = [estimator.tree_ for estimator in forest.estimators_]
    rows = float(grown[0].weighted_n_node_samples[0])
    try:
        found = table_of([read_tree(tree, is_binary=is_binary) for tree in grown])
    except (ValueError, IndexError) as error:
        raise ArtifactError(f"{file} holds trees that do not hang together; save the forest anew") from error
    return ForestModel(found, columns, read, 0.5 / max(rows, 2.0) if is_binary else None)


def _check_objective(file: Path, kind: Kind, objective: str, known: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises ConfigError where the model has learned no labels of this kind."""
    wanted = known.get(kind.name, {}).get("objective")
    if wanted is None:
        raise ConfigError(f"{file} is of a library that does not predict kind '{kind.name}' here: {', '.join(known)}")
    if objective != wanted:
        raise ConfigError(
            f"{file} has learned by the objective {objective!r}, and kind '{kind.name}' needs {wanted!r}; its scores "
            "would mean something else"
        )


def _columns(file: Path, names: Sequence[str], schema: FeatureSchema) -> tuple[tuple[MatrixColumn, ...], FeatureSchema]:
    """The columns that a model calls by these names, in their order, and a schema of what they are read from."""
    numbers = {f.name: MatrixColumn(f.name, "number") for f in schema.features if f.role == "number"}
    for feature in schema.features:
        if feature.role == "embedding":
            places = [MatrixColumn(feature.name, "embedding", place) for place in range(feature.width)]
            numbers |= {column.name: column for column in places}
    if not names:
        raise ConfigError(
            f"{file} does not name its features, so that nobody can tell which columns they are; train on a data "
            "frame, or set feature_names"
        )
    if categories := [name for name in names if name in schema.names and name not in numbers]:
        raise ConfigError(
            f"{file} reads {', '.join(categories)}, no numbers in the SELECT, and how it has read them is not known; "
            "make numbers of them in the SELECT"
        )
    if unknown := [name for name in names if name not in numbers]:
        raise ConfigError(
            f"{file} reads {', '.join(unknown)}, which the SELECT does not return as features; it returns: "
            f"{', '.join(schema.names)}"
        )
    read = {numbers[name].feature for name in names}
    features = tuple(feature for feature in schema.features if feature.name in read)
    return tuple(numbers[name] for name in names), replace(schema, features=features)
