"""Getting raw rows into the warehouse: files that come by the day, a REST API, a Postgres table.

`command` is what is typed, `run` what it does. `landing` writes; `files`, `rest` and `postgres` read.
"""
