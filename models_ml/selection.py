"""Leave features out before a training: what each method says of each feature, and why one stays or goes.

Everything is measured on the training rows; permutation and recursive fit models on them and look at the validation
rows. Embeddings and sequences always stay, the methods judge numbers and categories; and so do features that
`interactions` names, since what they tell together no method sees.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from ibis_features import Examples, Feature
from ibis_features.examples import LABEL
from models_ml.association import chi_square, mutual_information, rank_correlations, value_codes
from models_ml.fitting import fit_spec
from models_ml.kinds import LOWER_IS_BETTER, Binary, Lists, lists_of
from models_ml.select_steps import Step
from models_ml.spec import PredictionSpec
from models_ml.trainer import FittedModel, Progress

SAMPLE_ROWS = 50_000
"""More rows than this tell nothing new of a feature, and hundreds of columns have to fit into memory."""
DROPPED_A_ROUND = 0.25
"""Of the features, by recursive, at most."""
JUDGED_ROLES = ("number", "category")


@dataclass(frozen=True)
class Verdict:
    """What one step, counted from 1, said of one feature."""

    step: int
    method: str
    feature: str
    score: float
    is_kept: bool
    reason: str


def select_features(
    spec: PredictionSpec, parts: Mapping[str, Examples], *, progress: Progress
) -> tuple[dict[str, Examples], list[Verdict]]:
    """The parts with the features that stay after all steps of `select`, and what each step said of each feature."""
    kept, verdicts = dict(parts), []
    for number, step in enumerate(spec.select, start=1):
        progress("selecting", (number - 1) / len(spec.select))
        found = _judged(step, number, spec, kept, progress)
        verdicts += found
        gone = {verdict.feature for verdict in found if not verdict.is_kept}
        kept = {name: _without(part, gone) for name, part in kept.items()}
    return kept, verdicts


def _judged(
    step: Step, number: int, spec: PredictionSpec, parts: Mapping[str, Examples], progress: Progress
) -> list[Verdict]:
    named = _named(spec)
    features = parts["train"].schema.features
    judged = [feature for feature in features if feature.role in JUDGED_ROLES and feature.name not in named]
    if step.method == "permutation":
        scores = _permuted(spec, parts, judged, progress)
        return _best(step, number, scores, f"{_missed(spec)} {{:.5f}} when it is shuffled")
    if step.method == "recursive":
        return _recursive(step, number, spec, parts, judged, progress)
    table, labels = _sample(parts["train"], judged, spec)
    if not isinstance(spec.of_kind, Binary):
        labels = value_codes(pa.array(labels, pa.float32()))
    if step.method == "correlation":
        return _uncorrelated(step, number, table, labels, judged)
    measure, words = {
        "mutual_information": (mutual_information, "it tells {:.5f} nats of the label"),
        "chi_square": (chi_square, "its chi-square with the label is {:.1f}"),
    }[step.method]
    scores = {f.name: measure(value_codes(table[f.name].combine_chunks()), labels) for f in judged}
    return _best(step, number, scores, words)


def _best(step: Step, number: int, scores: Mapping[str, float], words: str) -> list[Verdict]:
    """Keep so many of the highest scores; of equal ones those that come first in the SELECT."""
    assert step.keep is not None
    ranked = sorted(scores, key=lambda name: -scores[name])
    return [
        Verdict(
            *(number, step.method, name, scores[name], place <= step.keep),
            reason=f"{words.format(scores[name])}: place {place} of {len(ranked)}, {step.keep} stay",
        )
        for place, name in enumerate(ranked, start=1)
    ]


def _uncorrelated(
    step: Step, number: int, table: pa.Table, labels: np.ndarray, judged: Sequence[Feature]
) -> list[Verdict]:
    """Going down by what the numbers tell of the label, leave out what correlates with one that stays."""
    numbers = [feature.name for feature in judged if feature.role == "number"]
    if not numbers:
        return []
    columns = [table[name].combine_chunks() for name in numbers]
    told = np.array([mutual_information(value_codes(column), labels) for column in columns])
    correlations = rank_correlations(np.stack([column.to_numpy(zero_copy_only=False) for column in columns], axis=1))
    verdicts: list[Verdict] = []
    stay: list[int] = []
    for place in np.argsort(-told, kind="stable").tolist():
        rivals = np.abs(correlations[place][stay]) if stay else np.zeros(1)
        closest = float(rivals.max())
        is_kept = closest <= step.above
        rival = numbers[stay[int(rivals.argmax())]] if stay else None
        reason = f"correlates {closest:.2f} with {rival}" if rival else "tells most of the label"
        verdicts.append(Verdict(number, step.method, numbers[place], closest, is_kept, reason))
        if is_kept:
            stay.append(place)
    return verdicts


def _recursive(
    step: Step,
    number: int,
    spec: PredictionSpec,
    parts: Mapping[str, Examples],
    judged: Sequence[Feature],
    progress: Progress,
) -> list[Verdict]:
    """Fit, leave out the quarter that matters least, and fit again, until so many stay."""
    assert step.keep is not None
    left, rounds = list(judged), 0
    scores = dict.fromkeys((feature.name for feature in judged), np.nan)
    verdicts: list[Verdict] = []
    while len(left) > step.keep:
        rounds += 1
        gone = {verdict.feature for verdict in verdicts}
        scores = _permuted(spec, {name: _without(part, gone) for name, part in parts.items()}, left, progress)
        worst = sorted(left, key=lambda feature: scores[feature.name])
        for feature in worst[: min(len(left) - step.keep, max(1, int(len(left) * DROPPED_A_ROUND)))]:
            score = scores[feature.name]
            reason = f"in round {rounds} {_missed(spec)} {score:.5f} when it is shuffled"
            verdicts.append(Verdict(number, step.method, feature.name, score, False, reason))
            left.remove(feature)
    reason = f"it is left after {rounds} rounds"
    return [Verdict(number, step.method, f.name, scores[f.name], True, reason) for f in left] + verdicts


def _permuted(
    spec: PredictionSpec, parts: Mapping[str, Examples], judged: Sequence[Feature], progress: Progress
) -> dict[str, float]:
    """How much the kind's loss on the validation rows rises when a column is shuffled, by feature."""
    alone = replace(spec, interactions=())
    fitted = fit_spec(alone, parts["train"], parts["validate"], params=spec.params or {}, progress=progress)
    features = parts["validate"].schema.features
    table, labels = _sample(parts["validate"], features, spec)
    lists = lists_of(parts["validate"])
    lists = lists.at(_sampled_places(parts["validate"], spec)) if lists else None
    batch = table.combine_chunks().to_batches()[0]
    loss = spec.of_kind.loss(labels, fitted.predict(batch), lists=lists)
    return {f.name: _loss_without(spec, fitted, batch, f.name, labels, lists) - loss for f in judged}


def _missed(spec: PredictionSpec) -> str:
    """How the loss of a feature shows, in words."""
    metric = spec.of_kind.missing
    rises = "rises" if metric in LOWER_IS_BETTER else "falls"
    return f"the validation {metric.replace('_', '-' if metric == 'log_loss' else ' ')} {rises} by"


def _loss_without(
    spec: PredictionSpec,
    fitted: FittedModel,
    batch: pa.RecordBatch,
    name: str,
    labels: np.ndarray,
    lists: Lists | None,
) -> float:
    place = batch.schema.get_field_index(name)
    order = pa.array(np.random.default_rng(spec.seed).permutation(batch.num_rows))
    shuffled = batch.set_column(place, name, batch.column(place).take(order))
    return spec.of_kind.loss(labels, fitted.predict(shuffled), lists=lists)


def _sample(examples: Examples, features: Sequence[Feature], spec: PredictionSpec) -> tuple[pa.Table, np.ndarray]:
    """At most SAMPLE_ROWS rows of these features in the types that models read, and their labels, [rows]."""
    some = Examples(examples.table, replace(examples.schema, features=tuple(features)))
    kept = _sampled_places(examples, spec)
    pieces, start = [], 0
    for batch in some.batches():
        low, high = np.searchsorted(kept, [start, start + batch.num_rows])
        pieces.append(batch.take(pa.array(kept[low:high] - start)))
        start += batch.num_rows
    table = pa.Table.from_batches(pieces)
    return table.drop_columns([LABEL]), table[LABEL].to_numpy()


def _sampled_places(examples: Examples, spec: PredictionSpec) -> np.ndarray:
    """Which rows, in the order of the batches, a sample of at most SAMPLE_ROWS takes: the same ones each time."""
    total = examples.rows()
    if total <= SAMPLE_ROWS:
        return np.arange(total)
    return np.sort(np.random.default_rng(spec.seed).choice(total, SAMPLE_ROWS, replace=False))


def _named(spec: PredictionSpec) -> set[str]:
    """The features of the pairs that the config names."""
    pairs = () if isinstance(spec.interactions, int) else spec.interactions
    return {name for pair in pairs for name in (pair.feature, pair.other)}


def _without(examples: Examples, gone: set[str]) -> Examples:
    features = tuple(feature for feature in examples.schema.features if feature.name not in gone)
    return Examples(examples.table, replace(examples.schema, features=features))
