"""How good the probabilities of classes are, one of which is true for each entity at a snapshot."""

from dataclasses import dataclass

import numpy as np

from ibis_features import ExamplesError
from models_ml.evaluation import FORMULAS, LEAST_PROBABILITY
from models_ml.evaluation import Ranking as OneClass
from models_ml.measures import Measures, TiedRows, calibration_error, one_each_row, ratio


def class_measures(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, items: np.ndarray) -> Measures:
    """The measures of lists of classes. A row is a class of a list; all arguments are [rows].

    `labels` are 1 for the list's own class and 0 for the others; `groups` and `items` are integer codes of the list
    (an entity at a snapshot) and of the class. Weights have to be the same for all rows of a list. A class without a
    row in a list has the probability 0 there.

    log_loss: the mean of -log(probability of what happened), in nats, no probability being less than 1e-7.
    accuracy, top_3_accuracy: the share of lists whose own class is among the 1 or 3 likeliest; of tied ones a share
    counts.
    macro_roc_auc: the mean over classes of the AUC of that class against all others (Hand and Till, "A simple
    generalisation of the area under the ROC curve for multiple class classification problems", 2001, section 2), of
    those classes that some list has and some has not.
    expected_calibration_error: of the likeliest class, the mean over lists of |accuracy - probability| in ten bins of
    equal count (Guo et al., https://arxiv.org/abs/1706.04599).

    A list none of whose classes is true, since its own was not known when the model was trained, is a miss: its class
    has the probability 0, and it counts as another class than each that is judged.

    Raises ExamplesError on NaN, infinities, columns that are not of one length, labels other than 0 and 1, a class
    twice in a list, and two true ones.

    >>> labels, scores = np.array([1, 0, 0, 1]), np.array([0.75, 0.25, 0.5, 0.5])
    >>> measured = class_measures(labels, scores, np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))(np.ones((1, 4)))
    >>> float(measured["accuracy"][0])
    0.75
    """
    labels, scores = one_each_row(labels=labels, scores=scores)
    lists = _Lists.of(labels, scores, groups, items)
    true = lists.probability_of_truth()
    losses = -np.log(np.maximum(true, LEAST_PROBABILITY))
    accuracy, top_3 = (lists.share_among(most) for most in (1, 3))
    by_class = [OneClass(lists.truth == code, lists.scores[:, code]) for code in range(lists.scores.shape[1])]
    likeliest = TiedRows(lists.scores.max(axis=1, initial=0.0))

    def measures(weights: np.ndarray) -> dict[str, np.ndarray]:
        weights = weights[:, lists.first_row]
        total = weights.sum(axis=1)
        aucs = np.stack([FORMULAS["roc_auc"](*one.counts(weights)) for one in by_class])
        is_defined = ~np.isnan(aucs)
        calibration = calibration_error(
            likeliest.values, likeliest.summed(weights), likeliest.summed(weights, accuracy)
        )
        return {
            "macro_roc_auc": ratio(np.where(is_defined, aucs, 0.0).sum(axis=0), is_defined.sum(axis=0)),
            "log_loss": ratio(weights @ losses, total),
            "accuracy": ratio(weights @ accuracy, total),
            "top_3_accuracy": ratio(weights @ top_3, total),
            "expected_calibration_error": calibration,
        }

    return measures


@dataclass(frozen=True)
class _Lists:
    """scores: [lists, classes]. truth: the own class of each list, [lists]; -1 where none of its rows is true.

    first_row: a row of each list as they were given, [lists].
    """

    scores: np.ndarray
    truth: np.ndarray
    first_row: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, items: np.ndarray) -> "_Lists":
        if not np.isin(labels, (0.0, 1.0)).all():
            raise ExamplesError("labels are other than 0 and 1; a row says whether its class is that of the list")
        _, first_row, number = np.unique(groups, return_index=True, return_inverse=True)
        classes, code = np.unique(items, return_inverse=True)
        if len(np.unique(number * len(classes) + code)) < len(labels):
            raise ExamplesError("a list has a class twice; give each class of a list once")
        if np.bincount(number, labels).max(initial=0.0) > 1:
            raise ExamplesError("a list has two classes that are true; an entity has one at a snapshot")
        by_class = np.zeros((len(first_row), len(classes)))
        by_class[number, code] = scores
        truth = np.full(len(first_row), -1)
        truth[number[labels == 1]] = code[labels == 1]
        return cls(by_class, truth, first_row)

    def probability_of_truth(self) -> np.ndarray:
        """[lists], 0 where the own class is none of those that are scored."""
        return np.where(self.truth < 0, 0.0, self.scores[np.arange(len(self.truth)), self.truth])

    def share_among(self, most: int) -> np.ndarray:
        """How much of each list's own class stands among so many of the likeliest ones: 0 to 1, [lists]."""
        own = self.probability_of_truth()[:, None]
        before, tied = (self.scores > own).sum(axis=1), np.maximum((self.scores == own).sum(axis=1), 1)
        return np.where(self.truth < 0, 0.0, np.clip((most - before) / tied, 0.0, 1.0))
