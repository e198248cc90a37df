"""What people call a metric, where a table or a sentence names it."""

WORDS = {
    "roc_auc": "AUC",
    "macro_roc_auc": "macro AUC",
    "r2": "R²",
    "normalised_gini": "normalised Gini",
    "ndcg_at_10": "NDCG@10",
}


def metric_word(metric: str) -> str:
    """The short name of a metric.

    >>> metric_word("roc_auc"), metric_word("concordance")
    ('AUC', 'concordance')
    """
    return WORDS.get(metric, metric.replace("_", " "))
