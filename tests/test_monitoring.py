"""The monitoring models: what they say of the log, of outcomes and of drift, and the tests that a team puts on them."""

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pytest

from ibis_features import FeatureSchema
from models_ml.evaluation import evaluate
from tests.conftest import DBT_PROJECT, DbtRun, run_dbt
from tests.predicting import fixed, predict
from udfs.lifecycle import roll_back
from udfs.watching import write_realised

MODELS = ("monitoring__realised", "monitoring__drift", "monitoring__scores", "monitoring__metrics")
AS_OF = datetime(2025, 5, 1)


@pytest.fixture(scope="session")
def watched(session_once: Callable[[str, Callable[[Path], None]], Path], stateful: Path) -> Path:
    """A warehouse without a prediction, with the monitoring models. Read it only."""

    def make(folder: Path) -> None:
        warehouse = Path(shutil.copy(stateful, folder / "shop.duckdb"))
        run = run_dbt("build", "--select", "models/monitoring", warehouse=warehouse, data=stateful.parent / "data")
        assert run.code == 0, run.output

    return session_once("watched", make) / "shop.duckdb"


@pytest.fixture
def con(watched: Path, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A copy of another name: a view that named the catalog would not be found in it."""
    with duckdb.connect(shutil.copy(watched, tmp_path / "copied.duckdb")) as connection:
        connection.execute("select setseed(0.5)")
        yield connection


def test_without_a_prediction_they_are_empty(con: duckdb.DuckDBPyConnection) -> None:
    assert [con.execute(f"from {model}").fetchall() for model in MODELS] == [[]] * len(MODELS)


# Realised


def realise(
    con: duckdb.DuckDBPyConnection, labels: np.ndarray, scores: np.ndarray, threshold: float | None = 0.5
) -> dict[str, float | None]:
    """Write a version, its log and the examples that tell the outcomes; give its row of monitoring__realised."""
    pairs = enumerate(zip(labels, scores, strict=True))
    rows = [[f"u{number}", float(score), float(label)] for number, (label, score) in pairs]
    con.execute(
        "insert into foretable.models by name select 'p' as prediction, 1 as version, 'xgboost' as model, "
        "'binary' as kind, 'user_id' as entity, 'l' as label, 30 as horizon_days, '' as fingerprint, '{}' as config, "
        "'{}' as feature_schema, '{}' as environment, '{}' as split, 1 as train_rows, 1 as validate_rows, "
        "1 as test_rows, 1 as train_seconds, ''::blob as artifact, '' as artifact_sha256, ? as threshold, "
        "now()::timestamp as trained_at",
        [threshold],
    )
    con.executemany(
        "insert into foretable.prediction_log by name select 'r' as run_id, 'p' as prediction, 1 as version, "
        "'user_id' as entity, $1 as entity_id, $2 as score, $3::timestamp as as_of, $3::timestamp as scored_at",
        [[entity, score, AS_OF] for entity, score, _ in rows],
    )
    con.execute("create table examples (user_id varchar, as_of timestamp, l double)")
    con.executemany("insert into examples values (?, ?, ?)", [[entity, AS_OF, label] for entity, _, label in rows])
    assert write_realised(con, "p", "examples", FeatureSchema("user_id", "as_of", "l", ()), AS_OF) == 1
    cursor = con.execute("from monitoring__realised")
    names = [column[0] for column in cursor.description or []]
    [row] = cursor.fetchall()
    return dict(zip(names, row, strict=True))


def test_the_numbers_are_those_that_one_reckons_by_hand(con: duckdb.DuckDBPyConnection) -> None:
    found = realise(con, np.array([0, 0, 1, 1]), np.array([0.25, 0.5, 0.5, 0.75]))
    assert (found["row_count"], found["positive_count"], found["event_rate"], found["mean_score"]) == (4, 2, 0.5, 0.5)
    assert found["roc_auc"] == (1 + 1 + 1 + 0.5) / 4
    assert found["brier"] == (0.25**2 + 0.5**2 + 0.5**2 + 0.25**2) / 4
    assert found["log_loss"] == pytest.approx(-(2 * np.log(0.75) + 2 * np.log(0.5)) / 4)
    assert (found["precision_at_threshold"], found["recall_at_threshold"]) == (2 / 3, 1)


@pytest.mark.parametrize(
    ("rows", "decimals", "rate", "threshold"),
    [
        (1, 2, 0.5, 0.5),
        (7, 1, 0.5, 0.5),
        (500, 1, 0.3, 0.3),
        (500, 6, 0.02, 0.9),
        (300, 2, 0.0, 0.5),
        (50, 1, 1.0, None),
    ],
)
def test_the_view_gives_the_numbers_of_python(
    con: duckdb.DuckDBPyConnection, rows: int, decimals: int, rate: float, threshold: float | None
) -> None:
    draws = np.random.default_rng(rows)
    scores = np.round(draws.random(rows), decimals).astype(np.float32)
    scores[: rows // 10] = draws.integers(0, 2, rows // 10)  # certain, and sometimes wrong
    labels = (draws.random(rows) < rate).astype(float)
    found = realise(con, labels, scores, threshold)
    columns = {"precision": "precision_at_threshold", "recall": "recall_at_threshold"}
    of_python = {
        columns.get(metric.name, metric.name): metric.value
        for metric in evaluate(labels, scores, seed=0, resamples=0, threshold=threshold or 0.5)
    }
    compared = [name for name in of_python if name in found]
    assert len(compared) == 6
    of_view = [np.nan if found[name] is None else found[name] for name in compared]
    assert of_view == pytest.approx([of_python[name] for name in compared], rel=1e-9, nan_ok=True)


def know_outcomes(con: duckdb.DuckDBPyConnection, outcome: str) -> None:
    """The newest snapshot gets its labels, and a newer one comes."""
    con.execute(f"update fixed set bought = {outcome} where bought is null")
    con.execute(
        "insert into fixed select * replace (as_of + interval 30 days as as_of, null as bought) "
        "from fixed where as_of = (select max(as_of) from fixed)"
    )


def test_what_a_build_realises_is_what_the_view_shows_of_the_scores_that_served(
    con: duckdb.DuckDBPyConnection,
) -> None:
    select = fixed(con)
    assert predict(con, select) is None
    assert predict(con, select, seed=8, params={"n_estimators": 3}) is None
    roll_back(con, "test")
    know_outcomes(con, "heat > 4 and user_id <> 'u7'")
    assert predict(con, select, train="never") is None
    shown = con.execute(
        "select version, as_of, row_count, roc_auc, log_loss, expected_calibration_error, recall_at_threshold, "
        "roc_auc_lost from monitoring__realised order by version"
    ).fetchall()
    written = con.execute(
        "pivot foretable.realised on metric using first(value) group by version, as_of order by version"
    )
    by_python = written.df().to_dict("records")
    lost = con.execute(
        "select value from foretable.metrics where metric = 'roc_auc' and split = 'test' and scored_by = 'model' "
        "order by version"
    ).fetchall()
    assert [row[0] for row in shown] == [1, 2]
    for (version, as_of, rows, *values, fallen), row, (test,) in zip(shown, by_python, lost, strict=True):
        assert (version, as_of, rows) == (row["version"], row["as_of"], 120)
        names = ("roc_auc", "log_loss", "expected_calibration_error", "recall")
        assert values == pytest.approx([row[name] for name in names])
        assert fallen == pytest.approx(test - row["roc_auc"])
    assert (
        con.execute("select count(*), sum(label) from foretable.outcomes").fetchone()
        == con.execute("select count(*), sum(bought::integer) from fixed where as_of = ?", [shown[0][1]]).fetchone()
    )


# Drift and scores


def test_the_view_of_drift_says_what_is_beyond_which_bound(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    predict(con, select)
    know_outcomes(con, "heat > 4")
    con.execute("update fixed set kind = 'new', noise = null where bought is null")
    predict(con, select, train="never")
    rows = con.execute(
        "select feature, is_drifted, psi_bound, missing_bound, unknown_bound from monitoring__drift where is_newest"
    ).fetchall()
    bounds = (0.2, 0.1, 0.05)
    is_drifted = {row[0]: row[1] for row in rows if row[0] != "score"}
    assert is_drifted == {"heat": False, "noise": True, "kind": True}
    assert {row[2:] for row in rows} == {bounds}
    assert con.execute("select count(*), count(*) filter (is_newest) from monitoring__drift").fetchone() == (8, 4)


def test_the_view_of_scores_describes_what_was_logged(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    predict(con, select)
    found = con.execute(
        "select row_count, mean_score, score_p50, greatest_score, share_above_threshold from monitoring__scores"
    ).fetchall()
    expected = con.execute(
        "select count(*), avg(score::double), median(score::double), max(score)::double, avg(predicted_label::integer) "
        "from pred__test"
    ).fetchone()
    assert found == [pytest.approx(expected)]


def test_the_view_of_metrics_has_the_model_beside_its_baselines_and_null_for_what_is_not_defined(
    con: duckdb.DuckDBPyConnection,
) -> None:
    select = fixed(con)
    predict(con, select)
    predict(con, select, promote="never", seed=8)
    con.execute("update foretable.metrics set value = 'nan', lower = 'nan' where version = 2 and metric = 'f1'")
    served = con.execute(
        "select scored_by, metric_value from monitoring__metrics "
        "where is_active and split = 'test' and metric = 'roc_auc' and not contains(scored_by, 'above')"
    ).fetchall()
    assert {"model", "base_rate"} <= {scored_by for scored_by, _ in served}
    assert dict(served)["base_rate"] == 0.5
    shown = con.execute(
        "select version, is_active, count(*), count(*) filter (metric_value is null and metric_lower is null) "
        "from monitoring__metrics where split = 'test' and metric = 'f1' and scored_by in ('model', 'base_rate') "
        "group by all order by all"
    ).fetchall()
    assert shown == [(1, True, 2, 0), (2, False, 2, 2)]


# Tests that a team puts on a prediction


OWN = """
{{ config(materialized='prediction', entity='user_id', label='l', horizon_days=30, kind='binary', model='xgboost') }}
select * from {{ ref('features__user') }}
"""
OWN_TESTS = """
models:
  - name: pred__own
    description: One row a user.
    data_tests:
      - no_drift
      - no_drift: {name: looser, arguments: {psi: 0.5, missing: 0.9, unknown: 0.5, exclude: [score]}}
      - no_drift: {name: of_the_score, arguments: {features: [score]}, config: {severity: error}}
      - no_decay
      - no_decay: {name: at_most, arguments: {auc: 0.3}}
"""


@pytest.fixture(scope="module")
def tested(watched: Path, tmp_path_factory: pytest.TempPathFactory) -> DbtRun:
    """The tests of drift and decay, of a project with a prediction of its own, on a state that is written by hand."""
    folder = tmp_path_factory.mktemp("tested")
    project = folder / "project"
    shutil.copytree(DBT_PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    (project / "models" / "predictions" / "pred__own.sql").write_text(OWN)
    (project / "models" / "predictions" / "_own.yml").write_text(OWN_TESTS)
    yaml = project / "models" / "monitoring" / "_monitoring__models.yml"
    grain = "columns: [prediction, version, feature, as_of]}\n"
    of_all = "      - no_drift: {name: of_all_predictions}\n"
    of_one = "      - no_drift: {name: of_one_by_name, arguments: {prediction: churn_30d}}\n"
    text = yaml.read_text()
    assert grain in text
    yaml.write_text(text.replace(grain, grain + of_all + of_one))
    warehouse = Path(shutil.copy(watched, folder / "shop.duckdb"))
    with duckdb.connect(str(warehouse)) as con:
        con.execute(
            "insert into foretable.active values ('own', 2, now()::timestamp), ('churn_30d', 1, now()::timestamp)"
        )
        con.executemany(
            "insert into foretable.drift values (?, ?, ?, ?, ?, null, ?, ?, ?, now()::timestamp)",
            [
                ["own", 1, datetime(2025, 6, 1), "age", 9.0, 0.0, 0.0, None],  # another version
                ["own", 2, datetime(2025, 4, 1), "age", 9.0, 0.0, 0.0, None],  # another snapshot
                ["own", 2, AS_OF, "age", 0.2, 0.0, 0.1, None],  # at the bounds, not above
                ["own", 2, AS_OF, "rate", 0.25, 0.0, 0.0, None],
                ["own", 2, AS_OF, "price", 0.1, 0.25, 0.75, None],
                ["own", 2, AS_OF, "city", 0.1, 0.0, 0.0, 0.125],
                ["own", 2, AS_OF, "score", 0.625, 0.0, 0.0, None],
                ["churn_30d", 1, AS_OF, "score", 0.1, 0.0, 0.0, None],
            ],
        )
        con.execute("insert into foretable.metrics values ('own', 2, 'test', 'model', 'roc_auc', 0.875, 0, 1, 10)")
        con.executemany(
            "insert into foretable.realised values ('own', 2, ?, 'roc_auc', ?, 10, now()::timestamp)",
            [[datetime(2025, 3, 1), 0.5], [datetime(2025, 4, 1), 0.625]],
        )
    return run_dbt("test", "--select", "test_name:no_drift", "test_name:no_decay", warehouse=warehouse, project=project)


def test_tests_of_drift_and_decay_warn_of_what_is_beyond_their_bounds(tested: DbtRun) -> None:
    found = tested.results()
    assert found.pop("of_the_score") == "fail"
    assert found.pop("no_drift_pred__own_") == "warn"
    assert found.pop("no_decay_pred__own_") == "warn"
    assert found.pop("of_all_predictions") == "warn"
    assert set(found.values()) == {"pass", "success"}, "other tests, and the hooks of the run"
    assert {"looser", "at_most", "of_one_by_name"} <= set(found)
    assert [name for name in found if name.startswith("no_drift_pred__purchase_30d")], f"not shipped: {sorted(found)}"


def test_they_name_features_and_values(tested: DbtRun) -> None:
    told = [line.split("own of ")[1] for line in tested.output.splitlines() if "own of " in line]
    assert set(told) == {
        "2025-05-01: score has drifted: PSI 0.625 above 0.2",
        "2025-05-01: rate has drifted: PSI 0.25 above 0.2",
        "2025-05-01: price has drifted: missing 0.75 of the rows, before 0.25",
        "2025-05-01: city has drifted: a category that no training row had in 0.125 of the rows",
        "2025-04-01: the AUC has decayed: 0.625, in the test 0.875",
    }


def test_a_bound_that_is_none_is_refused_by_name(watched: Path, tmp_path: Path) -> None:
    warehouse = Path(shutil.copy(watched, tmp_path / "shop.duckdb"))
    for bounds, sentence in (
        ({"pis": 0.3}, "unknown bound 'pis' of drift_bounds; known: psi, missing, unknown"),
        ({"psi": "high"}, 'the bound psi of drift is "high", not a number'),
    ):
        run = run_dbt(
            "compile", "--select", "monitoring__drift", warehouse=warehouse, variables={"drift_bounds": bounds}
        )
        assert run.code != 0
        assert sentence in run.output
