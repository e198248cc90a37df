"""Before a file takes the old one's place, its macros are called through a connection of its own and must say what the
tables of scores say: trees to the last bit, other models to 1e-5, or that share of a score above 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from foretable.publish.errors import PublishError
from foretable.publish.macros import Macro
from foretable.publish.tables import Serving
from udfs.compiling.store import SCHEMA
from udfs.quoting import identifier, literal

if TYPE_CHECKING:
    import duckdb

EXACT_MODELS = ("xgboost", "lightgbm", "random_forest")
TOLERANCE = 1e-5
SAMPLE = 1_000
"""How many scores of a prediction are compared where all of them were compared before; spread over all ranks."""
WAREHOUSE = "foretable_warehouse"
ROWS = "foretable_rows"
SCORES = "foretable_scores"


def check_parity(
    file: Path,
    warehouse: Path,
    serving: Sequence[Serving],
    macros: Sequence[Macro],
    *,
    sampled: frozenset[str] = frozenset(),
) -> int:
    """Compare all macros of the file with its scores, on every row that was scored; return how many were compared.

    The rows come from the warehouse: features that are personal are not in the file. sampled: predictions of which a
    sample of the rows suffices. Raises PublishError on the first score that differs, and on a prediction whose scores
    are not those of the warehouse.
    """
    import duckdb

    names = {(macro.name, macro.is_table) for macro in macros}
    compared = 0
    with duckdb.connect(str(file), read_only=True) as con:
        con.execute(f"attach {literal(str(warehouse))} as {WAREHOUSE} (read_only)")
        for one in serving:
            _choose_rows(con, one, SAMPLE if one.prediction in sampled else None)
            for (form, is_table), computed in _forms(one).items():
                if (form, is_table) in names:
                    compared += _compare(con, one, form, computed)
    return compared


def _choose_rows(con: duckdb.DuckDBPyConnection, one: Serving, most: int | None) -> None:
    """Two views: the scores of the file that are compared, and the rows of the warehouse that they are of, with all
    features.
    """
    row = con.execute(f"select count(*) from {one.scores.sql}").fetchone()
    assert row is not None
    every = 1 if most is None else max(1, -(-row[0] // most))
    chosen = f"score_rank % {every} = 0"
    as_of, *keys = (identifier(key) for key in one.schema.keys)
    con.execute(f"create or replace temp view {SCORES} as select * from {one.scores.sql} where {chosen}")
    con.execute(
        f"create or replace temp view {ROWS} as select examples.* from {WAREHOUSE}.{one.examples.sql} as examples "
        f"semi join (select * from {WAREHOUSE}.{one.scores.sql} where {chosen}) as scored using ({', '.join(keys)}) "
        f"where examples.{as_of} = timestamp '{one.newest}'"
    )


def _forms(one: Serving) -> dict[tuple[str, bool], str]:
    """What each macro of a prediction says of the rows that are compared, as a SELECT of their rank and the score.

    A row is told by its rank, since its key may be hashed in the file.
    """
    _, *keys = (identifier(key) for key in one.schema.keys)
    entity = keys[0]
    name, of, table = (f"{SCHEMA}.{identifier(one.prediction + suffix)}" for suffix in ("", "_of", "_table"))
    is_same_row = " and ".join(f"{ROWS}.{key} = ranked.{key}" for key in keys)
    ranked = f"{WAREHOUSE}.{one.scores.sql} as ranked on {is_same_row}"
    looked_up = f"select score_rank, {of}({SCORES}.{entity}) as score from {SCORES}"
    if one.schema.item:
        item = identifier(one.schema.item)
        looked_up = (
            f"select score_rank, listed.row.score as score "
            f"from (select entity, unnest({of}(entity)) as row "
            f"from (select distinct {entity} as entity from {SCORES})) as listed "
            f"join {SCORES} on {SCORES}.{entity} = listed.entity and {SCORES}.{item} = listed.row.{item}"
        )
    return {
        (one.prediction, False): f"select score_rank, {name}({ROWS}) as score from {ROWS} join {ranked}",
        (f"{one.prediction}_of", False): looked_up,
        (f"{one.prediction}_table", True): (
            f"select score_rank, {ROWS}.score from {table}('temp.main.{ROWS}') as {ROWS} join {ranked}"
        ),
    }


def _compare(con: duckdb.DuckDBPyConnection, one: Serving, form: str, computed: str) -> int:
    is_exact = one.model in EXACT_MODELS
    size = f"greatest(1, abs(published.score), (select median(abs(score)) from {one.scores.sql}))"
    distance = "abs(computed.score - published.score)"
    near = "computed.score = published.score" if is_exact else f"{distance} <= {TOLERANCE} * {size}"
    found = con.execute(
        f"""
        with computed as ({computed}),

        compared as (
            select
                computed.score_rank,
                computed.score as computed,
                published.score as published,
                coalesce({near}, false) as is_same
            from computed
            full join {SCORES} as published
                on computed.score_rank = published.score_rank
        )

        select
            count(*),
            count(*) filter (where not is_same),
            min_by((score_rank, computed, published)::varchar, score_rank) filter (where not is_same)
        from compared
        """
    ).fetchone()
    assert found is not None
    rows, wrong, example = found
    if wrong:
        raise PublishError(
            f"{SCHEMA}.{form} and {one.scores} differ on {wrong:,} of {rows:,} rows, say {example} (rank, macro, "
            "table); nothing was published. Build again, or score anew with "
            f"`foretable promote {one.prediction} {one.version}`"
        )
    return rows
