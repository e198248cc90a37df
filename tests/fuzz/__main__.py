"""Break logs for as long as is wanted; --replay SEED repeats one round."""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.check import WrongError, check_round
from tests.fuzz.mutate import make_case
from tests.fuzz.oracle import RUN_AT
from tests.pipeline import Pipeline

VARIABLES = {"history_days": 3, "snapshot_every": "2 days", "horizons": [1], "run_at": RUN_AT.isoformat(sep=" ")}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000, help="how many logs to break")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other logs")
    parser.add_argument("--first", type=int, default=0, help="the round to begin with")
    parser.add_argument("--most", type=int, default=5, help="stop after so many failures")
    parser.add_argument("--replay", help="the seed of one round, as a failure prints it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(Path(folder), VARIABLES)
        if options.replay:
            print(make_case(options.replay))
            print(check_round(pipeline, options.replay))
            return 0
        ended: Counter[str] = Counter()
        for number in range(options.first, options.first + options.rounds):
            try:
                ended[check_round(pipeline, f"{options.seed}:{number}")] += 1
            except WrongError as error:
                ended["wrong"] += 1
                print(error, flush=True)
                if ended["wrong"] >= options.most:
                    break
        print(f"seed {options.seed}: " + ", ".join(f"{count} {how}" for how, count in sorted(ended.items())))
        return 1 if ended["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
