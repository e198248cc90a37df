"""Snapshots of the past that are asked for: added, interrupted, resumed, and alike to those of a full refresh."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import pytest

from foretable.backfill import snapshot_count
from foretable.project import Refusal
from tests.growing import assert_equal_tables, at, make_shop, rebuilt_models, tables_of, write_shop

SETTINGS = {
    **{"history_days": 20, "snapshot_every": "1 day", "horizons": [1], "windows": [7, 30, 90]},
    "batch_rows": 1,  # one snapshot a batch
}
RANGE = ("--from", "2025-01-08", "--to", "2025-02-18")
"""It reaches beyond the end of the log: the newest snapshot stays the newest."""
ASKED = {at(days) for days in range(7, 21)}


ONE_LOG = {**os.environ, "DBT_LOG_FILE_MAX_BYTES": "0"}
"""dbt's log, which tells the batches, is not cut."""


def foretable(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "foretable", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=ONE_LOG, check=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a shop and its warehouse. Copy it before you write."""
    folder = tmp_path_factory.mktemp("built")
    write_shop(folder / "shop", make_shop(5, 24, has_loaded_at=True), at(26), random.Random(5))
    build(folder)
    return folder


def build(folder: Path, *arguments: str) -> None:
    done = foretable(
        folder, "build", "--data", "shop", "--vars", json.dumps(SETTINGS),
        "--exclude", "config.materialized:prediction+", "--no-tests", *arguments,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Callable[[str], Path]:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(built, tmp_path / name))

    return copy


def backfill(folder: Path) -> None:
    done = foretable(folder, "backfill", *RANGE)
    assert done.returncode == 0, done.stderr


def snapshots(folder: Path, table: str = "features__user") -> set[object]:
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as con:
        return {as_of for (as_of,) in con.execute(f"select distinct as_of from {table}").fetchall()}


def log_of(folder: Path) -> Path:
    return folder / ".foretable" / "warehouse" / "logs" / "dbt.log"


def batches_since(folder: Path, start: int, table: str = r"\w+") -> int:
    """How many batches of snapshots, of one table or of all, have begun since the log had this size."""
    with log_of(folder).open() as lines:
        lines.seek(start)
        return len(re.findall(rf'delete from "\w+"\."\w+"\."{table}" where as_of in ', lines.read()))


def kill_in_the_middle(folder: Path, table: str, batches: int) -> None:
    """Start a backfill and kill it once it has begun so many batches of a table: those before are committed."""
    start = log_of(folder).stat().st_size
    process = subprocess.Popen(
        [sys.executable, "-m", "foretable", "backfill", *RANGE],
        cwd=folder, env=ONE_LOG, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None:
        if batches_since(folder, start, table) >= batches:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    assert process.wait() == -signal.SIGKILL, "the backfill ended before it was killed"


def test_a_backfill_that_was_killed_goes_on_and_equals_a_full_refresh(copied: Callable[[str], Path]) -> None:
    whole, killed = copied("whole"), copied("killed")
    before = snapshots(whole)
    assert not ASKED & before
    backfill(whole)
    assert snapshots(whole) == ASKED | before
    assert not rebuilt_models(whole / "warehouse.duckdb")

    kill_in_the_middle(killed, "int_users__sessions", 4)
    done = ASKED & snapshots(killed, "cleaning.int_users__sessions")
    assert 3 <= len(done) < len(ASKED), "some batches are committed and some are not"
    start = log_of(killed).stat().st_size
    backfill(killed)
    assert batches_since(killed, start, "int_users__sessions") == len(ASKED - done), "what is committed stays"
    assert_equal_tables(tables_of(killed / "warehouse.duckdb"), tables_of(whole / "warehouse.duckdb"))

    start = log_of(whole).stat().st_size
    assert batches_since(whole, 0, "labels__purchase_1d") > 0
    backfill(whole)
    assert log_of(whole).stat().st_size > start
    assert batches_since(whole, start) == 0, "a second time nothing is computed"
    twice = tables_of(whole / "warehouse.duckdb")
    build(killed, "--full-refresh")
    assert_equal_tables(twice, tables_of(killed / "warehouse.duckdb"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--from", "2025-02-02", "--to", "2025-02-01"), "the range is empty: --from 2025-02-02 lies after"),
        (("--from", "2025-02-02"), "Missing option '--to'"),
        (("--from", "yesterday", "--to", "2025-02-01"), "'yesterday' does not match the format '%Y-%m-%d'"),
        (("--from", "2024-02-01", "--to", "2024-03-01"), "no snapshot of the grid lies in 2024-02-01 to 2024-03-01"),
        (("--from", "2026-02-01", "--to", "2026-03-01"), "no snapshot of the grid lies in 2026-02-01 to 2026-03-01"),
    ],
)  # fmt: skip
def test_a_range_that_gives_no_snapshot_is_refused_with_a_reason(
    built: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    done = foretable(built, "backfill", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    with duckdb.connect(str(built / "warehouse.duckdb"), read_only=True) as con:
        assert con.execute("from foretable.backfills").fetchall() == []


def test_a_range_between_two_snapshots_of_the_grid_is_told_and_forgotten(tmp_path: Path) -> None:
    warehouse, first, last = tmp_path / "shop.duckdb", date(2025, 1, 9), date(2025, 1, 10)
    with duckdb.connect(str(warehouse)) as con:
        con.execute("create schema foretable; create schema cleaning")
        con.execute("create table cleaning.int_snapshots__grid as select timestamp '2025-01-08' as as_of")
        con.execute("create table foretable.backfills (first_as_of timestamp, last_as_of timestamp)")
        con.execute("insert into foretable.backfills values ($1, $2)", [first, last])
    with pytest.raises(Refusal, match="no snapshot of the grid lies in 2025-01-09 to 2025-01-10"):
        snapshot_count(warehouse, first, last)
    with duckdb.connect(str(warehouse)) as con:
        assert con.execute("from foretable.backfills").fetchall() == []
    assert snapshot_count(warehouse, date(2025, 1, 8), last) == 1


def test_a_warehouse_that_was_never_built_cannot_be_backfilled(tmp_path: Path) -> None:
    done = foretable(tmp_path, "backfill", *RANGE)
    assert done.returncode == 2
    assert "was not built yet by `foretable build`; build it once, then backfill" in done.stderr
