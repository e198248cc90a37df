"""What all kinds of predictions offer."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from ibis_features import Examples
from models_ml.bootstrap import on_all_rows
from models_ml.kinds.lists import Lists
from models_ml.links import Link
from models_ml.measures import Measures
from models_ml.preconditions import check_varied

LOWER_IS_BETTER = ("log_loss", "brier", "mse", "rmse", "mae")
"""Of the metrics that anything is chosen by."""


class Kind(ABC):
    """A kind of label, and what scores of it are worth.

    name: as a config says it. link: from a model's margin to its score; None where the margin is the log-odds of a true
    label. deciding: the metric, higher is better, by which a version is held against its baselines and other versions.
    missing: the metric that tells how much worse a model is without a feature. tuned_by: the metrics that a search may
    go by, the first where its config does not say. constant: the baseline that says the same of every row.
    has_threshold: is a row said to be true from some score on? has_items: is a row an item of an entity's list?
    has_classes: are these items the classes that the label may have? is_probability: is a score the chance that the
    row's label is true? is_lowest_first: does rank 1 have the lowest score? score_unit: what a picture calls a score.
    """

    name: ClassVar[str]
    link: ClassVar[Link | None]
    deciding: ClassVar[str]
    missing: ClassVar[str]
    tuned_by: ClassVar[tuple[str, ...]]
    constant: ClassVar[str]
    has_threshold: ClassVar[bool] = False
    has_items: ClassVar[bool] = False
    has_classes: ClassVar[bool] = False
    is_probability: ClassVar[bool] = False
    is_lowest_first: ClassVar[bool] = False
    score_unit: ClassVar[str]

    @abstractmethod
    def check_labels(self, examples: Examples) -> None:
        """Raises ExamplesError where a label is none of this kind."""

    def row_weight(self, train: Examples, validate: Examples, class_weight: str | None) -> float:
        """What a row with a true label weighs in training against another one; 1 where no label is true or false.

        Raises ExamplesError where a model could learn nothing from these labelled rows, or stop by no row.
        """
        check_varied(train, validate)
        return 1.0

    @abstractmethod
    def measures(
        self, labels: np.ndarray, scores: np.ndarray, *, threshold: float | None = None, lists: Lists | None = None
    ) -> Measures:
        """How good these scores of these labels are, both [rows]; raises ExamplesError on what is neither.

        threshold: from which score on a row is said to be true, where the kind has one. lists: which rows are items of
        one list; needed where the kind has items.
        """

    @abstractmethod
    def score_words(self, label: str, horizon_days: int) -> str:
        """What a score is, in words: `the probability that …`."""

    def drawn(self, labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels and scores as they are drawn beside each other: themselves, where they mean the same."""
        return labels, scores

    def value(self, metric: str, labels: np.ndarray, scores: np.ndarray, *, lists: Lists | None = None) -> float:
        """One metric on all rows."""
        return on_all_rows(self.measures(labels, scores, lists=lists), len(labels))[metric]

    def loss(self, labels: np.ndarray, scores: np.ndarray, *, lists: Lists | None = None) -> float:
        """The metric `missing`, turned so that lower is better."""
        value = self.value(self.missing, labels, scores, lists=lists)
        return value if self.missing in LOWER_IS_BETTER else -value
