"""The parts of the examples that train, validate and test a prediction."""

import ibis.expr.types as ir

from ibis_features import Examples, ExamplesError, Split, labelled_snapshots, purged_split
from models_ml.spec import PredictionSpec

HOLDOUT = "holdout"


def split_examples(examples: Examples, spec: PredictionSpec) -> tuple[Split, dict[str, Examples]]:
    """The purged split that the spec asks for, and its parts by name, see `parts_of`.

    Raises ExamplesError where nothing is labelled, or the labelled history is too short for three parts.
    """
    split = purged_split(
        labelled_snapshots(examples, horizon_days=spec.horizon_days),
        horizon_days=spec.horizon_days,
        validate_snapshots=spec.validate_snapshots,
        test_snapshots=spec.test_snapshots,
    )
    return split, parts_of(examples, split, spec)


def parts_of(examples: Examples, split: Split, spec: PredictionSpec) -> dict[str, Examples]:
    """The labelled rows of a split by part: train, validate, test.

    With `holdout` a share of the entities is in none of these; their rows at the test snapshots are the part `holdout`.
    Raises ExamplesError where it has no rows.
    """
    parts = {name: examples.at(split[name]) for name in ("train", "validate", "test")}
    if spec.holdout is None:
        return parts
    held_out = _hash_is_below(examples, spec.holdout, f"{HOLDOUT}-{spec.seed}")
    unseen = _filtered(parts["test"], held_out)
    if not unseen.rows():
        raise ExamplesError(
            f"holdout={spec.holdout} leaves no entity with a labelled row at the test snapshots; hold out more"
        )
    return {**{name: _filtered(part, ~held_out) for name, part in parts.items()}, HOLDOUT: unseen}


def _filtered(examples: Examples, condition: ir.BooleanValue) -> Examples:
    return Examples(examples.table.filter(condition), examples.schema)


def _hash_is_below(examples: Examples, share: float, salt: str) -> ir.BooleanValue:
    """Is a row's entity among this share of all? Told by its MD5 with a salt, whichever other entities there are."""
    digest = (f"{salt}-" + examples.table[examples.schema.entity].cast("string")).hexdigest("md5")
    # Hexadecimal digits of one length sort as the numbers that they write.
    return digest.substr(0, 8) < f"{round(share * 16**8):08x}"


def fold_of(examples: Examples, number: int, folds: int, *, seed: int, is_inside: bool = True) -> Examples:
    """The rows of fold `number`, from 0, of so many of about equal size; or with `is_inside` false all the others.

    All rows of an entity are in one fold, told by its MD5 hash with the seed, whichever other entities there are.
    """
    salt = f"fold-{seed}"
    inside = ~_hash_is_below(examples, number / folds, salt)
    if number + 1 < folds:
        inside &= _hash_is_below(examples, (number + 1) / folds, salt)
    return _filtered(examples, inside if is_inside else ~inside)


def undersampled(examples: Examples, share: float | None, *, seed: int) -> Examples:
    """All rows with a true label, and the others of about this share of the entities: the same ones each time.

    An entity is kept or left out by its MD5 hash with the seed, whichever other entities and snapshots there are.
    """
    if share is None or share == 1:
        return examples
    is_true = examples.table[examples.schema.label].cast("float64") == 1
    return _filtered(examples, is_true | _hash_is_below(examples, share, f"undersample-{seed}"))
