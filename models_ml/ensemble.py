"""Ensembles: several trained models, its members, whose scores become one.

Members are averaged as log-odds, not as probabilities: what class weights and undersampling add to the log-odds of
every member they add to those of the ensemble, so that the prior is put right as for any model; contributions stay
sums; and members that are each right about something else do not draw each other towards the middle.

Sources: Wolpert, "Stacked generalization", Neural Networks 5(2), 1992; Satopää et al., "Combining multiple probability
predictions using a simple logit model", International Journal of Forecasting 30(2), 2014.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from ibis_features import ArtifactError, ConfigError, Examples, FeatureSchema
from ibis_features.examples import LABEL
from models_ml.calibration import probabilities
from models_ml.logistic import logistic
from models_ml.preconditions import positive_weight
from models_ml.spec import WAYS
from models_ml.splitting import fold_of
from models_ml.thresholds import choose_threshold
from models_ml.trainer import READS_SEQUENCES, FittedModel, Progress, trainer

FOLDS = 5
"""Of the entities: stacking trains each member so many times more, each time without one fold."""
PART = "ensemble.json"
"""The artifact's part that says how the members become one; the others are theirs, each under its member's name."""

FitMember = Callable[[str, Examples, Examples, Progress], FittedModel]
"""Trains the member of this name on some rows, stopped early by others."""


@dataclass(frozen=True)
class Combination:
    """How members become one, a number each: `intercept + weights · log-odds`.

    With thresholds members vote: `weights · (score >= threshold)` is the share of those that say true.
    """

    way: str
    weights: tuple[float, ...]
    intercept: float = 0.0
    thresholds: tuple[float, ...] = ()


class EnsembleModel:
    """Trained members by name, and how they become one. `schema` holds the features of all of them."""

    def __init__(self, members: Mapping[str, FittedModel], combination: Combination, schema: FeatureSchema) -> None:
        self.members = members
        self.combination = combination
        self.schema = schema

    def predict(self, batch: pa.RecordBatch) -> np.ndarray:
        """The probability of a true label, float32 [rows]; of a vote the share, see `margin`."""
        return probabilities(self.margin(batch).astype(np.float64))

    def margin(self, batch: pa.RecordBatch) -> np.ndarray:
        """The log-odds of a true label, float32 [rows].

        Of a vote those of the share of members that say true; where none does, or all do, as if one were undecided:
        the log-odds of 0 and 1 are infinite.
        """
        if not self.combination.thresholds:
            return _joined(self.combination, [member.margin(batch) for member in self.members.values()])
        says = [
            member.predict(batch) >= threshold
            for member, threshold in zip(self.members.values(), self.combination.thresholds, strict=True)
        ]
        return vote_log_odds(np.mean(says, axis=0), len(says))

    @property
    def tells_contributions(self) -> bool:
        """Not where members vote: a vote is no sum of what the features add."""
        return not self.combination.thresholds and all(m.tells_contributions for m in self.members.values())

    @property
    def base_log_odds(self) -> float:
        bases = np.array([member.base_log_odds for member in self.members.values()])
        return self.combination.intercept + float(bases @ self.combination.weights)

    def contributions(self, batch: pa.RecordBatch) -> np.ndarray:
        """The members' contributions, weighted as their log-odds are, float64 [rows, features].

        Raises ConfigError where members vote.
        """
        if self.combination.thresholds:
            raise ConfigError("an ensemble that votes tells no contributions; take ensemble='mean' or 'weighted'")
        places = {name: place for place, name in enumerate(self.schema.names)}
        out = np.zeros((batch.num_rows, len(places)))
        for member, weight in zip(self.members.values(), self.combination.weights, strict=True):
            out[:, [places[name] for name in member.schema.names]] += weight * member.contributions(batch)
        return out

    def dump(self) -> dict[str, bytes]:
        parts = {PART: json.dumps({"members": [*self.members], **asdict(self.combination)}).encode()}
        for name, member in self.members.items():
            parts |= {_prefix(name) + part: content for part, content in member.dump().items()}
        return parts

    def importance(self) -> dict[str, float]:
        """Empty: the gain of one member says nothing of the others."""
        return {}


def fit_ensemble(
    names: Sequence[str],
    way: str,
    train: Examples,
    stopping: Examples,
    validate: Examples,
    *,
    fit_member: FitMember,
    class_weight: str | None,
    prior_shift: float,
    seed: int,
    progress: Progress,
) -> EnsembleModel:
    """Members trained on `train`, stopped early by `stopping`, and joined in one of WAYS.

    weighted: the shares that sum to 1 with the least log-loss on `validate`, once `prior_shift` is taken off. vote:
    each member says true from its best F1 on `validate` on. stacking: a logistic regression on the log-odds of
    members that have seen no row of the entity, neither in training nor to stop by.
    """

    def fit_members(seen: Examples, stops: Examples, said: str = "") -> dict[str, FittedModel]:
        return {
            name: fit_member(name, _rows_of(name, names, seen), _rows_of(name, names, stops), _of(progress, said, name))
            for name in names
        }

    if way == "stacking":
        weight = positive_weight(train, stopping, class_weight)
        combination = _stacked(train, stopping, fit_members, weight=weight, seed=seed)
        return EnsembleModel(fit_members(train, stopping), combination, train.schema)
    members = fit_members(train, stopping)
    combination = Combination(way, (1 / len(names),) * len(names))
    if way == "weighted":
        labels, margins = _margins(members, validate)
        combination = replace(combination, weights=least_loss_weights(margins - prior_shift, labels))
    elif way == "vote":
        combination = replace(combination, thresholds=tuple(_threshold(m, validate) for m in members.values()))
    return EnsembleModel(members, combination, train.schema)


def vote_log_odds(shares: np.ndarray, members: int) -> np.ndarray:
    """The log-odds, float32 [rows], of the shares of so many members that say true; see `EnsembleModel.margin`."""
    undecided = 0.5 / members
    share = np.clip(shares, undecided, 1 - undecided)
    return (np.log(share) - np.log1p(-share)).astype(np.float32)


def least_loss_weights(log_odds: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    """The weights, at least 0 and 1 in all, whose mean of the log-odds [rows, members] has the least log-loss."""
    from scipy.optimize import minimize
    from scipy.special import expit

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mean = log_odds @ weights
        value = float(np.mean(np.logaddexp(0.0, mean) - labels * mean))
        return value, (expit(mean) - labels) @ log_odds / len(labels)

    members = log_odds.shape[1]
    found = minimize(
        loss,
        np.full(members, 1 / members),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * members,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        options={"ftol": 1e-12, "maxiter": 1_000},
    ).x
    weights = np.clip(found, 0.0, None)
    return tuple((weights / weights.sum()).tolist())


def load_ensemble(names: Sequence[str], parts: Mapping[str, bytes], schema: FeatureSchema) -> EnsembleModel:
    """Build an ensemble from the parts of its `dump`; raises ArtifactError where they do not fit."""
    foreign = [part for part in parts if part != PART and not part.startswith(tuple(map(_prefix, names)))]
    if foreign or PART not in parts:
        raise ArtifactError(f"an ensemble consists of {PART} and the parts of {', '.join(names)}; train anew")
    combination = _combination(names, parts[PART])
    members = {}
    for name in names:
        own = {part.removeprefix(_prefix(name)): parts[part] for part in parts if part.startswith(_prefix(name))}
        members[name] = trainer(name).load(own, _schema_of(name, names, schema))
    return EnsembleModel(members, combination, schema)


def _combination(names: Sequence[str], content: bytes) -> Combination:
    try:
        state: Mapping[str, Any] = json.loads(content)
        weights, thresholds = (tuple(map(float, state[key])) for key in ("weights", "thresholds"))
        combination = Combination(str(state["way"]), weights, float(state["intercept"]), thresholds)
        members = list(state["members"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ArtifactError("the ensemble cannot be read; the artifact is damaged: train anew") from error
    wanted = len(names) if combination.way == "vote" else 0
    is_whole = (len(weights), len(thresholds)) == (len(names), wanted) and members == list(names)
    if combination.way not in WAYS or not is_whole or not np.isfinite([*weights, combination.intercept]).all():
        raise ArtifactError("the ensemble does not fit its members; the artifact is damaged: train anew")
    return combination


def _stacked(
    train: Examples,
    stopping: Examples,
    fit_members: Callable[[Examples, Examples, str], Mapping[str, FittedModel]],
    *,
    weight: float,
    seed: int,
) -> Combination:
    labels, margins = [], []
    for number in range(FOLDS):
        unseen = fold_of(train, number, FOLDS, seed=seed)
        if not unseen.rows():
            continue
        seen, stops = (fold_of(rows, number, FOLDS, seed=seed, is_inside=False) for rows in (train, stopping))
        found = _margins(fit_members(seen, stops, f"fold {number + 1} of {FOLDS}: "), unseen)
        labels.append(found[0])
        margins.append(found[1])
    truth, log_odds = np.concatenate(labels), np.concatenate(margins)
    design = np.column_stack([np.ones(len(truth)), log_odds])
    # Weighted as the members were, so that the prior is shifted for the ensemble as it is for them.
    intercept, *weights = logistic(design, truth, np.where(truth == 1, weight, 1.0)).tolist()
    return Combination("stacking", tuple(weights), intercept)


def _joined(combination: Combination, margins: Sequence[np.ndarray]) -> np.ndarray:
    log_odds = np.full(len(margins[0]), combination.intercept)
    for weight, margin in zip(combination.weights, margins, strict=True):
        log_odds += weight * margin.astype(np.float64)
    return log_odds.astype(np.float32)


def _margins(members: Mapping[str, FittedModel], rows: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Labels [rows] and the members' log-odds, float64 [rows, members]."""
    labels, margins = [], []
    for batch in rows.batches():
        labels.append(batch.column(LABEL).to_numpy(zero_copy_only=False).astype(np.float64))
        margins.append(np.column_stack([member.margin(batch) for member in members.values()]).astype(np.float64))
    return np.concatenate(labels), np.concatenate(margins)


def _threshold(member: FittedModel, validate: Examples) -> float:
    """From which score on a member says true: the best F1 on these rows.

    It lies in the middle between two scores of these rows, so that a network's last bits turn no vote.
    """
    batches = list(validate.batches())
    labels = np.concatenate([batch.column(LABEL).to_numpy(zero_copy_only=False) for batch in batches])
    scores = np.concatenate([member.predict(batch) for batch in batches]).astype(np.float64)
    best = choose_threshold(None, labels, scores, snapshots=1)
    return float((best + scores[scores < best].max(initial=0.0)) / 2)


def _rows_of(name: str, names: Sequence[str], rows: Examples) -> Examples:
    return Examples(rows.table, _schema_of(name, names, rows.schema))


def _schema_of(name: str, names: Sequence[str], schema: FeatureSchema) -> FeatureSchema:
    """What a member reads: all features, but sequences only where it can, as long as another member reads them."""
    if name in READS_SEQUENCES or not set(names) & set(READS_SEQUENCES):
        return schema
    return replace(schema, features=tuple(schema.static))


def _prefix(name: str) -> str:
    return f"{name}__"


def _of(progress: Progress, said: str, name: str) -> Progress:
    return lambda step, share: progress(f"{said}{name}: {step}", share)
