"""Networks and ensembles compiled to SQL say what the models say, to 1e-5."""

from dataclasses import replace

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from ibis_features import ArtifactError, Feature
from models_ml import lstm, mlp
from models_ml.calibration import CalibratedModel, Calibration
from models_ml.ensemble import Combination, EnsembleModel
from models_ml.inputs import CategoryInput, InputEncoding, NumberInput
from models_ml.network import NetworkModel, import_keras
from tests.compiling import check_parity
from tests.test_compiling_trees import COLUMNS, FEATURES, batch_of, model_of, schema_of
from udfs.compiling import UncompiledError, compile_sql, drop_sql

CITIES = ("Leeds", "L'Île", "", "nul\0l")
COMBINATIONS = {
    "mean": Combination("mean", (0.5, 0.5)),
    "weighted": Combination("weighted", (0.2, 0.8)),
    "stacking": Combination("stacking", (0.7, 0.9), -0.3),
    "vote": Combination("vote", (0.5, 0.5), 0.0, (0.4, 0.55)),
}


def network_of(features: tuple[Feature, ...], *, seed: int = 0, units: int = 16, layers: int = 2) -> NetworkModel:
    """A network of random weights, means and scales: what it has learnt does not matter here."""
    draws = np.random.default_rng(seed)

    def numbers(low: float, high: float, count: int) -> tuple[float, ...]:
        return tuple(draws.uniform(low, high, count).astype(np.float32).tolist())

    encoding = InputEncoding(
        tuple(
            NumberInput(f.name, f.role, numbers(-1, 1, f.width), numbers(0.5, 3, f.width), place % 2 == 0)
            for place, f in enumerate(features)
            if f.role != "category"
        ),
        tuple(CategoryInput(f.name, CITIES) for f in features if f.role == "category"),
        (),
        (),
        0,
    )
    params = {**mlp.DEFAULT_PARAMS, "units": units, "layers": layers}
    network = mlp.build(encoding, params)
    network.set_weights([draws.normal(0, 0.4, weights.shape) for weights in network.get_weights()])
    return NetworkModel("mlp", network, encoding, params, schema_of(features))


def furthest(con: duckdb.DuckDBPyConnection, call: str, batch: pa.RecordBatch, expected: np.ndarray) -> float:
    con.register("rows", pa.Table.from_batches([batch]))
    found = con.execute(f"select {call} from rows").to_arrow_table().column(0).to_numpy()
    return float(np.abs(found - expected).max())


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


@pytest.mark.parametrize("layers", [1, 3])
def test_a_networks_macros_give_its_scores(con: duckdb.DuckDBPyConnection, layers: int) -> None:
    model = network_of(FEATURES, layers=layers)
    batch = batch_of(model, 300, 1)  # type: ignore[arg-type]
    compile_sql(con, "churn", model, batch)
    expected = model.predict(batch)
    assert np.ptp(expected) > 0.5
    arguments = ", ".join(f"{name} := {name}" for name in model.schema.names)
    for call in ("scores.churn(rows)", f"scores.churn({arguments})"):
        assert furthest(con, call, batch, expected) < 1e-5
    table = con.execute("select score from scores.churn_table('rows')").to_arrow_table().column(0).to_numpy()
    assert np.abs(table - expected).max() < 1e-5


@pytest.mark.parametrize("role", ["number", "category", "embedding"])
def test_a_network_of_one_kind_of_feature_is_compiled(con: duckdb.DuckDBPyConnection, role: str) -> None:
    model = network_of(tuple(feature for feature in FEATURES if feature.role == role))
    batch = batch_of(model, 100, 2)  # type: ignore[arg-type]
    compile_sql(con, "churn", model, batch)
    assert furthest(con, "scores.churn(rows)", batch, model.predict(batch)) < 1e-5


def test_a_column_that_hardly_varies_gives_the_networks_score(con: duckdb.DuckDBPyConnection) -> None:
    model = network_of((Feature("year", "number", "INTEGER"), Feature("a", "number", "FLOAT")))
    narrow = replace(model.encoding.numbers[0], mean=(7.612,), scale=(4000.0,))
    encoding = replace(model.encoding, numbers=(narrow, model.encoding.numbers[1]))
    model = NetworkModel("mlp", model.network, encoding, model.params, model.schema)
    batch = pa.RecordBatch.from_pydict(
        {"year": np.arange(1900, 2100, dtype=np.float32), "a": np.zeros(200, np.float32)}
    )
    compile_sql(con, "churn", model, batch)
    assert furthest(con, "scores.churn(rows)", batch, model.predict(batch)) < 1e-5


@pytest.mark.parametrize("way", COMBINATIONS)
def test_an_ensembles_macro_joins_its_members_as_the_model_does(con: duckdb.DuckDBPyConnection, way: str) -> None:
    members = {"xgboost": model_of(FEATURES, COLUMNS), "mlp": network_of(FEATURES)}
    model = EnsembleModel(members, COMBINATIONS[way], schema_of(FEATURES))
    batch = batch_of(model, 200, 3)  # type: ignore[arg-type]
    calibrated = CalibratedModel(model, Calibration("platt", (0.0,), (0.4,), (0.8,)))
    for name, each in (("plain", model), ("put_right", calibrated)):
        compile_sql(con, name, each, batch)
        assert furthest(con, f"scores.{name}(rows)", batch, each.predict(batch)) < 1e-5
    assert len(np.unique(model.predict(batch))) == (3 if way == "vote" else pytest.approx(200, abs=20))
    tables = con.execute("select table_name from duckdb_tables() order by all").fetchall()
    assert [name for (name,) in tables] == [
        f"{role}__{name}" for role in ("mlp_network", "xgboost_trees") for name in ("plain", "put_right")
    ]
    drop_sql(con, "plain")
    assert furthest(con, "scores.put_right(rows)", batch, calibrated.predict(batch)) < 1e-5


def test_one_weight_that_differs_is_refused_with_the_row(con: duckdb.DuckDBPyConnection) -> None:
    model = network_of(FEATURES)
    compile_sql(con, "churn", model)
    weights = model.network.get_weights()
    weights[-1] = weights[-1] + np.float32(1e-3)
    model.network.set_weights(weights)
    con.register("rows", pa.Table.from_batches([batch_of(model, 50, 0)]))  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match=r"differ on .* of the row \{'spent': .*'city': "):
        check_parity(con, "churn", model, "rows")


def test_what_sql_cannot_hold_is_refused_with_the_alternative(con: duckdb.DuckDBPyConnection) -> None:
    features = (Feature("steps", "number_sequence", "FLOAT[]"),)
    encoding = InputEncoding((), (), (NumberInput("steps", "number_sequence", (0.0,), (1.0,)),), (), 4)
    params = dict(lstm.DEFAULT_PARAMS)
    import_keras()
    recurrent = NetworkModel("lstm", lstm.build(encoding, params), encoding, params, schema_of(features))
    trees = model_of(FEATURES, COLUMNS)
    both = EnsembleModel({"xgboost": trees, "lstm": recurrent}, COMBINATIONS["mean"], schema_of(FEATURES + features))
    for model in (recurrent, both):
        with pytest.raises(UncompiledError, match=r"lstm .*looked up by scores\.churn_of\(entity_id\)"):
            compile_sql(con, "churn", model)
    assert con.execute("select count(*) from duckdb_functions() where schema_name = 'scores'").fetchone() == (0,)
