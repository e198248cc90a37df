"""One round: a broken log is built and held against the oracle."""

import json
import random
import tempfile
from collections import Counter
from pathlib import Path

import duckdb

from tests.fuzz import oracle
from tests.fuzz.mutate import Case, make_case
from tests.fuzz.reading import RefusedError, build, usable_rows
from tests.pipeline import EVENT_COLUMNS, Pipeline
from udfs import log_window


class WrongError(AssertionError):
    """The build of a broken log is not what the file holds."""


def check_round(pipeline: Pipeline, seed: str) -> str:
    """Build the log of this seed; return how it ended: 'built' or 'refused'. Raises WrongError."""
    case = make_case(seed)
    chunk = log_window.CHUNK_BYTES
    log_window.CHUNK_BYTES = random.Random(seed).choice(
        [max(5, len(case.data) // 200), max(64, len(case.data) // 50), chunk]
    )
    try:
        return _check(pipeline, case)
    except Exception as error:
        raise WrongError(
            f"{error}\nreplay: python -m tests.fuzz --replay '{seed}'  ({case.format}; {'; '.join(case.done)})"
        ) from error
    finally:
        log_window.CHUNK_BYTES = chunk


def _check(pipeline: Pipeline, case: Case) -> str:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        case.write(data)
        try:
            expected = _expected(case)
        except oracle.UnreadableError as error:
            try:
                build(pipeline, data=data, relation=case.table if case.format == "relation" else None).close()
            except RefusedError as refused:
                if "events" not in str(refused):
                    raise WrongError(f"the error names no file: {refused}") from refused
                return "refused"
            raise WrongError(f"built, though the file cannot be read: {error}") from error
        try:
            con = build(pipeline, data=data, relation=case.table if case.format == "relation" else None)
        except (RefusedError, duckdb.Error) as error:
            raise WrongError(f"refused, though the file holds {expected.raw_count} rows: {error}") from error
        with con:
            _compare(con, expected)
    return "built"


def _expected(case: Case) -> oracle.Account:
    if case.table is not None:
        return oracle.account_of_table(case.table)
    if case.packed is not None and "cut the archive" in case.done:
        raise oracle.UnreadableError("the archive is cut")
    return (
        oracle.account_of_csv(case.data) if case.format.startswith("csv") else oracle.account_of_json_lines(case.data)
    )


def _compare(con: duckdb.DuckDBPyConnection, expected: oracle.Account) -> None:
    counts = con.execute(
        """
        with kept as (
            select row_id from staging.stg_events
            where rejection_reason is null and row_id not in (select row_id from cleaning.int_events__matched)
        )
        select (select count(*) from kept), (select count(*) from duplicates__events),
            (select count(*) from quarantine__events), (select count(distinct row_id) from staging.stg_events),
            (select count(*) from duplicates__events where kept_row_id not in (select row_id from kept))
        """
    ).fetchone()
    assert counts
    kept, duplicate, quarantined, rows, orphans = counts
    if kept + duplicate + quarantined != expected.raw_count or rows != expected.raw_count or orphans:
        raise WrongError(
            f"raw {expected.raw_count} <> kept {kept} + duplicate {duplicate} + quarantined {quarantined}, ids {rows}"
        )
    staged = {row[0] for row in con.execute("describe staging.contract__events").fetchall()}
    unknown = [name if name in staged else name + "_" for name in expected.unknown]
    found = Counter(_plain(row) for row in usable_rows(con, unknown))
    wanted = Counter(map(_plain, expected.usable))
    if found != wanted:
        raise WrongError(f"kept rows differ:\n  found  {_short(found - wanted)}\n  wanted {_short(wanted - found)}")
    rejected = Counter(
        map(_rejection, con.execute("select rejection_reason, raw_text from quarantine__events").fetchall())
    )
    wanted_rejected: Counter[tuple[str, str]] = Counter()
    for row, count in expected.rejected.items():
        wanted_rejected[_rejection(row)] += count
    if rejected != wanted_rejected:
        raise WrongError(
            f"quarantined rows differ:\n  found  {_short(rejected - wanted_rejected)}\n"
            f"  wanted {_short(wanted_rejected - rejected)}"
        )


def _plain(row: tuple) -> tuple:
    """Numbers by their bits, so that 0.0 is not -0.0."""
    return tuple(
        value.hex() if isinstance(value, float) else repr(value) if isinstance(value, dict | list) else value
        for value in row
    )


def _rejection(row: tuple[str, str]) -> tuple[str, str]:
    reason, text = row
    if reason == "malformed_text":
        return reason, ""
    try:
        cells = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
        if reason == "malformed_line" or set(cells) != set(EVENT_COLUMNS):
            return reason, text
    except (ValueError, TypeError, RecursionError):
        return reason, text
    return reason, json.dumps({name: _cell(name, value) for name, value in cells.items()}, sort_keys=True)


def _cell(name: str, value: object) -> object:
    """A cell of a quarantined row; numbers that were written as numbers by their bits."""
    if isinstance(value, bool):
        return str(value).lower()
    if name in oracle.INSTANTS and value is not None:
        return str(value).removesuffix("+00")
    try:
        return float(str(value)).hex() if name in oracle.NUMBERS and value is not None else value
    except ValueError:
        return value


def _short(rows: Counter) -> str:
    return repr(list(rows.items())[:3])[:1500]
