"""Whether the functions in the file say what the model says, row by row."""

import duckdb
import numpy as np
import pyarrow as pa

from ibis_features import ArtifactError, FeatureSchema
from models_ml.calibration import uncalibrated
from models_ml.encoding import empty_batch, feature_batch
from models_ml.trainer import FittedModel
from udfs.compiling.families import compiled
from udfs.compiling.store import SCHEMA, function
from udfs.quoting import identifier, readable

PARITY_ROWS = 2_000


def check_parity(
    con: duckdb.DuckDBPyConnection,
    prediction: str,
    model: FittedModel,
    relation: str,
    *,
    tolerance: float | None = None,
    rows: int = PARITY_ROWS,
    by_columns: bool = False,
) -> int:
    """Compare the stored macro with the model on a sample of `relation` (a quoted SQL name or a SELECT in brackets) that
    has the features in whatever types; return the number of rows compared.

    tolerance: how far two probabilities may differ, 0 for equal bits; by default that of the model's family. by_columns:
    call the macro with one argument a feature in place of a row.

    Raises ArtifactError where any score differs, with the values of such a row.
    """
    if tolerance is None:
        tolerance = compiled(uncalibrated(model)).tolerance
    features = model.schema.features
    named = ", ".join(f"{identifier(f.name)} := examples.{identifier(f.name)}" for f in features)
    casts = [readable(f"examples.{identifier(f.name)}", f) + f" as c{place}" for place, f in enumerate(features)]
    sql = f"""
        select {function(prediction)}({named if by_columns else "examples"}) as score, {", ".join(casts)}
        from (select * from {relation} using sample reservoir({rows:d} rows) repeatable (0)) as examples
    """
    found = con.execute(sql).to_arrow_table()
    if not found.num_rows:
        return 0
    batch = feature_batch(found.columns[1:], empty_batch(model.schema).schema)
    scores, expected = found.column(0).to_numpy().astype(np.float32), model.predict(batch)
    if tolerance:
        differing = np.flatnonzero(~(np.abs(scores - expected) <= tolerance))
    else:
        differing = np.flatnonzero(scores.view(np.uint32) != expected.view(np.uint32))
    if len(differing):
        place = int(differing[0])
        raise ArtifactError(
            f"refused to publish {SCHEMA}.{prediction}: SQL and model differ on {len(differing):,} of "
            f"{len(scores):,} rows, say {scores[place]!r} and {expected[place]!r} of the row "
            f"{_row_text(model.schema, batch, place)}; please report it"
        )
    return len(scores)


def _row_text(schema: FeatureSchema, batch: pa.RecordBatch, place: int) -> str:
    return str(batch.slice(place, 1).to_pylist()[0])
