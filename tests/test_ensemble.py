"""Ensembles: each way to join members against a reckoning from the members' own scores, and all the way to SQL."""

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from click.testing import CliRunner
from scipy.optimize import minimize

import udfs
from foretable.cli import main
from ibis_features import ArtifactError, ConfigError, Examples, connect_backend, read_examples, read_schema
from models_ml import fitting
from models_ml.artifact import pack, read_manifest, unpack
from models_ml.ensemble import PART, EnsembleModel, load_ensemble
from models_ml.judging import scored
from models_ml.registry import read_artifact
from models_ml.score_map import unmapped
from models_ml.spec import WAYS, parse_spec
from models_ml.splitting import fold_of, split_examples
from models_ml.trainer import FittedModel, families
from tests.predicting import BINARY, fixed, last_run, predict, version_count
from udfs import decision

MEMBERS = ["xgboost", "mlp"]
NAME = "xgboost + mlp"
PARAMS: dict[str, Any] = {"xgboost": {"n_estimators": 20}, "mlp": {"units": 8, "epochs": 4, "learning_rate": 0.01}}
TOGETHER: dict[str, Any] = {"model": MEMBERS, "params": PARAMS, "promote": "always"}


def parts_of_fixed(con: duckdb.DuckDBPyConnection) -> dict[str, Examples]:
    schema = read_schema(con, "fixed", entity="user_id", label="bought")
    examples = read_examples(connect_backend(con), "fixed", schema)
    return split_examples(examples, parse_spec({**BINARY, **TOGETHER}))[1]


def model_of(con: duckdb.DuckDBPyConnection, version: int = 1) -> Any:
    """A version's own model, without its calibration."""
    return unmapped(unpack(read_artifact(con, "test", version)))


def member_scores(con: duckdb.DuckDBPyConnection, part: str, **config: Any) -> tuple[np.ndarray, np.ndarray]:
    """Labels [rows], and what each member says when it is a prediction of its own, float64 [rows, members]."""
    rows = parts_of_fixed(con)[part]
    found = []
    for name in MEMBERS:
        own = {"model": name, "params": PARAMS[name], "promote": "always", **config}
        assert predict(con, "select * from fixed", **own) is None
        found.append(scored(model_of(con, version_count(con)), rows))
    return found[0][0], np.column_stack([scores for _, scores in found]).astype(np.float64)


def joined(con: duckdb.DuckDBPyConnection, part: str, **config: Any) -> tuple[EnsembleModel, np.ndarray]:
    """The ensemble and its own scores, float64 [rows]."""
    assert predict(con, "select * from fixed", **TOGETHER, **config) is None
    model = model_of(con, version_count(con))
    return model, scored(model, parts_of_fixed(con)[part])[1].astype(np.float64)


def log_odds(scores: np.ndarray) -> np.ndarray:
    return np.log(scores / (1 - scores))


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def test_the_mean_is_that_of_the_log_odds(con: duckdb.DuckDBPyConnection) -> None:
    fixed(con)
    _, members = member_scores(con, "test")
    model, scores = joined(con, "test")
    assert model.combination.weights == (0.5, 0.5)
    assert scores == pytest.approx(sigmoid(log_odds(members).mean(axis=1)), abs=1e-5)


@pytest.mark.parametrize("class_weight", ["absent", "balanced"])
def test_the_weights_have_the_least_log_loss_on_the_validation_rows(
    con: duckdb.DuckDBPyConnection, class_weight: str
) -> None:
    fixed(con)
    labels, members = member_scores(con, "validate", class_weight=class_weight)
    model, scores = joined(con, "validate", ensemble="weighted", class_weight=class_weight)
    train = parts_of_fixed(con)["train"].column("bought").to_numpy(zero_copy_only=False)
    shift = np.log((1 - train).sum() / train.sum()) if class_weight == "balanced" else 0.0
    shares = np.linspace(0, 1, 2001)[:, None]
    both = (shares * log_odds(members[:, 0]) + (1 - shares) * log_odds(members[:, 1])) - shift
    losses = -np.where(labels == 1, np.log(sigmoid(both)), np.log(sigmoid(-both))).mean(axis=1)
    assert model.combination.weights == pytest.approx(
        [shares[losses.argmin(), 0], 1 - shares[losses.argmin(), 0]], abs=1e-3
    )
    assert scores == pytest.approx(sigmoid(log_odds(members) @ model.combination.weights), abs=1e-5)


def test_a_vote_is_the_share_of_members_that_say_true_at_their_best_f1(con: duckdb.DuckDBPyConnection) -> None:
    fixed(con)
    labels, members = member_scores(con, "validate")
    _, scores = joined(con, "validate", ensemble="vote")

    def f1(said: np.ndarray) -> float:
        return 2 * (said & (labels == 1)).sum() / (said.sum() + labels.sum())

    cuts = [max(column, key=lambda cut: (f1(column >= cut), cut)) for column in members.T]
    votes = (members >= cuts).sum(axis=1)
    assert set(votes) == {0, 1, 2}
    assert scores == pytest.approx(np.array([0.25, 0.5, 0.75])[votes], abs=1e-6)


def test_stacking_regresses_on_members_that_have_not_seen_the_entity(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed(con)
    parts, fits = parts_of_fixed(con), []
    fit_of = fitting.fit_of

    def entities(rows: Examples) -> set[str]:
        return set(rows.table.user_id.to_pyarrow().to_pylist())

    def recorded(name: str) -> Any:
        def fit(train: Examples, stopping: Examples, **settings: Any) -> FittedModel:
            fitted = fit_of(name)(train, stopping, **settings)
            fits.append((name, entities(train), entities(stopping), fitted))
            return fitted

        return fit

    monkeypatch.setattr(fitting, "fit_of", recorded)
    model, _ = joined(con, "test", ensemble="stacking", class_weight="balanced")
    everyone = entities(parts["train"])
    assert [name for name, *_ in fits] == MEMBERS * 6
    assert [seen for _, seen, _, _ in fits[10:]] == [everyone] * 2
    labels, margins, left_out = [], [], []
    for (_, seen, stops, trees), (_, also_seen, also_stops, network) in zip(fits[:10:2], fits[1:10:2], strict=True):
        unseen = everyone - seen
        assert also_seen == seen
        assert not unseen & (stops | also_stops)
        left_out += unseen
        table = parts["train"].table
        [batch] = Examples(table.filter(table.user_id.isin(sorted(unseen))), parts["train"].schema).batches()
        labels.append(batch.column("__label").to_numpy(zero_copy_only=False))
        margins.append(np.column_stack([trees.margin(batch), network.margin(batch)]))
    assert sorted(left_out) == sorted(everyone)
    truth, design = np.concatenate(labels), np.column_stack([np.ones(len(everyone) * 3), np.concatenate(margins)])
    weights = np.where(truth == 1, (1 - truth).sum() / truth.sum(), 1)

    def loss(coefficients: np.ndarray) -> float:
        values = design @ coefficients
        return float(weights @ (np.logaddexp(0, values) - truth * values) + 0.005 * coefficients @ coefficients)

    expected = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-4}).x
    assert [model.combination.intercept, *model.combination.weights] == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize("way", ["mean", "weighted", "stacking"])
def test_contributions_are_those_of_the_members_in_their_weights(con: duckdb.DuckDBPyConnection, way: str) -> None:
    fixed(con)
    model, _ = joined(con, "test", ensemble=way)
    batch = next(parts_of_fixed(con)["test"].batches())
    found = model.contributions(batch)
    assert found.sum(axis=1) + model.base_log_odds == pytest.approx(model.margin(batch), abs=1e-3)
    trees, network = model.members.values()
    first, second = model.combination.weights
    assert found == pytest.approx(first * trees.contributions(batch) + second * network.contributions(batch))


def test_a_vote_tells_no_contributions_and_says_so(con: duckdb.DuckDBPyConnection) -> None:
    fixed(con)
    model, _ = joined(con, "test", ensemble="vote")
    assert not model.tells_contributions
    with pytest.raises(ConfigError, match="an ensemble that votes tells no contributions"):
        model.contributions(next(parts_of_fixed(con)["test"].batches()))
    udfs.register(con)
    with pytest.raises(duckdb.InvalidInputException, match="an ensemble that votes tells no reasons"):
        con.execute("select explain_test(examples) from fixed as examples").fetchall()
    message = predict(con, "select * from fixed", **TOGETHER, ensemble="vote", reasons=2)
    assert message == (
        "prediction 'test': an ensemble that votes tells no reasons; take ensemble='mean', 'weighted' or 'stacking'"
    )


@pytest.mark.parametrize("way", WAYS)
def test_an_ensemble_serves_as_a_table_and_as_a_function_and_its_artifact_is_whole(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, way: str
) -> None:
    select = fixed(con)
    assert predict(con, select, promote="always") is None
    assert predict(con, select, **TOGETHER, ensemble=way, reasons="absent" if way == "vote" else 1) is None
    assert last_run(con)["version"] == 2
    udfs.register(con)
    assert con.execute(
        """
        select
            count(*),
            bool_and(abs(pred.score - score_test(examples)) < 1e-5),
            bool_and(abs(pred.score - scores.test(examples)) < 1e-5)
        from pred__test as pred inner join fixed as examples using (user_id, as_of)
        """
    ).fetchone() == (120, True, True)
    macros = con.execute("select function_name from duckdb_functions() where schema_name = 'scores'").fetchall()
    assert ("explain_test",) not in macros, "the trees that served before explain nothing any more"
    model, environment, params = con.execute(
        "select model, environment, params from foretable.versions where version = 2"
    ).fetchone()
    assert model == NAME
    assert {"xgboost", "keras", "numpy"} <= set(json.loads(environment))
    assert json.loads(params)["mlp"].items() >= PARAMS["mlp"].items()
    blob = read_artifact(con, "test", 2)
    assert read_manifest(blob).model == NAME
    assert families(NAME) == ("xgboost", "mlp")
    assert pack(NAME, unpack(blob)) == blob
    assert predict(con, select, **TOGETHER, ensemble=way) is None
    assert version_count(con) == 2
    con.close()
    shown = CliRunner().invoke(main, ["versions", "test", "--warehouse", str(tmp_path / "shop.duckdb")]).output
    assert "xgboost: n_estimators 20; mlp: units 8" in " ".join(shown.split())


def test_the_same_rows_give_the_same_ensemble(con: duckdb.DuckDBPyConnection) -> None:
    fixed(con)
    first, scores = joined(con, "test", ensemble="stacking")
    con.execute("create or replace table fixed as from fixed order by random()")
    again, more = joined(con, "test", ensemble="stacking", train="always")
    assert version_count(con) == 2
    assert more == pytest.approx(scores, abs=1e-5)
    assert again.combination.weights == pytest.approx(first.combination.weights, abs=1e-3)


def test_another_way_another_member_and_any_members_library_train_anew(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    select = fixed(con)
    assert predict(con, select, **TOGETHER) is None
    assert predict(con, select, **TOGETHER, ensemble="mean") is None
    assert version_count(con) == 1
    assert predict(con, select, **TOGETHER, ensemble="vote") is None
    assert version_count(con) == 2
    version_of = decision.version_of
    for number, library in enumerate(("keras", "xgboost"), start=3):
        monkeypatch.setattr(decision, "version_of", lambda name, x=library: "0" if name == x else version_of(name))
        assert predict(con, select, **TOGETHER) is None
        assert version_count(con) == number


def test_a_member_that_reads_no_sequences_leaves_them_to_one_that_does(con: duckdb.DuckDBPyConnection) -> None:
    fixed(con)
    con.execute("create or replace table fixed as select *, [heat, noise] as steps from fixed")
    both = {"model": ["xgboost", "lstm"], "params": {"xgboost": {"n_estimators": 5}, "lstm": {"units": 4, "epochs": 1}}}
    assert predict(con, "select * from fixed", **both, promote="always", reasons=2) is None
    trees, network = model_of(con).members.values()
    assert set(network.schema.names) - set(trees.schema.names) == {"steps"}
    udfs.register(con)
    agree = "select bool_and(abs(pred.score - score_test(fixed)) < 1e-5) from pred__test as pred"
    assert con.execute(f"{agree} inner join fixed using (user_id, as_of)").fetchone() == (True,)


def test_a_selection_looks_at_the_whole_ensemble(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    assert predict(con, select, **TOGETHER, select={"method": "permutation", "keep": 1}) is None
    assert model_of(con).schema.names == ["heat"]


def test_folds_hold_each_entity_once(con: duckdb.DuckDBPyConnection) -> None:
    fixed(con)
    train = parts_of_fixed(con)["train"]
    counts = []
    for number in range(5):
        inside, outside = (fold_of(train, number, 5, seed=7, is_inside=there) for there in (True, False))
        assert inside.rows() + outside.rows() == train.rows()
        counts.append(inside.rows())
    assert sum(counts) == train.rows()
    assert min(counts) > 0.1 * train.rows()


@pytest.fixture
def parts(con: duckdb.DuckDBPyConnection) -> tuple[dict[str, bytes], Any]:
    fixed(con)
    model, _ = joined(con, "test", ensemble="vote")
    return model.dump(), model.schema


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda found: found.pop(PART), "an ensemble consists of ensemble.json and the parts of xgboost, mlp"),
        (lambda found: found.update({"lstm__weights.npz": b""}), "an ensemble consists of"),
        (lambda found: found.pop("mlp__weights.npz"), "a network consists of"),
        (lambda found: found.update({PART: b"{"}), "the ensemble cannot be read"),
        (lambda found: found.update({PART: found[PART].replace(b"vote", b"veto")}), "does not fit its members"),
        (lambda found: found.update({PART: found[PART].replace(b": 0.0", b": Infinity")}), "does not fit its members"),
        (lambda found: found.update({PART: found[PART].replace(b'"mlp"', b'"lstm"')}), "does not fit its members"),
    ],
)
def test_parts_that_are_no_ensemble_are_refused(parts: Any, change: Any, sentence: str) -> None:
    found, schema = parts
    change(found)
    with pytest.raises(ArtifactError, match=sentence):
        load_ensemble(MEMBERS, found, schema)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"model": ["xgboost", "xbg"]}, "unknown model 'xbg'; known: xgboost, lightgbm, random_forest, logistic, mlp"),
        ({"model": ["xgboost"]}, "config model=['xgboost'] is not a list of at least two different trainers"),
        ({"model": ["mlp", "mlp"]}, "is not a list of at least two different trainers"),
        ({"model": NAME}, "unknown model 'xgboost + mlp'"),
        (
            {"model": "mlp", "ensemble": "vote"},
            "config ensemble='vote' joins several models; list them: model=['mlp', ",
        ),
        ({"ensemble": "median"}, "unknown ensemble 'median'; known: mean, weighted, vote, stacking"),
        ({"params": {"n_estimators": 5}}, "params of an ensemble are given by member, and n_estimators is none"),
        ({"params": {"lstm": {}}}, "and lstm is none with a mapping of its own; known: xgboost, mlp"),
        ({"params": {"mlp": {"eta": 1}}}, "unknown params for mlp: eta"),
        ({"params": {"xgboost": {"eta": 7}}}, "params.eta=7 does not suit model 'xgboost'"),
        ({"tune": {"trials": 2}}, "tune searches the params of one trainer"),
        ({"ensemble": "vote", "calibrate": None}, "shares of votes are no probabilities; give calibrate="),
        ({"params": {"mlp": {"loss": "focal"}}, "calibrate": None}, "the scores of params.loss 'focal' are no"),
    ],
)
def test_an_ensemble_that_cannot_be_is_refused(
    con: duckdb.DuckDBPyConnection, config: dict[str, Any], sentence: str
) -> None:
    message = predict(con, fixed(con), **{**TOGETHER, **config})
    assert message is not None
    assert sentence in message
    assert version_count(con) == 0
