"""What is raised where a build cannot be published."""

from ibis_features.errors import ForetableError


class PublishError(ForetableError, ValueError):
    """The build cannot be published as told. What was published before stands."""
