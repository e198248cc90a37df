"""Builds that a test may kill or starve: `python -m tests.build_server`, one JSON of a build a line on standard input.

    {"warehouse": path, "bytes": none or the largest size that a file may grow to, "times": how often to build}

Each order runs in a fork of its own, so that the libraries are imported once. It says `open PID` once the warehouse is
open, `STEP SECONDS` when a build comes to a step, `built SECONDS` after it, `failed SENTENCE` where it fails; the
seconds are those of one clock. The server says `gone` when the order has ended.
"""

import json
import os
import resource
import sys
import time

import duckdb
import ibis  # noqa: F401
import xgboost  # noqa: F401

from tests.predicting import predict
from udfs.progress import listen

# What a build says of itself goes elsewhere.
ANSWERS = os.fdopen(os.dup(sys.stdout.fileno()), "w")


def main() -> None:
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            try:
                build(**json.loads(line))
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        say("gone")


def build(warehouse: str, bytes: int | None = None, times: int = 1) -> None:
    if bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, bytes))
    listen(lambda prediction, step, share: say(f"{step} {time.monotonic()}"))
    try:
        with duckdb.connect(warehouse) as con:
            say(f"open {os.getpid()}")
            for _ in range(times):
                message = predict(con, "select * from fixed", train="always")
                say(f"failed {message}" if message else f"built {time.monotonic()}")
    except duckdb.Error as error:
        say(f"failed {' '.join(str(error).split())}")


def say(words: str) -> None:
    print(words, file=ANSWERS, flush=True)


if __name__ == "__main__":
    main()
