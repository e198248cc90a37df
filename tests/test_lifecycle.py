"""The life of a prediction's versions: which one serves, and who may change that."""

from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

import udfs
from foretable.cli import main
from ibis_features import ConfigError, ForetableError, NotFoundError
from tests.predicting import fixed, last_run, predict, state_of, version_count
from udfs.lifecycle import compare, promote, retire, roll_back

UNLEARNABLE = "select * exclude (heat, kind) from fixed"


def statuses(con: duckdb.DuckDBPyConnection) -> list[str]:
    return [status for (status,) in con.execute("select status from foretable.versions order by version").fetchall()]


def served(con: duckdb.DuckDBPyConnection) -> tuple[int, set[int]]:
    """The version that serves, and the versions that the table of scores is of."""
    (active,) = con.execute("select version from foretable.active").fetchone() or (0,)
    return active, {version for (version,) in con.execute("select distinct version from pred__test").fetchall()}


def scores(con: duckdb.DuckDBPyConnection) -> list[tuple]:
    return con.execute("select user_id, score from pred__test order by all").fetchall()


def two_versions(con: duckdb.DuckDBPyConnection) -> str:
    select = fixed(con)
    assert predict(con, select) is None
    assert predict(con, select, seed=8, params={"n_estimators": 3}) is None
    assert served(con) == (2, {2})
    return select


# Is it better than its baselines?


def test_a_version_that_is_no_better_than_a_baseline_does_not_serve_and_says_so(con: duckdb.DuckDBPyConnection) -> None:
    fixed(con)
    message = predict(con, UNLEARNABLE)
    assert message is not None
    assert "version 1 was trained and does not serve: on the test snapshots its AUC less that of base_rate" in message
    assert "`foretable promote test 1`" in message
    assert statuses(con) == ["candidate"]
    assert con.execute("from duckdb_tables() where table_name in ('pred__test')").fetchall() == []
    again = predict(con, UNLEARNABLE)
    assert again is not None
    assert "version 1 was trained on these rows and does not serve" in again
    assert version_count(con) == 1


def test_recency_alone_is_a_baseline_too(con: duckdb.DuckDBPyConnection) -> None:
    fixed(con)
    message = predict(con, "select * exclude (heat, kind), heat as recency_days from fixed")
    assert message is not None
    assert "its AUC less that of recency alone is" in message


def test_recency_frequency_and_money_together_are_a_baseline_too(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    assert predict(con, select, rfm=["noise"]) is None, "one that the model beats"
    message = predict(con, select, rfm=["heat", "noise"])
    assert message is None
    assert statuses(con) == ["active", "candidate"]
    assert "its AUC less that of rfm alone is" in last_run(con)["reason"]


def test_the_baseline_of_recency_frequency_and_money_is_left_out_where_the_select_lacks_them(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("udfs.training.say", said.append)
    renamed = "select * rename (heat as purchase_count_90d), noise as recency_days from fixed"
    fixed(con)
    for select in ("select * from fixed", renamed):
        assert predict(con, select, promote="always") is None
    baselines = con.execute(
        "select version, list(distinct scored_by order by scored_by) from foretable.metrics "
        "where scored_by not like 'above%' group by all order by all"
    ).fetchall()
    without = ["base_rate", "model", "uncalibrated"]
    assert baselines == [(1, without), (2, sorted([*without, "recency", "rfm"]))]
    assert said == [
        "test: the baseline rfm is left out, since the SELECT lacks recency_days, purchase_count_90d, "
        "purchase_value_90d; rfm=[…] names others",
        "test: the baseline rfm reads only recency_days and purchase_count_90d, since the SELECT lacks "
        "purchase_value_90d; rfm=[…] names others",
    ]


def test_forced_it_serves(con: duckdb.DuckDBPyConnection) -> None:
    fixed(con)
    assert predict(con, UNLEARNABLE, promote="always") is None
    assert statuses(con) == ["active"]
    assert predict(con, UNLEARNABLE) is None, "a word for one run is no change"
    assert version_count(con) == 1


def test_the_version_of_before_goes_on_where_the_new_one_is_no_better(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    assert predict(con, select) is None
    con.execute("update fixed set heat = random() where bought is not null")
    assert predict(con, select) is None
    assert statuses(con) == ["active", "candidate"]
    assert served(con) == (1, {1})
    assert "version 2 is a candidate: on the test snapshots" in last_run(con)["reason"]
    assert predict(con, select) is None
    assert version_count(con) == 2
    assert last_run(con)["reason"] == "version 2, a candidate, was trained on these rows"


def test_with_promote_never_a_version_waits_for_a_word(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    assert predict(con, select) is None
    assert predict(con, select, promote="never", train="always") is None
    assert statuses(con) == ["active", "candidate"]
    assert promote(con, "test", 2).rows == 120
    assert served(con) == (2, {2})


def test_a_candidate_that_alone_fits_the_features_is_named(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    assert predict(con, select) is None
    changed = "select * exclude (heat) from fixed"
    message = predict(con, changed)
    assert message is not None
    assert "version 2 was trained and does not serve" in message
    again = predict(con, changed)
    assert again is not None
    assert "(without heat); version 2 fits them and does not serve" in again
    assert served(con) == (1, {1})


# Promote, roll back, retire


def test_a_rollback_brings_scores_and_macro_of_before_and_the_next_build_keeps_them(
    con: duckdb.DuckDBPyConnection,
) -> None:
    select = fixed(con)
    predict(con, select)
    before = scores(con)
    predict(con, select, seed=8, params={"n_estimators": 3})
    assert scores(con) != before
    assert roll_back(con, "test").version == 1
    assert scores(con) == before
    macro = "select user_id, scores.test(examples) from examples__test as examples where bought is null order by all"
    assert con.execute(macro).fetchall() == before
    udfs.register(con)
    assert con.execute(macro.replace("scores.test", "score_test")).fetchall() == before
    assert predict(con, select, seed=8, params={"n_estimators": 3}) is None
    assert served(con) == (1, {1})
    assert last_run(con)["reason"] == "version 2, a candidate, was trained on these rows"
    assert not last_run(con)["is_scored"]


def test_each_rollback_leads_further_back(con: duckdb.DuckDBPyConnection) -> None:
    select = two_versions(con)
    predict(con, select, seed=9)
    assert [roll_back(con, "test").version for _ in range(2)] == [2, 1]
    with pytest.raises(NotFoundError, match="nothing to roll back to"):
        roll_back(con, "test")
    assert promote(con, "test", 3).version == 3
    assert con.execute("select version, promoted_by from foretable.promotions order by rowid").fetchall() == [
        (1, "build"), (2, "build"), (3, "build"), (2, "rollback"), (1, "rollback"), (3, "promote"),
    ]  # fmt: skip


def test_a_retired_version_is_no_candidate_until_it_is_promoted(con: duckdb.DuckDBPyConnection) -> None:
    two_versions(con)
    retire(con, "test", 1)
    assert statuses(con) == ["retired", "active"]
    with pytest.raises(NotFoundError, match="nothing to roll back to"):
        roll_back(con, "test")
    promote(con, "test", 1)
    assert statuses(con) == ["active", "candidate"]


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda con: promote(con, "test", 2), "version 2 of 'test' serves already"),
        (lambda con: promote(con, "test", 9), "no version 9 of prediction 'test'; there are: 1, 2"),
        (lambda con: promote(con, "tset", 1), "no prediction 'tset'"),
        (lambda con: retire(con, "test", 2), "version 2 of 'test' serves; promote another one first"),
        (lambda con: retire(con, "test", 3), "no version 3 of prediction 'test'"),
        (lambda con: roll_back(con, "tset"), "no version of a prediction 'tset' serves"),
        (lambda con: compare(con, "test", 1, 7), "no version 7 of prediction 'test'"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(con: duckdb.DuckDBPyConnection, act, sentence: str) -> None:
    two_versions(con)
    before = state_of(con)
    with pytest.raises(ForetableError) as raised:
        act(con)
    assert sentence in str(raised.value)
    assert state_of(con) == before


def test_a_version_whose_features_are_gone_cannot_come_back(con: duckdb.DuckDBPyConnection) -> None:
    predict(con, fixed(con))
    assert predict(con, "select * exclude (noise) from fixed", promote="always") is None
    before = state_of(con)
    with pytest.raises(ConfigError, match=r"features that the SELECT no longer returns \(noise\)"):
        roll_back(con, "test")
    assert state_of(con) == before


def test_a_promotion_that_fails_half_way_changes_nothing(con: duckdb.DuckDBPyConnection) -> None:
    two_versions(con)
    con.execute("update foretable.models set artifact = artifact || 'x'::blob where version = 1")
    before = state_of(con)
    with pytest.raises(ForetableError, match="sha256"):
        roll_back(con, "test")
    assert state_of(con) == before


# Compare


def test_versions_are_compared_on_a_snapshot_that_neither_has_seen(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    predict(con, select)
    predict(con, select, params={"n_estimators": 1}, promote="always")
    rows = {row["metric"]: row for row in compare(con, "test", 1, 2)}
    auc = rows["roc_auc"]
    assert auc["rows"] == 120
    assert auc["difference"] == auc["version 1"] - auc["version 2"]
    assert auc["lower"] <= auc["difference"] <= auc["upper"]
    registered = con.execute(
        "select value from foretable.metrics where split = 'test' and scored_by = 'model' and metric = 'roc_auc' "
        "order by version"
    ).fetchall()
    assert [(auc["version 1"],), (auc["version 2"],)] == registered
    swapped = {row["metric"]: row for row in compare(con, "test", 2, 1)}
    assert swapped["roc_auc"]["difference"] == -auc["difference"]


# New rows only so often


def test_new_rows_train_only_so_often_and_a_changed_config_at_once(con: duckdb.DuckDBPyConnection) -> None:
    select, weekly = fixed(con), {"retrain": {"every": "7 days"}}
    assert predict(con, select, **weekly) is None
    con.execute("update fixed set noise = 0 where user_id = 'u1'")
    assert predict(con, select, **weekly) is None
    assert version_count(con) == 1
    assert "new rows do not train yet: a training is due from" in last_run(con)["reason"]
    con.execute("update foretable.models set trained_at = trained_at - ?", [timedelta(days=7, seconds=1)])
    assert predict(con, select, **weekly) is None
    assert version_count(con) == 2
    assert last_run(con)["reason"].startswith("new rows, and a training is due from")
    assert predict(con, select, seed=8, **weekly) is None
    assert version_count(con) == 3


def test_examples_are_written_anew_only_where_the_select_returns_other_rows(con: duckdb.DuckDBPyConnection) -> None:
    def written() -> int:
        found = con.execute("select table_oid from duckdb_tables() where table_name = 'examples__test'").fetchone()
        assert con.execute("select count(*) from (from examples__test except from fixed)").fetchone() == (0,)
        assert con.execute("from duckdb_tables() where table_name like '%building'").fetchall() == []
        return found[0]

    select = fixed(con)
    con.execute("update fixed set bought = null where user_id = 'u3' and as_of = '2025-01-01'")
    assert predict(con, select) is None
    first = written()
    con.execute("create or replace table fixed as from fixed order by noise")
    for changes in ({}, {"is_plan": True}, {"train": "always"}):
        assert predict(con, select, **changes) is None
        assert written() == first
    con.execute("update fixed set noise = noise + 1 where user_id = 'u3' and as_of = '2025-01-01'")
    assert predict(con, select) is None
    assert last_run(con)["reason"] == "nothing changed", "the row is neither labelled nor scored"
    assert written() != first
    con.execute("alter table fixed add column extra integer default 1")
    assert predict(con, select) is None
    assert version_count(con) == 3


def test_another_policy_alone_is_no_reason_to_train(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    for config in ({}, {"retrain": {"every": "7 days"}}, {"promote": "always"}):
        assert predict(con, select, **config) is None
        assert version_count(con) == 1


# By command


def test_the_commands_do_it(con: duckdb.DuckDBPyConnection, warehouse: Path) -> None:
    two_versions(con)
    con.close()

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(main, [*arguments, "--warehouse", str(warehouse)])
        assert result.exit_code == 0, result.output
        return result.output

    assert "active" in run("versions", "test")
    assert "roc_auc" in run("compare", "test")
    assert run("rollback", "test") == "Version 1 of test serves again; it scored 120 rows.\n"
    assert run("promote", "test", "2") == "Version 2 of test serves; it scored 120 rows.\n"
    assert run("retire", "test", "1").startswith("Version 1 of test is retired")
    with duckdb.connect(str(warehouse)) as again:
        assert statuses(again) == ["retired", "active"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["promote", "test", "1", "--warehouse", "nowhere.duckdb"], "no warehouse nowhere.duckdb"),
        (["compare", "test", "1", "--warehouse", "nowhere.duckdb"], "name two versions, or none"),
    ],
)
def test_a_wrong_command_says_what_is_right(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code != 0
    assert sentence in result.output
