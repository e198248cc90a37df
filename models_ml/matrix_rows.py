"""Examples as one matrix in memory, for libraries that train on no batches."""

from dataclasses import dataclass

import numpy as np

from ibis_features import Examples, TrainingError
from ibis_features.examples import LABEL
from models_ml.encoding import MatrixColumn, matrix
from models_ml.kinds import Binary, Kind


@dataclass(frozen=True)
class MatrixRows:
    """values: float32 [rows, columns], NaN where missing. labels: float32 [rows]. weights: the same; None for alike."""

    values: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None


def read_matrix(examples: Examples, columns: tuple[MatrixColumn, ...], kind: Kind, weight: float) -> MatrixRows:
    """All rows; weight: what a true label weighs against a false one."""
    batches = [(matrix(batch, columns), batch.column(LABEL)) for batch in examples.batches()]
    values = np.concatenate([rows for rows, _ in batches])
    labels = np.concatenate([column.to_numpy(zero_copy_only=False) for _, column in batches]).astype(np.float32)
    is_weighed = isinstance(kind, Binary)
    return MatrixRows(values, labels, np.where(labels == 1, weight, 1.0).astype(np.float32) if is_weighed else None)


def check_same(family: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Raises TrainingError where a walk through the trees gives any row another sum than their library does."""
    if is_other := int((ours != theirs).sum()):
        place = int((ours != theirs).argmax())
        raise TrainingError(
            f"the trees of '{family}' say {ours[place]!r} where its library says {theirs[place]!r}, on {is_other:,} of "
            f"{len(ours):,} rows; please report it"
        )
