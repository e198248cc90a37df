"""`foretable serve`: scores, reasons and read-only SQL over HTTP, what is refused, and a file that is replaced."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
import requests
from click.testing import CliRunner

from foretable.cli import main
from foretable.serving import strangers
from foretable.serving.batching import alike
from foretable.serving.offers import read_offers
from foretable.serving.scoring import ScoringFile
from ibis_features import ConfigError, ExamplesError, NotFoundError
from tests.published import write_published

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install 'foretable[serve]'")
pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'foretable[serve]'")

TOKEN = "a token of this test"
LOOP = asyncio.new_event_loop()
"""Never runs."""


@dataclass(frozen=True)
class Server:
    url: str

    def get(self, path: str, **parameters: str) -> requests.Response:
        return requests.get(f"{self.url}{path}", parameters, headers=self.headers, timeout=60)

    def post(self, path: str, **body: Any) -> requests.Response:
        return requests.post(f"{self.url}{path}", json=body, headers=self.headers, timeout=60)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        answer = self.post("/sql", sql=sql)
        assert answer.status_code == 200, answer.text
        return answer.json()["rows"]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {TOKEN}"}


@contextmanager
def serving(file: Path, *options: str, workers: int = 1) -> Iterator[Server]:
    """What a user types, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    printed = file.parent / f"served_{port}.txt"
    command = [sys.executable, "-m", "foretable", "serve", str(file), "--port", str(port), "--workers", str(workers)]
    with printed.open("w") as output:
        process = subprocess.Popen(
            [*command, *options], env={**os.environ, "FORETABLE_TOKEN": TOKEN}, stdout=output, stderr=output
        )
    server = Server(f"http://127.0.0.1:{port}")
    try:
        until(lambda: process.poll() is not None or is_up(server), seconds=240)
        assert process.poll() is None, printed.read_text()
        yield server
    finally:
        process.terminate()
        process.wait(timeout=60)


def is_up(server: Server) -> bool:
    try:
        return requests.get(f"{server.url}/health", timeout=60).status_code == 200
    except requests.ConnectionError:
        return False


def until(holds: Callable[[], bool], *, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp("built") / "shop.duckdb")


@pytest.fixture(scope="module")
def server(built: Path) -> Iterator[Server]:
    with serving(built, "--max-rows", "5", "--max-seconds", "2", "--max-memory", "256", "--max-body", "8") as server:
        yield server


@pytest.fixture(scope="module")
def truth(built: Path) -> dict[str, dict[str, Any]]:
    """The rows of the table of scores by entity, with their features."""
    copy = built.with_name("truth.duckdb")
    shutil.copy(built, copy)
    with duckdb.connect(str(copy), read_only=True) as con:
        cursor = con.execute(
            "select pred.*, examples.* exclude (user_id, as_of, bought) from pred__test as pred "
            "inner join examples__test as examples using (user_id, as_of)"
        )
        names = [column[0] for column in cursor.description]
        return {row[0]: dict(zip(names, row, strict=True)) for row in cursor.fetchall()}


# Scores


def test_it_lists_what_the_file_offers(server: Server) -> None:
    numbers, test = server.get("/predictions").json()
    assert (test["prediction"], test["entity"], test["row_count"], test["version"]) == ("test", "user_id", 120, 3)
    assert test["as_of"].startswith("2025-05-31")
    assert [feature["name"] for feature in test["features"]] == ["heat", "noise", "kind"]
    assert test["can_score_rows"]
    assert test["has_reasons"]
    assert (numbers["prediction"], numbers["can_score_rows"], numbers["features"]) == ("numbers", False, [])


def test_the_score_of_an_entity_is_that_of_the_table(server: Server, truth: dict[str, dict[str, Any]]) -> None:
    for user in ("u0", "u77", "u119"):
        found = server.get("/score/test", entity=user).json()
        assert found["entity"] == user
        for column in ("version", "score", "score_rank", "score_decile", "predicted_label"):
            assert found[column] == truth[user][column]
    assert server.get("/score/numbers", entity="7").json()["score"] == 0.5


def test_a_row_gets_the_score_of_the_table_and_a_changed_one_that_of_the_macro(
    server: Server, built: Path, truth: dict[str, dict[str, Any]]
) -> None:
    row = truth["u9"]  # its kind is NULL
    features = {"heat": row["heat"], "noise": row["noise"], "kind": None}
    assert row["kind"] is None
    by_row, by_entity = server.post("/score/test", features=features), server.post("/score/test", entity="u9")
    assert by_row.json()["score"] == by_entity.json()["score"] == row["score"]
    changed = server.post("/score/test", entity="u9", changes={"heat": 9.5, "kind": "c3"}).json()
    assert changed["features"] == {"heat": 9.5, "noise": row["noise"], "kind": "c3"}
    with duckdb.connect(str(built.with_name("truth.duckdb")), read_only=True) as con:
        expected = con.execute("select scores.test(heat := 9.5, noise := ?, kind := 'c3')", [row["noise"]]).fetchone()
    assert (changed["score"],) == expected
    assert changed["score"] != row["score"]


def test_the_reasons_are_those_beside_the_score(server: Server, truth: dict[str, dict[str, Any]]) -> None:
    found = server.get("/explain/test", entity="u3").json()
    assert found["reasons"] == truth["u3"]["reasons"]
    assert len(found["reasons"]) == 2


def test_a_changed_row_is_explained_by_the_function_of_the_file(server: Server) -> None:
    asked = {"entity": "u3", "changes": {"heat": 9.5}}
    found = server.post("/explain/test", **asked).json()
    assert found["score"] == server.post("/score/test", **asked).json()["score"]
    strongest, *others = (abs(reason["contribution"]) for reason in found["reasons"])
    assert found["reasons"][0]["feature"] == "heat"
    assert all(strongest >= other for other in others)


def test_a_row_is_told_as_it_was_scored_and_what_cannot_be_scored_is_no_fault_of_the_server(server: Server) -> None:
    told = server.post("/score/test", features={"heat": 2, "noise": "0.5", "kind": 7}).json()
    assert told["features"] == {"heat": 2.0, "noise": 0.5, "kind": "7"}
    missing = requests.post(
        f"{server.url}/score/test",
        data='{"features": {"heat": 1e999, "noise": 0.5, "kind": null}}',
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        timeout=60,
    )
    assert (missing.status_code, missing.json()["features"]["heat"]) == (200, None)
    beyond = server.post("/score/test", features={"heat": 1e300, "noise": 0.5, "kind": None})
    assert beyond.status_code == 422
    assert "'test' cannot score the row" in beyond.json()["error"]


def test_a_number_is_the_entity_itself_and_not_one_that_it_rounds_to(server: Server) -> None:
    assert server.get("/score/numbers", entity="7").status_code == 200
    for other in ("6.9", "7e0", ""):
        assert server.get("/score/numbers", entity=other).status_code == 404


def test_sql_may_end_with_a_semicolon_and_a_comment(server: Server) -> None:
    assert server.post("/sql", sql="select 'é;' as x; -- ü").json()["rows"] == [{"x": "é;"}]


def test_a_file_without_a_function_that_explains_says_what_gives_reasons(built: Path, tmp_path: Path) -> None:
    published = Path(shutil.copy(built, tmp_path / "published.duckdb"))
    with duckdb.connect(str(published)) as con:
        con.execute("drop macro scores.explain_test")
    with pytest.raises(NotFoundError, match="with reasons=3 in the prediction's config"):
        ScoringFile(published).explain_row("test", {"heat": 1, "noise": 1, "kind": "c1"})


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/score/tset", {"entity": "u1"}, 404, "no prediction 'tset'; there are: numbers, test"),
        ("/score/test", {"entity": "nobody"}, 404, "no user_id 'nobody' is scored by 'test'"),
        ("/score/numbers", {"entity": 7}, 404, "no function that scores rows of 'numbers'"),
        ("/score/test", {"entity": "u1", "changes": {"hot": 1}}, 422, "no feature hot; it takes heat, noise, kind"),
        ("/score/test", {"features": {"heat": 1}}, 422, "'test' also takes noise, kind"),
        ("/score/test", {"features": {"heat": "hot", "noise": 1, "kind": "c1"}}, 422, "'heat' is 'hot', which is no"),
        ("/score/test", {}, 422, "give `features` with all features of a row, or `entity`"),
        ("/score/test", {"features": {}, "changes": {}}, 422, "and nothing else"),
        ("/score/test", {"features": {"heat": 10**400, "noise": 1, "kind": "c1"}}, 422, "'heat' is 1000"),
        ("/score/test", {"features": {"heat": 1, "noise": 1, "kind": "\ud800"}}, 422, "'kind' is '"),
        ("/score/test", {"entity": True}, 422, "give `features` with all features of a row, or `entity`"),
        ("/score/test", {"entity": "u1", "user": "u1"}, 422, "and nothing else"),
        ("/sql", {"query": "select 1"}, 422, "body.sql: Field required; /openapi.json says what is expected"),
        ("/explain/numbers", {"entity": 7}, 404, "no function that scores rows of 'numbers'"),
        ("/nowhere", {}, 404, "/openapi.json lists the paths"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(
    server: Server, path: str, body: dict[str, Any], status: int, said: str
) -> None:
    answer = server.post(path, **body)
    assert answer.status_code == status
    assert said in answer.json()["error"]


def test_an_entity_of_another_type_is_not_there(server: Server) -> None:
    assert server.get("/score/numbers", entity="seven").status_code == 404


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer other"}, {"Authorization": f"Basic {TOKEN}"}])
def test_without_the_token_nothing_is_told(server: Server, headers: dict[str, str]) -> None:
    for method, path in (
        ("GET", "/predictions"),
        ("GET", "/score/test?entity=u1"),
        ("POST", "/score/test"),
        ("GET", "/explain/test?entity=u1"),
        ("POST", "/explain/test"),
        ("POST", "/sql"),
    ):
        body = {"sql": "select 1"} if path == "/sql" else {"entity": "u1"}
        answer = requests.request(method, server.url + path, json=body, headers=headers, timeout=60)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "Authorization: Bearer TOKEN" in answer.json()["error"]


def test_an_offer_is_read_from_the_catalog_whatever_its_features_are_called() -> None:
    scores = "1 as version, 0.5 as score, timestamp '2025-01-01' as as_of, timestamp '2025-01-01' as scored_at"
    with duckdb.connect() as con:
        con.execute(
            f"create schema scores; create schema other; create table pred__one as select 'u' as user_id, {scores}"
        )
        con.execute(
            "create table examples__one as select 'u' as user_id, timestamp '2025-01-01' as as_of, 1 as \"a 'b\""
        )
        con.execute(
            'create macro scores.one("row" := null, "a \'b" := null) as '
            "coalesce(\"a 'b\", struct_extract(\"row\", 'a ''b'))"
        )
        con.execute(f"create table pred__two as select 'u' as user_id, {scores}")
        con.execute(
            'create macro scores.two(row_ := null, "row" := null, heat := null) as '
            "coalesce(heat, struct_extract(row_, 'heat')) + coalesce(\"row\", struct_extract(row_, 'row'))"
        )
        con.execute("create macro scores.explain_two(given) as [struct_extract(given, 'heat')]")
        con.execute("create table pred__notes as select 'hello' as note")
        one, two = read_offers(con).values()
        assert (one.name, dict(one.features), one.left_out, one.rows) == (
            *("one", {"a 'b": "INTEGER"}, ()),
            '"main"."examples__one"',
        )
        assert (list(two.features), two.left_out, two.rows) == (["row", "heat"], ("row", "heat"), None)
        assert (one.explainer, two.explainer) == (None, '"scores"."explain_two"')
        con.execute(f"create table other.pred__one as select 'u' as user_id, {scores}")
        with pytest.raises(ConfigError, match="two tables pred__one"):
            read_offers(con)


def test_a_row_whose_features_were_left_out_of_the_file_is_scored_once_they_are_given(
    built: Path, tmp_path: Path
) -> None:
    published = Path(shutil.copy(built, tmp_path / "published.duckdb"))
    with duckdb.connect(str(published)) as con:
        con.execute("alter table examples__test drop column kind")
        expected = con.execute(
            "select scores.test(heat := heat, noise := noise, kind := 'c1') from examples__test "
            "inner join pred__test using (user_id, as_of) where user_id = 'u1'"
        ).fetchone()
    file = ScoringFile(published)
    with pytest.raises(ExamplesError, match="leaves out kind of 'test'; give each in `changes`"):
        file.features("test", "u1")
    assert (file.score_row("test", file.features("test", "u1", {"kind": "c1"}))["score"],) == expected
    file.close()


# Rows that come at the same time


ROWS: list[dict[str, Any]] = [
    {"heat": 0.25, "noise": 1.0, "kind": "c1"},
    {"heat": None, "noise": 2, "kind": "c2"},
    {"heat": "0.75", "noise": None, "kind": None},
    {"heat": True, "noise": 2**60, "kind": "never seen"},
    {"heat": 1, "noise": float("nan"), "kind": "it's"},
    {"heat": 0.9, "noise": 0, "kind": "c3"},
]


def test_rows_are_scored_together_as_they_are_alone(built: Path, tmp_path: Path) -> None:
    """Twice, and rows with missing values after one without: a plan is kept, and has to hold for all rows."""
    file = ScoringFile(Path(shutil.copy(built, tmp_path / "published.duckdb")))
    alone = [file.score_row("test", row) for row in ROWS]
    assert len({row["score"] for row in alone}) > 3
    found = dict(zip(range(6), map(json.dumps, alone), strict=True))
    for turn in ([0], [1, 0, 5], [5, 4, 1, 0], [1], [2], [3]):
        rows = [ROWS[place] for place in turn]
        [batch] = alike([(row, asyncio.Future(loop=LOOP)) for row in rows])
        assert list(map(json.dumps, file.score_rows("test", [features for features, _ in batch]))) == [
            found[place] for place in turn
        ]
    file.close()


def test_values_that_one_list_would_make_others_of_come_in_batches_of_their_own() -> None:
    def batches(*values: Any) -> list[list[Any]]:
        waiting = [({"kept": None, "given": value}, asyncio.Future[Any](loop=LOOP)) for value in values]
        return [[features["given"] for features, _ in batch] for batch in alike(waiting)]

    assert batches(1, 2.5, None, -3) == [[1, 2.5, None, -3]]
    assert batches(1, "1", None, True, "2", False) == [[1, None], ["1", "2"], [True, False]]
    assert batches(2**53, 2**53 + 1, 0.5, [1], [2], {"a": 1}) == [[2**53, 0.5], [2**53 + 1], [[1]], [[2]], [{"a": 1}]]


def test_a_row_that_cannot_be_read_harms_no_other_one(server: Server) -> None:
    bad: list[dict[str, Any]] = [{"heat": "warm", "noise": 1, "kind": "c1"}, {"heat": 1}, {**ROWS[0], "more": 1}]
    asked = [*ROWS[:3], *bad, ROWS[5]] * 6
    expected = [server.post("/score/test", features=row) for row in asked[:7]]
    assert [answer.status_code for answer in expected] == [200, 200, 200, 422, 422, 422, 200]
    with ThreadPoolExecutor(len(asked)) as clients:
        answers = list(clients.map(lambda row: server.post("/score/test", features=row), asked))
    assert [(one.status_code, one.json()) for one in answers] == [(one.status_code, one.json()) for one in expected] * 6


# SQL


def test_sql_reads_tables_and_macros_and_says_where_there_is_more(server: Server) -> None:
    answer = server.post("/sql", sql="select user_id, score from pred__test order by score_rank;").json()
    assert (answer["columns"], answer["types"]) == (["user_id", "score"], ["VARCHAR", "FLOAT"])
    assert len(answer["rows"]) == 5
    assert answer["has_more"]
    [row] = server.rows(
        "select count(*) filter (scores.test(examples) = pred.score) as same, count(*) as n "
        "from pred__test as pred inner join examples__test as examples using (user_id, as_of)"
    )
    assert row == {"same": 120, "n": 120}
    assert len(server.rows("describe pred__test")) == 5
    assert server.rows("values (1, 'nan'::float)") == [{"col0": 1, "col1": None}]


HARMFUL = {
    "insert": "insert into examples__test select * from examples__test",
    "insert under a with": "with x as (select * from examples__test) insert into examples__test from x",
    "update": "update examples__test set heat = 0",
    "delete": "delete from examples__test",
    "drop": "drop table examples__test",
    "create": "create table mine as select 1",
    "create a temporary table": "create temp table mine as select 1",
    "create a macro": "create temp macro mine() as 1",
    "delete under an explain": "explain analyze delete from examples__test",
    "query writes": "from query('delete from examples__test')",
    "attach": "attach 'other.duckdb' as other",
    "attach in memory": "attach ':memory:' as other",
    "detach": "detach shop",
    "copy out": "copy examples__test to 'FOLDER/out.csv'",
    "copy a query out": "copy (select 1) to 'FOLDER/out.parquet'",
    "copy in": "copy examples__test from 'FOLDER/secret.csv'",
    "export": "export database 'FOLDER/export'",
    "import": "import database 'FOLDER/export'",
    "read csv": "from read_csv('FOLDER/secret.csv')",
    "read by name": "from 'FOLDER/secret.csv'",
    "read text": "from read_text('FOLDER/secret.csv')",
    "read blob": "from read_blob('FOLDER/secret.csv')",
    "read json": "from read_json('FOLDER/secret.csv')",
    "read parquet": "from read_parquet('FOLDER/secret.csv')",
    "query reads": "from query('from read_text(''FOLDER/secret.csv'')')",
    "list files": "from glob('FOLDER/*')",
    "sniff": "from sniff_csv('FOLDER/secret.csv')",
    "read a web page": "from read_csv('http://127.0.0.1:9/x.csv')",
    "install": "install httpfs",
    "load": "load httpfs",
    "load a file": "load 'FOLDER/x.duckdb_extension'",
    "set": "set threads = 2",
    "set globally": "set global enable_external_access = true",
    "reset": "reset enable_external_access",
    "pragma": "pragma threads = 2",
    "secret": "create secret (type s3, key_id 'a', secret 'b')",
    "log": "call enable_logging()",
    "prepare": "prepare mine as select 1",
    "transaction": "begin",
    "checkpoint": "checkpoint",
    "two statements": "select 1; drop table examples__test",
    "out of the brackets": "select 1) as rows_asked_for; drop table examples__test; select (1",
    "a variable of Python": "from names",
    "no statement": "  -- nothing",
}


@pytest.mark.parametrize("name", HARMFUL)
def test_sql_that_could_do_harm_is_refused(server: Server, built: Path, name: str) -> None:
    folder = built.parent
    (folder / "secret.csv").write_text("a,b\n1,hidden\n")
    before = sorted(path.name for path in folder.iterdir())
    answer = server.post("/sql", sql=HARMFUL[name].replace("FOLDER", str(folder)))
    assert answer.status_code in {403, 422}, answer.text
    assert list(answer.json()) == ["error"]
    assert "hidden" not in answer.text
    assert sorted(path.name for path in folder.iterdir()) == before
    assert server.rows("select count(*) as n from examples__test") == [{"n": 120}]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select count(*) from range(100000000000) as a, range(1000) as b", "stopped after 2 seconds"),
        ("with recursive r as (select 1 as a union all select a + 1 from r) select count(*) from r", "stopped after 2"),
        ("select length(repeat('x', 4000000000))", "MiB of memory"),
        ("select list_sum(range(3000000000))", ""),  # one value, which no interrupt stops and no memory_limit counts
    ],
)
def test_sql_that_would_take_all_there_is_ends_and_the_server_goes_on(server: Server, sql: str, said: str) -> None:
    answer = server.post("/sql", sql=sql)
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["error"]
    assert server.get("/score/test", entity="u1").status_code == 200
    assert server.rows("select 1 as one") == [{"one": 1}]


def test_an_answer_beyond_its_limit_is_refused(built: Path) -> None:
    limits = strangers.Limits(seconds=60, answer_mib=1)
    assert b"more than 1 MiB" in strangers.ask(built, "select repeat('x', 1100000) as long", limits).body
    assert strangers.ask(built, "select repeat('x', 900000) as long", limits).status == 200


def test_more_queries_than_may_run_are_told_to_come_again(server: Server) -> None:
    endless = "select count(*) from range(100000000000) as a, range(1000) as b"
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(server.post("/sql", sql=endless).status_code)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [422, 422, 429, 429]


def test_a_body_beyond_the_limit_is_refused_with_and_without_its_length(server: Server) -> None:
    long = json.dumps({"sql": "select 1 --" + "x" * 9000}).encode()
    for body in (long, iter([long[:5000], long[5000:]])):
        answer = requests.post(server.url + "/sql", data=body, headers=server.headers, timeout=60)
        assert answer.status_code == 413


# The file


def test_a_file_that_is_replaced_is_served_without_an_error_in_between(built: Path, tmp_path: Path) -> None:
    served = Path(shutil.copy(built, tmp_path / "served.duckdb"))
    with serving(served, workers=2) as server:
        statuses: list[int] = []
        seen: dict[int, float] = {}
        over = threading.Event()

        def keep_asking(number: int) -> None:
            with requests.Session() as session:
                session.headers.update(server.headers)
                while not over.is_set():
                    answer = session.get(server.url + "/score/test?entity=u1", timeout=60)
                    statuses.append(answer.status_code)
                    seen[number] = answer.json()["score"]

        clients = [threading.Thread(target=keep_asking, args=[number]) for number in range(4)]
        for client in clients:
            client.start()
        for score in (0.125, 0.25, 0.375):
            newer = Path(shutil.copy(built, tmp_path / "newer.duckdb"))
            with duckdb.connect(str(newer)) as con:
                con.execute("update pred__test set score = ?", [score])
            os.replace(newer, served)
            until(lambda score=score: set(seen.values()) == {score})  # type: ignore[misc]
            assert server.rows("select max(score) as score from pred__test") == [{"score": score}]
        newer.write_bytes(b"no DuckDB file")
        os.replace(newer, served)
        time.sleep(2)
        over.set()
        for client in clients:
            client.join()
        assert set(statuses) == {200}
        assert set(seen.values()) == {0.375}
        assert len(seen) == len(clients)
        assert server.post("/sql", sql="select 1").status_code == 503


def test_what_cannot_be_served_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["serve", *arguments])
        assert result.exit_code != 0
        return result.output

    (tmp_path / "text.duckdb").write_text("no DuckDB file")
    assert "no file at" in said(str(tmp_path / "nowhere.duckdb"))
    assert "is not a DuckDB file" in said(str(tmp_path / "text.duckdb"))
    with duckdb.connect(str(tmp_path / "file.duckdb")):
        pass
    (tmp_path / "empty").write_text("\n")
    assert "the first line of" in said(str(tmp_path / "file.duckdb"), "--token-file", str(tmp_path / "empty"))
    assert "no file" in said(str(tmp_path / "file.duckdb"), "--token-file", str(tmp_path / "none"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'foretable[serve]'" in said(str(tmp_path / "file.duckdb"))


# The description of the API


@pytest.mark.parametrize(
    ("config", "options", "operations"),
    [
        ("", ["--exclude-path", "/sql"], 7),
        # SQL and features that a JSON schema takes, this file may not.
        ("[parameters]\nname = 'test'\n", ["--exclude-checks", "positive_data_acceptance"], 8),
    ],
)
def test_the_api_does_what_its_description_says(
    server: Server, tmp_path: Path, config: str, options: list[str], operations: int
) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    if not program.exists():
        pytest.skip("schemathesis is not installed: pip install 'foretable[dev]'")
    (tmp_path / "schemathesis.toml").write_text(config)
    done = subprocess.run(
        [str(program), "run", f"{server.url}/openapi.json", "--header", f"Authorization: Bearer {TOKEN}",
         "--max-examples", "15", "--seed", "1", "--generation-database", "none", "--no-color", *options],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    assert f"{operations} selected / 8 total" in done.stdout, done.stdout[-3000:]
