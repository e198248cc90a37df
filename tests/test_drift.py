"""How far rows have drifted, how good scores turned out to be, and the policies that act on both."""

import math
from typing import Any

import duckdb
import numpy as np
import pytest

from models_ml.drift import category_drift, number_drift
from models_ml.evaluation import roc_auc
from tests.predicting import fixed, last_run, predict, version_count

# What is measured


def test_the_stability_index_is_what_one_would_add_up_by_hand() -> None:
    found = category_drift("kind", ["a", "a", "b", "b"], ["a", "b", "b", "b"])
    assert found.psi == pytest.approx((0.25 - 0.5) * math.log(0.25 / 0.5) + (0.75 - 0.5) * math.log(0.75 / 0.5))
    assert found.unknown_share == 0
    assert found.ks is None


def test_the_same_values_have_not_drifted_and_other_ones_have() -> None:
    values = np.random.default_rng(3).normal(size=5000)
    assert number_drift("x", values, values[::-1]).psi == 0
    assert number_drift("x", values, values).ks == 0
    calm = number_drift("x", values, np.random.default_rng(4).normal(size=5000))
    moved = number_drift("x", values, values + 1)
    assert calm.psi < 0.02
    assert moved.psi > 0.5
    assert moved.ks == pytest.approx(0.38, abs=0.03)


def test_missing_and_unknown_values_count() -> None:
    nan = np.nan
    found = number_drift("x", np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, nan, nan]))
    assert (found.missing_share_then, found.missing_share_now) == (0.0, 0.5)
    assert found.psi > 1
    strange = category_drift("kind", ["a", "b", None], ["z", "a", "y", None])
    assert strange.unknown_share == 0.5
    assert (strange.missing_share_then, strange.missing_share_now) == (pytest.approx(1 / 3), 0.25)


@pytest.mark.parametrize(
    ("then", "now"),
    [([np.nan] * 3, [1.0, 2.0]), ([1.0, 2.0], [np.nan]), ([5.0] * 4, [5.0] * 9), ([0.0], [1.0]), ([np.nan], [np.nan])],
)
def test_columns_of_one_value_or_none_are_measured_too(then: list[float], now: list[float]) -> None:
    assert math.isfinite(number_drift("x", np.array(then), np.array(now)).psi)


# What a build writes down


def drift(con: duckdb.DuckDBPyConnection, feature: str, column: str = "psi") -> Any:
    rows = con.execute(
        f"select {column} from foretable.drift where feature = ? order by measured_at, rowid", [feature]
    ).fetchall()
    return [value for (value,) in rows][-1]


def test_every_feature_and_the_score_are_measured_when_rows_are_scored(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    assert predict(con, select) is None
    assert con.execute("select count(*), count(distinct as_of) from foretable.drift").fetchone() == (4, 1)
    assert drift(con, "heat") < 0.2
    assert drift(con, "kind", "unknown_share") == 0
    con.execute("update fixed set heat = 9, kind = 'new', noise = null where bought is null")
    assert predict(con, select) is None
    assert version_count(con) == 1
    assert con.execute("select count(*), count(distinct version) from foretable.drift").fetchone() == (4, 1)
    assert drift(con, "heat") > 1
    assert drift(con, "score") > 1
    assert drift(con, "kind", "unknown_share") == 1
    assert (drift(con, "noise", "missing_share_then"), drift(con, "noise", "missing_share_now")) == (0, 1)


def know_outcomes(con: duckdb.DuckDBPyConnection, outcome: str) -> str:
    """The newest snapshot gets its labels, and a newer one comes; returns the SELECT."""
    con.execute(f"update fixed set bought = {outcome} where bought is null")
    con.execute(
        "insert into fixed select * replace (as_of + interval 30 days as as_of, null as bought) "
        "from fixed where as_of = (select max(as_of) from fixed)"
    )
    return "select * from fixed"


def test_outcomes_that_are_known_later_join_the_scores_that_were_given(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    assert predict(con, select) is None
    assert con.execute("from foretable.realised").fetchall() == []
    scored_at = con.execute("select max(as_of) from fixed").fetchone()
    scores = con.execute("select user_id, score from pred__test order by user_id").fetchall()
    know_outcomes(con, "heat > 4 and user_id <> 'u7'")
    outcomes = con.execute("select bought from fixed where as_of = ? order by user_id", scored_at).fetchall()
    expected = roc_auc(np.array(outcomes)[:, 0].astype(float), np.array([score for _, score in scores]))
    for _ in range(2):
        assert predict(con, select, train="never") is None
        found = con.execute(
            "select version, as_of, value, row_count from foretable.realised where metric = 'roc_auc'"
        ).fetchall()
        assert found == [(1, scored_at[0], pytest.approx(expected), 120)]


# What policies make of it


def test_new_rows_train_once_the_scores_have_drifted(con: duckdb.DuckDBPyConnection) -> None:
    select, policy = fixed(con), {"retrain": {"on_drift": 0.5}}
    assert predict(con, select, **policy) is None
    know_outcomes(con, "heat > 4")
    assert predict(con, select, **policy) is None
    assert version_count(con) == 1
    assert "new rows do not train yet: the PSI of the scores is 0." in last_run(con)["reason"]
    con.execute("update fixed set heat = 9 where bought is null")
    assert predict(con, select, **policy) is None
    assert version_count(con) == 2
    assert "new rows, and the PSI of the scores is" in last_run(con)["reason"]


def test_new_rows_train_once_the_scores_turned_out_worse(con: duckdb.DuckDBPyConnection) -> None:
    select, policy = fixed(con), {"retrain": {"on_decay": 0.2}, "promote": "always"}
    assert predict(con, select, **policy) is None
    con.execute("update fixed set noise = 0 where user_id = 'u1'")
    assert predict(con, select, **policy) is None
    assert version_count(con) == 1
    assert "the loss of AUC since the test is not known yet" in last_run(con)["reason"]
    know_outcomes(con, "heat > 4")
    assert predict(con, select, **policy) is None
    assert version_count(con) == 1
    assert "the loss of AUC since the test is -" in last_run(con)["reason"]
    know_outcomes(con, "heat < 4")
    before = con.execute("from foretable.realised order by all").fetchall()
    assert predict(con, select, is_plan=True, **policy) is None
    (reason,) = con.execute("select reason from foretable.plans where is_trained").fetchone()
    assert con.execute("from foretable.realised order by all").fetchall() == before, "a plan writes nothing else down"
    assert predict(con, select, **policy) is None
    assert version_count(con) == 2
    assert reason == last_run(con)["reason"]
    assert "new rows, and the loss of AUC since the test is" in last_run(con)["reason"]
