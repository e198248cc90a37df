"""From which score on a row is said to be true: by F1, by what mistakes cost, or by how many can be looked after.

The threshold is chosen on the validation rows and kept with the version.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ibis_features import ConfigError
from models_ml.curves import Groups, best_f1_threshold

KNOWN = "f1, {'cost': {'false_positive': 1, 'false_negative': 5}}, {'capacity': 1000}, {'capacity': '5%'}"
WITHOUT_TRUE_LABEL = 0.5
"""The threshold where validation has no true label and F1 therefore no best."""
PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


@dataclass(frozen=True)
class Cost:
    """What one mistake of either kind costs, in any unit."""

    false_positive: float
    false_negative: float

    def __call__(self, false_positive: np.ndarray, false_negative: np.ndarray) -> np.ndarray:
        """What so many mistakes cost."""
        return self.false_positive * false_positive + self.false_negative * false_negative


@dataclass(frozen=True)
class Capacity:
    """How many rows of a snapshot may be said to be true: a number, or a share of them, rounded down."""

    rows: int | None = None
    share: Fraction | None = None

    def of(self, rows: int) -> int:
        """The capacity where a snapshot has so many rows."""
        return min(rows, self.rows) if self.rows is not None else math.floor(rows * (self.share or 0))


Rule = Cost | Capacity | None
"""None stands for the best F1."""


def parse_threshold(value: Any) -> Rule:
    """The rule of a config's `threshold`; raises ConfigError naming those that are known."""
    if value == "f1":
        return None
    if isinstance(value, Mapping) and set(value) == {"cost"}:
        return _cost(value["cost"])
    if isinstance(value, Mapping) and set(value) == {"capacity"}:
        return _capacity(value["capacity"])
    raise ConfigError(f"unknown threshold {_shown(value)}; known: {KNOWN}")


def choose_threshold(rule: Rule, labels: np.ndarray, scores: np.ndarray, *, snapshots: int) -> float:
    """The score from which on these rows, of so many snapshots, are said to be true.

    Of two as good, the higher one. It lies above all scores where no row had better be said to be true.
    """
    if rule is None:
        best = best_f1_threshold(labels, scores)
        return WITHOUT_TRUE_LABEL if best is None else best
    groups = Groups(labels, scores)
    from_place = [math.nextafter(float(groups.scores[0]), math.inf), *map(float, groups.scores)]
    if isinstance(rule, Cost):
        return from_place[int(np.argmin(rule(groups.missed, groups.found[-1] - groups.found)))]
    wanted = snapshots * rule.of(round(groups.rows / snapshots))
    return from_place[int(np.searchsorted(groups.above, wanted, "right")) - 1]


def _cost(given: Any) -> Cost:
    names = ("false_positive", "false_negative")
    if not isinstance(given, Mapping) or set(given) != set(names):
        raise ConfigError(f"config threshold cost={_shown(given)} has to give {' and '.join(names)}, each above 0")
    for name in names:
        if isinstance(given[name], bool) or not isinstance(given[name], int | float) or not 0 < given[name] < math.inf:
            raise ConfigError(f"config threshold cost {name}={given[name]!r} is not a number above 0")
    return Cost(*(float(given[name]) for name in names))


def _capacity(given: Any) -> Capacity:
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return Capacity(rows=given)
    found = PERCENT.fullmatch(given.strip()) if isinstance(given, str) else None
    if found and 0 < float(found[1]) <= 100:
        return Capacity(share=Fraction(found[1]) / 100)
    raise ConfigError(
        f"config threshold capacity={given!r} is neither a number of rows above 0 nor a share such as '5%'"
    )


def _shown(value: Any) -> str:
    return repr(dict(value)) if isinstance(value, Mapping) else repr(value)
