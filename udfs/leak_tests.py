"""What the dbt tests `no_tautology` and `label_shuffle` compute, as functions of SQL that return the faults they find.

A fault of the request itself (no such column, a history too short) is a fault of the test, too: it never passes unseen.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import duckdb
import numpy as np

from ibis_features import (
    ExamplesError,
    ForetableError,
    check_labels,
    connect_backend,
    read_examples,
    read_schema,
)
from ibis_features.examples import LABEL
from models_ml.baselines import constant_scores
from models_ml.evaluation import difference_interval
from models_ml.fitting import fit_spec
from models_ml.judging import entity_codes, scored
from models_ml.leaks import telling_columns
from models_ml.spec import parse_spec
from models_ml.splitting import split_examples
from udfs.quoting import identifier

SHUFFLE_INTERVAL = (0.0005, 0.9995)
"""One clean prediction in a thousand fails by chance."""
SHUFFLE_RESAMPLES = 4_000


def register_leak_tests(con: duckdb.DuckDBPyConnection) -> None:
    """Create the functions that the generic tests call. They belong to the database instance.

    foretable_tautologies(request), foretable_label_shuffle(request): VARCHAR of JSON to a list of sentences, the
    faults. The keys are the arguments of `tautologies` and `label_shuffle`. Each works on a connection of its own.
    """
    text = duckdb.sqltype("VARCHAR")
    for name, function in (("foretable_tautologies", tautologies), ("foretable_label_shuffle", label_shuffle)):
        con.create_function(name, on_cursor(con, function), [text], duckdb.list_type(text), side_effects=True)


def tautologies(
    con: duckdb.DuckDBPyConnection,
    *,
    relation: str,
    entity: str,
    label: str,
    as_of: str,
    exclude: list[str],
    threshold: float,
    rows: int,
) -> list[str]:
    """The features of `relation` (SQL) that are the label, its negation, or have an AUC of at least `threshold`.

    The measure of a training's own check (`leak_suspects`), over about `rows` labelled rows, by whole entities.
    """
    schema = read_schema(con, relation, entity=entity, label=label, as_of=as_of, exclude=exclude)
    features = [feature for feature in schema.static if feature.role != "embedding"]
    types = {"number": "float", "category": "varchar"}
    columns = [f"{identifier(feature.name)}::{types[feature.role]}" for feature in features]
    names = [identifier(feature.name) for feature in features]
    selected = ", ".join(f"{column} as {name}" for column, name in zip(columns, names, strict=True))
    con.execute(
        f"create temp table labelled as select {identifier(entity)}, {identifier(label)} from {relation} "
        f"where {identifier(label)} is not null"
    )
    strange = con.execute(f"select count(*) from labelled where {identifier(label)}::double not in (0, 1)").fetchone()
    if strange != (0,):
        raise ExamplesError(f"label '{label}' holds other values than true/1, false/0 and NULL")
    con.execute(f"create temp table chosen as {_chosen('labelled', identifier(entity), rows)}")
    table = con.execute(
        f"select {selected}, {identifier(label)}::float as {identifier(LABEL)} from {relation} "
        f"where {identifier(label)} is not null and {identifier(entity)} in (select {identifier(entity)} from chosen)"
    ).to_arrow_table()
    if not table.num_rows:
        raise ExamplesError(f"no row has a label '{label}'")
    labels = table[LABEL].to_numpy()
    faults = []
    for name, auc in telling_columns(table.drop_columns([LABEL]), labels, threshold):
        values = table[name].cast("float32", safe=False).to_numpy() if table[name].type != "string" else None
        likeness = "tells the label by itself"
        if values is not None and np.array_equal(values, labels):
            likeness = "is the label"
        elif values is not None and np.array_equal(values, 1 - labels):
            likeness = "is the label's negation"
        faults.append(f"{name} {likeness} (AUC {auc:.5f})")
    return faults


def label_shuffle(
    con: duckdb.DuckDBPyConnection,
    *,
    sql: str,
    config: Mapping[str, Any],
    labels: str | None,
    unversioned: list[str],
    rows: int,
    params: Mapping[str, Any],
    seed: int = 7,
) -> list[str]:
    """Train on shuffled labels; a fault where the AUC on the test snapshots is not that of a coin.

    Labels change places within their as_of, by a hash of the entity. With `labels`, the relation that the prediction's
    SELECT `sql` reads them from, that happens before the SELECT is run, so that what it makes of the label follows;
    otherwise among its rows. `unversioned`: columns that a training leaves out, where they are there. `rows`: about how
    many rows are taken, by whole entities. `params`: over the prediction's.
    """
    spec = parse_spec(config)
    entity, as_of, label = identifier(spec.entity), identifier(spec.as_of), identifier(spec.label)
    if labels:
        con.execute(f"create temp table shuffled_labels as {_shuffled(labels, entity, as_of, label, seed)}")
        sql = sql.replace(labels, "temp.shuffled_labels")
    con.execute(f"create temp table selected as {sql}")
    if not labels:
        con.execute(f"create or replace temp table selected as {_shuffled('selected', entity, as_of, label, seed)}")
    con.execute(
        f"create temp table examples as select * from selected where {entity} in ({_chosen('selected', entity, rows)})"
    )
    there = {row[0] for row in con.execute("describe examples").fetchall()} - {spec.entity, spec.label, spec.as_of}
    exclude = {*spec.exclude, *there.intersection(unversioned)}
    schema = read_schema(
        con, "examples", entity=spec.entity, label=spec.label, as_of=spec.as_of, exclude=sorted(exclude)
    )
    examples = read_examples(connect_backend(con), "examples", schema)
    check_labels(examples)
    _, parts = split_examples(examples, spec)
    spec = replace(spec, params={**(spec.params or {}), **params})
    fitted = fit_spec(spec, parts["train"], parts["validate"], progress=lambda step, share: None)
    truths, scores = scored(fitted, parts["test"])
    above = difference_interval(
        "roc_auc",
        truths,
        scores,
        constant_scores(truths, len(truths)),
        entities=entity_codes(parts["test"]),
        seed=seed,
        resamples=SHUFFLE_RESAMPLES,
        interval=SHUFFLE_INTERVAL,
    )
    if above.lower <= 0 <= above.upper:
        return []
    strongest = sorted(fitted.importance().items(), key=lambda item: (-item[1], item[0]))[:3]
    named = ", ".join(f"{feature} {share:.0%}" for feature, share in strongest)
    return [
        f"with shuffled labels the AUC is {0.5 + above.value:.3f} [{0.5 + above.lower:.3f}, {0.5 + above.upper:.3f}] "
        f"on {above.rows} rows and not 0.5: a feature is made of the label"
        + (f"; what the model leans on: {named}" if named else "")
    ]


def on_cursor(con: duckdb.DuckDBPyConnection, function: Callable[..., list[str]]) -> Callable[[str], list[str]]:
    """The function over a cursor of its own, called by its keyword arguments as JSON; its errors are faults, too."""

    def faults(request: str) -> list[str]:
        with con.cursor() as cursor:
            try:
                return function(cursor, **json.loads(request))
            except (ForetableError, duckdb.Error) as error:
                return [f"it cannot be tested: {error}"]

    return faults


def _shuffled(relation: str, entity: str, as_of: str, label: str, seed: int) -> str:
    """A query of the relation's rows whose labels have changed places within their as_of; NULL stays where it is."""
    return f"""
        select rows.* exclude (place) replace (shuffled.{label} as {label})
        from (
            select *, row_number() over (partition by {as_of}, {label} is null order by {entity}) as place
            from {relation}
        ) as rows
        inner join (
            select
                {as_of},
                {label},
                row_number() over (
                    partition by {as_of}, {label} is null
                    order by md5({entity}::varchar || {as_of}::varchar || '{seed}')
                ) as place
            from {relation}
        ) as shuffled
            on
                rows.{as_of} = shuffled.{as_of}
                and (rows.{label} is null) = (shuffled.{label} is null)
                and rows.place = shuffled.place
    """


def _chosen(relation: str, entity: str, rows: int) -> str:
    """A query of so many of the relation's entities, told by a hash, that they have about `rows` rows."""
    return f"""
        select {entity}
        from (
            select {entity}, row_number() over (order by md5({entity}::varchar), {entity}) as place
            from (select distinct {entity} from {relation})
        )
        where place <= ceil(
            (select count(distinct {entity}) from {relation})
            * least(1, {int(rows)} / (select count(*) from {relation})::double)
        )
    """
