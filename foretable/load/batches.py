"""What a REST API and a Postgres table have in common: rows that come in batches, and where to go on from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

from foretable.load.errors import LoadError
from foretable.load.landing import Landing, Load, Row, incoming_rows, now

BATCH_ROWS = 20_000


@dataclass(frozen=True)
class Batch:
    """Rows that are new, and the position to store with them, as JSON takes it."""

    rows: Sequence[Row]
    position: Mapping[str, Any]
    byte_count: int
    cursor_from: str | None = None
    cursor_to: str | None = None


class Source(Protocol):
    """A place that rows come from."""

    @property
    def kind(self) -> str:
        """What it is: rest or postgres."""

    @property
    def place(self) -> str:
        """Its name without secrets: the same place is gone on with."""

    def batches(self, position: Mapping[str, Any] | None) -> Iterator[Batch]:
        """What has come after `position`, or everything."""


def load_source(landing: Landing, source: Source, table: str, *, again: bool) -> Iterator[Load]:
    """Load what is new at a place, batch by batch: the rows, their record and the position in one transaction.

    What has been committed stays, whatever happens then, and the next load goes on after it.
    """
    position = None if again else landing.position(source.kind, source.place, table)
    started = now()
    for batch in source.batches(position):
        with landing.transaction(), incoming_rows() as incoming:
            incoming.add(batch.rows)
            incoming.land(landing, table)
            load = Load(
                kind=source.kind,
                place=source.place,
                table=table,
                started_at=started,
                row_count=len(batch.rows),
                byte_count=batch.byte_count,
                sha256=hashlib.sha256("".join(map(digest, batch.rows)).encode()).hexdigest(),
                cursor_from=batch.cursor_from,
                cursor_to=batch.cursor_to,
            )
            if batch.rows:
                landing.record(load)
            landing.set_position(source.kind, source.place, table, batch.position)
        if batch.rows:
            yield load
        started = now()


def digest(row: Row) -> str:
    """What tells a row from another: all its names and values."""
    return hashlib.md5(repr(sorted(row.items())).encode("utf-8", "surrogatepass")).hexdigest()


class Seen:
    """Rows that have been loaded, each as often as it was."""

    def __init__(self, digests: Iterable[str] = ()) -> None:
        self.counts = Counter(digests)

    def take(self, row_digest: str) -> bool:
        """Was it loaded? Each of its copies is taken once."""
        if not self.counts.get(row_digest):
            return False
        self.counts[row_digest] -= 1
        return True

    def left(self) -> list[str]:
        """Those not taken yet."""
        return list(self.counts.elements())


def is_later(value: str, than: str) -> bool:
    """Does a cursor's value come after another? Numbers by their size, all else by its letters.

    >>> is_later("10", "9"), is_later("2024-01-02T00:00:00Z", "2024-01-01T23:59:59Z")
    (True, True)
    """
    number, other = _number(value), _number(than)
    if (number is None) != (other is None):
        raise LoadError(
            f"the cursor holds numbers and other text ('{value}', '{than}'), which have no order; name another"
        )
    return number > other if number is not None and other is not None else value > than


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
