"""What a config's `select` asks for: methods that leave features out, one after another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ibis_features import ConfigError

RANKED = ("mutual_information", "chi_square", "permutation", "recursive")
"""Methods that keep so many of the best."""
METHODS = (*RANKED, "correlation")
EXAMPLE = "{'method': 'mutual_information', 'keep': 50} or {'method': 'correlation', 'above': 0.95}"


@dataclass(frozen=True)
class Step:
    """One method. keep: how many features stay. above: the correlation from which on one of two features goes."""

    method: str
    keep: int | None = None
    above: float = 0.95


def parse_select(config: Any) -> tuple[Step, ...]:
    """The steps of one mapping or of a list of them; raises ConfigError naming what was found and what is known."""
    if config is None:
        return ()
    given = config if isinstance(config, list) else [config]
    return tuple(_step(one) for one in given)


def _step(one: Any) -> Step:
    if not isinstance(one, Mapping) or "method" not in one:
        raise ConfigError(f"config select={one!r} is neither a mapping nor a list of mappings, such as {EXAMPLE}")
    method = one["method"]
    if method not in METHODS:
        raise ConfigError(f"unknown select method {method!r}; known: {', '.join(METHODS)}")
    takes = "keep" if method in RANKED else "above"
    if unknown := set(one) - {"method", takes}:
        raise ConfigError(f"select method '{method}' takes {takes}, not {', '.join(sorted(unknown))}: {EXAMPLE}")
    keep, above = one.get("keep"), one.get("above", Step.above)
    if takes == "keep" and (isinstance(keep, bool) or not isinstance(keep, int) or keep < 1):
        raise ConfigError(f"select method '{method}': keep={keep!r} is not a whole number above 0")
    if takes == "above" and not (isinstance(above, float) and 0 < above < 1):
        raise ConfigError(f"select method '{method}': above={above!r} is not a number between 0 and 1")
    return Step(method, keep, above)
