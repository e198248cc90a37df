"""Judge a model on unseen rows beside its baselines: what says the same of every row, recency alone, recency with
frequency and money, of an amount its last value, of items their popularity, and a simulated shop's truth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np

from ibis_features import ConfigError, Examples, FeatureSchema
from ibis_features.examples import LABEL
from models_ml.baselines import (
    constant_scores,
    popularity_scores,
    regression_numbers,
    regression_scores,
    share_scores,
    single_feature_numbers,
    single_feature_scores,
)
from models_ml.bootstrap import Metric, with_difference, with_intervals
from models_ml.calibration import calibration_of
from models_ml.class_rows import true_rows
from models_ml.curves import (
    Row,
    Slice,
    confusion,
    cost_curve,
    curves,
    deciles,
    frequent_values,
    number_curves,
    score_curve,
    slices,
)
from models_ml.evaluation import true_calibration_error
from models_ml.kinds import Binary, Lists, Value, lists_of
from models_ml.metric_words import metric_word
from models_ml.score_map import unmapped
from models_ml.spec import PredictionSpec
from models_ml.splitting import HOLDOUT
from models_ml.thresholds import Cost, choose_threshold, parse_threshold
from models_ml.trainer import FittedModel

JUDGED = ("validate", "test")
BASELINES = ("base_rate", "class_shares", "mean", "recency", "rfm", "last_value", "popularity")
"""What a version has to beat before it serves. `truth` is no baseline: it is the most that can be known."""
RFM = ("recency_days", "purchase_count_90d", "purchase_value_90d")
"""Recency, frequency and money, where `rfm` names no columns of its own."""
ABOVE = "above_"


@dataclass(frozen=True)
class Judgement:
    """How good a model is. metrics: (split, scored_by, metric). pictures: (split, row) by table, of the model alone.

    threshold: the model's, chosen on validation; None where the kind has none.
    """

    metrics: tuple[tuple[str, str, Metric], ...]
    pictures: Mapping[str, Sequence[tuple[str, Row]]]
    threshold: float | None


@dataclass(frozen=True)
class JudgedPart:
    """Labels and scores of some rows, [rows] each, and what follows from them: (scored_by, metric).

    thresholds: from which score on a row is said to be true, by who scored it; empty where the kind has none. lists:
    which rows are items of one list; None where the kind has no items.
    """

    labels: np.ndarray
    scores: np.ndarray
    metrics: tuple[tuple[str, Metric], ...]
    thresholds: Mapping[str, float]
    lists: Lists | None


def judge(
    con: duckdb.DuckDBPyConnection,
    fitted: FittedModel,
    spec: PredictionSpec,
    parts: Mapping[str, Examples],
    *,
    truth: str | None = None,
) -> Judgement:
    """Metrics of the model and each baseline, with 95% bootstrap intervals over entities, and the model's pictures.

    Entities that were held out are judged apart, as a part of their own, without pictures.

    scored_by `uncalibrated` is the score before its calibration, where there is one. Whoever scores has a threshold
    of its own, chosen on validation by the same rule.

    scored_by `above_<baseline>` is the model's deciding metric (of truth values the AUC) less the baseline's, both on
    the same resampled entities.

    `truth` is the quoted name of a relation with the true probabilities, one row an entity and as_of; where it holds
    nothing for these rows (a real shop), there is no truth beside the model.
    """
    train = parts["train"]
    metrics: list[tuple[str, str, Metric]] = []
    pictures: dict[str, list[tuple[str, Row]]] = {}
    kept = {column: frequent_values(_texts(train, column)) for column in spec.slices}
    thresholds: Mapping[str, float] | None = None
    for split in JUDGED:
        part = parts[split]
        judged = judge_part(con, fitted, spec, train, part, thresholds=thresholds, truth=truth)
        labels, scores, thresholds = judged.labels, judged.scores, judged.thresholds
        metrics += [(split, scored_by, metric) for scored_by, metric in judged.metrics]
        drawn = _drawn(labels, scores, spec, thresholds)
        drawn["slices"] = [
            row
            for column, values in kept.items()
            for row in _slices(spec, column, _texts(part, column), values, judged)
        ]
        for table, rows in drawn.items():
            pictures.setdefault(table, []).extend((split, row) for row in rows)
    assert thresholds is not None
    if HOLDOUT in parts:
        unseen = judge_part(con, fitted, spec, train, parts[HOLDOUT], thresholds=thresholds, truth=truth)
        metrics += [(HOLDOUT, scored_by, metric) for scored_by, metric in unseen.metrics]
    return Judgement(tuple(metrics), pictures, thresholds.get("model"))


def judge_part(
    con: duckdb.DuckDBPyConnection,
    fitted: FittedModel,
    spec: PredictionSpec,
    train: Examples,
    part: Examples,
    *,
    thresholds: Mapping[str, float] | None = None,
    truth: str | None = None,
) -> JudgedPart:
    """The metrics of `judge` on one part of the rows; `train` are those that model and baselines learned from.

    Without thresholds each is chosen on these very rows, as on those of validation.
    """
    labels, scores = scored(fitted, part)
    train_labels = train.column(train.schema.label).to_numpy(zero_copy_only=False)
    scored_by = {"model": scores}
    if calibration_of(fitted):
        scored_by["uncalibrated"] = scored(unmapped(fitted), part)[1]
    kind = spec.of_kind
    scored_by.update(_baseline_scores(train, train_labels, part, spec))
    if truth is not None:
        true_scores = _truth(con, part, truth)
        if not np.isnan(true_scores).any():
            scored_by["truth"] = true_scores
    entities = entity_codes(part)
    if thresholds is None:
        thresholds = _chosen_thresholds(spec, part, labels, scored_by)
    lists = lists_of(part)
    by_model = kind.measures(labels, scores, lists=lists)
    metrics: list[tuple[str, Metric]] = []
    for name, values in scored_by.items():
        threshold = thresholds.get(name, thresholds.get("model"))
        measures = kind.measures(labels, values, threshold=threshold, lists=lists)
        found = with_intervals(measures, len(labels), entities=entities, seed=spec.seed)
        if "truth" in scored_by:
            found.append(true_calibration_error(scored_by["truth"], values, entities=entities, seed=spec.seed))
        metrics += [(name, metric) for metric in found]
        if name in BASELINES:
            above = with_difference(kind.deciding, by_model, measures, len(labels), entities=entities, seed=spec.seed)
            metrics.append((ABOVE + name, above))
    return JudgedPart(labels, scores, tuple(metrics), thresholds, lists)


def _drawn(
    labels: np.ndarray, scores: np.ndarray, spec: PredictionSpec, thresholds: Mapping[str, float]
) -> dict[str, Sequence[Row]]:
    """What is drawn of the model, by table."""
    if not spec.of_kind.has_threshold:
        drawn_labels, drawn_scores = spec.of_kind.drawn(labels, scores)
        curves_of = score_curve if spec.of_kind.has_items else number_curves
        curves_of = curves if spec.of_kind.is_probability else curves_of
        return {
            "deciles": deciles(drawn_labels, drawn_scores),
            "curves": curves_of(drawn_labels, drawn_scores),
        }
    drawn: dict[str, Sequence[Row]] = {
        "deciles": deciles(labels, scores),
        "curves": curves(labels, scores),
        "confusion": confusion(labels, scores, thresholds["model"]),
    }
    if isinstance(rule := parse_threshold(spec.threshold), Cost):
        drawn["cost_curve"] = cost_curve(labels, scores, rule)
    return drawn


def _slices(
    spec: PredictionSpec,
    column: str,
    values: Sequence[str | None],
    kept: Sequence[str],
    judged: JudgedPart,
) -> list[Slice]:
    kind, labels, scores = spec.of_kind, judged.labels, judged.scores

    def measured(rows: np.ndarray) -> float:
        lists = judged.lists.at(rows) if judged.lists else None
        return kind.value(kind.deciding, labels[rows], scores[rows], lists=lists)

    return slices(column, values, kept, labels, scores, metric=kind.deciding, measured=measured)


def _chosen_thresholds(
    spec: PredictionSpec, part: Examples, labels: np.ndarray, scored_by: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """By who scored these rows; none where the kind has none."""
    if not spec.of_kind.has_threshold:
        return {}
    rule, snapshots = parse_threshold(spec.threshold), part.snapshot_count()
    return {name: choose_threshold(rule, labels, values, snapshots=snapshots) for name, values in scored_by.items()}


def rfm_columns(schema: FeatureSchema, spec: PredictionSpec) -> tuple[str, ...]:
    """The columns of the baseline `rfm`; none where there are fewer than two, since recency alone is a baseline anyway.

    Raises ConfigError where `rfm` names a column that is no number among the features.
    """
    numbers = {feature.name for feature in schema.features if feature.role == "number"}
    if spec.rfm is None:
        there = tuple(name for name in RFM if name in numbers)
        return there if len(there) > 1 else ()
    if odd := [name for name in spec.rfm if name not in numbers]:
        raise ConfigError(f"rfm names {', '.join(odd)}; it takes features of the SELECT that are numbers")
    return spec.rfm


def check_slices(examples: Examples, spec: PredictionSpec) -> None:
    """Check that the rows can be told apart by each column of `slices`; raises ConfigError."""
    schema, types = examples.schema, dict(examples.table.schema().items())
    if gone := [column for column in spec.slices if column not in types]:
        raise ConfigError(f"slices names columns that the SELECT does not return: {', '.join(gone)}")
    if keys := [column for column in spec.slices if column in {*schema.keys, schema.label}]:
        raise ConfigError(f"slices names {', '.join(keys)}; it takes columns other than keys and label")
    for column in spec.slices:
        kind = types[column]
        if not (kind.is_string() or kind.is_boolean() or kind.is_numeric() or kind.is_uuid()):
            raise ConfigError(f"slices names '{column}', which is {kind}; a slice is a category, a boolean or a number")


def last_value_column(schema: FeatureSchema, spec: PredictionSpec) -> str | None:
    """The feature that is the baseline `last_value`; None where there is none.

    Raises ConfigError where `last_value` names no number among the features.
    """
    numbers = {feature.name for feature in schema.features if feature.role == "number"}
    if spec.last_value is None:
        usual = f"purchase_value_{spec.horizon_days}d"
        return usual if isinstance(spec.of_kind, Value) and usual in numbers else None
    if spec.last_value not in numbers:
        raise ConfigError(f"last_value names {spec.last_value}; it takes a feature of the SELECT that is a number")
    return spec.last_value


def not_beaten(metrics: Sequence[tuple[str, str, Metric]]) -> str | None:
    """Why a version should not serve: a baseline that is as good on the test snapshots; None where none is."""
    for split, scored_by, metric in metrics:
        if split == "test" and scored_by.startswith(ABOVE) and not metric.lower > 0:
            baseline, name = scored_by.removeprefix(ABOVE), metric_word(metric.name)
            return (
                f"on the test snapshots its {name} less that of {baseline} alone is "
                f"{metric.value:+.3f} [{metric.lower:+.3f}, {metric.upper:+.3f}]"
            )
    return None


def objection_to(metrics: Sequence[tuple[str, str, Metric]], spec: PredictionSpec) -> str | None:
    """Why a version with these metrics must not serve by itself; None where it may."""
    if spec.promote == "never":
        return "promote is never"
    return not_beaten(metrics) if spec.promote == "when_better" else None


def scored(fitted: FittedModel, examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores in the order of the batches, both [rows]."""
    labels, scores = [], []
    for batch in examples.batches():
        labels.append(batch.column(LABEL).to_numpy(zero_copy_only=False))
        scores.append(fitted.predict(batch))
    return np.concatenate(labels), np.concatenate(scores)


def _baseline_scores(
    train: Examples, train_labels: np.ndarray, part: Examples, spec: PredictionSpec
) -> dict[str, np.ndarray]:
    """What each baseline says of the rows of `part`, float32 [rows]; a baseline without its columns is left out."""
    kind = spec.of_kind
    if kind.has_classes:
        return {kind.constant: _class_shares(train, part)}
    of_one, of_some = (
        (single_feature_scores, regression_scores)
        if isinstance(kind, Binary)
        else (single_feature_numbers, regression_numbers)
    )
    scored_by = {kind.constant: constant_scores(train_labels, part.rows())}
    if spec.recency in part.schema.names:
        [then], [now] = (_columns(rows, [spec.recency]).T for rows in (train, part))
        scored_by["recency"] = of_one(then, train_labels, now)
    if names := rfm_columns(part.schema, spec):
        scored_by["rfm"] = of_some(_columns(train, names), train_labels, _columns(part, names))
    if last := last_value_column(part.schema, spec):
        [values] = _columns(part, [last]).T
        scored_by["last_value"] = np.where(np.isfinite(values), values, scored_by[kind.constant])
    if item := part.schema.item:
        then_items, now_items = (_texts(rows, item) for rows in (train, part))
        scored_by["popularity"] = popularity_scores(then_items, train_labels, now_items)
    return scored_by


def _class_shares(train: Examples, part: Examples) -> np.ndarray:
    """The share of the training lists that have the class of each row of `part`, float32 [rows]."""
    own, asked = (
        rows.table.order_by(rows.schema.keys).select(name=rows.schema.item).to_pyarrow()["name"]
        for rows in (true_rows(train), part)
    )
    return share_scores(own, asked)


def _columns(examples: Examples, names: Sequence[str]) -> np.ndarray:
    """Numeric columns as float32, [rows, columns], in the order of the batches; NaN where they are missing."""
    return np.stack([examples.column(name).to_numpy(zero_copy_only=False) for name in names], axis=1)


def _texts(examples: Examples, column: str) -> list[str | None]:
    """A column as text in the order of the batches; None where it is NULL or NaN."""
    schema, values = examples.schema, examples.table[column]
    if values.type().is_floating():
        values = values.isnan().ifelse(None, values)
    ordered = examples.table.order_by(schema.keys).select(value=values.cast("string"))
    return ordered.to_pyarrow()["value"].to_pylist()


def _truth(con: duckdb.DuckDBPyConnection, examples: Examples, truth: str) -> np.ndarray:
    """The true probabilities in the order of the batches; NaN where the truth says nothing."""
    schema = examples.schema
    keys = examples.table.select(*schema.keys)
    backend = examples.table.get_backend()
    true = backend.sql(f"select * from {truth}")
    true = true.select(
        **{schema.entity: true[schema.entity], schema.as_of: true[schema.as_of], "probability": true[schema.label]}
    )
    joined = keys.left_join(true, [schema.entity, schema.as_of]).order_by(schema.keys)
    return joined.select(p=joined.probability.cast("float64")).to_pyarrow()["p"].to_numpy()


def entity_codes(examples: Examples) -> np.ndarray:
    """One integer an entity, in the order of the batches."""
    schema = examples.schema
    ordered = examples.table.order_by(schema.keys).select(schema.entity).to_pyarrow()
    return ordered[schema.entity].combine_chunks().dictionary_encode().indices.to_numpy()
