"""A build handed to readers: one DuckDB file that is replaced as a whole, and its tables as Parquet and in Postgres."""
