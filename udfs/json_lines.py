"""JSON lines to the letter: a number keeps the digits it was written with, and a column is named once in a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import BinaryIO, cast

import pyarrow as pa

from udfs.log_window import (
    RAW_TEXT,
    RECORD_BYTES,
    REJECTION,
    ColumnNames,
    LogFileError,
    LogWindow,
    check_encoding,
    cut_line,
    shown,
    text_table,
    with_rejected,
)

NESTED = "nested_value"
Cells = dict[str, str | None]
PLAIN = frozenset((str, type(None)))


class _Number(str):
    """A JSON number as it is written."""


class _Pairs(list[tuple[str, object]]):
    """A JSON object as it is written, a name perhaps twice."""


_SCALARS = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=_Pairs)
_EXACT = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_Number, object_pairs_hook=_Pairs)


def json_tables(stream: BinaryIO, names: ColumnNames, place: str) -> Iterator[pa.Table]:
    """The lines of a file of JSON lines, a table a chunk: no table where all lines are blank."""
    source = LogWindow(stream)
    check_encoding(source, place)
    while True:
        is_whole = source.fill()
        lines, rejected = _whole_lines(source, is_whole)
        rows = []
        for line in lines:
            row = _json_row(line, names, place)
            if row is not None:
                rows.append(row)
            else:
                rejected.append(shown(line))
        if rows or rejected:
            yield with_rejected(text_table(_columns_of(rows)), rejected)
        if is_whole and not source.rest():
            return


def _whole_lines(source: LogWindow, is_whole: bool) -> tuple[list[bytes], list[str]]:
    """Take all complete lines that are not blank, and the text of one that is too long to be kept."""
    window = source.rest()
    end = window.rfind(b"\n") + 1
    if is_whole:
        end = len(window)
    if not end and len(window) >= RECORD_BYTES:
        return [], [cut_line(source)]
    source.take(end)
    return [line for line in window[:end].split(b"\n") if line.strip()], []


def _json_row(line: bytes, names: ColumnNames, place: str) -> Cells | None:
    """The values of a line as text; None where it is no object, or names a column twice."""
    try:
        pairs = _SCALARS.decode(line.decode())
        if not isinstance(pairs, _Pairs):
            return None
        row = dict(pairs)
        if (
            len(row) == len(pairs)
            and names.has(row)
            and PLAIN.issuperset(map(type, row.values()))
            and b"\\u" not in line
        ):
            return cast(Cells, row)
        return _odd_json_row(cast(_Pairs, _EXACT.decode(line.decode())), line, names, place)
    except LogFileError:
        raise
    except (ValueError, RecursionError):
        return None


def _odd_json_row(pairs: _Pairs, line: bytes, names: ColumnNames, place: str) -> Cells | None:
    row: Cells = {}
    for name, value in pairs:
        column = names.spell(name or "column", place)
        if column in row or "\0" in name:
            return None
        if isinstance(value, list) and names.is_contract(column):
            return {REJECTION: NESTED, RAW_TEXT: shown(line)}
        row[column] = None if value is None else str(value) if isinstance(value, str) else _json_text(value)
        if not _is_utf8(row[column] or ""):
            return None
    return row


def _is_utf8(text: str) -> bool:
    """False where half of a surrogate pair stands alone."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _json_text(value: object) -> str:
    """A nested value as JSON, its numbers as they are written."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, _Pairs):
        return "{" + ", ".join(f"{_json_text(name)}: {_json_text(inner)}" for name, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _columns_of(rows: Sequence[Cells]) -> dict[str, list[str | None]]:
    """Cells by column. Where no row has any, raw_text is one: a table without columns would have no rows."""
    names = dict.fromkeys(name for row in rows for name in row) or [RAW_TEXT]
    return {name: [row.get(name) for row in rows] for name in names}
