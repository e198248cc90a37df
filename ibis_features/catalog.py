"""What is said of each feature: description, owner, type, lineage and version, from the dbt manifest.

The manifest is a file that dbt wrote (`target/manifest.json`), or what the build recorded of it in the table
`foretable.manifest` of the warehouse, so that a copied file still says what it holds.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from ibis_features.errors import ConfigError, NotFoundError
from ibis_features.tables import FeatureTable

VERSION_LENGTH = 8


@dataclass(frozen=True)
class ListedFeature:
    """One feature. What the manifest does not say is None.

    `lineage` names all models, seeds and sources above, nearest first. `version` is the dbt model's version, else the
    first digits of its SQL's checksum: it changes when the definition does. `has_history` is False where a feature
    shows an attribute as it is today, not as it was at as_of.
    """

    name: str
    table: str
    column: str
    entity: str
    type: str
    description: str | None = None
    owner: str | None = None
    lineage: tuple[str, ...] = ()
    version: str | None = None
    has_history: bool | None = None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "lineage": list(self.lineage)}


Manifest = Mapping[str, Mapping[str, Mapping[str, Any]]]


def read_manifest(con: duckdb.DuckDBPyConnection, path: str | Path | None = None) -> Manifest | None:
    """The manifest in the file, else the one that the last build recorded in the warehouse, else None.

    Raises NotFoundError where there is no such file and ConfigError where it is no manifest.
    """
    if path is not None:
        file = Path(path)
        if not file.is_file():
            raise NotFoundError(f"no manifest at {file}; dbt writes target/manifest.json when it builds or parses")
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            manifest = None
        if not isinstance(manifest, dict) or not isinstance(manifest.get("nodes"), dict):
            raise ConfigError(f"{file} is no dbt manifest; name the manifest.json of dbt's target folder")
        return manifest
    recorded = con.execute(
        "select count(*) from duckdb_tables() where database_name = current_database() "
        "and schema_name = 'foretable' and table_name = 'manifest'"
    ).fetchone()
    if not recorded or not recorded[0]:
        return None
    manifest = {"nodes": {}, "groups": {}, "sources": {}}
    for part, key, node in con.execute("select part, unique_id, node from foretable.manifest").fetchall():
        manifest[part][key] = json.loads(node)
    return manifest


def list_features(tables: Mapping[str, FeatureTable], manifest: Manifest | None) -> list[ListedFeature]:
    """Every feature of the feature and sequence tables, by table and in the table's order of columns."""
    nodes = manifest["nodes"] if manifest else {}
    by_name = {relation_name(node): key for key, node in nodes.items() if node.get("resource_type") == "model"}
    listed = []
    for table in tables.values():
        if table.name.startswith("online__"):
            continue
        key = by_name.get(table.name)
        node = nodes[key] if key else {}
        documented = {name.lower(): column for name, column in node.get("columns", {}).items()}
        for column in table.features:
            said = documented.get(column.lower(), {})
            listed.append(
                ListedFeature(
                    name=f"{table.name}.{column}",
                    table=table.name,
                    column=column,
                    entity=table.entity,
                    type=table.columns[column],
                    description=said.get("description") or None,
                    owner=_meta(said).get("owner") or (_owner(node, manifest) if manifest else None),
                    lineage=_lineage(manifest, key) if manifest and key else (),
                    version=_version(node),
                    has_history=_meta(said).get("has_history"),
                )
            )
    return listed


def descriptions_of(manifest: Manifest | None, model: str) -> dict[str, str]:
    """What is said of the columns that a dbt model reads, by column; of a name that several tables have, the first."""
    nodes = manifest["nodes"] if manifest else {}
    key = next((key for key, node in nodes.items() if relation_name(node) == model), None)
    described: dict[str, str] = {}
    for parent in (nodes[key].get("depends_on") or {}).get("nodes", []) if key else []:
        for column, said in nodes.get(parent, {}).get("columns", {}).items():
            if said.get("description"):
                described.setdefault(column, said["description"])
    return described


def relation_name(node: Mapping[str, Any]) -> str:
    """The name that a node of the manifest has in the warehouse."""
    return str(node.get("alias") or node["name"])


def _meta(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """dbt keeps meta in two places; the one under config is the newer."""
    return {**(part.get("meta") or {}), **((part.get("config") or {}).get("meta") or {})}


def _owner(node: Mapping[str, Any], manifest: Manifest) -> str | None:
    """Of the model's meta, else of its dbt group."""
    if owner := _meta(node).get("owner"):
        return str(owner)
    group = node.get("group") or (node.get("config") or {}).get("group")
    for one in manifest.get("groups", {}).values():
        if group and one.get("name") == group:
            owner = one.get("owner") or {}
            return owner.get("name") or owner.get("email") or group
    return group


def _version(node: Mapping[str, Any]) -> str | None:
    if node.get("version") is not None:
        return f"v{node['version']}"
    checksum = (node.get("checksum") or {}).get("checksum")
    return checksum[:VERSION_LENGTH] if checksum else None


def _lineage(manifest: Manifest, key: str) -> tuple[str, ...]:
    """The names of everything above a node, level by level."""
    known = {**manifest.get("sources", {}), **manifest["nodes"]}
    above: dict[str, None] = {}
    level = [key]
    while level:
        parents = [p for one in level for p in (known.get(one, {}).get("depends_on") or {}).get("nodes", [])]
        level = [parent for parent in dict.fromkeys(parents) if parent not in above]
        above |= dict.fromkeys(level)
    return tuple(str(known[one]["name"]) if one in known else one.split(".")[-1] for one in above)
