"""What a broken log holds, told by plain Python that shares no code with the reader: the csv grammar letter by letter,
the json module, datetime and float."""

import csv
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.conftest import DBT_PROJECT
from tests.pipeline import EVENT_COLUMNS

KNOWN = (*EVENT_COLUMNS, "rejection_reason", "raw_text")
REQUIRED = ("user_id", "event_type", "occurred_at")
NUMBERS = {"price": 1e6, "quantity": 1e6, "duration_seconds": 1e7}
INSTANTS = ("occurred_at", "loaded_at")
RUN_AT = datetime(2026, 1, 1)
TOLERANCE = timedelta(hours=24)
BLANKS = "".join(chr(code) for code in range(0x3001) if unicodedata.category(chr(code)) == "Zs")
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
NOT_FINITE = re.compile(r"\s*[+-]?(nan|inf|infinity)\s*", re.IGNORECASE)
INSTANT = re.compile(
    r"(\d{4})([-/])(\d{1,2})\2(\d{1,2})"
    r"(?:[ T]+(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d*))?)?( ?(?:[zZ]|UTC|[+-](?:0\d|1[0-5])(?::?[0-5]\d)?))?)?",
    re.ASCII,
)


class UnreadableError(Exception):
    """The file as a whole cannot be read, and the build has to say so."""


@dataclass
class Account:
    """What has to come of a file: rows that can be used, and rows that cannot with their reason."""

    usable: list[tuple[Any, ...]] = field(default_factory=list)
    """Typed contract columns, then the unknown columns in the order of `unknown`."""
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Reason and text: the line as it is, or the cells as sorted JSON."""
    unknown: list[str] = field(default_factory=list)

    @property
    def raw_count(self) -> int:
        return len(self.usable) + self.rejected.total()


def account_of_csv(data: bytes) -> Account:
    _check_bytes(data)
    data = data.removeprefix(b"\xef\xbb\xbf")
    start = len(data) - len(data.lstrip(b"\r\n"))
    if start == len(data):
        raise UnreadableError("empty")
    delimiter = _delimiter(data, start)
    header = _record(data, start, delimiter)
    if header is None:
        raise UnreadableError("the header is no record")
    try:
        names = [value.decode().strip() or f"column_{number}" for number, value in enumerate(header[0], start=1)]
    except UnicodeDecodeError as error:
        raise UnreadableError("the header is no UTF-8") from error
    columns = _columns(names)
    rows: list[dict[str, str | None]] = []
    broken: list[str] = []
    at = header[1]
    while at < len(data):
        if data[at] in b"\r\n":
            at += 1
            continue
        record = _record(data, at, delimiter)
        if record is None:
            line = re.split(rb"[\r\n]", data[at:], maxsplit=1)[0]
            broken.append(line.decode("utf-8", "backslashreplace"))
            at += len(line)
            continue
        values, end, text_end = record
        text = data[at:text_end]
        at = end
        fits = len(values) == len(columns) or (len(values) > len(columns) and not any(values[len(columns) :]))
        try:
            if not fits:
                raise ValueError
            texts = [value.decode() or None for value in values[: len(columns)]]
            rows.append(dict(zip(columns, texts, strict=True)))
        except ValueError:
            broken.append(text.decode("utf-8", "backslashreplace"))
    return _account(columns, rows, [("malformed_line", text) for text in broken])


def account_of_json_lines(data: bytes) -> Account:
    _check_bytes(data)
    rows, broken, nested = [], [], []
    spelled = {name: name for name in KNOWN}
    for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        if not line.strip():
            continue
        shown = re.sub(rb"\r\Z", b"", line).decode("utf-8", "backslashreplace")
        try:
            pairs = json.loads(line.decode(), object_pairs_hook=lambda found: ("object", found), parse_float=Exact,
                               parse_int=Exact, parse_constant=Exact)  # fmt: skip
            if not isinstance(pairs, tuple) or any("\0" in name for name, _ in pairs[1]):
                raise ValueError
            json.dumps(pairs, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            broken.append(shown)
            continue
        row: dict[str, str | None] = {}
        is_nested = is_twice = False
        for name, value in pairs[1]:
            column = spelled.setdefault((name or "column").lower(), name or "column")
            is_twice = is_twice or column in row
            is_nested = is_nested or (isinstance(value, tuple | list) and column in KNOWN)
            row[column] = None if value is None else _json_text(value)
            if is_twice or is_nested:
                break
        if is_twice:
            broken.append(shown)
        elif is_nested:
            nested.append(shown)
        else:
            rows.append(row)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    malformed = [("malformed_line", text) for text in broken]
    return _account(columns, rows, malformed + [("nested_value", text) for text in nested])


def account_of_table(table: pa.Table) -> Account:
    """Of a Parquet file or a relation: values of any type as the text that stands for them."""
    rows, nested = [], []
    columns = _columns(table.column_names, "{name}_1")
    for given in zip(*(column.to_pylist() for column in table.columns), strict=True):
        cells: dict[str, Any] = {}
        reason = None
        for name, value, kind in zip(columns, given, table.schema.types, strict=True):
            if name in EVENT_COLUMNS and value is not None and pa.types.is_nested(kind):
                reason = reason or "nested_value"
            cells[name] = _text_of(value, kind) if name in EVENT_COLUMNS else value
            if isinstance(value, bytes) and name in EVENT_COLUMNS and not _is_utf8(value):
                reason = reason or "malformed_text"
        reason = reason and (cells.get("rejection_reason") or reason)
        (nested if reason else rows).append((reason, cells))
    return _account(columns, [cells for _, cells in rows], [(reason or "", _cells(cells)) for reason, cells in nested])


class Exact(str):
    """A number of JSON as it is written."""


def _json_text(value: Any) -> str:
    if isinstance(value, Exact):
        return str(value)
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    return _nested_text(value)


def _nested_text(value: Any) -> str:
    if isinstance(value, Exact):
        return str(value)
    if isinstance(value, tuple):
        return "{" + ", ".join(f"{json.dumps(k, ensure_ascii=False)}: {_nested_text(v)}" for k, v in value[1]) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_nested_text(inner) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _is_utf8(value: bytes) -> bool:
    return value.decode("utf-8", "ignore").encode() == value


def _text_of(value: Any, kind: pa.DataType) -> str | None:
    """A value of Parquet or of a relation as the text that DuckDB writes for it."""
    texts: dict[type, Callable[[Any], str]] = {
        bool: lambda flag: str(flag).lower(),
        int: str,
        Decimal: lambda amount: format(amount, "f"),
        float: lambda amount: str(pa.scalar(amount, kind).cast(pa.string())) if kind == pa.float32() else repr(amount),
        datetime: _instant_text,
        date: date.isoformat,
        bytes: _bytes_text,
    }
    if value is None or isinstance(value, str):
        return value
    if pa.types.is_nested(kind):
        return json.dumps(dict(value) if pa.types.is_map(kind) else value, separators=(",", ":"))
    return next(text for type, text in texts.items() if isinstance(value, type))(value)


def _instant_text(instant: datetime) -> str:
    if instant.tzinfo is None:
        return instant.isoformat(sep=" ")
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ") + "+00"


def _bytes_text(value: bytes) -> str:
    if _is_utf8(value):
        return value.decode()
    return "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02X}" for byte in value)


def _check_bytes(data: bytes) -> None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableError("UTF-16")
    first = data[:4096].split(b"\n")[0]
    if first.count(b"\0") > len(first) / 3:
        raise UnreadableError("UTF-16")


def _delimiter(data: bytes, start: int) -> bytes:
    counts = dict.fromkeys((b",", b";", b"\t", b"|"), 0)
    is_quoted = False
    for letter in (data[at : at + 1] for at in range(start, len(data))):
        if letter == b'"':
            is_quoted = not is_quoted
        elif not is_quoted and letter in (b"\r", b"\n"):
            break
        elif not is_quoted and letter in counts:
            counts[letter] += 1
    return max(counts, key=lambda mark: counts[mark])


def _record(data: bytes, at: int, delimiter: bytes) -> tuple[list[bytes], int, int] | None:
    """Values, where the next record starts and where this one's text ends; None where a quote is out of place."""
    values = []
    while True:
        found = _quoted(data, at + 1) if data[at : at + 1] == b'"' else _bare(data, at, delimiter[0])
        if found is None:
            return None
        value, at = found
        values.append(value)
        if data[at : at + 1] != delimiter:
            break
        at += 1
    if at >= len(data):
        return values, at, at
    if data[at : at + 2] == b"\r\n":
        return values, at + 2, at
    return (values, at + 1, at) if data[at] in b"\r\n" else None


def _quoted(data: bytes, at: int) -> tuple[bytes, int] | None:
    value = bytearray()
    while at < len(data):
        if data[at : at + 2] == b'""':
            at += 1
        elif data[at : at + 1] == b'"':
            return bytes(value), at + 1
        value.append(data[at])
        at += 1
    return None


def _bare(data: bytes, at: int, mark: int) -> tuple[bytes, int]:
    start = at
    while at < len(data) and data[at] != mark and data[at] not in b"\r\n":
        at += 1
    return data[start:at], at


def _columns(names: list[str], twice: str = "{name}_{number}") -> list[str]:
    columns: list[str] = []
    for number, name in enumerate(names, start=1):
        if "\0" in name:
            raise UnreadableError("NUL in a name")
        column = name.lower() if name.lower() in KNOWN else name
        if column in KNOWN and column in columns:
            raise UnreadableError("a column twice")
        while column.lower() in [other.lower() for other in columns]:
            column = twice.format(name=column, number=number)
        columns.append(column)
    if len(set(columns) - set(KNOWN)) > 1000:
        raise UnreadableError("too many columns")
    return columns


def _account(columns: list[str], rows: list[dict[str, Any]], rejected: list[tuple[str, str]]) -> Account:
    found = {column.lower() for column in columns}
    if any(name not in found for name in REQUIRED):
        raise UnreadableError("a required column is missing")
    if not rows and not rejected:
        raise UnreadableError("no rows")
    account = Account(unknown=[name for name in columns if name not in KNOWN])
    for row in rows:
        typed, reason = _judge(row)
        own = (row.get("rejection_reason") or "").strip(BLANKS) or None
        if own or reason:
            account.rejected[own or reason or "", _cells(row)] += 1
        else:
            account.usable.append((*typed, *(row.get(name) for name in account.unknown)))
    account.rejected.update(rejected)
    return account


def _cells(row: dict[str, Any]) -> str:
    """The text of a rejected row: its own, or its cells."""
    if row.get("raw_text") is not None:
        return str(row["raw_text"])
    return json.dumps({name: row.get(name) for name in EVENT_COLUMNS})


def _event_types() -> dict[str, str]:
    with (DBT_PROJECT / "seeds" / "event_type_names.csv").open() as file:
        return {row["name"]: row["event_type"] for row in csv.DictReader(file)}


EVENT_TYPES = _event_types()


def _judge(row: dict[str, str | None]) -> tuple[list[Any], str | None]:
    """The typed values, and the first reason why the row cannot be used."""
    texts = {name: (row.get(name) or "").strip(BLANKS) or None for name in EVENT_COLUMNS}
    typed: dict[str, Any] = dict(texts)
    typed["event_type"] = EVENT_TYPES.get((texts["event_type"] or "").lower())
    typed |= {name: _number(texts[name]) for name in NUMBERS} | {name: _instant(texts[name]) for name in INSTANTS}
    tests = [
        (texts["user_id"] is None, "missing_user_id"),
        (texts["event_type"] is None, "missing_event_type"),
        (typed["event_type"] is None, "unknown_event_type"),
        (texts["occurred_at"] is None, "missing_occurred_at"),
        (typed["occurred_at"] is None, "malformed_occurred_at"),
        (texts["loaded_at"] is not None and typed["loaded_at"] is None, "malformed_loaded_at"),
    ]
    for name in ("price", "quantity", "duration_seconds"):
        tests.append((texts[name] is not None and typed[name] is None, f"malformed_{name}"))
    for name in ("price", "quantity", "duration_seconds"):
        tests.append((typed[name] is not None and not 0 <= typed[name] <= NUMBERS[name], f"impossible_{name}"))
    occurred_at, loaded_at = typed["occurred_at"], typed["loaded_at"]
    if occurred_at and not any(holds for holds, _ in tests):
        tests.append((loaded_at is not None and loaded_at - RUN_AT > TOLERANCE, "loaded_in_future"))
        tests.append((occurred_at - (loaded_at or RUN_AT) > TOLERANCE, "occurred_in_future"))
    return [typed[name] for name in EVENT_COLUMNS], next((reason for holds, reason in tests if holds), None)


def _number(text: str | None) -> float | None:
    if text is None or not (NUMBER.fullmatch(text) or NOT_FINITE.fullmatch(text)):
        return None
    return float(text)


def _instant(text: str | None) -> datetime | None:
    found = INSTANT.fullmatch(text or "")
    if not found:
        return None
    year, _, month, day, hour, minute, second, fraction, offset = found.groups()
    try:
        start = datetime(int(year), int(month), int(day))
        at = timedelta(hours=int(hour or 0), minutes=int(minute or 0), seconds=int(second or 0))
        if int(minute or 0) > 59 or int(second or 0) > 59 or at > timedelta(hours=24):
            return None
        micros = int((fraction or "").ljust(6, "0")[:6] or 0)
        if at == timedelta(hours=24) and micros:
            return None
        instant = start + at + timedelta(microseconds=micros)
        return instant - _offset(offset)
    except (ValueError, OverflowError):
        return None


def _offset(text: str | None) -> timedelta:
    digits = re.sub(r"\D", "", text or "")
    if not digits:
        return timedelta(0)
    sign = -1 if "-" in (text or "") else 1
    return sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))


def account_of_file(file: Path) -> Account:
    """Of a text file as it lies on disk, unpacked."""
    data = file.read_bytes()
    return account_of_csv(data) if file.suffix == ".csv" else account_of_json_lines(data)
