"""The command `foretable ui`. Only click is imported here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from foretable import options

SETTINGS = (
    "--browser.gatherUsageStats=false",
    "--client.toolbarMode=minimal",
    "--runner.magicEnabled=false",
    "--server.fileWatcherType=none",
    "--server.headless=true",
)
"""Streamlit tells nobody of its use, and opens no browser of its own."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False, metavar="[FILE]")
@options.warehouse
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True)
@options.debug
def ui(file: Path | None, warehouse: Path, port: int) -> None:
    """Show the predictions of a file as a page: who is likely, why, what if, and SQL.

    FILE is a published file, or a warehouse; without it, --warehouse says which. The page is there for this machine
    alone, reads the file and writes nothing, and needs no network. It shows a published file anew once it is replaced.

    \b
    Examples:
        foretable ui warehouse_published.duckdb
        foretable ui --port 9000
    """
    from importlib.util import find_spec

    from foretable.project import Refusal

    if find_spec("streamlit") is None:
        raise Refusal("the page needs Streamlit: pip install 'foretable[ui]'")
    from foretable.serving.scoring import ScoringFile

    path = (file or warehouse).absolute()
    ScoringFile(path).close()  # what is wrong with it is said here, in one line
    page = Path(__file__).with_name("run_page.py")
    address = (f"--server.port={port}", "--server.address=127.0.0.1")
    click.echo(f"Showing {path} at http://127.0.0.1:{port}; Ctrl-C ends it.", err=True)
    ended = subprocess.run(
        [sys.executable, "-m", "streamlit", "run", str(page), *SETTINGS, *address, "--", str(path)],
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if ended.returncode:
        raise click.exceptions.Exit(1)
