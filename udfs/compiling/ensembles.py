"""Ensembles as SQL: the members' own SQL one after another, and their log-odds joined as the model joins them."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pyarrow as pa

from models_ml.encoding import empty_batch
from models_ml.ensemble import Combination, EnsembleModel, vote_log_odds
from udfs.compiling.calibration import double, score_sql
from udfs.compiling.scope import Compiled, Scope

TOLERANCE = 1e-5


def compile_ensemble(model: EnsembleModel, members: Mapping[str, Compiled]) -> Compiled:
    """`members` are those of the model, each compiled, by name."""
    tables = {f"{name}_{role}": table for name, member in members.items() for role, table in member.tables.items()}
    return Compiled(
        tables=tables,
        margin=partial(_margin, model.combination, members),
        probes=_probes(model, members),
        tolerance=TOLERANCE,
        is_settled=partial(_is_settled, model) if model.combination.thresholds else None,
    )


def _margin(combination: Combination, members: Mapping[str, Compiled], scope: Scope) -> str:
    source, rows = scope.source, scope.own("rows")
    outs = [scope.working(name) for name in members]
    kept = (*scope.kept, *(f"c{place}" for place in scope.places.values() if f"c{place}" not in scope.kept))
    for (name, member), out in zip(members.items(), outs, strict=True):
        source = f"({member.margin(scope.of_member(name, source, out, kept))})"
        kept = (*kept, out)
    joined = _joined(combination, [f"{rows}.{out}" for out in outs])
    return f"select {scope.listed(rows, f'{joined} as {scope.out}')} from {source} as {rows}"


def _joined(combination: Combination, margins: list[str]) -> str:
    if not combination.thresholds:
        weighted = [
            f"{double(weight)} * {margin}::DOUBLE" for weight, margin in zip(combination.weights, margins, strict=True)
        ]
        return f"({' + '.join([double(combination.intercept), *weighted])})::FLOAT"
    says = [
        f"({score_sql(None, margin)} >= {double(threshold)}::FLOAT)::INTEGER"
        for margin, threshold in zip(margins, combination.thresholds, strict=True)
    ]
    log_odds = vote_log_odds(np.arange(len(says) + 1) / len(says), len(says))
    outcomes = ", ".join(f"{double(value)}::FLOAT" for value in log_odds.tolist())
    return f"([{outcomes}])[1 + {' + '.join(says)}]"


def _is_settled(model: EnsembleModel, batch: pa.RecordBatch) -> np.ndarray:
    """Where no member's score lies so near the threshold of its vote that its last bits decide."""
    scores = np.array([member.predict(batch) for member in model.members.values()])
    return (np.abs(scores - np.array(model.combination.thresholds)[:, None]) > TOLERANCE).all(axis=0)


def _probes(model: EnsembleModel, members: Mapping[str, Compiled]) -> pa.RecordBatch:
    """The probes of all members; what one of them does not read is missing there."""
    schema = empty_batch(model.schema).schema
    empty = schema.empty_table()
    tables = [pa.Table.from_batches([member.probes]) for member in members.values()]
    whole = pa.concat_tables([empty, *tables], promote_options="default").select(schema.names)
    return whole.combine_chunks().to_batches()[0]
