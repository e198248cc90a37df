"""A published file holds a whole build and nothing that needs Python, and readers always see one build."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from foretable.cli import main
from foretable.publish import parity, publishing
from foretable.publish.errors import PublishError
from foretable.sentences import plain
from tests.conftest import ROOT, run_dbt
from tests.publishing import fill, names, published, rows


@pytest.fixture(scope="module")
def filled(stateful: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read it only."""
    warehouse = tmp_path_factory.mktemp("filled") / "shop.duckdb"
    warehouse.write_bytes(stateful.read_bytes())
    fill(warehouse)
    return warehouse


@pytest.fixture
def warehouse(filled: Path, tmp_path: Path) -> Path:
    """A copy to write into, in a folder of its own."""
    (tmp_path / "shop").mkdir()
    copy = tmp_path / "shop" / "shop.duckdb"
    copy.write_bytes(filled.read_bytes())
    return copy


MACROS = {"describe", "explain_test", "test", "test_of", "test_table"}


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def change(warehouse: Path, sql: str) -> None:
    with duckdb.connect(str(warehouse)) as con:
        con.execute(sql)


def tag(warehouse: Path, **personal: bool) -> None:
    """Let the manifest say of the model of the scores which columns are personal, as dbt records it."""
    node = {"name": "pred__test", "resource_type": "model", "personal": personal}
    above = {"nodes": ["model.shop.pred__test"]}
    mart = {"name": "mart__users", "resource_type": "model", "depends_on": above, "personal": {}}
    with duckdb.connect(str(warehouse)) as con:
        for name, one in (("pred__test", node), ("mart__users", mart)):
            con.execute(
                "insert into foretable.manifest values ('nodes', ?, ?)", [f"model.shop.{name}", json.dumps(one)]
            )


def test_a_published_file_has_tables_macros_and_one_row_that_says_which_build_it_is(warehouse: Path) -> None:
    done = published(warehouse)
    found = rows(
        done.file, "select schema_name, table_name from duckdb_tables() where schema_name = 'main' order by all"
    )
    tables = ["_published", "examples__test", "mart__users", "monitoring__number", "pred__test"]
    assert found == [("main", name) for name in tables]
    assert rows(done.file, "select count(*) from duckdb_views() where not internal") == [(0,)]
    for table in tables[1:]:
        where = "where as_of = (select max(as_of) from examples__test)" if table == "examples__test" else ""
        assert rows(done.file, f"from {table} order by all") == rows(warehouse, f"from {table} {where} order by all")
    [(build_id, source, personal, counts, predictions)] = rows(
        done.file, "select build_id, warehouse, personal, tables, predictions from _published"
    )
    assert (build_id, source, personal) == (done.build_id, "shop.duckdb", "drop")
    counted = {one["table_name"]: one["row_count"] for one in counts if "scores_models." not in one["table_name"]}
    assert counted == {**dict.fromkeys(tables[1:], 120), "monitoring__number": 1}
    assert [(one["prediction"], one["version"], one["row_count"]) for one in predictions] == [("test", 1, 120)]


def test_the_macros_score_in_the_file_as_in_the_warehouse_bit_for_bit(warehouse: Path) -> None:
    done = published(warehouse)
    assert (set(done.macros), done.left_out, done.compared) == (MACROS, {}, 360)
    told = "select function_name, is_there from scores.describe() order by all"
    assert rows(done.file, told) == rows(warehouse, told)
    for scored in ("select user_id, scores.test(examples) as score from examples__test as examples",
                   "select user_id, scores.test_of(user_id) as score from examples__test",
                   "select user_id, score from scores.test_table('examples__test')"):  # fmt: skip
        assert sorted(rows(done.file, scored)) == sorted(rows(warehouse, "select user_id, score from pred__test"))
        assert len(rows(done.file, scored)) == 120


def test_macros_keep_their_defaults_and_those_over_what_is_not_in_the_file_stay_behind(warehouse: Path) -> None:
    with duckdb.connect(str(warehouse)) as con:
        con.create_function("python_score", lambda x: x, ["FLOAT"], "FLOAT")  # type: ignore[list-item,arg-type]
        con.execute("create macro scores.raised(score, step := 0.5) as score + step")
        con.execute("create macro scores.of_python(x) as python_score(x)")
        con.execute("create macro scores.of_raw(x) as table select * from fixed where user_id = x")
        con.execute("create macro scores.of_those(x) as table with t as (from scores.of_raw(x)) from t")
    done = published(warehouse)
    assert done.left_out == {
        "of_python": "it calls python_score, which is not in the file",
        "of_raw": "it reads fixed, which is not published",
        "of_those": "it calls scores.of_raw, which stays behind",
    }
    assert set(done.macros) == MACROS | {"raised"}
    assert rows(done.file, "select scores.raised(1.0), scores.raised(1.0, step := 2)") == [(1.5, 3.0)]


def test_a_source_says_what_is_personal_too_and_a_build_that_has_not_recorded_it_is_refused(warehouse: Path) -> None:
    source = {"name": "visitors", "resource_type": "source", "personal": {"kind": True}}
    mart = {"name": "mart__users", "resource_type": "model", "personal": {}, "depends_on": {"nodes": ["source.shop.v"]}}
    record = "insert into foretable.manifest values (?, ?, ?)"
    with duckdb.connect(str(warehouse)) as con:
        con.execute(record, ["sources", "source.shop.v", json.dumps(source)])
        con.execute(record, ["nodes", "model.shop.mart__users", json.dumps(mart)])
    assert published(warehouse).dropped == {"mart__users": ("kind",)}
    del mart["personal"]
    with duckdb.connect(str(warehouse)) as con:
        con.execute("delete from foretable.manifest where unique_id = 'model.shop.mart__users'")
        con.execute(record, ["nodes", "model.shop.mart__users", json.dumps(mart)])
    with pytest.raises(PublishError, match="has not recorded which columns are personal; build it again"):
        published(warehouse)
    assert published(warehouse, personal="keep").dropped == {}


def test_a_prediction_that_its_model_withholds_is_published_neither_as_scores_nor_as_rows(warehouse: Path) -> None:
    node = {"name": "pred__test", "resource_type": "model", "personal": {}, "publish": False}
    with duckdb.connect(str(warehouse)) as con:
        con.execute("insert into foretable.manifest values ('nodes', 'model.shop.pred__test', ?)", [json.dumps(node)])
    done = published(warehouse)
    assert set(done.tables) & {"pred__test", "examples__test"} == set()
    assert rows(done.file, "select predictions from _published") == [([],)]


def test_a_warehouse_is_found_by_whatever_path_leads_to_it(warehouse: Path) -> None:
    beside = warehouse.parent / "beside"
    beside.mkdir()
    roundabout = beside / ".." / warehouse.name
    done = publishing.publish(roundabout, beside / "published.duckdb", state=beside / "state", keep=1)
    assert rows(done.file, "select warehouse from _published") == [("shop.duckdb",)]


def test_a_view_over_a_function_of_python_is_refused_by_name(warehouse: Path) -> None:
    with duckdb.connect(str(warehouse)) as con:
        con.create_function("python_score", lambda x: x, ["FLOAT"], "FLOAT")  # type: ignore[list-item,arg-type]
        con.execute("create view mart__of_python as select python_score(score) as score from pred__test")
    with pytest.raises(PublishError, match="mart__of_python cannot be read without Python"):
        published(warehouse)
    assert names(warehouse.parent) == {"shop.duckdb", "state"}


def test_personal_columns_are_dropped_or_hashed_below_the_model_that_says_so(warehouse: Path) -> None:
    tag(warehouse, kind=True, user_id=True)
    dropped = published(warehouse)
    assert dropped.dropped == {"examples__test": ("kind",), "mart__users": ("kind",)}
    assert set(dropped.macros) == MACROS - {"test_of"}
    assert dropped.left_out == {"test_of": "it reads the personal kind of examples__test, which are left out"}
    told = "select is_there from scores.describe() where function_name = 'scores.test_of'"
    assert (rows(warehouse, told), rows(dropped.file, told)) == ([(True,)], [(False,)])
    hashes = {row[0] for row in rows(dropped.file, "select user_id from pred__test")}
    assert len(hashes) == 120
    assert all(len(one) == 64 for one in hashes)
    assert hashes == {row[0] for row in rows(dropped.file, "select user_id from examples__test")}
    told = "select distinct unnest(reasons).feature from pred__test order by all"
    assert rows(warehouse, told) == [("heat",), ("kind",), ("noise",)]
    assert rows(dropped.file, told) == [("heat",), ("noise",)]
    hashed = published(warehouse, personal="hash")
    assert hashed.dropped == {"examples__test": ("kind",)}
    kinds = rows(hashed.file, "select distinct kind from mart__users")
    assert len(kinds) == 5
    assert all(kind is None or len(kind) == 64 for (kind,) in kinds)
    kept = published(warehouse, personal="keep")
    assert kept.dropped == {}
    assert rows(kept.file, "from mart__users order by all") == rows(warehouse, "from mart__users order by all")


def test_a_macro_that_differs_from_the_scores_is_not_published(warehouse: Path) -> None:
    before = published(warehouse)
    held = before.file.read_bytes()
    change(warehouse, "update pred__test set score = nextafter(score, 1::float) where score_rank = 7")
    with pytest.raises(PublishError, match=r"scores.test and pred__test differ on 1 of 120 rows, say \(7, "):
        published(warehouse)
    assert before.file.read_bytes() == held
    assert names(warehouse.parent) == {"shop.duckdb", "published.duckdb", "state"}


def test_the_builds_before_are_kept_and_can_be_read(warehouse: Path) -> None:
    builds = []
    for n in range(5):
        change(warehouse, f"update number set n = {n}")
        builds.append(published(warehouse, keep=2).build_id)
    folder = warehouse.parent / "published.versions"
    assert sorted(names(folder)) == [f"{build}.duckdb" for build in builds[2:4]]
    assert rows(folder / f"{builds[2]}.duckdb", "select n, build_id from monitoring__number, _published") == [
        (2, builds[2])
    ]
    published(warehouse, keep=0)
    assert not folder.exists()


def test_where_nothing_has_changed_the_file_stays_and_older_ones_go_as_keep_says(warehouse: Path) -> None:
    for n in range(3):
        change(warehouse, f"update number set n = {n}")
        done = published(warehouse)
    held, at = done.file.read_bytes(), done.file.stat()
    again = published(warehouse, keep=1)
    assert (done.is_new, done.compared, again.is_new, again.compared) == (True, 360, False, 0)
    assert (again.build_id, again.tables, again.macros) == (done.build_id, done.tables, done.macros)
    assert (done.file.read_bytes(), done.file.stat()) == (held, at)
    assert len(names(warehouse.parent / "published.versions")) == 1
    said = call("publish", "--warehouse", warehouse, "--out", done.file)
    assert f"is up to date: 7 tables and 5 macros; build {done.build_id}" in said.output


CHANGES = {
    "a value": "update number set n = 2",
    "a type": "alter table number alter n type bigint",
    "values that change places": "update fixed set kind = if(kind = 'c1', 'c2', 'c1') where kind in ('c1', 'c2')",
    "a new table": "create table mart__more as select 1 as n",
    "a table that is gone": "drop view monitoring__number",
    "the default of an argument": "create or replace macro scores.raised(score, step := 0.7) as score + step",
    "a macro that is gone": "drop macro scores.raised",
    "a new macro": "create macro scores.doubled(score) as 2 * score",
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_changes_by_whatever_hand_is_published(warehouse: Path, what: str) -> None:
    change(warehouse, "create macro scores.raised(score, step := 0.5) as score + step")
    before = published(warehouse)
    assert not published(warehouse).is_new
    change(warehouse, CHANGES[what])
    after = published(warehouse)
    assert after.is_new
    assert after.build_id > before.build_id
    assert not published(warehouse).is_new


def test_another_word_on_personal_columns_and_another_secret_are_published(warehouse: Path) -> None:
    tag(warehouse, kind=True)
    secret = warehouse.parent / "state" / "publish.salt"
    assert [published(warehouse, personal=mode).is_new for mode in ("drop", "hash", "hash", "keep", "keep")] == [
        *(True, True, False, True, False)
    ]
    published(warehouse, personal="hash")
    secret.write_text("another")
    assert published(warehouse, personal="hash").is_new


@pytest.mark.parametrize(
    "sql",
    [
        "update mart__users set n = 7",
        "drop table mart__users",
        "create table stray as select 1 as n",
        "create or replace macro scores.test_of(user_id) as 0.5::float",
        "update _published set foretable_version = '0.0.1'",
        "alter table _published drop tables",
    ],
)
def test_a_file_that_was_changed_by_hand_or_by_another_release_is_written_anew(warehouse: Path, sql: str) -> None:
    file = published(warehouse).file
    change(file, sql)
    again = published(warehouse)
    assert again.is_new
    assert set(again.macros) == MACROS
    assert rows(file, "select distinct n from mart__users") == [(1,)]


def test_scores_that_were_compared_before_are_compared_by_a_sample(
    warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "SAMPLE", 50)
    assert published(warehouse).compared == 360
    change(warehouse, "update number set n = 2")
    assert published(warehouse).compared == 3 * 40  # every third rank
    change(warehouse, "update examples__test set noise = noise where false; update fixed set noise = 0")
    change(warehouse, "update examples__test set noise = nextafter(noise, 1::double) where user_id = 'u7'")
    assert published(warehouse).compared == 360
    change(
        warehouse, "create or replace macro scores.test_of(key) as (select score from pred__test where user_id = key)"
    )
    assert published(warehouse).compared == 360
    change(warehouse, "update pred__test set score = nextafter(score, 1::float) where score_rank = 7")
    with pytest.raises(PublishError, match=r"scores.test and pred__test differ on 1 of 120 rows"):
        published(warehouse)


def test_a_scorer_of_a_personal_feature_is_always_compared_in_full(warehouse: Path) -> None:
    tag(warehouse, kind=True)
    done = published(warehouse)
    again = published(warehouse)
    assert (done.is_new, again.is_new, done.compared, again.compared) == (True, False, 240, 240)
    change(warehouse, "update examples__test set kind = 'c3' where kind = 'c1'")  # the file does not have it
    with pytest.raises(PublishError, match=r"scores.test and pred__test differ on"):
        published(warehouse)


READER = """
import os, sys, duckdb
os.nice(10)  # without pause, and yet the publishing process gets its turn
file, seen, last = sys.argv[1], set(), ""
print("ready", flush=True)
while last != "50":
    with duckdb.connect(file, read_only=True) as con:
        con.execute("set enable_progress_bar = false")  # which it prints where the machine is busy
        told = con.execute(
            "select (select build_id from _published), (select n from monitoring__number), "
            "(select list_distinct(list(n)) from mart__users), (select count(*) from pred__test)"
        ).fetchone()
        again = con.execute("select build_id, (select n from monitoring__number) from _published").fetchone()
    assert told[2] == [told[1]] and told[3] == 120 and again == told[:2], (told, again)
    seen.add(told[:2])
    last = str(told[1])
assert len({build for build, _ in seen}) == len({n for _, n in seen}) == len(seen)
print(len(seen))
"""


def test_sixteen_readers_always_see_one_build_while_fifty_are_published(warehouse: Path) -> None:
    change(warehouse, "update number set n = 0")
    file = published(warehouse).file
    readers = [
        subprocess.Popen([sys.executable, "-c", READER, str(file)], stdout=subprocess.PIPE, text=True)
        for _ in range(16)
    ]
    try:
        for reader in readers:
            assert reader.stdout
            assert reader.stdout.readline() == "ready\n"
        for n in range(1, 51):
            change(warehouse, f"update number set n = {n}")
            published(warehouse, keep=1)
        told = [reader.communicate(timeout=600)[0] for reader in readers]
    finally:
        for reader in readers:
            reader.kill()
    assert [reader.returncode for reader in readers] == [0] * 16
    assert max(int(builds) for builds in told) > 2


KILLED = """
import os, signal, sys
from pathlib import Path
from foretable.publish import parity, publishing
def killed(*given, **named):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(publishing, sys.argv[2], killed) if sys.argv[2] != "replace" else setattr(os, "replace", killed)
from tests.publishing import published
published(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("instant", ["write_mark", "check_parity", "replace"])
def test_a_publish_that_is_killed_leaves_the_old_file_and_the_next_one_cleans_up(warehouse: Path, instant: str) -> None:
    before = published(warehouse)
    change(warehouse, "update number set n = 2")
    done = subprocess.run([sys.executable, "-c", KILLED, str(warehouse), instant], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert any(name.endswith(".partial") for name in names(warehouse.parent))
    assert rows(before.file, "select build_id, n from _published, monitoring__number") == [(before.build_id, 1)]
    after = published(warehouse)
    assert rows(after.file, "select build_id, n from _published, monitoring__number") == [(after.build_id, 2)]
    assert names(warehouse.parent) == {"shop.duckdb", "published.duckdb", "published.versions", "state"}


def test_what_cannot_be_published_is_told_and_nothing_changes(warehouse: Path, stateful: Path) -> None:
    def refused(target: Path, source: Path = warehouse) -> str:
        with pytest.raises((PublishError, ValueError, LookupError)) as told:
            publishing.publish(source, target, state=warehouse.parent / "state", keep=3)
        return str(told.value)

    folder = warehouse.parent
    assert "no folder" in refused(folder / "nowhere" / "x.duckdb")
    assert "cannot be written" in refused(Path("/proc/x.duckdb"))
    assert "was not published, and stays as it is" in refused(warehouse)
    (folder / "notes.duckdb").write_text("not a database")
    assert "cannot be read, and stays as it is" in refused(folder / "notes.duckdb")
    assert "no scores and no marts" in refused(folder / "new.duckdb", stateful)
    file = published(warehouse).file
    other = folder / "other.duckdb"
    other.write_bytes(warehouse.read_bytes())
    assert "was published from shop.duckdb, not other.duckdb" in refused(file, other)
    assert names(folder) == {"shop.duckdb", "published.duckdb", "notes.duckdb", "other.duckdb", "state"}


@pytest.mark.parametrize("arguments", [["build"], ["load", "users.csv"], ["publish"], ["promote", "test", "1"]])
def test_a_published_file_is_no_warehouse(file: Path, arguments: list[str]) -> None:
    before = file.read_bytes()
    result = call(*arguments, "--warehouse", file)
    assert result.exit_code in (1, 2)
    assert "published file" in result.stderr or "holds no predictions" in result.stderr
    assert file.read_bytes() == before


def test_a_build_publishes_unless_told_otherwise_and_records_what_is_personal(
    warehouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "events.csv").write_text("user_id,event_type,occurred_at\nu,view,2025-01-01\n", "utf-8")
    order = ["build", "--select", "contract__events", "--data", "log", "--no-tests", "--warehouse", warehouse]
    file = warehouse.with_name("shop_published.duckdb")
    assert call(*order, "--vars", "{publish: false}").exit_code == 0
    assert not file.exists()
    done = call(*order, "--vars", "{personal: [gender]}")
    assert done.exit_code == 0, done.output
    assert rows(file, "select tables[1].table_name, personal from _published") == [("examples__test", "drop")]
    said = "select json_extract_string(node, '$.personal.{}') from foretable.manifest where node->>'name' = '{}'"
    assert rows(warehouse, said.format("income_band", "mart__users")) == [("true",)]
    assert rows(warehouse, said.format("gender", "features__user")) == [("true",)]
    assert rows(warehouse, said.format("income_band", "features__user")) == [(None,)]


def test_plain_dbt_refuses_to_build_into_a_published_file(warehouse: Path, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user_id,event_type,occurred_at\nu,view,2025-01-01\n", "utf-8")
    file = published(warehouse).file
    run = run_dbt("run", "--select", "contract__events", warehouse=file, data=tmp_path)
    assert run.code != 0
    assert "the warehouse file is a published one" in run.output


REFUSED = {
    "create table x as select 1": "refused",
    "insert into pred__test select * from pred__test": "refused",
    "update pred__test set score = 1": "refused",
    "drop table pred__test": "refused",
    "create temp table x as select 1": "refused",
    "attach 'other.duckdb'": "refused",
    "attach ':memory:' as other": "refused",
    "copy pred__test to 'out.csv'": "refused",
    "copy pred__test from 'users.csv'": "refused",
    "export database 'out'": "refused",
    "install httpfs": "refused",
    "load httpfs": "refused",
    "set enable_external_access = true": "refused",
    "set threads = 1": "refused",
    "pragma enable_profiling": "refused",
    "select 1; drop table pred__test": "refused",
    "explain analyze insert into pred__test select * from pred__test": "read-only",
    "from 'users.csv'": "disabled|not exist",
    "from read_csv('users.csv')": "disabled",
    "from read_text('users.csv')": "disabled",
    "from glob('*')": "disabled",
    "from query('from read_csv(''users.csv'')')": "disabled",
    "from sniff_csv('users.csv')": "disabled",
}


@pytest.fixture(scope="module")
def file(filled: Path) -> Path:
    """Published once. Read it only."""
    return published(filled).file


@pytest.mark.parametrize("sql", REFUSED)
def test_sql_of_a_published_file_cannot_leave_it(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("users.csv").write_text("user_id\nu\n")
    before = file.read_bytes()
    result = call("sql", sql, "--file", file)
    assert result.exit_code == 1, result.output
    assert any(word in result.stderr for word in REFUSED[sql].split("|")), result.stderr
    assert file.read_bytes() == before
    assert names(tmp_path) == {"users.csv"}


def test_a_published_file_is_asked_by_selects_and_by_what_shows_a_plan(file: Path) -> None:
    best = "select max(scores.test(e)) as best from examples__test as e"
    shown = ("describe mart__users", "show tables", "summarize mart__users", "explain from mart__users")
    for sql in (best, "from mart__users", *shown):
        result = call("sql", sql, "--file", file, "--format", "csv")
        assert result.exit_code == 0, result.output
    assert call("sql", "from mart__users", "--warehouse", file, "--format", "csv").exit_code == 0


def test_a_file_of_another_release_is_read_and_one_of_another_duckdb_says_so(warehouse: Path) -> None:
    file = published(warehouse).file
    change(file, "update _published set format = 99, foretable_version = '9.9.9'; alter table _published drop tables")
    assert call("sql", "select count(*) from mart__users", "--file", file).exit_code == 0
    newer = "IO Error: Trying to read a database file with version number 999, but we can only read version 64."
    assert "written by another version of DuckDB (storage version 999)" in plain(newer)


def test_parquet_files_of_a_build_appear_at_once_and_latest_leads_to_them(warehouse: Path) -> None:
    lake = warehouse.parent / "lake"
    builds = []
    for n in range(3):
        change(warehouse, f"update number set n = {n}")
        done = call("publish", "--warehouse", warehouse, "--parquet", lake, "--keep", "1")
        assert done.exit_code == 0, done.output
        builds.append(rows(warehouse.with_name("shop_published.duckdb"), "select build_id from _published")[0][0])
    assert names(lake) == {*builds[1:], "latest"}
    assert os.readlink(lake / "latest") == builds[-1]
    assert names(lake / "latest") == {
        f"{name}.parquet" for name in ("_published", "mart__users", "monitoring__number", "pred__test")
    }
    latest = lake / "latest"
    read = duckdb.sql(f"select n, build_id from '{latest}/monitoring__number.parquet', '{latest}/_pub*.parquet'")
    assert read.fetchall() == [(2, builds[-1])]
    (lake / "thesis.txt").write_text("years of work")
    refused = call("publish", "--warehouse", warehouse, "--parquet", lake)
    assert "thesis.txt, which is no build" in refused.stderr
    assert os.readlink(lake / "latest") == builds[-1]


def test_the_command_says_what_was_published_and_what_was_left_out(warehouse: Path) -> None:
    tag(warehouse, kind=True)
    result = call("publish", "--warehouse", warehouse)
    assert result.exit_code == 0, result.output
    assert "Left out of mart__users as personal: kind." in result.output
    assert "and 4 macros, 240 of their scores compared" in result.output
