"""Programs in processes of their own, with what they took, and the environments of the peers."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parent / ".peers"
# What each peer's environment holds. The newest versions that install on Python 3.11.
REQUIREMENTS = {
    "pandas": ["pandas==3.1.1", "numpy==2.4.6", "pyarrow==26.0.1"],
    "feast": ["feast[duckdb]==0.67.0"],
    # featuretools 1.31 stops at pandas 3.
    "featuretools": ["featuretools==1.31.0", "pandas==2.3.3", "numpy==2.4.6", "pyarrow==26.0.1"],
    # Graphs are made by onnx, which orbital brings along.
    "sql_scoring": ["onnxruntime==1.31.1", "orbital==0.6.0", "numpy==2.4.6"],
}


@dataclass(frozen=True)
class Ended:
    """A process that ended well: wall seconds, seconds of all its threads, the most memory it held at once, and what it
    printed."""

    seconds: float
    cpu_seconds: float
    peak_gb: float
    output: str

    def figures(self) -> dict[str, Any]:
        """The JSON of the last line."""
        return json.loads(self.output.strip().splitlines()[-1])


def run(command: Sequence[str], *, folder: Path, environment: Mapping[str, str] | None = None) -> Ended:
    """Run a command in `folder`. Where it fails, the benchmark ends with the tail of what it printed."""
    printed = folder / "printed.txt"
    with printed.open("w") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env={**os.environ, **(environment or {})}
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    text = printed.read_text(errors="replace")
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{text[-6000:]}")
    return Ended(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024**2, text)


def peer_python(peer: str) -> Path:
    """The Python of a peer's environment, which is made where it is missing or holds other versions."""
    folder, wanted = PEERS / peer, "\n".join(REQUIREMENTS[peer])
    stamp = folder / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {', '.join(REQUIREMENTS[peer])} into {folder}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *REQUIREMENTS[peer]], check=True)
        stamp.write_text(wanted)
    return folder / "bin" / "python"


def machine(libraries: Iterable[str] = ("duckdb", "dbt-core", "dbt-duckdb")) -> dict[str, Any]:
    """What a figure was measured on: the number of cores, and versions."""
    return {"cores": os.cpu_count(), "python": platform.python_version(), **{name: version(name) for name in libraries}}
