"""Scorers: trained models as SQL functions of a live connection.

A scorer is an Arrow UDF, `<name>__columns(f1, …, fn)`, and a temp macro `<name>` over it, which takes a whole row or
the features one by one. An explainer is the same with another answer: the reasons of the score. A UDF belongs to the
database instance and is seen by all its cursors; a temp macro belongs to one cursor. UDFs are gone when the instance
closes.
"""

import inspect
import threading
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import duckdb
import pyarrow as pa
from duckdb.func import FunctionNullHandling, PythonUDFType

from ibis_features import ArtifactError, ConfigError, Feature, FeatureSchema, NotFoundError
from ibis_features.catalog import descriptions_of, read_manifest
from models_ml.artifact import unpack
from models_ml.encoding import empty_batch, feature_batch
from models_ml.registry import ActiveModel, active_models, has_registry, read_artifact
from models_ml.trainer import FittedModel
from udfs.answers import SCORE, Answer, explanation
from udfs.quoting import ARGUMENT_TYPES, check_names, current_database, has_function, identifier, literal, readable

INSTANCE = "foretable_instance"
"""A function without arguments that tells which entry of `_instances` belongs to a connection."""
MODELS_KEPT = 32


def register(con: duckdb.DuckDBPyConnection, predictions: Sequence[str] | None = None) -> list[str]:
    """Create `score_<prediction>` and `explain_<prediction>` for every prediction that serves, or for the named ones.

        register(con)
        con.sql("select user_id, score_churn(features) from features__user as features")
        con.sql("select score_churn(order_count := 3, days_since_order := 12)")
        con.sql("select explain_churn(features)[1].sentence from features__user as features")

    A prediction with a single feature has the row form only. Nothing is loaded before the first call. Call it again
    after another version was activated; the scorers of all cursors then serve that version. If its features changed,
    macros that other cursors hold are refused until they register, too.

    Returns the names. Raises NotFoundError where a prediction is unknown.
    """
    models = _serving(con, predictions)
    return [name for model in models for name in _register(con, model, reserved=_reserved(models))]


def refresh(con: duckdb.DuckDBPyConnection, prediction: str) -> None:
    """Let the scorer and the explainer of one prediction serve the version that is active now."""
    everything = _serving(con, None)
    for model in _serving(con, [prediction]):
        _register(con, model, reserved=_reserved(everything))


def create_row_macros(cursor: duckdb.DuckDBPyConnection, *, explainers: bool = True) -> list[str]:
    """Create the macros of what some connection of this database has registered, on this cursor.

    A macro over hundreds of features takes 10 ms: without `explainers` there are half as many.
    """
    database, instance = current_database(cursor), _instance(cursor)
    instance.remember(cursor)
    created = []
    for model in _serving(cursor, None):
        for name in _macro_names(model.prediction)[: 2 if explainers else 1]:
            slots = [slot for slot in instance.slots.values() if slot.serves((database, name), model.schema.features)]
            if slots:
                _create_macro(cursor, name, slots[0])
                created.append(name)
    return created


def create_scorer(
    con: duckdb.DuckDBPyConnection,
    name: str,
    schema: FeatureSchema,
    load: Callable[[], FittedModel],
    answer: Answer = SCORE,
    *,
    database: str | None = None,
    sha256: str | None = None,
    reserved: set[str] | None = None,
) -> None:
    """Create a scorer, or what else answers, for a model: `load` is called once, by whichever thread scores first.

    database: whose prediction it is, so that its scorer is found again; sha256: of the model, which may be loaded
    already. reserved: folded names that its UDF must not take. The UDF is a part of the transaction that is open, and
    so is the macro. Raises ConfigError on names that SQL cannot tell apart.
    """
    slot = _slot(con, name, (database, name), schema, answer, reserved=reserved or {name.casefold()})
    slot.serve(load, answer, sha256)
    _create_macro(con, name, slot)


@dataclass
class _Slot:
    """What stands behind one UDF. Its features and the type of its answer never change; the model that serves may.

    owner: the database and the name of the macro; no database where it is no prediction's.
    """

    function: str
    owner: tuple[str | None, str]
    schema: FeatureSchema
    answer: Answer
    lock: threading.Lock = field(default_factory=threading.Lock)
    load: Callable[[], FittedModel] | None = None
    sha256: str | None = None
    model: FittedModel | None = None
    refusal: str = ""

    @cached_property
    def types(self) -> pa.Schema:
        return empty_batch(self.schema).schema

    def serves(self, owner: tuple[str | None, str], features: tuple[Feature, ...]) -> bool:
        return self.owner == owner and _readings(self.schema.features) == _readings(features)

    def serve(self, load: Callable[[], FittedModel], answer: Answer, sha256: str | None) -> None:
        with self.lock:
            if sha256 is None or sha256 != self.sha256:
                self.model = None
            self.load, self.answer, self.sha256, self.refusal = load, answer, sha256, ""

    def retire(self, refusal: str) -> None:
        with self.lock:
            self.load, self.sha256, self.model, self.refusal = None, None, None, refusal

    def answered(self, *columns: pa.ChunkedArray) -> pa.Array:
        """Called by DuckDB with at most 2,048 rows, from several threads."""
        batch = feature_batch(columns, self.types)
        return self.answer.of(self.loaded(), batch)

    def loaded(self) -> FittedModel:
        model = self.model
        if model is not None:
            return model
        with self.lock:
            if self.load is None:
                raise NotFoundError(self.refusal)
            if self.model is None:
                model = _kept_models.get(self.sha256) if self.sha256 else None
                model = model or self.load()
                if _readings(model.schema.features) != _readings(self.schema.features):
                    raise ArtifactError(
                        f"the model behind {self.function} reads other features than were registered; train it anew"
                    )
                if self.sha256:
                    _keep(self.sha256, model)
                self.model = model
            return self.model


@dataclass
class _Instance:
    """The scorers of one database instance: its UDFs by folded name, and connections through which to load."""

    slots: dict[str, _Slot] = field(default_factory=dict)
    connections: list[weakref.ref[duckdb.DuckDBPyConnection]] = field(default_factory=list)
    callables: list[Callable[..., object]] = field(default_factory=list)

    def remember(self, con: duckdb.DuckDBPyConnection) -> None:
        """Weakly, so that a warehouse closes when its user lets go of it."""
        alive = [reference for reference in self.connections if reference() not in (None, con)]
        self.connections = [*alive, weakref.ref(con)]


# DuckDB keeps no reference to a Python function once the cursor that created it has closed, and calling it then
# crashes the process. So every function ever created is kept here. What a closed instance leaves behind is small:
# models are shared by sha256 and only the last few are kept.
_instances: dict[str, _Instance] = {}
_instances_lock = threading.RLock()
_kept_models: dict[str, FittedModel] = {}


def _keep(sha256: str, model: FittedModel) -> None:
    _kept_models[sha256] = model
    for oldest in list(_kept_models)[:-MODELS_KEPT]:
        _kept_models.pop(oldest, None)


def _serving(con: duckdb.DuckDBPyConnection, predictions: Sequence[str] | None) -> list[ActiveModel]:
    if not has_registry(con):
        raise NotFoundError("the open database holds no trained prediction; build one with `foretable build`")
    models = {model.prediction: model for model in active_models(con)}
    folded: dict[str, str] = {}
    for name in models:
        if (other := folded.setdefault(name.casefold(), name)) != name:
            raise ConfigError(f"the predictions '{other}' and '{name}' differ only by case; SQL ignores it: rename one")
    if predictions is None:
        return list(models.values())
    unknown = [name for name in predictions if name not in models]
    if unknown:
        named = ", ".join(repr(name) for name in unknown)
        raise NotFoundError(f"no trained prediction {named}; known: {', '.join(models) or 'none yet'}")
    return [models[name] for name in predictions]


def _register(con: duckdb.DuckDBPyConnection, model: ActiveModel, *, reserved: set[str]) -> list[str]:
    database, instance = current_database(con), _instance(con)
    instance.remember(con)

    def read_model(cursor: duckdb.DuckDBPyConnection) -> FittedModel:
        blob = read_artifact(cursor, model.prediction, model.version)
        return unpack(blob, expected_sha256=model.sha256)

    def read_descriptions(cursor: duckdb.DuckDBPyConnection) -> Mapping[str, str]:
        return descriptions_of(read_manifest(cursor), f"pred__{model.prediction}")

    read = partial(_on_own_cursor, instance, database, model.prediction)
    answers = (SCORE, explanation(lambda: read(read_descriptions)))
    names = _macro_names(model.prediction)
    for name, answer in zip(names, answers, strict=True):
        create_scorer(
            con,
            name,
            model.schema,
            lambda: read(read_model),
            answer,
            database=database,
            sha256=model.sha256,
            reserved=reserved,
        )
    return names


def _on_own_cursor(
    instance: _Instance, database: str, prediction: str, read: Callable[[duckdb.DuckDBPyConnection], Any]
) -> Any:
    """Read on a cursor of one's own: the connection at hand is busy with the query that scores."""
    for reference in reversed(instance.connections):
        con = reference()
        if con is None:
            continue
        try:
            cursor = con.cursor()
        except duckdb.ConnectionException:
            continue
        try:
            cursor.execute(f"use {identifier(database)}")
            return read(cursor)
        finally:
            cursor.close()
    raise NotFoundError(
        f"the connection that registered the scorer of '{prediction}' is closed; call udfs.register on an open one"
    )


def _slot(
    con: duckdb.DuckDBPyConnection,
    name: str,
    owner: tuple[str | None, str],
    schema: FeatureSchema,
    answer: Answer,
    *,
    reserved: set[str],
) -> _Slot:
    """The slot of this owner and these features, with its UDF; a new one where there is none.

    A UDF's name is never given to other features: a macro that another cursor still holds would hand over the wrong
    columns. The slots of the owner's other features are retired.
    """
    identifier(name)
    check_names(schema)
    with _instances_lock:
        instance = _instance(con)
        found = None
        number = 1
        while found is None:
            function = f"{name}__columns" + (f"_{number}" if number > 1 else "")
            key, number = function.casefold(), number + 1
            slot = instance.slots.get(key)
            is_there = has_function(con, f"system.main.{identifier(function)}")
            if is_there and slot is not None and slot.serves(owner, schema.features):
                found = slot
            elif not is_there and key not in reserved:
                found = _create_function(con, instance, _Slot(function, owner, schema, answer))
        for slot in instance.slots.values():
            if slot.owner == owner and slot is not found:
                slot.retire(f"{name} reads other features now; call udfs.register on this connection, and call {name}")
        return found


def _create_function(con: duckdb.DuckDBPyConnection, instance: _Instance, slot: _Slot) -> _Slot | None:
    """Create the slot's UDF; None where this connection has lost the name to a transaction that was rolled back."""

    def answered(*columns: pa.ChunkedArray) -> pa.Array:
        return slot.answered(*columns)

    # DuckDB counts a function's parameters and refuses `*columns`, unless the signature says otherwise.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(f"column_{place}", kind) for place in range(len(slot.schema.features))]
    answered.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    types = [ARGUMENT_TYPES[feature.role] for feature in slot.schema.features]
    instance.callables.append(answered)
    try:
        con.create_function(
            slot.function,
            answered,
            types,  # type: ignore[arg-type]
            slot.answer.sql_type,
            type=PythonUDFType.ARROW,
            null_handling=FunctionNullHandling.SPECIAL,
        )
    except duckdb.NotImplementedException:
        return None
    instance.slots[slot.function.casefold()] = slot
    return slot


def _create_macro(con: duckdb.DuckDBPyConnection, name: str, slot: _Slot) -> None:
    features, function = slot.schema.features, identifier(slot.function)
    from_row = ", ".join(readable(f'struct_extract("row", {literal(f.name)})', f) for f in features)
    forms = [f'("row") as {function}({from_row})']
    if len(features) > 1:
        from_columns = ", ".join(readable(identifier(feature.name), feature) for feature in features)
        forms.append(f"({', '.join(identifier(f.name) for f in features)}) as {function}({from_columns})")
    con.execute(f"create or replace temp macro {identifier(name)} {', '.join(forms)}")


def _instance(con: duckdb.DuckDBPyConnection) -> _Instance:
    """The entry of this connection's database instance. A cursor asks, so that no open transaction is touched."""
    with _instances_lock:
        cursor = con.cursor()
        try:
            try:
                row = cursor.execute(f"select {INSTANCE}()").fetchone()
                assert row is not None
                return _instances.setdefault(row[0], _Instance())
            except duckdb.CatalogException:
                token = uuid.uuid4().hex
                instance = _instances[token] = _Instance(callables=[lambda: token])
                cursor.create_function(INSTANCE, instance.callables[0], [], "VARCHAR")
                return instance
        finally:
            cursor.close()


def _macro_names(prediction: str) -> list[str]:
    """The scorer's and the explainer's."""
    return [f"score_{prediction}", f"explain_{prediction}"]


def _reserved(models: Sequence[ActiveModel]) -> set[str]:
    return {name.casefold() for model in models for name in _macro_names(model.prediction)}


def _readings(features: tuple[Feature, ...]) -> list[tuple[str, str, int]]:
    """What a scorer depends on; whether a number came as INTEGER or BIGINT does not matter to it."""
    return [(feature.name, feature.role, feature.width) for feature in features]
