"""The rows of a prediction of classes: each entity stands on as many rows as there are classes, and one is true."""

from dataclasses import replace

from ibis_features import Examples, FeatureSchema


def true_rows(examples: Examples) -> Examples:
    """The rows that hold an entity's own class: one for each list whose class is known."""
    table, schema = examples.table, examples.schema
    return Examples(table.filter(table[schema.label].cast("float64") == 1), schema)


def known_classes(examples: Examples) -> tuple[str, ...]:
    """The classes that some entity has on these rows, sorted."""
    rows, item = true_rows(examples).table, examples.schema.item
    assert item is not None
    return tuple(sorted(rows.select(item).distinct().to_pyarrow()[item].to_pylist()))


def without_class(schema: FeatureSchema) -> FeatureSchema:
    """The features that say something of an entity: all but the class that a score is asked for."""
    return replace(schema, features=tuple(feature for feature in schema.features if feature.name != schema.item))


def one_row_a_list(examples: Examples) -> Examples:
    """The rows as the SELECT has them, each once, with the features that say something of an entity."""
    table, schema = examples.table, examples.schema
    if not schema.has_classes:
        return examples
    item = table[schema.item]
    return Examples(table.filter(item == item.min()), without_class(schema))


def example_count(examples: Examples) -> int:
    """How many rows the SELECT has returned of these."""
    if not examples.schema.has_classes:
        return examples.rows()
    return int(examples.table.select(examples.schema.as_of, examples.schema.entity).distinct().count().execute())
