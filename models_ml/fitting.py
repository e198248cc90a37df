"""Fit what a prediction's config asks for: its trainer, with its params, seed and class weights."""

from collections.abc import Mapping
from typing import Any

from ibis_features import Examples
from models_ml.spec import PredictionSpec
from models_ml.trainer import FittedModel, Observe, Progress, merged_params, trainer


def fit_spec(
    spec: PredictionSpec,
    train: Examples,
    validate: Examples,
    *,
    params: Mapping[str, Any],
    progress: Progress,
    observe: Observe | None = None,
) -> FittedModel:
    """The model trained on `train` and stopped early by `validate`; `params` go over the family's own."""
    return trainer(spec.model).fit(
        train,
        validate,
        params=merged_params(spec.model, params),
        seed=spec.seed,
        class_weight=spec.class_weight,
        progress=progress,
        observe=observe,
    )
