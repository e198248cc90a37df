"""The text of a SELECT: one CTE for each step of a formula, and from one to the next what later steps still read."""

from collections.abc import Sequence

import sqlglot
from sqlglot import exp

from ibis_features import ArtifactError, ConfigError
from models_ml.trainer import FittedModel
from udfs.portable.dialects import SOURCE, Dialect, dialect_of
from udfs.portable.formula import Formula, read_columns
from udfs.portable.score import score
from udfs.quoting import check_names

MOST_COLUMNS = 1_600
"""Of one CTE: what Postgres takes, the fewest among the engines."""


def compile_select(model: FittedModel, dialect: str, *, relation: str) -> str:
    """The model as one SELECT of `dialect`: the entity, the item if there is one, as_of and score of each row of
    `relation`.

    relation: a table, or a SELECT in brackets, in that dialect, that has the keys and the features as columns. The
    score is a double.

    Raises ConfigError on an unknown dialect or what is no relation, ArtifactError where the model's family or one of
    its features cannot be said so, or where the text is longer than the engine takes.
    """
    engine = dialect_of(dialect)
    check_names(model.schema)
    source = _source(relation, engine)
    schema = model.schema
    keys = [schema.entity, *([schema.item] if schema.item else []), schema.as_of]
    text = _text(score(model, engine), source, keys, engine)
    size = len(text.encode())
    if engine.most_bytes is not None and size > engine.most_bytes:
        raise ArtifactError(
            f"the SELECT has {size:,} bytes, and {dialect} takes {engine.most_bytes:,}; train a smaller model (params "
            "n_estimators, max_depth or units), or publish the table of scores, pred__<name>, there instead"
        )
    return text


def _source(relation: str, dialect: Dialect) -> exp.Expression:
    """The relation as an item of FROM, under an alias of ours."""
    try:
        select = sqlglot.parse_one(f"select * from {relation}", dialect=dialect.name)
    except sqlglot.errors.SqlglotError as error:
        raise ConfigError(f"{relation!r} is no relation of {dialect.name}; {_WANTED}") from error
    item = select.args["from_"].this if isinstance(select, exp.Select) and "from_" in select.args else None
    clauses = {name for name, value in select.args.items() if value} - {"expressions", "from_"}
    if not isinstance(item, exp.Table | exp.Subquery) or clauses:
        raise ConfigError(f"{relation!r} is no single relation; {_WANTED}")
    item.set("alias", exp.TableAlias(this=exp.to_identifier(SOURCE)))
    return item


_WANTED = "give a table, say shop.features, or a SELECT in brackets"


def _text(formula: Formula, source: exp.Expression, keys: Sequence[str], dialect: Dialect) -> str:
    kept = {f"key_{place}": dialect.text(dialect.column(key)) for place, key in enumerate(keys)}
    stem = _stem(source)
    hint = "MATERIALIZED " if dialect.is_materialized else ""
    ctes = []
    for place, (step, carried) in enumerate(zip(formula.steps, _carried(formula), strict=True)):
        columns = {**(kept if place == 0 else {name: name for name in kept}), **{name: name for name in carried}}
        columns |= {name: dialect.text(expression) for name, expression in step.items()}
        if len(columns) > MOST_COLUMNS:
            raise ArtifactError(
                f"a step of the SELECT has {len(columns):,} columns, more than {MOST_COLUMNS:,}; train a smaller model "
                "(fewer features or params units), or publish the table of scores, pred__<name>, instead"
            )
        origin = dialect.text(source) if place == 0 else f"{stem}_{place}"
        lines = ",\n".join(f"        {_aliased(text, name)}" for name, text in columns.items())
        ctes.append(f"{stem}_{place + 1} AS {hint}(\n    SELECT\n{lines}\n    FROM {origin}\n)")
    shown = {**{f"key_{place}": key for place, key in enumerate(keys)}, formula.result: "score"}
    lines = ",\n".join(f"    {name} AS {dialect.text(dialect.identifier(key))}" for name, key in shown.items())
    return "WITH " + ",\n\n".join(ctes) + f"\n\nSELECT\n{lines}\nFROM {stem}_{len(ctes)}\n"


def _aliased(text: str, name: str) -> str:
    return name if text == name else f"{text} AS {name}"


def _carried(formula: Formula) -> list[list[str]]:
    """For each step, the columns of steps before that steps after it read."""
    wanted: set[str] = set()
    carried: list[list[str]] = []
    made = [set(step) for step in formula.steps]
    for place in reversed(range(len(formula.steps))):
        before = set().union(*made[:place])
        carried.append(sorted(wanted & before))
        for expression in formula.steps[place].values():
            wanted |= read_columns(expression)
    return carried[::-1]


def _stem(source: exp.Expression) -> str:
    """What the CTEs are called, with a number after it: unlike any table that the relation reads."""
    stem = "step"
    while any(table.name.casefold().startswith(f"{stem}_") for table in source.find_all(exp.Table)):
        stem += "s"
    return stem
