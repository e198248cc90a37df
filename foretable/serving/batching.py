"""Rows that clients send at the same time are scored together: DuckDB plans a macro for longer than it scores a row."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from foretable.serving.current import CurrentFile
from foretable.serving.scoring import Row
from ibis_features.errors import ForetableError

MOST_ROWS = 32
"""At a time: nobody else is answered meanwhile."""
EXACT = 2**53
"""An integer up to here is the same number as a double."""

_Waiting = tuple[Mapping[str, Any], asyncio.Future[Row]]


class RowBatches:
    """Belongs to one event loop. A row waits until the loop has taken in what other clients have sent by then."""

    def __init__(self, current: CurrentFile) -> None:
        self._current = current
        self._waiting: dict[str, list[_Waiting]] = {}

    async def score(self, name: str, features: Mapping[str, Any]) -> Row:
        """As `ScoringFile.score_row` of the file that is open when the row's turn comes, and raises what it raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Row] = loop.create_future()
        waiting = self._waiting.setdefault(name, [])
        waiting.append((features, answer))
        if len(waiting) == 1:
            loop.call_soon(self._score, name)
        return await answer

    def _score(self, name: str) -> None:
        waiting = self._waiting.pop(name)
        if len(waiting) > MOST_ROWS:
            self._waiting[name] = waiting[MOST_ROWS:]
            asyncio.get_running_loop().call_soon(self._score, name)
        present = [(features, answer) for features, answer in waiting[:MOST_ROWS] if not answer.done()]
        for batch in alike(present):
            self._answer(name, batch)

    def _answer(self, name: str, batch: Sequence[_Waiting]) -> None:
        file = self._current.get()
        try:
            found = file.score_rows(name, [features for features, _ in batch])
        except (ForetableError, duckdb.Error, RuntimeError):  # one of the rows cannot be read: each by itself then
            for features, answer in batch:
                try:
                    answer.set_result(file.score_row(name, features))
                except Exception as error:
                    answer.set_exception(error)
        else:
            for (_, answer), row in zip(batch, found, strict=True):
                answer.set_result(row)


def alike(waiting: Sequence[_Waiting]) -> list[list[_Waiting]]:
    """Batches of rows that DuckDB reads together as it reads them alone: a list has one type, and casts go by it."""
    batches: list[tuple[dict[str, type], list[_Waiting]]] = []
    for features, answer in waiting:
        types = {name: _type(value) for name, value in features.items() if value is not None}
        for seen, batch in batches:
            if object not in types.values() and all(seen.get(name, kind) is kind for name, kind in types.items()):
                seen.update(types)
                batch.append((features, answer))
                break
        else:
            batches.append((types, [(features, answer)]))
    return [batch for _, batch in batches]


def _type(value: Any) -> type:
    """What values of one list have in common; `object` of a value that stays alone."""
    if isinstance(value, bool | str):
        return type(value)
    is_number = isinstance(value, float) or (isinstance(value, int) and abs(value) <= EXACT)
    return float if is_number else object
