"""What the tests of compiled models share."""

import duckdb

from models_ml.score_map import unmapped
from models_ml.trainer import FittedModel
from udfs.compiling import agreeing_rows, compiled


def check_parity(
    con: duckdb.DuckDBPyConnection, prediction: str, model: FittedModel, relation: str, *, by_columns: bool = False
) -> int:
    """The rows compared of the macro that is stored and a model, which may be another one."""
    found = compiled(unmapped(model))
    return agreeing_rows(con, prediction, model, found, relation, by_columns=by_columns)
