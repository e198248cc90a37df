"""The environment that Superset runs in: a virtual one of its own, with the packages of requirements.txt."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from foretable.project import Refusal

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
STAMP = "foretable.sha256"
LINES_SHOWN = 15


def make_environment(folder: Path, log: Path, say: Callable[[str], None]) -> None:
    """Install Superset into a virtual environment in `folder`, unless it is there as requirements.txt asks.

    log: where the output of pip is written. say: is told before anything that takes minutes.
    Raises Refusal where the environment cannot be made, or pip fails.
    """
    asked = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == asked:
        return
    if not python_of(folder).is_file():
        if folder.exists() and any(folder.iterdir()):
            raise Refusal(f"{folder} holds other things than a virtual environment; name another with --venv")
        say(f"making a virtual environment in {folder}")
        run_logged([sys.executable, "-m", "venv", str(folder)], log)
    say("installing Apache Superset into it; that takes minutes")
    pip = [str(python_of(folder)), "-m", "pip", "install", "--disable-pip-version-check"]
    run_logged([*pip, "--requirement", str(REQUIREMENTS)], log)
    stamp.write_text(asked, encoding="utf-8")


def python_of(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / "bin" / "python"


def run_logged(
    command: list[str], log: Path, *, environment: Mapping[str, str] | None = None, given: str | None = None
) -> str:
    """Run to the end and return the standard output; what else was said stands in `log`.

    Raises Refusal with the last lines of it where the command fails.
    """
    with log.open("w", encoding="utf-8") as out:
        done = subprocess.run(
            command, input=given, stdout=subprocess.PIPE, stderr=out, text=True, env=environment, check=False
        )
        out.write(done.stdout)
    if done.returncode:
        last = "\n".join(log.read_text(encoding="utf-8").splitlines()[-LINES_SHOWN:])
        raise Refusal(f"{Path(command[0]).name} failed, as {log} tells:\n{last}")
    return done.stdout
