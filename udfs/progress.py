"""Where long work tells how far it is: to a listener such as the command line's, else to dbt's log."""

import time
from collections.abc import Callable

from models_ml.trainer import Progress

Listener = Callable[[str, str, float], None]
"""Called with the prediction, the step's name and its share done, 0 to 1."""

SECONDS_BETWEEN_LINES = 5.0

_listeners: list[Listener] = []


def listen(listener: Listener) -> None:
    """Send the progress of this process to `listener` instead of dbt's log."""
    _listeners.append(listener)


def report(prediction: str) -> Progress:
    """A progress callback for one prediction."""
    last_line = time.monotonic()

    def progress(step: str, share: float) -> None:
        nonlocal last_line
        for listener in _listeners:
            listener(prediction, step, share)
        if not _listeners and time.monotonic() - last_line >= SECONDS_BETWEEN_LINES:
            last_line = time.monotonic()
            say(f"{prediction}: {step} {share:.0%}")

    return progress


def say(line: str) -> None:
    """One line in dbt's log."""
    from dbt.adapters.events.logging import AdapterLogger

    AdapterLogger("foretable").info(line)
