"""Transactions on a connection that somebody else may hold one open on."""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """The caller's transaction if one is open, else one of our own. `begin` inside another would abort it."""
    ids = [con.execute("select txid_current()").fetchone() for _ in range(2)]
    if ids[0] == ids[1]:
        yield
        return
    con.begin()
    try:
        yield
    except BaseException:
        con.rollback()
        raise
    con.commit()


@contextmanager
def outside_transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit what dbt has begun, and begin anew at the end: training must not hold a transaction open for minutes."""
    try:
        con.execute("commit")
        was_open = True
    except duckdb.TransactionException:
        was_open = False
    try:
        yield
    finally:
        if was_open:
            con.execute("begin transaction")
