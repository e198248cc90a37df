"""What SQL engines differ in, as far as a score needs it. What they spell differently is sqlglot's to know."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from sqlglot import ErrorLevel, exp

from ibis_features import ConfigError

PLAIN = re.compile("[a-z_][a-z0-9_]*")
BEYOND_FLOAT32 = 3.4028235677973366e38
"""The least double that is infinite once it is rounded to float32."""


@dataclass(frozen=True)
class Dialect:
    """An engine.

    name: as sqlglot has it.
    has_float32: a sum of 32-bit floats is rounded to one after each addition.
    has_exponents: only `2.5e0` is a double there; 2.5 is a decimal, which comparisons and sums may round.
    is_materialized: a CTE can be told to be computed once, where the engine would else write its columns out wherever
        they are read.
    trees_per_step: the most trees in one CTE. DuckDB looks for like expressions in time that grows with its square.
    most_bytes: of a statement's text.
    is_upper: plain names that were never quoted are stored in capitals.
    is_loosely_typed: a column of numbers may hold text, which a cast reads as 0.
    has_arrays: a column may hold an array of numbers.
    made: columns that are not in the caller's relation, as SQL over those that are.
    """

    name: str
    has_float32: bool = False
    has_exponents: bool = False
    is_materialized: bool = False
    trees_per_step: int = 50
    most_bytes: int | None = None
    is_upper: bool = False
    is_loosely_typed: bool = False
    has_arrays: bool = True
    made: Mapping[str, exp.Expression] = field(default_factory=dict)

    def text(self, expression: exp.Expression) -> str:
        return expression.sql(self.name, unsupported_level=ErrorLevel.RAISE)

    def number(self, value: float | np.float32) -> exp.Expression:
        """A double. A float32 stands as its shortest decimal, which rounds to the same float32."""
        spelled = repr(float(str(value)))
        if self.has_exponents and "e" not in spelled:
            spelled += "e0"
        literal = exp.Literal.number(spelled.removeprefix("-"))
        return exp.Neg(this=literal) if spelled.startswith("-") else literal

    def identifier(self, name: str) -> exp.Identifier:
        """A name of the caller's, quoted."""
        stored = name.upper() if self.is_upper and PLAIN.fullmatch(name) else name
        return exp.to_identifier(stored, quoted=True)

    def column(self, name: str) -> exp.Expression:
        """A column of the caller's relation. Qualified, as SQLite takes a quoted name that is not there for text."""
        if name in self.made:
            return exp.paren(self.made[name])
        return exp.column(self.identifier(name), table=SOURCE)


SOURCE = "source"
"""The alias of the caller's relation."""
MILLION = 1_000_000
DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("postgres", has_float32=True, is_materialized=True, trees_per_step=250),
        Dialect("sqlite", is_materialized=True, trees_per_step=250, is_loosely_typed=True, has_arrays=False),
        Dialect("spark", has_float32=True, has_exponents=True),
        Dialect("bigquery", most_bytes=MILLION),
        Dialect("snowflake", most_bytes=MILLION, is_upper=True),
        Dialect("trino", has_float32=True, has_exponents=True, most_bytes=MILLION),
        Dialect("duckdb", has_float32=True, has_exponents=True, is_materialized=True),
    )
}


def dialect_of(name: str) -> Dialect:
    """The dialect of this name; raises ConfigError on one that is not known."""
    if name not in DIALECTS:
        raise ConfigError(f"unknown dialect '{name}'; known: {', '.join(DIALECTS)}")
    return DIALECTS[name]
