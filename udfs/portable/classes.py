"""The probability of a class as SQL: the margins of all classes one after another, and the softmax of these."""

from collections.abc import Iterator
from dataclasses import replace

from sqlglot import exp

from models_ml.calibration import LEAST_LOG_ODDS
from models_ml.class_trees import ClassesModel
from udfs.compiling.tree_nodes import lay_together, places_of
from udfs.portable import trees
from udfs.portable.dialects import Dialect
from udfs.portable.formula import Formula, Step, clipped, code, feature_of, shallow_total, whole

IS_ASKED, ASKED = "is_asked", "asked"


def formula(model: ClassesModel, dialect: Dialect) -> Formula:
    """The probability of the class in the column of the label: 0 of one that is not known, NULL where it is NULL."""
    nodes, label = lay_together(model.members), feature_of(model.schema, model.label)
    is_null = exp.Is(this=dialect.column(label.name), expression=exp.Null())
    first: Step = {
        **trees.inputs(model.trees, nodes, dialect, ""),
        IS_ASKED: exp.If(this=is_null, true=whole(0), false=whole(1)),
        ASKED: code(label, model.classes, dialect),
    }
    steps = [first]
    margins = [f"margin_{place}" for place in range(len(model.classes))]
    for margin, (some, base_margin) in zip(margins, places_of(model.members), strict=True):
        own = replace(nodes, start=base_margin)
        steps += trees.sum_steps(model.trees, own, some, margin, dialect, "")
    return Formula(tuple(steps), "").then(*_softmax(margins, dialect))


def _softmax(margins: list[str], dialect: Dialect) -> Iterator[Step]:
    first, *others = (exp.column(margin) for margin in margins)
    yield {"most": exp.Greatest(this=first, expressions=others)}
    below = {f"below_{margin}": exp.Sub(this=exp.column(margin), expression=exp.column("most")) for margin in margins}
    yield dict(below)
    # Beyond the bound Postgres raises an error where others give 0.
    sizes = {f"size_of_{name}": exp.Exp(this=clipped(name, LEAST_LOG_ODDS, 0.0, dialect)) for name in below}
    yield dict(sizes)
    yield {"whole": shallow_total([exp.column(name) for name in sizes])}
    by_code = [exp.If(this=whole(place), true=exp.column(name)) for place, name in enumerate(sizes)]
    own = exp.Coalesce(this=exp.Case(this=exp.column(ASKED), ifs=by_code), expressions=[dialect.number(0.0)])
    share = exp.Div(this=own, expression=exp.column("whole"), typed=True, safe=False)
    is_asked = exp.EQ(this=exp.column(IS_ASKED), expression=whole(1))
    yield {"score": exp.If(this=is_asked, true=share, false=exp.Null())}
