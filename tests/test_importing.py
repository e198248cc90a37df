"""Trees that were trained elsewhere become a version of a prediction: checked, judged, promoted, compiled."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import lightgbm
import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost
from click.testing import CliRunner, Result
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

import udfs
from foretable.cli import main
from ibis_features import ArtifactError, ConfigError, NotFoundError
from tests.predicting import fixed, last_run, predict, version_count
from udfs.importing import import_version

PLAIN = {"calibrate": None, "model": "logistic", "params": {}}


@pytest.fixture
def con(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """With a version of a prediction that reads heat, noise and kind, and that scores without a calibration."""
    assert predict(con, fixed(con), **PLAIN) is None
    return con


def learned_from(con: duckdb.DuckDBPyConnection, *names: str) -> tuple[pd.DataFrame, pd.Series]:
    """Rows of the snapshots that train: a model that has seen those of the test would look too good."""
    rows = con.execute("select * from fixed where as_of < timestamp '2025-03-15' order by all").df()
    return rows[list(names)].astype("float32"), rows["bought"].astype(int)


def by_xgboost(file: Path, rows: pd.DataFrame, label: pd.Series) -> Callable[[pd.DataFrame], np.ndarray]:
    model = xgboost.XGBClassifier(n_estimators=20, max_depth=3, n_jobs=1).fit(rows, label)
    model.save_model(file)
    return lambda asked: model.predict_proba(asked)[:, 1]


def by_lightgbm(file: Path, rows: pd.DataFrame, label: pd.Series) -> Callable[[pd.DataFrame], np.ndarray]:
    model = lightgbm.LGBMClassifier(n_estimators=20, verbosity=-1, n_jobs=1).fit(rows, label)
    model.booster_.save_model(file)
    return lambda asked: model.predict_proba(asked)[:, 1]


def by_random_forest(file: Path, rows: pd.DataFrame, label: pd.Series) -> Callable[[pd.DataFrame], np.ndarray]:
    model = RandomForestClassifier(20, max_depth=5, min_samples_leaf=3, random_state=0).fit(rows, label)
    skops.io.dump(model, file)
    least = 0.5 / len(rows)  # no forest is surer than half a row
    return lambda asked: np.clip(model.predict_proba(asked)[:, 1], least, 1 - least)


class Untrusted:
    """Of no library."""


LIBRARIES = pytest.mark.parametrize(
    ("train", "name"),
    [(by_xgboost, "model.json"), (by_lightgbm, "model.txt"), (by_random_forest, "model.skops")],
)


def run(con: duckdb.DuckDBPyConnection, warehouse: Path, file: Path) -> Result:
    con.close()
    return CliRunner().invoke(main, ["import", "test", str(file), "--warehouse", str(warehouse)])


@LIBRARIES
def test_imported_trees_serve_with_the_scores_of_their_library(
    con: duckdb.DuckDBPyConnection, warehouse: Path, tmp_path: Path, train: Any, name: str
) -> None:
    # The columns come in another order than in the SELECT.
    scores_of = train(tmp_path / name, *learned_from(con, "noise", "heat"))
    newest = con.execute("select * from fixed where as_of = (select max(as_of) from fixed) order by user_id").df()
    done = run(con, warehouse, tmp_path / name)
    assert done.exit_code == 0, done.output
    assert "Version 2 of test serves; it scored 120 rows.\nIt looks better than it is on rows that" in done.output
    with duckdb.connect(str(warehouse)) as again:
        udfs.register(again, ["test"])
        rows = again.execute(
            "select pred.score, score_test(fixed), scores.test(fixed), pred.version from pred__test as pred "
            "inner join fixed using (user_id, as_of) order by user_id"
        ).fetchall()
        assert all(row[0] == row[1] == row[2] and row[3] == 2 for row in rows)
        wanted = scores_of(newest[["noise", "heat"]].astype("float32"))
        assert [row[0] for row in rows] == pytest.approx(wanted, abs=1e-6)
        judged = "select distinct scored_by from foretable.metrics where version = 2 and split = 'test'"
        assert {by for (by,) in again.execute(judged).fetchall()} >= {"model", "base_rate", "above_base_rate"}
        by = "select model, promoted_by from foretable.versions inner join foretable.promotions using (version)"
        assert again.execute(f"{by} where version = 2").fetchall() == [(train.__name__.removeprefix("by_"), "import")]
        # A build in which nothing changed lets it serve on: what it would train was trained before.
        assert predict(again, "select * from fixed", **PLAIN) is None
        assert not last_run(again)["is_trained"]
        assert again.execute("select version from foretable.active").fetchall() == [(2,)]


def test_trees_that_are_no_better_than_a_baseline_become_a_candidate(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    by_xgboost(tmp_path / "model.json", *learned_from(con, "noise"))
    done = import_version(con, "test", tmp_path / "model.json")
    assert done.promotion is None
    assert done.objection is not None
    assert "AUC less that of base_rate alone" in done.objection
    assert con.execute("select version, status from foretable.versions order by all").fetchall() == [
        (1, "active"),
        (2, "candidate"),
    ]


def test_rounds_behind_the_best_one_are_left_out_as_xgboost_leaves_them(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    rows, label = learned_from(con, "heat", "noise")
    scores_of = by_xgboost(tmp_path / "all.ubj", rows, label)
    model = xgboost.XGBClassifier(n_estimators=60, early_stopping_rounds=3, n_jobs=1)
    model.fit(rows, label, eval_set=[(rows, 1 - label)], verbose=False).save_model(tmp_path / "model.json")
    assert model.get_booster().num_boosted_rounds() > model.best_iteration + 1
    assert predict(con, "select * from fixed", **PLAIN, promote="always", seed=8) is None
    import_version(con, "test", tmp_path / "model.json")
    newest = con.execute("select * from fixed where as_of = (select max(as_of) from fixed) order by user_id").df()
    asked = newest[["heat", "noise"]].astype("float32")
    found = con.execute("select score from pred__test order by user_id").fetchnumpy()["score"]
    assert found == pytest.approx(model.predict_proba(asked)[:, 1], abs=1e-6)
    assert not np.allclose(found, scores_of(asked))


@LIBRARIES
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"heat": "warmth"},
            "reads warmth, which the SELECT does not return as features; it returns: heat, noise, kind",
        ),
        ({"heat": "kind"}, "reads kind, no numbers in the SELECT"),
        ({"heat": "bought"}, "reads bought, which the SELECT does not return as features"),
    ],
)
def test_features_that_are_no_numbers_of_the_select_are_named(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, train: Any, name: str, change: dict[str, str], sentence: str
) -> None:
    rows, label = learned_from(con, "heat", "noise")
    train(tmp_path / name, rows.rename(columns=change), label)
    with pytest.raises(ConfigError, match=sentence):
        import_version(con, "test", tmp_path / name)
    assert version_count(con) == 1


def test_what_is_no_model_for_the_prediction_is_refused(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    rows, label = learned_from(con, "heat", "noise")
    file = tmp_path / "model"

    def refused(sentence: str, error: type[Exception] = ConfigError, prediction: str = "test") -> None:
        with pytest.raises(error, match=sentence):
            import_version(con, prediction, file)
        assert version_count(con) == 1

    file.write_bytes(pickle.dumps(label))
    refused("a pickle is never read", ArtifactError)
    by_xgboost(tmp_path / "model.ubj", rows, label)
    file.write_bytes((tmp_path / "model.ubj").read_bytes())
    refused("under a name that ends in .json", ArtifactError)
    xgboost.XGBRegressor(n_estimators=2).fit(rows, label).save_model(tmp_path / "model.json")
    text = (tmp_path / "model.json").read_text()
    file.write_text(text)
    refused("learned by the objective 'reg:squarederror', and kind 'binary' needs 'binary:logistic'")
    file.write_text(text[:300])
    refused("cannot be read as trees of XGBoost", ArtifactError)
    file.write_text(text.replace('"left_children":[1,', '"left_children":[0,'))
    refused("cannot be read as trees of XGBoost", ArtifactError)
    file.write_text(text.replace('"left_children":[1,', '"left_children":[999,'))
    refused("cannot be read as trees of XGBoost", ArtifactError)
    lightgbm.LGBMRegressor(n_estimators=2, verbosity=-1).fit(rows, label).booster_.save_model(file)
    refused("learned by the objective 'regression', and kind 'binary' needs 'binary'")
    text = file.read_text().replace("objective=regression", "objective=binary sigmoid:2")
    file.write_text(text)
    refused("only its defaults are known")
    file.write_text(text.replace("sigmoid:2", "sigmoid:1").replace("left_child=", "left_child=0 "))
    refused("cannot be read; the artifact is damaged", ArtifactError)
    by_xgboost(tmp_path / "bare.json", rows.to_numpy(), label)  # type: ignore[arg-type]
    file.write_bytes((tmp_path / "bare.json").read_bytes())
    refused("does not name its features")
    skops.io.dump(ExtraTreesClassifier(2).fit(rows, label), file)
    refused("holds ExtraTreesClassifier; kind 'binary' can take RandomForestClassifier")
    skops.io.dump(RandomForestClassifier(2).fit(rows, label.map({0: "no", 1: "yes"})), file)
    refused("has other labels than one of 0 and 1")
    file.write_bytes(file.read_bytes()[:200])
    refused("cannot be read by skops", ArtifactError)
    skops.io.dump(Untrusted(), file)
    refused("cannot be read by skops .UntrustedTypesFoundException", ArtifactError)
    refused("no prediction 'other'", NotFoundError, "other")


def test_a_file_that_is_not_there_is_refused(con: duckdb.DuckDBPyConnection, warehouse: Path, tmp_path: Path) -> None:
    done = run(con, warehouse, tmp_path / "model.json")
    assert done.exit_code == 2
    assert done.output == f"Error: no file {tmp_path / 'model.json'} to import\n"


def test_a_feature_that_tells_the_label_is_a_leak_here_too(
    con: duckdb.DuckDBPyConnection, warehouse: Path, tmp_path: Path
) -> None:
    con.execute("create or replace table examples__test as select *, bought::int as later from examples__test")
    rows, label = learned_from(con, "heat")
    by_xgboost(tmp_path / "model.json", rows.assign(later=label), label)
    done = run(con, warehouse, tmp_path / "model.json")
    assert done.exit_code == 1
    assert "a feature tells the label by itself on the training rows: 'later'" in done.output
