"""The pictures of a report as SVG that takes its colours and its font from the page around it."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from foretable.reporting.kind_words import KindWords

INK, GRID, MODEL, SECOND, QUIET = "#010101", "#020202", "#030303", "#040404", "#050505"
COLOURS = {INK: "--ink", GRID: "--grid", MODEL: "--model", SECOND: "--second", QUIET: "--quiet"}
"""What Matplotlib writes, and the custom property of the page that stands for it: light and dark are the page's."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "foretable",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
SIZE = (4.2, 3.1)  # inches; on a phone it shrinks little
LONGEST_NAME = 34

Points = Sequence[Mapping[str, Any]]


def timeline(split: Mapping[str, Sequence[datetime]], horizon: timedelta, scored_as_of: datetime | None) -> str:
    """A dot for each snapshot, and after it the window of its label."""
    lanes = [(part, list(split.get(part, []))) for part in ("train", "purged", "validate", "test")]
    lanes = [(part, days) for part, days in lanes if days]
    if scored_as_of is not None:
        lanes.append(("scored", [scored_as_of]))

    def draw(axes: Axes) -> None:
        for place, (part, days) in enumerate(lanes):
            colour = {"purged": QUIET, "scored": SECOND}.get(part, MODEL)
            if part != "scored":
                for first, last in _covered(days, horizon):
                    axes.hlines(place, float(date2num(first)), float(date2num(last)), colors=colour, lw=6, alpha=0.3)
            axes.plot([float(date2num(day)) for day in days], [place] * len(days), "o", color=colour, markersize=3.5)
        axes.set_yticks(range(len(lanes)), [f"{part} ({len(days)})" for part, days in lanes])
        axes.set_ylim(len(lanes) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        locator = AutoDateLocator(maxticks=6)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.set_xlabel("as_of (date, UTC)")

    named = "; ".join(f"{part} {days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}" for part, days in lanes)
    return _picture("timeline", f"Snapshots by part: {named}", draw, size=(4.6, 0.75 + 0.27 * len(lanes)))


def roc(test: Points, validate: Points) -> str:
    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=":", label="chance")
        _line(axes, validate, SECOND, "validation")
        _line(axes, test, MODEL, "test")
        _shares(axes, "false positive rate (share of false labels)", "true positive rate (share of true labels)")
        axes.legend(loc="lower right")

    return _picture("roc", "ROC curve", draw)


def precision_recall(test: Points, validate: Points, *, event_rate: float) -> str:
    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [event_rate, event_rate], color=QUIET, linewidth=1, linestyle=":", label="chance")
        _line(axes, validate, SECOND, "validation", steps=True)
        _line(axes, test, MODEL, "test", steps=True)
        _shares(axes, "recall (share of true labels found)", "precision (share of found that are true)")
        axes.legend(loc="upper right")

    return _picture("precision-recall", "Precision-recall curve", draw)


def calibration(test: Points, validate: Points, words: KindWords) -> str:
    seen = [value for row in [*test, *validate] for value in (row["x"], row["y"])]
    low, high = (0.0, min(1.03, max([0.05, *seen]) * 1.08)) if words.is_share else (min(seen), max(seen))

    def draw(axes: Axes) -> None:
        axes.plot([low, high], [low, high], color=QUIET, linewidth=1, linestyle=":", label=f"score = {words.rate}")
        _line(axes, validate, SECOND, "validation", marker="o")
        _line(axes, test, MODEL, "test", marker="o")
        if words.is_share:
            _shares(axes, "mean score of a tenth of the rows", "event rate (share of true labels)", most=high)
        else:
            axes.set_xlabel("mean score of a tenth of the rows")
            axes.set_ylabel(words.rate)
        axes.legend(loc="upper left")

    return _picture("calibration", "Calibration", draw)


def gain(deciles: Points, words: KindWords) -> str:
    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=":", label="any order")
        shares = [0.0, *(row["decile"] / 10 for row in deciles)]
        axes.plot(shares, [0.0, *(row["gain"] for row in deciles)], color=MODEL, marker="o", markersize=3, label="test")
        _shares(axes, "share of rows, highest scores first", words.found)
        axes.legend(loc="lower right")

    return _picture("gain", "Cumulative gain by decile", draw)


def lift(deciles: Points, words: KindWords) -> str:
    def draw(axes: Axes) -> None:
        axes.bar([row["decile"] for row in deciles], [row["lift"] for row in deciles], width=0.75, color=MODEL)
        axes.axhline(1, color=QUIET, linewidth=1, linestyle=":")
        axes.set_xticks(range(1, 11))
        axes.grid(axis="x", visible=False)
        axes.set_xlabel("decile of the score (1 = highest)")
        axes.set_ylabel(f"lift (times the overall {words.rate})")

    return _picture("lift", "Lift by decile", draw)


def cost_curve(test: Points, validate: Points, *, threshold: float) -> str:
    def draw(axes: Axes) -> None:
        axes.axvline(threshold, color=QUIET, linewidth=1, linestyle=":", label="threshold")
        for points, colour, label in ((validate, SECOND, "validation"), (test, MODEL, "test")):
            _line(axes, [{"x": row["threshold"], "y": row["cost_per_row"]} for row in points], colour, label)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("threshold (score)")
        axes.set_ylabel("cost a row")
        axes.legend(loc="best")

    return _picture("cost", "Cost by threshold", draw)


def histogram(test: Points, words: KindWords) -> str:
    places = [row["x"] for row in test]
    step = places[1] - places[0] if len(places) > 1 else 1.0

    def draw(axes: Axes) -> None:
        axes.bar(places, [row["y"] for row in test], width=0.9 * step, color=MODEL)
        if words.is_share:
            axes.set_xlim(0, 1)
        axes.grid(axis="x", visible=False)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        axes.set_xlabel(words.score)
        axes.set_ylabel("share of rows")

    return _picture("scores", "Histogram of the scores", draw)


def importance(words: str, method: str, sizes: Sequence[tuple[str, float]]) -> str:
    """Bars of the most important features; `method` as models_ml.importance names it, `words` of what they measure."""

    def draw(axes: Axes) -> None:
        axes.barh(range(len(sizes)), [size for _, size in sizes], height=0.7, color=MODEL)
        axes.set_yticks(range(len(sizes)), [_short(name) for name, _ in sizes])
        axes.set_ylim(len(sizes) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        if method == "gain":
            axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        axes.set_xlabel(words)

    return _picture(
        f"importance-{method}",
        f"Importance of the features: {words}",
        draw,
        size=(4.6, 0.7 + 0.19 * len(sizes)),
    )


def _covered(days: Sequence[datetime], horizon: timedelta) -> list[tuple[datetime, datetime]]:
    """The stretches of time that the windows of these snapshots cover together."""
    stretches: list[tuple[datetime, datetime]] = []
    for day in sorted(days):
        if stretches and day <= stretches[-1][1]:
            stretches[-1] = (stretches[-1][0], day + horizon)
        else:
            stretches.append((day, day + horizon))
    return stretches


def _short(name: str) -> str:
    """A name that fits beside a bar: where it is cut, its beginning and its window stay."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"


def _line(axes: Axes, points: Points, colour: str, label: str, *, marker: str = "", steps: bool = False) -> None:
    if not points:
        return
    x, y = [row["x"] for row in points], [row["y"] for row in points]
    if steps:
        x, y = [0.0, *x], [y[0], *y]
    axes.plot(
        x,
        y,
        color=colour,
        linewidth=1.8 if label == "test" else 1.1,
        marker=marker,
        markersize=3.5,
        drawstyle="steps-pre" if steps else "default",
        label=label,
    )


def _shares(axes: Axes, x: str, y: str, *, most: float = 1.03) -> None:
    axes.set_xlim(0, most)
    axes.set_ylim(0, most)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _picture(name: str, label: str, draw: Callable[[Axes], None], *, size: tuple[float, float] = SIZE) -> str:
    """Draw into one pair of axes, and give the SVG as an element of a page."""
    written = io.StringIO()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _embedded(written.getvalue(), name, label)


def _embedded(svg: str, name: str, label: str) -> str:
    """Without what only a file of its own needs; ids begin with the picture's name, since a page holds several."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style\b.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    for colour, variable in COLOURS.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)
