"""Trees compiled to SQL give the bits that XGBoost gives."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import xgboost

from ibis_features import ArtifactError, Feature, FeatureSchema, read_examples, read_schema
from ibis_features.warehouse import connect_backend
from models_ml.encoding import MatrixColumn, empty_batch, matrix
from models_ml.trees import TreesModel
from tests.compiling import check_parity
from udfs.compiling import compile_sql, drop_sql
from udfs.quoting import identifier

FEATURES = (
    Feature("spent", "number", "DECIMAL(18,2)"),
    Feature("visits", "number", "BIGINT"),
    Feature("is_member", "number", "BOOLEAN"),
    Feature("city", "category", "VARCHAR"),
    Feature("taste", "embedding", "FLOAT[3]", width=3),
)
COLUMNS = (
    MatrixColumn("spent", "number"),
    MatrixColumn("visits", "number"),
    MatrixColumn("is_member", "number"),
    MatrixColumn("city", "category", vocabulary=("Leeds", "L'Île", "", "nul\0l")),
    MatrixColumn("taste", "embedding", 0),
    MatrixColumn("taste", "embedding", 1),
    MatrixColumn("taste", "embedding", 2),
)


def schema_of(features: tuple[Feature, ...]) -> FeatureSchema:
    return FeatureSchema("user_id", "as_of", "label", features)


def model_of(
    features: tuple[Feature, ...],
    columns: tuple[MatrixColumn, ...],
    *,
    seed: int = 0,
    trees: int = 20,
    rows: int = 800,
    **params: object,
) -> TreesModel:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, len(columns))).astype(np.float32)
    for place, column in enumerate(columns):
        if column.role == "category":
            values[:, place] = rng.integers(0, len(column.vocabulary), rows)
        elif column.feature == "is_member":
            values[:, place] = rng.integers(0, 2, rows)
    signal = values[:, 0] + values[:, -1] * values[:, len(columns) // 2]
    values[rng.random(values.shape) < 0.15] = np.nan
    label = signal + rng.normal(size=rows) > 0.5
    settings = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1, "seed": seed, **params}
    booster = xgboost.train(settings, xgboost.DMatrix(values, label), trees)
    return TreesModel(booster, columns, schema_of(features))


def numeric_model(names: list[str], **params: object) -> TreesModel:
    features = tuple(Feature(name, "number", "FLOAT") for name in names)
    return model_of(features, tuple(MatrixColumn(name, "number") for name in names), **params)  # type: ignore[arg-type]


def batch_of(model: TreesModel, rows: int, seed: int) -> pa.RecordBatch:
    """Rows with NULL, NaN, infinities, signed zeros and categories that were not seen in training."""
    rng = np.random.default_rng(seed)

    def numbers() -> list[float | None]:
        odd = [None, np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 1e30]
        return [odd[rng.integers(len(odd))] if rng.random() < 0.4 else float(rng.normal()) for _ in range(rows)]

    inputs: dict[str, list[Any]] = {}
    for feature in model.schema.features:
        if feature.role == "category":
            cities = np.array(["Leeds", "L'Île", "", "nul\0l", "Oslo", None], object)
            inputs[feature.name] = rng.choice(cities, rows).tolist()
        elif feature.role == "embedding":
            inputs[feature.name] = [None, *map(list, zip(numbers(), numbers(), numbers(), strict=True))][:rows]
        else:
            inputs[feature.name] = list(numbers())
    return pa.RecordBatch.from_pydict(inputs, schema=empty_batch(model.schema).schema)


def scores(con: duckdb.DuckDBPyConnection, sql: str) -> list[float]:
    return [row[0] for row in con.execute(sql).fetchall()]


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("depth", [1, 3, 6, 8])
def test_macros_and_model_agree_in_every_bit(con: duckdb.DuckDBPyConnection, seed: int, depth: int) -> None:
    model = model_of(FEATURES, COLUMNS, seed=seed, trees=1 + 11 * seed, max_depth=depth)
    batch = batch_of(model, 400, seed)
    compile_sql(con, "churn", model, batch)
    con.register("rows", pa.Table.from_batches([batch]))
    expected = model.predict(batch)
    by_row = scores(con, "select scores.churn(rows) from rows")
    arguments = ", ".join(f"{name} := {name}" for name in model.schema.names)
    by_columns = scores(con, f"select scores.churn({arguments}) from rows")
    by_table = scores(con, "select score from scores.churn_table('rows')")
    for found in (by_row, by_columns, by_table):
        assert np.array_equal(np.array(found, np.float32).view(np.uint32), expected.view(np.uint32))


def test_the_table_macro_keeps_every_column_and_row_whatever_thread_scores_it(con: duckdb.DuckDBPyConnection) -> None:
    model = model_of(FEATURES, COLUMNS, trees=13)
    batch = batch_of(model, 9_000, 2)
    compile_sql(con, "churn", model, batch)
    odd = {"place": range(9_000), "Group By": ["it's"] * 9_000, "score_": [[1, None]] * 9_000}
    con.register("rows", pa.table({**odd, **dict(zip(batch.schema.names, batch.columns, strict=True))}))
    con.execute("set threads = 4")
    table = con.execute("from scores.churn_table('rows') order by place").to_arrow_table()
    assert table.column_names == [*odd, *batch.schema.names, "score"]
    assert table.select(list(odd)).to_pylist() == pa.table(odd).to_pylist()
    assert np.array_equal(table["score"].to_numpy().view(np.uint32), model.predict(batch).view(np.uint32))


def test_hundreds_of_trees_agree_and_a_single_call_is_planned_quickly(con: duckdb.DuckDBPyConnection) -> None:
    model = numeric_model([f"f{place}" for place in range(40)], trees=300, max_depth=6)
    compile_sql(con, "wide", model, batch_of(model, 200, 1))
    call = f"select scores.wide({', '.join(f'f{place} := 1.5' for place in range(40))})"
    started = time.perf_counter()
    con.execute(call).fetchall()
    assert time.perf_counter() - started < 1.0  # 5 ms on an idle machine; nested CASE takes a minute


@pytest.mark.parametrize("depth", [2, 6])
def test_contributions_in_sql_are_exact_and_add_up_to_the_log_odds(con: duckdb.DuckDBPyConnection, depth: int) -> None:
    model = model_of(FEATURES, COLUMNS, max_depth=depth)
    batch = batch_of(model, 60, depth)
    compile_sql(con, "churn", model, batch)
    con.register("rows", pa.Table.from_batches([batch]))
    told = [row[0] for row in con.execute("select scores.explain_churn(rows) from rows").fetchall()]
    sums = [sum(one["contribution"] for one in reasons) for reasons in told]
    assert np.array(sums) + model.base_log_odds == pytest.approx(model.margin(batch), abs=1e-5)
    native = model.booster.predict(xgboost.DMatrix(matrix(batch, COLUMNS)), pred_contribs=True)
    for reasons, of_columns in zip(told, native, strict=True):
        expected = dict.fromkeys(model.schema.names, 0.0)
        for column, added in zip(COLUMNS, of_columns[:-1].tolist(), strict=True):
            expected[column.feature] += added
        assert {**dict.fromkeys(expected, 0.0), **{one["feature"]: one["contribution"] for one in reasons}} == (
            pytest.approx(expected, abs=1e-5)
        )
        sizes = [abs(one["contribution"]) for one in reasons]
        assert sizes == sorted(sizes, reverse=True)
    changed = con.execute("select scores.explain_churn(rows, city := 'Leeds')[1].feature from rows").fetchall()
    assert {name for (name,) in changed} <= set(model.schema.names)


def test_a_zero_of_either_sign_lies_on_a_threshold_of_zero_and_not_below_it(con: duckdb.DuckDBPyConnection) -> None:
    values = np.array([[-1.0], [0.0]] * 50, np.float32)
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, xgboost.DMatrix(values, values < 0), 2)
    model = TreesModel(booster, (MatrixColumn("a", "number"),), schema_of((Feature("a", "number", "FLOAT"),)))
    compile_sql(con, "sign", model)
    below, zero, minus_zero = (
        scores(con, f"select scores.sign(a := '{a}'::float)")[0] for a in ("-1e-45", "0", "-0.0")
    )
    assert below > 0.5 > zero == minus_zero


def test_a_tree_that_never_splits_scores_its_leaf(con: duckdb.DuckDBPyConnection) -> None:
    model = numeric_model(["a", "b"], trees=3, gamma=1e9)
    compile_sql(con, "flat", model)
    expected = model.predict(batch_of(model, 1, 0))[0]
    assert scores(con, "select scores.flat(a := 1)") == [expected]


def test_a_wide_embedding_costs_only_the_places_that_trees_read(con: duckdb.DuckDBPyConnection) -> None:
    width = 5_000
    columns = tuple(MatrixColumn("text", "embedding", place) for place in range(width))
    model = model_of((Feature("text", "embedding", f"FLOAT[{width}]", width),), columns, trees=2, rows=30)
    rows = np.random.default_rng(0).normal(size=(20, width)).astype(np.float32)
    batch = pa.RecordBatch.from_pydict({"text": list(rows)}, schema=empty_batch(model.schema).schema)
    compile_sql(con, "wide", model, batch)
    con.register("rows", pa.Table.from_batches([batch]))
    assert scores(con, "select scores.wide(rows) from rows") == model.predict(batch).tolist()


def test_inputs_may_be_of_any_type_that_the_select_had(con: duckdb.DuckDBPyConnection) -> None:
    model = model_of(FEATURES, COLUMNS)
    con.execute(
        """
        create table examples as
        select
            range as user_id, timestamp '2024-01-01' as as_of, (range % 3 = 0) as label,
            (range / 7 - 20)::decimal(18, 2) as spent, (range * 9007199254740993)::bigint as visits,
            range % 2 = 0 as is_member, (['Leeds', 'Oslo', 'L''Île'])[range % 4 + 1] as city,
            [range / 10 - 5, null, 1]::float[3] as taste
        from range(100)
        """
    )
    schema = read_schema(con, "examples", entity="user_id", label="label")
    compile_sql(con, "churn", model, read_examples(connect_backend(con), "examples", schema), rows=50)
    assert check_parity(con, "churn", model, "examples") == 100
    assert check_parity(con, "churn", model, "examples", by_columns=True) == 100
    assert check_parity(con, "churn", model, "(select * from examples where false)") == 0


def test_a_macro_that_differs_from_its_model_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    model, other = numeric_model(["a", "b"]), numeric_model(["a", "b"], seed=1)
    compile_sql(con, "churn", model)
    con.register("rows", pa.Table.from_batches([batch_of(model, 50, 0)]))
    with pytest.raises(ArtifactError, match=r"scores\.churn and its model differ on .* of the row \{'a': "):
        check_parity(con, "churn", other, "rows")


def test_a_failed_check_leaves_the_old_macro_in_place(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_sql(con, "churn", numeric_model(["a", "b"]))
    before = scores(con, "select scores.churn(a := 1, b := 2)")
    monkeypatch.setattr("udfs.compiling.tree_nodes._base_margin", lambda model, leaves, expected: np.float32(3.0))
    with pytest.raises(ArtifactError, match="refused to publish"):
        compile_sql(con, "churn", numeric_model(["c", "d"], seed=2))
    assert scores(con, "select scores.churn(a := 1, b := 2)") == before
    con.begin()
    with pytest.raises(ArtifactError, match="refused to publish"):
        compile_sql(con, "churn", numeric_model(["c", "d"], seed=2))
    con.rollback()
    assert scores(con, "select scores.churn(a := 1, b := 2)") == before


def test_compiling_is_part_of_the_callers_transaction(con: duckdb.DuckDBPyConnection) -> None:
    con.begin()
    compile_sql(con, "churn", numeric_model(["a", "b"]))
    con.rollback()
    with pytest.raises(duckdb.Error):
        con.execute("select scores.churn(a := 1, b := 2)")


def test_a_model_that_is_not_plain_trees_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ArtifactError, match="not dart with binary:logistic"):
        compile_sql(con, "churn", numeric_model(["a", "b"], booster="dart"))
    with pytest.raises(ArtifactError, match="not gbtree with count:poisson"):
        compile_sql(con, "churn", numeric_model(["a", "b"], objective="count:poisson"))


def test_a_key_missing_from_the_row_is_an_error_that_names_it(con: duckdb.DuckDBPyConnection) -> None:
    compile_sql(con, "churn", numeric_model(["a", "b"]))
    with pytest.raises(duckdb.BinderException, match='"b"'):
        con.execute("select scores.churn({'a': 1, 'c': 2})")
    con.execute("create table half as select 1 as a")
    with pytest.raises(duckdb.BinderException, match="b"):
        con.execute("from scores.churn_table('half')")


def test_an_embedding_of_another_width_is_an_error(con: duckdb.DuckDBPyConnection) -> None:
    compile_sql(con, "churn", model_of(FEATURES, COLUMNS))
    with pytest.raises(duckdb.ConversionException, match="length 2"):
        con.execute("select scores.churn(taste := [1.0, 2.0])")


def test_a_row_may_carry_more_be_changed_and_come_from_a_subquery(con: duckdb.DuckDBPyConnection) -> None:
    model = numeric_model(["a", "b"])
    compile_sql(con, "churn", model)
    con.execute("create table shoppers as select range as user_id, range / 3.0 as a, 1.0 - range as b from range(5)")
    expected = scores(con, "select scores.churn(a := a, b := b) from shoppers order by user_id")
    assert scores(con, "select scores.churn(shoppers) from shoppers order by user_id") == expected
    assert scores(con, "select scores.churn((select s from shoppers as s where user_id = 2))") == [expected[2]]
    what_if = "select scores.churn(struct_update(shoppers, a := 2 / 3.0, b := -1)) from shoppers limit 1"
    assert scores(con, what_if) == [expected[2]]
    assert scores(con, "select scores.churn(b := -1, a := 2 / 3.0)") == [expected[2]]


ODD = ["row", "f", "select", "h", "Größe", 'with "quotes"', "it's; drop table x"]
ODD += ["_row", "_trees", "_node", "c0", "nodes", "slots", "fingerprint", "t"]


def test_odd_names_of_features_and_predictions_work(con: duckdb.DuckDBPyConnection) -> None:
    model = numeric_model(ODD, trees=40)
    batch = batch_of(model, 60, 3)
    con.register("rows", pa.Table.from_batches([batch]))
    expected = model.predict(batch).tolist()
    quoted = ", ".join(f"{name} := {name}" for name in map(identifier, ODD))
    for prediction in ('My "best" shop', "select", "żółw"):
        compile_sql(con, prediction, model, batch)
        name = '"' + prediction.replace('"', '""') + '"'
        table_name = '"' + prediction.replace('"', '""') + '_table"'
        assert scores(con, f"select scores.{name}(rows) from rows") == expected
        assert scores(con, f"select scores.{name}({quoted}) from rows") == expected
        assert scores(con, f"select score from scores.{table_name}('rows')") == expected


@pytest.mark.parametrize("alias", ["_row", "_trees", "_columns", "_inputs", "_node", "slots", "c0", "v0"])
def test_names_around_a_call_do_not_reach_into_the_macro(con: duckdb.DuckDBPyConnection, alias: str) -> None:
    model = numeric_model(["a", "b"])
    compile_sql(con, "churn", model)
    (expected,) = scores(con, "select scores.churn(a := 2, b := 5)")
    assert scores(con, f"select scores.churn({alias}) from (select 2 as a, 5 as b) as {alias}") == [expected]
    assert scores(con, f"select scores.churn(a := {alias}, b := b) from (select 2 as {alias}, 5 as b) as x") == [
        expected
    ]


def test_a_model_of_a_single_feature_takes_a_row(con: duckdb.DuckDBPyConnection) -> None:
    model = numeric_model(["a"])
    batch = batch_of(model, 30, 0)
    compile_sql(con, "churn", model, batch)
    con.register("rows", pa.Table.from_batches([batch]))
    assert scores(con, "select scores.churn(rows) from rows") == model.predict(batch).tolist()


def test_dropping_leaves_nothing_and_may_be_repeated(con: duckdb.DuckDBPyConnection) -> None:
    drop_sql(con, "churn")
    compile_sql(con, "churn", numeric_model(["a", "b"]))
    drop_sql(con, "churn")
    drop_sql(con, "churn")
    assert con.execute("select * from duckdb_functions() where schema_name = 'scores'").fetchall() == []
    assert con.execute("select * from duckdb_tables() where starts_with(schema_name, 'scores')").fetchall() == []


REOPENED = """
import sys
import duckdb

con = duckdb.connect(sys.argv[1], read_only=True)
rows = con.execute("select scores.churn(rows), scores.churn(a := a, b := b) from rows order by user_id").fetchall()
table = con.execute("select score from scores.churn_table('rows') order by user_id").fetchall()
assert [(x, x) for (x,) in table] == rows
listed = con.execute("select count(*) from duckdb_functions() where schema_name = 'scores'").fetchone()
assert listed[0] == 3, listed
con.execute("select * from information_schema.tables").fetchall()
con.execute("use main; set search_path = 'main'")
assert con.execute("select scores.churn(rows) from rows order by user_id").fetchall() == [(x,) for x, _ in rows]
assert not {"xgboost", "numpy", "udfs"} & set(sys.modules)
print([x.hex() for x, _ in rows])
"""


def test_a_reopened_file_scores_with_duckdb_alone(tmp_path: Path) -> None:
    path = tmp_path / "shop.duckdb"
    model = numeric_model(["a", "b"])
    batch = batch_of(model, 40, 5)
    with duckdb.connect(str(path)) as con:
        con.register("arrow_rows", pa.Table.from_batches([batch]))
        con.execute("create table rows as select row_number() over () as user_id, * from arrow_rows")
        compile_sql(con, "churn", model, batch)
        expected = scores(con, "select scores.churn(rows) from rows order by user_id")
    assert sorted(expected) == sorted(model.predict(batch).tolist())
    renamed = path.rename(tmp_path / "published.duckdb")
    command = [sys.executable, "-I", "-c", REOPENED, str(renamed)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str([score.hex() for score in expected])


def test_an_attached_file_scores_once_it_is_in_use_and_never_with_anothers_trees(tmp_path: Path) -> None:
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as shop:
        compile_sql(shop, "churn", numeric_model(["a", "b"]))
        expected = scores(shop, "select scores.churn(a := 1, b := 2)")
    con = duckdb.connect()
    con.execute(f"attach '{path}' as w (read_only)")
    with pytest.raises(duckdb.CatalogException):
        con.execute("select w.scores.churn(a := 1, b := 2)")
    compile_sql(con, "churn", numeric_model(["a", "b"], seed=9))
    with pytest.raises(duckdb.InvalidInputException, match="say `use` first"):
        con.execute("select w.scores.churn(a := 1, b := 2)").fetchall()
    con.execute("use w")
    assert (
        scores(con, "select scores.churn(a := 1, b := 2)")
        == scores(con, "select w.scores.churn(a := 1, b := 2)")
        == expected
    )


@pytest.mark.parametrize("positive", range(380, 421, 5))
def test_a_share_of_positives_near_a_half_has_its_base_margin_found(
    con: duckdb.DuckDBPyConnection, positive: int
) -> None:
    rng = np.random.default_rng(positive)
    values = rng.normal(size=(800, 2)).astype(np.float32)
    label = rng.permutation(np.arange(800) < positive)
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, xgboost.DMatrix(values, label), 3)
    features = (Feature("a", "number", "FLOAT"), Feature("b", "number", "FLOAT"))
    columns = (MatrixColumn("a", "number"), MatrixColumn("b", "number"))
    compile_sql(con, "near", TreesModel(booster, columns, schema_of(features)))
