"""The search for params: what it finds, that it goes on after an interruption, and when it searches again."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from foretable.cli import main
from ibis_features import ConfigError
from models_ml import trees, tuning
from models_ml.search_space import search_space
from models_ml.spec import PredictionSpec, parse_spec
from models_ml.trainer import TRAINERS
from tests.predicting import BINARY, fixed, predict, state_of, version_count

SPACE = {"max_depth": {"low": 1, "high": 4}, "eta": {"low": 0.01, "high": 0.5, "log": True}}
TUNE = {"trials": 4, "space": SPACE}


def trials(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    cursor = con.execute("select * exclude (seconds, ended_at) from foretable.trials order by rowid")
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def params_of(con: duckdb.DuckDBPyConnection, version: int) -> dict[str, Any]:
    return json.loads(con.execute("select params from foretable.models where version = ?", [version]).fetchone()[0])


def test_the_version_has_the_params_of_the_trial_that_is_best_on_the_validation_rows(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    select = fixed(con)
    assert predict(con, select, tune=TUNE) is None
    found = trials(con)
    assert [trial["trial"] for trial in found] == [0, 1, 2, 3]
    assert json.loads(found[0]["params"]) == {}, "the first trial is the config as it stands"
    best = min(found, key=lambda trial: trial["value"])
    assert params_of(con, 1).items() >= {**BINARY["params"], **json.loads(best["params"])}.items()
    # The same params, set by hand, give the figure that the trial has.
    for trial in found[:2]:
        predict(con, select, params={**BINARY["params"], **json.loads(trial["params"])}, train="always")
    losses = con.execute(
        "select value from foretable.metrics where split = 'validate' and scored_by = 'model' "
        "and metric = 'log_loss' and version > 1 order by version"
    ).fetchall()
    assert losses == [(trial["value"],) for trial in found[:2]]
    con.close()
    shown = CliRunner().invoke(main, ["versions", "test", "--warehouse", str(tmp_path / "shop.duckdb")]).output
    assert all(f"{name} {value:.4g}" in shown for name, value in json.loads(found[1]["params"]).items())


def test_a_search_that_was_interrupted_goes_on_as_if_it_had_not_been(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    select, tune = fixed(con), {**TUNE, "trials": 14}  # the sampler learns from the trials after the first ten
    monkeypatch.setattr(trees, "WARM_UP", 5)
    assert predict(con, select, tune=tune) is None
    whole = trials(con)
    con.execute("delete from foretable.trials")
    run = tuning._run

    def interrupted(spec: PredictionSpec, parts: Any, number: int, *others: Any) -> tuning.Trial:
        if number == 12:
            raise KeyboardInterrupt
        return run(spec, parts, number, *others)

    before = state_of(con)
    monkeypatch.setattr(tuning, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(con, select, tune=tune, train="always")
    assert len(trials(con)) == 12
    assert state_of(con) == before
    monkeypatch.setattr(tuning, "_run", run)
    assert predict(con, select, tune=tune, train="always") is None
    assert trials(con) == whole
    assert params_of(con, 1) == params_of(con, 2)


def test_new_rows_train_with_what_was_found_and_another_definition_searches_anew(
    con: duckdb.DuckDBPyConnection,
) -> None:
    select, two = fixed(con), {**TUNE, "trials": 2}

    def build(**config: Any) -> list[int]:
        assert predict(con, select, promote="always", **config) is None
        return [trial["trial"] for trial in trials(con)]

    assert build(tune=two) == [0, 1]
    con.execute("update fixed set noise = 0 where user_id = 'u1'")
    assert build(tune=two) == [0, 1]
    assert version_count(con) == 2
    assert params_of(con, 2) == params_of(con, 1)
    assert build(tune={**two, "every": "7 days"}) == [0, 1]
    con.execute("update foretable.trials set ended_at = ended_at - interval 8 days")
    con.execute("update fixed set noise = 0 where user_id = 'u2'")
    assert build(tune={**two, "every": "7 days"}) == [0, 1, 0, 1]
    assert build(tune={**TUNE, "trials": 3}) == [0, 1, 0, 1, 2], "a larger budget goes on"
    assert build(tune=two, seed=8) == [0, 1, 0, 1, 2, 0, 1]


def test_a_trial_that_is_worse_than_most_is_pruned(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "WARM_UP", 5)
    tune = {"trials": 12, "space": {"eta": {"choices": [0.0001, 0.2, 0.25]}}}
    assert predict(con, fixed(con), tune=tune) is None
    pruned = [trial for trial in trials(con) if trial["state"] == "pruned"]
    assert pruned
    for trial in pruned:
        assert trial["value"] is None
        assert 5 < len(trial["losses"]) < 20
    assert {json.loads(trial["params"])["eta"] for trial in pruned} >= {0.0001}
    assert params_of(con, 1)["eta"] in (0.05, 0.2, 0.25)


def test_a_plan_tells_how_many_trials_are_to_come(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)

    def plan(trials: int) -> str:
        assert predict(con, select, tune={**TUNE, "trials": trials}, is_plan=True) is None
        return con.execute("select reason from foretable.plans order by rowid desc limit 1").fetchone()[0]

    assert plan(3) == "never trained before; a search of at most 3 trials comes first"
    assert trials(con) == []
    assert predict(con, select, tune={**TUNE, "trials": 3}) is None
    assert plan(3) == "nothing changed"
    assert plan(5).endswith("; a search of at most 2 trials comes first")


def test_a_metric_that_the_validation_rows_do_not_define_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    seen = "as_of = (select max(as_of) - interval 30 days from fixed where bought is not null)"
    one_kind = f"select * replace (if({seen}, true, bought) as bought) from fixed"
    fixed(con)
    message = predict(con, one_kind, tune={**TUNE, "metric": "roc_auc"})
    assert message is not None
    assert "tune metric roc_auc is not defined on the validation rows" in message


def test_no_trial_begins_after_the_minutes_are_over(con: duckdb.DuckDBPyConnection) -> None:
    assert predict(con, fixed(con), tune={**TUNE, "minutes": 1e-9}) is None
    assert [trial["trial"] for trial in trials(con)] == [0]


def test_the_largest_auc_is_the_best(con: duckdb.DuckDBPyConnection) -> None:
    assert predict(con, fixed(con), tune={**TUNE, "metric": "roc_auc"}) is None
    best = max(trials(con), key=lambda trial: (trial["value"], -trial["trial"]))
    assert params_of(con, 1).items() >= json.loads(best["params"]).items()


def test_a_network_is_searched_too(con: duckdb.DuckDBPyConnection) -> None:
    space = {"units": {"choices": [4, 8]}, "dropout": {"low": 0.0, "high": 0.3}}
    config = {"model": "mlp", "params": {"epochs": 2}, "promote": "always"}
    assert predict(con, fixed(con), tune={"trials": 2, "space": space}, **config) is None
    assert [len(trial["losses"]) for trial in trials(con)] == [2, 2]


def test_a_config_that_leaves_nothing_to_search_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    params = {name: one["low"] for name, one in trees.SPACE.items()}
    message = predict(con, fixed(con), params=params, tune={})
    assert message is not None
    assert "params sets all that tune would search" in message


@pytest.mark.parametrize("model", TRAINERS)
def test_the_space_of_a_family_lies_within_its_bounds_and_leaves_out_what_params_sets(model: str) -> None:
    spec = parse_spec({**BINARY, "model": model, "params": {}, "tune": {}})
    assert spec.tune is not None
    own = search_space(model, {}, spec.tune)
    again = parse_spec({**BINARY, "model": model, "params": {}, "tune": {"space": own}})
    assert again.tune is not None
    assert search_space(model, {}, again.tune) == own
    first, *others = own
    if others:
        assert list(search_space(model, {first: 1}, spec.tune)) == others
    else:
        with pytest.raises(ConfigError, match="params sets all that tune would search"):
            search_space(model, {first: 1}, spec.tune)


@pytest.mark.parametrize(
    ("tune", "sentence"),
    [
        ({"trails": 3}, "unknown tune {'trails': 3}; it is a mapping of: trials, minutes, metric, space, every"),
        (30, "unknown tune 30; it is a mapping of"),
        ({"trials": 0}, "config tune trials=0 is not a whole number above 0"),
        ({"minutes": "10"}, "config tune minutes='10' is not a number above 0"),
        ({"metric": "f1"}, "unknown tune metric 'f1'; known: log_loss, brier, roc_auc, pr_auc"),
        ({"every": "often"}, "config tune every='often' is not a span such as"),
        ({"space": []}, "config tune space=[] is not a mapping of params"),
        ({"space": {"depth": {"low": 1, "high": 2}}}, "unknown params for xgboost: depth; known: n_estimators"),
        ({"space": {"eta": {"low": 0.1}}}, "config tune space eta={'low': 0.1} is neither {'low': 0.01"),
        ({"space": {"eta": {"low": 0.3, "high": 0.1}}}, "config tune space eta: low=0.3 is not below high=0.1"),
        ({"space": {"eta": {"low": 0.3, "high": 7}}}, "params.eta=7 does not suit model 'xgboost'"),
        ({"space": {"eta": {"choices": ["a"]}}}, "params.eta='a' does not suit model 'xgboost'"),
        ({"space": {"n_estimators": {"low": 1, "high": 9}}}, "params sets n_estimators, which tune.space searches"),
    ],
)
def test_a_search_that_cannot_be_is_refused_by_name(con: duckdb.DuckDBPyConnection, tune: Any, sentence: str) -> None:
    message = predict(con, fixed(con), tune=tune)
    assert message is not None
    assert sentence in message
    assert trials(con) == []


def test_without_optuna_the_extra_is_named(con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "find_spec", lambda name: None)
    message = predict(con, fixed(con), tune={})
    assert message is not None
    assert "tune needs Optuna for its search: pip install 'foretable[tune]'" in message
