"""A logistic regression compiled to SQL gives the scores that the model gives."""

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from ibis_features import ArtifactError, Feature, FeatureSchema
from models_ml.encoding import empty_batch
from models_ml.inputs import CategoryInput, InputEncoding, NumberInput
from models_ml.linear import DEFAULT_PARAMS, LogisticModel
from tests.compiling import check_parity
from tests.predicting import fixed, predict
from udfs.compiling import compile_sql

SCHEMA = FeatureSchema(
    "user_id",
    "as_of",
    "label",
    (
        Feature("year", "number", "INTEGER"),
        Feature("spent", "number", "DOUBLE"),
        Feature("taste", "embedding", "FLOAT[2]", width=2),
        Feature("city", "category", "VARCHAR"),
    ),
)
ENCODING = InputEncoding(
    numbers=(
        # Values that lie close together are stretched by as much as they are alike.
        NumberInput("year", "number", (float(np.float32(np.log(2026))),), (4000.0,)),
        NumberInput("spent", "number", (2.0,), (0.7,), has_indicator=True),
        NumberInput("taste", "embedding", (0.1, -0.2), (1.5, 0.5), has_indicator=True),
    ),
    categories=(CategoryInput("city", ("Leeds", "L'Île")),),
    sequence_numbers=(),
    sequence_categories=(),
    steps=0,
)
#              intercept; year, spent, taste; are spent and taste missing; city NULL, unknown, Leeds, L'Île
COEFFICIENTS = [-0.5, 0.3, 0.8, -0.4, 0.2, 0.6, -0.7, 0.1, 0.0, 0.9, -0.3]


def model_of(**changed: float) -> LogisticModel:
    coefficients = np.array(COEFFICIENTS)
    for place, value in changed.items():
        coefficients[int(place.removeprefix("at_"))] = value
    return LogisticModel(ENCODING, DEFAULT_PARAMS, coefficients, np.zeros(len(coefficients)), SCHEMA)


def test_a_score_is_the_logistic_of_the_sum(memory: duckdb.DuckDBPyConnection) -> None:
    compile_sql(memory, "buyers", model_of())
    found = memory.execute(
        "select scores.buyers(year := 2025, spent := exp(3) - 1, taste := [0.1, 1.8], city := 'Leeds'), scores.buyers()"
    ).fetchone()
    log_odds = [-0.5 + 0.8 * 0.7 + 0.2 * 1.0 + 0.9, -0.5 + 0.6 - 0.7 + 0.1]
    assert found == pytest.approx([1 / (1 + np.exp(-value)) for value in log_odds], abs=1e-3)


def test_macros_and_model_agree_where_a_number_hardly_varies(memory: duckdb.DuckDBPyConnection) -> None:
    model = model_of()
    years = list(range(1990, 2031))
    rows = {"year": years, "spent": years, "taste": [[0.5, -0.5]] * len(years), "city": ["Oslo"] * len(years)}
    batch = pa.RecordBatch.from_pydict(rows, schema=empty_batch(SCHEMA).schema)
    compile_sql(memory, "buyers", model, batch)
    memory.register("rows", pa.Table.from_batches([batch]))
    found = memory.execute("select score from scores.buyers_table('rows')").fetchnumpy()["score"]
    assert found == pytest.approx(model.predict(batch), abs=1e-6)
    assert len(set(found[25:].tolist())) > 5


@pytest.mark.parametrize("place", range(len(COEFFICIENTS)))
def test_each_coefficient_counts(memory: duckdb.DuckDBPyConnection, place: int) -> None:
    compile_sql(memory, "buyers", model_of())
    rows = {"year": [None, 2025], "spent": [None, 9], "taste": [None, [1, 1]], "city": [None, "Leeds"]}
    for city in ("L'Île", "Oslo"):
        for name, value in (("year", 2026), ("spent", 3), ("taste", [2, 2]), ("city", city)):
            rows[name].append(value)
    memory.register("rows", pa.table(rows, schema=empty_batch(SCHEMA).schema))
    assert check_parity(memory, "buyers", model_of(), "rows") == 4
    with pytest.raises(ArtifactError, match="and its model differ on"):
        check_parity(memory, "buyers", model_of(**{f"at_{place}": 2.0}), "rows")


@pytest.mark.parametrize("model", ["logistic", ["xgboost", "logistic"]], ids=str)
def test_a_build_publishes_the_scores_of_its_table_as_a_macro_and_reasons_that_add_up(
    con: duckdb.DuckDBPyConnection, model: str | list[str]
) -> None:
    params = {"max_iterations": 50} if model == "logistic" else {"xgboost": {"n_estimators": 10}}
    settings = {"model": model, "params": params, "calibrate": None, "reasons": 9, "promote": "always"}
    assert predict(con, fixed(con), **settings) is None
    found = con.execute(
        """
        select predicted.score, scores.test(examples), (select base_log_odds from foretable.models)
            + list_sum(list_transform(predicted.reasons, lambda reason: reason.contribution))
        from pred__test as predicted
        inner join examples__test as examples using (user_id, as_of)
        """
    ).fetchall()
    table, macro, log_odds = np.array(found, float).T
    assert len(set(table.tolist())) > 5
    assert macro == pytest.approx(table, abs=1e-6)
    assert 1 / (1 + np.exp(-log_odds)) == pytest.approx(table, abs=1e-5)


@pytest.fixture
def memory() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()
