"""Measures of classes against lists gone through one by one, repeated lists, and what is refused."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibis_features import ExamplesError
from models_ml.baselines import share_scores
from models_ml.class_metrics import class_measures

CLASSES = 4
# A list is its weight, its own class, -1 being none of those that are scored, and sizes that become probabilities.
LISTS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(-1, CLASSES - 1),
        st.lists(st.integers(0, 3), min_size=CLASSES, max_size=CLASSES).filter(any),
    ),
    min_size=1,
    max_size=8,
)


def measured(rows: list[tuple[Any, ...]], weights: list[int] | None = None) -> dict[str, float]:
    """Of rows of list, class, label and score."""
    groups, items, labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    counted = np.ones(len(rows)) if weights is None else np.array(weights)
    values = class_measures(labels, scores, groups, items)(counted[None, :])
    assert all(value.shape == (1,) for value in values.values())
    return {name: float(value[0]) for name, value in values.items()}


def reckoned(lists: list[tuple[int, list[float]]]) -> dict[str, float]:
    """Of lists of own class and probabilities; all but the calibration error."""
    losses, first, among_3 = [], [], []
    for own, shares in lists:
        given_to_own = shares[own] if own >= 0 else 0.0
        losses.append(-np.log(max(given_to_own, 1e-7)))
        for most, right in ((1, first), (3, among_3)):
            # Of all orders that the probabilities allow, the share in which the own class stands among so many.
            higher, equal = (sum(share > given_to_own for share in shares), shares.count(given_to_own))
            places = range(higher, higher + equal)
            right.append(np.mean([place < most for place in places]) if own >= 0 else 0.0)
    aucs = []
    for code in range(CLASSES):
        pairs = [
            (one[1][code] > other[1][code]) + (one[1][code] == other[1][code]) / 2
            for one in lists
            for other in lists
            if one[0] == code != other[0]
        ]
        aucs += [np.mean(pairs)] if pairs else []
    means = {"log_loss": losses, "accuracy": first, "top_3_accuracy": among_3, "macro_roc_auc": aucs}
    return {name: float(np.mean(values)) if values else np.nan for name, values in means.items()}


@settings(max_examples=200, deadline=None)
@given(LISTS, st.randoms())
def test_measures_are_those_of_repeated_lists_in_any_order_of_rows(lists: Any, random: Any) -> None:
    rows, weights, repeated = [], [], []
    for number, (weight, own, sizes) in enumerate(lists):
        shares = [size / sum(sizes) for size in sizes]
        rows += [(number, 10 * code, int(code == own), share) for code, share in enumerate(shares)]
        weights += [weight] * CLASSES
        repeated += [(own, shares)] * weight
    order = random.sample(range(len(rows)), len(rows))
    found = measured([rows[place] for place in order], [weights[place] for place in order])
    for name, value in reckoned(repeated).items():
        assert found[name] == pytest.approx(value, nan_ok=True)


def test_the_calibration_error_is_that_of_the_likeliest_class_in_tenths_of_the_lists() -> None:
    rng = np.random.default_rng(3)
    likeliest = rng.permutation(np.linspace(0.55, 0.9, 40))
    is_right = rng.random(40) < 0.6
    rows = []
    for number, (share, right) in enumerate(zip(likeliest, is_right, strict=True)):
        rows += [(number, 0, int(right), share), (number, 1, int(not right), 1 - share)]
    tenths = np.argsort(-likeliest).reshape(10, 4)
    gaps = [abs(is_right[tenth].mean() - likeliest[tenth].mean()) for tenth in tenths]
    assert measured(rows)["expected_calibration_error"] == pytest.approx(np.mean(gaps))


def test_a_class_without_a_row_in_a_list_has_no_probability_there() -> None:
    whole = [(0, 0, 1, 0.7), (0, 1, 0, 0.3), (0, 2, 0, 0.0), (1, 0, 0, 0.0), (1, 1, 0, 0.4), (1, 2, 1, 0.6)]
    assert measured([row for row in whole if row[3]]) == measured(whole)


def test_shares_are_those_of_the_training_lists() -> None:
    own, asked = pa.chunked_array([["a", "b"], ["a"]]), pa.chunked_array([["b", "new"], ["a"]])
    np.testing.assert_allclose(share_scores(own, asked), [1 / 3, 0, 2 / 3], rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([(0, 0, 1, np.nan)], "NaN or infinite"),
        ([(0, 0, 2, 0.5)], "labels are other than 0 and 1"),
        ([(0, 0, 1, 0.5), (0, 0, 0, 0.5)], "a list has a class twice"),
        ([(0, 0, 1, 0.5), (0, 1, 1, 0.5)], "a list has two classes that are true"),
    ],
)
def test_what_are_no_lists_of_classes_is_refused(rows: list[tuple[Any, ...]], sentence: str) -> None:
    with pytest.raises(ExamplesError, match=sentence):
        measured(rows)
