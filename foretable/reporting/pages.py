"""Pages of HTML: one a prediction and an index, each whole in itself, written all at once."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from foretable.project import Refusal
from foretable.reporting import charts
from foretable.reporting.facts import PARTS, Facts, baseline_words, limits
from foretable.results import changed_params
from models_ml.evaluation import TRUE_CALIBRATION_ERROR
from models_ml.judging import ABOVE
from models_ml.metric_words import metric_word
from models_ml.warm_start import FULL, LESS, WARM

INDEX = "index.html"
SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
FEATURES_DRAWN = 20
LONGEST_VALUE = 40
JUDGED_WORDS = {
    "test": "Test snapshots, which no model has seen",
    "holdout": "Entities held out of the training, at the test snapshots",
    "validate": "Validation snapshots, which stopped the training",
}
IMPORTANCES = {
    "contribution": "mean absolute contribution ({adds_to})",
    "permutation": "{metric} lost when shuffled",
    "gain": "share of the model's gain",
}
INDEXED = {
    "recency": "recency alone",
    "rfm": "RFM",
    "last_value": "last value",
    "popularity": "popularity",
}
"""Baselines that the index shows where any prediction has them."""
METRIC_WORDS = {
    "roc_auc": ("ROC AUC", "0.5 is chance, 1 is perfect"),
    "pr_auc": ("average precision", "the event rate is chance, 1 is perfect"),
    "log_loss": ("log-loss", "nats a row, lower is better"),
    "brier": ("Brier score", "squared error, lower is better"),
    "expected_calibration_error": ("calibration error", "mean distance of score and event rate, lower is better"),
    "accuracy": ("accuracy", "share of rows, at the threshold or of the likeliest class"),
    "precision": ("precision", "share of rows said to be true, at the threshold"),
    "recall": ("recall", "share of true labels, at the threshold"),
    "f1": ("F1", "of precision and recall, at the threshold"),
    TRUE_CALIBRATION_ERROR: ("calibration error to the truth", "mean distance of score and true probability"),
    "macro_roc_auc": ("macro AUC", "mean AUC of each class against all others: 0.5 is chance, 1 is perfect"),
    "top_3_accuracy": ("top-3 accuracy", "share of rows whose class is among the 3 likeliest"),
    "r2": ("R²", "0 is the mean label, 1 is perfect"),
    "normalised_gini": ("normalised Gini", "of the order of the rows: 0 is chance, 1 is perfect"),
    "mse": ("MSE", "mean squared error, in the label's unit squared, lower is better"),
    "rmse": ("RMSE", "root of the mean squared error, in the label's unit, lower is better"),
    "mae": ("MAE", "mean absolute error, in the label's unit, lower is better"),
    "mape": ("MAPE", "mean error as a share of the label, over labels other than 0, lower is better"),
    "bias": ("bias", "mean score less mean label"),
    "calibration_error": ("calibration error", "mean distance of score and label by tenths, lower is better"),
    "concordance": ("concordance", "share of pairs in the right order: 0.5 is chance, 1 is perfect"),
    "brier_at_horizon": ("Brier score", "squared error of the chance of the event within the horizon, lower is better"),
    "event_share_error": (
        "event share error",
        "mean chance of the event within the horizon less the share that had it",
    ),
    "ndcg_at_10": ("NDCG@10", "of the first 10 of each list: 1 is perfect"),
    "mrr": ("MRR", "mean of 1 / the place of the first relevant item"),
    "hr_at_10": ("hit rate@10", "share of the lists with a relevant item among the first 10"),
    "precision_at_10": ("precision@10", "relevant items among the first 10, over 10"),
    "recall_at_10": ("recall@10", "share of a list's relevant items among the first 10"),
    "coverage_at_10": ("coverage@10", "share of all items that are among the first 10 of any list"),
    "top_decile_lift": ("lift of the top tenth", "times the event rate or the mean label"),
}


@dataclass(frozen=True)
class Picture:
    """A picture with its title, and how to read it."""

    title: str
    svg: Markup
    caption: str


def write_pages(folder: Path, asked: Sequence[Facts], others: Sequence[Facts]) -> Path:
    """Write a page for each of `asked`, and the index of all; give the index.

    No page is touched before all of them are made, and each appears at once. Raises Refusal where the folder cannot be
    written.
    """
    pages = {file_name(facts.prediction): render_report(facts) for facts in asked}
    linked = {*pages, *(name for name in map(file_name_of, others) if (folder / name).is_file())}
    listed = sorted([*asked, *others], key=lambda facts: facts.prediction)
    pages[INDEX] = render_index(listed, linked)
    partial = {folder / name: folder / f".{name}.partial" for name in pages}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for page, text in zip(partial, pages.values(), strict=True):
                partial[page].write_text(text, encoding="utf-8")
            for page, written in partial.items():
                os.replace(written, page)
        finally:
            for written in partial.values():
                written.unlink(missing_ok=True)
    except OSError as error:
        raise Refusal(f"cannot write to {folder}: {error.strerror}; name another folder with --out") from None
    return folder / INDEX


def file_name(prediction: str) -> str:
    """A name that any file system takes, and that differs from prediction to prediction.

    >>> file_name("churn_30d")
    'churn_30d.html'
    """
    if SAFE_NAME.fullmatch(prediction) and prediction.lower() != "index":
        return f"{prediction}.html"
    kept = re.sub(r"[^A-Za-z0-9_]+", "-", prediction)[:40].strip("-")
    return f"{kept or 'prediction'}-{hashlib.sha256(prediction.encode()).hexdigest()[:8]}.html"


def file_name_of(facts: Facts) -> str:
    return file_name(facts.prediction)


def render_report(facts: Facts) -> str:
    """The page of one prediction."""
    return (
        _templates()
        .get_template("prediction.html")
        .render(
            facts=facts,
            title=facts.prediction,
            lead=_filled(facts.words.lead, facts),
            use=_filled(facts.words.use, facts),
            is_binary=facts.model["kind"] == "binary",
            deciding_word=metric_word(facts.deciding),
            parts=_parts(facts),
            timeline=Markup(charts.timeline(facts.split, facts.horizon, facts.scored_as_of)),
            scored_by=_scored_by(facts),
            metrics={split: _metric_rows(facts, split) for split in JUDGED_WORDS},
            judged_words=JUDGED_WORDS,
            pictures=_pictures(facts),
            importances=_importances(facts),
            confusions=_confusions(facts),
            slices=_slices(facts),
            limits=limits(facts),
            params=changed_params(facts.model),
            environment=json.loads(facts.model["environment"]),
            config={key: json.dumps(value, ensure_ascii=False) for key, value in facts.config.items()},
        )
    )


def render_index(listed: Sequence[Facts], linked: set[str]) -> str:
    """The list of all predictions; `linked` are the pages that are there."""
    rows = [
        {
            "facts": facts,
            "file": file_name_of(facts) if file_name_of(facts) in linked else None,
            "metric": METRIC_WORDS[facts.deciding][0],
            **{name: facts.metrics.get(("test", name, facts.deciding)) for name in ("model", *INDEXED)},
        }
        for facts in listed
    ]
    baselines = {name: word for name, word in INDEXED.items() if any(row[name] for row in rows)}
    return _templates().get_template("index.html").render(title="Predictions", rows=rows, baselines=baselines)


def _filled(words: str, facts: Facts) -> Markup:
    return Markup(words).format(label=facts.model["label"], span=facts.span)


def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("foretable.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"number": _number, "count": _count, "percent": _percent, "day": _day, "value": _value}
    return templates


def _parts(facts: Facts) -> list[dict[str, Any]]:
    return [
        {
            "part": part,
            "snapshots": len(facts.split[part]),
            "first": facts.split[part][0],
            "last": facts.split[part][-1],
            "rows": facts.model[f"{part}_rows"],
            "positive": facts.positive_count(part),
        }
        for part in PARTS
    ]


def _scored_by(facts: Facts) -> dict[str, str]:
    """Who scored, with the words over the columns."""
    words = {
        "model": facts.model["model"],
        "uncalibrated": "uncalibrated",
        **baseline_words(facts.config),
        "truth": "truth",
        FULL: "full retrain",
        WARM: "warm start",
    }
    there = {scored_by for _, scored_by, _ in facts.metrics}
    return {scored_by: word for scored_by, word in words.items() if scored_by in there}


def _metric_rows(facts: Facts, split: str) -> list[dict[str, Any]]:
    rows = [
        {
            "word": word,
            "unit": unit,
            "cells": [facts.metrics.get((split, scored_by, metric)) for scored_by in _scored_by(facts)],
        }
        for metric, (word, unit) in METRIC_WORDS.items()
    ]
    leads = {name: LESS if name in (FULL, WARM) else ABOVE for name in _scored_by(facts)}
    above = [facts.metrics.get((split, lead + name, facts.deciding)) for name, lead in leads.items()]
    if any(above):
        word = METRIC_WORDS[facts.deciding][0]
        rows.append({"word": f"the model's lead in {word}", "unit": "above 0 is better", "cells": above})
    return [row for row in rows if any(row["cells"])]


def _pictures(facts: Facts) -> list[Picture]:
    if not facts.is_drawn:
        return []

    def curve(name: str) -> tuple[Any, Any]:
        return facts.curve(name, "test"), facts.curve(name, "validate")

    test, rows = facts.curve("calibration", "test"), facts.of("deciles", "test")
    deciles = [row for row in rows if not math.isnan(row["gain"])]
    event_rate = sum(row["y"] * row["row_count"] for row in test) / max(1, sum(row["row_count"] for row in test))
    found = []
    if any(curve("roc")):
        of_what = "AUC over all classes at once" if facts.schema.has_classes else "AUC"
        caption = f"How many true labels are found for how many false ones; the area below is the {of_what}."
        found.append(("ROC", charts.roc(*curve("roc")), caption))
    if any(curve("precision_recall")):
        caption = "How many of the rows from the top down are true when so many of the true labels are found."
        svg = charts.precision_recall(*curve("precision_recall"), event_rate=event_rate)
        found.append(("Precision and recall", svg, caption))
    words = facts.words
    if words.calibration:
        found.append(("Calibration", charts.calibration(*curve("calibration"), words), words.calibration))
    svg = charts.histogram(facts.curve("score", "test"), words)
    found.append(("Scores", svg, "How the scores of the test rows lie."))
    if deciles:
        found.append(("Gain", charts.gain(deciles, words), words.gain))
        found.append(("Lift", charts.lift(deciles, words), words.lift))
    if cost := facts.of("cost_curve", "test"):
        svg = charts.cost_curve(cost, facts.of("cost_curve", "validate"), threshold=facts.model["threshold"])
        found.append(
            ("Cost", svg, "What the mistakes cost a row, by the score from which on a row is said to be true.")
        )
    return [Picture(title, Markup(svg), caption) for title, svg, caption in found]


def _importances(facts: Facts) -> list[Picture]:
    words = facts.words
    units = {"adds_to": words.unit, "metric": METRIC_WORDS[facts.deciding][0]}
    told = {
        "contribution": ("By contribution", f"How far a feature moves {words.adds_to} of a test row, whichever way."),
        "permutation": (
            "By permutation",
            "How much is lost on test rows where the feature tells nothing any more.",
        ),
        "gain": ("By gain", "How much the splits on a feature lowered the training loss."),
    }
    found = []
    for method, (title, caption) in told.items():
        if method in facts.importance:
            measured, sizes = IMPORTANCES[method].format(**units), facts.importance[method][:FEATURES_DRAWN]
            found.append(Picture(title, Markup(charts.importance(measured, method, sizes)), caption))
    return found


def _confusions(facts: Facts) -> list[dict[str, Any]]:
    """Counts, precision, recall and F1 on the test rows, at 0.5 and at the threshold."""
    if not facts.of("confusion", "test"):
        return []
    found = []
    for chosen, words in (
        (False, "score at least 0.5"),
        (True, f"{facts.threshold_rule} on validation: score at least"),
    ):
        counts = facts.confusion("test", chosen=chosen)
        if counts is None:
            continue
        right, said = counts["true_positive"], counts["true_positive"] + counts["false_positive"]
        true = right + counts["false_negative"]
        found.append(
            {
                "title": f"{words} {counts['threshold']:.3f}" if chosen else words,
                "counts": counts,
                "precision": right / said if said else None,
                "recall": right / true if true else None,
                "f1": 2 * right / (said + true) if said + true else None,
            }
        )
    return found


def _slices(facts: Facts) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of the test split by column."""
    by_column: dict[str, list[Mapping[str, Any]]] = {}
    for row in facts.of("slices", "test"):
        by_column.setdefault(row["column_name"], []).append(row)
    return by_column


def _number(value: float | None, digits: int = 3) -> str:
    """A figure with so many decimals, fewer where it is large; a dash where it is not defined."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:,.{min(digits, 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else digits)}f}"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _percent(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.1%}"


def _day(value: datetime | None) -> str:
    """A date, and the time where it is not midnight."""
    if value is None:
        return "–"
    return f"{value:%Y-%m-%d}" if (value.hour, value.minute) == (0, 0) else f"{value:%Y-%m-%d %H:%M}"


def _value(value: Any) -> str:
    """A feature's value in a cell."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
        case int():
            return f"{value:,}"
        case datetime() | date():
            return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
        case _:
            text = str(value)
            return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
