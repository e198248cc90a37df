"""Plain dbt on a log, in a process of its own: how long the models took, and how much memory the process held."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from benchmarks.processes import Ended, run

PROJECT = Path(__file__).parent.parent / "dbt_project"
THREADS = 2
MEMORY_LIMIT = "6GB"


@dataclass(frozen=True)
class Run:
    """How a dbt command went.

    seconds         wall time; cpu_seconds: of all its threads
    sql_seconds     from the first model's start to the last one's end: without dbt's own start-up
    by_model        seconds of each model
    peak_gb         the most memory it held at once
    """

    seconds: float
    cpu_seconds: float
    sql_seconds: float
    by_model: dict[str, float]
    peak_gb: float
    target: Path

    def manifest(self) -> dict[str, Any]:
        return json.loads((self.target / "manifest.json").read_text())


def run_dbt(
    *arguments: str,
    warehouse: Path,
    data: Path,
    variables: Mapping[str, object] | None = None,
    memory_limit: str = MEMORY_LIMIT,
) -> Run:
    """Run `dbt ARGUMENTS` on the shipped project. The run's output is shown, and the benchmark ends, where it fails."""
    folder = warehouse.parent
    target = folder / "target"
    _write_profile(folder / "profile", memory_limit)
    command = [
        *(str(Path(sys.executable).with_name("dbt")), *arguments, "--no-use-colors"),
        *("--project-dir", str(PROJECT), "--profiles-dir", str(folder / "profile")),
        *("--vars", json.dumps(dict(variables or {}))),
    ]
    environment = {
        "FORETABLE_WAREHOUSE": str(warehouse),
        "FORETABLE_DATA": str(data),
        "DBT_TARGET_PATH": str(target),
        "DBT_LOG_PATH": str(folder / "logs"),
    }
    return run_of(run(command, folder=folder, environment=environment), target)


def run_of(ended: Ended, target: Path) -> Run:
    """How the dbt command went that has ended and left its results in `target`."""
    results = json.loads((target / "run_results.json").read_text())["results"]
    by_model, spans = _spans(results)
    return Run(
        seconds=ended.seconds,
        cpu_seconds=ended.cpu_seconds,
        sql_seconds=(max(end for _, end in spans) - min(start for start, _ in spans)).total_seconds() if spans else 0.0,
        by_model=by_model,
        peak_gb=ended.peak_gb,
        target=target,
    )


def _spans(results: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], list[tuple[datetime, datetime]]]:
    by_model, spans = {}, []
    for result in results:
        kind, _, name = result["unique_id"].split(".")[:3]
        moments = [
            datetime.fromisoformat(step[end].replace("Z", "+00:00"))
            for step in result["timing"]
            for end in ("started_at", "completed_at")
        ]
        if kind in ("model", "seed") and moments:
            spans.append((min(moments), max(moments)))
            by_model[name] = round((max(moments) - min(moments)).total_seconds(), 3)
    return by_model, spans


def _write_profile(folder: Path, memory_limit: str) -> None:
    """The shipped profile, with bounds on memory and threads that do not depend on the machine.

    They are options of the connection: as dbt-duckdb's `settings` they would be set again for every cursor.
    """
    profile = yaml.safe_load(re.sub(r"\{\{.*?\}\}", "WAREHOUSE", (PROJECT / "profiles.yml").read_text()))
    output = profile["foretable"]["outputs"]["warehouse"]
    output["path"] = "{{ env_var('FORETABLE_WAREHOUSE') }}"
    output["config_options"] = {
        **output.get("config_options", {}),
        "memory_limit": memory_limit,
        "threads": THREADS,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "profiles.yml").write_text(yaml.safe_dump(profile))
