"""Train what a spec asks for, from the rows to scores of its kind."""

from collections.abc import Mapping
from typing import Any

from ibis_features import Examples
from models_ml.calibration import calibrated
from models_ml.class_rows import known_classes
from models_ml.class_trees import ClassesModel
from models_ml.ensemble import fit_ensemble
from models_ml.interaction_search import named_interactions
from models_ml.interactions import crossed, interactions_of, uncrossed, with_interactions
from models_ml.kinds import Binary
from models_ml.links import linked
from models_ml.preconditions import prior_shift
from models_ml.spec import PredictionSpec
from models_ml.splitting import undersampled
from models_ml.trainer import FittedModel, Observe, Progress, families, fit_of, merged_params
from models_ml.trees import TreesModel


def fit_spec(
    spec: PredictionSpec,
    train: Examples,
    validate: Examples,
    *,
    params: Mapping[str, Any] | None = None,
    progress: Progress,
    observe: Observe | None = None,
    start: FittedModel | None = None,
) -> FittedModel:
    """The model trained on `train`, stopped early by `validate`, and, where it says probabilities, calibrated on it.

    `params` go over the family's own; None stands for those of the spec. With `undersample` early stopping looks at a
    sample, too: the log-loss of a model that has seen few false labels has its least elsewhere on all of them. The
    calibration takes all validation rows. With `start`, a model of this family, the training goes on from it, with its
    interactions; else with those of the spec, which are looked for here where it only says how many.
    """
    pairs = interactions_of(start) if start else named_interactions(spec, train, validate, progress=progress)
    schema, labelled = train.schema, validate
    train, validate = (with_interactions(part, pairs) for part in (train, validate))
    sampled, stopping = (undersampled(part, spec.undersample, seed=spec.seed) for part in (train, validate))
    kind = spec.of_kind
    is_binary = isinstance(kind, Binary)
    shift = prior_shift(train, sampled, stopping, spec.class_weight) if is_binary else 0.0
    merged = merged_params(spec.model, (spec.params or {}) if params is None else params)
    settings: dict[str, Any] = {"seed": spec.seed, "class_weight": spec.class_weight}

    def fit_member(name: str, rows: Examples, stopping: Examples, progress: Progress) -> FittedModel:
        return fit_of(name)(rows, stopping, params=merged[name], progress=progress, **settings)

    fitted: FittedModel
    if len(members := families(spec.model)) > 1:
        fitted = fit_ensemble(
            members,
            spec.ensemble,
            sampled,
            stopping,
            validate,
            fit_member=fit_member,
            prior_shift=shift,
            progress=progress,
            **settings,
        )
    else:
        fit = fit_of(spec.model)
        fitted = fit(
            sampled,
            stopping,
            params=merged,
            progress=progress,
            observe=observe,
            start=uncrossed(start) if start else None,
            kind=kind,
            **settings,
        )
    if kind.has_classes:
        assert isinstance(fitted, TreesModel)
        return crossed(ClassesModel(fitted, known_classes(sampled)), pairs, schema)
    if kind.link is not None:
        return linked(crossed(fitted, pairs, schema), kind.link)
    return calibrated(crossed(fitted, pairs, schema), spec.calibrate, labelled, prior_shift=shift)
