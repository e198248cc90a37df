"""Files and folders that grow by the day: each file is loaded once, in one transaction, whatever its name."""

from __future__ import annotations

import gzip
import hashlib
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

from foretable.load.errors import LoadError
from foretable.load.landing import CHUNK_ROWS, REJECTION, Landing, Load, Row, incoming_rows, literal, now
from foretable.load.xml_rows import read_records
from foretable.project import Refusal
from udfs.log_files import ColumnNames, csv_tables, json_tables

ENDINGS = {
    "parquet": (".parquet",),
    "csv": (".csv", ".tsv", ".csv.gz", ".tsv.gz"),
    "jsonl": (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"),
    "xml": (".xml", ".xml.gz"),
}
CONTRACT = {
    "events": [
        "event_id", "user_id", "session_id", "event_type", "item_id", "occurred_at", "loaded_at", "quantity", "price",
        "duration_seconds", "query", "channel", "device", "campaign_id", "order_id",
    ],
    "users": [
        "user_id", "registered_at", "birth_year", "gender", "city", "region", "occupation", "income_band", "updated_at",
    ],
    "items": [
        "item_id", "title", "description", "category_id", "brand", "price", "image", "listed_at", "updated_at",
    ],
    "reviews": ["review_id", "user_id", "item_id", "rating", "body", "created_at"],
    "campaigns": ["campaign_id", "kind", "starts_at", "ends_at", "discount"],
    "truth": ["user_id", "as_of", "purchased_30d", "churned_30d"],
}  # fmt: skip
"""The tables of the raw contract and their columns; what else a team loads is for a mapping of its own."""

Progress = Callable[[float], None]


@dataclass(frozen=True)
class SourceFile:
    """A file to load: `place` is the folder that was named, `name` its path in there."""

    place: Path
    name: str
    format: str
    table: str

    @property
    def path(self) -> Path:
        return self.place / self.name


def find_files(sources: Sequence[Path], *, table: str | None, form: str | None) -> list[SourceFile]:
    """The files of the sources by name. Without `table` a folder that holds files or folders named as the contract's
    tables fills those, and anything else goes to events. Raises Refusal where there is nothing to load."""
    found = [file for source in sources for file in _files_of(source.absolute(), table, form)]
    unique = {file.path: file for file in found}
    return list(unique.values())


def _files_of(source: Path, table: str | None, form: str | None) -> list[SourceFile]:
    known = ", ".join(ending for endings in ENDINGS.values() for ending in endings if not ending.endswith(".gz"))
    if not source.exists():
        raise Refusal(f"no file or folder '{source}'")
    if not source.is_dir():
        its_format = form or _format_of(source)
        if its_format is None:
            raise Refusal(f"'{source}' ends in none of {known}; say what it is with --format")
        return [SourceFile(source.parent, source.name, its_format, table or _table_of(Path(source.name)) or "events")]
    paths = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    formats = {path: form or _format_of(path) for path in paths if not any(part[0] in "._" for part in path.parts)}
    readable = {path: its_format for path, its_format in formats.items() if its_format}
    if not readable:
        raise Refusal(f"folder '{source}' holds no file to load; expected {known}, or any of them with .gz")
    is_contract = table is None and any(_table_of(path) for path in readable)
    return [
        SourceFile(source, path.as_posix(), its_format, table or _table_of(path) or "events")
        for path, its_format in readable.items()
        if not is_contract or _table_of(path)
    ]


def _format_of(path: Path) -> str | None:
    name = path.name.lower()
    return next((form for form, endings in ENDINGS.items() if name.endswith(endings)), None)


def _table_of(path: Path) -> str | None:
    """The contract's table that the first part of a path is named after."""
    stem = path.parts[0].split(".")[0].lower()
    return stem if stem in CONTRACT else None


@dataclass(frozen=True)
class FileResult:
    """How a file ended: loaded, known (its bytes are loaded already), changed (since it was loaded) or failed."""

    file: SourceFile
    outcome: str
    load: Load | None = None
    text: str = ""


def load_file(
    landing: Landing, file: SourceFile, *, record_tag: str | None, again: bool, progress: Progress
) -> FileResult:
    """Load a file unless its bytes are loaded already. Raises what reading it raises, with nothing loaded."""
    before = file.path.stat()
    last = landing.last_load_of(file.table, str(file.path))
    if last is not None and last[:2] == (before.st_size, before.st_mtime_ns):
        return FileResult(file, "known", text="loaded already")
    load = Load(
        kind=file.format,
        place=str(file.place),
        table=file.table,
        started_at=now(),
        file=file.name,
        byte_count=before.st_size,
        file_modified_ns=before.st_mtime_ns,
        sha256=hash_file(file.path),
    )
    known_as = landing.loaded_file(file.table, load.sha256 or "")
    if known_as is not None:
        same = "loaded already" if known_as == file.name else f"the same bytes were loaded as {known_as}"
        return FileResult(file, "known", text=same)
    if last is not None and not again:
        return FileResult(
            file,
            "changed",
            text=f"it has changed since it was loaded on {last[2]:%Y-%m-%d %H:%M} UTC; its rows would be there twice. "
            "Put new rows into a new file, or load it once more with --again: the build drops copies",
        )
    with landing.transaction():
        rows, rejected = _read_into(landing, file, record_tag, progress)
        after = file.path.stat()
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise LoadError("it changed while it was read, so nothing of it was loaded; load it when it is complete")
        load = replace(load, row_count=rows, rejected_count=rejected)
        landing.record(load)
    return FileResult(file, "loaded", load)


def hash_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_into(landing: Landing, file: SourceFile, record_tag: str | None, progress: Progress) -> tuple[int, int]:
    """Read a file into its table, within the transaction at hand: its rows, and how many of them are rejected."""
    if file.format == "parquet":
        with _plain_path(file.path) as path:
            return landing.append(file.table, f"read_parquet({literal(path)}, hive_partitioning = false)"), 0
    with incoming_rows() as incoming, _unpacked(file.path) as (stream, share_read):
        if file.format == "xml":
            chunk: list[Row] = []
            for row in read_records(stream, record_tag or ""):
                chunk.append(row)
                if len(chunk) == CHUNK_ROWS:
                    incoming.add(chunk)
                    chunk = []
                    progress(share_read())
            incoming.add(chunk)
        else:
            # As the build reads these formats: to the letter, what cannot be read kept as rejected rows.
            names = ColumnNames([*CONTRACT.get(file.table, ()), *REJECTION])
            read = csv_tables if file.format == "csv" else json_tables
            for table in read(stream, names, str(file.path)):
                incoming.add_table(table)
                progress(share_read())
        incoming.land(landing, file.table)
    return incoming.row_count, incoming.rejected_count


@contextmanager
def _unpacked(path: Path) -> Iterator[tuple[BinaryIO, Callable[[], float]]]:
    """The bytes of a file, unpacked where it ends in .gz, and which share of it has been read."""
    size = max(path.stat().st_size, 1)
    with path.open("rb") as lying:
        try:
            if path.name.lower().endswith(".gz"):
                with gzip.open(lying, "rb") as stream:
                    yield cast(BinaryIO, stream), lambda: lying.tell() / size
            else:
                yield lying, lambda: lying.tell() / size
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise LoadError("it is not a whole gzip file; pack it anew") from None


@contextmanager
def _plain_path(path: Path) -> Iterator[str]:
    """A path that DuckDB reads as one file: it takes * ? [ in a name for a pattern."""
    if not re.search(r"[*?\[\]{}]", str(path)):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        ending = "".join(suffix for suffix in path.suffixes[-2:] if re.fullmatch(r"\.\w+", suffix))
        link = Path(folder) / f"file{ending}"
        link.symlink_to(path)
        yield str(link)
