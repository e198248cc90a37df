"""Which columns tell of a person, by the dbt project, and what becomes of them in a published file.

A column is personal where its own model says so (`meta: {personal: true}`, or the tag `personal`), else where the
nearest model or source above says so of a column of the same name. `meta: {personal: false}` takes it back from there
on.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foretable.publish import replacing
from foretable.publish.errors import PublishError
from ibis_features.catalog import Manifest, relation_name
from udfs.quoting import identifier

SALT = "foretable_salt"
"""The variable of DuckDB that holds the secret of the hashes: no text of SQL, which errors quote, has it."""


@dataclass(frozen=True)
class Personal:
    """The project's word on columns, and what to do with those that are personal: drop, hash or keep.

    keys: entities and items of predictions; no key is dropped, since nothing could be joined or looked up without it:
    one that is personal is hashed.
    """

    mode: str
    manifest: Manifest | None
    keys: frozenset[str]

    def check_known(self) -> None:
        """Raises PublishError where the build has not recorded what is personal, as those of older releases."""
        nodes = self.manifest["nodes"].values() if self.manifest else ()
        models = [node for node in nodes if node["resource_type"] == "model"]
        if not models or any("personal" not in node for node in models):
            raise PublishError(
                "the last build of this warehouse has not recorded which columns are personal; build it again, or "
                "publish all columns with --personal keep"
            )

    def columns_of(self, model: str) -> frozenset[str]:
        """The personal columns of a dbt model, folded; none where they are kept or the model is unknown."""
        if self.mode == "keep" or self.manifest is None:
            return frozenset()
        nodes = {**self.manifest.get("sources", {}), **self.manifest["nodes"]}
        level = [key for key, node in self.manifest["nodes"].items() if relation_name(node) == model]
        said: dict[str, bool] = {}
        seen: set[str] = set()
        while level:
            seen |= set(level)
            nearest: dict[str, bool] = {}
            for key in level:
                for column, is_personal in _said(nodes[key]).items():
                    nearest[column] = nearest.get(column, False) or is_personal
            said = {**nearest, **said}
            above = [one for key in level for one in (nodes[key].get("depends_on") or {}).get("nodes", [])]
            level = [one for one in dict.fromkeys(above) if one in nodes and one not in seen]
        return frozenset(column for column, is_personal in said.items() if is_personal)

    def expression(self, column: str, personal: frozenset[str], features: frozenset[str] = frozenset()) -> str | None:
        """The column as SQL; None where it is left out.

        features: those that a scorer reads. A hash of one would be scored as another value, so that it is left out.
        """
        name = identifier(column)
        if column.casefold() not in personal:
            return name
        is_key = column.casefold() in self.keys
        if is_key or (self.mode == "hash" and column.casefold() not in features):
            return f"sha256(getvariable('{SALT}') || {name}::varchar) as {name}"
        return None


def read_salt(folder: Path) -> str:
    """The secret of the hashes, made at its first use: the same value then has the same hash in every build."""
    file = folder / "publish.salt"
    folder.mkdir(parents=True, exist_ok=True)
    with replacing.only_one(folder):
        if not file.is_file():
            partial = file.with_name("publish.salt.partial")
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as out:
                out.write(secrets.token_hex(32))
            os.replace(partial, file)
    return file.read_text(encoding="utf-8")


def _said(node: Mapping[str, Any]) -> dict[str, bool]:
    return {column.casefold(): bool(value) for column, value in (node.get("personal") or {}).items()}
