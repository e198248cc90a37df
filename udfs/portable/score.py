"""From log-odds to a score as SQL: calibration, the logistic function, and several models that become one."""

from dataclasses import replace
from itertools import chain, zip_longest

import numpy as np
from sqlglot import exp

from ibis_features import ArtifactError
from models_ml.calibration import LEAST_LOG_ODDS, MOST_LOG_ODDS, CalibratedModel, Calibration
from models_ml.class_trees import ClassesModel
from models_ml.ensemble import EnsembleModel, vote_log_odds
from models_ml.interactions import CrossedModel
from models_ml.linear import LogisticModel
from models_ml.links import IDENTITY, MOST_LOG, Link
from models_ml.network import NetworkModel
from models_ml.score_map import score_map_of, unmapped
from models_ml.trainer import FittedModel
from models_ml.tree_model import TreeModel
from udfs.portable import classes, logistic, network, trees
from udfs.portable.crossed import made_of
from udfs.portable.dialects import Dialect
from udfs.portable.formula import Formula, Step, clipped, times, total, whole
from udfs.portable.trees import split_value


def score(fitted: FittedModel, dialect: Dialect) -> Formula:
    """The score as a double, which rounds to the float32 that `predict` gives, as near as the margin is."""
    if isinstance(score_map_of(fitted), Link):
        return _linked(margin_of(unmapped(fitted), dialect), score_map_of(fitted) == IDENTITY, dialect)
    if isinstance(fitted, CrossedModel):
        return score(fitted.model, _crossing(fitted, dialect))
    if isinstance(fitted, ClassesModel):
        return classes.formula(fitted, dialect)
    if isinstance(fitted, CalibratedModel):
        margin = margin_of(fitted.model, dialect)
        own = margin.then({"own_log_odds": _log_odds(fitted.calibration, margin.result, dialect)})
        return _probability(own, MOST_LOG_ODDS, dialect)
    return _probability(margin_of(fitted, dialect), -LEAST_LOG_ODDS, dialect)


def _linked(margin: Formula, is_identity: bool, dialect: Dialect) -> Formula:
    """The margin itself, or its exponential."""
    if is_identity:
        return margin.then({"score": exp.column(margin.result)})
    return margin.then(
        {"log_score": clipped(margin.result, LEAST_LOG_ODDS, MOST_LOG, dialect)},
        {"score": exp.Exp(this=exp.column("log_score"))},
    )


def margin_of(model: FittedModel, dialect: Dialect, prefix: str = "") -> Formula:
    """The log-odds of a model without calibration; raises ArtifactError where plain SQL cannot say them."""
    if isinstance(model, TreeModel):
        return trees.formula(model, dialect, prefix)
    if isinstance(model, LogisticModel):
        return logistic.formula(model, dialect, prefix)
    if isinstance(model, NetworkModel) and model.family == "mlp":
        return network.formula(model, dialect, prefix)
    if isinstance(model, EnsembleModel):
        return _ensemble(model, dialect)
    if isinstance(model, CrossedModel):
        return margin_of(model.model, _crossing(model, dialect), prefix)
    family = model.family if isinstance(model, NetworkModel) else type(model).__name__
    raise ArtifactError(
        f"'{family}' cannot be said as a plain SELECT: trees, logistic, mlp and ensembles of them can; publish the "
        "table of scores, pred__<name>, to the other engine instead"
    )


def _crossing(model: CrossedModel, dialect: Dialect) -> Dialect:
    """The dialect in which a model's interactions are columns as others."""
    return replace(dialect, made=made_of(model, dialect))


def _ensemble(model: EnsembleModel, dialect: Dialect) -> Formula:
    """Members side by side, step by step, and what becomes of their log-odds."""
    combination = model.combination
    by_name = {name: margin_of(member, dialect, f"{name}_") for name, member in model.members.items()}
    if combination.thresholds:
        by_name = {name: _probability(m, -LEAST_LOG_ODDS, dialect, f"{name}_") for name, m in by_name.items()}
    members = [*by_name.values()]
    steps = tuple(_merged(step) for step in zip_longest(*(member.steps for member in members), fillvalue={}))
    joint = Formula(steps, "")
    if not combination.thresholds:
        weighted = [times(m.result, dialect.number(w)) for m, w in zip(members, combination.weights, strict=True)]
        return joint.then({"margin": total([dialect.number(combination.intercept), *weighted])})
    votes = [
        exp.If(
            this=exp.GTE(this=exp.column(member.result), expression=dialect.number(split_value(np.float32(threshold)))),
            true=whole(1),
            false=whole(0),
        )
        for member, threshold in zip(members, combination.thresholds, strict=True)
    ]
    log_odds = vote_log_odds(np.arange(len(votes) + 1) / len(votes), len(votes))
    by_count = [exp.If(this=whole(count), true=dialect.number(value)) for count, value in enumerate(log_odds)]
    return joint.then(
        {"vote_count": total(votes)},
        {"margin": exp.cast(exp.Case(this=exp.column("vote_count"), ifs=by_count), "double")},
    )


def _merged(steps: tuple[Step, ...]) -> Step:
    return dict(chain.from_iterable(step.items() for step in steps))


def _log_odds(calibration: Calibration, margin: str, dialect: Dialect) -> exp.Expression:
    """`y + slope * (margin - x)` of the piece that the margin lies in."""
    pieces = [
        exp.Add(
            this=dialect.number(y),
            expression=exp.Mul(
                this=dialect.number(slope),
                expression=exp.paren(exp.Sub(this=exp.column(margin), expression=dialect.number(x))),
            ),
        )
        for x, y, slope in zip(calibration.x, calibration.y, calibration.slope, strict=True)
    ]
    ends = [exp.LT(this=exp.column(margin), expression=dialect.number(end)) for end in calibration.x[1:]]
    if not ends:
        return pieces[0]
    before = [exp.If(this=end, true=piece) for end, piece in zip(ends, pieces[:-1], strict=True)]
    return exp.Case(ifs=before, default=pieces[-1])


def _probability(log_odds: Formula, most: float, dialect: Dialect, prefix: str = "") -> Formula:
    """`1 / (1 + exp(-log_odds))`, within bounds: beyond them Postgres raises an error where others give 0."""
    bounded = f"{prefix}log_odds"
    odds_against = exp.Exp(this=exp.Neg(this=exp.column(bounded)))
    denominator = exp.paren(exp.Add(this=dialect.number(1.0), expression=odds_against))
    return log_odds.then(
        {bounded: clipped(log_odds.result, -most, most, dialect)},
        {f"{prefix}score": exp.Div(this=dialect.number(1.0), expression=denominator, typed=True, safe=False)},
    )
