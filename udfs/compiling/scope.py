"""What a family gives, and what it is given to write its SQL with."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from ibis_features import ArtifactError


class UncompiledError(ArtifactError):
    """A model that SQL cannot hold faithfully."""


class Names:
    """Names of a macro's own, none of which is a feature's: a parameter replaces any name like it in the body."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = frozenset(name.casefold() for name in taken)

    def __call__(self, word: str) -> str:
        """`_word`, with more underscores behind it where a feature is named so."""
        return self.plain(f"_{word}")

    def plain(self, word: str) -> str:
        """The word itself, with underscores behind it where a feature is named so."""
        while word.casefold() in self._taken:
            word += "_"
        return word


@dataclass(frozen=True)
class Scope:
    """Where a family's SQL stands.

    source: the relation that it selects from, SQL. out: the name that its log-odds get. places: where in the source's
    columns c0, c1, … each feature lies. table_of: from a role to the relation of a model table. kept: the columns
    of the source that the family's SELECT hands on. prefix: stands before the roles of an ensemble's member.
    """

    source: str
    out: str
    places: Mapping[str, int]
    own: Names
    table_of: Callable[[str], str]
    kept: tuple[str, ...] = ()
    prefix: str = ""

    @property
    def alias(self) -> str:
        """The name that the source has in the FROM of a family's SELECT."""
        return self.own("source")

    def column(self, feature: str) -> str:
        return f"{self.alias}.c{self.places[feature]}"

    def listed(self, alias: str, *expressions: str) -> str:
        """What a SELECT lists: the kept columns of what has this alias, and besides these expressions."""
        return ", ".join([*(f"{alias}.{name}" for name in self.kept), *expressions])

    def working(self, word: str) -> str:
        """The name of a column that the family's SQL adds on its way."""
        return f"{self.out}_{word}"

    def table(self, role: str) -> str:
        return self.table_of(self.prefix + role)

    def of_member(self, member: str, source: str, out: str, kept: tuple[str, ...]) -> "Scope":
        """The scope of a member of an ensemble, over another source with the same columns."""
        return replace(self, source=source, out=out, kept=kept, prefix=f"{self.prefix}{member}_")


@dataclass(frozen=True)
class Explained:
    """Model tables by role, and from a `Scope` to a SELECT whose `scope.out` is STRUCT(feature, contribution)[]."""

    tables: Mapping[str, pa.Table]
    contributions: Callable[[Scope], str]


@dataclass(frozen=True)
class Compiled:
    """A model as tables and SQL; the package's docstring says what each part has to be.

    is_settled: for a batch the rows, bool [rows], whose score does not hang on a network's last bits; None for all.
    explained: what each feature adds to the log-odds, in SQL; None where a family does not say it. is_score: is what
    `margin` selects the score itself, of which nothing else is made?
    """

    tables: Mapping[str, pa.Table]
    margin: Callable[[Scope], str]
    probes: pa.RecordBatch
    tolerance: float
    is_settled: Callable[[pa.RecordBatch], np.ndarray] | None = None
    explained: Explained | None = None
    is_score: bool = False

    @property
    def all_tables(self) -> dict[str, pa.Table]:
        return {**self.tables, **(self.explained.tables if self.explained else {})}
