"""The trials of searches, as rows of foretable.trials: each is written when it is done, so that a search can go on."""

import json
from dataclasses import dataclass
from datetime import datetime

import duckdb

from models_ml.tuning import Trial


@dataclass(frozen=True)
class KnownSearch:
    """The trials of one search, by their number, on the training rows that `rows_hash` tells."""

    rows_hash: str
    trials: tuple[Trial, ...]
    ended_at: datetime

    @property
    def seconds(self) -> float:
        return sum(trial.seconds for trial in self.trials)


def add_trial(
    con: duckdb.DuckDBPyConnection,
    trial: Trial,
    *,
    prediction: str,
    definition: str,
    rows_hash: str,
    metric: str,
    at: datetime,
) -> None:
    """Write one trial down. The caller holds the transaction."""
    con.execute(
        f"insert into foretable.trials values ({', '.join('?' * 11)})",
        [
            *(prediction, definition, rows_hash, trial.number, json.dumps(dict(trial.params)), metric, trial.value),
            *(trial.state, list(trial.losses), trial.seconds, at),
        ],
    )


def newest_search(con: duckdb.DuckDBPyConnection, prediction: str, definition: str) -> KnownSearch | None:
    """The search of this definition whose last trial is the newest; None where there was none."""
    rows = con.execute(
        """
        select rows_hash, trial, params, losses, value, state, seconds, max(ended_at) over () as ended_at
        from foretable.trials
        where
            prediction = $prediction and definition = $definition
            and rows_hash = (
                select rows_hash
                from foretable.trials
                where prediction = $prediction and definition = $definition
                order by ended_at desc, rowid desc
                limit 1
            )
        order by trial
        """,
        {"prediction": prediction, "definition": definition},
    ).fetchall()
    if not rows:
        return None
    trials = tuple(
        Trial(number, json.loads(params), losses, value, state, seconds)
        for _, number, params, losses, value, state, seconds, _ in rows
    )
    return KnownSearch(rows[0][0], trials, rows[0][-1])
