"""CSV to the letter: quotes stand around a whole value and are doubled within it, whatever else a file holds.

A line that starts no record is rejected alone, and reading goes on at the next one. Well-formed records, which is all
that pyarrow gets to see, mean the same to every reader of CSV.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.csv as pa_csv

from udfs.log_window import (
    RECORD_BYTES,
    ColumnNames,
    LogFileError,
    LogWindow,
    check_encoding,
    cut_line,
    shown,
    text_table,
    with_rejected,
)

DELIMITERS = (",", ";", "\t", "|")


def csv_tables(stream: BinaryIO, names: ColumnNames, place: str) -> Iterator[pa.Table]:
    """The records of a CSV file, a table a chunk; the first has no rows where the file has only a header."""
    source = LogWindow(stream)
    header_names, grammar = _read_header(source, place)
    columns = _header_columns(header_names, names, place)
    yield text_table({column: [] for column in columns})
    while True:
        is_whole = source.fill()
        run, rejected = _whole_records(source, grammar, is_whole)
        if run or rejected:
            yield _csv_table(run, rejected, grammar, columns)
        if is_whole and not source.rest():
            return


class Grammar:
    """What a record of CSV is: quotes stand around a whole value and are doubled within it."""

    def __init__(self, delimiter: str) -> None:
        self.delimiter = delimiter
        mark = re.escape(delimiter.encode())
        open_value = rb'"(?:[^"]++|"")*+'
        value = rb"(?:" + open_value + rb'"|[^"\r\n' + mark + rb"][^\r\n" + mark + rb"]*+|)"
        self._value = re.compile(rb"(" + value + rb")(?:" + mark + rb"|\r\n|\r|\n|\Z)")
        record = value + rb"(?:" + mark + value + rb")*+(?:\r\n|\r|\n)"
        self.record = re.compile(record)
        self.records = re.compile(rb"(?:" + record + rb")*+")
        # The beginning of a record of which nothing says yet that it is none.
        self.beginning = re.compile(rb"(?:" + value + mark + rb")*+(?:" + open_value + rb'"?+|' + value + rb")\Z")

    def fields(self, record: bytes) -> list[str]:
        """The values of one well-formed record."""
        values, at = [], 0
        record = record.rstrip(b"\r\n") if b'"' not in record else re.sub(rb"(\r\n|\r|\n)\Z", b"", record)
        while at <= len(record):
            found = self._value.match(record, at)
            assert found
            value = found[1].decode()
            values.append(value[1:-1].replace('""', '"') if value.startswith('"') else value)
            at = found.end() + (found.end() == found.end(1))
        return values


def _read_header(source: LogWindow, place: str) -> tuple[list[str], Grammar]:
    """The values of the first record; its most frequent separator outside quotes is the delimiter."""
    check_encoding(source, place)
    while True:
        is_whole = source.fill()
        source.take(len(cast(re.Match[bytes], re.match(rb"[\r\n]*", source.rest()))[0]))
        line = cast(re.Match[bytes], re.match(rb'(?:"[^"]*+(?:"|\Z)|[^"\r\n])*+', source.rest()))[0]
        bare = re.sub(rb'"[^"]*+(?:"|\Z)', b"", line).decode("utf-8", "replace")
        grammar = Grammar(max(DELIMITERS, key=bare.count))
        found = grammar.record.match(source.rest())
        if found or is_whole or len(source.rest()) >= RECORD_BYTES:
            break
    if not source.rest():
        raise LogFileError(f"{place} is empty; expected a CSV file whose first line names its columns")
    if not found:
        raise LogFileError(
            f"{place}: a quote of the first line is out of place or does not close; it names the columns"
        )
    source.take(found.end())
    try:
        return grammar.fields(found[0]), grammar
    except UnicodeDecodeError as error:
        raise LogFileError(f"{place}: the first line is no UTF-8; convert the file with iconv -t UTF-8") from error


def _header_columns(header: Sequence[str], names: ColumnNames, place: str) -> list[str]:
    columns: list[str] = []
    spelled: dict[str, str] = {}
    for number, text in enumerate(header, start=1):
        name = text.strip() or f"column_{number}"
        if "\0" in name:
            raise LogFileError(f"{place}: the name of column {number} holds a NUL byte; rename it")
        column = names.spell(name, place)
        if column in spelled and names.is_contract(column):
            raise LogFileError(
                f"{place} names the column {column} twice ({spelled[column]}, {name}); rename one of them"
            )
        while column in spelled:
            column = names.spell(f"{name}_{number}", place)
            name = column
        spelled[column] = name
        columns.append(column)
    return columns


def _whole_records(source: LogWindow, grammar: Grammar, is_whole: bool) -> tuple[list[bytes], list[str]]:
    """Take all records that are complete: the well-formed ones, run by run, and the text of each other line."""
    window = source.rest()
    runs, rejected, at = [], [], 0
    while at < len(window):
        end = cast(re.Match[bytes], grammar.records.match(window, at)).end()
        if end > at:
            runs.append(window[at:end])
            at = end
            continue
        is_short = len(window) - at < RECORD_BYTES
        if not is_whole and is_short and grammar.beginning.match(window, at):
            break
        broken = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)").match(window, at)
        if broken:
            rejected.append(shown(broken[0]))
            at = broken.end()
        elif is_short and not is_whole:
            break
        else:
            source.take(at)
            rejected.append(cut_line(source))
            return runs, rejected
    source.take(at)
    return runs, rejected


def _csv_table(runs: list[bytes], rejected: list[str], grammar: Grammar, columns: list[str]) -> pa.Table:
    """Rows of well-formed records, and of those that have more or fewer values than the header or are no UTF-8."""
    content = b"".join(runs)
    try:
        content.decode()
    except UnicodeDecodeError:
        content, undecodable = _decodable(content, grammar)
        rejected = rejected + undecodable
    padded: list[list[str | None]] = []

    def on_other_width(row: pa_csv.InvalidRow) -> str:
        # The text of a row lacks what pyarrow has parsed of it in another encoding, so it is always UTF-8 here.
        values = grammar.fields(row.text.encode())
        if len(values) > len(columns) and not any(values[len(columns) :]):
            padded.append([value or None for value in values[: len(columns)]])
        else:
            rejected.append(re.sub(r"(\r\n|\r|\n)\Z", "", row.text))
        return "skip"

    keys = [str(number) for number in range(len(columns))]
    if not content.strip(b"\r\n"):
        return with_rejected(text_table({column: [] for column in columns}), rejected)
    table = pa_csv.read_csv(
        # An empty line first: pyarrow drops a byte order mark at the beginning, and here it belongs to a value.
        pa.BufferReader(b"\n" + content),
        pa_csv.ReadOptions(column_names=keys, block_size=len(content) + 2, use_threads=False),
        pa_csv.ParseOptions(delimiter=grammar.delimiter, newlines_in_values=True, invalid_row_handler=on_other_width),
        pa_csv.ConvertOptions(
            column_types={key: pa.string() for key in keys}, strings_can_be_null=True, null_values=[""]
        ),
    ).rename_columns(columns)
    if padded:
        extra = {column: list(values) for column, values in zip(columns, zip(*padded, strict=True), strict=True)}
        table = pa.concat_tables([table, text_table(extra)])
    return with_rejected(table, rejected)


def _decodable(content: bytes, grammar: Grammar) -> tuple[bytes, list[str]]:
    """The records that are UTF-8, and the text of the others."""
    kept, rejected = [], []
    for found in grammar.record.finditer(content):
        try:
            found[0].decode()
            kept.append(found[0])
        except UnicodeDecodeError:
            rejected.append(shown(found[0]))
    return b"".join(kept), rejected
