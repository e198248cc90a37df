"""Raw text files, CSV and JSON lines, read to the letter and handed to DuckDB as Parquet.

DuckDB's own CSV reader loses or splits rows of broken files without a word: docs/decisions/csv-dialect.md. Here every
record of a file comes out once: as a row of text values, or as a row with only rejection_reason and raw_text.
Memory is bounded by the size of a chunk and of a record, not by the file.
"""

from __future__ import annotations

import gzip
import io
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

import duckdb
import pyarrow.parquet as pq

from ibis_features import ForetableError
from udfs.csv_records import csv_tables
from udfs.json_lines import json_tables
from udfs.log_window import RAW_TEXT, REJECTION, ColumnNames, LogFileError

__all__ = ["ColumnNames", "LogFileError", "csv_tables", "json_tables", "land", "register_reader"]


def register_reader(con: duckdb.DuckDBPyConnection) -> None:
    """Create the functions that the macro `raw_table` calls. They belong to the database instance.

    foretable_read_log(files, contract columns): {folder, error}, the folder holding Parquet files of text columns.
    foretable_drop_log(folder): removes it. What is not dropped goes when the process ends.
    """

    folders: dict[str, tempfile.TemporaryDirectory[str]] = {}

    def read(files: list[str], contract: list[str]) -> dict[str, str | None]:
        folder = tempfile.TemporaryDirectory(prefix="foretable_log_")
        try:
            land(files, contract, Path(folder.name))
        except (ForetableError, OSError) as error:
            folder.cleanup()
            return {"folder": None, "error": str(error)}
        folders[folder.name] = folder
        return {"folder": folder.name, "error": None}

    def drop(folder: str) -> bool:
        folders.pop(folder).cleanup()
        return True

    texts = duckdb.list_type(duckdb.sqltype("VARCHAR"))
    answer = duckdb.struct_type({"folder": duckdb.sqltype("VARCHAR"), "error": duckdb.sqltype("VARCHAR")})
    con.create_function("foretable_read_log", read, [texts, texts], answer, side_effects=True)
    con.create_function(
        "foretable_drop_log", drop, [duckdb.sqltype("VARCHAR")], duckdb.sqltype("BOOLEAN"), side_effects=True
    )


def land(files: Sequence[str | Path], contract: Sequence[str], folder: Path) -> None:
    """Write the records of these files as Parquet files of text columns into an empty folder.

    A record that cannot be read has only rejection_reason and raw_text. Raises LogFileError naming the file and what to
    do where a file cannot be read at all.
    """
    names = ColumnNames([*contract, REJECTION, RAW_TEXT])
    part = 0
    for file in map(Path, files):
        read = csv_tables if file.name.endswith((".csv", ".csv.gz")) else json_tables
        with _opened(file) as stream:
            for table in read(stream, names, str(file)):
                pq.write_table(table, folder / f"{part:06}.parquet", compression="none", use_dictionary=False)
                part += 1
    if not part:
        raise LogFileError(f"{files[0]} is empty; expected a JSON object on each line")


def _opened(file: Path) -> BinaryIO:
    """The file, unpacked where it is named .gz."""
    return cast(BinaryIO, io.BufferedReader(_Unpacked(file))) if file.suffix == ".gz" else file.open("rb")


class _Unpacked(io.RawIOBase):
    """A gzip file whose damage is told with its name."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stream = gzip.GzipFile(file, "rb")

    def readable(self) -> bool:
        return True

    def readinto(self, target: object) -> int:
        view = memoryview(cast(bytearray, target))
        try:
            read = self._stream.read(len(view))
        except (OSError, EOFError, zlib.error) as error:
            raise LogFileError(f"{self._file} cannot be unpacked: {error}; write it anew with gzip") from error
        view[: len(read)] = read
        return len(read)

    def close(self) -> None:
        self._stream.close()
        super().close()
