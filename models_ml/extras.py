"""Libraries that a model family trains with and that come by an extra."""

import importlib
from types import ModuleType

from ibis_features import ConfigError


def required(family: str, module: str, *, extra: str) -> ModuleType:
    """The module; raises ConfigError with what to install where it is not there."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ConfigError(f"model '{family}' trains with {error.name}: pip install 'foretable[{extra}]'") from None
