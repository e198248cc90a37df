"""The parts of the examples that train, validate and test a prediction."""

from ibis_features import Examples, Split, labelled_snapshots, purged_split
from models_ml.spec import PredictionSpec


def split_examples(examples: Examples, spec: PredictionSpec) -> tuple[Split, dict[str, Examples]]:
    """The purged split that the spec asks for, and its parts by name: train, validate, test.

    Raises ExamplesError where nothing is labelled, or the labelled history is too short for three parts.
    """
    split = purged_split(
        labelled_snapshots(examples, horizon_days=spec.horizon_days),
        horizon_days=spec.horizon_days,
        validate_snapshots=spec.validate_snapshots,
        test_snapshots=spec.test_snapshots,
    )
    return split, {name: examples.at(split[name]) for name in ("train", "validate", "test")}


def undersampled(examples: Examples, share: float | None, *, seed: int) -> Examples:
    """All rows with a true label, and the others of about this share of the entities: the same ones each time.

    An entity is kept or left out by its MD5 hash with the seed, whichever other entities and snapshots there are.
    """
    if share is None:
        return examples
    table, schema = examples.table, examples.schema
    digest = (table[schema.entity].cast("string") + f"-{seed}").hexdigest("md5")
    # Hexadecimal digits of one length sort as the numbers that they write.
    is_kept = digest.substr(0, 8) < f"{round(share * 16**8):08x}"
    return Examples(table.filter((table[schema.label].cast("float64") == 1) | is_kept), schema)
