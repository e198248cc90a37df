"""Ibis access to the feature store: examples, feature schemas and point-in-time splits as lazy tables."""

from ibis_features.errors import ArtifactError, ConfigError, ExamplesError, ForetableError, NotFoundError
from ibis_features.examples import Examples, check_keys, labelled_snapshots, read_examples
from ibis_features.schema import Feature, FeatureSchema, read_schema
from ibis_features.splits import Split, purged_split
from ibis_features.warehouse import connect_backend, open_warehouse

__all__ = [
    "ArtifactError",
    "ConfigError",
    "Examples",
    "ExamplesError",
    "Feature",
    "FeatureSchema",
    "ForetableError",
    "NotFoundError",
    "Split",
    "check_keys",
    "connect_backend",
    "labelled_snapshots",
    "open_warehouse",
    "purged_split",
    "read_examples",
    "read_schema",
]
