"""A published file in clients without Python: DuckDB's command line, and Node where its client is installed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.published import write_published

NODE_MODULES = "FORETABLE_NODE_MODULES"
"""A folder in which `npm install @duckdb/node-api` has put its node_modules."""
QUERIES = {
    "the macro of each row": """
        select count(*) as n, count(*) filter (scores.test(examples) = pred.score) as same
        from pred__test as pred inner join examples__test as examples using (user_id, as_of)
    """,
    "the table macro": """
        select count(*) as n, count(*) filter (scored.score = pred.score) as same
        from pred__test as pred inner join scores.test_table('examples__test') as scored using (user_id, as_of)
    """,
}
SCRIPT = """
import { DuckDBInstance } from '@duckdb/node-api';
const [file, ...queries] = process.argv.slice(2);
const instance = await DuckDBInstance.create(file, { access_mode: 'READ_ONLY' });
const connection = await instance.connect();
for (const query of queries) {
  console.log(JSON.stringify((await connection.runAndReadAll(query)).getRowObjectsJson()));
}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp("clients") / "shop.duckdb")


def test_duckdbs_command_line_computes_the_scores(file: Path) -> None:
    command_line = shutil.which("duckdb", path=str(Path(sys.executable).parent))
    if command_line is None:
        pytest.skip("DuckDB's command line is not installed: pip install duckdb-cli")
    for query in QUERIES.values():
        assert answers([command_line, "-readonly", "-json", str(file), query]) == [[{"n": 120, "same": 120}]]
    [[row]] = answers([command_line, "-readonly", "-json", str(file), "select scores.test(heat := 1) as score"])
    assert 0 < row["score"] < 1
    refused = subprocess.run(
        [command_line, "-readonly", str(file), "delete from pred__test"], capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert "read-only" in refused.stderr


def test_node_computes_the_scores(file: Path, tmp_path: Path) -> None:
    if NODE_MODULES not in os.environ:
        pytest.skip(f"{NODE_MODULES} is not set: a folder with node_modules/@duckdb/node-api")
    (tmp_path / "node_modules").symlink_to(Path(os.environ[NODE_MODULES]) / "node_modules")
    (tmp_path / "ask.mjs").write_text(SCRIPT)
    found = answers(["node", str(tmp_path / "ask.mjs"), str(file), *QUERIES.values()])
    assert found == [[{"n": "120", "same": "120"}]] * len(QUERIES)


def answers(command: list[str]) -> list[list[dict[str, Any]]]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
