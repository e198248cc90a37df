"""What is asked for and what there is already: a request understood, and what follows from it."""

from dataclasses import dataclass, replace
from datetime import datetime

import duckdb

from ibis_features import Examples, check_keys, connect_backend, read_examples, read_schema
from models_ml.extras import check_extras
from models_ml.interactions import check_interactions
from models_ml.judging import check_slices, last_value_column, rfm_columns
from models_ml.registry import ActiveModel, active_model, threshold_of, version_trained_on
from models_ml.spec import PredictionSpec, parse_spec
from models_ml.trainer import merged_params
from models_ml.tuning import check_search
from udfs.class_lists import as_lists, classes_to_train, known_rows, schema_of_lists
from udfs.decision import Decision, Fingerprint, Request, decide, fingerprint_of, is_copy
from udfs.progress import say
from udfs.serving import check_keys_of_scores, newest_snapshot, now
from udfs.transactions import transaction
from udfs.watching import Watch, write_realised


@dataclass(frozen=True)
class Order:
    """A request understood: what is asked for, and on which rows."""

    spec: PredictionSpec
    examples: Examples
    newest: datetime


@dataclass(frozen=True)
class Standing:
    """What there is already, and what follows from it."""

    fingerprint: Fingerprint
    active: ActiveModel | None
    decision: Decision


def gathered(con: duckdb.DuckDBPyConnection, request: Request) -> Request:
    """The request with its rows in a table: the examples of before where the SELECT returns the same, else a new one.

    Hundreds of columns take longer to write than all else that a build does in which nothing changed.
    """
    if is_copy(con, request.rows, request.select):
        return replace(request, building=request.rows)
    con.execute(f"create or replace table {request.building} as from {request.select}")
    return request


def drop_gathered(con: duckdb.DuckDBPyConnection, request: Request) -> None:
    if request.building != request.rows:
        con.execute(f"drop table {request.building}")


def understand(con: duckdb.DuckDBPyConnection, request: Request) -> Order:
    """What is asked for; raises ConfigError or ExamplesError on what cannot be trained or scored."""
    asked_for = {"promote": request.promote} if request.promote else {}
    spec = parse_spec({**request.config, **asked_for})
    check_keys_of_scores(spec)
    merged_params(spec.model, spec.params or {})
    check_extras(spec.model)
    check_search(spec)
    exclude = (*spec.exclude, *_without_history(con, request, spec))
    schema = read_schema(
        con,
        request.building,
        entity=spec.entity,
        item=None if spec.of_kind.has_classes else spec.item,
        label=spec.label,
        as_of=spec.as_of,
        exclude=exclude,
    )
    examples = read_examples(connect_backend(con), request.building, schema)
    check_keys(examples)
    spec.of_kind.check_labels(examples)
    check_slices(examples, spec)
    check_interactions(examples, spec.interactions)
    rfm_columns(schema, spec)
    last_value_column(schema, spec)
    if spec.of_kind.has_classes:
        lists = as_lists(request.building, spec.label, classes_to_train(examples, spec))
        examples = read_examples(connect_backend(con), lists, schema_of_lists(schema))
    return Order(spec, examples, newest_snapshot(con, request.building, spec.as_of))


def standing_of(con: duckdb.DuckDBPyConnection, request: Request, order: Order) -> Standing:
    """Whether to train, once the outcomes that are known by now are written down: a policy may ask for them."""
    spec, schema = order.spec, order.examples.schema
    with transaction(con):
        write_realised(con, request.name, known_rows(con, request.name, request.building, schema), schema, now())
    fingerprint = fingerprint_of(con, request, spec, schema)
    active = active_model(con, request.name)
    candidate = version_trained_on(con, request.name, fingerprint.whole)
    watch = None
    if active is not None and active.schema.is_within(schema):
        watch = Watch(con, active, order.examples, order.newest)
    decision = decide(active, fingerprint, schema, request, spec, candidate=candidate, watch=watch, now=now())
    if active is not None and not decision.is_trained and has_other_threshold(con, active, spec):
        decision = Decision(False, f"{decision.reason}; the threshold is chosen anew")
    return Standing(fingerprint, active, decision)


def has_other_threshold(con: duckdb.DuckDBPyConnection, active: ActiveModel, spec: PredictionSpec) -> bool:
    """Does the config ask for another threshold than the serving version has?"""
    return threshold_of(con, active.prediction, active.version)[0] != spec.threshold


def _without_history(con: duckdb.DuckDBPyConnection, request: Request, spec: PredictionSpec) -> list[str]:
    """The columns of the SELECT that show an attribute as it is today, and so may tell the future."""
    if spec.include_unversioned:
        return []
    there = {row[0] for row in con.execute(f"describe {request.building}").fetchall()}
    keys = {spec.entity, spec.item, spec.label, spec.as_of, *spec.exclude}
    left_out = [name for name in request.unversioned if name in there - keys]
    if left_out:
        say(
            f"{request.name}: without {', '.join(left_out)}, of which the source keeps only the present; "
            "include_unversioned=true takes them in"
        )
    return left_out
