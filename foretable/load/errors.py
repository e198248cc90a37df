"""What is raised where a source cannot be loaded."""

from ibis_features.errors import ForetableError


class LoadError(ForetableError, ValueError):
    """A source cannot be read as told. Nothing of the file or batch at hand has been loaded."""
