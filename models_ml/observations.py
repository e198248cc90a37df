"""What is observed of versions that score, as tables of the schema `foretable`: how far rows have moved, and how good
scores turned out to be.
"""

from collections.abc import Sequence
from datetime import datetime

import duckdb

from models_ml.bootstrap import Metric
from models_ml.drift import Drift


def add_drift(
    con: duckdb.DuckDBPyConnection, prediction: str, version: int, as_of: datetime, found: Sequence[Drift], at: datetime
) -> None:
    """Write down how far the rows of a snapshot have moved, in place of what was measured of it before."""
    con.execute(
        "delete from foretable.drift where prediction = ? and version = ? and as_of = ?", [prediction, version, as_of]
    )
    rows = [
        [
            *(prediction, version, as_of, one.name, one.psi, one.ks),
            *(one.missing_share_then, one.missing_share_now, one.unknown_share, at),
        ]
        for one in found
    ]
    if rows:
        con.executemany(f"insert into foretable.drift values ({', '.join('?' * 10)})", rows)


def add_realised(
    con: duckdb.DuckDBPyConnection,
    prediction: str,
    version: int,
    as_of: datetime,
    found: Sequence[Metric],
    at: datetime,
) -> None:
    """Write down how good the scores of a snapshot turned out to be."""
    con.executemany(
        "insert into foretable.realised values (?, ?, ?, ?, ?, ?, ?)",
        [[prediction, version, as_of, metric.name, metric.value, metric.rows, at] for metric in found],
    )


def decay_of(con: duckdb.DuckDBPyConnection, prediction: str, version: int) -> float | None:
    """The deciding metric in the test less that on the newest snapshot whose outcome is known; None before any is."""
    row = con.execute(
        "select value_lost from foretable.decay where prediction = ? and version = ? order by as_of desc limit 1",
        [prediction, version],
    ).fetchone()
    return row[0] if row else None
