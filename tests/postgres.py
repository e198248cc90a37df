"""A Postgres of our own for the tests that read one or write into one."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

PASSWORD = "pass/w@rd +x"


def _binaries() -> Path | None:
    """Where initdb and postgres lie: on the path, or where Debian puts them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A Postgres of our own on a free port of this machine; its address."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no Postgres here; install it with: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="foretable_postgres_"))  # pytest's own folders are closed to other users
    as_user = _as_user(folder)
    (folder / "password").write_text(PASSWORD)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = subprocess.run(
        [*as_user, binaries / "initdb", "-D", folder / "data", "-U", "owner", "-A", "scram-sha-256", "-E", "UTF8",
         "--locale=C.UTF-8", f"--pwfile={folder / 'password'}", "--no-sync"],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c fsync=off"
    control = [*as_user, binaries / "pg_ctl", "-D", folder / "data", "-w", "-t", "300"]
    started = subprocess.run([*control, "-l", folder / "data" / "log", "-o", options, "start"], cwd=folder, check=False)
    assert started.returncode == 0, (folder / "data" / "log").read_text()
    yield f"127.0.0.1:{port}"
    subprocess.run([*control, "-m", "immediate", "stop"], cwd=folder, capture_output=True, check=False)
    shutil.rmtree(folder)


def _as_user(folder: Path) -> list[str]:
    """Postgres does not run as root: another user then owns its folder."""
    if os.getuid() != 0:
        return []
    user = next(name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()})
    shutil.chown(folder, user)
    return ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups"]


Execute = Callable[..., Any]


@pytest.fixture
def execute(server: str) -> Iterator[Execute]:
    """Run SQL in an empty database named shop."""
    address = f"postgresql://owner:{quote(PASSWORD, safe='')}@{server}"
    with psycopg.connect(f"{address}/postgres", autocommit=True) as con:
        con.execute("drop database if exists shop with (force)")
        con.execute("create database shop")
    with psycopg.connect(f"{address}/shop", autocommit=True) as con:
        yield con.execute


@pytest.fixture
def source(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The connection string as a user types it."""
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    return f"postgresql://owner:${{SHOP_PASSWORD}}@{server}/shop"
