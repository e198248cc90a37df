"""Export to MLflow: the run holds what the registry holds."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from foretable.cli import main
from tests.predicting import fixed, predict

needs_mlflow = pytest.mark.skipif(
    find_spec("mlflow") is None, reason="MLflow is not installed: pip install 'foretable[mlflow]'"
)


@pytest.fixture
def warehouse(warehouse: Path) -> Path:
    """A warehouse with one version of the prediction `test`."""
    with duckdb.connect(str(warehouse)) as con:
        con.execute("select setseed(0.5)")
        assert predict(con, fixed(con), slices=["kind"]) is None
    return warehouse


def export(warehouse: Path, *arguments: str) -> Result:
    store = f"file:{warehouse.parent / 'runs'}"
    return CliRunner().invoke(
        main, ["export", *arguments, "--to", "mlflow", "--tracking-uri", store, "--warehouse", str(warehouse)]
    )


@needs_mlflow
def test_a_run_holds_config_metrics_fingerprint_and_the_artifact(warehouse: Path) -> None:
    from mlflow import MlflowClient

    done = export(warehouse, "test")
    assert done.exit_code == 0, done.output
    client = MlflowClient(tracking_uri=f"file:{warehouse.parent / 'runs'}")
    [experiment] = [one for one in client.search_experiments() if one.name == "foretable"]
    [run] = client.search_runs([experiment.experiment_id])
    assert done.output == f"Version 1 of test is run {run.info.run_id} of the experiment 'foretable'.\n"
    assert run.info.status == "FINISHED"
    assert (run.data.params["model"], run.data.params["params.n_estimators"]) == ("xgboost", "20")
    assert json.loads(run.data.params["slices"]) == ["kind"]
    with duckdb.connect(str(warehouse), read_only=True) as con:
        metrics = con.execute(
            "select split || '.' || scored_by || '.' || metric, value from foretable.metrics where not isnan(value)"
        ).fetchall()
        fingerprint, digest, artifact = con.execute(
            "select fingerprint, artifact_sha256, artifact from foretable.models"
        ).fetchone()
    assert len(metrics) > 40
    assert {name: run.data.metrics[name] for name, _ in metrics} == pytest.approx(dict(metrics))
    tags = {name: value for name, value in run.data.tags.items() if name.startswith("foretable.")}
    assert tags == {
        "foretable.prediction": "test",
        "foretable.version": "1",
        "foretable.status": "active",
        "foretable.fingerprint": fingerprint,
        "foretable.artifact_sha256": digest,
    }
    folder = warehouse.parent / "taken"
    folder.mkdir()
    taken = Path(client.download_artifacts(run.info.run_id, "test.1.zip", str(folder))).read_bytes()
    assert taken == artifact
    sums = Path(client.download_artifacts(run.info.run_id, "test.1.sha256", str(folder))).read_text()
    assert sums == f"{hashlib.sha256(taken).hexdigest()}  test.1.zip\n"


@needs_mlflow
def test_a_version_is_exported_once_and_one_that_was_broken_off_again(warehouse: Path) -> None:
    from mlflow import MlflowClient

    first = export(warehouse, "test")
    again = export(warehouse, "test", "--version", "1")
    assert again.output == first.output.replace(" is run ", " was exported before as run ")
    client = MlflowClient(tracking_uri=f"file:{warehouse.parent / 'runs'}")
    run_id = first.output.split(" run ")[1].split(" ")[0]
    client.update_run(run_id, status="RUNNING")
    assert " is run " in export(warehouse, "test").output


@needs_mlflow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["tset"], "no prediction 'tset'"),
        (["test", "--version", "7"], "no version 7 of prediction 'test'; there are: 1"),
    ],
)
def test_what_is_not_there_is_told(warehouse: Path, arguments: list[str], sentence: str) -> None:
    done = export(warehouse, *arguments)
    assert done.exit_code != 0
    assert sentence in done.output


@needs_mlflow
def test_a_damaged_artifact_is_not_exported(warehouse: Path) -> None:
    with duckdb.connect(str(warehouse)) as con:
        con.execute("update foretable.models set artifact = artifact || 'x'::blob")
    done = export(warehouse, "test")
    assert done.exit_code != 0
    assert "is not the one that was registered" in done.output
    assert not (warehouse.parent / "runs").exists()


def test_without_mlflow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = export(tmp_path / "shop.duckdb", "test")
    assert done.exit_code == 2
    assert "pip install 'foretable[mlflow]'" in done.output
