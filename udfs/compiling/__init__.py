"""Compile fitted models to SQL: functions stored in the file that give the model's scores without Python.

`compile_sql(con, prediction, model, sample)` is all that a caller needs. It compiles a model of any family that SQL
can hold, calibrated or not, stores `scores.<prediction>` and `scores.<prediction>_table` in the file, and publishes
nothing unless they agree with the model.

A family is one module with one function, from a fitted model (never a calibrated one) to a `Compiled`, named in
`families.FAMILIES`. All that families have alike is done around it: arguments and their names, the calibration, the
check that a macro and its tables are of one version, parity with the model, and the transaction. A `Compiled` has

- `tables`: what the model holds, as Arrow tables by role (`trees`, `network`). They are stored in the schema
  `scores_models` as `<role>__<prediction>`, those of an ensemble's member as `<member>_<role>__<prediction>`.
- `margin`: from a `Scope` to a SELECT of what is kept of `scope.source` and, beside it, the model's log-odds as a FLOAT
  named `scope.out`. `scope.column(feature)` is the feature in the type that models read (FLOAT, VARCHAR or a list of
  one, see `quoting.ARGUMENT_TYPES`), a column of the source under the alias `scope.alias`. `scope.listed(alias, …)` is
  what a SELECT lists: the kept columns and the expressions given. `scope.table(role)` is a relation with the rows of
  one of `tables`. `scope.working(word)` names a column, `scope.own(word)` an alias or a lambda's parameter. A macro's
  parameter, and so any feature's name, replaces whatever *unqualified* name in the body is like it: qualify every
  column by an alias of `own`. Compute each input once, in a projection, and refer to its column from there on.
  Subqueries have to be uncorrelated. A hundred columns take DuckDB 10 ms to plan, a list of them 1 ms.
- `probes`: rows that find faults in the SQL: missing values, infinities, unknown categories, values on both sides of
  every bound that decides. `tolerance`: how far a probability of the SQL may lie from the model's, 0 for equal bits.

- `explained`: where a family can say what each feature adds to the log-odds, tables and a SELECT of these.

What SQL cannot say faithfully is refused with an `UncompiledError` whose text says why.
"""

from udfs.compiling.families import UncompiledError, compiled
from udfs.compiling.lookups import check_names_are_free, prepare_functions, publish_lookups
from udfs.compiling.macros import check_probes, compile_sql, drop_sql
from udfs.compiling.parity import agreeing_rows
from udfs.compiling.store import registered

__all__ = [
    "UncompiledError",
    "agreeing_rows",
    "check_names_are_free",
    "check_probes",
    "compile_sql",
    "compiled",
    "drop_sql",
    "prepare_functions",
    "publish_lookups",
    "registered",
]
