"""A dashboard of the published file in Apache Superset, which runs in an environment and a process of its own."""
