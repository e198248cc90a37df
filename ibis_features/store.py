"""The feature store: one object over a warehouse, through which features are listed, joined, looked up and padded."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
from ibis.backends.duckdb import Backend

from ibis_features.catalog import ListedFeature, list_features, read_manifest
from ibis_features.errors import ConfigError, NotFoundError
from ibis_features.examples import Examples, read_examples
from ibis_features.historical import historical
from ibis_features.online import Lookup, OnlineConnection, online_table
from ibis_features.rows import Rows
from ibis_features.schema import FeatureSchema
from ibis_features.sequences import NEWEST, Sequences, Vocabulary, fit_vocabulary, select_sequences
from ibis_features.tables import FeatureTable, Names, find_table, pick, quoted, read_tables
from ibis_features.warehouse import connect_backend, open_warehouse


def open_store(
    warehouse: str | Path | duckdb.DuckDBPyConnection | Backend,
    *,
    manifest: str | Path | None = None,
    schema: str | None = None,
) -> "FeatureStore":
    """Open the feature store of a warehouse: a DuckDB file (read-only), a connection to one, or an Ibis backend.

    `manifest` is dbt's manifest.json; without it the one counts that the build recorded in the warehouse. `schema`
    tells apart tables of one name. Raises NotFoundError where there is no such file.

        with ibis_features.open("warehouse.duckdb") as store:
            rows = store.historical({"user_id": ["u1"], "at": [datetime(2025, 3, 1)]}, ["features__user.recency_days"])
            rows.to_pandas()
    """
    if isinstance(warehouse, str | Path):
        return FeatureStore(open_warehouse(warehouse), path=Path(warehouse), manifest=manifest, schema=schema)
    backend = warehouse if isinstance(warehouse, Backend) else connect_backend(warehouse)
    return FeatureStore(backend, path=None, manifest=manifest, schema=schema)


class FeatureStore:
    """Features, sequences and examples of one warehouse. Everything is lazy until rows are asked for."""

    def __init__(self, backend: Backend, *, path: Path | None, manifest: str | Path | None, schema: str | None) -> None:
        self.backend = backend
        self._path = path
        self._manifest = manifest
        self._schema = schema
        self._known: dict[str, FeatureTable] | None = None
        self._online: OnlineConnection | None = None
        self._lookups: dict[tuple[str, Any], Lookup] = {}

    def __enter__(self) -> "FeatureStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what this store opened; a connection of the caller's own stays open."""
        if self._online is not None:
            self._online.close()
        if self._path is not None:
            self.backend.disconnect()

    def tables(self) -> dict[str, FeatureTable]:
        """The feature, sequence and online tables by name. A file opened read-only cannot change: read once."""
        if self._known is not None:
            return self._known
        tables = read_tables(self.backend.con, schema=self._schema)
        if self._path is not None:
            self._known = tables
        return tables

    def features(self, entity: str | None = None) -> list[ListedFeature]:
        """Every feature (of one entity) with its type, description, owner, lineage and version."""
        tables = self.tables()
        manifest = read_manifest(self.backend.con, self._manifest)
        listed = [one for one in list_features(tables, manifest) if entity in {None, one.entity}]
        if not listed:
            known = sorted({table.entity for table in tables.values()})
            found = f"no features of entity '{entity}'; known: {', '.join(known)}" if known else "no feature tables"
            raise NotFoundError(f"{found} in the warehouse; build some with `foretable build`")
        return listed

    def historical(
        self, entities: Any, features: Names, *, at: str = "as_of", max_age: timedelta | None = None
    ) -> Rows:
        """Features as they were known at instants of the caller's own, of any number of tables and entities at once.

        entities    an Ibis or Arrow table, a pandas frame, a dict of lists, or the name of a relation in the warehouse,
                    with the key columns of every table asked of, and the cut-off instant in the column named by `at`
        features    `["features__user.recency_days", "features__item.*"]`, or with names of your own
                    `{"recency": "features__user.recency_days"}`
        max_age     a snapshot older than this at `at` counts as nothing known

        Gives each row of the list once, doubles too, with its own columns first; the order is not kept. A row gets the
        newest snapshot with as_of <= at: a snapshot holds only what was known before its as_of, so the same instant is
        safe. Where there is none, features are NULL. Instants with a time zone are turned to UTC; others are UTC.
        """
        if max_age is not None and max_age < timedelta(0):
            raise ConfigError(f"max_age is {max_age}, which no snapshot can be; give a positive timedelta")
        picked = pick(self._offline(), features)
        return historical(self.backend, entities, picked, at=at, max_age=max_age, is_shared=self._path is None)

    def lookup(self, entity: str, features: Names) -> Lookup:
        """A prepared reader of some features of an entity's newest snapshot: `lookup(["u1", "u2"])`."""
        table = online_table(self.tables(), entity)
        asked = replace(table, name=f"features__{entity}")  # features keep one name, wherever they are read
        picked = pick({asked.name: asked}, features)
        if self._online is None:
            self._online = OnlineConnection(self._path or self.backend.con)
        return Lookup(self._online, table, picked)

    def online(self, entity: str, ids: Any, features: Names) -> list[dict[str, Any]]:
        """The newest features of one id or a list of ids, each a dict with the key, the features and their as_of.

        Reads `online__<entity>`. An id that is not in the newest snapshot has None for all.
        """
        asked = tuple(features.items()) if isinstance(features, Mapping) else features
        key = (entity, asked if isinstance(asked, str) else tuple(asked))
        lookup = self._lookups.get(key)
        if lookup is None:
            lookup = self._lookups[key] = self.lookup(entity, features)
        return lookup(ids)

    def vocabulary(
        self,
        entity: str,
        train: Sequence[datetime],
        *,
        columns: Sequence[str] | None = None,
        least_count: int = 1,
        most: int = 100_000,
    ) -> Vocabulary:
        """Ids for the text of sequences, fitted on the snapshots `train` alone, such as `purged_split(…).train`."""
        table = find_table(self._offline(), f"sequences__{entity}")
        return fit_vocabulary(self.backend, table, train, columns=columns, least_count=least_count, most=most)

    def sequences(
        self,
        entity: str,
        *,
        as_of: datetime | Sequence[datetime] | str | None = NEWEST,
        length: int = 50,
        padding: str = "left",
        columns: Sequence[str] | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> Sequences:
        """The last `length` events of each entity as padded arrays with a mask.

        as_of is one snapshot or several, "newest", or None for all. padding "left" puts the newest event in the last
        place, "right" the oldest in the first. Text needs a `vocabulary`.
        """
        table = find_table(self._offline(), f"sequences__{entity}")
        return select_sequences(
            self.backend, table,
            as_of=as_of, length=length, padding=padding, columns=columns, vocabulary=vocabulary,
            is_shared=self._path is None,
        )  # fmt: skip

    def examples(self, prediction: str) -> Examples:
        """The rows a prediction was trained on and scores, with the feature schema of the version that serves.

        Raises NotFoundError where no prediction of this name is trained.
        """
        con = self.backend.con
        name = prediction.removeprefix("pred__")
        known = [row[0] for row in con.execute(_TRAINED).fetchall()] if self._has_models() else []
        if name not in known:
            raise NotFoundError(
                f"no trained prediction '{prediction}'; known: {', '.join(known) or 'none'}. "
                "Train it with `foretable build`"
            )
        state = con.execute(_SCHEMA, [name]).fetchone()
        table = con.execute(_EXAMPLES, [f"examples__{name}"]).fetchone()
        if state is None or table is None:
            raise NotFoundError(f"the rows of '{prediction}' are not in the warehouse; build it with `foretable build`")
        schema = FeatureSchema.from_json(json.loads(state[0]))
        return read_examples(self.backend, f"{quoted(table[0])}.{quoted(f'examples__{name}')}", schema)

    def _offline(self) -> dict[str, FeatureTable]:
        return {name: table for name, table in self.tables().items() if not name.startswith("online__")}

    def _has_models(self) -> bool:
        found = self.backend.con.execute(
            "select count(*) from duckdb_tables() where database_name = current_database() "
            "and schema_name = 'foretable' and table_name in ('active', 'models')"
        ).fetchone()
        return bool(found and found[0] == 2)


_TRAINED = "select prediction from foretable.active order by prediction"
_SCHEMA = """
    select models.feature_schema
    from foretable.active as active
    inner join foretable.models as models
        on active.prediction = models.prediction and active.version = models.version
    where active.prediction = ?
"""
_EXAMPLES = """
    select table_schema from information_schema.tables
    where table_catalog = current_database() and table_name = ? order by table_schema = 'main' desc, table_schema
"""
