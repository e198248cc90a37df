"""Scorers: trained models that SQL can call, and the dbt plugin that trains them."""

from udfs.scorers import register

__all__ = ["register"]
