"""Threads that TensorFlow may run on.

DuckDB calls a function from threads of its own, which have a Python state only during the call. TensorFlow's bindings
remember the state of a thread, and where they raise an error in a later call from the same thread, they take hold of
one that is gone: the process dies. So networks are built and asked on threads that Python itself has started.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

T = TypeVar("T")


def on_python_thread(work: Callable[[], T]) -> T:
    """Do it here where Python has started this thread, else on one that it has."""
    # A thread that Python has not started is a dummy to it.
    if isinstance(threading.current_thread(), threading._DummyThread):
        return _pool().submit(work).result()
    return work()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="foretable-network")
