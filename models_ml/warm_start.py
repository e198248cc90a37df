"""Going on from the version that serves, on the snapshots that are new to it, in place of training anew.

What it gives is compared with a full retrain on the test rows, and serves only where it is not worse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ibis_features import Examples, Split
from models_ml.bootstrap import Metric, with_difference, with_intervals
from models_ml.judging import entity_codes, scored
from models_ml.kinds import lists_of
from models_ml.metric_words import metric_word
from models_ml.spec import PredictionSpec
from models_ml.thresholds import choose_threshold, parse_threshold
from models_ml.trainer import FittedModel

WARM, FULL = "warm_start", "full_retrain"
LESS = "less_"
SCORED_BY = (WARM, FULL, LESS + WARM, LESS + FULL)
"""Whose figures stand beside a version's own: those of the model that does not serve, and the version's less these."""


@dataclass(frozen=True)
class Start:
    """What a training may go on from, or why it may not: `obstacle`, in words.

    snapshots: those that train and are new to the version before.
    """

    snapshots: tuple[datetime, ...] = ()
    obstacle: str | None = None


@dataclass(frozen=True)
class Compared:
    """The better model of two, the figures of the other one on the test rows, and what was compared, in words."""

    fitted: FittedModel
    metrics: tuple[tuple[str, str, Metric], ...]
    words: str


def start_from(before: Mapping[str, Sequence[str]], split: Split, *, horizon_days: int) -> Start:
    """On which snapshots a version goes on that has the split `before`, as text, where the new split is `split`.

    It has seen what it trained on, and it was stopped and calibrated by what it was validated on. Where all of the
    first train in the new split, too, they are purged from what validates and tests there; the windows of the second
    have to end before the first new test snapshot.
    """
    train = [_text(as_of) for as_of in split.train]
    if gone := set(before["train"]) - set(train):
        return Start(obstacle=f"it has trained on snapshots that train no more, such as {min(gone)[:10]}")
    first_test = datetime.fromisoformat(_text(split.test[0]))
    if any(datetime.fromisoformat(as_of) + timedelta(days=horizon_days) > first_test for as_of in before["validate"]):
        return Start(obstacle="it was stopped by snapshots whose windows reach into the test snapshots")
    fresh = tuple(as_of for as_of, text in zip(split.train, train, strict=True) if text not in before["train"])
    return Start(fresh) if fresh else Start(obstacle="no snapshot that trains is new to it")


def better_of(warm: FittedModel, full: FittedModel, spec: PredictionSpec, parts: Mapping[str, Examples]) -> Compared:
    """The warm model, unless the 95% interval of its deciding metric less that of the full one lies below 0.

    Both score the same resampled entities of the test rows. Where the metric is not defined there, the full one.
    """
    kind = spec.of_kind
    test = parts["test"]
    (labels, of_warm), (_, of_full) = (scored(fitted, test) for fitted in (warm, full))
    entities, lists = entity_codes(test), lists_of(test)
    by_warm, by_full = (kind.measures(labels, scores, lists=lists) for scores in (of_warm, of_full))
    less = with_difference(kind.deciding, by_warm, by_full, len(labels), entities=entities, seed=spec.seed)
    is_warm = less.upper >= 0
    other, name = (full, FULL) if is_warm else (warm, WARM)
    threshold = None
    if kind.has_threshold:
        rule, snapshots = parse_threshold(spec.threshold), parts["validate"].snapshot_count()
        threshold = choose_threshold(rule, *scored(other, parts["validate"]), snapshots=snapshots)
    by_other = kind.measures(labels, of_full if is_warm else of_warm, threshold=threshold, lists=lists)
    found = with_intervals(by_other, len(labels), entities=entities, seed=spec.seed)
    own = less if is_warm else replace(less, value=-less.value, lower=-less.upper, upper=-less.lower)
    metrics = [("test", name, metric) for metric in found]
    return Compared(
        warm if is_warm else full,
        (*metrics, ("test", LESS + name, own)),
        f"its test {metric_word(less.name)} less that of a full retrain is {less.value:+.3f} "
        f"[{less.lower:+.3f}, {less.upper:+.3f}], so the {'warm start' if is_warm else 'full retrain'} is taken",
    )


def _text(as_of: datetime) -> str:
    return f"{as_of:%Y-%m-%d %H:%M:%S}"
