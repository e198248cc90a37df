"""To which list a row belongs, where a prediction puts items in order: an entity at a snapshot has one list."""

from dataclasses import dataclass

import ibis
import numpy as np

from ibis_features import Examples


@dataclass(frozen=True)
class Lists:
    """Integer codes of each row's list and of its item, both [rows]."""

    groups: np.ndarray
    items: np.ndarray

    def at(self, rows: np.ndarray) -> "Lists":
        """Those of some rows, told by their places or by a mask."""
        return Lists(self.groups[rows], self.items[rows])


def lists_of(examples: Examples) -> Lists | None:
    """The lists of the rows in the order of their batches, in which a list's rows stand together; None without items.

    Codes count from 0, by (as_of, entity) and by item.
    """
    schema, table = examples.schema, examples.table
    if schema.item is None:
        return None
    codes = table.select(
        groups=ibis.dense_rank().over(order_by=[schema.as_of, schema.entity]),
        items=ibis.dense_rank().over(order_by=[schema.item]),
    )
    found = codes.order_by(["groups", "items"]).to_pyarrow()
    return Lists(*(found[name].to_numpy() for name in ("groups", "items")))
