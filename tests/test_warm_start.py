"""A warm start goes on from what serves on new snapshots alone, and serves only if a full retrain is no better."""

from datetime import datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pytest

import udfs
from ibis_features import Examples, Split
from models_ml import fitting
from models_ml.artifact import unpack
from models_ml.judging import scored
from models_ml.registry import read_artifact
from models_ml.score_map import unmapped
from models_ml.trainer import FittedModel
from models_ml.warm_start import start_from
from tests.predicting import last_run, predict, version_count

SELECT = "select * from shop"
WARM: dict[str, Any] = {"warm_start": True, "promote": "always"}
DAYS = [datetime(2025, 1, 1) + timedelta(days=30 * number) for number in range(12)]


def grow(con: duckdb.DuckDBPyConnection, labelled: int, *, is_inverted: bool = False) -> None:
    """So many labelled snapshots and one to score; those of before keep their rows, the inverted ones another label."""
    con.execute(
        f"""
        create or replace table shop as
        select
            'u' || u as user_id,
            timestamp '2025-01-01' + interval (30 * s) days as as_of,
            case
                when s < {labelled} then ((u * 7 + s) % 10 + (hash(u, s) % 1000) / 333 > 6) <> {is_inverted}
            end as bought,
            ((u * 7 + s) % 10)::double as heat,
            (hash(s, u, 'noise') % 1000) / 1000 as noise,
            case when u % 9 = 0 then null else 'c' || (u % 4) end as kind
        from range(120) as users (u), range({labelled + 1}) as snapshots (s)
        """
    )


def model_of(con: duckdb.DuckDBPyConnection, version: int) -> Any:
    return unmapped(unpack(read_artifact(con, "test", version)))


def aucs(con: duckdb.DuckDBPyConnection, version: int) -> dict[str, tuple[float, float, float]]:
    rows = con.execute(
        "select scored_by, value, lower, upper from foretable.metrics "
        "where split = 'test' and metric = 'roc_auc' and version = ?",
        [version],
    ).fetchall()
    return {scored_by: tuple(values) for scored_by, *values in rows}


def scores(con: duckdb.DuckDBPyConnection) -> list[Any]:
    return con.execute("select user_id, score from pred__test order by user_id").fetchall()


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[set[datetime], set[datetime], Any, FittedModel, list[Any]]]:
    """Every training: snapshots that train and that stop it, what it goes on from, the model, and the labels and scores
    by both of the rows that stop it, as long as they lie where they were read."""
    seen: list[Any] = []
    fit_of = fitting.fit_of

    def snapshots(rows: Examples) -> set[datetime]:
        return set(rows.table.as_of.to_pyarrow().to_pylist())

    def recorded(name: str) -> Any:
        def fit(train: Examples, stopping: Examples, **settings: Any) -> FittedModel:
            fitted = fit_of(name)(train, stopping, **settings)
            start = settings["start"]
            said = [scored(model, stopping) for model in (start, fitted) if model is not None]
            seen.append((snapshots(train), snapshots(stopping), start, fitted, said))
            return fitted

        return fit

    monkeypatch.setattr(fitting, "fit_of", recorded)
    return seen


def test_trees_go_on_from_the_serving_ones_on_new_snapshots_alone(con: duckdb.DuckDBPyConnection, fits: Any) -> None:
    grow(con, 5)
    assert predict(con, SELECT, **WARM) is None
    assert [start for _, _, start, _, _ in fits] == [None]
    assert last_run(con)["reason"] == "never trained before"
    grow(con, 7)
    assert predict(con, SELECT, **WARM) is None
    full, warm = fits[1:]
    assert full[:2] == (set(DAYS[:5]), {DAYS[5]})
    assert warm[:2] == ({DAYS[3], DAYS[4]}, {DAYS[5]}), "snapshot 6 tests, and 0 to 2 are known already"
    before, after = (model_of(con, version).booster.get_dump() for version in (1, 2))
    assert after[: len(before)] == before
    assert len(after) > len(before)
    assert (
        "; warm start from version 1 on 2 new snapshots: its test AUC less that of a full retrain is "
        in (last_run(con)["reason"])
    )
    assert last_run(con)["reason"].endswith(", so the warm start is taken")
    found = aucs(con, 2)
    less, lower, upper = found["less_full_retrain"]
    assert less == pytest.approx(found["model"][0] - found["full_retrain"][0])
    assert lower <= less <= upper
    assert upper >= 0
    udfs.register(con)
    agree = "bool_and(pred.score = score_test(shop) and pred.score = scores.test(shop))"
    assert con.execute(f"select {agree} from pred__test as pred join shop using (user_id, as_of)").fetchone() == (True,)
    # The same rows without a warm start give the figure that it was compared with, and it stays with another threshold.
    assert predict(con, SELECT, promote="never") is None
    assert aucs(con, 3)["model"][0] == found["full_retrain"][0]
    assert predict(con, SELECT, **WARM, threshold={"capacity": 10}) is None
    assert last_run(con)["version"] == 2
    assert aucs(con, 2)["less_full_retrain"] == found["less_full_retrain"]


def planned(con: duckdb.DuckDBPyConnection, **config: Any) -> str:
    assert predict(con, SELECT, **WARM, **config, is_plan=True) is None
    row = con.execute("select reason from foretable.plans order by rowid desc limit 1").fetchone()
    assert row is not None
    return row[0]


def test_a_plan_says_what_a_training_will_go_on_from(con: duckdb.DuckDBPyConnection) -> None:
    changed = "the SELECT, the config, the training rows or a library changed"
    grow(con, 5)
    assert planned(con) == "never trained before"
    assert predict(con, SELECT, **WARM) is None
    assert planned(con) == "nothing changed"
    grow(con, 7)
    start = "warm start from version 1 on 2 new snapshots"
    assert planned(con) == f"{changed}; {start}, compared with a full retrain"
    assert planned(con, seed=8).endswith(
        "trained in full and not from version 1 on: the SELECT, the config, the features or a library are not those "
        "that it has"
    )
    con.execute(f"update shop set bought = false where as_of in ('{DAYS[3]}', '{DAYS[4]}')")
    full = "trained in full and not from version 1 on: what is new has labels of one kind only"
    assert planned(con) == f"{changed}; {full}"
    assert version_count(con) == 1
    assert predict(con, SELECT, **WARM) is None
    assert last_run(con)["reason"] == f"{changed}; {full}"


def test_a_plan_says_what_only_the_training_can_know(con: duckdb.DuckDBPyConnection) -> None:
    config: dict[str, Any] = {"select": {"method": "chi_square", "keep": 2}, "tune": {"trials": 1, "every": "1 hours"}}
    grow(con, 5)
    assert predict(con, SELECT, **WARM, **config) is None
    grow(con, 7)
    start = (
        "warm start from version 1 on 2 new snapshots, compared with a full retrain, unless other features are selected"
    )
    assert planned(con, **config).endswith(f"changed; {start}")
    con.execute("update foretable.trials set ended_at = ended_at - interval 2 hours")
    searching = "a search of at most 1 trials comes first"
    assert planned(con, **config).endswith(f"; {searching}; {start} or the search finds other params")


def test_a_warm_start_that_is_worse_gives_way_to_the_full_retrain(con: duckdb.DuckDBPyConnection) -> None:
    grow(con, 5, is_inverted=True)
    assert predict(con, SELECT, **WARM) is None
    grow(con, 7)
    con.execute(f"update shop set bought = not bought where as_of in ('{DAYS[3]}', '{DAYS[4]}')")
    assert predict(con, SELECT, **WARM) is None
    assert last_run(con)["reason"].endswith(", so the full retrain is taken")
    found = aucs(con, 2)
    assert found["less_warm_start"][1] > 0
    assert found["less_warm_start"][0] == pytest.approx(found["model"][0] - found["warm_start"][0])
    taken = scores(con)
    assert predict(con, SELECT, promote="always") is None
    assert scores(con) == taken


def test_a_network_goes_on_from_its_weights_and_is_no_worse_on_what_stops_it(
    con: duckdb.DuckDBPyConnection, fits: Any
) -> None:
    network = {"model": "mlp", "params": {"units": 8, "epochs": 3, "learning_rate": 1e-6}}
    grow(con, 5)
    assert predict(con, SELECT, **WARM, **network) is None
    grow(con, 7)
    assert predict(con, SELECT, **WARM, **network) is None
    _, _, start, warm, [(labels, first), (_, second)] = fits[2]
    assert second == pytest.approx(first, abs=1e-3), "so small a rate moves the weights by little"

    def loss(found: np.ndarray) -> float:
        return -np.where(labels == 1, np.log(found), np.log(1 - found)).mean()

    assert loss(second) <= loss(first) + 1e-6
    assert warm.encoding == start.encoding
    assert "warm start from version 1 on 2 new snapshots" in last_run(con)["reason"]
    fits.clear()
    grow(con, 8)
    hasty = {"model": "mlp", "params": {**network["params"], "learning_rate": 1.0}}
    assert predict(con, SELECT, **WARM, **hasty) is None
    grow(con, 9)
    assert predict(con, SELECT, **WARM, **hasty) is None
    *_, [(labels, first), (_, second)] = fits[2]
    assert loss(second) <= loss(first) + 1e-6, "steps that lead astray are not kept"


@pytest.mark.parametrize(
    ("labelled", "config", "words"),
    [
        (5, {}, "no snapshot that trains is new to it"),
        (7, {"seed": 8}, "the SELECT, the config, the features or a library are not those that it has"),
        (4, {}, "it has trained on snapshots that train no more, such as 2025-03-02"),
    ],
)
def test_without_what_it_takes_a_training_is_full_and_says_why(
    con: duckdb.DuckDBPyConnection, fits: Any, labelled: int, config: dict[str, Any], words: str
) -> None:
    grow(con, 5)
    assert predict(con, SELECT, **WARM) is None
    grow(con, labelled)
    con.execute("update shop set noise = 0 where user_id = 'u1'")
    assert predict(con, SELECT, **WARM, **config) is None
    assert version_count(con) == 2
    assert [start for _, _, start, _, _ in fits] == [None, None]
    assert last_run(con)["reason"].endswith(f"; trained in full and not from version 1 on: {words}")


def test_new_snapshots_without_a_true_label_train_in_full(con: duckdb.DuckDBPyConnection) -> None:
    grow(con, 5)
    assert predict(con, SELECT, **WARM) is None
    grow(con, 7)
    con.execute(f"update shop set bought = false where as_of in ('{DAYS[3]}', '{DAYS[4]}')")
    assert predict(con, SELECT, **WARM) is None
    assert last_run(con)["reason"].endswith("version 1 on: what is new has labels of one kind only")


def test_what_was_validated_on_may_train_but_its_window_ends_before_the_test_snapshots() -> None:
    def before(train: range, validate: list[int]) -> dict[str, list[str]]:
        return {"train": [str(DAYS[n]) for n in train], "validate": [str(DAYS[n]) for n in validate]}

    split = Split(train=tuple(DAYS[:5]), validate=(DAYS[5],), test=(DAYS[6],))
    assert start_from(before(range(3), [3]), split, horizon_days=30).snapshots == (DAYS[3], DAYS[4])
    assert start_from(before(range(3), [5]), split, horizon_days=30).obstacle is None
    for validate, horizon in (([6], 30), ([5], 31)):
        found = start_from(before(range(3), validate), split, horizon_days=horizon)
        assert found.obstacle == "it was stopped by snapshots whose windows reach into the test snapshots"
    assert start_from(before(range(6), [6]), split, horizon_days=30).obstacle is not None


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"warm_start": "yes"}, "config warm_start='yes' is not true or false"),
        ({"model": ["xgboost", "mlp"], "params": {}}, "warm_start goes on with one trainer's model"),
        ({"class_weight": "balanced", "calibrate": None}, "warm_start mixes what class_weight and undersample do"),
    ],
)
def test_a_warm_start_that_cannot_be_is_refused(
    con: duckdb.DuckDBPyConnection, config: dict[str, Any], sentence: str
) -> None:
    grow(con, 5)
    message = predict(con, SELECT, **{**WARM, **config})
    assert message is not None
    assert sentence in message
