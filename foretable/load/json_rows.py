"""JSON objects as rows of text, to the letter: a number keeps the digits that it was written with."""

from __future__ import annotations

import json
from typing import Any

from foretable.load.landing import Row


class _Number(str):
    """A number as it was written; float would change 0.12345678901234567890 and 1.10."""

    __slots__ = ()


def parse_exact(text: str | bytes) -> Any:
    """What JSON says, with numbers as their text. Raises ValueError where it is no JSON or says one key twice."""
    try:
        return json.loads(
            text, parse_int=_Number, parse_float=_Number, parse_constant=_Number, object_pairs_hook=_object
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def row_of(record: dict[str, Any]) -> Row:
    """An object's keys to text; null is None, and what is nested stays JSON.

    Half of a surrogate pair (`\\ud800`) is no text: an object that holds one is a rejected row.

    >>> row_of(parse_exact('{"price": 1.10, "tags": ["a", 0.10], "gone": null}'))
    {'price': '1.10', 'tags': '["a", 0.10]', 'gone': None}
    """
    row = {name: _value_text(value) for name, value in record.items()}
    try:
        "".join([*row, *filter(None, row.values())]).encode("utf-8")
    except UnicodeEncodeError:
        return _rejected(_json_text(record).encode("utf-8", "backslashreplace"))
    return row


def _rejected(text: bytes) -> Row:
    return {"rejection_reason": "malformed_line", "raw_text": text.decode("utf-8", "backslashreplace")}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("an object says one key twice")
    return record


def _value_text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return str(value)
    return _json_text(value)


def _json_text(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_json_text(name)}: {_json_text(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
