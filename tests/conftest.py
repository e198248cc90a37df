"""Shops and warehouses that several tests read. Everything lies in pytest's temporary folders."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).parent.parent
DBT_PROJECT = ROOT / "dbt_project"
REAL_SHOPS = Path(os.environ.get("FORETABLE_REAL_SHOPS", ROOT.parent / "shared" / "data"))


@dataclass(frozen=True)
class DbtRun:
    """How a dbt command ended."""

    code: int
    output: str
    target: Path

    def results(self) -> dict[str, str]:
        """Node name to status."""
        results = json.loads((self.target / "run_results.json").read_text())["results"]
        return {result["unique_id"].split(".")[2]: result["status"] for result in results}


def run_dbt(
    *arguments: str,
    warehouse: Path,
    data: Path | None = None,
    project: Path = DBT_PROJECT,
    variables: Mapping[str, object] | None = None,
) -> DbtRun:
    """Run plain dbt, as a team does that never heard of our command line, in a process of its own."""
    target = warehouse.parent / "target"
    environment = {
        **os.environ,
        "FORETABLE_WAREHOUSE": str(warehouse),
        "DBT_TARGET_PATH": str(target),
        "DBT_LOG_PATH": str(warehouse.parent / "logs"),
    }
    if data is not None:
        environment["FORETABLE_DATA"] = str(data)
    command = [
        *(str(Path(sys.executable).with_name("dbt")), *arguments, "--no-use-colors"),
        *("--project-dir", str(project), "--profiles-dir", str(project)),
        *("--vars", json.dumps(dict(variables or {}))),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=warehouse.parent, check=False)
    return DbtRun(done.returncode, done.stdout + done.stderr, target)


SERVING = {"promote": "always"}
"""A shop of few users has models that are no better than their baselines; they serve all the same."""


@dataclass(frozen=True)
class Shop:
    """A simulated shop and the warehouse that dbt built of it."""

    data: Path
    warehouse: Path
    run: DbtRun

    def manifest(self) -> dict[str, object]:
        return json.loads((self.data / "manifest.json").read_text())


@pytest.fixture(scope="session")
def session_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Make a folder once for all workers of a parallel run."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent

    def once(name: str, make: Callable[[Path], None]) -> Path:
        import filelock

        folder = shared / name
        with filelock.FileLock(shared / f"{name}.lock"):
            if not (folder / "done").exists():
                folder.mkdir(exist_ok=True)
                make(folder)
                (folder / "done").touch()
        return folder

    return once


@pytest.fixture(scope="session")
def tiny_data(session_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The raw files of a small simulated shop."""

    def make(folder: Path) -> None:
        from foretable.simulate import simulate

        simulate(folder / "shop", users=250, days=240, seed=11)

    return session_once("tiny_data", make) / "shop"


@pytest.fixture(scope="session")
def stateful(session_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A warehouse that holds foretable's state and no prediction. Read it only."""

    def make(folder: Path) -> None:
        (folder / "data").mkdir()
        (folder / "data" / "events.csv").write_text("user_id,event_type,occurred_at\nu,view,2025-01-01\n", "utf-8")
        run = run_dbt("run", "--select", "contract__events", warehouse=folder / "shop.duckdb", data=folder / "data")
        assert run.code == 0, run.output

    return session_once("stateful", make) / "shop.duckdb"


@pytest.fixture
def warehouse(stateful: Path, tmp_path: Path) -> Path:
    """A copy of it to write into."""
    return Path(shutil.copy(stateful, tmp_path / "shop.duckdb"))


@pytest.fixture
def con(warehouse: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to that copy, whose random numbers are the same each time."""
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("select setseed(0.5)")
        yield connection


@pytest.fixture(scope="session")
def tiny_shop(session_once: Callable[[str, Callable[[Path], None]], Path], tiny_data: Path) -> Shop:
    """The small shop, built by plain dbt, with all its predictions. Read it only."""

    def make(folder: Path) -> None:
        run = run_dbt("build", warehouse=folder / "tiny.duckdb", data=tiny_data, variables=SERVING)
        (folder / "output.txt").write_text(run.output)
        (folder / "code.txt").write_text(str(run.code))

    folder = session_once("tiny_shop", make)
    run = DbtRun(int((folder / "code.txt").read_text()), (folder / "output.txt").read_text(), folder / "target")
    assert run.code == 0, run.output[-4000:]
    return Shop(tiny_data, folder / "tiny.duckdb", run)
