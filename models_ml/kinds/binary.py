"""Does it happen? A label is true or false, a score its probability."""

import numpy as np

from ibis_features import Examples, check_labels
from models_ml.evaluation import THRESHOLD, binary_measures
from models_ml.kinds.kind import Kind
from models_ml.kinds.lists import Lists
from models_ml.measures import Measures
from models_ml.preconditions import positive_weight


class Binary(Kind):
    """True or false."""

    name = "binary"
    link = None
    deciding = "roc_auc"
    missing = "log_loss"
    tuned_by = ("log_loss", "brier", "roc_auc", "pr_auc")
    constant = "base_rate"
    has_threshold = True
    is_probability = True
    score_unit = "probability"

    def check_labels(self, examples: Examples) -> None:
        check_labels(examples)

    def row_weight(self, train: Examples, validate: Examples, class_weight: str | None) -> float:
        return positive_weight(train, validate, class_weight)

    def measures(
        self, labels: np.ndarray, scores: np.ndarray, *, threshold: float | None = None, lists: Lists | None = None
    ) -> Measures:
        return binary_measures(labels, scores, THRESHOLD if threshold is None else threshold)

    def score_words(self, label: str, horizon_days: int) -> str:
        return f"the probability that {label} is true within {horizon_days} days"
