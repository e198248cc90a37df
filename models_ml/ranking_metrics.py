"""How good scores are that put the items of a list in order, such as what to recommend to a user."""

from dataclasses import dataclass

import numpy as np

from ibis_features import ExamplesError
from models_ml.measures import Measures, one_each_row, ratio

TIE_SEED = 7
MOST_RELEVANT = 1000  # 2 ** 1024 is beyond float64


def ranking_measures(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, items: np.ndarray, k: int = 10
) -> Measures:
    """The measures of the first `k` items of each list. A row is an item of a list; all arguments but k are [rows].

    `labels` are the relevance, 0 for none; `groups` is the integer code of the list (an entity at a snapshot), `items`
    that of the item. Weights have to be the same for all rows of a list. A list goes by falling score; items of equal
    score follow a fixed hash of their code, so that the order of the rows is of no account.

    Means over the lists that have a relevant item:
    hr_at_k: the share that has one among the first k.
    ndcg_at_k: the sum of (2 ** label - 1) / log2(1 + place) over the first k places, over that of the same list in
    the order of falling labels (Jarvelin and Kekalainen 2002, https://doi.org/10.1145/582415.582418, with the gain of
    Burges et al. 2005, https://doi.org/10.1145/1102351.1102363).
    mrr: 1 / the place of the first relevant item, however far down.
    precision_at_k: the relevant items among the first k, over k, even if the list is shorter.
    recall_at_k: the relevant items among the first k, over all relevant ones of the list.

    Over all lists:
    coverage_at_k: the share of all items in the rows that stand among the first k of any list that counts.

    The names hold the number: `hr_at_10`. Raises ExamplesError on NaN, infinities, columns that are not of one length,
    labels below 0 or beyond what float64 can hold of 2 ** label, codes that are no integers, an item twice in a list,
    and a k below 1.

    >>> labels, scores, lists, items = np.array([0, 1, 0]), np.array([0.9, 0.8, 0.7]), np.zeros(3, int), np.arange(3)
    >>> measured = ranking_measures(labels, scores, lists, items, k=1)(np.ones((1, 3)))
    >>> float(measured["hr_at_1"][0]), float(measured["mrr"][0])
    (0.0, 0.5)
    """
    groups, items = _codes(groups=groups, items=items)
    labels, scores, *_ = one_each_row(labels=labels, scores=scores, groups=groups, items=items)
    _refuse(labels, k)
    lists = _Lists.of(labels, scores, groups, items)
    twice = len(labels) - len(np.unique(lists.number * lists.items + lists.item))
    if twice:
        raise ExamplesError(f"{twice} rows hold an item that their list already has; give each item of a list once")
    relevant = np.flatnonzero(lists.summed(lists.labels > 0))
    by_list = {name: values[relevant] for name, values in _by_list(lists, k).items()}
    shown = lists.place <= k
    list_shown, item_shown = lists.number[shown], lists.item[shown]

    def measures(weights: np.ndarray) -> dict[str, np.ndarray]:
        list_weights = weights[:, lists.first_row]
        of_relevant = list_weights[:, relevant]
        means = {name: ratio(of_relevant @ values, of_relevant.sum(axis=1)) for name, values in by_list.items()}
        seen = [np.count_nonzero(np.bincount(item_shown, row[list_shown])) for row in list_weights]
        return {**means, f"coverage_at_{k}": ratio(np.array(seen), np.full(len(seen), lists.items))}

    return measures


@dataclass(frozen=True)
class _Lists:
    """The rows list by list, [rows], in each list by place. `number` is that of the list, `place` counts from 1.

    `first_row`, [lists], is a row of each list as they were given; `items` is how many different items there are.
    """

    number: np.ndarray
    place: np.ndarray
    labels: np.ndarray
    item: np.ndarray
    first_row: np.ndarray
    items: int

    @classmethod
    def of(cls, labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, items: np.ndarray) -> "_Lists":
        distinct, item = np.unique(items, return_inverse=True)
        order = np.lexsort((_hashed(items), -scores, groups))
        starts, number = np.unique(groups[order], return_index=True, return_inverse=True)[1:]
        place = np.arange(len(order)) - starts[number] + 1
        return cls(number, place, labels[order], item[order], order[starts], len(distinct))

    def summed(self, amounts: np.ndarray) -> np.ndarray:
        """The sum of `amounts`, [rows], over each list: [lists]."""
        return np.bincount(self.number, amounts, len(self.first_row))


def _by_list(lists: _Lists, k: int) -> dict[str, np.ndarray]:
    """Each measure that is a mean over lists, of each list, [lists]; of one without a relevant item it is no matter."""
    is_first, is_relevant = lists.place <= k, lists.labels > 0
    found, relevant = lists.summed(is_first & is_relevant), lists.summed(is_relevant)
    discount = np.where(is_first, 1 / np.log2(1 + lists.place), 0.0)
    falling = lists.labels[np.lexsort((-lists.labels, lists.number))]
    # expm1 gives 2 ** label - 1, and keeps it above 0 for however small a label.
    gain, ideal = (lists.summed(np.expm1(np.log(2) * ordered) * discount) for ordered in (lists.labels, falling))
    reciprocal = np.zeros(len(lists.first_row))
    np.maximum.at(reciprocal, lists.number, is_relevant / lists.place)
    return {
        f"hr_at_{k}": (found > 0).astype(np.float64),
        f"ndcg_at_{k}": ratio(gain, ideal),
        "mrr": reciprocal,
        f"precision_at_{k}": found / k,
        f"recall_at_{k}": ratio(found, relevant),
    }


def _hashed(codes: np.ndarray) -> np.ndarray:
    """A number of its own for each code, by SplitMix64 (Steele, Lea and Flood 2014): the codes' order leaves no trace.

    Its steps can be undone, so that two codes never get the same number.
    """
    mixed = codes.astype(np.uint64) + np.uint64(TIE_SEED * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _codes(**columns: np.ndarray) -> list[np.ndarray]:
    codes = {name: np.asarray(column) for name, column in columns.items()}
    for name, column in codes.items():
        if not np.issubdtype(column.dtype, np.integer):
            raise ExamplesError(
                f"{name} are {column.dtype}, no integer codes; give np.unique(..., return_inverse=True)[1]"
            )
    return list(codes.values())


def _refuse(labels: np.ndarray, k: int) -> None:
    if k < 1:
        raise ExamplesError(f"k is {k}; a list has at least a first place: give 1 or more")
    if len(labels) and not 0 <= labels.min() <= labels.max() <= MOST_RELEVANT:
        raise ExamplesError(
            f"labels go from {labels.min():g} to {labels.max():g}; the relevance of an item goes from 0 to "
            f"{MOST_RELEVANT}, and best in a few grades: make amounts into grades"
        )
