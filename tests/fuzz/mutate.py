"""Valid logs, and what breaks them."""

import csv
import gzip
import io
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import DBT_PROJECT
from tests.fuzz.values import INSTANTS, JSON_VALUES, NAMES, NUMBERS, TEXTS
from tests.pipeline import EVENT_COLUMNS

Row = dict[str, Any]
UNKNOWN = "colour"
STAGING = (DBT_PROJECT / "models" / "staging" / "stg_events.sql").read_text()
INTERNAL_NAMES = sorted(
    {
        "raw_price",
        "raw_user_id",
        "raw_raw_text",
        *re.findall(r"\bas ([a-z_]+[a-z])\b", STAGING),
        *re.findall(r"^(?:with )?([a-z_]+) as\b", STAGING, re.MULTILINE),
    }
    - {*EVENT_COLUMNS, "rejection_reason", "raw_text"}
)
FORMATS = ("csv", "csv.gz", "jsonl", "parquet", "relation")


@dataclass(frozen=True)
class Case:
    """A broken log: the bytes of a text file before packing, or a table; and what was done to it."""

    format: str
    done: tuple[str, ...]
    data: bytes = b""
    table: pa.Table | None = None
    packed: bytes | None = None

    def write(self, folder: Path) -> None:
        if self.format == "parquet":
            assert self.table is not None
            is_int96 = "int96" in self.done
            pq.write_table(self.table, folder / "events.parquet", use_deprecated_int96_timestamps=is_int96)
        elif self.format != "relation":
            packed = self.packed if self.packed is not None else self.data
            (folder / f"events.{self.format}").write_bytes(packed)


def make_case(seed: str) -> Case:
    """The same log for the same seed."""
    rng = random.Random(seed)
    format = rng.choice(FORMATS)
    rows = [_row(rng, number) for number in range(rng.randint(1, 9))]
    rows += [dict(rng.choice(rows)) for _ in range(rng.choice([0, 0, 1, 4]))]
    done: list[str] = []
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        done.append(_break_cell(rng, rows))
    columns = [*EVENT_COLUMNS, UNKNOWN]
    if format in ("parquet", "relation"):
        table = _table(rng, rows, columns, done, is_relation=format == "relation")
        return Case(format, tuple(done), table=table)
    if rng.random() < 0.3:
        columns = _rename(rng, columns, done)
    data = _csv(rng, rows, columns) if format.startswith("csv") else _json_lines(rng, rows, columns, done)
    for _ in range(rng.choice([0, 1, 1, 2, 3, 5])):
        mutation = rng.choice(BYTE_MUTATIONS)
        done.append(mutation.__name__)
        data = mutation(rng, data)
    packed = None
    if format == "csv.gz":
        packed = gzip.compress(data, mtime=0)
        if rng.random() < 0.05:
            done.append("cut the archive")
            packed = packed[: rng.randrange(len(packed))]
    return Case(format, tuple(done), data, packed=packed)


def _row(rng: random.Random, number: int) -> Row:
    at = datetime(2025, 1, 1) + timedelta(minutes=rng.randrange(400_000))
    row = {
        "event_id": f"e{number}",
        "user_id": f"u{rng.randrange(4)}",
        "session_id": f"s{rng.randrange(9)}",
        "event_type": rng.choice(["view", "Purchase", "add_to_cart", "search"]),
        "item_id": f"i{rng.randrange(9)}",
        "occurred_at": at.isoformat(sep=" "),
        "loaded_at": (at + timedelta(minutes=5)).isoformat(),
        "price": "9.50",
        "quantity": "2",
        "duration_seconds": "30",
        "query": rng.choice(["red, shoes", 'the "best"', "über"]),
        "channel": "web",
        "device": "phone",
        "campaign_id": "c1",
        "order_id": f"o{number}",
        UNKNOWN: "red",
    }
    for name in rng.sample(sorted(row), rng.randrange(4)):
        if name not in ("user_id", "event_type", "occurred_at"):
            row[name] = None
    return row


def _break_cell(rng: random.Random, rows: list[Row]) -> str:
    column = rng.choice([*EVENT_COLUMNS, UNKNOWN, "price", "occurred_at", "loaded_at"])
    if column in ("price", "quantity", "duration_seconds"):
        value = rng.choice([*NUMBERS, *TEXTS])
    elif column in ("occurred_at", "loaded_at"):
        value = rng.choice([*INSTANTS, *TEXTS])
    else:
        value = rng.choice([*TEXTS, *NUMBERS])
    rng.choice(rows)[column] = value
    if column == "loaded_at" and rng.random() < 0.5:
        rng.choice(rows)["occurred_at"] = value
    return f"{column} = {value[:40]!r}"


def _rename(rng: random.Random, columns: Sequence[str], done: list[str]) -> list[str]:
    renamed = list(columns)
    name = rng.choice([*NAMES, *INTERNAL_NAMES])
    done.append(f"column {name[:20]!r}")
    if rng.random() < 0.7:
        renamed[-1] = name
    else:
        renamed[rng.randrange(len(renamed))] = name
    return renamed


def _csv(rng: random.Random, rows: list[Row], columns: Sequence[str]) -> bytes:
    text = io.StringIO()
    ending = rng.choice(["\n", "\n", "\r\n", "\r"])
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    writer = csv.writer(text, delimiter=rng.choice(",,;\t|"), lineterminator=ending, quoting=quoting)
    writer.writerows([columns, *map(_values, rows)])
    return text.getvalue().encode("utf-8", "surrogatepass")


def _values(row: Row) -> list[Any]:
    return [row.get(name) for name in (*EVENT_COLUMNS, UNKNOWN)]


def _json_lines(rng: random.Random, rows: list[Row], columns: Sequence[str], done: list[str]) -> bytes:
    lines = []
    for row in rows:
        pairs = [
            (name, json.dumps(value, ensure_ascii=False)) for name, value in zip(columns, _values(row), strict=True)
        ]
        if rng.random() < 0.3:
            value = rng.choice(JSON_VALUES)
            place = rng.randrange(len(pairs))
            pairs[place] = (pairs[place][0], value)
            done.append(f"{pairs[place][0]!r}: {value[:30]}")
        if rng.random() < 0.1:
            pairs.append(rng.choice(pairs))
            done.append("a name twice")
        if rng.random() < 0.2:
            pairs = rng.sample(pairs, rng.randrange(len(pairs) + 1))
            done.append("names left out")
        lines.append("{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in pairs) + "}")
    return (rng.choice(["\n", "\r\n"]).join(lines) + "\n").encode()


def _somewhere(rng: random.Random, data: bytes, inserted: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + inserted + data[at:]


def insert_bad_utf8(rng: random.Random, data: bytes) -> bytes:
    return _somewhere(rng, data, rng.choice([b"\xff", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xc0\x80", b"\x80" * 9]))


def insert_control(rng: random.Random, data: bytes) -> bytes:
    return _somewhere(rng, data, rng.choice([b"\0", b"\x1f", b"\x1a", b"\x1e", b"\x0b", b"\x0c", b"\x7f"]))


def insert_line_break(rng: random.Random, data: bytes) -> bytes:
    return _somewhere(rng, data, rng.choice([b"\n", b"\r\n", b"\r", b"\n\n\n", b"\r\r\n", b"   \n"]))


def insert_quote(rng: random.Random, data: bytes) -> bytes:
    return _somewhere(rng, data, rng.choice([b'"', b'""', b"'", b'\\"', b',"', b'",']))


def insert_separator(rng: random.Random, data: bytes) -> bytes:
    return _somewhere(rng, data, rng.choice([b",", b";", b"\t", b"|", b",,,,", b":", b"}", b"{", b"]"]))


def open_quote(rng: random.Random, data: bytes) -> bytes:
    places = [found.end() for found in re.finditer(rb"[,;\t|\n]", data)] or [0]
    at = rng.choice(places)
    return data[:at] + b'"' + data[at:]


def flip_byte(rng: random.Random, data: bytes) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def delete_slice(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice([1, 1, 2, 9, 60]) :]


def repeat_slice(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return _somewhere(rng, data, data[at : at + rng.choice([1, 20, 300])])


def cut_end(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def drop_last_break(rng: random.Random, data: bytes) -> bytes:
    return data.rstrip(b"\r\n")


def repeat_header(rng: random.Random, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join([*lines, *lines[:1]]) if lines else data


def repeat_lines(rng: random.Random, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join([*lines, *(rng.choice(lines) for _ in range(20))]) if lines else data


def mix_line_endings(rng: random.Random, data: bytes) -> bytes:
    return b"".join(
        line.rstrip(b"\r\n") + rng.choice([b"\n", b"\r\n", b"\r"]) for line in data.splitlines(keepends=True)
    )


def trail_separators(rng: random.Random, data: bytes) -> bytes:
    return re.sub(rb"(\r?\n)", rng.choice([b",", b";", b",,", b"\t"]) + rb"\1", data)


def other_separator(rng: random.Random, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    if lines:
        at = rng.randrange(len(lines))
        lines[at] = lines[at].replace(b",", b";")
    return b"".join(lines)


def add_mark(rng: random.Random, data: bytes) -> bytes:
    return b"\xef\xbb\xbf" + data


def to_utf16(rng: random.Random, data: bytes) -> bytes:
    return data.decode("utf-8", "replace").encode(rng.choice(["utf-16", "utf-16-le", "utf-16-be"]))


def to_latin1(rng: random.Random, data: bytes) -> bytes:
    return data.decode("utf-8", "replace").encode("latin-1", "replace")


def only_header(rng: random.Random, data: bytes) -> bytes:
    return b"".join(data.splitlines(keepends=True)[:1])


def nothing(rng: random.Random, data: bytes) -> bytes:
    return rng.choice([b"", b"\n", b"\n\r\n", b" ", b"\0", b"\xef\xbb\xbf", b'"', b","])


def long_line(rng: random.Random, data: bytes) -> bytes:
    return _somewhere(rng, data, rng.choice([b"x", b"x,", b'""', b"\n,"]) * rng.choice([1_000, 50_000]))


COMMON: list[Callable[[random.Random, bytes], bytes]] = [
    insert_bad_utf8, insert_control, insert_line_break, insert_quote, insert_separator, open_quote, flip_byte,
    delete_slice, repeat_slice, repeat_header, repeat_lines, mix_line_endings, trail_separators, other_separator,
    drop_last_break,
]  # fmt: skip
RARE = [cut_end, add_mark, to_utf16, to_latin1, only_header, nothing, long_line]
BYTE_MUTATIONS = COMMON * 3 + RARE


def _table(rng: random.Random, rows: list[Row], columns: list[str], done: list[str], *, is_relation: bool) -> pa.Table:
    """Strings, with some columns as another type."""
    cells = {name: [row.get(name) for row in rows] for name in columns}
    arrays = {name: pa.array(values, pa.string()) for name, values in cells.items()}
    for _ in range(rng.choice([0, 1, 2, 3])):
        kind = rng.choice(list(TYPED))
        column = rng.choice(TYPED[kind])
        done.append(f"{column} as {kind}")
        arrays[column] = _typed(rng, kind, cells[column])
        if kind == "int96":
            done.append("int96")
    if rng.random() < 0.2:
        name = rng.choice([name for name in (*NAMES, *INTERNAL_NAMES) if name.strip() and "\0" not in name])
        done.append(f"column {name[:20]!r}")
        if not is_relation or name.lower() not in {column.lower() for column in arrays}:
            table = pa.table(list(arrays.values()), names=list(arrays))
            return table.append_column(name, pa.array(["x"] * len(rows)))
    return pa.table(arrays)


AMOUNTS = ["price", "quantity", "duration_seconds"]
TIMES = ["occurred_at", "loaded_at"]
IDS = ["user_id", "item_id", "event_id", UNKNOWN]
TYPED: dict[str, list[str]] = {
    "int64": [*AMOUNTS, *IDS], "uint64": [*AMOUNTS, *IDS], "double": AMOUNTS, "float": AMOUNTS, "decimal": AMOUNTS,
    "bool": AMOUNTS, "timestamp": TIMES, "timestamptz": TIMES, "seconds": TIMES, "int96": TIMES, "date": TIMES,
    "dictionary": [*IDS, "event_type"], "null": [*AMOUNTS, *IDS, *TIMES], "struct": [*AMOUNTS, *IDS, *TIMES],
    "list": [*AMOUNTS, *IDS], "map": AMOUNTS, "binary": [*IDS, "event_type", "query"], "large_string": IDS,
}  # fmt: skip


def _typed(rng: random.Random, kind: str, values: list[Any]) -> pa.Array:
    count = len(values)

    def some(make: Callable[[], Any], type: pa.DataType) -> pa.Array:
        return pa.array([None if rng.random() < 0.1 else make() for _ in range(count)], type)

    moments = [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59), datetime(2025, 6, 1, 12), datetime(1970, 1, 1)]
    recent = [datetime(2025, 6, 1, 12), datetime(1970, 1, 1), datetime(2200, 1, 1)]
    offset = timezone(timedelta(hours=rng.choice([0, 2, -7])))
    return {
        "int64": lambda: some(lambda: rng.choice([1, 0, -5, 2**63 - 1]), pa.int64()),
        "uint64": lambda: some(lambda: rng.choice([1, 2**64 - 1]), pa.uint64()),
        "double": lambda: some(
            lambda: rng.choice([0.1, 1e308, float("nan"), float("inf"), -0.0, 5e-324, 1 / 3]), pa.float64()
        ),
        "float": lambda: some(lambda: rng.choice([0.5, 2.25, float("nan"), float("-inf")]), pa.float32()),
        "decimal": lambda: some(
            lambda: Decimal(rng.choice(["12.50", "0.01", "-3.00", "99999999.99"])), pa.decimal128(18, 2)
        ),
        "bool": lambda: some(lambda: rng.random() < 0.5, pa.bool_()),
        "timestamp": lambda: some(lambda: rng.choice(moments), pa.timestamp("us")),
        "timestamptz": lambda: some(lambda: rng.choice(recent).replace(tzinfo=offset), pa.timestamp("us", "UTC")),
        "seconds": lambda: some(lambda: rng.choice(moments), pa.timestamp("s")),
        "int96": lambda: some(lambda: rng.choice(recent), pa.timestamp("ns")),
        "date": lambda: some(lambda: rng.choice([date(2025, 1, 1), date(1, 1, 1), date(9999, 12, 31)]), pa.date32()),
        "dictionary": lambda: pa.array(values, pa.string()).dictionary_encode(),
        "null": lambda: pa.nulls(count),
        "struct": lambda: some(
            lambda: {"a": 1, "user_id": "x"}, pa.struct([("a", pa.int64()), ("user_id", pa.string())])
        ),
        "list": lambda: some(lambda: [1, 2], pa.list_(pa.int64())),
        "map": lambda: some(lambda: [("k", 1)], pa.map_(pa.string(), pa.int64())),
        "binary": lambda: pa.array(
            [b"\xff\xfe" if rng.random() < 0.2 else None if value is None else str(value).encode() for value in values],
            pa.binary(),
        ),
        "large_string": lambda: pa.array(values, pa.large_string()),
    }[kind]()
