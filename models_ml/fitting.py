"""Train what a spec asks for, from the rows to scores that are probabilities."""

from ibis_features import Examples
from models_ml.calibration import calibrated
from models_ml.preconditions import prior_shift
from models_ml.spec import PredictionSpec
from models_ml.splitting import undersampled
from models_ml.trainer import FittedModel, Progress, merged_params, trainer


def fit_spec(spec: PredictionSpec, train: Examples, validate: Examples, *, progress: Progress) -> FittedModel:
    """The fitted model of a spec, calibrated on the validation rows.

    With `undersample` early stopping looks at a sample, too: the log-loss of a model that has seen few false labels has
    its least elsewhere on all of them. The calibration takes all validation rows.
    """
    sampled, stopping = (undersampled(part, spec.undersample, seed=spec.seed) for part in (train, validate))
    fitted = trainer(spec.model).fit(
        sampled,
        stopping,
        params=merged_params(spec.model, spec.params or {}),
        seed=spec.seed,
        class_weight=spec.class_weight,
        progress=progress,
    )
    shift = prior_shift(train, sampled, stopping, spec.class_weight)
    return calibrated(fitted, spec.calibrate, validate, prior_shift=shift)
