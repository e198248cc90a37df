"""What a label is: a kind says which labels there are, what a score of them is, and how good scores are.

What a family minimises for a kind stands in the family's own module.
"""

from collections.abc import Mapping

from models_ml.kinds.amounts import Regression, Value
from models_ml.kinds.binary import Binary
from models_ml.kinds.classes import Multiclass
from models_ml.kinds.kind import LOWER_IS_BETTER, Kind
from models_ml.kinds.lists import Lists, lists_of
from models_ml.kinds.rankings import Ranking
from models_ml.kinds.times import TimeToEvent

BINARY = Binary()
KINDS: Mapping[str, type[Kind]] = {
    kind.name: kind for kind in (Binary, Multiclass, Regression, Value, TimeToEvent, Ranking)
}

__all__ = [
    "BINARY",
    "KINDS",
    "LOWER_IS_BETTER",
    "Binary",
    "Kind",
    "Lists",
    "Multiclass",
    "Ranking",
    "Regression",
    "TimeToEvent",
    "Value",
    "kind_of",
    "lists_of",
]


def kind_of(name: str, horizon_days: int) -> Kind:
    """The kind of a prediction with this config."""
    return TimeToEvent(horizon_days) if name == TimeToEvent.name else KINDS[name]()
