"""Ibis access to the feature store: features as of any instant, newest features, sequences, examples and splits."""

from ibis_features.catalog import ListedFeature
from ibis_features.errors import (
    ArtifactError,
    ConfigError,
    EntitiesError,
    ExamplesError,
    ForetableError,
    NotFoundError,
    TrainingError,
)
from ibis_features.examples import (
    Examples,
    check_classes,
    check_grades,
    check_keys,
    check_labels,
    check_numbers,
    labelled_snapshots,
    read_examples,
)
from ibis_features.online import Lookup
from ibis_features.rows import Rows
from ibis_features.schema import Feature, FeatureSchema, read_schema
from ibis_features.sequences import Sequences, Vocabulary
from ibis_features.splits import Split, purged_split, rolling_splits
from ibis_features.store import FeatureStore
from ibis_features.store import open_store as open
from ibis_features.warehouse import connect_backend, open_warehouse

__all__ = [
    "ArtifactError",
    "ConfigError",
    "EntitiesError",
    "Examples",
    "ExamplesError",
    "Feature",
    "FeatureSchema",
    "FeatureStore",
    "ForetableError",
    "ListedFeature",
    "Lookup",
    "NotFoundError",
    "Rows",
    "Sequences",
    "Split",
    "TrainingError",
    "Vocabulary",
    "check_classes",
    "check_grades",
    "check_keys",
    "check_labels",
    "check_numbers",
    "connect_backend",
    "labelled_snapshots",
    "open",
    "open_warehouse",
    "purged_split",
    "read_examples",
    "read_schema",
    "rolling_splits",
]
