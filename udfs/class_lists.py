"""The rows of a prediction of classes, made of those that its SELECT returns: one for each class, and one is true.

The rows of the SELECT are kept as they are, in `examples__<name>__rows`; `examples__<name>` is a view of them that
says each of them once for every class of the version that serves.
"""

from collections.abc import Sequence
from dataclasses import replace

import duckdb
import sqlglot.expressions as exp

from ibis_features import ConfigError, Examples, ExamplesError, Feature, FeatureSchema
from models_ml.class_trees import classes_of
from models_ml.kinds.classes import check_classes_differ
from models_ml.spec import PredictionSpec
from models_ml.splitting import split_examples
from models_ml.trainer import FittedModel
from udfs.quoting import identifier, literal

ROWS = "__rows"


def label_of(item: str) -> str:
    """The column that says whether a row's class is the entity's own.

    >>> label_of("next_category")
    'is_next_category'
    """
    return f"is_{item}"


def as_lists(rows: str, item: str, classes: Sequence[str]) -> str:
    """A SELECT in brackets of each of these rows once for every class, one after another.

    The column `item`, the label of the rows, holds the class, and `label_of(item)` whether it is the label; NULL where
    that is not known. Without classes each row stands there once, and names none.
    """
    name, label = identifier(item), identifier(label_of(item))
    listed = ", ".join(map(literal, classes)) or "null"
    # Unnested, and not joined with them: a join gives all rows of one class after those of another.
    return (
        f"(select * replace ({label} = {name} as {label}) from ("
        f"select given.* replace (unnest([{listed}]::varchar[]) as {name}), given.{name}::varchar as {label} "
        f"from {rows} as given))"
    )


def schema_of_lists(rows: FeatureSchema) -> FeatureSchema:
    """The schema of `as_lists` from that of the rows: the class is a key and a feature. Raises ConfigError."""
    label = label_of(rows.label)
    if label.casefold() in {name.casefold() for name in (*rows.names, *rows.keys)}:
        raise ConfigError(
            f"the SELECT has a column '{label}', as the column is called that says whether '{rows.label}' is a row's "
            "class; rename it"
        )
    features = (*rows.features, Feature(rows.label, "category", "VARCHAR"))
    return replace(rows, label=label, item=rows.label, features=features)


def classes_to_train(rows: Examples, spec: PredictionSpec) -> tuple[str, ...]:
    """The classes of the labelled training rows, sorted; raises ExamplesError where they are too few or too many.

    Where the history is too short to train, those of all labelled rows: a training says so, and a version that serves
    scores its own classes.
    """
    try:
        train = split_examples(rows, spec)[1]["train"]
    except ExamplesError:
        train = rows
    label = train.table[spec.label].cast("string").name("label")
    found = train.table.select(label).filter(lambda table: table.label.notnull()).distinct()
    classes = tuple(sorted(found.to_pyarrow()["label"].to_pylist()))
    if train is not rows:
        check_classes_differ(classes, spec.label)
    return classes


def known_rows(con: duckdb.DuckDBPyConnection, prediction: str, rows: str, schema: FeatureSchema) -> str:
    """The relation that says what has become of scores: of classes the lists of all that any version has scored."""
    if not schema.has_classes:
        return rows
    found = con.execute(
        "select distinct item_id from foretable.prediction_log where prediction = ? and item_id is not null order by 1",
        [prediction],
    ).fetchall()
    return as_lists(rows, schema.item or "", [name for (name,) in found])


def scored_rows(rows: str, *models: FittedModel) -> str:
    """The relation that models score, from the rows of a SELECT: of classes the lists of all that any of them knows."""
    classes = sorted({name for model in models for name in classes_of(model)})
    return as_lists(rows, models[0].schema.item or "", classes) if classes else rows


def rows_of(examples: str, *, has_classes: bool) -> str:
    """The relation with the rows of a SELECT, from `examples__<name>`, a quoted SQL name."""
    if not has_classes:
        return examples
    table = exp.to_table(examples, dialect="duckdb")
    table.set("this", exp.to_identifier(table.name + ROWS, quoted=True))
    return table.sql("duckdb")


def keep_view(con: duckdb.DuckDBPyConnection, examples: str, item: str, classes: Sequence[str]) -> None:
    """Let `examples__<name>` show the rows as lists of these classes. The caller holds the transaction."""
    drop_relation(con, examples)
    rows = rows_of(examples, has_classes=True)
    con.execute(f"create view {examples} as from {as_lists(rows, item, classes)}")


def drop_relation(con: duckdb.DuckDBPyConnection, relation: str) -> None:
    """Drop a table or a view, if it is there: another kind of prediction keeps its rows in the other one."""
    table = exp.to_table(relation, dialect="duckdb")
    found = con.execute(
        "select count(*) from duckdb_views() "
        "where database_name = current_database() and schema_name = ? and view_name = ?",
        [table.db or "main", table.name],
    ).fetchone()
    con.execute(f"drop {'view' if found and found[0] else 'table'} if exists {relation}")
