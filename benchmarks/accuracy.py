"""How good the shipped predictions are: `python -m benchmarks.accuracy [--data FOLDER] [--quick]`.

Builds the simulated shop and the real shops whose files lie in FOLDER, each in a temporary warehouse; prints the AUC
on the newest labelled snapshot beside the baselines. `share_of_truth` is how far from recency to the truth's own AUC a
model comes; `ece` is the expected calibration error of its scores, to the truth where there is one, else to what
happened, and `ece_uncalibrated` that of the model's own. Reference on the same splits, LightGBM on recency, frequency
and money: Online Retail .737, Taobao .618.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb

from foretable.build import Order, run_build
from foretable.project import find_project, packaged_project
from foretable.simulate import simulate

REAL_SHOPS = {
    "online_retail": "online_retail_transactions.parquet",
    "taobao": "taobao_userbehavior_sample_events.parquet",
}


class Silent:
    """A screen that shows nothing."""

    def say(self, text: str) -> None: ...
    def started(self, step: str) -> None: ...
    def finished(self, step: object, place: int, total: int) -> None: ...
    def share(self, task: str, activity: str, done: float) -> None: ...
    def close(self) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the real shops' files")
    parser.add_argument("--quick", action="store_true", help="a simulated shop of 1,500 users instead of 5,000")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    print(
        f"{'shop':14}{'prediction':20}{'recency':>9}{'rfm':>9}{'model':>9}{'truth':>9}{'share':>9}{'ece':>9}{'build':>10}"
    )
    with tempfile.TemporaryDirectory() as folder:
        shop = Path(folder) / "shop"
        simulate(shop, users=1_500 if options.quick else 5_000)
        figures["simulated"] = measured(Path(folder) / "simulated.duckdb", "contract", shop)
        for source, file in REAL_SHOPS.items():
            if options.data is not None and (options.data / file).exists():
                figures[source] = measured(Path(folder) / f"{source}.duckdb", source, options.data)
    libraries = ("duckdb", "dbt-core", "xgboost", "keras", "tensorflow")
    figures["machine"] = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
    }
    print(json.dumps(figures))


def measured(warehouse: Path, source: str, data: Path) -> dict[str, Any]:
    """Build one shop and read the test AUC of each prediction and its baselines."""
    started = time.monotonic()
    order = Order(find_project(packaged_project()), warehouse, data, {"source": source}, promote="always")
    report = run_build(order, Silent())
    seconds = time.monotonic() - started
    if not report.is_good:
        raise SystemExit(report.problem or "; ".join(step.message for step in report.failed))
    with duckdb.connect(str(warehouse), read_only=True) as con:
        errors = con.execute(
            """
            select
                prediction,
                scored_by,
                coalesce(
                    max(value) filter (metric = 'true_calibration_error'),
                    max(value) filter (metric = 'expected_calibration_error')
                ) as value
            from foretable.metrics
            where split = 'test' and scored_by in ('model', 'uncalibrated')
            group by prediction, scored_by
            order by all
            """
        ).fetchall()
        rows = con.execute(
            """
            select prediction, scored_by, value, lower, upper
            from foretable.metrics
            where split = 'test' and metric = 'roc_auc'
            order by all
            """
        ).fetchall()
    figures: dict[str, Any] = {"seconds": round(seconds, 1)}
    for prediction, scored_by, value, lower, upper in rows:
        auc = figures.setdefault(prediction, {})
        auc[scored_by] = round(value, 4)
        if scored_by == "model":
            auc["interval"] = [round(lower, 4), round(upper, 4)]
    for prediction, scored_by, value in errors:
        figures[prediction]["ece" if scored_by == "model" else "ece_uncalibrated"] = round(value, 4)
    for prediction, auc in figures.items():
        if not isinstance(auc, dict):
            continue
        if "truth" in auc:
            auc["share_of_truth"] = round((auc["model"] - auc["recency"]) / (auc["truth"] - auc["recency"]), 3)
        cells = [f"{auc.get(name, ''):>9}" for name in ("recency", "rfm", "model", "truth", "share_of_truth", "ece")]
        print(f"{source:14}{prediction:20}{''.join(cells)}{seconds:8.1f} s", flush=True)
    return figures


if __name__ == "__main__":
    main()
