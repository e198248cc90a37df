"""The published tables in a real Postgres: exact values, all at once, and nothing of anybody else's touched."""

import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pytest

pytest.importorskip("psycopg", reason="publishing into Postgres needs the extra 'load'")

import psycopg

from foretable.load.credentials import Credentials
from foretable.publish.errors import PublishError
from foretable.publish.postgres import write_postgres
from tests.postgres import PASSWORD, Execute, execute, server, source

__all__ = ["execute", "server", "source"]
"""The fixtures."""

VALUES = {
    "small": ("tinyint", "-7", -7),
    "big": ("hugeint", "170141183460469231731687303715884105727", 170141183460469231731687303715884105727),
    "unsigned": ("ubigint", "18446744073709551615", 18446744073709551615),
    "exact": ("decimal(10, 3)", "1.230", "1.230"),
    "score": ("float", "0.1", 0.1),
    "none_score": ("double", "'nan'", "nan"),
    "yes": ("boolean", "true", True),
    "text": ("varchar", "e'tab\\tline\\nback\\\\ ü'", "tab\tline\nback\\ ü"),
    "missing": ("varchar", "null", None),
    "mood": ("enum('a', 'b')", "'b'", "b"),
    "bytes": ("blob", "'\\xFF'::blob", b"\xff"),
    "day": ("date", "date '2025-02-28'", "2025-02-28"),
    "at": ("timestamp", "timestamp '2025-02-28 23:59:59.000001'", "2025-02-28 23:59:59.000001"),
    "given": ("json", "'{\"a\": 1}'", {"a": 1}),
    "path": ("varchar[]", "['C:\\u0000x']", ["C:\\u0000x"]),
    "reasons": ("struct(feature varchar, x double)[]", "[{'feature': 'é', 'x': 'inf'::double}]",
                [{"feature": "é", "x": None}]),
}  # fmt: skip


def a_build(file: Path, build: int, *tables: str, warehouse: str = "shop.duckdb") -> Path:
    """A published file with these tables, each of which says the build, and one of every type."""
    file.unlink(missing_ok=True)
    with duckdb.connect(str(file)) as con:
        con.execute("create table mart__types as select " + ", ".join(
            f"({value})::{kind} as {name}" for name, (kind, value, _) in VALUES.items()))  # fmt: skip
        for table in tables:
            con.execute(f"create table {table} as select {build} as build from range(1000)")
        con.execute("create table examples__x as select 1 as heat")
        con.execute("create schema scores_models; create table scores_models.functions as select 1 as nodes")
        named = ("mart__types", *tables, "examples__x", "scores_models.functions")
        listed = [{"table_name": name} for name in named]
        con.execute(
            f"create table _published as select '{build}' as build_id, '{warehouse}' as warehouse, {listed} as tables"
        )
    return file


def write(file: Path, source: str, schema: str = "public") -> int:
    return write_postgres(file, source, Credentials(), schema=schema)


def test_every_value_arrives_as_it_was(execute: Execute, source: str, tmp_path: Path) -> None:
    assert write(a_build(tmp_path / "p.duckdb", 1, "pred__x"), source, "shop") == 3
    found: dict[str, Any] = dict(zip(VALUES, execute("select * from shop.mart__types").fetchone(), strict=True))
    found |= {name: str(found[name]) for name in ("exact", "none_score", "day", "at")}
    assert found.pop("score") == pytest.approx(0.1)
    assert found == {name: expected for name, (_, _, expected) in VALUES.items() if name != "score"}
    listed = execute("select table_name from information_schema.tables where table_schema = 'shop' order by 1")
    assert [row[0] for row in listed.fetchall()] == ["_published", "mart__types", "pred__x"]


def test_readers_see_one_build_while_others_come_and_keep_their_grants(
    execute: Execute, server: str, source: str, tmp_path: Path
) -> None:
    execute("drop role if exists reader")
    execute("create role reader login password 'r'")
    files = [a_build(tmp_path / f"{n}.duckdb", n, "pred__x", "pred__y") for n in range(6)]
    write(files[0], source)
    for table in ("_published", "pred__x", "pred__y"):
        execute(f"grant select on {table} to reader")
    seen: set[str] = set()
    faults: list[Any] = []
    is_over = threading.Event()

    def read() -> None:
        with psycopg.connect(f"postgresql://reader:r@{server}/shop", autocommit=True) as con:
            while not is_over.is_set():
                try:
                    row = con.execute(
                        "select (select build_id from _published), (select array_agg(distinct build) from pred__x), "
                        "(select array_agg(distinct build) from pred__y)"
                    ).fetchone()
                except psycopg.Error as error:
                    faults.append(error)
                    return
                assert row
                if row[1] != row[2] or [int(row[0])] != row[1]:
                    faults.append(row)
                seen.add(row[0])

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for file in files[1:]:
        write(file, source)
    is_over.set()
    for reader in readers:
        reader.join()
    assert faults == []
    assert len(seen) > 1


def test_what_is_not_ours_is_left_alone_and_a_failed_publish_changes_nothing(
    execute: Execute, source: str, server: str, tmp_path: Path
) -> None:
    def refused(file: Path, address: str = source) -> str:
        with pytest.raises(PublishError) as told:
            write(file, address)
        return str(told.value)

    first = a_build(tmp_path / "1.duckdb", 1, "pred__x", "pred__gone")
    execute("create table pred__x as select 'mine' as owner")
    assert "a relation pred__x that no publish has written" in refused(first)
    assert execute("select owner from pred__x").fetchall() == [("mine",)]
    execute("drop table pred__x")
    execute("create table functions as select 'mine' as owner")
    execute("create view examples__x as select 1 as mine")
    write(first, source)
    other = a_build(tmp_path / "3.duckdb", 3, "pred__x", warehouse="other.duckdb")
    assert "was published from shop.duckdb, not from other.duckdb" in refused(other)
    second = a_build(tmp_path / "2.duckdb", 2, "pred__x")
    execute("create view board as select count(*) from pred__gone")
    assert "drop what rests on it" in refused(second)
    assert execute("select build_id, (select max(build) from pred__x) from _published").fetchall() == [("1", 1)]
    execute("drop view board")
    write(second, source)
    assert execute("select build_id, to_regclass('pred__gone') from _published").fetchall() == [("2", None)]
    assert execute("select owner, (select mine from examples__x) from functions").fetchall() == [("mine", 1)]
    with duckdb.connect(str(second)) as con:
        con.execute("create table pred__nul as select 'a' || chr(0) as text")
    assert "NUL character" in refused(second)
    shown = refused(second, f"postgresql://owner:{quote(PASSWORD, safe='')}x@{server}/shop")
    assert shown.startswith("Postgres: ")
    assert quote(PASSWORD, safe="") not in shown
    assert PASSWORD not in shown
