"""What the readers of CSV and of JSON lines share: a window over the bytes of a file, the names of its columns, and
tables of text values in which rejected records stand beside the others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import BinaryIO

import pyarrow as pa

from ibis_features import ForetableError

CHUNK_BYTES = 8 << 20
RECORD_BYTES = 16 << 20
"""A quote that does not close within this many bytes never does; a longer line keeps only its beginning."""
COLUMNS_KEPT = 1000
REJECTION, RAW_TEXT = "rejection_reason", "raw_text"
MALFORMED = "malformed_line"
BYTE_ORDER_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
UTF8_MARK = b"\xef\xbb\xbf"


class LogFileError(ForetableError, ValueError):
    """A file cannot be read at all."""


class ColumnNames:
    """How the columns of one table are spelled, whatever case its files and lines use."""

    def __init__(self, contract: Sequence[str]) -> None:
        self._contract = set(contract)
        self._spelled = {name: name for name in contract}
        self._as_written = set(contract)

    def spell(self, name: str, place: str) -> str:
        key = name.lower()
        if key not in self._spelled:
            if len(self._spelled) - len(self._contract) >= COLUMNS_KEPT:
                raise LogFileError(
                    f"{place} has more than {COLUMNS_KEPT} columns that the contract does not know; leave them out, or "
                    "put them into one"
                )
            self._spelled[key] = name
            if "\0" not in name and name:
                self._as_written.add(name)
        return self._spelled[key]

    def has(self, row: Mapping[str, object]) -> bool:
        """Are all these names columns already, spelled as they are?"""
        return row.keys() <= self._as_written

    def is_contract(self, name: str) -> bool:
        return name in self._contract


class LogWindow:
    """A window over a file: `fill` makes it longer, `take` gives its beginning away."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._bytes = b""
        self._at = 0
        self._is_whole = False

    def rest(self) -> bytes:
        self._bytes, self._at = self._bytes[self._at :], 0
        return self._bytes

    def take(self, length: int) -> None:
        self._at += length

    def fill(self) -> bool:
        """Read on; True where the end of the file is reached. Its last line always has a line break."""
        if not self._is_whole:
            more = self._stream.read(CHUNK_BYTES)
            self._is_whole = not more
            self._bytes = self.rest() + more
            if self._is_whole and self._bytes and not self._bytes.endswith((b"\n", b"\r")):
                self._bytes += b"\n"
        return self._is_whole

    def beginning(self, length: int) -> bytes:
        """The first bytes of the window, read on where it is shorter."""
        while len(self.rest()) < length and not self.fill():
            pass
        return self.rest()[:length]

    def skip_line(self) -> int:
        """Leave out everything up to the next line break, wherever it is; the number of bytes left out."""
        skipped = 0
        while True:
            found = re.search(rb"\r\n|\r|\n", self._bytes[self._at :])
            length = found.end() if found else len(self._bytes) - self._at
            skipped += length
            self.take(length)
            if found or self._is_whole:
                return skipped
            self.fill()


def check_encoding(source: LogWindow, place: str) -> None:
    """Leave out a byte order mark of UTF-8; refuse other encodings."""
    beginning = source.beginning(4096)
    if beginning.startswith(UTF8_MARK):
        source.take(len(UTF8_MARK))
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if beginning.startswith(mark):
            raise LogFileError(
                f"{place} is {encoding}, and only UTF-8 is read; convert it: iconv -f {encoding} -t UTF-8 OLD > NEW"
            )
    line = beginning.split(b"\n")[0]
    if line.count(b"\0") * 3 > len(line):
        raise LogFileError(
            f"{place} is no text in UTF-8: its first line is full of NUL bytes, as in UTF-16; convert it"
        )


def cut_line(source: LogWindow) -> str:
    """The beginning of a line that is too long to be kept, and how long it is."""
    beginning = source.rest()[: RECORD_BYTES >> 4]
    return f"{shown(beginning)}… ({source.skip_line()} bytes)"


def shown(line: bytes) -> str:
    """A line as text, bytes that are no UTF-8 as \\xNN."""
    return re.sub(rb"(\r\n|\r|\n)\Z", b"", line).decode("utf-8", "backslashreplace")


def text_table(columns: Mapping[str, Sequence[str | None]]) -> pa.Table:
    """Columns of text from their cells."""
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def with_rejected(table: pa.Table, rejected: Sequence[str]) -> pa.Table:
    """The rows, and one for each text that is no record."""
    if not rejected:
        return table
    texts = text_table({REJECTION: [MALFORMED] * len(rejected), RAW_TEXT: list(rejected)})
    return pa.concat_tables([table, texts], promote_options="default")
