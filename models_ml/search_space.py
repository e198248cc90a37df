"""What a config's `tune` asks for: a budget, a metric, and the params to search between which bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from ibis_features import ConfigError
from models_ml.preconditions import check_params
from models_ml.spans import parse_span
from models_ml.trainer import merged_params, trainer

RANGE = "{'low': 0.01, 'high': 0.3, 'log': true} or {'choices': [0.1, 0.2]}"

Space = Mapping[str, Mapping[str, Any]]
"""By param, either low, high and log, or choices. A param that takes whole numbers is searched in whole numbers."""


@dataclass(frozen=True, kw_only=True)
class Tune:
    """A search: at most so many trials and minutes, judged by a metric on the validation rows.

    space: what is searched, in place of the family's own SPACE. every: after which time new rows are worth another
    search; None: never, as long as the definition is the same.
    """

    trials: int = 30
    minutes: float | None = None
    metric: str
    space: Space | None = None
    every: str | None = None

    @property
    def span(self) -> timedelta | None:
        return parse_span(self.every) if self.every else None

    def is_spent(self, trials: int, seconds: float) -> bool:
        """Have so many trials in so many seconds used up the budget?"""
        return trials >= self.trials or (trials > 0 and self.minutes is not None and seconds >= self.minutes * 60)


def parse_tune(config: Any, metrics: Sequence[str]) -> Tune | None:
    """`metrics` are those of the kind, the first where the config names none.

    Raises ConfigError naming the key, what was found and what is known.
    """
    if config is None:
        return None
    known = [field.name for field in fields(Tune)]
    if not isinstance(config, Mapping) or set(config) - set(known):
        raise ConfigError(f"unknown tune {config!r}; it is a mapping of: {', '.join(known)}")
    trials, minutes = config.get("trials", 1), config.get("minutes")
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise ConfigError(f"config tune trials={trials!r} is not a whole number above 0")
    if minutes is not None and (isinstance(minutes, bool) or not isinstance(minutes, int | float) or not minutes > 0):
        raise ConfigError(f"config tune minutes={minutes!r} is not a number above 0")
    if config.get("metric", metrics[0]) not in metrics:
        raise ConfigError(f"unknown tune metric {config['metric']!r}; known: {', '.join(metrics)}")
    if config.get("every") is not None and parse_span(config["every"]) is None:
        raise ConfigError(f"config tune every={config['every']!r} is not a span such as '12 hours' or '7 days'")
    space = config.get("space")
    if space is not None and (not isinstance(space, Mapping) or not space):
        raise ConfigError(f"config tune space={space!r} is not a mapping of params, such as {{'eta': {RANGE}}}")
    return Tune(**{"metric": metrics[0], **config})


def search_space(model: str, params: Mapping[str, Any], tune: Tune) -> dict[str, Mapping[str, Any]]:
    """What is searched, by param; a param that the config sets itself stays as it is set.

    Raises ConfigError where a param is unknown, set and searched, or searched beyond what the family takes.
    """
    family = trainer(model)
    if tune.space is None:
        own = {name: one for name, one in family.SPACE.items() if name not in params}
        if not own:
            raise ConfigError("params sets all that tune would search; leave some out, or name others in tune.space")
        return own
    merged_params(model, dict.fromkeys(tune.space))
    if both := [name for name in tune.space if name in params]:
        raise ConfigError(f"params sets {', '.join(both)}, which tune.space searches; leave one of the two out")
    for name, one in tune.space.items():
        for value in _ends(name, one):
            check_params(model, {name: value}, {name: family.BOUNDS[name]})
    return dict(tune.space)


def _ends(name: str, one: Any) -> list[Any]:
    """The values that bound a param: the choices, or low and high."""
    keys = set(one) if isinstance(one, Mapping) else set()
    if keys == {"choices"} and isinstance(one["choices"], list) and one["choices"]:
        return one["choices"]
    if keys - {"log"} != {"low", "high"} or not isinstance(one.get("log", False), bool):
        raise ConfigError(f"config tune space {name}={one!r} is neither {RANGE}")
    ends = [one["low"], one["high"]]
    if all(isinstance(end, int | float) for end in ends) and not (
        ends[0] < ends[1] and (ends[0] > 0 or not one.get("log"))
    ):
        raise ConfigError(f"config tune space {name}: low={ends[0]} is not below high={ends[1]}, or 0 with log")
    return ends
