"""What families check before they train: params within bounds, features that they read, and labels of both kinds."""

import math
from collections.abc import Collection, Mapping
from typing import Any

from ibis_features import ConfigError, Examples, ExamplesError, FeatureSchema
from models_ml.trainer import READS_SEQUENCES

Bounds = Mapping[str, tuple[float, float]]
"""The least and the greatest value that a param takes. A bound of type int asks for whole numbers."""

CLASS_WEIGHTS = (None, "balanced")


def check_params(family: str, params: Mapping[str, Any], bounds: Bounds) -> None:
    """Raises ConfigError where a param is not a number, not whole where it has to be, or out of its bounds."""
    for name, (low, high) in bounds.items():
        value = params[name]
        whole = isinstance(low, int)
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not low <= value <= high:
            kind = "a whole number" if whole else "a number"
            raise ConfigError(
                f"params.{name}={value!r} does not suit model '{family}': give {kind} from {low} to {high}"
            )


def check_kind(family: str, kind: str, known: Collection[str]) -> None:
    """Raises ConfigError where the family learns no labels of this kind."""
    if kind not in known:
        raise ConfigError(f"model '{family}' does not predict kind '{kind}', but: {', '.join(known)}")


def refuse_sequences(family: str, schema: FeatureSchema) -> None:
    """Raises ConfigError where there is a sequence, for a family that reads none."""
    if schema.sequences:
        names = ", ".join(feature.name for feature in schema.sequences)
        others = " or ".join(f"model='{name}'" for name in READS_SEQUENCES)
        raise ConfigError(f"{family} reads no sequences ({names}); list them in exclude, or use {others}")


def require_sequences(family: str, schema: FeatureSchema) -> None:
    """Raises ConfigError where there is no sequence, for a family that is made for them."""
    if not schema.sequences:
        raise ConfigError(
            f"{family} needs a sequence (a LIST column) in the SELECT; add one, or use model='mlp' or 'xgboost'"
        )


def positive_weight(train: Examples, validate: Examples, class_weight: str | None) -> float:
    """What one true label weighs against one false label: 1, or as many as make both kinds weigh the same.

    Raises ExamplesError where a model could learn nothing: training rows of one kind, or no validation row.
    """
    if class_weight not in CLASS_WEIGHTS:
        raise ConfigError(f"unknown class_weight {class_weight!r}; known: balanced, or leave it out")
    positive, negative = _label_counts(train)
    if not positive or not negative:
        found = "positive" if not positive else "negative"
        raise ExamplesError(
            f"no {found} label in the training rows ({positive + negative:,} rows, label '{train.schema.label}'); "
            "a model needs both kinds: check how the label is computed, change the horizon, "
            "or start the snapshots earlier"
        )
    check_stopping(validate, sum(_label_counts(validate)))
    return negative / positive if class_weight == "balanced" else 1.0


def check_varied(train: Examples, validate: Examples) -> None:
    """Raises ExamplesError where numbers teach nothing: training labels that are all alike, or no validation row."""
    label = train.table[train.schema.label].cast("float64")
    found = train.table.aggregate(rows=label.count(), least=label.min(), most=label.max()).to_pyarrow().to_pylist()[0]
    if not found["rows"] or found["least"] == found["most"]:
        raise ExamplesError(
            f"the {found['rows']:,} training rows all have the label '{train.schema.label}' {found['least']}; a model "
            "learns from labels that differ: check how the label is computed, or start the snapshots earlier"
        )
    check_stopping(validate, validate.rows())


def check_stopping(validate: Examples, rows: int) -> None:
    """Raises ExamplesError where early stopping has no labelled rows to go by."""
    if not rows:
        raise ExamplesError(
            f"no labelled validation row (label '{validate.schema.label_in_select}'); training stops early by these "
            "rows: bring a longer log, or start the snapshots earlier"
        )


def has_both_labels(examples: Examples) -> bool:
    """Is there a true label and a false one?"""
    return min(_label_counts(examples)) > 0


def prior_shift(train: Examples, sampled: Examples, validate: Examples, class_weight: str | None) -> float:
    """What training on `sampled` in place of `train`, with these weights, adds to the log-odds of a true label.

    Negatives that are left out and positives that weigh more both raise the odds by a factor that does not depend on
    the row: King and Zeng, "Logistic regression in rare events data", 2001.
    """
    weight = positive_weight(sampled, validate, class_weight)
    (_, negative), (_, kept) = _label_counts(train), _label_counts(sampled)
    return math.log(weight * negative / kept)


def _label_counts(examples: Examples) -> tuple[int, int]:
    """How many labels are true, and how many false."""
    label = examples.table[examples.schema.label].cast("float64")
    counts = examples.table.aggregate(positive=(label == 1).sum(), negative=(label == 0).sum()).to_pyarrow()
    row = counts.to_pylist()[0]
    return int(row["positive"] or 0), int(row["negative"] or 0)
