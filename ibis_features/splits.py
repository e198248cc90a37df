"""Splits by time. The newest labelled snapshots test, those before validate, the rest train, purged of overlap."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ibis_features.errors import ExamplesError


@dataclass(frozen=True)
class Split:
    """Which snapshots (as_of instants) train, validate and test, and which were purged between them."""

    train: tuple[datetime, ...]
    validate: tuple[datetime, ...]
    test: tuple[datetime, ...]
    purged: tuple[datetime, ...] = ()

    def __getitem__(self, name: str) -> tuple[datetime, ...]:
        return {"train": self.train, "validate": self.validate, "test": self.test}[name]


def purged_split(
    labelled: Sequence[datetime], *, horizon_days: int, validate_snapshots: int = 1, test_snapshots: int = 1
) -> Split:
    """Split labelled snapshots by time so that no label window reaches into a later split.

    A snapshot at t trains only if t + horizon lies at or before the first validation snapshot, and validates
    only if t + horizon lies at or before the first test snapshot. What lies between is purged.
    Raises ExamplesError where the labelled history is too short for three splits.
    """
    horizon = timedelta(days=horizon_days)
    snapshots = sorted(set(labelled))
    test = snapshots[-test_snapshots:]
    before_test = [t for t in snapshots if test and t + horizon <= test[0]]
    validate = before_test[-validate_snapshots:]
    train = [t for t in snapshots if validate and t + horizon <= validate[0]]
    if not train:
        span = f"{snapshots[0]:%Y-%m-%d} to {snapshots[-1]:%Y-%m-%d}" if snapshots else "no time at all"
        raise ExamplesError(
            f"the {len(snapshots)} labelled snapshots span {span}; training, validation and test each need one, "
            f"{horizon_days} days apart. Bring a longer log, start the snapshot grid earlier, or shorten the horizon"
        )
    used = {*train, *validate, *test}
    return Split(tuple(train), tuple(validate), tuple(test), tuple(t for t in snapshots if t not in used))


def rolling_splits(
    labelled: Sequence[datetime],
    *,
    horizon_days: int,
    validate_snapshots: int = 1,
    test_snapshots: int = 1,
    folds: int,
) -> list[Split]:
    """Purged splits of shorter and shorter histories, the oldest first; the last one is that of the whole history.

    A fold's history ends where the label windows of its test snapshots still lie before the test snapshots of the
    next fold: no outcome is judged twice. Raises ExamplesError where the history is too short for so many folds.
    """
    splits: list[Split] = []
    history = sorted(set(labelled))
    while len(splits) < folds:
        try:
            split = purged_split(
                history,
                horizon_days=horizon_days,
                validate_snapshots=validate_snapshots,
                test_snapshots=test_snapshots,
            )
        except ExamplesError:
            if not splits:
                raise
            raise ExamplesError(
                f"the labelled history is long enough for {len(splits)} of {folds} folds, whose test snapshots lie "
                f"{horizon_days} days apart; ask for fewer, bring a longer log, or start the snapshot grid earlier"
            ) from None
        splits.append(split)
        history = [t for t in history if t + timedelta(days=horizon_days) <= split.test[0]]
    return splits[::-1]
