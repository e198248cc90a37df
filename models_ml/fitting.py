"""Train what a spec asks for, from the rows to scores that are probabilities."""

from collections.abc import Mapping
from typing import Any

from ibis_features import Examples
from models_ml.calibration import calibrated
from models_ml.preconditions import prior_shift
from models_ml.spec import PredictionSpec
from models_ml.splitting import undersampled
from models_ml.trainer import FittedModel, Observe, Progress, fit_of, merged_params


def fit_spec(
    spec: PredictionSpec,
    train: Examples,
    validate: Examples,
    *,
    params: Mapping[str, Any] | None = None,
    progress: Progress,
    observe: Observe | None = None,
) -> FittedModel:
    """The model trained on `train`, stopped early by `validate` and calibrated on it.

    `params` go over the family's own; None stands for those of the spec. With `undersample` early stopping looks at a
    sample, too: the log-loss of a model that has seen few false labels has its least elsewhere on all of them. The
    calibration takes all validation rows.
    """
    sampled, stopping = (undersampled(part, spec.undersample, seed=spec.seed) for part in (train, validate))
    fitted = fit_of(spec.model)(
        sampled,
        stopping,
        params=merged_params(spec.model, (spec.params or {}) if params is None else params),
        seed=spec.seed,
        class_weight=spec.class_weight,
        progress=progress,
        observe=observe,
    )
    shift = prior_shift(train, sampled, stopping, spec.class_weight)
    return calibrated(fitted, spec.calibrate, validate, prior_shift=shift)
