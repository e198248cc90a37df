"""A Postgres table, through psycopg: streamed in the order of a cursor, every value as the text that Postgres prints.

The cursor is a column that only grows (an id, an instant of change). A load takes the rows from its last value on and
leaves out those it had of that value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from foretable.load.batches import BATCH_ROWS, Batch, Seen, digest
from foretable.load.credentials import Credentials
from foretable.load.errors import LoadError
from foretable.load.landing import Row

if TYPE_CHECKING:
    import psycopg

_AS_PRINTED = (
    "set timezone = 'UTC'",
    "set datestyle = 'ISO, YMD'",
    "set intervalstyle = 'postgres'",
    "set extra_float_digits = 3",
    "set bytea_output = 'hex'",
)
_BOOLEAN_OID = 16
CONNECT_SECONDS = 10


@dataclass
class PostgresSource:
    """A table or view (`schema.table` or `table`) behind a connection string, which may hold ${NAME}."""

    connection: str
    credentials: Credentials
    table: str
    cursor: str
    since: str | None = None
    batch_rows: int = BATCH_ROWS
    kind: str = "postgres"
    con: psycopg.Connection = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.con = self._connect()

    def close(self) -> None:
        self.con.close()

    @property
    def place(self) -> str:
        info = self.con.info
        return f"postgresql://{info.host}:{info.port}/{info.dbname}/{self.table}"

    def _connect(self) -> psycopg.Connection:
        try:
            import psycopg
        except ImportError:
            raise LoadError("loading from Postgres needs psycopg: pip install 'foretable[load]'") from None
        text, timeout = read_address(self.connection, self.credentials)
        try:
            con = psycopg.connect(text, connect_timeout=timeout)
            con.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            con.read_only = True
        except psycopg.Error as error:
            raise LoadError(f"Postgres: {self._said(error)}") from None
        return con

    def _said(self, error: Exception) -> str:
        return self.credentials.redact(" ".join(str(error).split("\n")[0].split())) or type(error).__name__

    def batches(self, position: Mapping[str, Any] | None) -> Iterator[Batch]:
        """The rows from the last value of the cursor on that were not loaded, in its order."""
        import psycopg

        if position is not None and position["cursor"] != self.cursor:
            raise LoadError(
                f"{self.place} was loaded by --cursor {position['cursor']}; go on with it, or load it from its start "
                "with --again"
            )
        try:
            yield from self._batches(position)
        except psycopg.Error as error:
            raise LoadError(f"Postgres, {self.place}: {self._said(error)}") from None
        except UnicodeDecodeError:
            raise LoadError(f"{self.place} holds text that is not in the encoding that its database names") from None

    def _batches(self, position: Mapping[str, Any] | None) -> Iterator[Batch]:
        from psycopg import sql

        with self.con.transaction():
            for setting in _AS_PRINTED:
                self.con.execute(setting)
            columns = self._checked_columns()
            names = [column.name for column in columns]
            top = since = position["top"] if position else self.since
            seen = Seen(position["top_seen"] if position else ())
            top_seen = seen.left()
            order = sql.Identifier(self.cursor)
            query = sql.SQL("select * from {} {} order by {}").format(
                self._identifier, sql.SQL("where {} >= %s").format(order) if since is not None else sql.SQL(""), order
            )
            with self.con.cursor(name="foretable_load") as cursor:
                _read_as_printed(cursor, columns)
                cursor.execute(query, [since] if since is not None else None)
                while found := cursor.fetchmany(self.batch_rows):
                    rows, cursor_from = [], top
                    for values in found:
                        row: Row = dict(zip(names, values, strict=True))
                        row_digest = digest(row)
                        if seen.take(row_digest):
                            continue
                        rows.append(row)
                        if row[self.cursor] != top:
                            top, top_seen = row[self.cursor], []
                        top_seen.append(row_digest)
                    if rows:
                        byte_count = sum(len(value.encode()) for row in rows for value in row.values() if value)
                        reached = {"cursor": self.cursor, "top": top, "top_seen": top_seen}
                        yield Batch(rows, reached, byte_count, cursor_from, top)

    @property
    def _identifier(self) -> Any:
        from psycopg import sql

        return sql.Identifier(*self.table.split("."))

    def _checked_columns(self) -> list[Any]:
        from psycopg import sql

        columns = self.con.execute(sql.SQL("select * from {} limit 0").format(self._identifier)).description or []
        names = [column.name for column in columns]
        if self.cursor not in names:
            raise LoadError(f"{self.place} has no column '{self.cursor}' to be the cursor; it has: {', '.join(names)}")
        missing = sql.SQL("select 1 from {} where {} is null limit 1").format(
            self._identifier, sql.Identifier(self.cursor)
        )
        if self.con.execute(missing).fetchone():
            raise LoadError(
                f"{self.place} has rows without a value in '{self.cursor}', which would never be loaded; name another "
                "cursor, or make a view that fills it"
            )
        return columns


def read_address(address: str, credentials: Credentials) -> tuple[str, int]:
    """The address with every ${NAME} as the environment has it, and how many seconds a connection may take to open.

    Its secrets are hidden from now on. Raises LoadError where it cannot be read.
    """
    import psycopg

    is_whole = re.fullmatch(r"\$\{\w+\}", address.strip()) is not None
    text = credentials.expand(address, in_address=not is_whole)
    try:
        # A password with a bare @ or / would be read as a part of the host, and shown as that.
        if "@" in text.replace(urlsplit(text).netloc, "") or urlsplit(text).netloc.count("@") > 1:
            raise ValueError
        known = psycopg.conninfo.conninfo_to_dict(text)
    except (psycopg.Error, ValueError):
        raise LoadError(
            "the connection string cannot be read; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with "
            "what is no letter or digit in a password as %XX"
        ) from None
    for name in ("password", "sslpassword"):
        credentials.hide(str(known.get(name) or ""))
    credentials.hide(urlsplit(text).password or "")
    return text, int(known.get("connect_timeout") or CONNECT_SECONDS)


def _read_as_printed(cursor: Any, columns: list[Any]) -> None:
    """Values as Postgres prints them: a number keeps its digits, and infinity or a year before Christ is no error."""
    from psycopg.adapt import Loader
    from psycopg.types.string import TextLoader

    class BooleanText(Loader):
        def load(self, data: Any) -> str:
            return "true" if bytes(data) == b"t" else "false"

    for column in columns:
        loader = BooleanText if column.type_code == _BOOLEAN_OID else TextLoader
        cursor.adapters.register_loader(column.type_code, loader)
