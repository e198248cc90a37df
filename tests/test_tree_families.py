"""LightGBM's trees and scikit-learn's forests say the same in their library, in Python without it, and in SQL."""

import io
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import lightgbm
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

import udfs
from foretable.cli import main
from ibis_features import ArtifactError
from models_ml import random_forest
from models_ml.encoding import MatrixColumn, matrix
from models_ml.lightgbm_trees import LightGbmModel
from models_ml.random_forest import ForestModel
from models_ml.tree_model import WalkedModel
from models_ml.tree_table import TreeTable, below, check_trees, table_of
from tests.predicting import fixed, last_run, predict
from tests.test_compiling_trees import COLUMNS, FEATURES, batch_of, schema_of, scores
from udfs.compiling import compile_sql
from udfs.portable import compile_select

QUICK: dict[str, dict[str, Any]] = {
    "lightgbm": {"n_estimators": 30, "learning_rate": 0.3},
    "random_forest": {"n_estimators": 20, "max_depth": 5},
}
NUMBERS = len(COLUMNS) - 1
"""All columns but the city."""


def rows_to_learn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A matrix over COLUMNS and labels: zeros, one column without a missing value, one that is missing or 1."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(900, len(COLUMNS))).astype(np.float32)
    values[:, 1] = rng.integers(-2, 3, 900)
    values[:, 3] = rng.integers(0, 4, 900)
    label = values[:, 0] + values[:, 1] * values[:, 4] + rng.normal(size=900) > 0
    values[rng.random(values.shape) < 0.15] = np.nan
    values[:, 0] = np.nan_to_num(values[:, 0])
    values[:, 2] = np.where(label ^ (rng.random(900) < 0.2), np.nan, 1)
    return values, label


def lightgbm_of(seed: int) -> tuple[LightGbmModel, Callable[[np.ndarray], np.ndarray]]:
    """A model, and what LightGBM says are the log-odds of a matrix, float64."""
    settings = {"objective": "binary", "num_leaves": 12, "min_data_in_leaf": 5, "verbosity": -1, "num_threads": 1}
    booster = lightgbm.train({**settings, "seed": seed}, lightgbm.Dataset(*rows_to_learn(seed)), 1 + 9 * seed)
    model = LightGbmModel(booster.model_to_string(), COLUMNS, schema_of(FEATURES))
    return model, lambda values: booster.predict(values, raw_score=True)


def forest_of(seed: int) -> tuple[ForestModel, Callable[[np.ndarray], np.ndarray]]:
    """A model, and the log-odds of what scikit-learn says is the probability, float64."""
    values, label = rows_to_learn(seed)
    forest = RandomForestClassifier(1 + 9 * seed, max_depth=3 + 3 * seed, random_state=seed).fit(values, label)
    trees = table_of([random_forest.read_tree(grown.tree_, is_binary=True) for grown in forest.estimators_])
    least = 1e-3

    def log_odds(matrix_of_rows: np.ndarray) -> np.ndarray:
        probability = np.clip(forest.predict_proba(matrix_of_rows)[:, 1], least, 1 - least)
        return np.log(probability) - np.log1p(-probability)

    return ForestModel(trees, COLUMNS, schema_of(FEATURES), least), log_odds


def nasty(model: WalkedModel, seed: int) -> pa.RecordBatch:
    """Odd rows, and beside them the thresholds themselves and their neighbours."""
    rng = np.random.default_rng(seed)
    batch = batch_of(model, 600, seed)
    cuts = model.trees.thresholds[~model.trees.is_leaf]
    with np.errstate(over="ignore"):
        around = np.concatenate([cuts, *(np.nextafter(cuts, np.float32(end)) for end in (np.inf, -np.inf))])
    for name in ("spent", "visits"):
        place = batch.schema.get_field_index(name)
        drawn = np.where(rng.random(600) < 0.5, rng.choice(around, 600), batch.column(name).to_numpy(False))
        batch = batch.set_column(place, batch.schema.field(place), pa.array(drawn.astype(np.float32)))
    return batch


@given(st.floats(allow_nan=False), st.floats(width=32, allow_nan=False, allow_infinity=False), st.booleans())
def test_a_split_at_a_double_parts_float32_values_as_it_did(threshold: float, value: float, is_left: bool) -> None:
    least, most = (float(np.finfo(np.float32).min), float(np.finfo(np.float32).max))
    if (threshold >= most and is_left) or (threshold < least and not is_left):
        with pytest.raises(ArtifactError, match="all values on one side"):
            below(np.array([threshold]), np.array([is_left]))
        return
    for near in (threshold, value, np.nextafter(value, -np.inf)):  # the last one: a double just below a float32
        if near >= most or near < least:
            continue
        [found], [default], [is_turned] = below(np.array([near]), np.array([is_left]))
        assert (np.float32(value) < found, default, is_turned) == (value <= near, is_left, False)
    [found], [default], [is_turned] = below(np.array([threshold]), np.array([is_left]))
    assert np.isfinite(found)
    assert ((np.float32(value) < found) != is_turned) == (value <= threshold)
    assert (default != is_turned) == is_left


@pytest.mark.parametrize("made", [lightgbm_of, forest_of])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_macro_has_the_bits_of_the_library(made: Callable[..., Any], seed: int) -> None:
    model, by_library = made(seed)
    batch = nasty(model, seed)
    log_odds = by_library(matrix(batch, COLUMNS))
    assert len(np.unique(log_odds)) > (1 + seed) * 3
    margin = log_odds.astype(np.float32)
    if isinstance(model, LightGbmModel):
        np.testing.assert_array_equal(model.margin(batch), margin)
    else:  # numpy's logarithm is not the C library's to the last bit
        np.testing.assert_allclose(model.margin(batch), margin, rtol=1e-6, atol=1e-9)
    con = duckdb.connect()
    compile_sql(con, "churn", model, batch)
    con.register("rows", pa.Table.from_batches([batch]))
    wanted = model.predict(batch)
    np.testing.assert_allclose(wanted, 1 / (1 + np.exp(-log_odds)), rtol=1e-6)
    for sql in ("select scores.churn(rows) from rows", "select score from scores.churn_table('rows')"):
        np.testing.assert_array_equal(np.array(scores(con, sql), np.float32), wanted)


def test_values_that_training_never_missed_go_where_lightgbm_sends_zeros() -> None:
    model, by_library = lightgbm_of(1)
    values = np.full((1, len(COLUMNS)), np.nan, np.float32)
    with_zero = values.copy()
    with_zero[0, 0] = 0
    assert model.trees.sums(values) == model.trees.sums(with_zero) == by_library(values) == by_library(with_zero)


def test_a_split_that_parts_missing_values_from_all_others_keeps_them_apart() -> None:
    """scikit-learn and LightGBM say it by a threshold beyond all float32; ours is finite, with the sides exchanged."""
    values = np.repeat(np.array([[np.nan], [-3e38], [0], [3.4e38]], np.float32), 20, axis=0)
    label = np.isnan(values[:, 0])
    forest = RandomForestClassifier(3, random_state=0, bootstrap=False).fit(values, label)
    assert not np.isfinite(forest.estimators_[0].tree_.threshold[0])
    trees = table_of([random_forest.read_tree(grown.tree_, is_binary=True) for grown in forest.estimators_])
    model = ForestModel(trees, (MatrixColumn("spent", "number"),), schema_of(FEATURES[:1]), 0.01)
    con = duckdb.connect()
    compile_sql(con, "gone", model)
    values_of = "[null, 'inf', '-3.4028234663852886e38', '0', '3.4028234663852886e38']::float[]"
    said = scores(con, f"select scores.gone(spent := x) from (select unnest({values_of}) as x)")
    wanted = [0.99, 0.99, 0.01, 0.01, 0.01]
    assert said == pytest.approx(wanted)
    text = compile_select(model, "sqlite", relation="features")
    engine = sqlite3.connect(":memory:")
    engine.execute("create table features (user_id, as_of, spent)")
    for place, value in enumerate([None, float("inf"), -3.4028234663852886e38, 0.0, 3.4028234663852886e38]):
        engine.execute("insert into features values (?, '2025-01-01', ?)", [place, value])
    assert [score for _, _, score in sorted(engine.execute(text).fetchall())] == pytest.approx(wanted)


def test_contributions_of_lightgbm_are_those_that_it_tells_itself() -> None:
    model, _ = lightgbm_of(2)
    batch = nasty(model, 2)
    values = matrix(batch, COLUMNS)
    own = lightgbm.Booster(model_str=model.text).predict(values, pred_contrib=True)
    by_feature = np.column_stack([own[:, :4], own[:, 4:7].sum(axis=1)])  # the last three columns are one embedding
    np.testing.assert_allclose(model.contributions(batch), by_feature, atol=1e-9)
    assert model.base_log_odds == pytest.approx(own[0, -1])


@pytest.mark.parametrize("made", [lightgbm_of, forest_of])
def test_contributions_add_up_to_the_margin_in_python_and_sql_in_deep_trees_too(
    made: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = made(1)
    batch = nasty(model, 3).slice(0, 60)
    told = model.contributions(batch)
    np.testing.assert_allclose(told.sum(axis=1) + model.base_log_odds, model.margin(batch), atol=1e-5)
    con = duckdb.connect()
    compile_sql(con, "churn", model, batch)
    con.register("rows", pa.Table.from_batches([batch]))
    for (reasons,), expected in zip(
        con.execute("select scores.explain_churn(rows) from rows").fetchall(), told, strict=True
    ):
        found = {one["feature"]: one["contribution"] for one in reasons}
        assert [found.get(name, 0.0) for name in model.schema.names] == pytest.approx(expected.tolist(), abs=1e-5)
    monkeypatch.setattr("models_ml.tree_shap.MOST_ENTRIES", 0)
    deep, _ = made(1)
    assert deep.shap is None
    np.testing.assert_allclose(deep.contributions(batch), told, atol=1e-4)


@pytest.mark.parametrize("model", QUICK)
def test_a_build_trains_scores_explains_and_goes_on(con: duckdb.DuckDBPyConnection, model: str) -> None:
    config = {"model": model, "params": QUICK[model], "reasons": 2, "promote": "always", "warm_start": True}
    config |= {"validate_snapshots": 1, "test_snapshots": 1}
    assert predict(con, fixed(con), **config) is None
    udfs.register(con, ["test"])
    rows = con.execute(
        "select pred.score, score_test(fixed), scores.test(fixed), len(pred.reasons) from pred__test as pred "
        "inner join fixed using (user_id, as_of)"
    ).fetchall()
    assert len(rows) == 120
    assert all(row[0] == row[1] == row[2] and row[3] > 0 for row in rows)
    auc = "select value from foretable.metrics where split = 'test' and scored_by = 'model' and metric = 'roc_auc'"
    assert con.execute(auc).fetchone()[0] > 0.7
    assert predict(con, "select * from fixed", **config) is None
    assert not last_run(con)["is_trained"]
    gains = con.execute("select feature from foretable.importances where method = 'gain' order by importance desc")
    assert gains.fetchone() == ("heat",)


@pytest.mark.parametrize("model", QUICK)
def test_more_rounds_follow_those_of_before(con: duckdb.DuckDBPyConnection, model: str) -> None:
    from models_ml.trainer import merged_params, trainer
    from tests.test_trainers import _parts

    train, validate = _parts(model)
    settings = {"params": merged_params(model, QUICK[model]), "seed": 1, "class_weight": None}
    settings["progress"] = lambda step, done: None
    before = trainer(model).fit(train, validate, **settings)
    after = trainer(model).fit(train, validate, **settings, start=before)
    count = len(before.trees.children)
    assert len(after.trees.roots) > len(before.trees.roots)
    np.testing.assert_array_equal(after.trees.thresholds[:count], before.trees.thresholds)
    np.testing.assert_array_equal(after.trees.values[:count], before.trees.values)


@pytest.mark.parametrize("model", QUICK)
def test_the_missing_extra_is_said_with_what_installs_it(
    con: duckdb.DuckDBPyConnection, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"lightgbm": "lightgbm", "random_forest": "sklearn"}[model]
    monkeypatch.setattr("models_ml.extras.find_spec", lambda name: None)
    message = predict(con, fixed(con), model=model, params={})
    assert message is not None
    assert f"model '{model}' trains with {extra}: pip install 'foretable[{extra}]'" in message


def test_kinds_that_a_forest_does_not_learn_are_refused_by_name(con: duckdb.DuckDBPyConnection) -> None:
    message = predict(con, fixed(con), model="random_forest", params={}, kind="value")
    assert message is not None
    assert "model 'random_forest' does not predict kind 'value'; take one of: xgboost, lightgbm, mlp" in message


@pytest.mark.parametrize(
    ("found", "instead"),
    [
        ("decision_type=", "decision_type=1 "),
        ("left_child=", "left_child=0 "),
        ("is_linear=0", "is_linear=1"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=3"),
        ("\ntree_sizes", "\naverage_output\ntree_sizes"),
        ("leaf_value=", "leaf_value=nan "),
        ("threshold=", "threshold=nan "),
        ("split_feature=", "split_feature=99 "),
        ("leaf_count=", "leaf_count=-1 "),
        ("Tree=", "Busch="),
    ],
)
def test_text_of_trees_that_are_not_of_the_known_kind_is_refused(found: str, instead: str) -> None:
    model, _ = lightgbm_of(1)
    head, _, tail = model.text.partition(found)
    # A list of numbers keeps its length.
    damaged = head + instead + (tail.partition(" ")[2] if instead.endswith(" ") else tail)
    if found == "Tree=":
        damaged = model.text.replace(found, instead)
    assert damaged != model.text
    with pytest.raises(ArtifactError, match="train anew"):
        LightGbmModel(damaged, COLUMNS, schema_of(FEATURES))


@pytest.mark.parametrize(
    ("roots", "children"),
    [
        ([0, 1], [2, 4, 2, 3, 4, 5]),  # the children of the first root lie in the second tree
        ([0], [0, 3, 2, 1, 4]),  # two nodes that are below each other
        ([0, 1], [0, 0]),  # a root that is a child
        ([0], [1, 1]),  # a node without its sibling
    ],
)
def test_nodes_that_do_not_hang_together_are_refused(roots: list[int], children: list[int]) -> None:
    ones = np.ones(len(children))
    table = TreeTable(
        roots=np.array(roots),
        children=np.array(children),
        columns=np.zeros(len(children), np.int64),
        thresholds=ones.astype(np.float32),
        is_left_default=ones > 0,
        values=ones,
        weights=ones,
        gains=ones,
    )
    with pytest.raises(ArtifactError, match="train anew"):
        check_trees(table, 1)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("children", np.zeros_like),
        ("children", lambda values: values.astype(np.float64)),
        ("columns", lambda values: values + len(COLUMNS)),
        ("values", lambda values: values * np.nan),
        ("weights", lambda values: values * 0),
        ("gains", lambda values: values[1:]),
        ("roots", lambda values: values[:0]),
        ("least", lambda values: values + 1),
        ("thresholds", lambda values: np.array([{"a": 1}] * len(values), dtype=object)),
    ],
)
def test_arrays_that_are_no_trees_are_refused(name: str, damage: Callable[[np.ndarray], np.ndarray]) -> None:
    model, _ = forest_of(1)
    parts = model.dump()
    with np.load(io.BytesIO(parts["trees.npz"])) as arrays:
        found = {key: arrays[key] for key in arrays.files}
    buffer = io.BytesIO()
    np.savez(buffer, **{**found, name: damage(found[name])})
    with pytest.raises(ArtifactError, match="train anew"):
        random_forest.load({**parts, "trees.npz": buffer.getvalue()}, model.schema)


def test_both_are_members_of_an_ensemble(con: duckdb.DuckDBPyConnection) -> None:
    config = {"model": ["lightgbm", "random_forest"], "params": QUICK, "class_weight": "balanced"}
    assert predict(con, fixed(con), **config) is None
    rows = con.execute("select score, scores.test(fixed) from pred__test inner join fixed using (user_id, as_of)")
    table, macro = np.array(rows.fetchall(), np.float64).T
    np.testing.assert_allclose(macro, table, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", QUICK)
def test_another_engine_gives_the_scores_of_the_table(warehouse: Path, model: str) -> None:
    with duckdb.connect(str(warehouse)) as con:
        con.execute("select setseed(0.5)")
        assert predict(con, fixed(con), model=model, params=QUICK[model], promote="always") is None
        table = dict(con.execute("select user_id, score from pred__test").fetchall())
        newest = (
            "select user_id, as_of::varchar, heat, noise, kind from fixed where as_of = (select max(as_of) from fixed)"
        )
        rows = con.execute(newest).fetchall()
    done = CliRunner().invoke(
        main, ["compile", "test", "--dialect", "sqlite", "--from", "features", "--warehouse", str(warehouse)]
    )
    assert done.exit_code == 0, done.output
    engine = sqlite3.connect(":memory:")
    engine.execute("create table features (user_id, as_of, heat, noise, kind)")
    engine.executemany("insert into features values (?, ?, ?, ?, ?)", rows)
    found = {user: score for user, _, score in engine.execute(done.stdout.split("\n", 1)[1]).fetchall()}
    assert found == pytest.approx(table, abs=1e-6)
