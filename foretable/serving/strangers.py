"""SQL of strangers on a DuckDB file, each in a process of its own.

DuckDB is opened for reading alone, without files, extensions and settings. What it does not bound by itself, such as a
list of a billion numbers in one row, which no interrupt stops, is bounded by the process: its memory by the operating
system, its time by being killed. Nothing that one query leaves behind is there for the next.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import resource
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from multiprocessing.connection import Connection
from pathlib import Path

import duckdb

from foretable.query import json_value, run_query, some_rows
from foretable.sentences import plain_exception
from ibis_features.reader import open_shut

MEBIBYTE = 2**20
OPEN = b"open"
"""What a process says once it has the file open: from then on the query's seconds count."""
_FILES = re.compile(r"file system operations are disabled|Loading external extensions is disabled")


@dataclass(frozen=True)
class Limits:
    """What one query may take: rows of its answer, seconds, MiB of memory, and MiB of the answer as JSON."""

    rows: int = 10_000
    seconds: float = 10.0
    memory_mib: int = 1024
    answer_mib: int = 32


@dataclass(frozen=True)
class Answer:
    """JSON text, and an HTTP status that says whether it is rows or an error."""

    status: HTTPStatus
    body: bytes


def warm_up() -> None:
    """Start the process from which those of the queries are forked, so that the first one need not wait for it."""
    from multiprocessing import forkserver

    _context()
    forkserver.ensure_running()


def ask(path: Path, sql: str, limits: Limits) -> Answer:
    """Run one SELECT on the file as it is now. An answer has `columns`, `types`, `rows` and `has_more`; a refusal has
    `error`, a sentence."""
    context = _context()
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sending, str(path), sql, limits), daemon=True)
    process.start()
    sending.close()
    try:
        message = receiving.recv_bytes()
        if message == OPEN and not receiving.poll(limits.seconds):
            return _refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"the query was stopped after {limits.seconds:g} seconds; ask for less",
            )
        status, _, body = (receiving.recv_bytes() if message == OPEN else message).partition(b" ")
        return Answer(HTTPStatus(int(status)), body)
    except EOFError:
        return _refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"the query needed more than {limits.memory_mib} MiB of memory; ask for less",
        )
    finally:
        receiving.close()
        process.kill()
        process.join()
        process.close()


def _context() -> multiprocessing.context.ForkServerContext:
    """Forks of a process that has DuckDB loaded, and no connection and no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _answer(sending: Connection, path: str, sql: str, limits: Limits) -> None:
    """What the process does; the answer goes into the pipe as `<status> <JSON>`."""
    _bound(limits)
    try:
        with closing(open_shut(path, memory_limit=f"{limits.memory_mib} MiB", threads="1")) as con:
            sending.send_bytes(OPEN)
            answer = _rows(con, sql, limits)
    except (MemoryError, duckdb.OutOfMemoryException):
        return  # the pipe closes without an answer, as where the system ends the process
    except Exception as error:
        answer = _refusal(_status(error), _sentence(error))
    sending.send_bytes(b"%d %b" % (answer.status, answer.body))


def _bound(limits: Limits) -> None:
    """DuckDB's own memory_limit does not count the lists and texts that a query makes; the system's limit does."""
    resource.setrlimit(resource.RLIMIT_DATA, (2 * limits.memory_mib * MEBIBYTE,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (int(limits.seconds) + 2,) * 2)  # where nobody is left to kill it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _rows(con: duckdb.DuckDBPyConnection, sql: str, limits: Limits) -> Answer:
    check_select(con, sql)
    cursor = run_query(con, sql, limits.rows + 1)
    types = [str(column[1]) for column in cursor.description or []]
    names, rows, has_more = some_rows(cursor, limits.rows)
    found = {"columns": names, "types": types, "rows": [json_value(row) for row in rows], "has_more": has_more}
    body = json.dumps(found, ensure_ascii=False).encode(errors="replace")
    if len(body) > limits.answer_mib * MEBIBYTE:
        return _refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"the answer has more than {limits.answer_mib} MiB; ask for fewer rows or columns",
        )
    return Answer(HTTPStatus.OK, body)


def check_select(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raises PermissionError unless `sql` is one statement that only reads."""
    kinds = [statement.type for statement in con.extract_statements(sql)]
    if len(kinds) != 1:
        raise PermissionError(f"expected one SELECT, found {len(kinds)} statements; send them one by one")
    if kinds[0] != duckdb.StatementType.SELECT:
        raise PermissionError(
            f"{kinds[0].name} is refused: the file is read-only here; ask with SELECT, FROM, VALUES, DESCRIBE, SHOW or "
            "SUMMARIZE"
        )


def _status(error: Exception) -> HTTPStatus:
    if isinstance(error, PermissionError | duckdb.PermissionException):
        return HTTPStatus.FORBIDDEN
    if isinstance(error, duckdb.IOException):
        return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.UNPROCESSABLE_ENTITY


def _sentence(error: Exception) -> str:
    if _FILES.search(str(error)):
        return "files and extensions are refused here; ask the tables that `show all tables` lists"
    return plain_exception(error)


def _refusal(status: HTTPStatus, sentence: str) -> Answer:
    return Answer(status, json.dumps({"error": sentence}, ensure_ascii=False).encode(errors="replace"))
