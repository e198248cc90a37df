"""A logistic regression as SQL: one inner product of a row's inputs with the coefficients, in DOUBLE."""

from functools import partial

import numpy as np
import pyarrow as pa

from models_ml.linear import LogisticModel
from udfs.compiling.calibration import double
from udfs.compiling.inputs import TABLE, probes_of, static_columns, static_inputs
from udfs.compiling.scope import Compiled, Scope

TOLERANCE = 1e-6


def compile_logistic(model: LogisticModel) -> Compiled:
    of_code = [coefficients[:, None] for coefficients in model.categories]
    weights = np.concatenate([model.numbers, np.ones(len(of_code))])
    columns = static_columns(model.encoding, of_code)
    columns["coefficients"] = pa.array([weights.tolist()], pa.list_(pa.float64(), len(weights)))
    return Compiled(
        tables={TABLE: pa.table(columns)},
        margin=partial(_margin, model),
        probes=probes_of(model.encoding, model.schema),
        tolerance=TOLERANCE,
    )


def _margin(model: LogisticModel, scope: Scope) -> str:
    """Categories come in as their coefficients, so that these are multiplied by 1."""
    rows, network, inputs = scope.own("rows"), scope.own("network"), scope.working("inputs")
    width = model.encoding.number_width + len(model.categories)
    relation = static_inputs(model.encoding, scope, out=inputs, width=width)
    log_odds = f"array_inner_product({rows}.{inputs}::DOUBLE[{width}], {network}.coefficients)"
    margin = f"({double(float(model.coefficients[0]))} + {log_odds})::FLOAT"
    return f"""
        select {scope.listed(rows, f"{margin} as {scope.out}")}
        from ({relation}) as {rows}, {scope.table(TABLE)} as {network}
    """
