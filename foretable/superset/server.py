"""Superset as a process of its own on this machine: set up, started, given the dashboard, and stopped."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from foretable.project import Refusal
from foretable.superset.environment import REQUIREMENTS, python_of, run_logged

HOST = "127.0.0.1"
ADMIN = "admin"
IMPORTER = "foretable_import"
"""The account that the dashboard is imported by; it gets another password each time."""
SECONDS_TO_START = 300
SECONDS_TO_ANSWER = 300


@dataclass(frozen=True)
class Superset:
    """A Superset whose state lies in `home`, run by the environment `venv` on `port` of this machine."""

    home: Path
    venv: Path
    port: int

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    def refuse_taken_port(self) -> None:
        """Raises Refusal where another process listens on the port."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self.port))
            except OSError as error:
                raise Refusal(f"port {self.port} cannot be used ({error.strerror}); name another with --port") from None

    def prepare(self, password: str | None) -> tuple[str | None, str]:
        """Make or update Superset's own tables and accounts.

        password: of the administrator; None makes one up for a new account and leaves that of an old one.
        Returns the password that was made up, if any, and that of the importing account. Raises Refusal where Superset
        fails.
        """
        key = self.home / "secret_key"
        if not key.is_file():
            partial = key.with_name("secret_key.partial")
            partial.touch(mode=0o600)
            partial.write_text(secrets.token_urlsafe(48), encoding="utf-8")
            os.replace(partial, key)
        made_up, importing = secrets.token_urlsafe(12), secrets.token_urlsafe(32)
        accounts = {
            ADMIN: {"password": password or made_up, "is_reset": password is not None},
            IMPORTER: {"password": importing, "is_reset": True},
        }
        script = Path(__file__).with_name("prepare.py")
        said = run_logged(
            [str(python_of(self.venv)), str(script)],
            self.home / "prepare.log",
            environment=self._environment(),
            given=json.dumps(accounts),
        )
        is_made = ADMIN in json.loads(said.splitlines()[-1])
        return made_up if is_made and password is None else None, importing

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The server, from when it answers until the end of the block; raises Refusal where it does not come up."""
        log = self.home / "server.log"
        command = [
            *(str(python_of(self.venv)), "-m", "gunicorn", "--bind", f"{HOST}:{self.port}"),
            *("--workers", "1", "--worker-class", "gthread", "--threads", "8", "--timeout", "300"),
            "superset.app:create_app()",
        ]
        with log.open("wb") as out:
            server = subprocess.Popen(command, stdout=out, stderr=out, env=self._environment(), cwd=self.home)
        try:
            self._wait_until_it_answers(server, log)
            yield server
        finally:
            server.terminate()
            server.wait()

    def import_bundle(self, bundle: bytes, password: str) -> None:
        """Give the running server the dashboard in place of the one that it has; what it holds else stays.

        Raises Refusal with Superset's answer where it does not take it.
        """
        try:
            self._post_bundle(bundle, password)
        except requests.RequestException as error:
            log = self.home / "server.log"
            raise Refusal(f"Superset did not take the dashboard ({error}); {log} tells why") from None

    def _post_bundle(self, bundle: bytes, password: str) -> None:
        with requests.Session() as session:
            session.trust_env = False  # no proxy stands between this machine and itself
            login = {"username": IMPORTER, "password": password, "provider": "db"}
            token = _answer(
                session.post(f"{self.address}/api/v1/security/login", json=login, timeout=SECONDS_TO_ANSWER)
            )
            session.headers["Authorization"] = f"Bearer {token['access_token']}"
            csrf = _answer(session.get(f"{self.address}/api/v1/security/csrf_token/", timeout=SECONDS_TO_ANSWER))
            session.headers.update({"X-CSRFToken": csrf["result"], "Referer": self.address})
            archive = {"bundle": ("foretable.zip", bundle, "application/zip")}
            _answer(session.post(f"{self.address}/api/v1/assets/import/", files=archive, timeout=SECONDS_TO_ANSWER))

    def _environment(self) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        config = str(Path(__file__).with_name("superset_config.py"))
        return {**others, "SUPERSET_CONFIG_PATH": config, "FORETABLE_SUPERSET_HOME": str(self.home)}

    def _wait_until_it_answers(self, server: subprocess.Popen[bytes], log: Path) -> None:
        until = time.monotonic() + SECONDS_TO_START
        while server.poll() is None and time.monotonic() < until:
            try:
                with requests.Session() as session:
                    session.trust_env = False
                    if session.get(f"{self.address}/health", timeout=10).ok:
                        return
            except requests.RequestException:
                time.sleep(0.5)
        found = "did not start" if server.poll() is not None else f"did not answer within {SECONDS_TO_START} s"
        raise Refusal(f"Superset {found}; {log} tells why")


def _answer(response: requests.Response) -> dict[str, str]:
    if not response.ok:
        raise Refusal(
            f"Superset answered {response.status_code} to {response.request.path_url}: {response.text[:2000]}"
        )
    return response.json()


def serve(superset: Superset, bundle: bytes, *, password: str | None, say: Callable[[str], None]) -> None:
    """Set up, start, import, say where to look, and go on until the server ends or the process is interrupted.

    A Superset that was set up by the same requirements for the same bundle, and gets no password, is only started.
    Raises Refusal where the port is taken, or Superset fails or ends by itself.
    """
    superset.refuse_taken_port()
    stamp = superset.home / "set_up.sha256"
    asked = hashlib.sha256(REQUIREMENTS.read_bytes() + bundle).hexdigest()
    is_set_up = stamp.is_file() and stamp.read_text(encoding="utf-8") == asked
    made_up = importing = None
    if password is not None or not is_set_up:
        say("setting Superset up")
        made_up, importing = superset.prepare(password)
    if made_up:
        say(f"Log in as {ADMIN} with the password {made_up} : it is shown this once and kept nowhere.")
    say("starting Superset")
    with superset.running() as server:
        if importing and not is_set_up:
            superset.import_bundle(bundle, importing)
            stamp.write_text(asked, encoding="utf-8")
        say(f"The dashboard is at {superset.address}/superset/dashboard/foretable/ . Stop it with Ctrl+C.")
        server.wait()
    raise Refusal(f"Superset ended by itself; {superset.home / 'server.log'} tells why")
