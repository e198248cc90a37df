"""What the dbt test `macro_agrees` computes, as a function of SQL that returns the faults it finds."""

import duckdb

from ibis_features import ArtifactError, NotFoundError
from models_ml.artifact import unpack
from models_ml.registry import active_model, read_artifact, trained_version
from models_ml.score_map import unmapped
from udfs.compiling import agreeing_rows, check_probes, compiled
from udfs.leak_tests import on_cursor


def register_agreement(con: duckdb.DuckDBPyConnection) -> None:
    """Create foretable_macro_agrees(request): from JSON, the arguments of `disagreements`, to a list of faults."""
    text = duckdb.sqltype("VARCHAR")
    con.create_function(
        "foretable_macro_agrees", on_cursor(con, disagreements), [text], duckdb.list_type(text), side_effects=True
    )


def disagreements(con: duckdb.DuckDBPyConnection, *, prediction: str, rows: int) -> list[str]:
    """Where `scores.<prediction>` in the file differs from the version that serves.

    It is compared on the rows made to find faults and on so many of the last build's, as before it was published.
    """
    active = active_model(con, prediction)
    if active is None:
        raise NotFoundError(f"no version of '{prediction}' serves; build it first")
    model = unpack(read_artifact(con, prediction, active.version), expected_sha256=active.sha256)
    found = compiled(unmapped(model))
    examples = trained_version(con, prediction, active.version).examples
    try:
        check_probes(con, prediction, model, found)
        agreeing_rows(con, prediction, model, found, examples, rows=rows)
    except ArtifactError as error:
        return [str(error)]
    return []
