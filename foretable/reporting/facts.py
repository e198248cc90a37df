"""What a warehouse knows of a prediction, read once: all that its report says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb

from foretable.predictions import has_state, list_versions, rows_of
from foretable.reporting.kind_words import WORDS, KindWords
from ibis_features import FeatureSchema, NotFoundError
from models_ml.class_rows import without_class
from models_ml.judgements import PICTURES
from models_ml.judging import ABOVE, BASELINES
from models_ml.metric_words import metric_word
from udfs.quoting import identifier
from udfs.scorers import register

PARTS = ("train", "validate", "test")
LIKELIEST_ROWS = 10
REASONS_SHOWN = 6
TELLING_FEATURES = 5
FEW_POSITIVES = 100


@dataclass(frozen=True)
class Facts:
    """One version of a prediction: the one that serves, or the newest where none does.

    model: its row of foretable.versions. versions: all of them, newest first. metrics: (split, scored_by, metric) to
    value, lower and upper, without what is not defined. drawn: the rows of foretable.deciles and the other tables of
    pictures; of an older version there are none. importance: feature and size by method, the most important first.
    explained: the highest, the middle and the lowest score, a dict each, with the `sentences` of its strongest reasons
    and how many reasons there are. likeliest: the highest-scored rows, a dict each, with the `values` of `features`.
    left_out: columns of the SELECT that it was not trained on.
    """

    prediction: str
    version: int
    status: str
    since: datetime | None
    model: Mapping[str, Any]
    config: Mapping[str, Any]
    schema: FeatureSchema
    split: Mapping[str, Sequence[datetime]]
    versions: Sequence[Mapping[str, Any]]
    metrics: Mapping[tuple[str, str, str], Mapping[str, Any]]
    importance: Mapping[str, Sequence[tuple[str, float]]]
    drawn: Mapping[str, Sequence[Mapping[str, Any]]]
    features: Sequence[str]
    explained: Sequence[Mapping[str, Any]]
    likeliest: Sequence[Mapping[str, Any]]
    scored_as_of: datetime | None
    scored_rows: int | None
    left_out: Sequence[str]

    @property
    def horizon(self) -> timedelta:
        return timedelta(days=self.model["horizon_days"])

    @property
    def span(self) -> str:
        """The horizon in words."""
        days = self.model["horizon_days"]
        return "day" if days == 1 else f"{days} days"

    @property
    def deciding(self) -> str:
        """The metric that it is held against its baselines by."""
        return next(row["deciding_metric"] for row in self.versions if row["version"] == self.version)

    @property
    def words(self) -> KindWords:
        """What is said of a prediction of its kind."""
        return WORDS[self.model["kind"]]

    @property
    def feature_count(self) -> int:
        """How many features it reads; which class a score is asked for is none."""
        return len(without_class(self.schema).features)

    @property
    def named_by(self) -> list[str]:
        """The keys that tell a row of a snapshot."""
        return _keys(self.schema)

    @property
    def ranked(self) -> str:
        """What scores put in order, in words."""
        entity, item = self.schema.entity, self.schema.item
        return f"each {item} for a {entity}" if item else f"each {entity}"

    @property
    def is_drawn(self) -> bool:
        """Were curves kept when it was trained?"""
        return bool(self.drawn["curves"])

    def curve(self, name: str, split: str) -> list[Mapping[str, Any]]:
        rows = [row for row in self.drawn["curves"] if row["curve"] == name and row["split"] == split]
        return sorted(rows, key=lambda row: (row["x"], row["row_count"]))

    def of(self, table: str, split: str) -> list[Mapping[str, Any]]:
        return [row for row in self.drawn[table] if row["split"] == split]

    def confusion(self, split: str, *, chosen: bool) -> Mapping[str, Any] | None:
        """Counts at 0.5, or at the threshold that was chosen on validation."""
        rows = [row for row in self.of("confusion", split) if row["is_chosen"] == chosen]
        return next((row for row in rows if chosen or row["threshold"] == 0.5), None)

    @property
    def threshold_rule(self) -> str:
        """By what the threshold was chosen, in words."""
        rule = self.config.get("threshold", "f1")
        if rule == "f1":
            return "the best F1"
        [(name, given)] = rule.items()
        if name == "capacity":
            return f"a capacity of {given}"
        costs = (f"{mistake.replace('_', ' ')} {cost:g}" for mistake, cost in given.items())
        return f"the least cost ({', '.join(costs)})"

    def positive_count(self, split: str) -> int | None:
        """How many rows of the split have a true label; None where it was not kept."""
        rows = self.of("confusion", split)
        return rows[0]["true_positive"] + rows[0]["false_negative"] if rows else None


def asked_for(con: duckdb.DuckDBPyConnection, predictions: Sequence[str]) -> tuple[list[str], list[str]]:
    """The predictions that are named, or all where none is, and the others; raises NotFoundError on an unknown one."""
    names = has_state(con) and [
        name for (name,) in con.execute("select distinct prediction from foretable.versions order by all").fetchall()
    ]
    if not names:
        raise NotFoundError("the warehouse holds no predictions; train some with `foretable build`")
    if unknown := [name for name in predictions if name not in names]:
        raise NotFoundError(f"no prediction '{unknown[0]}'; there are: {', '.join(names)}")
    asked = list(dict.fromkeys(predictions)) or names
    return asked, [name for name in names if name not in asked]


def read_facts(con: duckdb.DuckDBPyConnection, prediction: str) -> Facts:
    versions = list_versions(con, prediction)
    shown = next((row for row in versions if row["status"] == "active"), versions[0])
    version = shown["version"]
    key = [prediction, version]
    [model] = rows_of(con, "select * from foretable.versions where prediction = ? and version = ?", key)
    config, schema = json.loads(model["config"]), FeatureSchema.from_json(json.loads(model["feature_schema"]))
    split = {part: [datetime.fromisoformat(day) for day in days] for part, days in json.loads(model["split"]).items()}
    importance = _importance(con, key)
    features = _telling(schema, next(iter(importance.values()), []))
    since = con.execute("select since from foretable.active where prediction = ? and version = ?", key).fetchone()
    scored = con.execute(
        "select as_of, row_count from foretable.runs where prediction = ? and version = ? order by rowid desc limit 1",
        key,
    ).fetchone()
    return Facts(
        prediction=prediction,
        version=version,
        status=shown["status"],
        since=since[0] if since else None,
        model=model,
        config=config,
        schema=schema,
        split=split,
        versions=versions,
        metrics=_metrics(con, key),
        importance=importance,
        drawn={table: _drawn(con, table, key) for table in PICTURES},
        features=features,
        explained=_explained(con, model, schema) if since else [],
        likeliest=_likeliest(con, model, schema, features) if since else [],
        scored_as_of=scored[0] if scored and since else None,
        scored_rows=scored[1] if scored and since else None,
        left_out=_left_out(con, model, config, schema),
    )


def baseline_words(config: Mapping[str, Any]) -> dict[str, str]:
    """What people call each baseline."""
    return {
        "base_rate": "base rate",
        "class_shares": "the shares of the classes",
        "mean": "mean",
        "recency": f"{config.get('recency', 'recency')} alone",
        "rfm": "recency, frequency and money",
        "last_value": f"{config['last_value']} alone" if config.get("last_value") else "the last value",
        "popularity": "the popularity of an item",
    }


def limits(facts: Facts) -> list[str]:
    """What whoever uses the scores should know, a sentence each."""
    config, sentences = facts.config, []
    positive = facts.positive_count("test")
    if positive is not None and positive < FEW_POSITIVES:
        sentences.append(
            f"The test sample is small: {positive:,} rows with a true label. Read the intervals, not the values alone."
        )
    words = {**baseline_words(config), "base_rate": "the base rate", "mean": "the mean"}
    deciding = facts.deciding
    for baseline in BASELINES:
        above = facts.metrics.get(("test", ABOVE + baseline, deciding))
        if above and not above["lower"] > 0:
            sentences.append(
                f"It is not clearly better than {words[baseline]}: the interval of the difference in "
                f"{metric_word(deciding)} reaches 0."
            )
    if config.get("class_weight") and "calibrate" not in config:  # a version of before balanced classes were undone
        sentences.append("It was trained with balanced classes: scores rank rows and are no probabilities.")
    purged = len(facts.split.get("purged", []))
    if purged:
        sentences.append(
            f"{purged} labelled snapshot{'s were' if purged != 1 else ' was'} left out between the parts, "
            "since the label's window reaches into a later part."
        )
    if facts.left_out:
        sentences.append(f"Columns of the SELECT that it was not trained on: {', '.join(facts.left_out)}.")
    if config.get("include_unversioned"):
        sentences.append("It may use attributes of which the source keeps only the present: they may tell the future.")
    if config.get("leak_check", True):
        sentences.append("Leak check: no feature tells the label by itself on the training rows.")
    else:
        sentences.append("The leak check was off: a feature may tell the label by itself.")
    snapshots = len(facts.split.get("test", []))
    sentences.append(
        f"It was judged on {snapshots} snapshot{'s' if snapshots != 1 else ''} of the past; what changes in the shop "
        "after that is not in these figures."
    )
    return sentences


def _metrics(con: duckdb.DuckDBPyConnection, key: list[Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    rows = rows_of(
        con,
        "select split, scored_by, metric, value, lower, upper, row_count from foretable.metrics "
        "where prediction = ? and version = ?",
        key,
    )
    return {
        (row["split"], row["scored_by"], row["metric"]): row
        for row in rows
        if row["value"] is not None and not math.isnan(row["value"])
    }


def _drawn(con: duckdb.DuckDBPyConnection, table: str, key: list[Any]) -> list[dict[str, Any]]:
    """The rows of a state table in the order they were written; none where the warehouse is older than the table."""
    there = con.execute(
        "select 1 from duckdb_tables() "
        "where database_name = current_database() and schema_name = 'foretable' and table_name = ?",
        [table],
    ).fetchone()
    if not there:
        return []
    return rows_of(con, f"select * from foretable.{table} where prediction = ? and version = ? order by rowid", key)


def _telling(schema: FeatureSchema, importance: Sequence[tuple[str, float]]) -> list[str]:
    """The most important features that fit into a cell; the first ones of the SELECT where no importance is known."""
    shown = [feature.name for feature in schema.static if feature.role in {"number", "category"}]
    ranked = [feature for feature, _ in importance if feature in shown] if importance else shown
    return ranked[:TELLING_FEATURES]


def _importance(con: duckdb.DuckDBPyConnection, key: list[Any]) -> dict[str, list[tuple[str, float]]]:
    """By method; first those that networks have, too."""
    found: dict[str, list[tuple[str, float]]] = {}
    ranked = sorted(_drawn(con, "importances", key), key=lambda row: (-row["importance"], row["feature"]))
    for method in ("contribution", "permutation", "gain"):
        if rows := [(row["feature"], row["importance"]) for row in ranked if row["method"] == method]:
            found[method] = rows
    return found


def _explained(con: duckdb.DuckDBPyConnection, model: Mapping[str, Any], schema: FeatureSchema) -> list[dict[str, Any]]:
    """The highest, the middle and the lowest score of the newest rows, explained by the version that serves."""
    keys, named_by = _joined(schema)
    columns = ", ".join(f"pred.{identifier(key)}" for key in schema.keys)
    [explain] = [name for name in register(con, [model["prediction"]]) if name.startswith("explain_")]
    try:
        return rows_of(
            con,
            f"""
            with chosen as (
                select {columns}, {named_by} as entity_id, pred.score, pred.score_rank
                from {model["target"]} as pred
                where pred.version = ? and pred.score_rank in (
                    select unnest([1, (count(*) + 1) // 2, count(*)]) from {model["target"]}
                )
            ),

            explained as (
                select
                    chosen.entity_id,
                    chosen.score,
                    chosen.score_rank,
                    {identifier(explain)}(examples) as reasons
                from chosen
                inner join {model["examples"]} as examples using ({keys})
            )

            select
                entity_id,
                score,
                list_transform(reasons[:{REASONS_SHOWN}], lambda reason: reason.sentence) as sentences,
                len(reasons) as reason_count
            from explained
            order by score_rank
            """,
            [model["version"]],
        )
    except (duckdb.CatalogException, duckdb.BinderException, duckdb.ParserException):
        return []


def _likeliest(
    con: duckdb.DuckDBPyConnection, model: Mapping[str, Any], schema: FeatureSchema, features: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows that score highest, by the version that serves; none where the tables are gone or have changed."""
    keys, named_by = _joined(schema)
    values = "".join(f", examples.{identifier(name)} as feature_{place}" for place, name in enumerate(features))
    try:
        rows = rows_of(
            con,
            f"""
            select {named_by} as entity_id, pred.score, pred.{identifier(schema.as_of)} as as_of {values}
            from {model["target"]} as pred
            left join {model["examples"]} as examples using ({keys})
            where pred.version = ?
            order by pred.score_rank
            limit {LIKELIEST_ROWS}
            """,
            [model["version"]],
        )
    except (duckdb.CatalogException, duckdb.BinderException, duckdb.ParserException):
        return []
    return [{**row, "values": [row[f"feature_{place}"] for place in range(len(features))]} for row in rows]


def _keys(schema: FeatureSchema) -> list[str]:
    return [schema.entity, *([schema.item] if schema.item else [])]


def _joined(schema: FeatureSchema) -> tuple[str, str]:
    """By which columns scores are joined with their rows, and how a row of `pred` is named, as SQL."""
    named = ", ".join(f"pred.{identifier(key)}::varchar" for key in _keys(schema))
    return ", ".join(map(identifier, schema.keys)), f"concat_ws(' · ', {named})"


def _left_out(
    con: duckdb.DuckDBPyConnection, model: Mapping[str, Any], config: Mapping[str, Any], schema: FeatureSchema
) -> list[str]:
    try:
        columns = [name for name, *_ in con.execute(f"describe {model['examples']}").fetchall()]
    except (duckdb.CatalogException, duckdb.ParserException):
        return list(config.get("exclude", []))
    used = {*schema.keys, schema.label, *schema.names}
    return [name for name in columns if name not in used]
