"""Models as plain SELECTs of other engines: run on Postgres, SQLite and DuckDB they give the model's scores."""

import math
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import sqlglot
import xgboost
from click.testing import CliRunner, Result
from sqlglot import exp

from foretable.cli import main
from foretable.compile import DIALECTS as NAMES
from ibis_features import ArtifactError, ConfigError, Feature, FeatureSchema
from models_ml.artifact import unpack
from models_ml.calibration import CalibratedModel, Calibration
from models_ml.encoding import MatrixColumn, empty_batch
from models_ml.ensemble import Combination, EnsembleModel
from models_ml.inputs import CategoryInput, InputEncoding, NumberInput
from models_ml.interactions import CrossedModel, Interaction, crossed_text, widened
from models_ml.linear import LogisticModel
from models_ml.mlp import DEFAULT_PARAMS, build
from models_ml.network import NetworkModel
from models_ml.registry import active_model, read_artifact
from models_ml.score_map import unmapped
from models_ml.trainer import FittedModel
from models_ml.trees import TreesModel
from tests.conftest import ROOT
from tests.postgres import PASSWORD, server
from tests.predicting import predict
from tests.test_compiling_trees import model_of
from udfs.portable import DIALECTS, compile_select, dialects
from udfs.portable.trees import split_value

__all__ = ["server"]
"""The fixture."""

CITIES = ("Leeds", "L'Île", "", "a\\b", "two\nlines")
EXAMPLES = """
    select
        'u' || u as user_id,
        timestamp '2025-01-01' + interval (30 * s) days as as_of,
        case when s < 5 then (u * 7 + s) % 10 + random() * 3 > 6 end as bought,
        ((u * 7 + s) % 10)::integer as heat,
        case when u % 11 > 0 then random() - 0.5 end as "the ""noise"" level",
        u % 3 = 0 as is_member,
        list_extract(['Leeds', 'L''Île', '', 'a\\b', 'two' || chr(10) || 'lines', null], 1 + u % 6) as "City"
    from range(120) as users (u), range(6) as snapshots (s)
"""
TYPES = {"heat": "double precision", 'the "noise" level': "double precision", "is_member": "boolean", "City": "text"}
ROWS = 400

Row = dict[str, Any]
Score = Callable[[str, list[Row]], np.ndarray]
"""Runs a SELECT of an engine's dialect over rows in its table `features`: scores in the order of the rows."""


@pytest.fixture(scope="module")
def built(stateful: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with the prediction `test`, an ensemble of trees and a network."""
    warehouse = Path(shutil.copy(stateful, tmp_path_factory.mktemp("portable") / "shop.duckdb"))
    with duckdb.connect(str(warehouse)) as con:
        con.execute("select setseed(0.5)")
        con.execute(f"create table fixed as {EXAMPLES}")
        params = {"xgboost": {"n_estimators": 30, "eta": 0.3}, "mlp": {"units": 12, "epochs": 3}}
        message = predict(
            con,
            "select * from fixed",
            model=["xgboost", "mlp"],
            params=params,
            calibrate="isotonic",
            promote="always",
        )
        assert message is None
    return warehouse


@pytest.fixture(scope="module")
def models(built: Path) -> dict[str, FittedModel]:
    """Models of every family that can be compiled, and of every way in which they become one."""
    with duckdb.connect(str(built), read_only=True) as con:
        active = active_model(con, "test")
        assert active is not None
        whole = unpack(read_artifact(con, "test", active.version))
    assert isinstance(whole, CalibratedModel)
    ensemble = unmapped(whole)
    assert isinstance(ensemble, EnsembleModel)
    trees, network = ensemble.members["xgboost"], ensemble.members["mlp"]
    vote = Combination("vote", (0.5, 0.5), thresholds=(0.45, 0.55))
    stacked = Combination("stacking", (1.5, -0.25), intercept=0.125)
    pieces = Calibration("isotonic", (-1.5, -1.5, 0.25, 1.5), (-1.1, -1.1, 0.3, 0.4), (1.0, 0.8, 0.08, 1.0))
    return {
        "logistic": logistic_of(network),
        "trees": trees,
        "calibrated trees": CalibratedModel(trees, pieces),
        "network": network,
        "mean": whole,
        "vote": EnsembleModel(ensemble.members, vote, whole.schema),
        "stacking": EnsembleModel(ensemble.members, stacked, whole.schema),
    }


def logistic_of(network: FittedModel) -> LogisticModel:
    """A logistic regression over the inputs of a network, with coefficients of some size."""
    assert isinstance(network, NetworkModel)
    rng = np.random.default_rng(5)
    width = 1 + network.encoding.number_width + sum(category.codes for category in network.encoding.categories)
    coefficients = rng.normal(size=width)
    return LogisticModel(network.encoding, {}, coefficients, np.zeros(width), network.schema)


def odd_rows(trees: FittedModel) -> list[Row]:
    """What SQL may read otherwise than a model: missing values, bounds of float32, and doubles around each split."""
    assert isinstance(trees, TreesModel)
    rng = np.random.default_rng(0)
    splits = trees.booster.trees_to_dataframe().dropna(subset="Split")
    odd = [None, math.nan, math.inf, -math.inf, 0.0, -0.0, 1e300, -1e300, 3.4028234663852886e38, 3.4028235677973366e38]
    values: dict[str, list[Any]] = {}
    for place, column in enumerate(trees.columns):
        around: list[Any] = [*odd, 16777217.0, 1e-46]
        for cut in splits.loc[splits.Feature == f"f{place}", "Split"].astype(np.float32).unique():
            before = np.nextafter(cut, np.float32(-np.inf))
            middle = (float(before) + float(cut)) / 2
            around += [float(cut), float(before), middle]
            around += [math.nextafter(middle, side) for side in (-math.inf, math.inf)]
        values[column.feature] = [around[at] for at in rng.integers(0, len(around), ROWS)]
    values["is_member"] = [[None, True, False][at] for at in rng.integers(0, 3, ROWS)]
    cities = [*CITIES, "not seen in training", "leeds", None]
    values["City"] = [cities[at] for at in rng.integers(0, len(cities), ROWS)]
    return [dict(zip(TYPES, row, strict=True)) for row in zip(*(values[name] for name in TYPES), strict=True)]


def expected(model: FittedModel, rows: list[Row]) -> np.ndarray:
    """What the model itself says of the rows, float32."""
    arrays = []
    for field in empty_batch(model.schema).schema:
        column = [row[field.name] for row in rows]
        if field.type == pa.float32():
            with np.errstate(over="ignore"):
                column = np.array([math.nan if v is None else v for v in column], np.float64).astype(np.float32)
        arrays.append(pa.array(column, field.type))
    return model.predict(pa.RecordBatch.from_arrays(arrays, schema=empty_batch(model.schema).schema))


def columns_of(rows: list[Row]) -> list[tuple[Any, ...]]:
    return [(f"u{place:05}", "2025-01-01", *row.values()) for place, row in enumerate(rows)]


def created(types: Mapping[str, str], name: str = "features") -> str:
    columns = ", ".join(f'"{column.replace(chr(34), chr(34) * 2)}" {kind}' for column, kind in types.items())
    return f"create table {name} (user_id text, as_of text, {columns})"


@pytest.fixture
def on_postgres(server: str) -> Iterator[Score]:
    psycopg = pytest.importorskip("psycopg", reason="Postgres needs the extra 'load'")
    with psycopg.connect(f"postgresql://owner:{quote(PASSWORD, safe='')}@{server}/postgres") as con:

        def score(text: str, rows: list[Row]) -> np.ndarray:
            con.execute("drop table if exists features")
            con.execute(created(TYPES))
            with con.cursor().copy("copy features from stdin") as copy:
                for row in columns_of(rows):
                    copy.write_row(row)
            return np.array([row[2] for row in sorted(con.execute(text).fetchall())])

        yield score


def on_sqlite(text: str, rows: list[Row], *, name: str = "features") -> np.ndarray:
    con = sqlite3.connect(":memory:")
    con.execute(created(TYPES, name))
    con.executemany(f"insert into {name} values ({', '.join('?' * (2 + len(TYPES)))})", columns_of(rows))
    return np.array([row[2] for row in sorted(con.execute(text).fetchall())])


def on_duckdb(text: str, rows: list[Row]) -> np.ndarray:
    con = duckdb.connect()
    con.execute(created(TYPES))
    con.executemany(f"insert into features values ({', '.join('?' * (2 + len(TYPES)))})", columns_of(rows))
    return np.array([row[2] for row in sorted(con.execute(text).fetchall())])


@pytest.fixture(params=["postgres", "sqlite", "duckdb"])
def engine(request: pytest.FixtureRequest) -> tuple[str, Score]:
    """A dialect and what runs it."""
    run = {"sqlite": on_sqlite, "duckdb": on_duckdb}
    return request.param, run.get(request.param) or request.getfixturevalue("on_postgres")


@pytest.mark.parametrize("name", ["trees", "calibrated trees", "logistic", "network", "mean", "vote", "stacking"])
def test_an_engine_gives_the_scores_of_the_model(
    engine: tuple[str, Score], models: dict[str, FittedModel], name: str
) -> None:
    dialect, score = engine
    rows = odd_rows(models["trees"])
    got = score(compile_select(models[name], dialect, relation="features"), rows).astype(np.float32)
    wanted = expected(models[name], rows)
    assert len(np.unique(wanted)) > (2 if name == "vote" else 20)
    if "trees" not in name:
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)
    elif dialect == "sqlite":  # has no float32 to sum leaves in
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)
    else:
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(("log_odds", "wanted"), [(-800.0, 0.0), (800.0, 1.0)])
def test_log_odds_beyond_the_bounds_of_exp_are_no_error(
    engine: tuple[str, Score], models: dict[str, FittedModel], log_odds: float, wanted: float
) -> None:
    dialect, score = engine
    stacked = models["stacking"]
    assert isinstance(stacked, EnsembleModel)
    far = EnsembleModel(stacked.members, Combination("stacking", (0.0, 0.0), log_odds), stacked.schema)
    got = score(compile_select(far, dialect, relation="features"), odd_rows(models["trees"]))
    assert set(got.astype(np.float32)) == {wanted}


def test_trees_in_several_steps_add_up_to_the_same_bits(
    engine: tuple[str, Score], models: dict[str, FittedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    dialect, score = engine
    rows = odd_rows(models["trees"])
    whole = compile_select(models["trees"], dialect, relation="features")
    monkeypatch.setitem(dialects.DIALECTS, dialect, replace(DIALECTS[dialect], trees_per_step=4))
    pieces = compile_select(models["trees"], dialect, relation="features")
    assert pieces.count("SELECT") > whole.count("SELECT") + 3
    np.testing.assert_array_equal(score(pieces, rows), score(whole, rows))


def test_sqlite_reads_text_that_is_no_number_as_missing(models: dict[str, FittedModel]) -> None:
    text = compile_select(models["trees"], "sqlite", relation="features")
    rows = [
        {"heat": heat, 'the "noise" level': "0.25", "is_member": True, "City": "Leeds"} for heat in ("", "nan", "9")
    ]
    known = [
        {**row, "heat": heat, 'the "noise" level': 0.25} for row, heat in zip(rows, (None, None, 9.0), strict=True)
    ]
    np.testing.assert_allclose(on_sqlite(text, rows), expected(models["trees"], known), rtol=0, atol=1e-6)


def test_it_reads_a_select_in_brackets_and_a_table_named_as_its_steps(models: dict[str, FittedModel]) -> None:
    rows = odd_rows(models["trees"])
    for relation, count in (("step_1", ROWS), ("(select * from step_1 as s where user_id < 'u00003') as t", 3)):
        text = compile_select(models["trees"], "sqlite", relation=relation)
        got = on_sqlite(text, rows, name="step_1")
        np.testing.assert_allclose(got, expected(models["trees"], rows[:count]), rtol=0, atol=1e-6)


def test_a_vote_compares_scores_as_the_float32_that_the_model_compares(models: dict[str, FittedModel]) -> None:
    text = compile_select(models["vote"], "duckdb", relation="features")
    for threshold in (0.45, 0.55):
        assert repr(split_value(np.float32(threshold))) in text


def test_sqlite_tells_categories_letter_for_letter_whatever_the_columns_collation(
    models: dict[str, FittedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = odd_rows(models["trees"])
    rows += [{**row, "City": str(row["City"]).upper()} for row in rows if row["City"]]
    monkeypatch.setitem(TYPES, "City", "text collate nocase")
    got = on_sqlite(compile_select(models["trees"], "sqlite", relation="features"), rows)
    np.testing.assert_allclose(got.astype(np.float32), expected(models["trees"], rows), rtol=0, atol=1e-6)


def test_a_column_that_is_not_there_is_an_error(models: dict[str, FittedModel]) -> None:
    con = sqlite3.connect(":memory:")
    con.execute(created({name: kind for name, kind in TYPES.items() if name != "heat"}))
    with pytest.raises(sqlite3.OperationalError, match="heat"):
        con.execute(compile_select(models["trees"], "sqlite", relation="features"))


def compiled(warehouse: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["compile", *arguments, "--warehouse", str(warehouse)])


def test_the_command_prints_what_serves(built: Path, models: dict[str, FittedModel], tmp_path: Path) -> None:
    done = compiled(built, "test", "--dialect", "sqlite", "--from", "features")
    assert done.exit_code == 0, done.output
    head, text = done.stdout.split("\n", 1)
    assert head.startswith("-- test, version 1 (xgboost + mlp), sha256 ")
    rows = odd_rows(models["trees"])
    np.testing.assert_allclose(on_sqlite(text, rows), expected(models["mean"], rows), rtol=0, atol=1e-5)
    out = tmp_path / "test.sql"
    assert compiled(built, "test", "--dialect", "sqlite", "--from", "features", "--out", str(out)).stdout == ""
    assert out.read_text(encoding="utf-8") == done.stdout


def test_by_default_it_reads_the_rows_of_the_prediction_as_its_table_scores_them(built: Path) -> None:
    done = compiled(built, "test", "--dialect", "duckdb")
    with duckdb.connect(str(built), read_only=True) as con:
        con.execute("create temp table compiled as " + done.stdout.split("\n", 1)[1])
        rows, farthest = con.execute(
            "select count(*), max(abs(compiled.score - scored.score)) from compiled "
            "inner join pred__test as scored on compiled.user_id = scored.user_id and compiled.as_of = scored.as_of"
        ).fetchone()
    assert rows == 120
    assert farthest < 1e-5


@pytest.mark.parametrize(
    ("arguments", "exit_code", "sentence"),
    [
        (["tset", "--dialect", "sqlite"], 1, "no version of a prediction 'tset' serves; `foretable predictions` lists"),
        (["test", "--dialect", "oracle"], 2, "'oracle' is not one of 'postgres', 'sqlite'"),
        (["test", "--dialect", "sqlite", "--from", "a, b"], 1, "is no single relation; give a table"),
        (["test", "--dialect", "sqlite", "--from", "a where x"], 1, "give a table, say shop.features, or a SELECT in"),
        (["test", "--dialect", "sqlite", "--out", "nowhere/test.sql"], 2, "nowhere to write test.sql to; make it"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_told(
    built: Path, arguments: list[str], exit_code: int, sentence: str
) -> None:
    done = compiled(built, *arguments)
    assert (done.exit_code, sentence in done.stderr) == (exit_code, True), done.output


def test_the_command_knows_the_dialects_of_the_compiler() -> None:
    assert tuple(DIALECTS) == NAMES


NUMBERS = ("heat", "Spent in €", "is_member")
SCHEMA = FeatureSchema(
    "user_id",
    "as_of",
    "bought",
    (
        Feature("heat", "number", "INTEGER"),
        Feature("Spent in €", "number", "DECIMAL(18,2)"),
        Feature("is_member", "number", "BOOLEAN"),
        Feature("city", "category", "VARCHAR"),
    ),
)


def by_hand() -> FittedModel:
    """Two stumps of trees and a network of two units, whose numbers are the same wherever they are made."""
    columns = (*(MatrixColumn(name, "number") for name in NUMBERS), MatrixColumn("city", "category", 0, CITIES))
    values = np.array([[1, 0.5, 0, 0], [2, 0.5, 1, 1], [3, 1.5, 0, 2], [4, 2.5, 1, 3]] * 4, np.float32)
    labels = np.array([0, 0, 1, 1] * 4)
    settings = {"objective": "binary:logistic", "max_depth": 2, "base_score": 0.5, "eta": 1, "lambda": 0, "nthread": 1}
    booster = xgboost.train({**settings, "min_child_weight": 0}, xgboost.DMatrix(values, labels), 2)
    encoding = InputEncoding(
        tuple(NumberInput(name, "number", (0.5,), (2.0,), name == "heat") for name in NUMBERS),
        (CategoryInput("city", CITIES),),
        (),
        (),
        0,
    )
    params = {**DEFAULT_PARAMS, "units": 2, "layers": 1}
    network = build(encoding, params)
    network.set_weights([(np.arange(w.size).reshape(w.shape) % 5 - 2) / 8 for w in network.get_weights()])
    members = {
        "xgboost": TreesModel(booster, columns, SCHEMA),
        "mlp": NetworkModel("mlp", network, encoding, params, SCHEMA),
    }
    ensemble = EnsembleModel(members, Combination("mean", (0.5, 0.5)), SCHEMA)
    return CalibratedModel(ensemble, Calibration("platt", (0.0,), (-0.25,), (1.5,)))


@pytest.mark.parametrize("dialect", ["spark", "bigquery", "snowflake", "trino"])
def test_the_text_for_an_engine_out_of_reach_is_as_it_was_looked_at(dialect: str) -> None:
    """Its parser reads it back, and what it says, in the words of DuckDB, gives the model's scores."""
    model = by_hand()
    text = compile_select(model, dialect, relation="features")
    snapshot = ROOT / "tests" / "snapshots" / f"portable.{dialect}.sql"
    if not snapshot.exists():
        snapshot.write_text(text, encoding="utf-8")
        pytest.fail(f"there was no {snapshot.name}, and now there is: look at it and run again")
    assert text == snapshot.read_text(encoding="utf-8")
    read = sqlglot.parse_one(text, dialect=dialect)
    assert {literal.this for literal in read.find_all(exp.Literal) if literal.is_string} == set(CITIES)
    rng = np.random.default_rng(1)
    odd = [None, math.nan, math.inf, 0.0, 0.5, 1.0, 1.5, 2.5, 3.5, -7.25, 1e30]
    rows = [
        {
            "heat": odd[rng.integers(len(odd))],
            "Spent in €": odd[rng.integers(len(odd))],
            "is_member": [None, True, False][rng.integers(3)],
            "city": [*CITIES, "not seen in training", None][rng.integers(7)],
        }
        for _ in range(ROWS)
    ]
    con = duckdb.connect()
    con.execute(created(dict(zip(rows[0], ["double", "double", "boolean", "text"], strict=True))))
    con.executemany("insert into features values (?, ?, ?, ?, ?, ?)", columns_of(rows))
    got = np.array([row[2] for row in sorted(con.execute(read.sql("duckdb")).fetchall())])
    wanted = expected(model, rows)
    assert len(np.unique(wanted)) > 20
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


CROSSED_TYPES = {
    **{"heat": "double precision", "noise": "double precision", "city": "text", "store": "text"},
    "taste": "real[]",
}
PAIRS = (Interaction("heat", "noise"), Interaction("city", "store"), Interaction("noise", "heat"))


def crossed(*, has_taste: bool) -> CrossedModel:
    """Trees that read products of two numbers, two texts as one, and an embedding."""
    names = ("number", "number", "category", "category")
    kinds = {"number": "DOUBLE", "category": "VARCHAR"}
    features = [Feature(name, kind, kinds[kind]) for name, kind in zip(list(CROSSED_TYPES)[:4], names, strict=True)]
    features += [Feature("taste", "embedding", "FLOAT[2]", width=2)] if has_taste else []
    schema = FeatureSchema("user_id", "as_of", "bought", tuple(features))
    both = tuple(crossed_text(city, store) for city in CITIES for store in CITIES)
    columns = [MatrixColumn("heat", "number"), MatrixColumn("city", "category", vocabulary=CITIES)]
    columns += [MatrixColumn("taste", "embedding", position) for position in range(2)] if has_taste else []
    columns += [MatrixColumn(pair.name, "number") for pair in (PAIRS[0], PAIRS[2])]
    columns += [MatrixColumn(PAIRS[1].name, "category", vocabulary=both)]
    return CrossedModel(model_of(widened(schema, PAIRS).features, tuple(columns), trees=60), PAIRS, schema)


def crossed_rows() -> list[Row]:
    """Factors that are no float32, so small or large that products vanish or overflow, missing, and texts alike."""
    rng = np.random.default_rng(3)
    odd = [
        None,
        math.nan,
        math.inf,
        -math.inf,
        0.0,
        -0.0,
        1e300,
        3.4e38,
        1e20,
        -1e-46,
        1e-40,
        2.0**-150,
        0.1,
        16777217.0,
    ]
    cities = [*CITIES, "1:ä", "LeedsL", "not seen", None]

    def number() -> Any:
        return odd[rng.integers(len(odd))] if rng.random() < 0.3 else float(rng.normal() * 3)

    def text() -> Any:
        return cities[rng.integers(len(cities))]

    def row(heat: Any, noise: Any) -> Row:
        taste = None if rng.random() < 0.1 else [float(np.float32(value)) for value in rng.normal(size=2)]
        return {"heat": heat, "noise": noise, "city": text(), "store": text(), "taste": taste}

    # Products on one side of a split, whose factors as float32 have one on the other side.
    inner = crossed(has_taste=False).model
    assert isinstance(inner, TreesModel)
    place = [column.feature for column in inner.columns].index(PAIRS[0].name)
    cuts = inner.trees.thresholds[~inner.trees.is_leaf & (inner.trees.columns == place)]
    near = []
    while len(near) < 300:
        cut, noise = float(rng.choice(cuts)), float(rng.normal())
        heat = cut / noise * (1 + float(rng.normal()) * 3e-8)
        if (np.float32(heat) * np.float32(noise) < cut) != (heat * noise < split_value(np.float32(cut))):
            near.append(row(heat, noise))
    return [*(row(number(), number()) for _ in range(2_000)), *near]


@pytest.mark.parametrize("has_taste", [False, True], ids=["interactions", "embedding"])
def test_an_engine_makes_interactions_and_reads_embeddings(
    engine: tuple[str, Score], monkeypatch: pytest.MonkeyPatch, has_taste: bool
) -> None:
    dialect, score = engine
    model, types = crossed(has_taste=has_taste), dict(CROSSED_TYPES)
    rows = crossed_rows()
    if not has_taste:
        types.pop("taste")
        rows = [{name: row[name] for name in types} for row in rows]
    elif dialect == "sqlite":
        with pytest.raises(ArtifactError, match=r"reads 'taste', which is FLOAT\[2\], and sqlite has no arrays"):
            compile_select(model, dialect, relation="features")
        return
    monkeypatch.setattr(sys.modules[__name__], "TYPES", types)
    got = score(compile_select(model, dialect, relation="features"), rows).astype(np.float32)
    wanted = expected(model, rows)
    assert len(np.unique(wanted)) > 200
    if dialect == "sqlite":  # has no float32 to sum leaves in
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)
    else:
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("dialect", ["spark", "bigquery", "snowflake", "trino"])
def test_an_engine_out_of_reach_gets_interactions_and_embeddings_that_its_parser_reads(dialect: str) -> None:
    """What its text says, in the words of DuckDB, gives the model's scores."""
    model, rows = crossed(has_taste=True), crossed_rows()
    read = sqlglot.parse_one(compile_select(model, dialect, relation="features"), dialect=dialect)
    con = duckdb.connect()
    con.execute(created(CROSSED_TYPES))
    con.executemany(f"insert into features values ({', '.join('?' * (2 + len(CROSSED_TYPES)))})", columns_of(rows))
    got = np.array([row[2] for row in sorted(con.execute(read.sql("duckdb")).fetchall())])
    np.testing.assert_allclose(got, expected(model, rows), rtol=0, atol=1e-5)


def test_a_network_reads_an_embedding_as_it_is(on_postgres: Score, monkeypatch: pytest.MonkeyPatch) -> None:
    taste = Feature("taste", "embedding", "FLOAT[2]", width=2)
    schema = FeatureSchema("user_id", "as_of", "bought", (Feature("heat", "number", "DOUBLE"), taste))
    numbers = (
        NumberInput("heat", "number", (0.5,), (2.0,), True),
        NumberInput("taste", "embedding", (0.25, -0.5), (1.5, 0.75), True),
    )
    encoding, params = InputEncoding(numbers, (), (), (), 0), {**DEFAULT_PARAMS, "units": 4, "layers": 1}
    network = build(encoding, params)
    rng = np.random.default_rng(2)
    network.set_weights([rng.normal(size=weights.shape) for weights in network.get_weights()])
    model = NetworkModel("mlp", network, encoding, params, schema)
    monkeypatch.setattr(sys.modules[__name__], "TYPES", {"heat": "double precision", "taste": "real[]"})
    rows = [{"heat": row["heat"], "taste": row["taste"]} for row in crossed_rows()[:300]]
    got = on_postgres(compile_select(model, "postgres", relation="features"), rows)
    wanted = expected(model, rows)
    assert np.ptp(wanted) > 0.3
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


def test_what_cannot_be_said_is_refused_with_another_way() -> None:
    recurrent = unmapped(by_hand()).members["mlp"]
    recurrent.family = "lstm"
    with pytest.raises(ArtifactError, match=r"'lstm' cannot be said as a plain SELECT.* pred__<name>, to the other"):
        compile_select(recurrent, "postgres", relation="features")
    params = {"objective": "binary:logistic", "min_child_weight": 0}
    category = FeatureSchema("user_id", "as_of", "bought", (Feature("city", "category", "VARCHAR"),))
    codes = np.array([[0], [1]] * 4, np.float32)
    booster = xgboost.train(params, xgboost.DMatrix(codes, [0, 1] * 4), 1)
    spoilt = (MatrixColumn("city", "category", vocabulary=("Leeds", "a\0b")),)
    with pytest.raises(ArtifactError, match="a category of 'city' holds a NUL character"):
        compile_select(TreesModel(booster, spoilt, category), "sqlite", relation="features")


def test_a_text_longer_than_the_engine_takes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dialects.DIALECTS, "trino", replace(DIALECTS["trino"], most_bytes=1_000))
    with pytest.raises(ArtifactError, match=r"bytes, and trino takes 1,000; train a smaller model .*pred__<name>"):
        compile_select(by_hand(), "trino", relation="features")


def test_an_unknown_dialect_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match="unknown dialect 'oracle'; known: postgres, sqlite"):
        compile_select(by_hand(), "oracle", relation="features")
