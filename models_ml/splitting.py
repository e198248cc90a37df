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
    return split, parts_of(examples, split)


def parts_of(examples: Examples, split: Split) -> dict[str, Examples]:
    """The labelled rows of a split by part: train, validate, test."""
    return {name: examples.at(split[name]) for name in ("train", "validate", "test")}
