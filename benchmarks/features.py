"""How fast features are beside other ways to them: `python -m benchmarks.features [--quick] [--only PART]`.

pandas        features and sequences of 13 weekly snapshots, from typed Parquet to written tables, deduplication
              included; `plain` as the pandas documentation teaches it, `tuned` as somebody writes it who has
              profiled that. speedup_1m and speedup_10m are against plain, tuned_1m and tuned_10m against tuned
feast         20 features joined onto a list of entities and moments, against Feast's DuckDB offline store;
              feast_cpu is the same of the seconds of all threads
featuretools  counts and sums over all windows, against deep feature synthesis with cutoff times

The sides run in turn, each in a process of its own, ours with two threads; a figure is the ratio of medians.
Start-up and imports are left out on all sides. Where a cell differs, the exit code is 1. --quick measures the same at
a tenth of the events (speedup_100k, speedup_1m).
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import feast_comparison, featuretools_comparison, pandas_comparison
from benchmarks.processes import REQUIREMENTS, machine, peer_python

PARTS = ("pandas", "feast", "featuretools")
ENTITY_ROWS = [1_000, 100_000, 1_000_000]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the events; ends within 10 minutes")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; may be given several times")
    parser.add_argument("--repeat", type=int, help="turns of each side (3; with --quick 2)")
    parser.add_argument("--folder", type=Path, help="make logs and tables here, and keep them")
    options = parser.parse_args()
    parts = options.only or PARTS
    repeat = options.repeat or (2 if options.quick else 3)
    sizes = [100_000, 1_000_000] if options.quick else [1_000_000, 10_000_000]
    pythons = {part: peer_python(part) for part in parts}
    figures: dict[str, Any] = {}
    print(f"{'against':22}{'size':>12}{'theirs':>12}{'ours':>12}{'ratio':>9}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        for events in sizes if "pandas" in parts else sizes[:1] if "feast" in parts else []:
            shop = pandas_comparison.staged(folder / f"log_{events}", events=events)
            if "pandas" in parts:
                against_pandas(shop, pythons["pandas"], repeat, figures)
            if "feast" in parts and events == sizes[0]:
                against_feast(shop, pythons["feast"], repeat, figures)
        if "featuretools" in parts:
            events = 30_000 if options.quick else 300_000
            against_featuretools(folder / "featuretools", pythons["featuretools"], events, repeat, figures)
    figures["versions"] = {**machine(), **{part: REQUIREMENTS[part][0].split("==")[1] for part in parts}}
    print(json.dumps(figures))
    if figures.get("differing"):
        sys.exit(1)


def against_pandas(shop: pandas_comparison.Shop, python: Path, repeat: int, figures: dict[str, Any]) -> None:
    compared = pandas_comparison.compare(shop, python, repeat=repeat)
    size = f"{shop.events // 1_000_000}m" if shop.events >= 1_000_000 else f"{shop.events // 1_000}k"
    ours = statistics.median(compared.ours)
    for style, seconds in compared.theirs.items():
        ratio = shown(f"pandas, {style}", size, statistics.median(seconds), ours)
        figures[f"{'speedup' if style == 'plain' else style}_{size}"] = ratio
    figures[f"pandas_{size}"] = {
        "staging_seconds": round(shop.staging.sql_seconds, 2),
        "by_model": compared.by_model,
        "by_step": compared.by_step,
        "cpu_seconds": compared.cpu_seconds,
        "peak_gb": compared.peak_gb,
        "cells": compared.cells,
        "only_ours": len(compared.only_ours),
    }
    if compared.only_ours:
        print(f"  of ours, {len(compared.only_ours)} columns are computed beyond those compared", flush=True)
    note(figures, compared.differing)


def against_feast(shop: pandas_comparison.Shop, python: Path, repeat: int, figures: dict[str, Any]) -> None:
    compared = feast_comparison.compare(shop, python, rows=ENTITY_ROWS, repeat=repeat)
    figures["feast"] = {
        str(rows): shown("feast", f"{rows:,} rows", compared.theirs[rows], compared.ours[rows]) for rows in ENTITY_ROWS
    }
    figures["feast_cpu"] = {
        str(rows): round(compared.cpu["feast"][rows] / compared.cpu["ours"][rows], 2) for rows in ENTITY_ROWS
    }
    print(f"  of CPU seconds: {figures['feast_cpu']}; load average {os.getloadavg()[0]:.1f}", flush=True)
    note(figures, {f"feast {rows} rows": cells for rows, cells in compared.differing.items() if cells})


def against_featuretools(folder: Path, python: Path, events: int, repeat: int, figures: dict[str, Any]) -> None:
    compared = featuretools_comparison.compare(folder, python, events=events, repeat=repeat)
    theirs, ours = statistics.median(compared.theirs), statistics.median(compared.ours)
    figures["featuretools"] = shown("featuretools", f"{events // 1_000}k", theirs, ours)
    note(figures, {f"featuretools {name}": cells for name, cells in compared.differing.items()})


def shown(name: str, size: str, theirs: float, ours: float) -> float:
    """Print one line of the table; the ratio."""
    print(f"{name:22}{size:>12}{theirs:10.2f} s{ours:10.2f} s{theirs / ours:9.2f}", flush=True)
    return round(theirs / ours, 2)


def note(figures: dict[str, Any], differing: dict[str, int]) -> None:
    """Keep the cells that differ, and say so at once."""
    if differing:
        figures.setdefault("differing", {}).update(differing)
        print(f"  cells that differ: {differing}", flush=True)


if __name__ == "__main__":
    main()
