"""Secrets of a source: taken from the environment where `${NAME}` stands, kept out of all that is shown or stored."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

from foretable.project import Refusal

_REFERENCE = re.compile(r"\$\{(\w+)\}")


class Credentials:
    """What has been taken from the environment, to be hidden again."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.environment = environment
        self.hidden: dict[str, str] = {}

    def expand(self, text: str, *, in_address: bool = False) -> str:
        """The text with every ${NAME} as the environment has it; raises Refusal where it has none.

        In an address the value is written as %XX where it has to be.
        """

        def value(found: re.Match[str]) -> str:
            name = found[1]
            if not self.environment.get(name):
                raise Refusal(f"the environment has no {name}, which ${{{name}}} asks for; set it first")
            self.hide(self.environment[name], f"${{{name}}}")
            return quote(self.environment[name], safe="") if in_address else self.environment[name]

        return _REFERENCE.sub(value, text)

    def hide(self, secret: str, shown: str = "***") -> None:
        """From now on `redact` writes `shown` for this."""
        for form in {secret, quote(secret, safe=""), quote_plus(secret)} - {""}:
            self.hidden.setdefault(form, shown)

    def redact(self, text: str) -> str:
        """The text without any secret; a secret of the environment is its ${NAME}, which `expand` undoes."""
        for form in sorted(self.hidden, key=len, reverse=True):
            text = text.replace(form, self.hidden[form])
        return text
