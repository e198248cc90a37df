"""Opening a warehouse for reading, whatever state a build has left it in."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from ibis_features.reader import open_reader

KILLED = """
import duckdb, os, sys
con = duckdb.connect(sys.argv[1])
con.execute("set wal_autocheckpoint = '1GB'")
con.execute("create table scores as select range as user_id from range(300000)")
con.execute("create unique index users on scores (user_id)")
con.execute("begin; delete from scores")
os._exit(9)
"""


def test_a_file_that_a_killed_build_left_behind_is_read_up_to_its_last_commit(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False)
    with pytest.raises(duckdb.IOException, match="replaying WAL"):
        duckdb.connect(str(file), read_only=True)
    with open_reader(file) as con:
        assert con.execute("select count(*) from scores").fetchone() == (300_000,)
        with pytest.raises(duckdb.InvalidInputException, match="read-only"):
            con.execute("delete from scores")


def test_a_file_that_is_no_warehouse_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    file.write_bytes(b"something else altogether" * 1000)
    with pytest.raises(duckdb.IOException, match="not a valid DuckDB"):
        open_reader(file)
    assert file.read_bytes() == b"something else altogether" * 1000
