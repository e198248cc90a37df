"""Measures of ranked lists against lists sorted and walked one by one, repeated lists, and what is refused."""

from math import log2
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibis_features import ExamplesError
from models_ml.ranking_metrics import ranking_measures

# A list is its weight and, by item, label and score. Scores are permutations where ties would leave the order open.
LISTS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.dictionaries(st.integers(0, 9), st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1),
    ),
    min_size=1,
    max_size=8,
)


def measured(rows: list[tuple[Any, ...]], k: int, weights: list[int] | None = None) -> dict[str, float]:
    """Of rows of list, item, label and score."""
    groups, items, labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    counted = np.ones(len(rows)) if weights is None else np.array(weights)
    values = ranking_measures(labels, scores, groups, items, k)(counted[None, :])
    assert all(value.shape == (1,) for value in values.values())
    return {name: float(value[0]) for name, value in values.items()}


def reckoned(lists: list[list[tuple[int, int, float]]], items: int, k: int) -> dict[str, float]:
    """Of lists of item, label and score, no two of equal score."""
    found: list[tuple[float, ...]] = []
    shown: set[int] = set()
    for rows in lists:
        ranked = sorted(rows, key=lambda row: -row[2])
        labels = [row[1] for row in ranked]
        shown.update(row[0] for row in ranked[:k])
        hits = [place for place, label in enumerate(labels, start=1) if label]
        if not hits:
            continue
        within = [place for place in hits if place <= k]
        gains = [
            sum((2**label - 1) / log2(place + 1) for place, label in enumerate(ordered[:k], start=1))
            for ordered in (labels, sorted(labels, reverse=True))
        ]
        found.append(
            (bool(within), gains[0] / gains[1], 1 / hits[0], len(within) / k, len(within) / len(hits)),
        )
    names = (f"hr_at_{k}", f"ndcg_at_{k}", "mrr", f"precision_at_{k}", f"recall_at_{k}")
    means = [sum(values) / len(found) for values in zip(*found, strict=True)] if found else [np.nan] * len(names)
    return {**dict(zip(names, means, strict=True)), f"coverage_at_{k}": len(shown) / items}


@settings(max_examples=200, deadline=None)
@given(LISTS, st.integers(1, 5), st.randoms())
def test_measures_are_those_of_repeated_lists_in_any_order_of_rows(lists, k: int, random) -> None:
    drawn = [
        (weight, [(item, label, score + item / 100) for item, (label, score) in rows.items()]) for weight, rows in lists
    ]
    items = len({row[0] for _, rows in drawn for row in rows})
    expected = reckoned([rows for weight, rows in drawn for _ in range(weight)], items, k)
    rows = [(7 * index, *row, weight) for index, (weight, rows) in enumerate(drawn) for row in rows]
    random.shuffle(rows)
    found = measured([row[:4] for row in rows], k, [row[4] for row in rows])
    assert found == pytest.approx(expected, nan_ok=True)


@settings(max_examples=100, deadline=None)
@given(LISTS, st.randoms())
def test_ties_fall_the_same_whatever_the_order_of_the_rows(lists, random) -> None:
    rows = [(index, item, *row) for index, (_, by_item) in enumerate(lists) for item, row in by_item.items()]
    shuffled = random.sample(rows, len(rows))
    assert measured(shuffled, 2) == pytest.approx(measured(rows, 2), nan_ok=True)


def test_ties_do_not_follow_the_codes_of_the_items() -> None:
    # 2,000 lists of ten tied items, one relevant: were codes the order, item 0 would always or never come first.
    for relevant in (0, 9):
        rows = [(g, 10 * g + item, int(item == relevant), 0.5) for g in range(2000) for item in range(10)]
        assert measured(rows, 1)["hr_at_1"] == pytest.approx(0.1, abs=0.03)


def test_a_list_without_a_relevant_item_counts_for_coverage_only() -> None:
    rows = [(0, 1, 0, 0.9), (0, 2, 1, 0.8), (1, 3, 0, 0.7)]
    assert measured(rows, 1)["mrr"] == 0.5
    assert measured(rows, 1)["coverage_at_1"] == pytest.approx(2 / 3)
    assert measured(rows, 1, [1, 1, 0])["coverage_at_1"] == pytest.approx(1 / 3)
    alone = measured(rows, 1, [0, 0, 1])
    assert {name for name, value in alone.items() if np.isfinite(value)} == {"coverage_at_1"}
    none = ranking_measures(np.empty(0), np.empty(0), np.empty(0, int), np.empty(0, int))(np.ones((1, 0)))
    assert np.isnan(np.concatenate(list(none.values()))).all()


@pytest.mark.parametrize(
    ("rows", "k", "sentence"),
    [
        ([(0, 1, 1, np.nan), (0, 2, 0, 1.0)], 1, "1 of 2 scores are NaN or infinite; leave rows without a label out"),
        ([(0, 1, np.inf, 0.5)], 1, "1 of 1 labels are NaN or infinite"),
        ([(0, 1, -1, 0.5)], 1, "the relevance of an item goes from 0"),
        ([(0, 1, 2000, 0.5)], 1, "make amounts into grades"),
        ([(0, 1, 1, 0.5), (0, 1, 0, 0.6)], 1, "1 rows hold an item that their list already has"),
        ([(0, 0.5, 1, 0.5)], 1, "items are float64, no integer codes; give np.unique"),
        ([(0, 1, 1, 0.5)], 0, "k is 0; .* give 1 or more"),
    ],
)
def test_what_cannot_be_ranked_is_refused(rows: list[tuple[float, ...]], k: int, sentence: str) -> None:
    with pytest.raises(ExamplesError, match=sentence):
        measured(rows, k)


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(ExamplesError, match="give one each a row"):
        ranking_measures(np.ones(3), np.ones(3), np.zeros(2, int), np.arange(3))
