"""The schema `raw` of a warehouse and the record of what was loaded into it.

Values are never altered: a column that is new is added, and one whose type changes becomes VARCHAR. Rows, the record of
their load and the place to go on from appear in one transaction.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from foretable.load.errors import LoadError

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA = "raw"
CHUNK_ROWS = 20_000
REJECTION = ("rejection_reason", "raw_text")
"""What a row has that could not be read; dbt quarantines it with that reason."""

Row = Mapping[str, str | None]

_TABLES = """
    create schema if not exists raw;
    create schema if not exists foretable;

    create table if not exists foretable.loads (
        load_id varchar not null,
        kind varchar not null,
        place varchar not null,
        contract_table varchar not null,
        file varchar,
        row_count bigint not null,
        rejected_count bigint not null,
        byte_count bigint,
        file_modified_ns bigint,
        sha256 varchar,
        cursor_from varchar,
        cursor_to varchar,
        status varchar not null,
        error varchar,
        started_at timestamp not null,
        ended_at timestamp not null
    );

    create table if not exists foretable.load_positions (
        kind varchar not null,
        place varchar not null,
        contract_table varchar not null,
        position json not null,
        written_at timestamp not null
    )
"""


@dataclass(frozen=True)
class Load:
    """One file or batch: where it came from and what it brought. `status` is loaded or failed."""

    kind: str
    place: str
    table: str
    started_at: datetime
    file: str | None = None
    row_count: int = 0
    rejected_count: int = 0
    byte_count: int | None = None
    file_modified_ns: int | None = None
    sha256: str | None = None
    cursor_from: str | None = None
    cursor_to: str | None = None
    status: str = "loaded"
    error: str | None = None
    load_id: str = field(default_factory=lambda: uuid4().hex)


def now() -> datetime:
    """This instant in UTC, without an offset, as the state tables hold it."""
    return datetime.now(UTC).replace(tzinfo=None)


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL takes it."""
    return "'" + text.replace("'", "''") + "'"


class Landing:
    """A warehouse that is open for loading. It is made where it is not there.

    What was loaded into a table that is not there any more counts as not loaded.
    """

    def __init__(self, warehouse: Path) -> None:
        import duckdb

        self.con = duckdb.connect(str(warehouse))
        try:
            self.con.execute("set TimeZone = 'UTC'")  # an instant that becomes text does so in UTC
            self.con.execute(_TABLES)
        except BaseException:
            self.con.close()
            raise

    def __enter__(self) -> Landing:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.con.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing."""
        self.con.execute("begin")
        try:
            yield
            self.con.execute("commit")
        except BaseException:
            # An error may have ended the transaction already.
            with _ignored():
                self.con.execute("rollback")
            raise

    def append(self, table: str, relation: str) -> int:
        """Append the rows of a relation of SQL to raw.<table>, made where it is not there; how many they were."""
        incoming = self._columns(f"select * from {relation}")
        target = f"{SCHEMA}.{quoted(table)}"
        existing = self._existing(table)
        if existing is None:
            listed = ", ".join(f"{quoted(name)} {kind}" for name, kind in incoming)
            self.con.execute(f"create table {target} ({listed})")
            existing = {name.lower(): (name, kind) for name, kind in incoming}
        chosen = []
        for name, kind in incoming:
            if name.lower() not in existing:
                self.con.execute(f"alter table {target} add column {quoted(name)} {kind}")
            else:
                there, kind_there = existing[name.lower()]
                if kind_there not in {kind, "VARCHAR"}:
                    self.con.execute(f"alter table {target} alter column {quoted(there)} type varchar")
                if kind_there != kind:
                    chosen.append(f"{quoted(name)}::varchar")
                    continue
            chosen.append(quoted(name))
        names = ", ".join(quoted(existing.get(name.lower(), (name, ""))[0]) for name, _ in incoming)
        written = self.con.execute(
            f"insert into {target} ({names}) select {', '.join(chosen)} from {relation}"
        ).fetchone()
        assert written
        return int(written[0])

    def _columns(self, query: str) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in self.con.execute(f"describe {query}").fetchall()]

    def _existing(self, table: str) -> dict[str, tuple[str, str]] | None:
        """Lower-case name to name and type of the columns of raw.<table>; None where there is no such table."""
        found = self.con.execute(
            "select table_type from information_schema.tables "
            "where table_catalog = current_database() and table_schema = ? and lower(table_name) = lower(?)",
            [SCHEMA, table],
        ).fetchone()
        if found is None:
            return None
        if found[0] != "BASE TABLE":
            raise LoadError(
                f"{SCHEMA}.{table} is a view; rows can only be loaded into a table: name another by --table"
            )
        columns = self._columns(f"select * from {SCHEMA}.{quoted(table)}")
        return {name.lower(): (name, kind) for name, kind in columns}

    def record(self, load: Load) -> None:
        """Keep what was loaded, in foretable.loads."""
        row = [
            load.load_id,
            load.kind,
            load.place,
            load.table,
            load.file,
            load.row_count,
            load.rejected_count,
            load.byte_count,
            load.file_modified_ns,
            load.sha256,
            load.cursor_from,
            load.cursor_to,
            load.status,
            load.error,
            load.started_at,
            now(),
        ]
        self.con.execute(f"insert into foretable.loads values ({', '.join('?' * len(row))})", row)

    def loaded_file(self, table: str, sha256: str) -> str | None:
        """Under which name a file with these bytes has been loaded into the table; None: it has not."""
        if self._existing(table) is None:
            return None
        found = self.con.execute(
            "select coalesce(file, place) from foretable.loads "
            "where contract_table = ? and sha256 = ? and status = 'loaded' and file is not null "
            "order by ended_at, load_id limit 1",
            [table, sha256],
        ).fetchone()
        return found[0] if found else None

    def last_load_of(self, table: str, path: str) -> tuple[int, int, datetime] | None:
        """Bytes, time of change (ns) and instant of the last load of the file that lies at `path`."""
        if self._existing(table) is None:
            return None
        return self.con.execute(
            "select byte_count, file_modified_ns, ended_at from foretable.loads "
            "where contract_table = ? and place || '/' || file = ? and status = 'loaded' "
            "order by ended_at desc, load_id limit 1",
            [table, path],
        ).fetchone()

    def position(self, kind: str, place: str, table: str) -> dict[str, Any] | None:
        """Where the last load of this place into this table has come to; None: there was none."""
        if self._existing(table) is None:
            return None
        found = self.con.execute(
            "select position from foretable.load_positions where kind = ? and place = ? and contract_table = ?",
            [kind, place, table],
        ).fetchone()
        return json.loads(found[0]) if found else None

    def set_position(self, kind: str, place: str, table: str, position: Mapping[str, Any]) -> None:
        key = [kind, place, table]
        self.con.execute(
            "delete from foretable.load_positions where kind = ? and place = ? and contract_table = ?", key
        )
        self.con.execute(
            "insert into foretable.load_positions values (?, ?, ?, ?, ?)", [*key, json.dumps(position), now()]
        )


class Incoming:
    """Rows of text on their way into a table: Parquet files in a temporary folder, so that memory holds one chunk.

    (Arrow tables that are registered in one transaction, chunk by chunk, are not all freed before its end.)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.columns: dict[str, str] = {}
        self.parts = 0
        self.row_count = 0
        self.rejected_count = 0

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows, key to text. Keys that differ only in case are columns of their own: the second gets `_2`."""
        import pyarrow as pa

        keys = list(dict.fromkeys(name for row in rows for name in row))
        for key in keys:
            if key not in self.columns:
                self.columns[key] = free_name(key, self.columns.values())
        if keys:
            arrays = [pa.array([row.get(key) for row in rows], pa.string()) for key in keys]
            self.add_table(pa.table(arrays, names=[self.columns[key] for key in keys]))

    def add_table(self, table: pa.Table) -> None:
        """Add a table of text columns. A row that has a rejection_reason and a raw_text counts as rejected."""
        import pyarrow.parquet as pq

        pq.write_table(table, self.folder / f"{self.parts:06}.parquet", compression="zstd")
        self.parts += 1
        self.row_count += table.num_rows
        if set(REJECTION) <= set(table.column_names):
            self.rejected_count += table.num_rows - table.column(REJECTION[1]).null_count

    def land(self, landing: Landing, table: str) -> None:
        """Append all rows to raw.<table>."""
        if self.parts:
            listed = ", ".join(literal(str(self.folder / f"{part:06}.parquet")) for part in range(self.parts))
            landing.append(table, f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)")


@contextmanager
def incoming_rows() -> Iterator[Incoming]:
    """A place for rows to gather; it is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="foretable_load_") as folder:
        yield Incoming(Path(folder))


def free_name(name: str, taken: Iterable[str]) -> str:
    """A column's name that no other column has, in lower case either."""
    name = name.strip().replace("\0", "") or "column"
    used = {other.lower() for other in taken}
    candidate, number = name, 1
    while candidate.lower() in used:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


@contextmanager
def _ignored() -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.Error:
        return
