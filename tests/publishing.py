"""What the tests of `foretable publish` share: a small warehouse with a mart, scores and macros, and its publishing."""

from pathlib import Path
from typing import Any

import duckdb

from foretable.publish.publishing import Publication, publish
from tests.predicting import fixed, predict


def fill(warehouse: Path) -> None:
    """A prediction of trees, a mart over its scores, and a monitoring view over what a publish leaves behind."""
    with duckdb.connect(str(warehouse)) as con:
        con.execute("select setseed(0.5)")
        assert predict(con, fixed(con), promote="always", reasons=3) is None
        con.execute("create table number as select 1 as n")
        con.execute(
            "create view mart__users as select user_id, score, kind, n "
            "from pred__test inner join fixed using (user_id, as_of) cross join number"
        )
        con.execute("create view monitoring__number as from number")


def published(warehouse: Path, **options: Any) -> Publication:
    target = warehouse.with_name("published.duckdb")
    return publish(warehouse, target, state=warehouse.parent / "state", **{"keep": 3, **options})


def rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(file), read_only=True) as con:
        return con.execute(query).fetchall()


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}
