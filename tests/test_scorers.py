"""Scorers: trained models as SQL functions of a live connection."""

import gc
import json
import math
import threading
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import xgboost

import udfs.scorers
from ibis_features import ConfigError, Feature, FeatureSchema, NotFoundError
from models_ml.artifact import pack, sha256
from models_ml.encoding import MatrixColumn, empty_batch
from models_ml.trees import TreesModel
from udfs.scorers import create_row_macros, create_scorer, refresh, register


def schema_of(*names: str, role: str = "number", width: int = 1) -> FeatureSchema:
    return FeatureSchema("user_id", "as_of", "label", tuple(Feature(name, role, "FLOAT", width) for name in names))


class Weighted:
    """A model whose score tells which columns it was given, and how often it was loaded."""

    def __init__(self, schema: FeatureSchema, scale: float = 1.0) -> None:
        self.schema, self.scale, self.loads = schema, scale, 0

    def predict(self, batch: pa.RecordBatch) -> np.ndarray:
        total = np.zeros(batch.num_rows, np.float32)
        for place, name in enumerate(self.schema.names):
            column = batch.column(name)
            values = [len(v) if isinstance(v, (str, list)) else v or 0 for v in column.to_pylist()]
            total += np.float32(self.scale * 10**place) * np.array(values, np.float32)
        return total

    def dump(self) -> dict[str, bytes]:
        return {}

    def importance(self) -> dict[str, float]:
        return {}

    def load(self) -> "Weighted":
        self.loads += 1
        return self


def trees(*names: str, seed: int = 0) -> TreesModel:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(300, len(names))).astype(np.float32)
    label = values[:, 0] + rng.normal(size=300) > 0
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, xgboost.DMatrix(values, label), 8)
    return TreesModel(booster, tuple(MatrixColumn(name, "number") for name in names), schema_of(*names))


def activate(con: duckdb.DuckDBPyConnection, prediction: str, version: int, model: TreesModel) -> None:
    con.execute("create schema if not exists foretable")
    con.execute(
        """
        create table if not exists foretable.models (
            prediction varchar, version integer, model varchar, fingerprint varchar, definition varchar,
            feature_schema json, artifact blob, artifact_sha256 varchar, trained_at timestamp
        )
        """
    )
    con.execute("create table if not exists foretable.active (prediction varchar primary key, version integer)")
    blob = pack("xgboost", model)
    row = [prediction, version, "xgboost", "", "", json.dumps(model.schema.to_json()), blob, sha256(blob), "2025-01-01"]
    con.execute("insert into foretable.models values (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    con.execute("insert or replace into foretable.active values (?, ?)", [prediction, version])


def one(con: duckdb.DuckDBPyConnection, sql: str) -> Any:
    row = con.execute(sql).fetchone()
    assert row is not None
    return row[0]


def expected(model: TreesModel, *values: float | None) -> float:
    inputs = {name: [value] for name, value in zip(model.schema.names, values, strict=True)}
    batch = pa.RecordBatch.from_pydict(inputs, schema=empty_batch(model.schema).schema)
    return float(model.predict(batch)[0])


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def test_a_registered_prediction_scores_rows_and_columns(con: duckdb.DuckDBPyConnection) -> None:
    model = trees("a", "b")
    activate(con, "churn", 1, model)
    assert register(con) == ["score_churn", "explain_churn"]
    assert one(con, "select score_churn({'b': 0.5, 'a': 1, 'extra': 'x'})") == expected(model, 1, 0.5)
    assert one(con, "select score_churn(1, 0.5::decimal(4, 2))") == expected(model, 1, 0.5)
    assert one(con, "select score_churn(b := 0.5, a := true)") == expected(model, 1, 0.5)
    assert one(con, "select score_churn__columns(1, null)") == expected(model, 1, None)
    assert one(con, "select score_churn(x) from (select 1 as a, 'nan'::float as b) as x") == expected(model, 1, None)


def test_many_rows_agree_with_the_model_in_every_bit(con: duckdb.DuckDBPyConnection) -> None:
    model = trees("a", "b", "c")
    activate(con, "churn", 1, model)
    register(con)
    con.execute(
        """
        create table shoppers as
        select
            range as id, sin(range)::float as a, case when range % 7 = 0 then null else cos(range)::float end as b,
            (['nan', 'inf', '-inf', '0.25'])[range % 4 + 1]::float as c
        from range(20000)
        """
    )
    found = con.execute("select score_churn(shoppers) as score, a, b, c from shoppers").to_arrow_table()
    scores = model.predict(found.select(["a", "b", "c"]).combine_chunks().to_batches()[0])
    assert np.array_equal(found["score"].to_numpy().view(np.uint32), scores.view(np.uint32))


def test_every_kind_of_feature_reaches_the_model_in_its_place(con: duckdb.DuckDBPyConnection) -> None:
    features = (
        Feature("n", "number", "BIGINT"),
        Feature("c", "category", "VARCHAR"),
        Feature("e", "embedding", "FLOAT[2]", 2),
        Feature("ns", "number_sequence", "INTEGER[]"),
        Feature("cs", "category_sequence", "VARCHAR[]"),
    )
    schema = FeatureSchema("user_id", "as_of", "label", features)
    create_scorer(con, "probe", schema, Weighted(schema).load)
    assert one(con, "select probe(7, 'abc', [1, 2], [1, 2, 3, 4], ['x'])") == 7 + 30 + 200 + 4000 + 10000
    assert one(con, "select probe({'cs': [], 'ns': null, 'e': null, 'c': null, 'n': null})") == 0
    with pytest.raises(duckdb.ConversionException, match="length 3"):
        con.execute("select probe(7, 'abc', [1, 2, 3], [], [])")


def test_a_missing_key_is_an_error_that_names_it(con: duckdb.DuckDBPyConnection) -> None:
    create_scorer(con, "probe", schema_of("a", "b"), Weighted(schema_of("a", "b")).load)
    with pytest.raises(duckdb.BinderException, match='"b"'):
        con.execute("select probe({'a': 1})")


def test_a_single_feature_has_the_row_form(con: duckdb.DuckDBPyConnection) -> None:
    create_scorer(con, "probe", schema_of("a"), Weighted(schema_of("a")).load)
    assert one(con, "select probe({'a': 3})") == 3


def test_nothing_is_loaded_before_the_first_call_and_then_once(con: duckdb.DuckDBPyConnection) -> None:
    model = Weighted(schema_of("a", "b"))
    create_scorer(con, "probe", model.schema, model.load)
    assert model.loads == 0
    con.execute("set threads = 2")
    con.execute("select sum(probe(range, 0)) from range(500000)").fetchall()
    cursors = [con.cursor() for _ in range(4)]
    calls = [threading.Thread(target=lambda c=c: c.execute("select probe__columns(1, 2)").fetchall()) for c in cursors]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert model.loads == 1


def test_a_tampered_artifact_fails_the_query_with_our_sentence(con: duckdb.DuckDBPyConnection) -> None:
    activate(con, "churn", 1, trees("a", "b", seed=77))
    con.execute("update foretable.models set artifact = artifact || 'x'::blob")
    register(con)
    with pytest.raises(duckdb.Error, match=r"sha256 is .* as registered"):
        con.execute("select score_churn(1, 2)")


def test_unknown_predictions_are_named_with_those_that_are_known(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(NotFoundError, match="no trained prediction"):
        register(con)
    activate(con, "churn", 1, trees("a", "b"))
    with pytest.raises(NotFoundError, match="no trained prediction 'chrun'; known: churn"):
        register(con, ["chrun"])


def test_a_read_only_file_can_be_scored(tmp_path: Path) -> None:
    model, path = trees("a", "b"), str(tmp_path / "shop.duckdb")
    with duckdb.connect(path) as con:
        activate(con, "churn", 1, model)
    with duckdb.connect(path, read_only=True) as con:
        register(con)
        assert one(con, "select score_churn(1, 2)") == expected(model, 1, 2)


def test_registering_does_not_keep_the_file_open(tmp_path: Path) -> None:
    path = str(tmp_path / "shop.duckdb")
    con = duckdb.connect(path)
    activate(con, "churn", 1, trees("a", "b"))
    register(con)
    one(con, "select score_churn(1, 2)")
    del con
    gc.collect()
    with duckdb.connect(path, read_only=True) as again:  # refused while the file is open in another mode
        assert one(again, "select count(*) from foretable.active") == 1


def test_another_version_serves_after_registering_again_on_every_cursor(con: duckdb.DuckDBPyConnection) -> None:
    old, new = trees("a", "b"), trees("a", "b", seed=1)
    activate(con, "churn", 1, old)
    register(con)
    cursor = con.cursor()
    assert create_row_macros(cursor, explainers=False) == ["score_churn"]
    assert create_row_macros(cursor) == ["score_churn", "explain_churn"]
    assert one(cursor, "select score_churn(1, 2)") == expected(old, 1, 2)
    activate(con, "churn", 2, new)
    refresh(con, "churn")
    assert one(con, "select score_churn(1, 2)") == expected(new, 1, 2)
    assert one(cursor, "select score_churn(1, 2)") == expected(new, 1, 2)
    assert one(cursor, "select score_churn__columns(1, 2)") == expected(new, 1, 2)


def test_an_explainer_serves_beside_each_scorer_and_changes_with_it(con: duckdb.DuckDBPyConnection) -> None:
    old, new = trees("a", "b"), trees("a", "b", seed=1)
    activate(con, "churn", 1, old)
    register(con)
    cursor = con.cursor()
    create_row_macros(cursor)
    added = "select list_sum(list_transform(explain_churn({}), lambda reason: reason.contribution))"
    for version, model in ((1, old), (2, new)):
        activate(con, "churn", version, model)
        refresh(con, "churn")
        for connection in (con, cursor):
            for values, arguments in (((1, 2), "{'b': 2, 'a': 1}"), ((1, None), "a := 1, b := null")):
                score = expected(model, *values)
                log_odds = model.base_log_odds + one(connection, added.format(arguments))
                assert log_odds == pytest.approx(math.log(score / (1 - score)), abs=1e-5)


def test_other_features_are_served_and_macros_over_the_old_ones_refuse(con: duckdb.DuckDBPyConnection) -> None:
    old, new = trees("a", "b"), trees("b", "a", seed=1)
    activate(con, "churn", 1, old)
    register(con)
    cursor = con.cursor()
    create_row_macros(cursor)
    activate(con, "churn", 2, new)
    register(con)
    assert one(con, "select score_churn({'a': 1, 'b': 2})") == expected(new, 2, 1)
    with pytest.raises(duckdb.Error, match="score_churn reads other features now"):
        cursor.execute("select score_churn({'a': 1, 'b': 2})").fetchall()
    create_row_macros(cursor)
    assert one(cursor, "select score_churn({'a': 1, 'b': 2})") == expected(new, 2, 1)
    con.execute("update foretable.active set version = 1")
    register(con)
    assert one(con, "select score_churn({'a': 1, 'b': 2})") == expected(old, 1, 2)


def test_scorers_outlive_the_cursor_that_registered_them(con: duckdb.DuckDBPyConnection) -> None:
    model = trees("a", "b", seed=6)
    activate(con, "churn", 1, model)
    cursor = con.cursor()
    register(cursor)
    cursor.close()
    del cursor
    gc.collect()
    with pytest.raises(duckdb.Error, match=r"is closed; call udfs\.register"):
        con.execute("select score_churn__columns(1, 2)")
    register(con)
    assert one(con, "select score_churn(1, 2)") == expected(model, 1, 2)


def test_two_attached_warehouses_keep_their_own_models(con: duckdb.DuckDBPyConnection) -> None:
    ours, theirs = trees("a", "b"), trees("a", "b", seed=1)
    activate(con, "churn", 1, ours)
    register(con)
    other = con.cursor()
    other.execute("attach ':memory:' as w")
    other.execute("use w")
    activate(other, "churn", 1, theirs)
    register(other)
    assert one(con, "select score_churn(1, 2)") == expected(ours, 1, 2)
    assert one(other, "select score_churn(1, 2)") == expected(theirs, 1, 2)


def test_a_scorer_is_a_part_of_the_transaction_and_can_be_made_again(con: duckdb.DuckDBPyConnection) -> None:
    model = Weighted(schema_of("a", "b"))
    for _ in range(3):
        con.begin()
        create_scorer(con, "new", model.schema, model.load)
        assert one(con, "select new(1, 2)") == 21
        con.rollback()
        with pytest.raises(duckdb.CatalogException):
            con.execute("select new(1, 2)")


def test_a_scorer_can_be_made_again_after_a_failed_query_was_rolled_back(con: duckdb.DuckDBPyConnection) -> None:
    con.begin()
    create_scorer(con, "new", schema_of("a", "b"), Weighted(schema_of("a", "b")).load)
    with pytest.raises(duckdb.Error):
        con.execute("select new(1, 'x' || range) from range(3)").fetchall()
    con.rollback()
    create_scorer(con, "new", schema_of("a", "b"), Weighted(schema_of("a", "b"), 2.0).load)
    assert one(con, "select new(1, 2)") == 42


def test_a_model_of_other_features_than_were_registered_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    create_scorer(con, "new", schema_of("a", "b"), Weighted(schema_of("a", "c")).load)
    with pytest.raises(duckdb.Error, match="reads other features than were registered"):
        con.execute("select new(1, 2)")


ODD = ("row", "f", "select", "Größe", 'with "quotes"', "it's; drop table x", "a b", "columns")


@pytest.mark.parametrize("name", ['My "best" shop', "select", "żółw", "it's", "UPPER"])
def test_odd_names_work(con: duckdb.DuckDBPyConnection, name: str) -> None:
    activate(con, name, 1, model := trees(*ODD))
    register(con)
    values = [float(place) for place in range(len(ODD))]
    function = '"score_' + name.replace('"', '""') + '"'
    quoted = ['"' + feature.replace('"', '""') + '"' for feature in ODD]
    row = ", ".join(f"{value} as {feature}" for value, feature in zip(values, quoted, strict=True))
    assert one(con, f"select {function}({', '.join(map(str, values))})") == expected(model, *values)
    assert one(con, f"select {function}(x) from (select {row}) as x") == expected(model, *values)


def test_names_that_sql_cannot_tell_apart_are_refused(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ConfigError, match="'a' and 'A' differ only by case"):
        create_scorer(con, "new", schema_of("a", "A"), Weighted(schema_of("a", "A")).load)
    with pytest.raises(ConfigError, match="cannot be a name"):
        create_scorer(con, "new", schema_of("a", "b\0"), Weighted(schema_of("a", "b\0")).load)
    activate(con, "churn", 1, trees("a", "b"))
    activate(con, "Churn", 1, trees("a", "b"))
    with pytest.raises(ConfigError, match="differ only by case"):
        register(con)


def test_a_prediction_named_like_anothers_function_does_not_take_its_place(con: duckdb.DuckDBPyConnection) -> None:
    first, second = trees("a", "b"), trees("a", "b", seed=1)
    activate(con, "churn", 1, first)
    activate(con, "churn__columns", 1, second)
    register(con)
    assert one(con, "select score_churn(1, 2)") == expected(first, 1, 2)
    assert one(con, "select score_churn__columns(1, 2)") == expected(second, 1, 2)


def test_loading_runs_while_the_connection_is_busy_with_many_threads(con: duckdb.DuckDBPyConnection) -> None:
    model = trees("a", "b", seed=5)
    activate(con, "churn", 1, model)
    con.execute("set threads = 4")
    con.execute("create table shoppers as select range::float as a, 0::float as b from range(300000)")
    udfs.scorers._kept_models.clear()
    register(con)
    assert one(con, "select count(score_churn(shoppers)) from shoppers") == 300_000
