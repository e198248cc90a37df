"""Which params a training takes: those of the config and, over them, the best that a search has found."""

from collections.abc import Mapping
from typing import Any

import duckdb

from ibis_features import Examples
from models_ml.spec import PredictionSpec
from models_ml.trainer import Progress
from models_ml.trials import KnownSearch, add_trial, newest_search
from models_ml.tuning import best_trial, search
from udfs.decision import Fingerprint
from udfs.serving import now
from udfs.transactions import transaction


def found_params(
    con: duckdb.DuckDBPyConnection, prediction: str, spec: PredictionSpec, fingerprint: Fingerprint
) -> dict[str, Any]:
    """The params of the config, over them the best of the newest search that was made for this definition, if any."""
    params = dict(spec.params or {})
    known = newest_search(con, prediction, fingerprint.search) if spec.tune else None
    return {**params, **best_trial(known.trials, spec.tune).params} if spec.tune and known else params


def searched_params(
    con: duckdb.DuckDBPyConnection,
    prediction: str,
    spec: PredictionSpec,
    parts: Mapping[str, Examples],
    fingerprint: Fingerprint,
    *,
    progress: Progress,
) -> dict[str, Any]:
    """As `found_params`, after a search where one is due: none was finished for this definition, or it is too old.

    A search that was interrupted on these very rows goes on; each trial is written down when it is done.
    """
    if spec.tune is None:
        return dict(spec.params or {})
    known = newest_search(con, prediction, fingerprint.search)
    if not _is_done(spec, known):
        there = known.trials if known and known.rows_hash == fingerprint.rows else ()
        for trial in search(spec, parts, there, progress=progress):
            with transaction(con):
                add_trial(
                    con,
                    trial,
                    prediction=prediction,
                    definition=fingerprint.search,
                    rows_hash=fingerprint.rows,
                    metric=spec.tune.metric,
                    at=now(),
                )
    return found_params(con, prediction, spec, fingerprint)


def trials_left(con: duckdb.DuckDBPyConnection, prediction: str, spec: PredictionSpec, fingerprint: Fingerprint) -> int:
    """How many trials a training would begin with at most; 0 where none is asked for, or a search is still good."""
    if spec.tune is None:
        return 0
    known = newest_search(con, prediction, fingerprint.search)
    if _is_done(spec, known):
        return 0
    return spec.tune.trials - (len(known.trials) if known and known.rows_hash == fingerprint.rows else 0)


def _is_done(spec: PredictionSpec, known: KnownSearch | None) -> bool:
    """Has the newest search used up its budget, and is it not too old?"""
    if spec.tune is None or known is None or not spec.tune.is_spent(len(known.trials), known.seconds):
        return False
    return spec.tune.span is None or now() < known.ended_at + spec.tune.span
