"""A small local web page on one DuckDB file: who is likely, why, and what if."""
