"""A transformer compiled to SQL gives the scores that Keras gives, whatever sequences a row has."""

import json
from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from ibis_features import ArtifactError, Feature, FeatureSchema
from models_ml.encoding import empty_batch
from models_ml.inputs import CategoryInput, InputEncoding, NumberInput
from models_ml.network import NetworkModel
from models_ml.transformer import DEFAULT_PARAMS, build
from tests.predicting import fixed, predict
from udfs.compiling import UncompiledError, compile_sql

STATIC = (Feature("spent", "number", "DOUBLE"), Feature("city", "category", "VARCHAR"))
STATIC += (Feature("taste", "embedding", "FLOAT[2]", width=2),)
SEQUENCES = (Feature("gaps", "number_sequence", "DOUBLE[]"), Feature("kinds", "category_sequence", "VARCHAR[]"))
STEPS = 5
ENCODING = InputEncoding(
    numbers=(
        NumberInput("spent", "number", (2.0,), (0.7,), has_indicator=True),
        NumberInput("taste", "embedding", (0.1, -0.2), (1.5, 0.0), has_indicator=True),
    ),
    categories=(CategoryInput("city", ("Leeds", "L'Île")),),
    sequence_numbers=(NumberInput("gaps", "number_sequence", (1.0,), (0.9,)),),
    sequence_categories=(CategoryInput("kinds", ("view", "cart", "purchase")),),
    steps=STEPS,
)
ALONE = InputEncoding((), (), (), ENCODING.sequence_categories, STEPS)
ROWS: list[dict[str, Any]] = [
    {"spent": 3.0, "city": "Leeds", "taste": [1.0, 2.0], "gaps": [1.0, 90.0, None], "kinds": ["view", "cart", "view"]},
    {"spent": None, "city": None, "taste": None, "gaps": None, "kinds": None},
    {"spent": 3.0, "city": "Oslo", "taste": [None, 1.0], "gaps": [], "kinds": []},
    {"spent": -2.0, "city": "Leeds", "taste": [0.0, 0.0], "gaps": [5.0], "kinds": ["a new kind"]},
    {"spent": 1e9, "city": "L'Île", "taste": [9.0, -9.0], "gaps": [7.0] * 40, "kinds": [None, "purchase"] * 20},
    {"spent": 0.0, "city": "Leeds", "taste": [1.0, 1.0], "gaps": [float("nan"), 1e30], "kinds": ["cart", "cart"]},
]


def model_of(encoding: InputEncoding = ENCODING, *, steps: int = STEPS, **params: int) -> NetworkModel:
    """A network whose weights are drawn, those of layer normalisations and biases too, so that each of them matters."""
    features = [feature for feature in (*STATIC, *SEQUENCES) if feature.name in encoding.features]
    settings = {**DEFAULT_PARAMS, "max_length": steps, "units": 6, "dense_units": 5, "feed_forward_units": 7, **params}
    encoding = replace(encoding, steps=steps)
    network = build(encoding, settings)
    rng = np.random.default_rng(3)
    network.set_weights([rng.normal(size=weight.shape) * 0.5 for weight in network.get_weights()])
    schema = FeatureSchema("user_id", "as_of", "label", tuple(features))
    return NetworkModel("transformer", network, encoding, settings, schema)


def batch_of(model: NetworkModel, rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=empty_batch(model.schema).schema)


def scores(con: duckdb.DuckDBPyConnection, sql: str) -> list[float]:
    return [row[0] for row in con.execute(sql).fetchall()]


@pytest.mark.parametrize("params", [{}, {"blocks": 2, "heads": 3}, {"units": 1, "heads": 1}], ids=json.dumps)
def test_macros_and_model_agree(memory: duckdb.DuckDBPyConnection, params: dict[str, int]) -> None:
    model = model_of(**params)
    batch = batch_of(model, ROWS)
    compile_sql(memory, "buyers", model)  # compares them on rows of every length
    memory.register("rows", pa.Table.from_batches([batch]))
    expected = model.predict(batch)
    assert len(set(expected.tolist())) == len(ROWS)
    assert scores(memory, "select scores.buyers(rows) from rows") == pytest.approx(expected, abs=1e-5)
    assert scores(memory, "select score from scores.buyers_table('rows')") == pytest.approx(expected, abs=1e-5)


def test_sequences_alone_are_enough(memory: duckdb.DuckDBPyConnection) -> None:
    model = model_of(ALONE)
    compile_sql(memory, "buyers", model)
    batch = batch_of(model, [{"kinds": ["view", "cart"]}, {"kinds": None}, {"kinds": ["cart", "view"]}])
    found = scores(
        memory, "select scores.buyers(kinds := x) from (values (['view', 'cart']), (null), (['cart', 'view'])) t(x)"
    )
    assert found == pytest.approx(model.predict(batch), abs=1e-5)
    assert scores(memory, "select scores.buyers()") == pytest.approx([found[1]], abs=1e-7)


def test_only_the_newest_steps_are_read_and_their_order_counts(memory: duckdb.DuckDBPyConnection) -> None:
    compile_sql(memory, "buyers", model_of(ALONE))
    steps = "['view', 'cart', 'cart', 'purchase', 'view']"
    newest, longer, turned = scores(
        memory,
        f"select scores.buyers(kinds := x) from (values ({steps}), (list_concat(['cart', 'cart'], {steps})), "
        f"(list_reverse({steps[:-9]}]))) t(x)",
    )
    assert newest == longer
    assert abs(newest - turned) > 1e-4


def test_sequences_of_unequal_length_are_an_error_in_sql_too(memory: duckdb.DuckDBPyConnection) -> None:
    compile_sql(memory, "buyers", model_of())
    with pytest.raises(duckdb.InvalidInputException, match="gaps, kinds of a row differ in length"):
        memory.execute("select scores.buyers(gaps := [1, 2], kinds := ['view'])").fetchall()
    with pytest.raises(duckdb.InvalidInputException, match="differ in length"):
        memory.execute("select scores.buyers(gaps := [1, 2])").fetchall()


def test_a_transformer_over_very_long_sequences_is_refused_by_name(memory: duckdb.DuckDBPyConnection) -> None:
    compile_sql(memory, "buyers", model_of(ALONE))
    with pytest.raises(UncompiledError, match=r"over 200 steps .* up to 128 \(params\.max_length\).*buyers_of"):
        compile_sql(memory, "buyers", model_of(ALONE, steps=200))


def test_a_transformer_whose_sql_differs_is_not_published(
    memory: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("udfs.compiling.transformer.EPSILON", 0.1)
    with pytest.raises(ArtifactError, match=r"refused to publish: scores\.buyers.*gaps"):
        compile_sql(memory, "buyers", model_of())
    assert memory.execute("select * from duckdb_functions() where schema_name = 'scores'").fetchall() == []


def test_a_build_publishes_the_scores_of_its_table_as_a_macro(con: duckdb.DuckDBPyConnection) -> None:
    select = f"""
        select *, list_transform(range(u % 7), step -> (u * step % 5)::double) as gaps,
            if(u % 7 = 0, null, list_transform(range(u % 7), step -> 'k' || (u + step) % 3)) as kinds
        from (select *, user_id[2:]::int as u from ({fixed(con)}))
    """
    params = {"units": 8, "feed_forward_units": 8, "dense_units": 8, "epochs": 2, "learning_rate": 0.02}
    assert predict(con, select, model="transformer", params=params, promote="always") is None
    scored = con.execute(
        "select predicted.score, scores.test(examples) from pred__test as predicted "
        "inner join examples__test as examples using (user_id, as_of)"
    ).fetchall()
    table, macro = np.array(scored).T
    assert len(set(table.tolist())) > 50
    assert macro == pytest.approx(table, abs=1e-5)


@pytest.fixture
def memory() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()
