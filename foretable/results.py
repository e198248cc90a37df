"""The screens after a build: times, predictions, failures, and the demo's last words."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from foretable.build import Report, Step
from foretable.predictions import OTHERS, has_state, list_predictions, plans_of, runs_of, share_of_the_way
from foretable.project import PACKAGE
from foretable.query import open_reader
from foretable.screen import show_table
from models_ml.metric_words import metric_word
from models_ml.trainer import families, trainer

if TYPE_CHECKING:
    import duckdb

SLOWEST = 10
OTHER_WORDS = {
    **{"pr_auc": "PR-AUC", "log_loss": "log-loss", "top_3_accuracy": "top-3 accuracy", "rmse": "RMSE", "mae": "MAE"},
    **{"mrr": "MRR", "hr_at_10": "HR@10"},
}
TELLING_FEATURES = ("purchase_count_30d", "cart_count_7d", "view_count_7d", "recency_days")
DEFAULT_WAREHOUSE = Path("warehouse.duckdb")


def show_build(console: Console, report: Report) -> None:
    """Times, predictions, tests, and what failed."""
    _show_times(console, report)
    if report.warehouse.is_file() and report.run_id:
        with open_reader(report.warehouse) as con:
            if has_state(con):
                _show_predictions_of_run(console, con, report.run_id)
    tests = [step for step in report.steps if step.kind == "test"]
    if tests:
        passed = sum(step.status == "pass" for step in tests)
        _say(console, f"{passed} of {len(tests)} tests of the data passed.")
    for step in tests:
        if step.status == "warn":
            _say(console, f"Warning: test {step.name} found {_rows(step)}{_where_to_look(step, report.warehouse)}.")


def failure_sentences(report: Report) -> list[str]:
    """One sentence a failed step, and what to do."""
    sentences = [report.problem] if report.problem else []
    for step in report.failed:
        if step.kind == "test" and step.status == "fail":
            sentences.append(_test_sentence(step, report.warehouse))
        else:
            message = step.message if step.message.startswith("prediction ") else f"{step.name}: {step.message}"
            sentences.append(message)
    return sentences


def skipped_count(report: Report) -> int:
    """Steps that did not run since one before them failed."""
    return sum(step.status == "skipped" for step in report.steps)


def show_demo(console: Console, warehouse: Path) -> None:
    """The likeliest buyers, why to trust it, and how to ask for more."""
    with open_reader(warehouse) as con:
        buyers = likeliest_buyers(con)
        predictions = list_predictions(con)
    if buyers:
        show_table(console, "The five likeliest buyers of the next 30 days", buyers)
    trust = [_trust_row(row) for row in predictions]
    if trust:
        show_table(console, "Why to trust it: figures on snapshots that no model has seen", trust)
        _say(
            console,
            "AUC and concordance: 0.5 is a coin toss, 1 perfect; Gini: 0 is a coin toss. recency: the days since the "
            "last event, alone. rfm: a regression on recency, frequency and money. truth: the probability that the "
            "simulated shop itself drew from, the most that can be known. share: how far from recency to truth the "
            "model has come.",
        )
    names = {row["prediction"] for row in predictions}
    _say(console, "\nAsk for more:")
    for sql in demo_queries(names):
        console.print("  " + query_command(sql, warehouse), soft_wrap=True, markup=False)
    console.print("  " + command("predictions", warehouse), soft_wrap=True, markup=False)


def demo_queries(predictions: set[str]) -> list[str]:
    """SQL that runs on the demo's warehouse: a table, the stored macro, and a what-if."""
    queries = []
    if "purchase_30d" in predictions:
        newest = "as_of = (select max(as_of) from features__user)"
        queries = [
            "select user_id, score from pred__purchase_30d order by score desc limit 5",
            "select user_id, scores.purchase_30d(features) as score from features__user as features "
            f"where {newest} order by score desc, user_id limit 5",
            "select user_id, score_purchase_30d(features) as now, score_purchase_30d(struct_update(features, "
            "cart_count_90d := features.cart_count_90d + 3)) as if_three_carts_more "
            f"from features__user as features where {newest} "
            "order by if_three_carts_more - now desc, user_id limit 5",
        ]
    return queries


def likeliest_buyers(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The five highest scores, beside a few features that tell why; empty where there is no such prediction."""
    columns = {
        (table, column)
        for table, column in con.execute(
            "select table_name, column_name from duckdb_columns() "
            "where database_name = current_database() and table_name in ('pred__purchase_30d', 'features__user')"
        ).fetchall()
    }
    if ("pred__purchase_30d", "score") not in columns:
        return []
    features = [name for name in TELLING_FEATURES if ("features__user", name) in columns]
    selected = "".join(f", features.{name}" for name in features)
    cursor = con.execute(
        f"""
        select pred.user_id as "user", pred.score_rank as rank, round(pred.score, 4) as score {selected}
        from pred__purchase_30d as pred
        left join features__user as features
            on pred.user_id = features.user_id and pred.as_of = features.as_of
        order by pred.score_rank
        limit 5
        """
    )
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def query_command(sql: str, warehouse: Path) -> str:
    """What to type for this SQL."""
    return f'{command("sql", warehouse)} "{sql}"'


def command(verb: str, warehouse: Path) -> str:
    """What to type for a verb, with the warehouse where it is not the one that is taken anyway."""
    if warehouse.absolute() == DEFAULT_WAREHOUSE.absolute():
        return f"{PACKAGE} {verb}"
    return f"{PACKAGE} {verb} --warehouse {shlex.quote(shown_path(warehouse))}"


def shown_path(path: Path) -> str:
    """A path as short as it can be typed from here."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def trained_summary(row: dict[str, Any]) -> dict[str, Any]:
    """What a prediction was trained on."""
    return {
        "prediction": row["prediction"],
        "version": row["version"],
        "model": row["model"],
        "label": row["label"],
        "trained at": _day(row["trained_at"], 16),
        "train rows": f"{row['train_rows']:,}",
        "train as_of": _range(row, "train"),
        "validate as_of": _range(row, "validate"),
        "seconds": round(row["train_seconds"], 1),
    }


def judged_summary(row: dict[str, Any]) -> dict[str, Any]:
    """How good a prediction is on its test snapshots, and what it has scored."""
    return {
        "prediction": row["prediction"],
        "test as_of": _range(row, "test"),
        "metric": metric_word(row["deciding_metric"]),
        "model [95%]": _interval(row),
        "recency": _short(row["recency_value"]),
        "rfm": _short(row["rfm_value"]),
        "last value": _short(row["last_value_value"]),
        "popularity": _short(row["popularity_value"]),
        "truth": _short(row["truth_value"]),
        "beside it": ", ".join(f"{OTHER_WORDS[name]} {row[name]:,.3f}" for name in OTHERS if row[name] is not None),
        "scored as_of": _day(row["scored_as_of"], 10),
        "rows scored": f"{row['scored_rows'] or 0:,}",
    }


def show_plan(console: Console, report: Report) -> None:
    """What would train and why, the parts it would train and be judged on, and what would be scored."""
    if not report.warehouse.is_file() or not report.run_id:
        return
    with open_reader(report.warehouse) as con:
        plans = plans_of(con, report.run_id) if has_state(con) else []
    if not plans:
        return
    training = [plan for plan in plans if plan["is_trained"]]
    rows = [
        {
            "prediction": plan["prediction"],
            "train": "yes" if plan["is_trained"] else "no",
            "why": plan["reason"],
            "serves": f"version {plan['serving_version']}" if plan["serving_version"] else "nothing yet",
            "score as_of": _day(plan["scored_as_of"], 10),
            "rows to score": f"{plan['scored_rows']:,}",
        }
        for plan in plans
    ]
    show_table(console, "What a build would do", rows, right=["rows to score"])
    if training:
        parts = [
            {
                "prediction": plan["prediction"],
                "model": plan["model"],
                "features": plan["feature_count"],
                "train": _planned(plan, "train"),
                "validate": _planned(plan, "validate"),
                "test": _planned(plan, "test"),
                "purged snapshots": len(plan["purged_as_of"]),
                "seconds last time": "" if plan["last_train_seconds"] is None else f"{plan['last_train_seconds']:.1f}",
            }
            for plan in training
        ]
        right = ["features", "purged snapshots", "seconds last time"]
        show_table(console, "On which rows", parts, right=right)
    seconds = sum(plan["last_train_seconds"] or 0.0 for plan in training)
    known = f", which took {seconds:.0f} s last time" if seconds else ""
    _say(console, f"{len(training)} of {len(plans)} predictions would be trained{known}. Nothing was changed.")


def version_summary(row: dict[str, Any]) -> dict[str, Any]:
    """A version: does it serve, and how good is it?"""
    return {
        "version": row["version"],
        "status": f"{row['status']}, shadow" if row.get("shadow_since") else row["status"],
        "model": row["model"],
        "trained at": _day(row["trained_at"], 16),
        "train rows": f"{row['train_rows']:,}",
        f"test {metric_word(row['deciding_metric'])} [95%]": _interval(row),
        "params": changed_params(row),
    }


def changed_params(version: Mapping[str, Any]) -> str:
    """The params of a row of foretable.versions that are not the family's defaults, in words.

    A version that is older than the column `params` tells none.
    """
    params = json.loads(version.get("params") or "{}")
    if len(members := families(version["model"])) > 1:
        words = {name: _changed_params(name, params.get(name, {})) for name in members}
        return "; ".join(f"{name}: {said}" for name, said in words.items() if said)
    return _changed_params(version["model"], params)


def _changed_params(family: str, params: Mapping[str, Any]) -> str:
    defaults = trainer(family).DEFAULT_PARAMS
    changed = {name: value for name, value in params.items() if value != defaults.get(name)}
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in changed.items()
    )


def comparison_summary(row: dict[str, Any], one: int, other: int) -> dict[str, Any]:
    """One metric of two versions."""
    interval = "" if row["lower"] is None else f" [{row['lower']:+.4f}, {row['upper']:+.4f}]"
    return {
        "metric": row["metric"],
        f"version {one}": f"{row[f'version {one}']:.4f}",
        f"version {other}": f"{row[f'version {other}']:.4f}",
        "difference [95%]": f"{row['difference']:+.4f}{interval}",
    }


def realised_summary(row: dict[str, Any], one: int, other: int) -> dict[str, Any]:
    """One metric of what two versions said of a snapshot whose outcomes are known."""
    return {
        "as of": _day(row["as_of"], 10),
        "rows": f"{row['row_count']:,}",
        "metric": row["metric"],
        f"version {one}": f"{row['one']:.4f}",
        f"version {other}": f"{row['other']:.4f}",
        "difference": f"{row['one'] - row['other']:+.4f}",
    }


def show_predictions(console: Console, rows: list[dict[str, Any]]) -> None:
    """What is trained and how good it is, a row each."""
    if rows:
        show_table(console, "What is trained", [trained_summary(row) for row in rows], right=["train rows"])
        show_table(console, "How good it is", [judged_summary(row) for row in rows], right=["rows scored"])
    else:
        _say(console, "No prediction is trained yet.")


def _show_times(console: Console, report: Report) -> None:
    built = [step for step in report.steps if step.kind in {"model", "seed", "snapshot"} and step.status != "skipped"]
    slowest = sorted(built, key=lambda step: (-step.seconds, step.name))[:SLOWEST]
    if not slowest:
        return
    rows: list[dict[str, Any]] = [{"step": step.name, "seconds": f"{step.seconds:.1f}"} for step in slowest]
    others = len(built) - len(slowest)
    if others:
        rest = sum(step.seconds for step in built) - sum(step.seconds for step in slowest)
        rows.append({"step": f"{others} others", "seconds": f"{rest:.1f}"})
    rows.append({"step": "total, by the clock", "seconds": f"{report.seconds:.1f}"})
    show_table(console, "Time by step, slowest first", rows, right=["seconds"])


def _show_predictions_of_run(console: Console, con: duckdb.DuckDBPyConnection, run_id: str) -> None:
    described = {row["prediction"]: row for row in list_predictions(con)}
    rows = [
        {
            "prediction": run["prediction"],
            "trained": "yes" if run["is_trained"] else "no",
            "test metric": metric_word(described[run["prediction"]]["deciding_metric"]),
            "model [95%]": _interval(described[run["prediction"]]),
            "recency": _short(described[run["prediction"]]["recency_value"]),
            "rfm": _short(described[run["prediction"]]["rfm_value"]),
            "truth": _short(described[run["prediction"]]["truth_value"]),
            "rows scored": f"{run['row_count']:,}" + ("" if run["is_scored"] else " as before"),
            "why": run["reason"],
        }
        for run in runs_of(con, run_id)
        if run["prediction"] in described
    ]
    if rows:
        show_table(console, "Predictions", rows, right=["rows scored"])


def _trust_row(row: dict[str, Any]) -> dict[str, Any]:
    share = share_of_the_way(row["test_value"], row["recency_value"], row["truth_value"])
    return {
        "prediction": row["prediction"],
        "model": row["model"],
        "metric": metric_word(row["deciding_metric"]),
        "model [95%]": _interval(row),
        "recency": _short(row["recency_value"]),
        "rfm": _short(row["rfm_value"]),
        "truth": _short(row["truth_value"]),
        "share": "" if share is None else f"{share:.0%}",
    }


def _test_sentence(step: Step, warehouse: Path) -> str:
    return f"test {step.name} failed: {_rows(step)} should not be there{_where_to_look(step, warehouse)}"


def _rows(step: Step) -> str:
    return f"{step.failures:,} row{'s' if step.failures != 1 else ''}"


def _where_to_look(step: Step, warehouse: Path) -> str:
    if step.compiled is None:
        return ""
    return f"; see them with: {command('sql', warehouse)} - < {shlex.quote(shown_path(step.compiled))}"


def _interval(row: dict[str, Any]) -> str:
    """The deciding metric of the model on the test snapshots."""
    if row["test_value"] is None:
        return ""
    text = f"{row['test_value']:.3f}"
    if row["test_lower"] is not None and row["test_upper"] is not None:
        text += f" [{row['test_lower']:.3f}, {row['test_upper']:.3f}]"
    return text


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _day(value: Any, length: int) -> str:
    return "" if value is None else str(value)[:length]


def _range(row: dict[str, Any], part: str) -> str:
    first, last = _day(row[f"{part}_from"], 10), _day(row[f"{part}_to"], 10)
    return first if first == last else f"{first} to {last}"


def _planned(plan: dict[str, Any], part: str) -> str:
    first, last = _day(plan[f"{part}_as_of"][0], 10), _day(plan[f"{part}_as_of"][-1], 10)
    days = first if first == last else f"{first} to {last}"
    return f"{plan[f'{part}_rows']:,} rows, {days}"


def _say(console: Console, text: str) -> None:
    console.print(Text(text))
