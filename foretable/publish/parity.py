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

EXACT_MODELS = ("xgboost",)
TOLERANCE = 1e-5
WAREHOUSE = "foretable_warehouse"
ROWS = "scored_rows"


def check_parity(file: Path, warehouse: Path, serving: Sequence[Serving], macros: Sequence[Macro]) -> int:
    """Compare all macros of the file with its scores, on every row that was scored; return how many were compared.

    The rows come from the warehouse: features that are personal are not in the file. Raises PublishError on the first
    score that differs, and on a prediction whose scores are not those of the warehouse.
    """
    import duckdb

    names = {(macro.name, macro.is_table) for macro in macros}
    compared = 0
    with duckdb.connect(str(file), read_only=True) as con:
        con.execute(f"attach {literal(str(warehouse))} as {WAREHOUSE} (read_only)")
        for one in serving:
            for (form, is_table), computed in _forms(one).items():
                if (form, is_table) in names:
                    compared += _compare(con, one, form, computed)
    return compared


def _forms(one: Serving) -> dict[tuple[str, bool], str]:
    """What each macro of a prediction says of the rows that were scored, as a SELECT of their rank and the score.

    A row is told by its rank, since its key may be hashed in the file.
    """
    keys = [identifier(key) for key in one.schema.keys]
    as_of, entity = keys[:2]
    name, of, table = (f"{SCHEMA}.{identifier(one.prediction + suffix)}" for suffix in ("", "_of", "_table"))
    is_same_row = " and ".join(f"{ROWS}.{key} = ranked.{key}" for key in keys[1:])
    ranked = f"{WAREHOUSE}.{one.scores.sql} as ranked on {is_same_row}"
    newest = f"{ROWS}.{as_of} = timestamp '{one.newest}'"
    rows = f"{WAREHOUSE}.{one.examples.sql} as {ROWS}"
    looked_up = f"select score_rank, {of}({ROWS}.{entity}) as score from {one.scores.sql} as {ROWS}"
    if one.schema.item:
        item = identifier(one.schema.item)
        looked_up = (
            f"select score_rank, listed.row.score as score "
            f"from (select entity, unnest({of}(entity)) as row "
            f"from (select distinct {entity} as entity from {one.scores.sql})) as listed "
            f"join {one.scores.sql} as {ROWS} on {ROWS}.{entity} = listed.entity and {ROWS}.{item} = listed.row.{item}"
        )
    return {
        (one.prediction, False): f"select score_rank, {name}({ROWS}) as score from {rows} join {ranked} where {newest}",
        (f"{one.prediction}_of", False): looked_up,
        (f"{one.prediction}_table", True): (
            f"select score_rank, {ROWS}.score from {table}('{WAREHOUSE}.{one.examples.schema}.{one.examples.name}') "
            f"as {ROWS} join {ranked} where {newest}"
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
            full join {one.scores.sql} as published
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
