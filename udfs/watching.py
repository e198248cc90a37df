"""Watch a version that serves: how far its rows have drifted, and how good its scores turned out to be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import numpy as np

from ibis_features import Examples, FeatureSchema
from models_ml.artifact import unpack
from models_ml.bootstrap import with_intervals
from models_ml.class_rows import one_row_a_list
from models_ml.drift import Drift, feature_drift, score_drift
from models_ml.interactions import interactions_of, with_interactions
from models_ml.kinds import Lists
from models_ml.observations import add_drift, add_realised, decay_of
from models_ml.registry import (
    ActiveModel,
    read_artifact,
    registered_kind,
    threshold_of,
    trained_version,
)
from models_ml.trainer import FittedModel
from udfs.quoting import identifier

SEED = 7
KNOWN = "temp.main.foretable_known"


@dataclass(frozen=True)
class Watch:
    """What `decide` may ask of the version that serves; measured only where it is asked."""

    con: duckdb.DuckDBPyConnection
    active: ActiveModel
    examples: Examples
    newest: datetime

    def drift(self) -> float | None:
        """The PSI of the scores of the newest rows against those of the test snapshots; None where these are gone."""
        blob = read_artifact(self.con, self.active.prediction, self.active.version)
        fitted = unpack(blob, expected_sha256=self.active.sha256)
        version = trained_version(self.con, self.active.prediction, self.active.version)
        found = _score_drift(fitted, self.examples, version.split, self.newest)
        return found.psi if found else None

    def decay(self) -> float | None:
        """How much of its deciding metric, of truth values the AUC, the version has lost since its test.

        None as long as no outcome is known.
        """
        return decay_of(self.con, self.active.prediction, self.active.version)


def write_drift(
    con: duckdb.DuckDBPyConnection,
    prediction: str,
    version: int,
    fitted: FittedModel,
    examples: Examples,
    newest: datetime,
    at: datetime,
) -> None:
    """Measure the newest rows: the score against the test snapshots, features and interactions against the training
    snapshots.

    Nothing is measured where the examples no longer hold these snapshots.
    """
    split = trained_version(con, prediction, version).split
    rows = with_interactions(examples, interactions_of(fitted))
    rows = one_row_a_list(rows)
    found = feature_drift(rows.all_at(_instants(split["train"])), rows.all_at([newest]))
    score = _score_drift(fitted, examples, split, newest)
    ordered = [*([score] if score else []), *sorted(found, key=lambda drift: (-drift.psi, drift.name))]
    add_drift(con, prediction, version, newest, ordered, at)


def write_realised(
    con: duckdb.DuckDBPyConnection, prediction: str, examples: str, schema: FeatureSchema, at: datetime
) -> int:
    """Join the log's scores with the labels that are known by now, one set of metrics a version and snapshot.

    The labels themselves go into foretable.outcomes. `examples` is a quoted relation. Returns how many sets are new.
    The caller holds the transaction.
    """
    _join_known(con, prediction, examples, schema)
    con.execute(
        f"""
        insert into foretable.outcomes by name
        select distinct
            $prediction as prediction,
            known.entity_id,
            known.item_id,
            known.label,
            known.as_of,
            $at::timestamp as known_at
        from {KNOWN} as known
        anti join (select entity_id, item_id, as_of from foretable.outcomes where prediction = $prediction) as outcomes
            on known.entity_id = outcomes.entity_id
            and known.item_id is not distinct from outcomes.item_id
            and known.as_of = outcomes.as_of
        order by known.as_of, known.entity_id, known.item_id
        """,
        {"prediction": prediction, "at": at},
    )
    known = _known(con, has_items=schema.item is not None)
    con.execute(f"drop table {KNOWN}")
    for version, as_of, labels, scores, lists in known:
        _, threshold = threshold_of(con, prediction, version)
        kind = registered_kind(con, prediction, version)
        measures = kind.measures(labels, scores, threshold=threshold, lists=lists)
        found = with_intervals(measures, len(labels), seed=SEED, resamples=0)
        add_realised(con, prediction, version, as_of, found, at)
    return len(known)


def _join_known(con: duckdb.DuckDBPyConnection, prediction: str, examples: str, schema: FeatureSchema) -> None:
    """Write into `KNOWN` the last score that each version gave to a row whose label is known by now, and the label."""
    entity, as_of, label = map(identifier, (schema.entity, schema.as_of, schema.label))
    item = f"examples.{identifier(schema.item)}::varchar" if schema.item else "null::varchar"
    con.execute(
        f"""
        create or replace temp table {KNOWN} as
        with logged as (
            select log.version, log.entity_id, log.item_id, log.as_of, max_by(log.score, log.rowid) as score
            from foretable.prediction_log as log
            anti join (select version, as_of from foretable.realised where prediction = $prediction) as realised
                on log.version = realised.version and log.as_of = realised.as_of
            where log.prediction = $prediction and log.score is not null
            group by log.version, log.entity_id, log.item_id, log.as_of
        )

        select logged.*, examples.{label}::double as label
        from logged
        inner join {examples} as examples
            on logged.entity_id = examples.{entity}::varchar
            and logged.item_id is not distinct from {item}
            and logged.as_of = examples.{as_of}
        where examples.{label} is not null
        """,
        {"prediction": prediction},
    )


def _known(
    con: duckdb.DuckDBPyConnection, *, has_items: bool
) -> list[tuple[int, datetime, np.ndarray, np.ndarray, Lists | None]]:
    """Version and as_of with the labels, the scores and, where rows are items of a list, the lists; [rows] each."""
    codes = {"entity_id": "groups", "item_id": "items"} if has_items else {}
    coded = "".join(f", dense_rank() over (order by {key}) as {name}" for key, name in codes.items())
    columns = ["label", "score", *codes.values()]
    order = ", ".join(["score", "label", *codes.values()])
    listed = ", ".join(f"list({column} order by {order}) as {column}" for column in columns)
    rows = con.execute(
        f"with coded as (select version, as_of, label, score{coded} from {KNOWN}) "
        f"select version, as_of, {listed} from coded group by version, as_of order by version, as_of"
    ).fetchnumpy()
    return [
        (int(version), as_of.astype("datetime64[us]").item(), labels, scores, Lists(*lists) if lists else None)
        for version, as_of, labels, scores, *lists in zip(
            *(rows[name] for name in ("version", "as_of", *columns)), strict=True
        )
    ]


def _score_drift(
    fitted: FittedModel, examples: Examples, split: Mapping[str, Sequence[str]], newest: datetime
) -> Drift | None:
    return score_drift(fitted.predict, examples.all_at(_instants(split["test"])), examples.all_at([newest]))


def _instants(days: Sequence[str]) -> list[datetime]:
    return [datetime.fromisoformat(day) for day in days]
