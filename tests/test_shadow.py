"""A candidate that is scored beside the version that serves: into the log, and nowhere else."""

from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from foretable.cli import main
from ibis_features import ConfigError, ForetableError, NotFoundError
from models_ml.evaluation import roc_auc
from tests.predicting import fixed, last_run, predict, state_of
from tests.test_lifecycle import scores, served
from tests.test_monitoring import know_outcomes
from udfs.lifecycle import promote, retire
from udfs.shadow import start, stop


def with_a_candidate(con: duckdb.DuckDBPyConnection) -> str:
    """Version 1 serves, version 2 is a candidate."""
    select = fixed(con)
    assert predict(con, select) is None
    assert predict(con, select, train="always", promote="never", seed=8, params={"n_estimators": 3}) is None
    assert served(con) == (1, {1})
    return select


def logged(con: duckdb.DuckDBPyConnection) -> list[tuple]:
    """Version, whether in the shadow, the day of the snapshot and the number of its rows, in the order of the log."""
    return con.execute(
        "select version, is_shadow, strftime(as_of, '%m-%d'), count(*) from foretable.prediction_log "
        "group by all order by min(rowid)"
    ).fetchall()


def test_a_shadow_is_scored_at_once_and_in_each_later_build_and_what_serves_does_not_change(
    con: duckdb.DuckDBPyConnection,
) -> None:
    select = with_a_candidate(con)
    before = scores(con)
    assert start(con, "test", 2) == 120
    assert scores(con) == before
    assert logged(con) == [(1, False, "05-31", 120), (2, True, "05-31", 120)]
    assert predict(con, select, train="never") is None
    assert not last_run(con)["is_scored"], "the rows are those of before"
    know_outcomes(con, "heat > 4")
    assert predict(con, select, train="never") is None
    assert served(con) == (1, {1})
    assert logged(con)[2:] == [(1, False, "06-30", 120), (2, True, "06-30", 120)]
    stop(con, "test", 2)
    know_outcomes(con, "heat > 4")
    assert predict(con, select, train="never") is None
    assert logged(con)[4:] == [(1, False, "07-30", 120)]


def test_a_shadow_logs_what_it_would_serve(con: duckdb.DuckDBPyConnection) -> None:
    with_a_candidate(con)
    start(con, "test", 2)
    shadowed = con.execute(
        "select entity_id, score from foretable.prediction_log where is_shadow order by all"
    ).fetchall()
    promote(con, "test", 2)
    assert shadowed == scores(con)
    assert len({score for _, score in shadowed}) > 3


def test_outcomes_judge_a_shadow_too_and_compare_shows_both(con: duckdb.DuckDBPyConnection, warehouse: Path) -> None:
    select = with_a_candidate(con)
    start(con, "test", 2)
    know_outcomes(con, "heat + 8 * noise > 7")
    assert predict(con, select, train="never") is None
    realised = con.execute(
        "select version, value, row_count from foretable.realised where metric = 'roc_auc' order by version"
    ).fetchall()
    expected = []
    for version in (1, 2):
        rows = con.execute(
            "select fixed.bought::double as label, log.score from foretable.prediction_log as log "
            "inner join fixed on log.entity_id = fixed.user_id and log.as_of = fixed.as_of "
            "where log.version = ? and fixed.bought is not null",
            [version],
        ).fetchnumpy()
        expected.append((version, pytest.approx(roc_auc(rows["label"], rows["score"])), 120))
    assert realised == expected
    assert realised[0][1] != realised[1][1]
    con.close()
    shown = CliRunner().invoke(main, ["compare", "test", "2", "1", "--warehouse", str(warehouse)])
    assert shown.exit_code == 0, shown.output
    lines = [line for line in shown.output.splitlines() if "2025-05-31" in line and "roc_auc" in line]
    assert len(lines) == 1
    assert f"{realised[1][1]:.4f}" in lines[0]
    assert f"{realised[1][1] - realised[0][1]:+.4f}" in lines[0]


@pytest.mark.parametrize(
    ("select", "fault"),
    [
        ("select * exclude (noise) from fixed", "reads features that the SELECT no longer returns (noise)"),
        (
            "select * replace ('n' || heat as heat) from fixed",
            "reads features that have another type now (heat: DOUBLE, now VARCHAR)",
        ),
    ],
)
def test_a_shadow_that_cannot_score_is_named_and_what_serves_goes_on(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch, select: str, fault: str
) -> None:
    said: list[str] = []
    monkeypatch.setattr("udfs.shadow.say", said.append)
    with_a_candidate(con)
    start(con, "test", 2)
    assert predict(con, select, promote="always") is None
    assert served(con) == (3, {3})
    assert logged(con)[2:] == [(3, False, "05-31", 120)]
    assert len(said) == 1
    assert f"version 2 of 'test' {fault}" in said[0]
    assert "`foretable shadow test 2 --stop` ends it" in said[0]


@pytest.mark.parametrize("end", [promote, retire])
def test_it_ends_when_the_version_is_promoted_or_retired(con: duckdb.DuckDBPyConnection, end) -> None:
    with_a_candidate(con)
    start(con, "test", 2)
    end(con, "test", 2)
    assert con.execute("select count(shadow_since) from foretable.models").fetchone() == (0,)
    with pytest.raises(ConfigError, match=r"not scored in the shadow; there are: none"):
        stop(con, "test", 2)


def test_only_a_candidate_that_can_score_gets_in(con: duckdb.DuckDBPyConnection) -> None:
    with_a_candidate(con)
    before = (state_of(con), logged(con))
    with pytest.raises(ConfigError, match=r"version 1 of 'test' is active; only a candidate"):
        start(con, "test", 1)
    with pytest.raises(NotFoundError, match=r"no version 9 of prediction 'test'"):
        start(con, "test", 9)
    assert (state_of(con), logged(con)) == before
    con.execute("update foretable.models set artifact = artifact || 'x'::blob where version = 2")
    with pytest.raises(ForetableError, match="sha256"):
        start(con, "test", 2)
    assert con.execute("select count(shadow_since) from foretable.models").fetchone() == (0,)
    assert logged(con) == before[1]


def test_the_command_does_it(con: duckdb.DuckDBPyConnection, warehouse: Path) -> None:
    with_a_candidate(con)
    con.close()

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(main, [*arguments, "--warehouse", str(warehouse)])
        assert result.exit_code == 0, result.output
        return result.output

    assert run("shadow", "test", "2") == "Version 2 of test is scored in the shadow from now on; it scored 120 rows.\n"
    assert "candidate, shadow" in run("versions", "test")
    assert run("shadow", "test", "2", "--stop") == "Version 2 of test is no longer scored in the shadow.\n"
    assert "shadow" not in run("versions", "test")
