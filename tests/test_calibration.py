"""Scores become probabilities: by a map fitted on validation, by what training did to the prior, everywhere alike."""

import json
import math
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import udfs
from ibis_features import ArtifactError, connect_backend, read_examples, read_schema
from models_ml.artifact import pack, read_manifest, sha256, unpack
from models_ml.calibration import FITS, CalibratedModel, calibration_of, fit_isotonic, fit_platt
from models_ml.evaluation import expected_calibration_error, log_loss, roc_auc, true_calibration_error
from models_ml.fitting import fit_spec
from models_ml.registry import read_artifact
from models_ml.spec import parse_spec
from models_ml.splitting import undersampled
from models_ml.trees import TreesModel
from tests.predicting import BINARY, fixed, predict
from tests.test_compiling_trees import COLUMNS, FEATURES, batch_of, model_of
from udfs.compiling import compile_sql

METHODS = sorted(FITS)


def overconfident(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Margins three times as far from 0 as the true log-odds, the labels, and the true probabilities."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-1, 1, rows)
    truth = 1 / (1 + np.exp(-log_odds))
    return 3 * log_odds + 1, (rng.random(rows) < truth).astype(float), truth


@pytest.mark.parametrize("method", METHODS)
def test_scores_that_are_too_sure_become_probabilities(method: str) -> None:
    calibration = FITS[method](*overconfident(4_000, 0)[:2])
    margins, labels, truth = overconfident(20_000, 1)
    before, after = (1 / (1 + np.exp(-m)) for m in (margins, calibration.log_odds(margins)))
    assert expected_calibration_error(labels, before) > 0.1
    assert expected_calibration_error(labels, after) < 0.02
    assert np.abs(after - truth).mean() < 0.02
    assert true_calibration_error(truth, after, seed=1, resamples=1).value < 0.02


def test_platt_finds_the_line_that_made_the_labels() -> None:
    calibration = fit_platt(*overconfident(200_000, 2)[:2])
    assert calibration.slope[0] == pytest.approx(1 / 3, rel=0.03)
    assert calibration.y[0] == pytest.approx(-1 / 3, abs=0.02)


def test_isotonic_joins_the_middles_of_its_steps() -> None:
    """Margins -2, -1 | 0, 1 | 2, 3 with rates 1/4, 1/2 and 3/4 of two rows each; by hand: middles -1.5, 0.5, 2.5."""
    margins = np.repeat([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0], 1_000)
    rates = np.repeat([0.25, 0.25, 0.5, 0.5, 0.75, 0.75], 1_000)
    labels = (np.tile(np.arange(1_000), 6) < rates * 1_000).astype(float)
    calibration = fit_isotonic(margins, labels)
    assert calibration.x == pytest.approx((-1.5, -1.5, 0.5, 2.5))
    assert calibration.y == pytest.approx((-math.log(3), -math.log(3), 0, math.log(3)), abs=1e-3)
    between = calibration.log_odds(np.array([-0.5, 3.5, -2.5]))
    assert between == pytest.approx((-math.log(3) / 2, math.log(3) + 1, -math.log(3) - 1), abs=1e-3)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.floats(-40, 40, width=32), st.booleans()), min_size=2, max_size=60))
def test_a_map_never_turns_rows_round_nor_reaches_0_or_1(rows: list[tuple[float, bool]]) -> None:
    margins, labels = np.array([m for m, _ in rows]), np.array([float(y) for _, y in rows])
    for method in METHODS:
        calibration = FITS[method](margins, labels)
        path = np.sort(np.concatenate([margins, np.linspace(-50, 50, 301)]))
        found = calibration.log_odds(path)
        assert (np.diff(found) >= -1e-9).all()
        inside = np.abs(found) < 15
        assert (np.diff(found)[(np.diff(path) > 1e-3) & inside[1:] & inside[:-1]] > 0).all()
        scores = (1 / (1 + np.exp(-found))).astype(np.float32)
        assert (scores > 0).all()
        assert (scores < 1).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_macro_of_calibrated_trees_has_the_bits_of_the_model(method: str) -> None:
    trees = model_of(FEATURES, COLUMNS, trees=40)
    rows = batch_of(trees, 3_000, seed=3)
    margins = trees.margin(rows).astype(np.float64)
    labels = (np.random.default_rng(0).random(len(margins)) < 1 / (1 + np.exp(-margins / 2))).astype(float)
    model = CalibratedModel(trees, FITS[method](margins, labels))
    assert len(model.calibration.x) == 1 or len(model.calibration.x) > 5
    con = duckdb.connect()
    compile_sql(con, "churn", model, rows)
    con.register("rows", pa.Table.from_batches([rows]).append_column("place", pa.array(range(rows.num_rows))))
    by_row, by_table = (
        con.execute(f"select score from ({sql}) order by place").to_arrow_table()["score"].to_numpy()
        for sql in ("select place, scores.churn(rows) as score from rows", "from scores.churn_table('rows')")
    )
    assert np.array_equal(by_row, model.predict(rows))
    assert np.array_equal(by_table, model.predict(rows))
    assert not np.array_equal(by_row, trees.predict(rows))


def test_a_macro_with_another_calibration_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    trees = model_of(FEATURES, COLUMNS)
    model = CalibratedModel(trees, fit_platt(*overconfident(500, 0)[:2]))
    monkeypatch.setattr("udfs.compiling.macros.score_map_of", lambda fitted: fit_platt(*overconfident(500, 1)[:2]))
    with pytest.raises(ArtifactError, match=r"refused to publish: scores\.churn and its model differ"):
        compile_sql(duckdb.connect(), "churn", model, batch_of(trees, 10, 0))


@pytest.mark.parametrize("method", METHODS)
def test_an_artifact_holds_the_calibration_under_its_sha256(method: str) -> None:
    trees = model_of(FEATURES, COLUMNS)
    model = CalibratedModel(trees, FITS[method](*overconfident(900, 0)[:2]))
    blob, rows = pack("xgboost", model), batch_of(trees, 500, seed=1)
    loaded = unpack(blob, expected_sha256=sha256(blob))
    assert calibration_of(loaded) == model.calibration
    assert np.array_equal(loaded.predict(rows), model.predict(rows))
    assert pack("xgboost", loaded) == blob
    assert read_manifest(blob).parts["calibration.json"] == sha256(model.dump()["calibration.json"])


@pytest.mark.parametrize(
    "content",
    [
        b"[",
        b"{}",
        b'{"method": "platt", "x": [0], "y": [1], "slope": [-1]}',
        b'{"method": "platt", "x": [0], "y": [1, 2], "slope": [1]}',
        b'{"method": "platt", "x": [], "y": [], "slope": []}',
        b'{"method": "platt", "x": [0], "y": [NaN], "slope": [1]}',
        b'{"method": "isotonic", "x": [1, 0], "y": [0, 1], "slope": [1, 1]}',
    ],
)
def test_what_is_no_rising_map_is_refused(content: bytes) -> None:
    from models_ml.calibration import with_calibration

    with pytest.raises(ArtifactError, match=r"calibration.*train anew"):
        with_calibration(model_of(FEATURES, COLUMNS, trees=1), content)


# In a build


@pytest.mark.parametrize("method", METHODS)
def test_table_log_udf_and_macro_hold_the_calibrated_score(con: duckdb.DuckDBPyConnection, method: str) -> None:
    assert predict(con, fixed(con), calibrate=method, promote="always") is None
    fitted = unpack(read_artifact(con, "test", 1))
    assert isinstance(fitted, CalibratedModel)
    assert isinstance(fitted.model, TreesModel)
    assert fitted.calibration.method == method
    udfs.register(con, ["test"])
    counted = con.execute(
        """
        select
            count(*),
            count(*) filter (pred.score = logged.score),
            count(*) filter (pred.score = scores.test(examples)),
            count(*) filter (pred.score = score_test(examples)),
            count(*) filter (pred.score = logged.raw_score)
        from pred__test as pred
        inner join examples__test as examples on pred.user_id = examples.user_id and pred.as_of = examples.as_of
        inner join foretable.prediction_log as logged
            on logged.prediction = 'test' and logged.entity_id = pred.user_id and logged.as_of = pred.as_of
        """
    ).fetchone()
    assert counted == (120, 120, 120, 120, 0)
    examples = read_examples(connect_backend(con), "examples__test", fitted.schema)
    newest = con.execute("select max(as_of) from examples__test").fetchone()[0]
    raw = np.concatenate([fitted.model.predict(batch) for batch in examples.all_at([newest]).batches()])
    logged = con.execute("select raw_score from foretable.prediction_log order by raw_score").fetchnumpy()["raw_score"]
    assert np.array_equal(np.sort(raw), logged)
    judged = con.execute(
        "select count(*) from foretable.metrics where scored_by in ('model', 'uncalibrated') and split = 'test' "
        "and metric in ('expected_calibration_error', 'log_loss')"
    ).fetchone()
    assert judged == (4,)


def test_without_calibration_the_score_is_the_models_own(con: duckdb.DuckDBPyConnection) -> None:
    assert predict(con, fixed(con), calibrate=None, promote="always") is None
    assert isinstance(unpack(read_artifact(con, "test", 1)), TreesModel)
    differing = con.execute(
        "select count(*) from foretable.prediction_log where prediction = 'test' and score is distinct from raw_score"
    ).fetchone()
    assert differing == (0,)


def test_a_registry_of_before_gets_the_columns_and_keeps_its_rows(stateful: Path, tmp_path: Path) -> None:
    from tests.conftest import run_dbt

    warehouse = tmp_path / "old.duckdb"
    with duckdb.connect(str(warehouse)) as con:
        con.execute(f"attach '{stateful}' as given (read_only); copy from database given to old; detach given")
        con.execute("alter table foretable.prediction_log drop raw_score")
        con.execute("alter table foretable.prediction_log drop is_shadow")
        con.execute("alter table foretable.prediction_log drop item_id")
        con.execute("alter table foretable.outcomes drop item_id")
        con.execute("alter table foretable.slices drop metric_value")
        con.execute("insert into foretable.prediction_log values ('r', 'p', 1, 'user_id', 'u', 0.5, now(), now())")
        con.execute("drop view foretable.versions")
        con.execute("drop view foretable.decay")
        con.execute("alter table foretable.models drop deciding_metric")
        con.execute("alter table foretable.models drop threshold")
        con.execute("alter table foretable.confusion rename is_chosen to is_best_f1")
        con.execute("insert into foretable.confusion values ('p', 1, 'test', 0.5, 1, 1, 1, 1, false)")
        con.execute("insert into foretable.confusion values ('p', 1, 'test', 0.3, 2, 2, 0, 0, true)")
        con.execute("drop table foretable.cost_curve")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "events.csv").write_text("user_id,event_type,occurred_at\nu,view,2025-01-01\n", "utf-8")
    run = run_dbt("run", "--select", "contract__events", warehouse=warehouse, data=tmp_path / "data")
    assert run.code == 0, run.output
    with duckdb.connect(str(warehouse), read_only=True) as con:
        logged = con.execute("select score, raw_score, is_shadow, item_id from foretable.prediction_log").fetchall()
        assert logged == [(0.5, None, False, None)]
        kept = con.execute("select threshold, is_chosen from foretable.confusion order by threshold").fetchall()
        assert kept == [(0.3, True), (0.5, False)]
        assert "is_best_f1" not in [name for name, *_ in con.execute("describe foretable.confusion").fetchall()]
        con.execute("select threshold, deciding_metric from foretable.versions; from foretable.cost_curve")
        con.execute("select metric, value_lost from foretable.decay; select metric_value from foretable.slices")


# What training did to the prior


RARE = """
    select u as user_id, timestamp '2025-01-01' as as_of, x, y, random() < 1 / (1 + exp(-(x + y - 3))) as bought
    from (select u, random() * 4 - 2 as x, random() * 2 as y from range(12000) as users (u))
"""


@pytest.fixture(scope="module")
def rare() -> dict[str, Any]:
    """Three sets of rows with some 7% of true labels, drawn from known probabilities."""
    con = duckdb.connect()
    con.execute("select setseed(0.2)")
    parts = {}
    for name in ("train", "validate", "test"):
        con.execute(f"create table {name} as {RARE}")
        schema = read_schema(con, name, entity="user_id", label="bought", as_of="as_of", exclude=())
        parts[name] = read_examples(connect_backend(con), name, schema)
    return parts


PRIOR = [
    {"class_weight": "balanced"},
    {"undersample": 0.2},
    {"class_weight": "balanced", "undersample": 0.3},
]


@pytest.mark.parametrize("config", PRIOR, ids=str)
def test_scores_are_probabilities_after_balanced_classes_and_undersampling(
    rare: dict[str, Any], config: dict[str, Any]
) -> None:
    spec = parse_spec({**BINARY, "params": {"n_estimators": 120}, "calibrate": None, **config})
    fitted = fit_spec(spec, rare["train"], rare["validate"], progress=lambda step, share: None)
    assert isinstance(fitted, CalibratedModel)
    labels, before, after = _scored(fitted, rare["test"])
    assert expected_calibration_error(labels, before) > 0.1
    assert expected_calibration_error(labels, after) < 0.02
    assert log_loss(labels, after) < log_loss(labels, before)
    assert roc_auc(labels, after) == pytest.approx(roc_auc(labels, before), abs=1e-5), "but for ties as float32"


@pytest.mark.parametrize("method", METHODS)
def test_focal_loss_is_made_good_by_calibration(rare: dict[str, Any], method: str) -> None:
    params = {"loss": "focal", "gamma": 3, "units": 16, "epochs": 3, "learning_rate": 0.01}
    spec = parse_spec({**BINARY, "model": "mlp", "params": params, "calibrate": method})
    fitted = fit_spec(spec, rare["train"], rare["validate"], progress=lambda step, share: None)
    labels, before, after = _scored(fitted, rare["test"])
    assert expected_calibration_error(labels, before) > 0.05, "focal loss draws probabilities towards a half"
    assert expected_calibration_error(labels, after) < 0.02
    assert roc_auc(labels, after) > 0.75


def test_undersampling_keeps_all_true_labels_and_whole_entities(rare: dict[str, Any]) -> None:
    con = duckdb.connect()
    con.execute("select setseed(0.1)")
    con.execute(
        "create table rows as select 'u' || u as user_id, timestamp '2025-01-01' + to_days(s::int) as as_of, "
        "random() < 0.1 as bought, random() as x from range(2000) as users (u), range(3) as snapshots (s)"
    )
    schema = read_schema(con, "rows", entity="user_id", label="bought", as_of="as_of", exclude=())
    examples = read_examples(connect_backend(con), "rows", schema)
    assert undersampled(examples, 1, seed=7).rows() == examples.rows()
    kept = undersampled(examples, 0.25, seed=7).table.to_pyarrow().to_pylist()
    everything = examples.table.to_pyarrow().to_pylist()
    assert sum(row["bought"] for row in kept) == sum(row["bought"] for row in everything)
    negatives = {row["user_id"] for row in kept if not row["bought"]}
    assert sum(not row["bought"] for row in kept) == sum(
        not row["bought"] for row in everything if row["user_id"] in negatives
    ), "a user's false labels are kept together"
    assert 0.2 < len(negatives) / 2000 < 0.3
    half = con.sql("from rows where as_of = '2025-01-01'")
    con.execute(f"create table half as {half.sql_query()}")
    fewer = undersampled(read_examples(connect_backend(con), "half", schema), 0.25, seed=7).table.to_pyarrow()
    assert {row["user_id"] for row in fewer.to_pylist() if not row["bought"]} <= negatives, "whichever rows there are"
    other = undersampled(examples, 0.25, seed=8).table.to_pyarrow().to_pylist()
    assert {row["user_id"] for row in other if not row["bought"]} != negatives


def _scored(fitted: CalibratedModel, part: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, the model's own scores and the calibrated ones."""
    batches = list(part.batches())
    labels = np.concatenate([batch.column("__label").to_numpy() for batch in batches])
    before, after = (np.concatenate([one.predict(batch) for batch in batches]) for one in (fitted.model, fitted))
    assert json.loads(fitted.dump()["calibration.json"])["method"] == fitted.calibration.method
    return labels, before, after
