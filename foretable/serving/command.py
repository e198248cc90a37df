"""The command `foretable serve`. Only click is imported here."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

import click

from foretable import options

LIBRARIES = ("fastapi", "uvicorn")


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False, metavar="[FILE]")
@options.warehouse
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(1, 65535), default=8420, show_default=True)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Whose first line is the token.  [default: FORETABLE_TOKEN, else one is made and shown]",
)
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes.  [default: one a core, at most 4]")
@click.option("--max-rows", type=click.IntRange(min=1), default=10_000, show_default=True, help="Of an answer to SQL.")
@click.option(
    "--max-seconds", type=click.FloatRange(min=0.1), default=10, show_default=True, help="After which SQL is stopped."
)
@click.option(
    "--max-memory", type=click.IntRange(min=128), default=1024, show_default=True, metavar="MIB", help="Of one query."
)
@click.option(
    "--max-queries", type=click.IntRange(min=1), default=2, show_default=True, help="SQL at a time, in each process."
)
@click.option(
    "--max-body", type=click.IntRange(min=1), default=256, show_default=True, metavar="KIB", help="Of a request."
)
@options.debug
def serve(
    file: Path | None,
    warehouse: Path,
    host: str,
    port: int,
    token_file: Path | None,
    workers: int | None,
    max_rows: int,
    max_seconds: float,
    max_memory: int,
    max_queries: int,
    max_body: int,
) -> None:
    """Answer many clients over HTTP: scores, reasons, what-ifs and read-only SQL, as JSON.

    FILE is a published file, or a warehouse; without it, --warehouse says which. A published file may be replaced at
    any time: the next requests get the new one. A warehouse cannot be built while it is served. Every request but
    /health needs the token. The paths and their arguments are in /openapi.json.

    \b
    Examples:
        foretable serve warehouse_published.duckdb
        FORETABLE_TOKEN=secret foretable serve warehouse_published.duckdb --port 8080
        curl -H "Authorization: Bearer secret" "localhost:8080/score/churn_30d?entity=u001"
        curl -H "Authorization: Bearer secret" localhost:8080/score/churn_30d \\
            --json '{"entity": "u001", "changes": {"cart_count_7d": 3}}'
        curl -H "Authorization: Bearer secret" localhost:8080/sql --json '{"sql": "from pred__churn_30d limit 5"}'
    """
    from importlib.util import find_spec

    from foretable.project import Refusal

    if missing := [name for name in LIBRARIES if find_spec(name) is None]:
        raise Refusal(f"to serve needs {' and '.join(missing)}: pip install 'foretable[serve]'")
    import uvicorn

    from foretable.serving import app

    path = (file or warehouse).absolute()
    _check(path)
    os.environ[app.TOKEN] = _token(token_file, app.TOKEN)
    limits = {"rows": max_rows, "seconds": max_seconds, "memory_mib": max_memory}
    os.environ[app.SETTINGS] = json.dumps(
        {"path": str(path), "limits": limits, "queries": max_queries, "body_kib": max_body}
    )
    click.echo(f"Serving {path} at http://{host}:{port}; Ctrl-C ends it.", err=True)
    uvicorn.run(
        "foretable.serving.app:from_environment",
        factory=True,
        host=host,
        port=port,
        workers=workers or min(os.cpu_count() or 1, 4),
        access_log=False,
        log_level="warning",
        server_header=False,
    )


def _check(path: Path) -> None:
    """Open the file once, so that what is wrong with it is said in one line, before any process starts."""
    from foretable.serving.scoring import ScoringFile

    ScoringFile(path).close()


def _token(file: Path | None, variable: str) -> str:
    """The token to ask for; one that is made for the purpose is shown."""
    from foretable.project import Refusal

    if file is not None:
        if not file.is_file():
            raise Refusal(f"no file {file} with the token; write one, readable by you alone")
        token = next(iter(file.read_text(encoding="utf-8").splitlines()), "").strip()
        if not token:
            raise Refusal(f"the first line of {file} is empty; write the token there")
        return token
    if token := os.environ.get(variable, "").strip():
        return token
    token = secrets.token_urlsafe(24)
    click.echo(f"Token: {token}", err=True)
    return token
