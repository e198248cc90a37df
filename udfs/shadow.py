"""Score candidates in the shadow of the version that serves: into the log alone, so that outcomes judge them, too."""

from dataclasses import replace

import duckdb

from ibis_features import ConfigError, ForetableError
from models_ml.registry import set_shadow, shadows_of, trained_version
from udfs.lifecycle import able_to_score, examples_of, scoring_by
from udfs.progress import say
from udfs.serving import Scoring, log_shadow_scores, now
from udfs.transactions import transaction


def start(con: duckdb.DuckDBPyConnection, prediction: str, version: int) -> int:
    """Let a candidate be scored beside the version that serves, the rows of the last build first; return their number.

    Raises NotFoundError where there is no such version, ConfigError where it is no candidate or cannot score the rows.
    """
    found = trained_version(con, prediction, version)
    examples = examples_of(con, prediction, found)
    fitted = able_to_score(con, prediction, found, examples)
    started_at = now()
    with transaction(con):
        set_shadow(con, prediction, version, since=started_at)
        return log_shadow_scores(con, scoring_by(con, prediction, found, examples, at=started_at), fitted)


def stop(con: duckdb.DuckDBPyConnection, prediction: str, version: int) -> None:
    """Let it be scored no more; what is in the log stays. Raises ConfigError where it is not in the shadow."""
    trained_version(con, prediction, version)
    shadows = shadows_of(con, prediction)
    if version not in shadows:
        known = ", ".join(map(str, shadows)) or "none"
        raise ConfigError(f"version {version} of '{prediction}' is not scored in the shadow; there are: {known}")
    set_shadow(con, prediction, version, since=None)


def score_shadows(con: duckdb.DuckDBPyConnection, scoring: Scoring) -> None:
    """Score the rows that the serving version has just scored with every shadow of it.

    One that cannot is left out and named: what serves must not fail for it. The caller holds the transaction.
    """
    for version in shadows_of(con, scoring.prediction):
        found = trained_version(con, scoring.prediction, version)
        try:
            fitted = able_to_score(con, scoring.prediction, found, scoring.examples)
        except ForetableError as error:
            say(
                f"{scoring.prediction}: not scored in the shadow: {error}. "
                f"`foretable shadow {scoring.prediction} {version} --stop` ends it"
            )
            continue
        log_shadow_scores(con, replace(scoring, version=version, reasons=0), fitted)
