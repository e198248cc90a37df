"""Compile fitted models to SQL: functions stored in the file that give the model's scores without Python.

`compile_sql(con, prediction, model, sample)` is all that a caller needs. It compiles a model of any family that SQL
can hold, calibrated or not, stores `scores.<prediction>` and `scores.<prediction>_table` in the file, and publishes
nothing unless they agree with the model.

A family is one module with one function, from a fitted model (never a calibrated one) to a `Compiled`, named in
`families.FAMILIES`. All that families have alike is done around it: arguments and their names, the calibration, the
check that a macro and its tables are of one version, parity with the model, and the transaction. A `Compiled` has

- `tables`: what the model holds, as Arrow tables by role (`trees`, `weights`). They are stored in the schema
  `scores_models` as `<role>__<prediction>`, those of an ensemble's member as `<member>_<role>__<prediction>`.
- `margin`: from a `Scope` to a SELECT of all columns of `scope.source` and, beside them, the model's log-odds as a
  FLOAT named `scope.out`. `scope.column(feature)` is the feature in the type that models read (FLOAT, VARCHAR or FLOAT[],
  see `quoting.ARGUMENT_TYPES`), as a column of the source under the alias `scope.alias`; `scope.table(role)` is a relation
  with the rows of one of `tables`; `scope.own(word)` is a name that is no feature's. A macro's parameter, and so any
  feature's name, replaces whatever *unqualified* name in the body is like it: qualify every column by an alias, and
  take aliases and the parameters of lambdas from `scope.own`. Refer to each input once, in a projection, and to that
  from there on. Subqueries have to be uncorrelated.
- `probes`: rows that find faults in the SQL: missing values, infinities, unknown categories, values on both sides of
  every bound that decides. `tolerance`: how far a probability of the SQL may lie from the model's, 0 for equal bits.

What SQL cannot say faithfully is refused with an `UncompiledError` whose text says why.
"""

from udfs.compiling.families import UncompiledError, compiled
from udfs.compiling.macros import compile_sql, drop_sql
from udfs.compiling.parity import check_parity

__all__ = ["UncompiledError", "check_parity", "compile_sql", "compiled", "drop_sql"]
