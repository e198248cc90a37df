"""From which score on a row is said to be true: by F1, by cost, by capacity; chosen on validation, kept, and shown."""

import json
import math
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibis_features import ConfigError
from models_ml.spec import parse_spec
from models_ml.thresholds import Capacity, choose_threshold, parse_threshold
from tests.predicting import BINARY, fixed, last_run, predict, version_count

LABELS = np.array([1, 0, 1, 0, 0, 1, 0, 0, 0, 0])
SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05])
COST = {"cost": {"false_positive": 1, "false_negative": 5}}
DEARLY_MISSED = {"cost": {"false_positive": 1, "false_negative": 20}}


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        ("f1", 0.7),
        (COST, 0.4),  # 3 false positives and nothing missed cost 3
        ({"cost": {"false_positive": 5, "false_negative": 1}}, 0.9),  # 2 missed cost 2
        ({"capacity": 4}, 0.6),
        ({"capacity": 99}, 0.05),
        ({"capacity": "29%"}, 0.8),
        ({"capacity": "100%"}, 0.05),
    ],
)
def test_the_threshold_that_was_counted_by_hand(threshold: Any, expected: float) -> None:
    assert choose_threshold(parse_threshold(threshold), LABELS, SCORES, snapshots=1) == expected


def test_where_no_row_had_better_be_said_to_be_true_the_threshold_lies_above_all() -> None:
    few = parse_threshold({"capacity": "5%"})
    dear = parse_threshold({"cost": {"false_positive": 9, "false_negative": 1}})
    for rule in (few, dear):
        assert 0.9 < choose_threshold(rule, 1 - LABELS, SCORES, snapshots=1) < 0.91


def test_a_share_is_rounded_down_from_what_it_says() -> None:
    for percent in range(1, 101):
        rule = parse_threshold({"capacity": f"{percent}%"})
        assert isinstance(rule, Capacity)
        assert (rule.of(100), rule.of(99)) == (percent, percent * 99 // 100), "0.29 * 100 is 28.999…"


def test_a_capacity_is_that_of_one_snapshot() -> None:
    rule = parse_threshold({"capacity": 2})
    assert choose_threshold(rule, LABELS, SCORES, snapshots=2) == 0.6


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=40), st.floats(0.1, 9), st.floats(0.1, 9)
)
def test_no_threshold_costs_less_than_the_chosen_one(
    rows: list[tuple[bool, int]], false_positive: float, false_negative: float
) -> None:
    labels, scores = np.array([float(y) for y, _ in rows]), np.array([s / 10 for _, s in rows])

    def cost(threshold: float) -> float:
        said = scores >= threshold
        return false_positive * (said & (labels == 0)).sum() + false_negative * (~said & (labels == 1)).sum()

    rule = parse_threshold({"cost": {"false_positive": false_positive, "false_negative": false_negative}})
    chosen = cost(choose_threshold(rule, labels, scores, snapshots=1))
    assert chosen == pytest.approx(min(map(cost, [*scores, 2.0])))


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"threshold": "best"}, "unknown threshold 'best'; known: f1, {'cost': "),
        ({"threshold": None}, "unknown threshold None; known: f1"),
        ({"threshold": 0.5}, "unknown threshold 0.5; known: f1"),
        ({"threshold": {"costs": 1}}, "unknown threshold {'costs': 1}; known"),
        ({"threshold": {"cost": {"false_positive": 1}}}, "has to give false_positive and false_negative"),
        (
            {"threshold": {"cost": {"false_positive": 0, "false_negative": 1}}},
            "cost false_positive=0 is not a number above",
        ),
        ({"threshold": {"cost": {"false_positive": 1, "false_negative": math.nan}}}, "false_negative=nan is not"),
        ({"threshold": {"capacity": 0}}, "capacity=0 is neither a number of rows above 0 nor a share such as '5%'"),
        ({"threshold": {"capacity": True}}, "capacity=True is neither"),
        ({"threshold": {"capacity": "101%"}}, "capacity='101%' is neither"),
        ({"calibrate": "sigmoid"}, "unknown calibrate 'sigmoid'; known: isotonic, platt"),
        ({"undersample": 0}, "config undersample=0 is not a share above 0, at most 1"),
        ({"undersample": "10%"}, "config undersample='10%' is not a share"),
        (
            {"model": "mlp", "params": {"loss": "focal"}, "calibrate": None},
            "scores of params.loss 'focal' are no probabilities; give calibrate='platt' or 'isotonic'",
        ),
    ],
)
def test_a_config_that_means_nothing_is_refused(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_spec({**BINARY, **config})
    assert sentence in str(refused.value)


# In a build


def flagged(con: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    return con.execute("select score_rank, score, predicted_label from pred__test order by score_rank").fetchall()


@pytest.mark.parametrize(("capacity", "rows"), [(17, 17), ("5%", 6), (5_000, 120), ("0.5%", 0)])
def test_a_capacity_says_true_of_exactly_so_many_of_the_newest_rows(
    con: duckdb.DuckDBPyConnection, capacity: Any, rows: int
) -> None:
    fixed(con)
    tied = "select * exclude (noise, kind) replace (round(heat / 5) as heat) from fixed"  # ties are cut by entity
    assert predict(con, tied, threshold={"capacity": capacity}, promote="always") is None
    assert [row[0] for row in flagged(con) if row[2]] == list(range(1, rows + 1))


def test_a_new_threshold_changes_the_table_and_the_metrics_and_trains_nothing(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    assert predict(con, select, promote="always") is None
    before, kept = flagged(con), _kept(con)
    assert kept["rule"] == "f1"
    assert predict(con, select, promote="always", threshold=DEARLY_MISSED) is None
    assert version_count(con) == 1
    after, chosen = flagged(con), _kept(con)
    assert [row[:2] for row in after] == [row[:2] for row in before], "the scores are as they were"
    assert chosen["rule"] == DEARLY_MISSED
    assert chosen["threshold"] < kept["threshold"], "what is missed costs more than a false alarm"
    assert [row[2] for row in after] == [row[1] >= chosen["threshold"] for row in after]
    assert sum(row[2] for row in after) > sum(row[2] for row in before)
    assert last_run(con)["reason"] == "nothing changed; the threshold is chosen anew"
    for rule_kept, split in ((chosen, "validate"), (chosen, "test")):
        counted = con.execute(
            "select true_positive / (true_positive + false_negative), threshold, "
            "false_positive + 20 * false_negative from foretable.confusion "
            "where prediction = 'test' and split = ? and is_chosen",
            [split],
        ).fetchall()
        [(recall, threshold, cost)] = counted
        assert threshold == rule_kept["threshold"]
        measured = con.execute(
            "select value from foretable.metrics where prediction = 'test' and split = ? and scored_by = 'model' "
            "and metric = 'recall'",
            [split],
        ).fetchall()
        assert measured == [(pytest.approx(recall),)]
        curve = con.execute(
            "select min(cost), min(cost) filter (threshold = ?), max(cost_per_row * 120 - cost) "
            "from foretable.cost_curve where prediction = 'test' and split = ?",
            [threshold, split],
        ).fetchone()
        assert curve[0] <= cost
        if split == "validate":
            assert curve == (cost, cost, pytest.approx(0, abs=1e-9))
    assert predict(con, select, promote="always", threshold=DEARLY_MISSED) is None
    assert last_run(con)["is_scored"] is False
    assert predict(con, select, promote="always") is None
    assert _kept(con) == kept
    assert flagged(con) == before
    assert con.execute("select count(*) from foretable.cost_curve").fetchone() == (0,)


def test_another_calibration_trains_anew(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    assert predict(con, select, promote="always", calibrate="platt") is None
    assert predict(con, select, promote="always", calibrate="isotonic") is None
    assert version_count(con) == 2


def test_a_threshold_that_can_no_longer_be_chosen_is_refused_and_the_table_stays(
    con: duckdb.DuckDBPyConnection,
) -> None:
    assert predict(con, fixed(con), promote="always") is None
    before = flagged(con)
    unlabelled = "select * replace (null::boolean as bought) from fixed"
    message = predict(con, unlabelled, train="never", promote="always", threshold=COST)
    assert message is not None
    assert "the threshold has changed, and the labelled train rows of version 1 are gone" in message
    assert flagged(con) == before


def test_realised_outcomes_are_judged_at_the_threshold_of_the_version(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    assert predict(con, select, promote="always", threshold={"capacity": 30}) is None
    threshold = _kept(con)["threshold"]
    con.execute("update fixed set bought = heat > 5 where bought is null")
    assert predict(con, select, promote="always", train="never", threshold={"capacity": 30}) is None
    recall = con.execute("select value from foretable.realised where metric = 'recall'").fetchone()
    expected = con.execute(
        f"select count(*) filter (score >= {threshold!r}) / count(*) from foretable.prediction_log as logged "
        "inner join fixed on logged.entity_id = fixed.user_id and logged.as_of = fixed.as_of where fixed.bought"
    ).fetchone()
    assert recall == (pytest.approx(expected[0]),)


def _kept(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    config, threshold = con.execute("select config, threshold from foretable.versions").fetchone() or ("{}", None)
    return {"rule": json.loads(config)["threshold"], "threshold": threshold}
