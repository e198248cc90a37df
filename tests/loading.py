"""What the tests of `foretable load` share: run the command, look into the warehouse."""

from pathlib import Path
from typing import Any

import duckdb
from click.testing import CliRunner, Result

from foretable.cli import main


def load(warehouse: Path, *arguments: str | Path) -> Result:
    """Run `foretable load` in this process."""
    return CliRunner().invoke(main, ["load", *map(str, arguments), "--warehouse", str(warehouse)])


def loaded(warehouse: Path, *arguments: str | Path) -> Result:
    """Run it, and it goes well."""
    result = load(warehouse, *arguments)
    assert result.exit_code == 0, result.output
    return result


def rows(warehouse: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(warehouse), read_only=True) as con:
        return con.sql(query).fetchall()


def everything(warehouse: Path) -> str:
    """All that the warehouse holds beside raw rows, as text."""
    with duckdb.connect(str(warehouse), read_only=True) as con:
        return repr(con.sql("from foretable.loads").fetchall()) + repr(
            con.sql("from foretable.load_positions").fetchall()
        )


def fails(result: Result, *words: str, code: int = 1) -> None:
    """It fails in one plain line that holds these words."""
    assert result.exit_code == code, result.output
    assert [word for word in words if word not in result.stderr] == [], result.stderr
    assert "Traceback" not in result.output
