"""What a function in SQL says of a row: its score, the log-odds of the model itself, or the reasons for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import pyarrow as pa

from models_ml.reasons import reasons
from models_ml.trainer import FittedModel

REASONS = "STRUCT(feature VARCHAR, value VARCHAR, contribution DOUBLE, sentence VARCHAR)[]"


@dataclass(frozen=True)
class Answer:
    """Its type in SQL, and how it comes from a model and a batch of rows, of which DuckDB hands over at most 2,048."""

    sql_type: str
    of: Callable[[FittedModel, pa.RecordBatch], pa.Array]


SCORE = Answer("FLOAT", lambda model, batch: pa.array(model.predict(batch), pa.float32(), from_pandas=True))
MARGIN = Answer("FLOAT", lambda model, batch: pa.array(model.margin(batch), pa.float32()))


def explanation(describe: Callable[[], Mapping[str, str]], *, most: int | None = None) -> Answer:
    """The `most` strongest reasons (None: all). `describe` gives the features' descriptions; it is asked once."""
    described = cache(describe)
    return Answer(REASONS, lambda model, batch: reasons(model, batch, most, described()))
