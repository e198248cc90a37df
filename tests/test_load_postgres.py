"""A table of Postgres is loaded by its cursor: exact values, nothing twice, nothing missed, no password shown."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("psycopg", reason="loading from Postgres needs the extra 'load'")

from tests.conftest import ROOT
from tests.loading import everything, fails, load, loaded, rows
from tests.postgres import PASSWORD, Execute, execute, server, source

__all__ = ["execute", "server", "source"]
"""The fixtures."""


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    return tmp_path / "warehouse.duckdb"


def ids(warehouse: Path) -> list[int]:
    return [int(row[0]) for row in rows(warehouse, "select id from raw.events order by id::integer")]


def test_every_value_arrives_as_postgres_prints_it(execute: Execute, source: str, warehouse: Path) -> None:
    values = {
        "id": ("bigint", "1", "1"),
        "big": ("numeric", "12345678901234567890123.1230", "12345678901234567890123.1230"),
        "real": ("double precision", "0.1", "0.1"),
        "nan": ("numeric", "'NaN'", "NaN"),
        "yes": ("boolean", "true", "true"),
        "padded": ("char(4)", "'ab'", "ab  "),
        "at": ("timestamptz", "'2024-06-01 12:00:00.000001+02'", "2024-06-01 10:00:00.000001+00"),
        "ever": ("timestamp", "'infinity'", "infinity"),
        "early": ("date", "'0044-03-15 BC'", "0044-03-15 BC"),
        "inner": ("jsonb", "'{\"a\": 1.10}'", '{"a": 1.10}'),
        "many": ("text[]", "array['a,b', null]", '{"a,b",NULL}'),
        "bytes": ("bytea", "'\\xff'", "\\xff"),
        "blank": ("text", "''", ""),
        "none": ("text", "null", None),
        'odd "; name': ("text", "'ü'", "ü"),
    }
    names = ['"' + name.replace('"', '""') + '"' for name in values]
    kinds = ", ".join(f"{name} {kind}" for name, (kind, _, _) in zip(names, values.values(), strict=True))
    execute(f"create table events ({kinds})")
    execute(f"insert into events values ({', '.join(value for _, value, _ in values.values())})")
    loaded(warehouse, source, "--from", "public.events", "--cursor", "id")
    assert rows(warehouse, "select * from raw.events") == [tuple(expected for _, _, expected in values.values())]


@pytest.mark.parametrize("batch_rows", ["1", "3", "1000"])
def test_a_second_load_adds_what_came_since_rows_of_the_last_value_too(
    execute: Execute, source: str, warehouse: Path, batch_rows: str
) -> None:
    execute("create table events (id integer, day date)")
    execute("insert into events select n, date '2024-01-01' + n / 4 from generate_series(1, 10) as n")
    order = [source, "--from", "events", "--cursor", "day", "--batch-rows", batch_rows]
    loaded(warehouse, *order)
    assert ids(warehouse) == list(range(1, 11))
    execute("insert into events values (11, '2024-01-03'), (10, '2024-01-03'), (12, '2024-01-04')")
    loaded(warehouse, *order)
    assert ids(warehouse) == [*range(1, 11), 10, 11, 12]
    assert "0 rows added" in loaded(warehouse, *order).output
    found = rows(warehouse, "select cursor_from, cursor_to from foretable.loads order by ended_at desc limit 1")
    assert found == [("2024-01-03", "2024-01-04")]


def test_a_load_that_is_killed_goes_on_after_what_it_had(execute: Execute, source: str, warehouse: Path) -> None:
    execute("create table events as select n as id, repeat('x', 100) as body from generate_series(1, 20000) as n")
    order = [source, "--from", "events", "--cursor", "id", "--batch-rows", "500", "--warehouse", str(warehouse)]
    program = (
        "import sys\n"
        "from foretable.cli import main\n"
        "from foretable.load.landing import Landing\n"
        "record = Landing.record\n"
        "def told(*given):\n"
        "    record(*given)\n"
        "    print('batch', flush=True)\n"
        "Landing.record = told\n"
        "main(['load', *sys.argv[1:]])\n"
    )
    environment = {**os.environ, "TMPDIR": str(warehouse.parent)}
    process = subprocess.Popen(
        [sys.executable, "-c", program, *order], stdout=subprocess.PIPE, cwd=ROOT, env=environment
    )
    assert process.stdout
    seen = 0
    while seen < 5:
        seen += b"batch" in process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    committed = len(ids(warehouse))
    assert 2000 <= committed < 20000
    assert ids(warehouse) == list(range(1, committed + 1))
    loaded(warehouse, *order[:-2])
    assert ids(warehouse) == list(range(1, 20001))


def test_since_is_where_the_first_load_starts(execute: Execute, source: str, warehouse: Path) -> None:
    execute("create table events as select n as id from generate_series(1, 20) as n")
    order = [source, "--from", "events", "--cursor", "id", "--since", "9"]
    loaded(warehouse, *order)
    assert "0 rows added" in loaded(warehouse, *order).output
    assert ids(warehouse) == list(range(9, 21))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "nothing", "--cursor", "id"], 'relation "nothing" does not exist'),
        (["--from", "events", "--cursor", "at"], "no column 'at' to be the cursor; it has: id, made_at"),
        (["--from", "events", "--cursor", "made_at"], "rows without a value in 'made_at'"),
        (["--from", "events", "--cursor", "id", "--since", "May"], "invalid input syntax for type integer"),
        (["--from", 'events"; drop table events; --', "--cursor", "id"], "does not exist"),
    ],
)
def test_what_cannot_be_read_is_said_plainly(
    execute: Execute, source: str, warehouse: Path, arguments: list[str], words: str
) -> None:
    execute("create table events (id integer, made_at timestamp)")
    execute("insert into events values (1, null)")
    fails(load(warehouse, source, *arguments), words)
    assert execute("select count(*) from events").fetchone() == (1,)


def test_another_cursor_than_that_of_the_first_load_is_refused(execute: Execute, source: str, warehouse: Path) -> None:
    execute("create table events as select 1 as id, 1 as number")
    loaded(warehouse, source, "--from", "events", "--cursor", "id")
    fails(load(warehouse, source, "--from", "events", "--cursor", "number"), "--cursor id", "--again")


def test_a_password_reaches_no_table_and_no_error(
    execute: Execute, source: str, server: str, warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute("create table events as select 1 as id")
    order = ["--from", "events", "--cursor", "id"]
    encoded = quote(PASSWORD, safe="")
    shown = loaded(warehouse, source, *order).output + everything(warehouse)
    stated = f"postgresql://owner:{encoded}@{server}/shop"
    shown += loaded(warehouse, stated, *order).output + everything(warehouse)
    assert rows(warehouse, "select distinct place from foretable.loads") == [(f"postgresql://{server}/shop/events",)]
    for wrong in (
        f"postgresql://owner:{encoded}x@{server}/shop",
        f"postgresql://owner:passw@rdx@{server}/shop",
        f"postgresql://owner:leading/pathx@{server}/shop",
        f"postgresql://owner:{PASSWORD}@{server}/shop",
        f"postgresql://owner:{encoded}@{server}/shop?{encoded}=1",
        f"postgresql://owner:{encoded}@127.0.0.1:1/shop",
        f"postgres:/owner:{encoded}@{server}/shop",
        f"postgrsql://owner:{encoded}@{server}/shop",
    ):
        for extra in ([], ["--debug"]):
            failed = load(warehouse, wrong, *order, *extra)
            assert failed.exit_code != 0
            shown += failed.output + repr(failed.exception)
    monkeypatch.setenv("SHOP_DATABASE", f"postgresql://owner:{encoded}x@{server}/shop")
    shown += load(warehouse, "${SHOP_DATABASE}", *order).output + everything(warehouse)
    assert PASSWORD not in shown
    assert "rdx" not in shown
    assert "pathx" not in shown
    assert "leading" not in shown
    assert encoded not in shown
    assert encoded.encode() not in warehouse.read_bytes()
    assert PASSWORD.encode() not in warehouse.read_bytes()


def test_without_psycopg_it_is_said_what_to_install(warehouse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    fails(load(warehouse, "postgresql://host/x", "--from", "t", "--cursor", "id"), "pip install 'foretable[load]'")
