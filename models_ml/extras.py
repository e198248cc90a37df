"""Libraries that a family trains with and that come by an extra. Scoring does without them."""

from collections.abc import Mapping
from importlib.util import find_spec

from ibis_features import ConfigError
from models_ml.trainer import families

EXTRAS: Mapping[str, tuple[str, str]] = {
    "lightgbm": ("lightgbm", "lightgbm"),
    "random_forest": ("sklearn", "sklearn"),
}
"""By family the module that is imported and the extra that brings it."""


def check_extras(model: str) -> None:
    """Raises ConfigError where a family of the model lacks its library."""
    for family in families(model):
        module, extra = EXTRAS.get(family, ("", ""))
        if module and find_spec(module) is None:
            raise ConfigError(f"model '{family}' trains with {module}: pip install 'foretable[{extra}]'")
