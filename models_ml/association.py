"""How much a column tells of a label, or of another column. Labels and codes are whole numbers from 0, both [rows]."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BINS = 10
MOST_VALUES = 50
"""Rarer values of a category count as one."""


def value_codes(column: pa.Array) -> np.ndarray:
    """A column as few codes: numbers in ten bins of equal count, categories by value; missing ones have their own."""
    if pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False)
        known = values[np.isfinite(values)]
        edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS, method="lower")) if len(known) else np.empty(0)
        return np.where(np.isfinite(values), np.searchsorted(edges, values, "left"), len(edges) + 1)
    codes = pc.dictionary_encode(column, null_encoding="encode").indices.to_numpy()
    counts = np.bincount(codes)
    places = np.empty(len(counts), np.int64)
    places[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.minimum(places, MOST_VALUES)[codes]


def mutual_information(codes: np.ndarray, labels: np.ndarray) -> float:
    """In nats, of codes and label.

    >>> round(mutual_information(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])), 4)  # all there is to know: log(2)
    0.6931
    """
    counts, expected = _counts(codes, labels)
    there = counts > 0
    return float(max(0.0, (counts[there] * np.log(counts[there] / expected[there])).sum() / len(labels)))


def chi_square(codes: np.ndarray, labels: np.ndarray) -> float:
    """Pearson's statistic of codes and label against their independence."""
    counts, expected = _counts(codes, labels)
    there = expected > 0
    return float(((counts[there] - expected[there]) ** 2 / expected[there]).sum())


def rank_correlations(columns: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each pair of columns, [columns, columns]; a missing value counts as the middle rank.

    A constant column correlates with nothing.
    """
    ranks = np.zeros(columns.shape)
    for place, column in enumerate(columns.T):
        known = np.isfinite(column)
        values = np.sort(column[known])
        both = np.searchsorted(values, column[known], "left") + np.searchsorted(values, column[known], "right")
        ranks[known, place] = both - both.mean() if len(both) else 0.0
    lengths = np.sqrt((ranks**2).sum(axis=0))
    ranks /= np.where(lengths > 0, lengths, 1.0)
    return ranks.T @ ranks


def _counts(codes: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows by code and label, [codes, labels], and how many there were if the two told nothing of each other."""
    width, codes = int(labels.max(initial=1)) + 1, codes.astype(np.int64)
    wide = codes * width + labels.astype(np.int64)
    counts = np.bincount(wide, minlength=width * (int(codes.max(initial=0)) + 1)).reshape(-1, width).astype(np.float64)
    return counts, counts.sum(axis=1, keepdims=True) * counts.sum(axis=0, keepdims=True) / max(1, len(codes))
