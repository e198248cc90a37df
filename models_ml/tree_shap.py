"""Exact TreeSHAP: what each column of the matrix adds to the sum of a row's leaves.

Source: Lundberg et al., "From local explanations to global understanding with explainable AI for trees", Nature Machine
Intelligence 2, 2020, in its path-dependent form, as XGBoost's `pred_contribs` and LightGBM's `pred_contrib` have it.

These walk all paths of all trees for every row, which takes 25 times as long as scoring it. Here the leaves of a
tree are dealt into pieces of at most 8 inner nodes. Which way a row goes at the nodes of a piece is one byte, and what
each byte adds to each column is reckoned once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models_ml.tree_table import TreeTable

NODES_PER_PIECE = 8
"""A leaf fits into a piece where the path to it has no more nodes."""
MOST_ENTRIES = 2**24
"""Float64 numbers in all tables together, 128 MiB. Trees that want more are left to the library's own walk."""
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(NODES_PER_PIECE // 2)
"""Gauss and Legendre's rule, exact for polynomials up to degree 7."""


@dataclass(frozen=True)
class Step:
    """One turn of the path to a leaf: at `node`, left or right; `share` of the training weight went that way."""

    node: int
    column: int
    is_left: bool
    share: float


@dataclass(frozen=True)
class Leaf:
    value: float
    path: tuple[Step, ...]


@dataclass(frozen=True)
class Piece:
    """Some leaves of a tree. `slots`: rows of the inputs that its nodes compare. `columns`: whose tables these are.

    tables: float64 [columns, 2 ** nodes]; bit i of a place says that the row goes left at node i.
    """

    slots: np.ndarray
    thresholds: np.ndarray
    columns: tuple[int, ...]
    tables: np.ndarray


@dataclass(frozen=True)
class TreeShap:
    """All pieces of all trees. `used` are the columns of the matrix that some node reads."""

    used: np.ndarray
    pieces: tuple[Piece, ...]

    def contributions(self, values: np.ndarray) -> np.ndarray:
        """Float64 [columns, rows] from a matrix of float32 [rows, columns]; without the base."""
        out = np.zeros((values.shape[1], len(values)))
        read = np.ascontiguousarray(values[:, self.used].T)
        is_missing = np.isnan(read)
        # A missing value goes a node's default way: the first copy then goes right, the second one left.
        inputs = np.concatenate([np.where(is_missing, np.float32(fill), read) for fill in (np.inf, -np.inf)])
        for piece in self.pieces:
            is_left = inputs[piece.slots] < piece.thresholds
            codes = np.packbits(is_left, axis=0, bitorder="little")[0].astype(np.intp)
            for column, table in zip(piece.columns, piece.tables, strict=True):
                out[column] += table[codes]
        return out


def tabulate(trees: TreeTable, divisor: float = 1.0) -> TreeShap | None:
    """The tables of what columns add to the sum of the leaves, divided by `divisor`; None where trees are so deep that
    the tables would be too large.
    """
    if trees.depth > NODES_PER_PIECE:
        return None
    dealt = [piece for root in trees.roots.tolist() for piece in _pieces(_leaves(trees, root))]
    if sum(len(_columns(leaves)) * 2 ** len(_nodes(leaves)) for leaves in dealt) > MOST_ENTRIES:
        return None
    return TreeShap(trees.used.astype(np.intp), tuple(_piece(trees, leaves, divisor) for leaves in dealt))


def _leaves(trees: TreeTable, root: int) -> Iterator[Leaf]:
    """From left to right, so that neighbours share most of their paths."""
    open_nodes: list[tuple[int, tuple[Step, ...]]] = [(root, ())]
    while open_nodes:
        node, path = open_nodes.pop()
        if trees.is_leaf[node]:
            yield Leaf(float(trees.values[node]), path)
            continue
        left = int(trees.children[node])
        for child, is_left in ((left + 1, False), (left, True)):
            share = float(trees.weights[child] / trees.weights[node])
            open_nodes.append((child, (*path, Step(node, int(trees.columns[node]), is_left, share))))


def _pieces(leaves: Iterator[Leaf]) -> list[list[Leaf]]:
    pieces: list[list[Leaf]] = []
    for leaf in leaves:
        if not leaf.path:
            continue
        if pieces and len(_nodes([*pieces[-1], leaf])) <= NODES_PER_PIECE:
            pieces[-1].append(leaf)
        else:
            pieces.append([leaf])
    return pieces


def _nodes(leaves: Sequence[Leaf]) -> list[int]:
    return sorted({step.node for leaf in leaves for step in leaf.path})


def _columns(leaves: Sequence[Leaf]) -> list[int]:
    return sorted({step.column for leaf in leaves for step in leaf.path})


def _piece(trees: TreeTable, leaves: Sequence[Leaf], divisor: float) -> Piece:
    nodes = _nodes(leaves)
    goes_left = (np.arange(2 ** len(nodes))[:, None] >> np.arange(len(nodes)) & 1).astype(bool)  # [patterns, nodes]
    columns = _columns(leaves)
    tables = np.zeros((len(columns), len(goes_left)))
    for leaf in leaves:
        for column, added in _shares_of_leaf(leaf, nodes, goes_left):
            tables[columns.index(column)] += added
    return Piece(trees.slots[nodes], trees.thresholds[nodes][:, None], tuple(columns), tables / divisor)


def _shares_of_leaf(leaf: Leaf, nodes: list[int], goes_left: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """What a leaf adds to each column of its path, float64 [patterns].

    With z the columns known and a row either on the path (1) or off it (0), and r the share of the training weight
    where a column is not known, the Shapley value of column j is
    value * (z_j - r_j) * integral over t from 0 to 1 of the product over the other columns of (t z + (1 - t) r):
    the weights s! (d - 1 - s)! / d! of the coalitions are such integrals.
    """
    columns = _columns([leaf])
    known = np.ones((len(columns), len(goes_left)))
    unknown = np.ones((len(columns), 1))
    for step in leaf.path:
        place = columns.index(step.column)
        known[place] *= goes_left[:, nodes.index(step.node)] == step.is_left
        unknown[place] *= step.share
    for place, column in enumerate(columns):
        others = [other for other in range(len(columns)) if other != place]
        integral = np.zeros(len(goes_left))
        for point, weight in zip((POINTS + 1) / 2, WEIGHTS / 2, strict=True):
            integral += weight * np.prod(point * known[others] + (1 - point) * unknown[others], axis=0)
        yield column, leaf.value * (known[place] - unknown[place]) * integral
