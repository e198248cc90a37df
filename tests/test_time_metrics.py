"""Measures of predicted days until an event against all pairs, one by one, and what is not defined."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibis_features import ExamplesError
from models_ml.time_metrics import time_measures

HORIZON = 9
# Labels of 9 and more are "not within the horizon"; few scores, so that many tie.
ROWS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 3)), min_size=1, max_size=30)


def measured(labels: list[float], scores: list[float], weights: list[float] | None = None) -> dict[str, float]:
    counted = np.ones(len(labels)) if weights is None else np.array(weights, float)
    values = time_measures(np.array(labels, float), np.array(scores, float), HORIZON)(counted[None, :])
    assert all(value.shape == (1,) for value in values.values())
    return {name: float(value[0]) for name, value in values.items()}


def reckoned(rows: list[tuple[int, int]]) -> dict[str, float]:
    pairs = [
        (earlier, later)
        for earlier, later in permutations(rows, 2)
        if earlier[0] < HORIZON and (later[0] >= HORIZON or later[0] > earlier[0])
    ]
    agreeing = sum(1.0 if earlier[1] < later[1] else 0.5 if earlier[1] == later[1] else 0.0 for earlier, later in pairs)
    excesses = [HORIZON / (HORIZON + score) - (label < HORIZON) for label, score in rows]
    return {
        "concordance": agreeing / len(pairs) if pairs else np.nan,
        "brier_at_horizon": sum(one**2 for one in excesses) / len(rows) if rows else np.nan,
        "event_share_error": sum(excesses) / len(rows) if rows else np.nan,
    }


@settings(max_examples=200, deadline=None)
@given(ROWS, st.randoms())
def test_measures_are_those_of_all_pairs_of_the_repeated_rows(rows: list[tuple[int, int, int]], random) -> None:
    repeated = [row[:2] for row in rows for _ in range(row[2])]
    expected = reckoned(repeated)
    random.shuffle(rows)
    labels, scores, weights = (list(column) for column in zip(*rows, strict=True))
    assert measured(labels, scores, weights) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("distinct", [1, 2, 3, 128, 129, 300])
def test_concordance_is_exact_however_many_times_there_are(distinct: int) -> None:
    draws = np.random.default_rng(distinct)
    labels = draws.permutation(np.concatenate([np.arange(distinct), draws.integers(0, distinct + 20, 100)]))
    labels = labels * HORIZON / distinct
    scores = np.round(labels + draws.normal(0, 3, len(labels)))
    sooner = (labels[:, None] < labels[None, :]) & (labels[:, None] < HORIZON)
    agree = (np.sign(scores[None, :] - scores[:, None]) + 1) / 2
    assert measured(list(labels), list(scores))["concordance"] == pytest.approx(agree[sooner].mean(), abs=1e-12)


def test_each_resample_has_its_own_weights() -> None:
    draws = np.random.default_rng(1)
    labels, scores = draws.integers(0, 12, 40).astype(float), draws.integers(0, 12, 40).astype(float)
    weights = draws.integers(0, 4, (5, 40))
    together = time_measures(labels, scores, HORIZON)(weights)
    for index, row in enumerate(weights):
        alone = measured(list(labels), list(scores), list(row))
        assert {name: values[index] for name, values in together.items()} == pytest.approx(alone)


def test_the_horizon_itself_is_no_event() -> None:
    # Only the first has an event: pairs with both others. It is said to come before one of them, and tied with one.
    found = measured([8.5, 9.0, 30.0], [9.0, 9.0, 18.0])
    chances = [1 / 2, 1 / 2, 1 / 3]
    assert found == pytest.approx(
        {
            "concordance": 0.75,
            "brier_at_horizon": (0.25 + 0.25 + 1 / 9) / 3,
            "event_share_error": sum(chances) / 3 - 1 / 3,
        }
    )


def test_without_pairs_or_events_nothing_is_defined() -> None:
    censored = measured([9.0, 10.0], [3.0, 27.0])
    assert np.isnan(censored["concordance"])
    assert censored["event_share_error"] == (0.75 + 0.25) / 2
    assert np.isnan(measured([4.0, 4.0, 4.0], [1.0, 2.0, 3.0])["concordance"])
    assert np.isnan(list(measured([], []).values())).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused_by_name(bad: float) -> None:
    with pytest.raises(ExamplesError, match="1 of 2 scores are NaN or infinite; leave rows without a label out"):
        measured([1.0, 2.0], [bad, 1.0])
    with pytest.raises(ExamplesError, match="1 of 2 labels are NaN"):
        measured([1.0, bad], [1.0, 1.0])
    with pytest.raises(ExamplesError, match="give one each a row"):
        measured([1.0, 2.0], [1.0])
