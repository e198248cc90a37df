"""Dirt: what real logs do to clean events. Every kind comes in an exact number, and no row has two kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from foretable.simulate.log import DAY_MS, SPACING_MS, Columns
from foretable.simulate.words import EVENT_TYPES, MALFORMED_TIMES, MISSPELT_TYPES, TYPE_CODE
from foretable.simulate.world import Array

DUPLICATE_SHARES = {"event_id": 0.012, "content": 0.008, "near": 0.010}  # of clean events
QUARANTINE_SHARES = {
    "missing_user_id": 0.004,
    "missing_event_type": 0.003,
    "missing_occurred_at": 0.003,
    "malformed_occurred_at": 0.004,
    "unknown_event_type": 0.005,
    "occurred_in_future": 0.003,
    "impossible_price": 0.004,
}
MISSING_SHARES = {"price": 0.010, "session_id": 0.008, "device": 0.012}
LATE_SHARE = 0.02
IMPOSSIBLE_PRICES = np.array([-19.99, 2_500_000.0, np.nan, np.inf, -0.01, 1e9])

_SECOND, _MINUTE, _HOUR = 1_000, 60_000, 3_600_000


@dataclass(frozen=True)
class Dirt:
    """How many rows of each kind there are."""

    clean: int
    duplicates: dict[str, int]
    quarantine: dict[str, int]
    late: int
    missing: dict[str, int]


def soil(clean: Columns, rng: np.random.Generator) -> tuple[Columns, Dirt]:
    """Add dirty rows to the clean ones; rows come back in the order in which they were loaded.

    New columns: `event` (number of the event id, -1 for NULL), `text` (how a broken occurred_at reads: -1 as it is,
    0 and 1 for NULL and the empty string, then MALFORMED_TIMES), `no_price` (price is NULL: NaN alone is a price).
    """
    count = len(clean["user"])
    events = dict(clean)
    events["event"] = np.arange(count)
    events["text"] = np.full(count, -1)
    events["no_price"] = np.isnan(events["price"])
    events["loaded"] = events["loaded"].copy()
    free = np.ones(count, bool)  # rows without dirt so far
    shuffled = rng.permutation(count)
    priced = ~events["no_price"] & (events["type"] != TYPE_CODE["return"])

    def draw(share: float, eligible: Array | None = None) -> Array:
        """A share of the rows, from those that are free (and eligible); they are free no longer."""
        candidates = shuffled[free[shuffled] if eligible is None else (free & eligible)[shuffled]]
        chosen = candidates[: round(share * count)]
        free[chosen] = False
        return chosen

    late = draw(LATE_SHARE)
    events["loaded"][late] = events["occurred"][late] + rng.integers(2 * _HOUR, 6 * DAY_MS, len(late))
    missing = {}
    for field, column, null in (("price", "no_price", True), ("session_id", "session", -1), ("device", "device", -1)):
        chosen = draw(MISSING_SHARES[field], priced if field == "price" else None)
        events[column] = events[column].copy()
        events[column][chosen] = null
        missing[field] = len(chosen)

    parts = [events]
    redelivered = _rows(events, draw(DUPLICATE_SHARES["event_id"]))
    redelivered["loaded"] += rng.integers(3 * _MINUTE, 110 * _MINUTE, len(redelivered["user"]))
    copied = _rows(events, draw(DUPLICATE_SHARES["content"]))
    copied["event"][:] = -1
    copied["loaded"] += rng.integers(0, 2, len(copied["user"])) * rng.integers(0, _HOUR, len(copied["user"]))
    near = _rows(events, draw(DUPLICATE_SHARES["near"], events["item"] >= 0))
    near["occurred"] += rng.integers(1, 2 * _SECOND + 1, len(near["user"]))
    near["loaded"] = near["occurred"] + rng.integers(5 * _SECOND, 300 * _SECOND, len(near["user"]))
    near["event"] = count + np.arange(len(near["user"]))
    parts += [redelivered, copied, near]

    quarantine = {}
    next_event = count + len(near["user"])
    for reason, rows in _quarantined(events, draw, priced, rng):
        rows["event"] = next_event + np.arange(len(rows["user"]))
        next_event += len(rows["user"])
        quarantine[reason] = len(rows["user"])
        parts.append(rows)

    soiled = {name: np.concatenate([part[name] for part in parts]) for name in events}
    ties = rng.permutation(len(soiled["user"]))
    order = np.lexsort((ties, soiled["loaded"]))
    soiled = {name: column[order] for name, column in soiled.items()}
    soiled["event"] = _numbered_by_arrival(soiled["event"], next_event)
    duplicates = {"event_id": len(redelivered["user"]), "content": len(copied["user"]), "near": len(near["user"])}
    return soiled, Dirt(count, duplicates, quarantine, len(late), missing)


def _rows(events: Columns, chosen: Array) -> Columns:
    return {name: column[chosen] for name, column in events.items()}


def _quarantined(
    events: Columns, draw: Callable[..., Array], priced: Array, rng: np.random.Generator
) -> Iterator[tuple[str, Columns]]:
    """Rows to reject, each modelled on a clean row of its own and broken in one way.

    They come half a spacing after their model, so that none is a near-duplicate of anything.
    """
    for reason, share in QUARANTINE_SHARES.items():
        rows = _rows(events, draw(share, priced if reason == "impossible_price" else None))
        count = len(rows["user"])
        turn = np.arange(count)
        rows["occurred"] += SPACING_MS // 2
        rows["loaded"] = rows["occurred"] + rng.integers(5 * _SECOND, 300 * _SECOND, count)
        match reason:
            case "missing_user_id":
                rows["user"] = np.where(turn % 4, -1, -2)
            case "missing_event_type":
                rows["type"] = np.where(turn % 4, -1, -2)
            case "missing_occurred_at":
                rows["text"] = np.where(turn % 4, 0, 1)
            case "malformed_occurred_at":
                rows["text"] = 2 + turn % len(MALFORMED_TIMES)
            case "unknown_event_type":
                rows["type"] = len(EVENT_TYPES) + turn % len(MISSPELT_TYPES)
            case "occurred_in_future":
                # At night, when there are no sessions that such a row could repeat.
                day = rows["loaded"] // DAY_MS + rng.integers(2, 1_000, count)
                rows["occurred"] = day * DAY_MS + rng.integers(0, 5 * _HOUR, count)
            case "impossible_price":
                rows["price"] = IMPOSSIBLE_PRICES[turn % len(IMPOSSIBLE_PRICES)]
        yield reason, rows


def _numbered_by_arrival(event: Array, count: int) -> Array:
    """New numbers for event ids, in the order in which each first arrives; -1 stays."""
    given = event >= 0
    first = np.full(count, len(event))
    np.minimum.at(first, event[given], np.flatnonzero(given))
    number = np.empty(count, np.int64)
    number[np.argsort(first, kind="stable")] = np.arange(count)
    return np.where(given, number[event], -1)
