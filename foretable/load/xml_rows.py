"""XML logs as rows of text, streamed: memory holds one record, however long the log is.

Inside a record an attribute and a child element are columns; what lies deeper has the names on its way joined by `_`
(`<user><id>` is user_id). An attribute of an element around the record comes as <element>_<attribute>. What a record
says more than once is a JSON list of its values in their order. Prefixes of namespaces are left out.

Entities of the file's own are refused, be they bombs or files elsewhere: no log needs them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO
from xml.parsers import expat

from foretable.load.errors import LoadError
from foretable.load.landing import Row

CHUNK_BYTES = 1 << 17
MOST_PENDING_BYTES = 64 << 20
MOST_RECORD_CHARACTERS = 16 << 20
MOST_DEPTH = 200
TAGS_SHOWN = 12


def read_records(stream: BinaryIO, tag: str) -> Iterator[Row]:
    """The rows of every element named `tag`. Raises LoadError where the file is broken, hostile, or has none."""
    reader = _Reader(tag)
    fed = found = 0
    while True:
        chunk = stream.read(CHUNK_BYTES)
        fed += len(chunk)
        try:
            reader.parser.Parse(chunk, not chunk)
        except expat.ExpatError as error:
            raise LoadError(
                f"it is not well-formed XML: {expat.ErrorString(error.code)} in line {error.lineno}; nothing of it was "
                "loaded"
            ) from None
        rows, reader.rows = reader.rows, []
        found += len(rows)
        yield from rows
        if not chunk:
            break
        if fed - reader.parser.CurrentByteIndex > MOST_PENDING_BYTES:
            raise LoadError(f"a single tag or text of it is longer than {MOST_PENDING_BYTES >> 20} MiB")
    if not found:
        raise LoadError(
            f"it holds no element '{tag}'; name the one that is a row by --record-tag: {reader.tags_text()}"
        )


class _Reader:
    """Handlers of expat: no tree is ever made."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.rows: list[Row] = []
        self.around: list[tuple[str, dict[str, str]]] = []
        self.inside: list[_Element] = []
        self.values: dict[str, list[str]] = {}
        self.characters = 0
        self.tags: dict[str, int] = {}
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.specified_attributes = True  # none that a document type would add
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.text
        for handler in ("EntityDeclHandler", "ExternalEntityRefHandler", "SkippedEntityHandler"):
            setattr(self.parser, handler, self.refuse)

    def refuse(self, *_: object) -> int:
        raise LoadError(
            "it declares or uses entities of its own, which can make a small file endless; write it without"
        )

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = _local(name)
        if len(self.tags) < 1000:
            self.tags[local] = self.tags.get(local, 0) + 1
        if len(self.around) + len(self.inside) >= MOST_DEPTH:
            raise LoadError(f"its elements lie more than {MOST_DEPTH} deep")
        kept = {_local(key): value for key, value in attributes.items() if key.split(":")[0] != "xmlns"}
        if not self.inside and self.tag not in {name, local}:
            self.around.append((local, kept))
            return
        if not self.inside:
            for outer, outer_attributes in self.around:
                self.keep({f"{outer}_{key}": value for key, value in outer_attributes.items()})
            self.inside.append(_Element("", local))
            self.keep(kept)
            return
        parent = self.inside[-1]
        parent.is_leaf = False
        path = f"{parent.path}_{local}" if parent.path else local
        self.inside.append(_Element(path, path, has_attributes=bool(kept)))
        self.keep({f"{path}_{key}": value for key, value in kept.items()})

    def text(self, text: str) -> None:
        if self.inside:
            self.inside[-1].texts.append(text)
            self._count(len(text))

    def end(self, name: str) -> None:
        if not self.inside:
            self.around.pop()
            return
        element = self.inside.pop()
        text = "".join(element.texts)
        is_value = bool(text.strip()) or (element.is_leaf and not element.has_attributes and bool(self.inside))
        if is_value:
            self.values.setdefault(element.name, []).append(text)
        if not self.inside:
            self.rows.append({key: _one_text(values) for key, values in self.values.items()})
            self.values, self.characters = {}, 0

    def keep(self, named: dict[str, str]) -> None:
        for key, value in named.items():
            self.values.setdefault(key, []).append(value)
            self._count(len(value))

    def _count(self, characters: int) -> None:
        self.characters += characters
        if self.characters > MOST_RECORD_CHARACTERS:
            raise LoadError(
                f"one '{self.tag}' holds more than {MOST_RECORD_CHARACTERS >> 20} million characters; is it the row?"
            )

    def tags_text(self) -> str:
        listed = sorted(self.tags.items(), key=lambda item: (-item[1], item[0]))[:TAGS_SHOWN]
        return ", ".join(f"{tag} ({count} times)" for tag, count in listed)


class _Element:
    """An element inside a record: the path of its children's names, its column, and its text so far."""

    __slots__ = ("has_attributes", "is_leaf", "name", "path", "texts")

    def __init__(self, path: str, name: str, *, has_attributes: bool = False) -> None:
        self.path, self.name, self.has_attributes = path, name, has_attributes
        self.texts: list[str] = []
        self.is_leaf = True


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _one_text(values: list[str]) -> str:
    return values[0] if len(values) == 1 else json.dumps(values, ensure_ascii=False)
