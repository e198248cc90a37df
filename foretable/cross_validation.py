"""The tables after a cross-validation: each fold, and how much the folds differ."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from foretable.screen import show_table
from models_ml.metric_words import metric_word


def show_folds(console: Console, prediction: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of the folds, and one of how much each metric differs between them."""
    numbers = sorted({row["fold"] for row in rows})
    # The one metric that is compared with those of baselines.
    deciding = next(row["metric"] for row in rows if row["scored_by"].startswith("above_"))
    word = metric_word(deciding)
    baselines = dict.fromkeys(row["scored_by"] for row in rows if row["metric"] == deciding)
    others = [name for name in baselines if name != "model" and not name.startswith("above_")]
    folds = []
    for number in numbers:
        found = {row["scored_by"]: row for row in rows if row["fold"] == number and row["metric"] == deciding}
        model = found["model"]
        folds.append(
            {
                "fold": number,
                "train as_of": _range(model["train_from"], model["train_to"]),
                "train rows": f"{model['train_rows']:,}",
                "test as_of": _range(model["test_as_of"][0], model["test_as_of"][-1]),
                "test rows": f"{model['row_count']:,}",
                f"{word} [95%]": f"{model['value']:.3f} [{model['lower']:.3f}, {model['upper']:.3f}]",
                **{f"{name} {word}": f"{found[name]['value']:.3f}" for name in others},
            }
        )
    show_table(console, f"{prediction} in {len(numbers)} folds", folds, right=["train rows", "test rows"])
    spread = []
    for metric in dict.fromkeys(row["metric"] for row in rows):
        values = [row["value"] for row in rows if row["scored_by"] == "model" and row["metric"] == metric]
        spread.append(
            {
                "metric": metric,
                "mean": f"{statistics.fmean(values):.4f}",
                "standard deviation": f"{statistics.stdev(values):.4f}",
                "least": f"{min(values):.4f}",
                "most": f"{max(values):.4f}",
            }
        )
    show_table(console, "The model over all folds", spread)


def _range(first: Any, last: Any) -> str:
    return f"{first:%Y-%m-%d}" if first == last else f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
