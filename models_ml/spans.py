"""Spans of time as people write them in a config."""

import re
from datetime import timedelta
from typing import Any

SPANS = re.compile(r"(\d+) (hour|day|week)s?")


def parse_span(text: Any) -> timedelta | None:
    """A whole number of hours, days or weeks above 0; None where it is no such span.

    >>> parse_span("7 days")
    datetime.timedelta(days=7)
    """
    found = SPANS.fullmatch(str(text).strip())
    return timedelta(**{f"{found[2]}s": int(found[1])}) if found and int(found[1]) else None
