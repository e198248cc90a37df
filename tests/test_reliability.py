"""Whatever ends a build, scores, registry, log and macro of before are there, and the next build works."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest
import xgboost

import udfs
from foretable.sentences import plain
from models_ml import trees
from models_ml.artifact import unpack
from models_ml.registry import active_model, read_artifact
from tests.conftest import ROOT
from tests.predicting import BINARY, EXAMPLES, fixed, predict, state_of, version_count
from udfs.lifecycle import roll_back
from udfs.prediction import build
from udfs.quoting import identifier

# What is written is written in the step called writing.
KILLED_AT = ("writing", "reading", "writing", "training", "writing", "judging", "writing", "writing")


def assert_consistent(con: duckdb.DuckDBPyConnection) -> int:
    """One version serves, its bytes are whole, and table, macro and UDF say what they say; every version has been
    registered, judged and logged once. Returns the number of versions."""
    active = active_model(con, "test")
    assert active is not None
    versions = version_count(con)
    assert active.version == versions
    assert con.execute("select distinct version from pred__test").fetchall() == [(versions,)]
    for version in range(1, versions + 1):
        row = con.execute("select artifact_sha256 from foretable.models where version = ?", [version]).fetchone()
        unpack(read_artifact(con, "test", version), expected_sha256=row[0])
    udfs.register(con)
    rows = con.execute(
        """
        select
            count(*),
            count(*) filter (where predictions.score = score_test(examples)),
            count(*) filter (where predictions.score = scores.test(examples))
        from examples__test as examples
        inner join pred__test as predictions using (user_id, as_of)
        """
    ).fetchone()
    assert rows == (120, 120, 120)
    once_each = [(version,) for version in range(1, versions + 1)]
    for table in ("runs where is_trained and is_scored", "promotions"):
        assert con.execute(f"select version from foretable.{table} order by version").fetchall() == once_each
    for table, rows_each in (("prediction_log", 120), ("deciles", 20)):
        found = con.execute(f"select version, count(*) from foretable.{table} group by all order by all").fetchall()
        assert found == [(version, rows_each) for (version,) in once_each], table
    assert con.execute("select distinct version from foretable.metrics order by all").fetchall() == once_each
    return versions


# Builds that end before they are done


class BuildServer:
    """A process that builds, each time in a fork of its own; see tests/build_server.py."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def start(self, **order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def words(self) -> tuple[str, str]:
        """What it says next: a word, and the rest of the line."""
        assert self.process.stdout is not None
        word, _, rest = self.process.stdout.readline().strip().partition(" ")
        return word, rest

    def until_gone(self) -> list[tuple[str, str]]:
        said = []
        while (words := self.words())[0] != "gone":
            assert words[0], "the server of builds has ended"
            said.append(words)
        return said


@pytest.fixture(scope="module")
def server() -> Iterator[BuildServer]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.build_server"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield BuildServer(process)
        process.kill()


def test_a_build_that_is_killed_at_any_instant_leaves_what_was_there(warehouse: Path, server: BuildServer) -> None:
    with duckdb.connect(str(warehouse)) as con:
        con.execute("select setseed(0.5)")
        fixed(con)
    server.start(warehouse=str(warehouse), times=2)
    said = [(step, float(at)) for step, at in server.until_gone()[1:]]
    second = said[[step for step, _ in said].index("built") + 1 :]
    began: dict[str, float] = {}
    for step, at in second:
        began.setdefault(step, at)
    seconds = {step: began[after] - began[step] for step, after in pairwise(began)}
    versions = [2]
    draw = random.Random(7)
    for step in KILLED_AT:
        server.start(warehouse=str(warehouse), times=100)
        word, pid = server.words()
        assert word == "open"
        while word != step:
            word, _ = server.words()
            assert word, "the server of builds has ended"
        time.sleep(draw.uniform(0, seconds[step]))
        os.kill(int(pid), signal.SIGKILL)
        server.until_gone()
        with duckdb.connect(str(warehouse)) as con:
            versions.append(assert_consistent(con))
            assert versions[-1] >= versions[-2]
    with duckdb.connect(str(warehouse)) as con:
        assert predict(con, "select * from fixed", train="always") is None
        assert assert_consistent(con) == versions[-1] + 1
        assert con.execute("from duckdb_tables() where table_name like '%building'").fetchall() == []


@pytest.mark.parametrize(("share", "is_log_too_long"), [(0.02, True), (0.3, False)])
def test_a_disk_that_fills_leaves_what_was_there(
    warehouse: Path, server: BuildServer, share: float, is_log_too_long: bool
) -> None:
    with duckdb.connect(str(warehouse)) as con:
        con.execute("select setseed(0.5)")
        fixed(con)
        assert predict(con, "select * from fixed") is None
    # No file may grow beyond a share of the warehouse: the log of what was done ends early, or the warehouse takes in
    # nothing of it when it is closed.
    server.start(warehouse=str(warehouse), bytes=int(warehouse.stat().st_size * share), times=3)
    said = server.until_gone()
    failures = [rest for word, rest in said if word == "failed"]
    assert bool(failures) == is_log_too_long
    assert all("File too large" in failure for failure in failures)
    with duckdb.connect(str(warehouse)) as con:
        assert assert_consistent(con) == 1 + sum(word == "built" for word, _ in said)
        assert predict(con, "select * from fixed", train="always") is None
        assert_consistent(con)


def test_a_disk_that_is_full_is_put_into_plain_words() -> None:
    said = 'TransactionContext Error: Failed to commit: Could not write file "/w.duckdb.wal": File too large'
    assert plain(said) == plain("IO Error: Could not write file: No space left on device")
    assert "the disk is full" in plain(said)


def test_a_build_for_which_memory_does_not_suffice_leaves_what_was_there(con: duckdb.DuckDBPyConnection) -> None:
    predict(con, fixed(con))
    before = state_of(con)
    con.execute("set threads = 1; set memory_limit = '8MB'")
    message = predict(con, "select * from fixed", train="always")
    con.execute("set memory_limit = '1GB'")
    assert message is not None
    assert message.startswith("prediction 'test': memory did not suffice (")
    assert "memory_limit" in message
    assert state_of(con) == before
    assert predict(con, "select * from fixed", train="always") is None
    assert assert_consistent(con) == 2


# Trainers that fail


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (RuntimeError("the tree\nis on fire"), "the trainer 'xgboost' failed (RuntimeError: the tree is on fire)"),
        (xgboost.core.XGBoostError("Check failed: param"), "the trainer 'xgboost' failed (XGBoostError: Check failed"),
        (MemoryError("no room for 3 GB"), "memory did not suffice (no room for 3 GB)"),
    ],
)
def test_a_trainer_that_fails_is_one_sentence_and_leaves_what_was_there(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch, fault: Exception, sentence: str
) -> None:
    def fail(*examples: object, **settings: object) -> None:
        raise fault

    predict(con, fixed(con))
    before = state_of(con)
    monkeypatch.setattr(trees, "fit", fail)
    message = predict(con, "select * from fixed", train="always")
    assert message is not None
    assert message.startswith(f"prediction 'test': {sentence}")
    assert state_of(con) == before
    assert con.execute("from duckdb_tables() where table_name like '%building'").fetchall() == []


def test_config_is_data_and_never_run(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    code = f"__import__('pathlib').Path('{tmp_path}/run').touch()"
    fixed(con)
    for config in ({"params": {"max_depth": code}}, {"retrain": {"every": code}}, {"model": code}, {"recency": code}):
        predict(con, "select * from fixed", **config)
    assert not (tmp_path / "run").exists()


# Names


ODD = {
    "entity": 'who "is"; drop table foretable.active; --',
    "as_of": "the 'day' of, it",
    "label": "bought? (select 1)",
    "recency": "select",
    "slices": ['ünï "códe" 顾客'],
}
ODD_NAME = "od\"d'; drop table foretable.models; --"


def test_odd_names_are_names_and_nothing_else(con: duckdb.DuckDBPyConnection) -> None:
    fixed(con)
    renamed = f"""
        select user_id as {identifier(ODD["entity"])}, as_of as {identifier(ODD["as_of"])},
            bought as {identifier(ODD["label"])}, heat as {identifier(ODD["recency"])}, noise as "a.b %s {{{{ c }}}}",
            kind as {identifier(ODD["slices"][0])}
        from fixed
    """
    examples, target = identifier(f"examples__{ODD_NAME}"), identifier(f"pred__{ODD_NAME}")

    def built(train: str = "when_changed") -> str | None:
        select = identifier(f"examples__{ODD_NAME}__select")
        con.execute(f"create or replace temp view {select} as {renamed}")
        build(
            con,
            {
                "name": ODD_NAME,
                "config": {**BINARY, **ODD},
                "train": train,
                "promote": "always",
                "sql": renamed,
                "database": "shop",
                "select": f"temp.main.{select}",
                "building": f"main.{identifier(f'examples__{ODD_NAME}__building')}",
                "examples": f"main.{examples}",
                "examples_identifier": f"examples__{ODD_NAME}",
                "target": f"main.{target}",
                "truth_schema": "main",
                "run_id": "run",
                "run_at": "2025-12-01 00:00:00",
                "source": "contract",
            },
        )
        return con.execute("select message from foretable_outcome").fetchone()[0]

    def scores() -> list[tuple]:
        macro, function = f"scores.{identifier(ODD_NAME)}", identifier(f"score_{ODD_NAME}")
        keys = f"{identifier(ODD['entity'])}, {identifier(ODD['as_of'])}"
        return con.execute(
            f"select distinct version, count(*), bool_and(score = {macro}(examples) and score = {function}(examples)) "
            f"from {target} inner join {examples} as examples using ({keys}) group by version"
        ).fetchall()

    assert built() is None
    assert built("always") is None
    assert scores() == [(2, 120, True)]
    roll_back(con, ODD_NAME)
    assert scores() == [(1, 120, True)]
    con.execute("update fixed set bought = heat > 5 where bought is null")
    assert built("never") is None
    known = con.execute("select distinct prediction, version from foretable.realised order by all").fetchall()
    assert known == [(ODD_NAME, 1), (ODD_NAME, 2)]
    assert con.execute("select distinct entity from foretable.prediction_log").fetchall() == [(ODD["entity"],)]


@pytest.mark.parametrize(
    ("select", "config", "sentence"),
    [
        ("select *, heat as __label from fixed", {}, "a feature is named '__label', as batches call the label"),
        ("select *, user_id as score from fixed", {"entity": "score"}, "the key 'score' is named as a column of the"),
        ("select *, as_of as Scored_At from fixed", {"as_of": "Scored_At"}, "the key 'Scored_At' is named as a column"),
    ],
)
def test_names_that_are_taken_are_refused(
    con: duckdb.DuckDBPyConnection, select: str, config: dict[str, str], sentence: str
) -> None:
    fixed(con)
    message = predict(con, select, **config)
    assert message is not None
    assert message.startswith(f"prediction 'test': {sentence}")


# The same again

TWICE = """
import os, sys
import duckdb
from tests.predicting import predict
warehouse, threads, order = sys.argv[1:]
os.cpu_count = lambda: int(threads)
with duckdb.connect(warehouse, config={"threads": int(threads)}) as con:
    con.execute(f"create table again as from fixed order by {order}")
    for model in ("xgboost", "mlp"):
        params = {"n_estimators": 60} if model == "xgboost" else {"epochs": 3}
        message = predict(con, "select * from again", model=model, params=params, train="always", promote="always")
        assert message is None, message
        con.execute(f"create table scored_by_{model} as from pred__test")
"""


def test_another_process_with_other_threads_and_order_of_rows_gives_the_same_model(warehouse: Path) -> None:
    with duckdb.connect(str(warehouse)) as con:
        con.execute("select setseed(0.5)")
        con.execute(f"create table fixed as {EXAMPLES.replace('range(120)', 'range(3000)')}")
    versions, scores = [], []
    for threads, order in ((1, "noise"), (3, "user_id desc, as_of")):
        file = Path(shutil.copy(warehouse, warehouse.parent / f"threads_{threads}.duckdb"))
        environment = {**os.environ, "PYTHONHASHSEED": str(threads), "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-c", TWICE, str(file), str(threads), order]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        with duckdb.connect(str(file), read_only=True) as con:
            versions.append(con.execute("select model, artifact_sha256 from foretable.models order by 1").fetchall())
            scores.append(
                con.execute(
                    "select trees.user_id, trees.score, networks.score from scored_by_xgboost as trees "
                    "inner join scored_by_mlp as networks using (user_id) order by trees.user_id"
                ).fetchall()
            )
    assert [model for model, _ in versions[0]] == ["mlp", "xgboost"]
    assert versions[0][1] == versions[1][1], "the same bytes"
    assert len(scores[0]) == 3000
    assert [row[:2] for row in scores[0]] == [row[:2] for row in scores[1]]
    assert [row[2] for row in scores[0]] == pytest.approx([row[2] for row in scores[1]], abs=1e-5)
