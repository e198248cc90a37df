"""Trees of any library as arrays over their nodes, and the walk of rows through them.

Every split is `value < threshold` of float32 here. A library that goes left on `value <= threshold`, the threshold a
double, splits float32 values in the same way at the next float32 above it: see `below`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from ibis_features import ArtifactError

MOST = np.float32(np.finfo(np.float32).max)
ROWS_AT_A_TIME = 512
"""So many rows' inputs and places stay in the processor's cache."""


@dataclass(frozen=True)
class Tree:
    """One tree as a library has it, the root first; the arrays have one entry a node.

    left, right: places of children, -1 of a leaf. What else there is, TreeTable tells; of a leaf only the value and the
    weight count.
    """

    left: np.ndarray
    right: np.ndarray
    columns: np.ndarray
    thresholds: np.ndarray
    is_left_default: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    gains: np.ndarray


@dataclass(frozen=True)
class TreeTable:
    """All nodes of all trees, one tree after another, each level by level; the arrays have one entry a node.

    roots: int64 [trees]. children: int64, the place of the left child, which the right one follows; a leaf is its own.
    columns: int64, what a node reads of the matrix of `models_ml.encoding`. thresholds: float32, finite; a value below
    goes left. is_left_default: bool, whether a missing value does. values: of leaves, float64, or float32 where they
    are summed as such. weights: float64, how many training rows came by, or what these weigh. gains: float64, what a
    split gains.
    """

    roots: np.ndarray
    children: np.ndarray
    columns: np.ndarray
    thresholds: np.ndarray
    is_left_default: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    gains: np.ndarray

    @cached_property
    def is_leaf(self) -> np.ndarray:
        return self.children == np.arange(len(self.children))

    @cached_property
    def depth(self) -> int:
        """Of the deepest leaf; 0 where no tree splits."""
        depth, level = 0, self.roots
        while len(level := level[~self.is_leaf[level]]):
            depth, level = depth + 1, np.concatenate([self.children[level], self.children[level] + 1])
        return depth

    @cached_property
    def used(self) -> np.ndarray:
        """The columns that some node reads, in order."""
        return np.unique(self.columns[~self.is_leaf])

    @cached_property
    def slots(self) -> np.ndarray:
        """Where a node's input stands: of a column by its place in `used`, and so much further if missing goes left; of
        a leaf behind both.
        """
        places = np.searchsorted(self.used, self.columns) + np.where(self.is_left_default, len(self.used), 0)
        return np.where(self.is_leaf, 2 * len(self.used), places)

    def leaves(self, values: np.ndarray) -> np.ndarray:
        """The leaf that each row comes to in each tree, int64 [rows, trees], of a matrix, float32 [rows, columns]."""
        pieces = [values[start : start + ROWS_AT_A_TIME] for start in range(0, len(values), ROWS_AT_A_TIME)]
        return np.concatenate([np.empty((0, len(self.roots)), np.int64), *(self._leaves(piece) for piece in pieces)])

    def sums(self, values: np.ndarray) -> np.ndarray:
        """The sum of each row's leaves in the order of the trees, float64 [rows]."""
        total = np.zeros(len(values))
        for of_tree in self.values[self.leaves(values)].T:
            total += of_tree
        return total

    @cached_property
    def mean(self) -> float:
        """The mean of the sums over the training rows, as the trees' weights have it."""
        reach = np.zeros(len(self.children))
        reach[self.roots] = 1.0
        level = self.roots
        while len(level := level[~self.is_leaf[level]]):
            sides = [self.children[level], self.children[level] + 1]
            for side in sides:
                reach[side] = reach[level] * self.weights[side] / self.weights[level]
            level = np.concatenate(sides)
        return float(reach[self.is_leaf] @ self.values[self.is_leaf])

    def gain_of_columns(self) -> dict[int, float]:
        """The total gain of the splits on each column that some node reads."""
        inner = ~self.is_leaf
        totals = np.bincount(self.columns[inner], self.gains[inner])
        return {column: float(totals[column]) for column in self.used.tolist()}

    def _leaves(self, values: np.ndarray) -> np.ndarray:
        read = values[:, self.used].T
        missing = np.isnan(read)
        # A missing value goes a node's default way: the first copy then goes right, the second one left. A leaf reads
        # what lies below any threshold, and so stays where it is.
        copies = [np.where(missing, np.float32(fill), read).ravel() for fill in (np.inf, -np.inf)]
        inputs = np.concatenate([*copies, np.full(len(values), -np.inf, np.float32)])
        rows = np.arange(len(values))[:, None]
        at = np.tile(self.roots, (len(values), 1))
        for _ in range(self.depth):
            is_below = inputs.take(self.slots.take(at) * len(values) + rows) < self.thresholds.take(at)
            at = self.children.take(at) + 1 - is_below
        return at


def table_of(trees: Sequence[Tree]) -> TreeTable:
    """The trees as one table, each of them laid out level by level."""
    first, columns = 0, []
    for tree in trees:
        order = _level_order(tree)
        place = np.empty(len(tree.left), np.int64)
        place[order] = np.arange(first, first + len(order))
        is_leaf = tree.left[order] == -1
        children = np.where(is_leaf, place[order], place[tree.left[order]])
        given = [getattr(tree, field.name)[order] for field in fields(TreeTable)[2:]]
        columns.append([np.array([first]), children, *given])
        first += len(order)
    roots, children, read, *others = (np.concatenate(column) for column in zip(*columns, strict=True))
    table = TreeTable(roots, children, read.astype(np.int64), *others)
    for values in (table.columns, table.thresholds, table.is_left_default, table.gains):
        values[table.is_leaf] = 0
    return table


def joined(tables: Sequence[TreeTable]) -> TreeTable:
    """The trees of all tables, in their order."""
    starts = np.cumsum([0, *(len(table.children) for table in tables)])
    moved = [
        replace(table, roots=table.roots + start, children=table.children + start)
        for table, start in zip(tables, starts, strict=False)
    ]
    return TreeTable(*(np.concatenate([getattr(table, field.name) for table in moved]) for field in fields(TreeTable)))


def chosen(table: TreeTable, numbers: np.ndarray) -> TreeTable:
    """Some of the trees of a table, by their numbers, from 0 on."""
    ends = np.append(table.roots[1:], len(table.children))
    pieces = []
    for start, end in zip(table.roots[numbers].tolist(), ends[numbers].tolist(), strict=True):
        own = {field.name: getattr(table, field.name)[start:end] for field in fields(TreeTable)[1:]}
        pieces.append(TreeTable(np.zeros(1, np.int64), **{**own, "children": own["children"] - start}))
    return joined(pieces)


def below(thresholds: np.ndarray, is_left_default: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Splits `value <= threshold`, float64 [nodes], as splits `value < threshold` of float32: the thresholds, whether
    missing values go left, and whether left and right have changed places.

    A threshold that no float32 exceeds parts missing values from all others, where those go right: so does a split at
    the least float32, with left and right exchanged.

    >>> [float(part[0]) for part in below(np.array([1.0]), np.array([False]))] == [1 + 2**-23, 0.0, 0.0]
    True
    """
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
        floor = np.where(nearest.astype(np.float64) > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)
    is_all, is_none = floor >= MOST, floor < -MOST
    if (is_all & is_left_default).any() or (is_none & ~is_left_default).any() or np.isnan(thresholds).any():
        raise ArtifactError("a tree has a split with all values on one side, missing ones as well; train anew")
    following = np.nextafter(np.where(is_all | is_none, np.float32(0), floor), np.float32(np.inf))
    return np.where(is_all | is_none, -MOST, following), is_left_default | is_all, is_all


def check_trees(table: TreeTable, columns: int) -> None:
    """Raises ArtifactError where the arrays are no trees over so many columns of a matrix."""
    of_nodes = [getattr(table, field.name) for field in fields(TreeTable)[1:]]
    if not len(table.roots) or {values.shape for values in of_nodes} != {table.children.shape}:
        raise ArtifactError("the trees have arrays of unlike lengths; the artifact is damaged: train anew")
    inner = np.flatnonzero(~table.is_leaf)
    left = table.children[inner]
    tree_of = np.searchsorted(table.roots, np.arange(len(table.children)), "right")
    # Each node is a root or a child once, and stands behind its parent among the nodes of its tree: no walk is endless.
    is_sound = (
        np.array_equal(np.sort(np.concatenate([left, left + 1, table.roots])), np.arange(len(table.children)))
        and (left > inner).all()
        and (tree_of[left + 1] == tree_of[inner]).all()
        and (np.diff(table.roots) > 0).all()
        and ((table.columns[inner] >= 0) & (table.columns[inner] < columns)).all()
        and all(np.isfinite(values).all() for values in of_nodes)
        and (table.weights > 0).all()
    )
    if not is_sound:
        raise ArtifactError("the trees do not hang together; the artifact is damaged: train anew")


def _level_order(tree: Tree) -> np.ndarray:
    """The places of the nodes that hang together with the root, level by level, the children of a node side by side.

    Raises ValueError where a node hangs below itself.
    """
    levels = [level := np.zeros(1, np.int64)]
    while len(inner := level[tree.left[level] != -1]):
        if sum(map(len, levels)) > len(tree.left):
            raise ValueError("a tree without an end")
        levels.append(level := np.stack([tree.left[inner], tree.right[inner]], axis=1).ravel())
    return np.concatenate(levels)
