"""Find the pairs of features that tell together what neither tells alone.

Trees of one split fit what each feature tells by itself; deeper ones go on from there, on what is left. A split below
another one on a second feature tells how much the pair gains. Source: Lou, Caruana, Gehrke and Hooker, "Accurate
intelligible models with pairwise interactions", KDD 2013, which looks for pairs in what is left in the same way.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ibis_features import Examples
from models_ml import trees
from models_ml.interactions import CROSSED_ROLES, Interaction
from models_ml.preconditions import has_both_labels
from models_ml.spec import PredictionSpec
from models_ml.splitting import undersampled
from models_ml.trainer import Progress, merged_params

SAMPLE_ROWS = 50_000
"""More rows than this tell nothing new of a pair, and all of them lie in memory as floats."""
SINGLE = {"max_depth": 1, "n_estimators": 400, "eta": 0.2, "colsample_bytree": 1.0, "early_stopping_rounds": 20}
PAIRED = {**SINGLE, "max_depth": 2, "n_estimators": 200, "eta": 0.1}


def named_interactions(
    spec: PredictionSpec, train: Examples, validate: Examples, *, progress: Progress
) -> tuple[Interaction, ...]:
    """The pairs that `interactions` names, or so many as it asks for at most, the one that gains most first.

    Trees learn from the training rows and are stopped early by the validation rows. Pairs are of two numbers or of two
    categories; equal gains are told apart by the features' order.
    """
    if not isinstance(spec.interactions, int):
        return spec.interactions
    progress("finding interactions", 0.0)
    features = tuple(feature for feature in train.schema.features if feature.role in CROSSED_ROLES)
    if len(features) < 2:
        return ()
    schema = replace(train.schema, features=features)
    rows, stopping = (_sample(Examples(part.table, schema), spec) for part in (train, validate))
    settings: dict[str, Any] = {"seed": spec.seed, "class_weight": None, "progress": lambda step, share: None}
    single = trees.fit(rows, stopping, params=merged_params("xgboost", SINGLE), **settings)
    paired = trees.fit(rows, stopping, params=merged_params("xgboost", PAIRED), start=single, **settings)
    gains: defaultdict[tuple[int, int], float] = defaultdict(float)
    for pair, gain in _gains_of_pairs(paired, after=single.booster.num_boosted_rounds()):
        gains[pair] += gain
    ranked = sorted((-gain, pair) for pair, gain in gains.items() if features[pair[0]].role == features[pair[1]].role)
    found = [Interaction(features[one].name, features[other].name, -less) for less, (one, other) in ranked]
    return tuple(found[: spec.interactions])


def _sample(part: Examples, spec: PredictionSpec) -> Examples:
    """Some of the rows; all of them where the labels of these are alike."""
    some = undersampled(part, spec.undersample, seed=spec.seed).sample(SAMPLE_ROWS)
    return some if has_both_labels(some) else part


def _gains_of_pairs(model: trees.TreesModel, *, after: int) -> Iterator[tuple[tuple[int, int], float]]:
    """The gain of each split below another one on a second column, by their places; of trees `after` so many.

    There is one column a feature, in the order of the schema.
    """
    learner = json.loads(model.booster.save_raw("json"))["learner"]
    for tree in learner["gradient_booster"]["model"]["trees"][after:]:
        for node, parent in enumerate(tree["parents"]):
            is_inner = tree["left_children"][node] != -1
            if node and is_inner:
                one, other = sorted((tree["split_indices"][parent], tree["split_indices"][node]))
                if one != other:
                    yield (one, other), tree["loss_changes"][node]
