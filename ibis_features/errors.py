"""The exceptions that foretable raises. Each is also a builtin, so that callers may catch either."""


class ForetableError(Exception):
    """Something a user can mend. Its text is one or two plain sentences: what was found, what to do."""


class ConfigError(ForetableError, ValueError):
    """A prediction's config has an unknown key or value."""


class ExamplesError(ForetableError, ValueError):
    """The rows of a prediction's SELECT cannot be trained on or scored."""


class TrainingError(ForetableError, RuntimeError):
    """A trainer's library failed, or memory did not suffice, on a config and rows that looked right."""


class EntitiesError(ForetableError, ValueError):
    """A list of entities, or of entities and instants, cannot be looked up in the feature tables."""


class ArtifactError(ForetableError, ValueError):
    """A trained model's bytes are damaged, foreign, or do not fit the columns at hand."""


class NotFoundError(ForetableError, LookupError):
    """A file, table, prediction or version that was asked for is not there."""
