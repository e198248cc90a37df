"""Which first? A label is how relevant an item is to an entity, a score puts the entity's items in order."""

import numpy as np

from ibis_features import Examples, check_grades
from models_ml.kinds.kind import Kind
from models_ml.kinds.lists import Lists
from models_ml.links import IDENTITY
from models_ml.measures import Measures
from models_ml.ranking_metrics import ranking_measures


class Ranking(Kind):
    """A label is 0 where an item is not relevant, else a grade of 1 or more.

    Trees minimise the loss of NDCG over pairs of one list, networks the log-loss of being relevant at all. Source:
    Burges, "From RankNet to LambdaRank to LambdaMART: An overview", 2010.
    """

    name = "ranking"
    link = IDENTITY
    deciding = "ndcg_at_10"
    missing = "ndcg_at_10"
    tuned_by = ("ndcg_at_10", "mrr", "hr_at_10")
    constant = "mean"
    has_items = True
    score_unit = "higher is better"

    def check_labels(self, examples: Examples) -> None:
        check_grades(examples)

    def measures(
        self, labels: np.ndarray, scores: np.ndarray, *, threshold: float | None = None, lists: Lists | None = None
    ) -> Measures:
        assert lists is not None
        return ranking_measures(labels, scores, lists.groups, lists.items)

    def score_words(self, label: str, horizon_days: int) -> str:
        return f"how high an item stands by {label} within {horizon_days} days, among the items of one list"
