"""What a prediction's config() may say, parsed and checked. Never evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from ibis_features import ConfigError
from models_ml.calibration import CALIBRATE
from models_ml.interactions import Interaction, parse_interactions
from models_ml.kinds import KINDS, Kind, kind_of
from models_ml.search_space import Tune, parse_tune
from models_ml.select_steps import Step, parse_select
from models_ml.spans import parse_span
from models_ml.thresholds import parse_threshold
from models_ml.trainer import TOGETHER, TRAINERS, families, trainer

WAYS = ("mean", "weighted", "vote", "stacking")
"""How the members of an ensemble become one."""
RETRAIN = ("when_changed", "always", "never")
PROMOTE = ("when_better", "always", "never")
POLICY = "{'every': '7 days', 'on_drift': 0.2, 'on_decay': 0.05}"
CLASS_WEIGHTS = (None, "balanced")


@dataclass(frozen=True)
class PredictionSpec:
    """A prediction's config.

    entity: column of the key. label: column to predict, NULL where not yet known. horizon_days: length of the label's
    window. kind: what the label is: 'binary', true or false; 'multiclass', one of a few classes; 'regression', a
    number; 'value', an amount that is 0 for many and never less; 'time_to_event', days until an event, horizon_days or
    more where it has not happened within them; 'ranking', how relevant an item is. item: column of the third key: what
    is put in order for the entity; a config names it for a ranking, for 'multiclass' it is the label's. model: the
    trainer, or all members of an ensemble, as in 'xgboost + mlp'; a config lists these. ensemble: how the members
    become one. params: the trainer's own settings, in an ensemble by member. exclude: columns that are not features.
    class_weight: 'balanced' weighs both classes alike in training. undersample: the share of the entities whose false
    labels train. select: leave features out, one step after another. interactions: pairs of features that become
    columns, or how many of them are to be found. tune: search the params. calibrate: how scores become probabilities:
    'isotonic', 'platt', or None. threshold: from which score on a row is said to be true: 'f1', {'cost':
    {'false_positive': 1, 'false_negative': 5}}, or {'capacity': 1000} or '5%' of a snapshot. warm_start: new snapshots
    go on from the version that serves. retrain: when to train; a mapping says when new rows alone are worth it:
    {'every': '7 days', 'on_drift': 0.2, 'on_decay': 0.05}. promote: whether a new version serves: when_better than its
    baselines, always, or never but by hand. seed: of all chance. validate_snapshots, test_snapshots: how many of the
    newest labelled snapshots judge the model. holdout: the share of the entities that never train, judged apart.
    recency: the feature whose value alone is a baseline. rfm: the features whose logistic regression is a baseline,
    None for those of RFM that the SELECT has. last_value: the feature whose own value is a baseline of an amount, None
    for purchase_value_<horizon_days>d where the SELECT has it. truth: relation with the true probabilities of a
    simulated shop, in a column named as the label. leak_check: refuse a feature that tells the label by itself.
    include_unversioned: train on attributes of which the source keeps only the present, too. slices: columns by whose
    values the model is judged apart. reasons: how many of the strongest reasons stand beside each score; 0 for none.
    """

    entity: str
    label: str
    horizon_days: int
    model: str
    kind: str = "binary"
    item: str | None = None
    as_of: str = "as_of"
    ensemble: str = "mean"
    params: Mapping[str, Any] | None = None
    exclude: tuple[str, ...] = ()
    class_weight: str | None = None
    select: tuple[Step, ...] = ()
    interactions: int | tuple[Interaction, ...] = ()
    tune: Tune | None = None
    undersample: float | None = None
    calibrate: str | None = "platt"
    threshold: str | Mapping[str, Any] | None = "f1"
    warm_start: bool = False
    retrain: str | Mapping[str, Any] = "when_changed"
    promote: str = "when_better"
    seed: int = 7
    validate_snapshots: int = 1
    test_snapshots: int = 1
    holdout: float | None = None
    recency: str = "recency_days"
    rfm: tuple[str, ...] | None = None
    last_value: str | None = None
    truth: str | None = None
    leak_check: bool = True
    include_unversioned: bool = False
    slices: tuple[str, ...] = ()
    reasons: int = 0

    @property
    def of_kind(self) -> Kind:
        """What the label is, and what scores of it are worth."""
        return kind_of(self.kind, self.horizon_days)

    @property
    def every(self) -> timedelta | None:
        """How often new rows alone are worth a training."""
        return parse_span(self.policy["every"]) if "every" in self.policy else None

    @property
    def policy(self) -> Mapping[str, Any]:
        """When new rows alone are worth a training, any of: every, on_drift, on_decay. Empty: always."""
        return self.retrain if isinstance(self.retrain, Mapping) else {}


def parse_spec(config: Mapping[str, Any]) -> PredictionSpec:
    """Check `config` and give its spec; raises ConfigError naming the key, what was found and what is known."""
    known = [field.name for field in fields(PredictionSpec)]
    if unknown := [key for key in config if key not in known]:
        raise ConfigError(f"unknown config {_keys(unknown)}; known: {', '.join(known)}")
    required = ("entity", "label", "horizon_days", "model")
    if missing := [key for key in required if config.get(key) is None]:
        raise ConfigError(
            f"config lacks {_keys(missing)}; a prediction needs at least "
            "config(materialized='prediction', entity='user_id', label='…', horizon_days=30, model='xgboost')"
        )
    for key in ("entity", "item", "label", "as_of", "recency", "truth", "last_value"):
        _check(config, key, isinstance(config.get(key, ""), str | None), "a name")
    for key in ("horizon_days", "validate_snapshots", "test_snapshots"):
        _check(config, key, _is_whole(config.get(key, 1)) and config.get(key, 1) > 0, "a whole number above 0")
    _check(config, "reasons", _is_whole(config.get("reasons", 0)) and config.get("reasons", 0) >= 0, "a whole number")
    _check(config, "seed", isinstance(config.get("seed", 0), int), "a whole number")
    holdout = config.get("holdout", 0.1)
    is_share = isinstance(holdout, float) and 0 < holdout < 1
    _check(config, "holdout", holdout is None or is_share, "a share between 0 and 1")
    for key in ("leak_check", "include_unversioned", "warm_start"):
        _check(config, key, isinstance(config.get(key, True), bool), "true or false")
    _check(config, "params", isinstance(config.get("params") or {}, Mapping), "a mapping of settings")
    columns = {key: config.get(key) or [] for key in ("exclude", "slices")}
    if config.get("rfm") is not None:
        columns["rfm"] = config["rfm"]
    for key, names in columns.items():
        _check(config, key, isinstance(names, list) and all(isinstance(n, str) for n in names), "a list of columns")
    model = _model(config)
    _choice(config, "kind", tuple(KINDS))
    kind = kind_of(config.get("kind", "binary"), config["horizon_days"])
    if isinstance(config.get("retrain"), Mapping):
        _check_policy(config["retrain"])
    else:
        _choice(config, "retrain", RETRAIN)
    _choice(config, "promote", PROMOTE)
    _choice(config, "class_weight", CLASS_WEIGHTS)
    _choice(config, "calibrate", CALIBRATE)
    _check_share(config)
    _check_item(config, kind)
    _check_kind(config, kind, model)
    _check_probabilities(config, model)
    _check_warm_start(config, model)
    if kind.has_threshold:
        parse_threshold(config.get("threshold", "f1"))
    lists = {key: tuple(dict.fromkeys(names)) for key, names in columns.items()}
    parsed = {
        "model": model,
        "ensemble": config.get("ensemble") or WAYS[0],
        "params": dict(config.get("params") or {}),
        "select": parse_select(config.get("select")),
        "interactions": parse_interactions(config.get("interactions")),
        "tune": parse_tune(config.get("tune"), kind.tuned_by),
    }
    if not kind.has_threshold:
        parsed |= {"calibrate": None, "threshold": None}
    if kind.has_classes:
        parsed["item"] = config["label"]
    return PredictionSpec(**{**config, **parsed, **lists})


def _check_item(config: Mapping[str, Any], kind: Kind) -> None:
    """Raises ConfigError where a ranking has no key of its items, or another kind has one."""
    item = config.get("item")
    if kind.has_items and not kind.has_classes and item is None:
        raise ConfigError(f"kind '{kind.name}' puts items in order; name the column of their key: item='item_id'")
    if (kind.has_classes or not kind.has_items) and item is not None:
        raise ConfigError(f"config item={item!r} is for kind 'ranking' alone; leave it out where kind is '{kind.name}'")
    others = {key: config.get(key, "as_of") for key in ("entity", "as_of", "label")}
    if twice := [key for key, column in others.items() if column == item]:
        raise ConfigError(f"config item={item!r} is the {twice[0]} already; an item is told by a column of its own")


def _check_kind(config: Mapping[str, Any], kind: Kind, model: str) -> None:
    """Raises ConfigError on what a prediction of this kind has not."""
    if kind.has_threshold:
        return
    of_probabilities = ("class_weight", "undersample", "calibrate", "threshold", "truth")
    if odd := [key for key in of_probabilities if config.get(key) is not None]:
        raise ConfigError(
            f"config {_keys(odd)} is about probabilities of true or false; leave it out where kind is '{kind.name}'"
        )
    if kind.has_classes:
        _check_classes(config)
    if len(families(model)) > 1:
        raise ConfigError(f"an ensemble joins probabilities; name one trainer where kind is '{kind.name}'")
    if kind.name not in trainer(model).KINDS:
        able = [name for name in TRAINERS if kind.name in trainer(name).KINDS]
        raise ConfigError(f"model '{model}' does not predict kind '{kind.name}'; take one of: {', '.join(able)}")
    if (config.get("params") or {}).get("loss") == "focal":
        raise ConfigError(f"params.loss 'focal' is about probabilities; leave it out where kind is '{kind.name}'")
    if isinstance(config.get("interactions"), int):
        raise ConfigError(f"interactions are found for kind 'binary' alone; name the pairs where kind is '{kind.name}'")


def _check_classes(config: Mapping[str, Any]) -> None:
    """Raises ConfigError on what a prediction of classes has not."""
    baselines = [key for key in ("recency", "rfm", "last_value") if config.get(key) is not None]
    if baselines:
        raise ConfigError(
            f"config {_keys(baselines)} names a baseline, and where kind is 'multiclass' the only one is the share of "
            "each class; leave it out"
        )
    if config.get("select"):
        raise ConfigError("select judges features by one label; leave columns out with exclude for kind 'multiclass'")
    if config.get("warm_start"):
        raise ConfigError(
            "warm_start goes on with one label, and the classes of kind 'multiclass' come and go; leave it out"
        )


def _check_share(config: Mapping[str, Any]) -> None:
    share = config.get("undersample")
    is_number = isinstance(share, int | float) and not isinstance(share, bool)
    _check(config, "undersample", share is None or (is_number and 0 < share <= 1), "a share above 0, at most 1")


def _model(config: Mapping[str, Any]) -> str:
    """The trainer's name, or those of an ensemble as one."""
    given = config["model"]
    if not isinstance(given, list):
        _choice(config, "model", tuple(TRAINERS))
        if config.get("ensemble") is not None:
            raise ConfigError(
                f"config ensemble={config['ensemble']!r} joins several models; list them: model=['{given}', '…']"
            )
        return given
    for name in given:
        _choice({"model": name}, "model", tuple(TRAINERS))
    if len(given) < 2 or len(set(given)) < len(given):
        raise ConfigError(f"config model={given!r} is not a list of at least two different trainers")
    if config.get("ensemble") is not None:
        _choice(config, "ensemble", WAYS)
    if config.get("tune") is not None:
        raise ConfigError(
            "tune searches the params of one trainer; search those of each member in a prediction of its own, and give "
            f"what it finds: params={{'{given[0]}': {{…}}}}"
        )
    if config.get("ensemble") == "vote" and config.get("reasons"):
        raise ConfigError("an ensemble that votes tells no reasons; take ensemble='mean', 'weighted' or 'stacking'")
    return TOGETHER.join(given)


def _check_probabilities(config: Mapping[str, Any], model: str) -> None:
    """Raises ConfigError where nothing would make probabilities of scores that are none."""
    if config.get("calibrate", "platt") is not None:
        return
    params, members = config.get("params") or {}, families(model)
    of_members = [params.get(name) for name in members] if len(members) > 1 else [params]
    if any(isinstance(given, Mapping) and given.get("loss") == "focal" for given in of_members):
        raise ConfigError(
            "the scores of params.loss 'focal' are no probabilities; give calibrate='platt' or 'isotonic'"
        )
    if config.get("ensemble") == "vote":
        raise ConfigError("shares of votes are no probabilities; give calibrate='platt' or 'isotonic'")


def _check_warm_start(config: Mapping[str, Any], model: str) -> None:
    if not config.get("warm_start"):
        return
    if len(families(model)) > 1:
        raise ConfigError("warm_start goes on with one trainer's model, not with an ensemble; leave it out")
    if config.get("calibrate", "platt") is None and (config.get("class_weight") or config.get("undersample")):
        raise ConfigError(
            "warm_start mixes what class_weight and undersample do at different times; give calibrate='platt' or "
            "'isotonic', which takes it off on the way"
        )


def _check_policy(policy: Mapping[str, Any]) -> None:
    if not policy or set(policy) - {"every", "on_drift", "on_decay"}:
        raise ConfigError(f"unknown retrain {dict(policy)!r}; known: {', '.join(RETRAIN)}, {POLICY}")
    if "every" in policy and parse_span(policy["every"]) is None:
        raise ConfigError(f"config retrain every={policy['every']!r} is not a span such as '12 hours' or '7 days'")
    for key in ("on_drift", "on_decay"):
        bound = policy.get(key, 1)
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not bound > 0:
            raise ConfigError(f"config retrain {key}={bound!r} is not a number above 0")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _keys(names: list[str]) -> str:
    return ("key " if len(names) == 1 else "keys ") + ", ".join(f"'{name}'" for name in names)


def _check(config: Mapping[str, Any], key: str, is_right: bool, expected: str) -> None:
    if not is_right:
        raise ConfigError(f"config {key}={config[key]!r} is not {expected}")


def _choice(config: Mapping[str, Any], key: str, known: tuple[Any, ...]) -> None:
    if key in config and (not isinstance(config[key], str | None) or config[key] not in known):
        names = ", ".join(str(choice) for choice in known if choice is not None)
        names += f", {POLICY}" if key == "retrain" else ""
        raise ConfigError(f"unknown {key} {config[key]!r}; known: {names}")
