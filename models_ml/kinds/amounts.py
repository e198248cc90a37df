"""How much? A label is a number, a score the number that is expected."""

import numpy as np

from ibis_features import Examples, check_numbers
from models_ml.kinds.kind import Kind
from models_ml.kinds.lists import Lists
from models_ml.links import EXP, IDENTITY
from models_ml.measures import Measures
from models_ml.value_metrics import value_measures


class Regression(Kind):
    """Any number; what trains minimises the squared error."""

    name = "regression"
    link = IDENTITY
    deciding = "r2"
    missing = "mse"
    tuned_by = ("rmse", "mae", "r2", "normalised_gini")
    constant = "mean"
    score_unit = "in the label's unit"

    def check_labels(self, examples: Examples) -> None:
        check_numbers(examples)

    def measures(
        self, labels: np.ndarray, scores: np.ndarray, *, threshold: float | None = None, lists: Lists | None = None
    ) -> Measures:
        return value_measures(labels, scores)

    def score_words(self, label: str, horizon_days: int) -> str:
        return f"the {label} that is expected in {horizon_days} days"


class Value(Regression):
    """An amount that is 0 for many and never less; what trains minimises the Tweedie deviance.

    Sources: Jorgensen, "Exponential dispersion models", 1987; Yang, Qian and Zou, "Insurance premium prediction via
    gradient tree-boosted Tweedie compound Poisson models", 2018, with 1.5 as the power.
    """

    name = "value"
    link = EXP
    deciding = "normalised_gini"
    missing = "normalised_gini"

    def check_labels(self, examples: Examples) -> None:
        check_numbers(examples, least=0.0)
