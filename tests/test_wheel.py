"""The wheel is enough: installed alone in an empty place it simulates, builds and answers, and writes nothing there."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str, cwd: Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        list(command), capture_output=True, text=True, cwd=cwd, env={**os.environ, **(environment or {})}, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def wheel(session_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The wheel of this checkout."""

    def make(folder: Path) -> None:
        isolation = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
        run(sys.executable, "-m", "build", "--wheel", *isolation, "--outdir", str(folder), str(ROOT), cwd=folder)

    [file] = session_once("wheel", make).glob("*.whl")
    return file


@pytest.mark.slow
def test_the_wheel_carries_what_it_needs_and_nothing_that_was_built(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for file in (
        "foretable/cli.py",
        "foretable/dbt_project/dbt_project.yml",
        "foretable/dbt_project/profiles.yml",
        "foretable/dbt_project/macros/prediction.sql",
        "foretable/dbt_project/models/features/features__user.sql",
        "foretable/reporting/templates/prediction.html",
        "foretable/superset/bundle/charts.yaml",
        "foretable/superset/requirements.txt",
        "foretable/templates/packages.yml",
        "foretable/templates/gitignore",
        "udfs/plugin.py",
    ):
        assert file in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    tracked = {str(file.relative_to(ROOT)) for file in (ROOT / "dbt_project").rglob("*") if file.is_file()}
    built = [name for name in names if {"target", "logs", "dbt_packages", "__pycache__"} & set(Path(name).parts)]
    assert not built
    assert {name.removeprefix("foretable/") for name in names if "dbt_project/" in name} <= tracked


@pytest.mark.slow
def test_the_installed_wheel_runs_the_demo_and_writes_nothing_into_itself(wheel: Path, tmp_path: Path) -> None:
    site, folder = tmp_path / "site", tmp_path / "empty"
    folder.mkdir()
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel),
        cwd=folder)  # fmt: skip
    environment = {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    installed = sorted(site.rglob("*"))
    foretable = str(site / "bin" / "foretable")
    where = "import foretable, udfs; print(foretable.__file__, udfs.__file__)"
    assert str(ROOT) not in run(sys.executable, "-c", where, cwd=folder, environment=environment).stdout

    demo = run(foretable, "demo", "--users", "150", "--days", "220", cwd=folder, environment=environment)
    assert "The five likeliest buyers" in demo.stdout
    assert "Why to trust it" in demo.stdout

    asked = run(
        *(foretable, "sql", "select user_id, score from pred__purchase_30d order by score desc limit 5"),
        *("--format", "json"),
        cwd=folder,
        environment=environment,
    )
    scores = [row["score"] for row in json.loads(asked.stdout)]
    assert len(scores) == 5
    assert all(0 < score < 1 for score in scores)

    listed = run(foretable, "predictions", "--format", "json", cwd=folder, environment=environment)
    assert {"churn_30d", "purchase_30d"} <= {row["prediction"] for row in json.loads(listed.stdout)}
    written = [".foretable", "shop", "warehouse.duckdb", "warehouse_published.duckdb"]
    assert sorted(file.name for file in folder.iterdir()) == written
    assert sorted(site.rglob("*")) == installed
