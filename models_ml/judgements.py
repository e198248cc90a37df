"""How good a version is, as rows of the tables of the schema `foretable`: its metrics, and what is drawn of it."""

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import duckdb

from models_ml.judging import Judgement
from models_ml.warm_start import SCORED_BY

PICTURES = ("deciles", "curves", "confusion", "slices", "cost_curve")
"""The tables of what is drawn of a version on the rows that judged it."""


def add_judgement(con: duckdb.DuckDBPyConnection, prediction: str, version: int, judgement: Judgement) -> None:
    """Write what was measured of a version. The caller holds the transaction."""
    con.executemany(
        "insert into foretable.metrics values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            [prediction, version, split, scored_by, m.name, m.value, m.lower, m.upper, m.rows]
            for split, scored_by, m in judgement.metrics
        ],
    )
    for table, pictures in judgement.pictures.items():
        add_rows(con, table, prediction, version, [row for _, row in pictures], split=[name for name, _ in pictures])


def replace_judgement(
    con: duckdb.DuckDBPyConnection, prediction: str, version: int, judgement: Judgement, threshold: Any
) -> None:
    """Let a version have another threshold, and what was measured with it. The caller holds the transaction.

    What it was compared with when it was trained stays.
    """
    key = [prediction, version]
    for table in PICTURES:
        con.execute(f"delete from foretable.{table} where prediction = ? and version = ?", key)
    con.execute(
        "delete from foretable.metrics where prediction = ? and version = ? and not list_contains(?, scored_by)",
        [*key, list(SCORED_BY)],
    )
    add_judgement(con, prediction, version, judgement)
    row = con.execute("select config from foretable.models where prediction = ? and version = ?", key).fetchone()
    assert row is not None
    config = json.dumps({**json.loads(row[0]), "threshold": threshold})
    con.execute(
        "update foretable.models set threshold = ?, config = ? where prediction = ? and version = ?",
        [judgement.threshold, config, *key],
    )


def add_rows(
    con: duckdb.DuckDBPyConnection,
    table: str,
    prediction: str,
    version: int,
    rows: Sequence[Any],
    **more: Sequence[str],
) -> None:
    """Insert dataclasses all at once, a list a column: row by row takes a second. `more` are columns beside theirs."""
    if not rows:
        return
    names = [field.name for field in fields(rows[0])]
    columns = [*more.values(), *([getattr(row, name) for row in rows] for name in names)]
    unnested = "".join(f", unnest(?) as {name}" for name in (*more, *names))
    con.execute(
        f"insert into foretable.{table} by name select ? as prediction, ? as version{unnested}",
        [prediction, version, *columns],
    )
