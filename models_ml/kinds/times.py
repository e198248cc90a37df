"""When? A label is how many days pass until an event, a score their median."""

from dataclasses import dataclass

import numpy as np

from ibis_features import Examples, check_numbers
from models_ml.kinds.kind import Kind
from models_ml.kinds.lists import Lists
from models_ml.links import EXP
from models_ml.measures import Measures
from models_ml.time_metrics import probability_within, time_measures

LEAST_DAYS = 1 / 24
"""A shorter time counts as an hour: the logarithm of 0 days is minus infinity."""


@dataclass(frozen=True)
class TimeToEvent(Kind):
    """A label of `horizon_days` or more says that the event has not happened within the horizon, and no more.

    What trains is an accelerated failure time: the logarithm of the days is the margin and a logistic error. Source:
    Klein and Moeschberger, "Survival Analysis", 2nd edition, 2003, chapter 12.
    """

    horizon_days: int

    name = "time_to_event"
    link = EXP
    deciding = "concordance"
    missing = "concordance"
    tuned_by = ("concordance",)
    constant = "mean"
    is_lowest_first = True
    score_unit = "days"

    def check_labels(self, examples: Examples) -> None:
        check_numbers(examples, least=0.0)

    def measures(
        self, labels: np.ndarray, scores: np.ndarray, *, threshold: float | None = None, lists: Lists | None = None
    ) -> Measures:
        return time_measures(labels, scores, self.horizon_days)

    def drawn(self, labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether the event came within the horizon, and the probability that it would."""
        return (labels < self.horizon_days).astype(np.float64), probability_within(scores, self.horizon_days)

    def score_words(self, label: str, horizon_days: int) -> str:
        return f"the median of {label}; {horizon_days} days or more say that it hardly happens within them"
