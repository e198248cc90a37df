"""Which of a few? A label is a class, a score the probability that it is the row's class."""

import numpy as np

from ibis_features import Examples, ExamplesError, check_classes
from models_ml.class_metrics import class_measures
from models_ml.class_rows import known_classes, true_rows
from models_ml.kinds.kind import Kind
from models_ml.kinds.lists import Lists
from models_ml.measures import Measures
from models_ml.preconditions import check_stopping

MOST_CLASSES = 100


class Multiclass(Kind):
    """A row of the SELECT has its class as label. What is trained and scored is an entity and one of the classes, and
    its label says whether that class is the entity's own.

    The classes of an entity at a snapshot are a list, and their scores add up to 1. What trains minimises the log-loss
    over all classes at once.
    """

    name = "multiclass"
    link = None
    deciding = "macro_roc_auc"
    missing = "log_loss"
    tuned_by = ("log_loss", "macro_roc_auc", "accuracy", "top_3_accuracy")
    constant = "class_shares"
    has_items = True
    has_classes = True
    is_probability = True
    score_unit = "probability"

    def check_labels(self, examples: Examples) -> None:
        check_classes(examples)

    def row_weight(self, train: Examples, validate: Examples, class_weight: str | None) -> float:
        check_classes_differ(known_classes(train), train.schema.item or "")
        check_stopping(validate, true_rows(validate).rows())
        return 1.0

    def measures(
        self, labels: np.ndarray, scores: np.ndarray, *, threshold: float | None = None, lists: Lists | None = None
    ) -> Measures:
        assert lists is not None
        return class_measures(labels, scores, lists.groups, lists.items)

    def score_words(self, label: str, horizon_days: int) -> str:
        return f"the probability that {label} is the class that is given, within {horizon_days} days"


def check_classes_differ(classes: tuple[str, ...], label: str) -> None:
    """Raises ExamplesError where there is one class, or none, or more than MOST_CLASSES."""
    if len(classes) < 2:
        found = f"only the class {classes[0]!r}" if classes else "no class"
        raise ExamplesError(
            f"the training rows have {found} in the label '{label}'; a model needs two at least: check how the label "
            "is computed, change the horizon, or start the snapshots earlier"
        )
    if len(classes) > MOST_CLASSES:
        raise ExamplesError(
            f"the training rows have {len(classes):,} classes in the label '{label}', and there may be {MOST_CLASSES}; "
            "put the rare ones together as one, 'other', or put items in order with kind='ranking'"
        )
