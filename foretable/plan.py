"""What a build would do, as the run of `foretable plan` wrote it down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foretable.query import open_reader

if TYPE_CHECKING:
    from foretable.build import Report

PREDICTIONS = "config.materialized:prediction"


def plans_of(report: Report) -> list[dict[str, Any]]:
    """One row a prediction, sorted by name; none where the warehouse was not made."""
    if not report.warehouse.is_file():
        return []
    with open_reader(report.warehouse) as con:
        cursor = con.execute("select * from foretable.plans where run_id = ? order by prediction", [report.run_id])
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
