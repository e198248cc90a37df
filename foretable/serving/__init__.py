"""Scores of one DuckDB file for many clients: what it offers, scores of a row, and SQL that can do no harm."""
