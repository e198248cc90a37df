"""Files are loaded once, whole or not at all, and no value is altered on the way."""

import gzip
import os
import random
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foretable.load import files, landing
from foretable.load.errors import LoadError
from foretable.load.xml_rows import read_records
from tests.conftest import ROOT, run_dbt
from tests.loading import fails, load, loaded, rows
from tests.test_docs import literal_of


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    return tmp_path / "warehouse.duckdb"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


HEADER = "user_id,event_type,occurred_at,price\n"
LINE = "u{0},view,2024-01-01 10:00:00,1.50\n"


def csv_log(*users: int) -> str:
    return HEADER + "".join(LINE.format(user) for user in users)


def test_a_second_load_of_a_folder_adds_only_the_file_that_is_new(warehouse: Path, logs: Path) -> None:
    (logs / "monday.csv").write_text(csv_log(1, 2))
    loaded(warehouse, logs)
    (logs / "tuesday.csv").write_text(csv_log(3))
    second = loaded(warehouse, logs)
    assert "monday.csv: loaded already" in second.output
    assert rows(warehouse, "select user_id from raw.events order by user_id") == [("u1",), ("u2",), ("u3",)]
    assert rows(warehouse, "select file, row_count, status from foretable.loads order by file") == [
        ("monday.csv", 2, "loaded"),
        ("tuesday.csv", 1, "loaded"),
    ]


def test_the_same_bytes_under_another_name_add_nothing_and_it_says_so(warehouse: Path, logs: Path) -> None:
    (logs / "monday.csv").write_text(csv_log(1, 2))
    loaded(warehouse, logs)
    (logs / "copy of monday.csv").write_text(csv_log(1, 2))
    assert "copy of monday.csv: the same bytes were loaded as monday.csv" in loaded(warehouse, logs).output
    assert rows(warehouse, "select count(*) from raw.events") == [(2,)]


def test_a_record_of_a_load_holds_bytes_hash_and_times(warehouse: Path, logs: Path) -> None:
    (logs / "monday.csv").write_text(csv_log(1))
    loaded(warehouse, logs)
    digest = files.hash_file(logs / "monday.csv")
    assert rows(
        warehouse,
        "select kind, place, contract_table, byte_count, sha256, started_at <= ended_at from foretable.loads",
    ) == [("csv", str(logs), "events", len(csv_log(1)), digest, True)]


def test_a_file_that_has_changed_is_refused_until_asked_for(warehouse: Path, logs: Path) -> None:
    (logs / "monday.csv").write_text(csv_log(1))
    loaded(warehouse, logs)
    (logs / "monday.csv").write_text(csv_log(1, 2))
    fails(load(warehouse, logs), "has changed since it was loaded", "--again")
    assert rows(warehouse, "select count(*) from raw.events") == [(1,)]
    loaded(warehouse, logs, "--again")
    assert rows(warehouse, "select count(*) from raw.events") == [(3,)]


def test_a_table_that_was_dropped_is_loaded_anew(warehouse: Path, logs: Path) -> None:
    (logs / "monday.csv").write_text(csv_log(1))
    loaded(warehouse, logs)
    with duckdb.connect(str(warehouse)) as con:
        con.execute("drop table raw.events")
    loaded(warehouse, logs)
    assert rows(warehouse, "select count(*) from raw.events") == [(1,)]


def test_one_broken_file_is_named_and_the_others_are_loaded(warehouse: Path, logs: Path) -> None:
    (logs / "a.csv").write_text(csv_log(1))
    (logs / "b.parquet").write_bytes(b"PAR1 is not enough")
    (logs / "c.csv.gz").write_bytes(gzip.compress(csv_log(2).encode()))
    (logs / "d.jsonl.gz").write_bytes(gzip.compress(b'{"user_id": "u9"}\n' * 1000, mtime=0)[:-20])
    fails(load(warehouse, logs), "b.parquet", "not a Parquet file", "d.jsonl.gz", "not a whole gzip file")
    assert rows(warehouse, "select user_id from raw.events order by user_id") == [("u1",), ("u2",)]
    assert rows(warehouse, "select file from foretable.loads where status = 'failed' order by file") == [
        ("b.parquet",),
        ("d.jsonl.gz",),
    ]


def test_files_named_as_the_contracts_tables_fill_those(warehouse: Path, logs: Path) -> None:
    (logs / "events").mkdir()
    (logs / "events" / "2024-01-01.csv").write_text(csv_log(1))
    (logs / "users.jsonl").write_text('{"user_id": "u1", "city": "Ulm"}\n')
    (logs / "notes.csv").write_text("a\n1\n")
    loaded(warehouse, logs)
    assert rows(
        warehouse, "select table_name from information_schema.tables where table_schema = 'raw' order by 1"
    ) == [
        ("events",),
        ("users",),
    ]
    loaded(warehouse, logs / "notes.csv", "--table", "notes")
    assert rows(warehouse, "select a from raw.notes") == [("1",)]


def test_the_tables_and_columns_that_files_are_read_for_are_those_of_the_contract() -> None:
    assert literal_of("contract_columns", "columns", "contract.sql") == files.CONTRACT


def test_json_keeps_every_number_to_its_last_digit(warehouse: Path, logs: Path) -> None:
    (logs / "a.jsonl").write_text(
        '{"user_id": 12345678901234567890123, "price": 1.10, "share": 0.12345678901234567890, "none": null, '
        '"yes": true, "inner": {"list": [1.50, "a\\"b", null]}, "empty": "", "odd": NaN}\n'
    )
    loaded(warehouse, logs)
    assert rows(warehouse, "select * from raw.events") == [
        (
            "12345678901234567890123",
            "1.10",
            "0.12345678901234567890",
            None,
            "true",
            '{"list": [1.50, "a\\"b", null]}',
            "",
            "NaN",
        )
    ]


def test_lines_that_are_no_json_object_are_kept_as_rejected_rows(warehouse: Path, logs: Path) -> None:
    lines = [b'{"user_id": "u1"}', b"", b"{broken", b"[1]", b'{"a": 1, "a": 2}', b'{"a": "\\ud800"}', b'{"a": "\xff"}']
    lines.append(b"[" * 100_000)
    (logs / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    loaded(warehouse, logs)
    assert rows(warehouse, "select count(*), count(user_id), count(raw_text) from raw.events") == [(7, 1, 6)]
    assert rows(warehouse, "select raw_text from raw.events where raw_text like '%xff%'") == [('{"a": "\\xff"}',)]
    assert rows(warehouse, "select row_count, rejected_count from foretable.loads") == [(7, 6)]


def test_a_column_that_appears_later_is_added(warehouse: Path, logs: Path) -> None:
    (logs / "a.csv").write_text("user_id,price\nu1,1\n")
    (logs / "b.csv").write_text('PRICE;"new ""col"\n2;x\n')
    (logs / "c.jsonl").write_text('{"User_ID": "u3", "deep": {"a": 1}}\n')
    loaded(warehouse, logs)
    assert set(rows(warehouse, "select * from raw.events")) == {
        ("u1", "1", None, None),
        (None, "2", "x", None),
        ("u3", None, None, '{"a": 1}'),
    }


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (pa.array([2**62]), pa.array(["x"]), ["4611686018427387904", "x"]),
        (pa.array([0.1]), pa.array([3]), ["0.1", "3"]),
        (pa.array(["x"]), pa.array([b"\xff"]), ["x", "\\xFF"]),
        (pa.array([1], pa.int32()), pa.array([2**40]), ["1", "1099511627776"]),
        (
            pa.array([1_700_000_000_000_001], pa.timestamp("us", "UTC")),
            pa.array(["x"]),
            ["2023-11-14 22:13:20.000001+00", "x"],
        ),
    ],
    ids=["integer-text", "double-integer", "text-bytes", "integers", "instant-text"],
)
def test_a_type_that_changes_becomes_text_and_no_value_is_altered(
    warehouse: Path, logs: Path, before: pa.Array, after: pa.Array, expected: list[str]
) -> None:
    pq.write_table(pa.table({"value": before}), logs / "a.parquet")
    pq.write_table(pa.table({"value": after}), logs / "b.parquet")
    loaded(warehouse, logs)
    assert [row[0] for row in rows(warehouse, "select value from raw.events")] == expected
    assert rows(warehouse, "select distinct typeof(value) from raw.events") == [("VARCHAR",)]


def test_parquet_keeps_its_types_where_they_agree(warehouse: Path, logs: Path) -> None:
    for name, value in {"a": 1, "b": 2}.items():
        pq.write_table(pa.table({"value": [value], "list": [[value]]}), logs / f"{name}.parquet")
    loaded(warehouse, logs)
    assert rows(warehouse, "select distinct typeof(value), typeof(list) from raw.events") == [("BIGINT", "BIGINT[]")]


@pytest.mark.parametrize("name", ["a'b.csv", "a[1]*?.csv", 'x"; drop table raw.csv', "ü €.csv.gz"])
def test_any_name_of_a_file_will_do(warehouse: Path, logs: Path, name: str) -> None:
    text = csv_log(1).encode()
    (logs / (name if name.endswith((".csv", ".gz")) else f"{name}.csv")).write_bytes(
        gzip.compress(text, mtime=0) if name.endswith(".gz") else text
    )
    (logs / "a1xx.csv").write_text(csv_log(2, 3, 4))
    loaded(warehouse, logs)
    assert rows(warehouse, "select count(*) from raw.events") == [(4,)]


def test_csv_lands_as_the_build_reads_it(warehouse: Path, logs: Path) -> None:
    """The same rows, rejects too, whether a file is loaded first or read from its folder by dbt."""
    dealt = random.Random(3)
    lines = [LINE.format(number).strip() for number in range(300)]
    for number in dealt.sample(range(300), 60):
        lines[number] = dealt.choice(
            ["u1", "a,b,c,d,e", '"quoted, ""x""",view,,', 'u"1,view,2024,1', "", "ü;,x,,", ",,,"]
        )
    (logs / "events.csv").write_text(HEADER + "\n".join(lines) + '\n"never closed,view,2024-01-01,1\nu1,view,,\n')
    loaded(warehouse, logs)
    read = warehouse.with_name("read.duckdb")
    run = run_dbt("run", "--select", "contract__events", warehouse=read, data=logs)
    assert run.code == 0, run.output
    query = (
        "select table_schema || '.' || table_name from information_schema.tables where table_name like 'raw_events_%'"
    )
    found = rows(read, query)
    columns = "user_id, event_type, occurred_at, price, rejection_reason, raw_text"
    assert sorted(rows(read, f"select {columns} from {found[0][0]}"), key=repr) == sorted(
        rows(warehouse, f"select {columns} from raw.events"), key=repr
    )
    assert rows(warehouse, "select count(*) > 10 from raw.events where raw_text is not null") == [(True,)]


@pytest.mark.slow
def test_a_build_reads_what_was_loaded_and_the_account_of_its_rows_closes(
    warehouse: Path, logs: Path, tiny_data: Path
) -> None:
    loaded(warehouse, tiny_data)
    (logs / "more.csv").write_text(csv_log(1, 2) + "broken\n")
    loaded(warehouse, logs)
    order = ("build", "--indirect-selection", "cautious", "--select", "+assert_every_raw_event_is_accounted_for")
    run = run_dbt(*order, warehouse=warehouse, variables={"raw_schema": "raw"})
    assert run.code == 0, run.output[-3000:]
    assert rows(warehouse, "select rejection_reason from quarantine__events where raw_text = 'broken'") == [
        ("malformed_line",)
    ]


XML = """<?xml version="1.0" encoding="UTF-8"?>
<log version="1" xmlns:x="urn:x"><session id="s1">
  <x:event id="e1"><user><id>u1</id></user><event_type> view </event_type><empty/>
    <price currency="EUR">1.50</price><tag>a</tag><tag>b</tag><note>1 &lt; 2 &#228;<![CDATA[<b>]]></note></x:event>
  <event id="e2"/><other/>
</session></log>
"""


def test_xml_attributes_children_and_what_is_around_are_columns(warehouse: Path, logs: Path) -> None:
    (logs / "a.xml").write_text(XML)
    (logs / "b.xml.gz").write_bytes(gzip.compress(XML.replace("e1", "e3").replace("e2", "e4").encode()))
    loaded(warehouse, logs, "--record-tag", "event")
    with duckdb.connect(str(warehouse), read_only=True) as con:
        found = con.sql("select * from raw.events where id = 'e1'").fetchone()
        names = [column[0] for column in con.description or con.sql("from raw.events").description]
    assert dict(zip(names, found or (), strict=True)) == {
        "log_version": "1",
        "session_id": "s1",
        "id": "e1",
        "user_id": "u1",
        "event_type": " view ",
        "empty": "",
        "price_currency": "EUR",
        "price": "1.50",
        "tag": '["a", "b"]',
        "note": "1 < 2 ä<b>",
    }
    assert rows(warehouse, "select id from raw.events order by id") == [("e1",), ("e2",), ("e3",), ("e4",)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '<!DOCTYPE l [<!ENTITY a "x"><!ENTITY b "&a;&a;&a;&a;">]><l><e>&b;</e></l>',
            "entities of its own",
        ),
        ('<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><l><e>&a;</e></l>', "entities of its own"),
        ('<!DOCTYPE l SYSTEM "http://127.0.0.1/l.dtd"><l><e>&a;</e></l>', "entities of its own"),
        ('<!DOCTYPE l [<!ENTITY % p SYSTEM "http://127.0.0.1/p">%p;]><l><e/></l>', "entities of its own"),
        ("<l><e>1</e><e>2", "no element found in line 1"),
        ("<l><e>1</f></l>", "mismatched tag"),
        (
            "<l><f/><f/></l>",
            "holds no element 'e'; name the one that is a row by --record-tag: f (2 times), l (1 times)",
        ),
        ("<l>" + "<d>" * 300 + "</d>" * 300 + "</l>", "deep"),
        ("<l><e>" + "x" * (17 << 20) + "</e></l>", "million characters"),
    ],
    ids=["bomb", "file", "undeclared", "parameter", "cut", "mismatch", "no-row", "deep", "huge"],
)
def test_hostile_and_broken_xml_is_refused_and_nothing_of_it_is_loaded(
    warehouse: Path, logs: Path, text: str, words: str
) -> None:
    (logs / "a.xml").write_text(text)
    fails(load(warehouse, logs, "--record-tag", "e"), "a.xml", words)
    assert rows(warehouse, "select table_name from information_schema.tables where table_schema = 'raw'") == []


class Endless:
    """A log of so many records, made while it is read."""

    def __init__(self, records: int) -> None:
        self.left, self.is_begun = records, False

    def read(self, size: int) -> bytes:
        if not self.is_begun:
            self.is_begun = True
            return b"<log>"
        if self.left < 0:
            return b""
        count = min(self.left, size // 60)
        self.left = self.left - count or -1
        return b'<event id="12345678"><user>u1</user></event><noise a="1"/>' * count + b"</log>" * (self.left < 0)


def test_xml_is_read_in_memory_that_does_not_grow_with_the_log() -> None:
    peaks = []
    for records in (10_000, 50_000):
        tracemalloc.start()
        assert sum(1 for _ in read_records(Endless(records), "event")) == records  # type: ignore[arg-type]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_a_load_that_fails_in_its_middle_leaves_nothing(
    warehouse: Path, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (logs / "a.csv").write_text(csv_log(1))
    loaded(warehouse, logs)
    (logs / "b.csv").write_text(csv_log(2, 3).replace("price", "price,extra").replace("1.50", "1.50,x"))

    def fail(*_: object) -> None:
        raise LoadError("no record")

    with monkeypatch.context() as patched:
        patched.setattr(landing.Landing, "record", fail)
        assert load(warehouse, logs).exit_code == 1
    assert rows(warehouse, "select * from raw.events") == [("u1", "view", "2024-01-01 10:00:00", "1.50")]
    loaded(warehouse, logs)
    assert rows(warehouse, "select count(*), count(extra) from raw.events") == [(3, 2)]


def test_a_file_that_changed_while_it_was_read_is_not_loaded(
    warehouse: Path, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (logs / "a.csv").write_text(csv_log(1))
    read = files.csv_tables

    def read_slowly(*given: Any) -> Any:
        (logs / "a.csv").write_text(csv_log(1, 2))  # whoever writes it has gone on
        return read(*given)

    with monkeypatch.context() as patched:
        patched.setattr(files, "csv_tables", read_slowly)
        fails(load(warehouse, logs), "a.csv: it changed while it was read")
    loaded(warehouse, logs)
    assert rows(warehouse, "select count(*) from raw.events") == [(2,)]


STUCK = """
import sys, time
from foretable.cli import main
from foretable.load.landing import Landing

def hang(*_):
    print("before the commit", flush=True)
    time.sleep(60)

Landing.record = hang
main(["load", *sys.argv[1:]])
"""


def test_a_load_that_is_killed_before_its_commit_leaves_no_half_file(warehouse: Path, logs: Path) -> None:
    (logs / "a.jsonl").write_text('{"user_id": "u1"}\n')
    loaded(warehouse, logs)
    (logs / "b.jsonl").write_text('{"user_id": "u2", "new": "x"}\n' * 50_000)
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, str(logs), "--warehouse", str(warehouse)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(warehouse.parent)},
    )
    assert process.stdout
    for line in process.stdout:
        if b"before the commit" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert rows(warehouse, "select * from raw.events") == [("u1",)]
    loaded(warehouse, logs)
    assert rows(warehouse, "select count(*), count(new) from raw.events") == [(50_001, 50_000)]


def test_a_load_that_is_killed_at_any_moment_is_completed_by_the_next(warehouse: Path, logs: Path) -> None:
    for number in range(12):
        (logs / f"{number}.jsonl").write_text(f'{{"user_id": "u{number}"}}\n' * 20_000)
    command = [sys.executable, "-m", "foretable", "load", str(logs), "--warehouse", str(warehouse)]
    dealt = random.Random(5)
    for _ in range(3):
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(warehouse.parent)},
        )
        time.sleep(dealt.uniform(0.6, 1.6))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if warehouse.exists():
            with duckdb.connect(str(warehouse)) as con:
                if con.sql("select 1 from information_schema.tables where table_name = 'events'").fetchone():
                    counts = con.sql("select distinct count(*) from raw.events group by user_id").fetchall()
                    assert set(counts) <= {(20_000,)}
    loaded(warehouse, logs)
    assert rows(warehouse, "select count(*), count(distinct user_id) from raw.events") == [(240_000, 12)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "no file or folder"),
        (["ftp://host/x"], "unknown kind of source 'ftp://"),
        (["here", "--cursor", "id"], "--cursor is for an API and Postgres"),
        (["here", "--header", "a: b"], "--header is for an API"),
        (["here", "--table", 'x"y'], "--table"),
        (["here"], "holds no file to load"),
        (["${NOT_SET_AT_ALL}"], "the environment has no NOT_SET_AT_ALL"),
        (["https://host/x"], "--paging"),
        (["postgresql://host/x"], "--from"),
        (["postgresql://host/x", "--from", "t"], "--cursor"),
        (["https://host/x?api_key=abc", "--paging", "none"], "api_key=${NAME}"),
        (["https://u:p@host/x", "--paging", "none"], "--header"),
        (["https://host/x", "--paging", "none", "--header", "abc"], "'NAME: VALUE'"),
    ],
)
def test_an_order_that_cannot_be_carried_out_says_why_and_touches_nothing(
    warehouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    fails(load(warehouse, *arguments), words, code=2)
    assert not warehouse.exists()


def test_a_warehouse_cannot_have_the_name_of_the_schema_that_rows_land_in(tmp_path: Path, logs: Path) -> None:
    (logs / "a.csv").write_text(csv_log(1))
    fails(load(tmp_path / "raw.duckdb", logs), "cannot be named raw.duckdb", code=2)


def test_a_view_in_the_place_of_the_table_is_refused(warehouse: Path, logs: Path) -> None:
    with duckdb.connect(str(warehouse)) as con:
        con.execute("create schema raw; create view raw.events as select 1 as user_id")
    (logs / "a.csv").write_text(csv_log(1))
    fails(load(warehouse, logs), "raw.events is a view")


def test_the_next_command_is_said_and_is_one_that_build_takes(warehouse: Path, logs: Path) -> None:
    (logs / "a.csv").write_text(csv_log(1))
    said = re.search(r"^Next: (foretable build .*)$", loaded(warehouse, logs).output, re.MULTILINE)
    assert said
    assert said[1] == f"foretable build --warehouse {warehouse} --vars '{{raw_schema: raw}}'"


def test_every_column_of_the_record_of_loads_is_documented() -> None:
    page = (ROOT / "docs" / "loading.md").read_text(encoding="utf-8")
    for table in ("loads", "load_positions"):
        body = landing._TABLES.split(f"foretable.{table} (")[1].split("\n    )")[0]
        columns = re.findall(r"^ +(\w+) ", body, re.MULTILINE)
        documented = re.search(rf"^\| `foretable.{table}` \| [^|]* \| ([^|]*) \|", page, re.MULTILINE)
        assert documented
        assert documented[1].split(", ") == columns
