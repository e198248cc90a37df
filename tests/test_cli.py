"""The command line: what it prints, what it refuses and how it says so."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from foretable.cli import main
from foretable.query import open_reader
from foretable.results import demo_queries
from foretable.sentences import plain
from tests.conftest import Shop

EVENT = "'u1' as user_id, 'view' as event_type, timestamp '2025-01-01 10:00' as occurred_at"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("FORETABLE_WAREHOUSE", "FORETABLE_DATA"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def call(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=stdin)


def assert_plain(result: Result, exit_code: int, *parts: str) -> None:
    """It failed as expected, and all that is said is one or two plain lines."""
    assert result.exit_code == exit_code, result.output
    for part in parts:
        assert part in result.stderr
    for noise in ("Traceback", "> in macro", "called by", "Compilation Error", "Runtime Error", "Error: Error"):
        assert noise not in result.output


def parquet(file: str, select: str) -> None:
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    duckdb.sql(select).write_parquet(file)


def warehouse(sql: str, file: str = "warehouse.duckdb") -> None:
    with duckdb.connect(file) as con:
        con.execute(sql)


def foretable(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "foretable", *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


@pytest.fixture
def built(tiny_shop: Shop, tmp_path: Path) -> Path:
    """A folder with a copy of the small shop and of its warehouse."""
    shutil.copytree(tiny_shop.data, tmp_path / "shop")
    shutil.copy(tiny_shop.warehouse, tmp_path / "warehouse.duckdb")
    return tmp_path


@pytest.mark.parametrize("command", sorted(main.commands))
def test_help_of_every_command_teaches_with_examples(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.output
    assert f"    foretable {command}" in result.output


def test_simulate_says_what_it_wrote() -> None:
    result = call("simulate", "--users", "5", "--days", "60", "--out", "small")
    assert result.exit_code == 0
    assert "small/events.parquet" in result.output
    assert "events/s" in result.output
    assert Path("small/manifest.json").is_file()


def test_simulate_leaves_a_folder_with_other_files_alone() -> None:
    Path("shop").mkdir()
    Path("shop/thesis.txt").write_text("years of work")
    assert_plain(call("simulate", "--users", "5", "--days", "60"), 2, "shop holds 'thesis.txt'")
    assert Path("shop/thesis.txt").read_text() == "years of work"


def test_simulate_names_the_argument_that_is_out_of_range() -> None:
    assert_plain(call("simulate", "--days", "3"), 2, "days is 3")


def test_build_refuses_a_folder_that_is_not_there() -> None:
    assert_plain(call("build", "--data", "nowhere"), 2, "no folder 'nowhere'", "--data FOLDER")
    assert not Path("warehouse.duckdb").exists()


def test_build_refuses_a_folder_without_events() -> None:
    parquet("log/users.parquet", "select 'u1' as user_id")
    assert_plain(call("build", "--data", "log"), 2, "folder 'log' holds no events", "events.parquet")


def test_build_refuses_a_file_in_place_of_the_folder() -> None:
    parquet("events.parquet", f"select {EVENT}")
    assert_plain(call("build", "--data", "events.parquet"), 2, "is a file", "--data FOLDER")


def test_build_names_the_file_that_a_source_needs() -> None:
    Path("log").mkdir()
    result = call("build", "--source", "online_retail", "--data", "log")
    assert_plain(result, 2, "online_retail_transactions.parquet", "'online_retail'")


def test_build_lists_the_known_sources() -> None:
    assert_plain(call("build", "--source", "amazon"), 2, "unknown source 'amazon'", "contract, online_retail, taobao")


def test_build_lists_the_known_words_for_train() -> None:
    assert_plain(call("build", "--train", "sometimes"), 2, "'sometimes'", "'when_changed', 'always', 'never'")


@pytest.mark.parametrize("text", ["{train", "- a", "word"])
def test_build_refuses_vars_that_are_no_mapping(text: str) -> None:
    assert_plain(call("build", "--vars", text), 2, "--vars", "write it like")


@pytest.mark.parametrize("name", ["foretable.duckdb", "scores.duckdb", "Main.duckdb"])
def test_a_warehouse_cannot_be_named_like_a_schema_in_it(name: str) -> None:
    assert_plain(call("build", "--warehouse", name), 2, name, "schema")
    assert_plain(call("demo", "--warehouse", name), 2, name, "schema")


def test_a_warehouse_whose_name_dbt_cannot_quote_is_refused() -> None:
    assert_plain(call("build", "--warehouse", "anna's.duckdb"), 2, "anna's.duckdb", "quote")


def test_a_warehouse_needs_a_folder() -> None:
    assert_plain(call("build", "--warehouse", "no/such/shop.duckdb"), 2, "no folder")


def test_a_folder_without_a_project_is_refused() -> None:
    assert_plain(call("build", "--project-dir", "."), 2, "no dbt_project.yml", "foretable init")


def test_a_file_that_is_no_warehouse_is_named() -> None:
    Path("warehouse.duckdb").write_text("hello")
    parquet("shop/events.parquet", f"select {EVENT}")
    for command in (["build"], ["sql", "select 1"], ["predictions"]):
        assert_plain(call(*command), 1, "warehouse.duckdb is not a DuckDB file")


def test_selecting_nothing_is_said() -> None:
    parquet("shop/events.parquet", f"select {EVENT}")
    assert_plain(call("build", "--select", "pred__nonsense"), 2, "--select pred__nonsense")


def test_an_unknown_selector_is_named_with_those_that_are_known() -> None:
    parquet("shop/events.parquet", f"select {EVENT}")
    result = call("build", "--selector", "score")
    assert_plain(result, 2, "unknown selector 'score'", "cleaning, features, training, scoring, marts, monitoring")
    assert not Path("warehouse.duckdb").exists()


def test_a_selector_stands_alone() -> None:
    result = call("build", "--selector", "marts", "--select", "mart__users")
    assert_plain(result, 2, "--selector", "leave --select and --exclude out")


def test_a_project_without_selectors_is_told_where_to_find_some() -> None:
    Path("team").mkdir()
    Path("team/dbt_project.yml").write_text("name: team")
    assert_plain(call("build", "--project-dir", "team", "--selector", "marts"), 2, "no selectors.yml", "dbt_project")


@pytest.mark.parametrize(
    ("select", "parts"),
    [
        ("select 'u1' as user_id, 'view' as kind", ["lacks the required columns event_type, occurred_at", "kind"]),
        (f"select {EVENT} where false", ["holds no rows"]),
    ],
)
def test_events_that_cannot_be_used_are_described(select: str, parts: list[str]) -> None:
    parquet("log/events.parquet", select)
    result = call("build", "--data", "log", "--select", "+stg_events")
    assert_plain(result, 1, "events.parquet", *parts, "are as they were before")


def test_a_file_that_is_not_parquet_is_named() -> None:
    Path("log").mkdir()
    Path("log/events.parquet").write_text("user_id,event_type,occurred_at\n" * 10)
    result = call("build", "--data", "log", "--select", "+stg_events")
    assert_plain(result, 1, "log/events.parquet is not a Parquet file although its name says so")


def test_what_dbt_writes_lies_beside_the_warehouse() -> None:
    parquet("log/events.parquet", f"select {EVENT}")
    Path("elsewhere").mkdir()
    result = call("build", "--data", "log", "--select", "+stg_events", "--warehouse", "elsewhere/shop.duckdb")
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in Path().iterdir()) == ["elsewhere", "log"]
    assert sorted(file.name for file in Path("elsewhere").iterdir()) == [".foretable", "shop.duckdb"]


def test_a_warehouse_that_another_process_holds_is_named_with_that_process() -> None:
    parquet("shop/events.parquet", f"select {EVENT}")
    program = "import duckdb, time\ncon = duckdb.connect('warehouse.duckdb')\nprint('open', flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        for command in (["build"], ["sql", "select 1"], ["demo"]):
            assert_plain(call(*command), 1, "another process is using", "warehouse.duckdb", f"PID {holder.pid}")
        holder.kill()


def test_demo_does_not_write_over_another_source() -> None:
    warehouse(
        "create schema foretable; create table foretable.active (a int); create table foretable.runs (source text)"
    )
    warehouse("insert into foretable.runs values ('taobao')")
    assert_plain(call("demo"), 2, "was built from the source 'taobao'", "--warehouse")
    assert not Path("shop").exists()


def test_demo_does_not_write_over_tables_that_are_not_its_own() -> None:
    warehouse("create table orders as select 1 as id")
    assert_plain(call("demo"), 2, "foretable has not built", "--warehouse")


def test_demo_does_not_write_over_what_was_built_from_another_folder() -> None:
    parquet("log/events.parquet", f"select {EVENT}")
    assert call("build", "--data", "log", "--select", "+stg_events").exit_code == 0
    assert_plain(call("demo"), 2, "was built from the folder", "log")


def test_sql_writes_what_a_program_can_read() -> None:
    warehouse("create table t as select 1 as id, 'a,b' as name, [1, 2] as list, null as gone, 'nan'::float as odd")
    found = json.loads(call("sql", "from t", "--format", "json").stdout)
    assert found == [{"id": 1, "name": "a,b", "list": [1, 2], "gone": None, "odd": None}]
    assert call("sql", "select id, name, list from t", "--format", "csv").stdout == 'id,name,list\n1,"a,b","[1, 2]"\n'


def test_sql_keeps_columns_of_one_name_apart() -> None:
    warehouse("create table t as select 1")
    assert json.loads(call("sql", "select 1 as a, 2 as a", "--format", "json").stdout) == [{"a": 1, "a_2": 2}]


def test_sql_writes_parquet_to_a_file_only() -> None:
    warehouse("create table t as select unnest(range(5)) as id")
    assert_plain(call("sql", "from t", "--format", "parquet"), 2, "--out FILE")
    assert call("sql", "from t", "--format", "parquet", "--out", "t.parquet").exit_code == 0
    assert pq.read_table("t.parquet").num_rows == 5


def test_sql_reads_standard_input_and_keeps_to_the_limit() -> None:
    warehouse("create table t as select unnest(range(200)) as id")
    result = call(
        "sql", "-", "--limit", "3", "--format", "csv", stdin="select id\nfrom t -- all of them\norder by id;\n"
    )
    assert result.stdout == "id\n0\n1\n2\n"


def test_sql_shows_fifty_rows_and_says_that_there_are_more() -> None:
    warehouse("create table t as select unnest(range(200)) as id")
    result = call("sql", "from t order by id")
    assert "49" in result.stdout
    assert " 50" not in result.stdout
    assert "the first 50 rows" in result.stderr


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ("select nope from t", 'column "nope" not found'),
        ("from nope", "Table with name nope does not exist"),
        ("selec 1", "syntax error"),
        ("drop table t", "read-only"),
        ("", "no SQL to run"),
        ("select score_x(t) from t", "score_x does not exist"),
        ("select 'a'::int from t", "Could not convert string 'a' to INT32"),
    ],
)
def test_sql_that_fails_is_one_sentence(query: str, part: str) -> None:
    warehouse("create table t as select 1 as id")
    result = call("sql", query)
    assert_plain(result, 1, part)
    assert len(result.stderr.splitlines()) == 1


def test_commands_that_read_say_that_there_is_no_warehouse() -> None:
    for command in (["sql", "select 1"], ["predictions"]):
        assert_plain(call(*command), 1, "no warehouse at warehouse.duckdb", "foretable build")


def test_predictions_says_that_nothing_was_built() -> None:
    warehouse("create table t as select 1")
    assert_plain(call("predictions"), 1, "holds no predictions")


@pytest.mark.parametrize("name", ["3shops", "My Shop", "contract", "foretable", "labels"])
def test_init_refuses_names_that_cannot_be_a_source(name: str) -> None:
    assert_plain(call("init", "folder", "--name", name), 2, f"'{name}'")
    assert not Path("folder").exists()


def test_init_leaves_a_folder_that_is_not_empty_alone() -> None:
    Path("folder").mkdir()
    Path("folder/notes.txt").write_text("mine")
    assert_plain(call("init", "folder", "--name", "shop"), 2, "not empty")
    assert [file.name for file in Path("folder").iterdir()] == ["notes.txt"]


def test_debug_shows_the_traceback() -> None:
    warehouse("create table t as select 1")
    result = call("--debug", "sql", "from nope")
    assert isinstance(result.exception, duckdb.CatalogException)
    assert isinstance(call("sql", "from nope", "--debug").exception, duckdb.CatalogException)


@pytest.mark.slow
@pytest.mark.usefixtures("built")
def test_predictions_lists_what_is_trained() -> None:
    rows = json.loads(call("predictions", "--format", "json").stdout)
    assert [row["prediction"] for row in rows] == sorted(row["prediction"] for row in rows)
    [found] = [row for row in rows if row["prediction"] == "purchase_30d"]
    assert found["test_lower"] <= found["test_value"] <= found["test_upper"]
    assert found["train_from"] <= found["train_to"] < found["validate_from"]
    assert found["validate_to"] < found["test_from"] <= found["test_to"] < found["scored_as_of"]
    assert found["base_rate_value"] == 0.5
    assert found["scored_rows"] > 0
    assert "purchase_30d" in call("predictions").stdout
    assert call("predictions", "--format", "csv").stdout.startswith("prediction,version,model,")


@pytest.mark.slow
@pytest.mark.usefixtures("built")
def test_every_question_that_the_demo_shows_runs() -> None:
    queries = demo_queries({"purchase_30d"})
    assert len(queries) == 3
    for query in queries:
        result = call("sql", query, "--format", "json")
        assert result.exit_code == 0, result.output
        assert len(json.loads(result.stdout)) == 5


@pytest.mark.slow
@pytest.mark.usefixtures("built")
def test_table_function_and_macro_agree() -> None:
    query = """
        select
            count(*) as rows,
            count(*) filter (pred.score = scores.purchase_30d(f) and pred.score = score_purchase_30d(f)) as alike
        from pred__purchase_30d as pred
        inner join features__user as f on pred.user_id = f.user_id and pred.as_of = f.as_of
    """
    [found] = json.loads(call("sql", query, "--format", "json").stdout)
    assert found["rows"] == found["alike"] > 0


@pytest.mark.slow
def test_a_second_build_trains_nothing(built: Path) -> None:
    result = foretable("build", "--select", "+pred__purchase_30d", cwd=built)
    assert result.returncode == 0
    assert "nothing changed" in result.stdout


@pytest.mark.slow
def test_a_scoring_run_builds_no_labels_and_trains_nothing(built: Path) -> None:
    result = foretable("build", "--selector", "scoring", "--train", "never", cwd=built)
    assert result.returncode == 0, result.stdout + result.stderr
    with duckdb.connect(str(built / "warehouse.duckdb"), read_only=True) as con:
        newest = "run_id = (select run_id from foretable.runs order by ended_at desc, rowid desc limit 1)"
        trained = con.execute(f"select count(*), count(*) filter (is_trained) from foretable.runs where {newest}")
        assert trained.fetchone() == (5, 0)
        built_models = con.execute(f"select distinct model from foretable.builds where {newest}").fetchall()
    assert ("int_users__snapshots",) in built_models
    assert not [name for (name,) in built_models if name.startswith("labels__")]


@pytest.mark.slow
def test_an_unknown_setting_of_a_prediction_is_one_sentence(built: Path) -> None:
    result = foretable("build", "--select", "pred__purchase_30d", "--vars", "{train: sometimes}", cwd=built)
    assert result.returncode == 1
    assert "Error: prediction 'purchase_30d': unknown train 'sometimes'" in result.stderr
    assert "when_changed, always, never" in result.stderr
    assert "Traceback" not in result.stderr + result.stdout


@pytest.fixture
def interrupted(built: Path) -> Iterator[tuple[int, str]]:
    """The exit code and last words of a build that was interrupted while it trained."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "foretable", "build", "--train", "always"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=built,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if "pred__" in line:
                break
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        code = process.wait(timeout=20)
        assert time.monotonic() - started < 5
        yield code, process.stderr.read()


@pytest.mark.slow
def test_interrupting_a_build_leaves_the_scores_as_they_were(built: Path, request: pytest.FixtureRequest) -> None:
    def scores() -> str:
        with open_reader(built / "warehouse.duckdb") as con:
            return str(con.execute("select * from pred__purchase_30d order by user_id").fetchall())

    before = scores()
    code, words = request.getfixturevalue("interrupted")
    assert code == 130
    assert words.strip().splitlines()[-1].startswith("Interrupted")
    assert "Traceback" not in words
    assert scores() == before


@pytest.mark.slow
def test_a_new_project_builds_at_once_and_from_a_read_only_package() -> None:
    assert call("init", "flowers").exit_code == 0
    assert "foretable__events" not in os.listdir("flowers/models")
    result = foretable("build", "--select", "+pred__cart_14d", cwd=Path("flowers"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "cart_14d" in result.stdout
    result = foretable("build", "--selector", "cleaning", cwd=Path("flowers"))
    assert result.returncode == 0, result.stdout + result.stderr
    found = foretable("sql", "select count(*) as n from pred__cart_14d", "--format", "json", cwd=Path("flowers"))
    assert json.loads(found.stdout)[0]["n"] > 0


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (
            "Compilation Error in model contract__events (models/x.sql)\n  folder 'a' holds no rows\n  \n"
            "  > in macro raw_table (macros/raw_table.sql)\n  > called by model contract__events (models/x.sql)",
            "folder 'a' holds no rows",
        ),
        (
            "Runtime Error in model x (models/x.sql)\n  Python model failed:\n  Traceback (most recent call last):\n"
            '    File "x.py", line 1, in f\n      g()\n      ^^^\n  models_ml.errors.OddError: too few rows',
            "too few rows",
        ),
        (
            'Runtime Error in model x (models/x.sql)\n  Binder Error: Referenced column "y" not found!\n'
            '  Candidate bindings: "z"\n  \n  LINE 3: select y\n                 ^',
            'Referenced column "y" not found! Candidate bindings: "z"',
        ),
        ("Invalid Input Error: No magic bytes found at end of file 'a/b.parquet'", "a/b.parquet is not a Parquet file"),
        (
            'IO Error: Could not set lock on file "/w.duckdb": Conflicting lock is held in /usr/bin/python3.11 (PID 12)'
            ". See also https://duckdb.org/docs/stable/connect/concurrency",
            "another process is using /w.duckdb (PID 12, /usr/bin/python3.11)",
        ),
        ("", "it failed without a message"),
    ],
)
def test_errors_are_put_into_plain_words(said: str, meant: str) -> None:
    assert plain(said).startswith(meant)
