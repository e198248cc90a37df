"""Whether the functions in the file say what the model says, row by row."""

import duckdb
import numpy as np

from ibis_features import ArtifactError
from models_ml.encoding import empty_batch, feature_batch
from models_ml.trainer import FittedModel
from udfs.compiling.scope import Compiled, Names
from udfs.compiling.store import SCHEMA, function, function_names
from udfs.quoting import identifier, readable

PARITY_ROWS = 2_000
EXPLAINED_ROWS = 32
CONTRIBUTION_TOLERANCE = 1e-5


def agreeing_rows(
    con: duckdb.DuckDBPyConnection,
    prediction: str,
    model: FittedModel,
    found: Compiled,
    relation: str,
    *,
    rows: int = PARITY_ROWS,
    by_columns: bool = False,
) -> int:
    """Compare the stored macro with the model on a sample of `relation` (a quoted SQL name or a SELECT in brackets)
    that has the features in whatever types; return the number of rows compared.

    found: the model as it was compiled. by_columns: call the macro with one argument a feature in place of a row.

    Raises ArtifactError where any score differs, with the values of such a row: in any bit for trees, by more than 1e-5
    for networks and ensembles, of scores that are no probabilities by that share of their size or of the middle one's.
    """
    features, row = model.schema.features, _row_of(model)
    named = ", ".join(f"{identifier(f.name)} := {row}.{identifier(f.name)}" for f in features)
    casts = [readable(f"{row}.{identifier(f.name)}", f) + f" as c{place}" for place, f in enumerate(features)]
    sql = f"""
        select {function(prediction)}({named if by_columns else row}) as score, {", ".join(casts)}
        from (select * from {relation} using sample reservoir({rows:d} rows) repeatable (0)) as {row}
    """
    table = con.execute(sql).to_arrow_table()
    if not table.num_rows:
        return 0
    batch = feature_batch(table.columns[1:], empty_batch(model.schema).schema)
    scores, expected = table.column(0).to_numpy().astype(np.float32), model.predict(batch)
    if found.tolerance:
        sizes = np.abs(expected)
        is_other = ~(np.abs(scores - expected) <= found.tolerance * np.maximum(1, np.maximum(sizes, np.median(sizes))))
    else:
        is_other = scores.view(np.uint32) != expected.view(np.uint32)
    if found.is_settled is not None:
        is_other &= found.is_settled(batch)
    if is_other.any():
        place = int(is_other.argmax())
        raise ArtifactError(
            f"{SCHEMA}.{prediction} and its model differ on {is_other.sum():,} of {len(scores):,} rows, say "
            f"{float(scores[place])!r} and {float(expected[place])!r} of the row "
            f"{batch.slice(place, 1).to_pylist()[0]}; please report it"
        )
    return len(scores)


def check_explanation(con: duckdb.DuckDBPyConnection, prediction: str, model: FittedModel, relation: str) -> None:
    """Raises ArtifactError where the contributions in SQL are not the model's on the first rows of `relation`.

    The relation has the features in the types that models read.
    """
    name, row = function_names(prediction).explain, _row_of(model)
    columns = ", ".join(f"{row}.{identifier(name)}" for name in model.schema.names)
    table = con.execute(
        f"select {function(name)}({row}) as told, {columns} from {relation} as {row} limit {EXPLAINED_ROWS}"
    ).to_arrow_table()
    batch = feature_batch(table.columns[1:], empty_batch(model.schema).schema)
    expected = model.contributions(batch)
    for place, told in enumerate(table.column("told").to_pylist()):
        found = {one["feature"]: one["contribution"] for one in told}
        added = np.array([found.get(feature, 0.0) for feature in model.schema.names])
        if not np.abs(added - expected[place]).max() <= CONTRIBUTION_TOLERANCE:
            raise ArtifactError(
                f"{SCHEMA}.{name} and its model differ on the row {batch.slice(place, 1).to_pylist()[0]}; "
                "please report it"
            )


def _row_of(model: FittedModel) -> str:
    """An alias that stands for a whole row: one that is a column's name, too, would stand for that."""
    return Names(model.schema.names).plain("examples")
