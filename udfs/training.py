"""One training of a prediction: split, look for leaks, select features, search params, fit, judge."""

import time

import duckdb

from ibis_features import Examples
from models_ml.artifact import pack
from models_ml.fitting import fit_spec
from models_ml.importance import importances
from models_ml.judging import RFM, judge, rfm_columns
from models_ml.leaks import refuse_leaks
from models_ml.registry import TrainedVersion
from models_ml.selection import select_features
from models_ml.spec import PredictionSpec
from models_ml.splitting import split_examples
from models_ml.trainer import FittedModel, Progress, merged_params
from udfs.decision import Fingerprint, Request, environment_of
from udfs.progress import say
from udfs.serving import now
from udfs.tuning import searched_params


def train(
    con: duckdb.DuckDBPyConnection,
    request: Request,
    spec: PredictionSpec,
    examples: Examples,
    fingerprint: Fingerprint,
    progress: Progress,
) -> tuple[TrainedVersion, FittedModel]:
    """A version as it goes into the registry, and its model; nothing is written but the trials of a search."""
    started = time.monotonic()
    split, parts = split_examples(examples, spec)
    if spec.leak_check:
        refuse_leaks(parts["train"])
    kept, selection = select_features(spec, parts, progress=progress)
    params = searched_params(con, request.name, spec, kept, fingerprint, progress=progress)
    fitted = fit_spec(spec, kept["train"], kept["validate"], params=params, progress=progress)
    progress("judging", 0.0)
    _say_which_rfm(request.name, examples, spec)
    judgement = judge(con, fitted, spec, parts, truth=request.truth_of(spec))
    trained = TrainedVersion(
        prediction=request.name,
        spec=spec,
        fingerprint=fingerprint.whole,
        definition=fingerprint.definition,
        schema=fitted.schema,
        selection=selection,
        params=merged_params(spec.model, params),
        environment=environment_of(spec.model),
        split=split,
        rows={name: part.rows() for name, part in parts.items()},
        train_seconds=time.monotonic() - started,
        artifact=pack(spec.model, fitted),
        judgement=judgement,
        importances=importances(fitted, kept["test"], seed=spec.seed),
        base_log_odds=fitted.base_log_odds if fitted.tells_contributions else None,
        target=request.local(request.target),
        examples=request.local(request.examples),
        trained_at=now(),
    )
    return trained, fitted


def _say_which_rfm(name: str, examples: Examples, spec: PredictionSpec) -> None:
    """Tell what the SELECT lacks for the baseline of recency, frequency and money."""
    used = rfm_columns(examples.schema, spec)
    lacking = [column for column in RFM if column not in examples.schema.names]
    if spec.rfm is None and lacking:
        regression = f"reads only {' and '.join(used)}" if used else "is left out"
        say(f"{name}: the baseline rfm {regression}, since the SELECT lacks {', '.join(lacking)}; rfm=[…] names others")
