"""Take trees that somebody has trained elsewhere in as a version of a prediction, and judge them as any other."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from ibis_features import Examples, connect_backend, read_examples, read_schema
from models_ml.artifact import pack, sha256
from models_ml.calibration import calibrated
from models_ml.extras import check_extras
from models_ml.foreign_models import read_foreign
from models_ml.importance import importances
from models_ml.judging import judge, objection_to
from models_ml.leaks import refuse_leaks
from models_ml.links import linked
from models_ml.registry import TrainedVersion, add_version, config_of, newest_version, trained_version
from models_ml.spec import PredictionSpec
from models_ml.splitting import split_examples
from udfs.decision import environment_of
from udfs.lifecycle import Promotion, examples_of, promote
from udfs.serving import now
from udfs.transactions import transaction


@dataclass(frozen=True)
class Imported:
    """A version that was imported. promotion: where it serves. objection: why it does not."""

    version: int
    promotion: Promotion | None = None
    objection: str | None = None


def import_version(con: duckdb.DuckDBPyConnection, prediction: str, file: Path) -> Imported:
    """Register the trees of a file as a version: calibrated and judged on the splits of the rows of the last build,
    beside the same baselines. The `promote` of the newest version says whether it serves.

    Which rows they have learned from is not known here: on those they look better than they are. Raises NotFoundError
    where the prediction was never built, and what `read_foreign`, `split_examples` and `refuse_leaks` raise.
    """
    started = time.monotonic()
    newest = trained_version(con, prediction, newest_version(con, prediction))
    config, definition = config_of(con, prediction, newest.version)
    relation = examples_of(con, prediction, newest)
    spec = _spec(config)
    schema = read_schema(
        con,
        relation,
        entity=spec.entity,
        item=spec.item,
        label=spec.label,
        as_of=spec.as_of,
        exclude=spec.exclude,
    )
    family, model = read_foreign(file, schema, spec.of_kind)
    check_extras(family)  # whose version the artifact names
    spec = replace(spec, model=family)
    split, parts = split_examples(read_examples(connect_backend(con), relation, schema), spec)
    read = {name: Examples(part.table, model.schema) for name, part in parts.items()}
    if spec.leak_check:
        refuse_leaks(read["train"], spec.of_kind)
    link = spec.of_kind.link
    fitted = linked(model, link) if link else calibrated(model, spec.calibrate, read["validate"], prior_shift=0.0)
    judgement = judge(con, fitted, spec, parts)
    artifact = pack(family, fitted)
    trained = TrainedVersion(
        prediction=prediction,
        spec=spec,
        fingerprint=hashlib.sha256(f"imported {sha256(artifact)}".encode()).hexdigest(),
        definition=definition,
        schema=fitted.schema,
        selection=(),
        interactions=(),
        params={},
        environment=environment_of(family),
        split=split,
        rows={name: part.rows() for name, part in parts.items()},
        train_seconds=time.monotonic() - started,
        artifact=artifact,
        judgement=judgement,
        importances=importances(fitted, read["test"], spec.of_kind, seed=spec.seed),
        base_log_odds=fitted.base_log_odds,
        target=newest.target,
        examples=newest.examples,
        trained_at=now(),
    )
    with transaction(con):
        version = add_version(con, trained)
    if objection := objection_to(judgement.metrics, spec):
        return Imported(version, objection=objection)
    return Imported(version, promotion=promote(con, prediction, version, by="import"))


def _spec(config: Mapping[str, Any]) -> PredictionSpec:
    """A registered config without what is about training."""
    trains: dict[str, Any] = {
        **{"select": (), "interactions": (), "tune": None, "params": None, "ensemble": "mean"},
        **{"class_weight": None, "undersample": None, "warm_start": False, "truth": None},
    }
    lists = {key: tuple(config.get(key) or ()) for key in ("exclude", "slices")}
    rfm = config.get("rfm")
    return PredictionSpec(**{**config, **trains, **lists, "rfm": None if rfm is None else tuple(rfm)})
