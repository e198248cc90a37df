"""A small file as it is published: a prediction's table of scores, its rows, and its macro; no state, no Python."""

from pathlib import Path

import duckdb

from ibis_features import connect_backend, read_examples, read_schema
from models_ml.fitting import fit_spec
from models_ml.spec import parse_spec
from tests.predicting import BINARY, EXAMPLES
from udfs.answers import REASONS
from udfs.compiling import compile_sql


def write_published(path: Path) -> Path:
    """The prediction `test` of 120 users with the features heat, noise and kind, and `numbers`, a table alone."""
    with duckdb.connect(str(path)) as con:
        con.execute("select setseed(0.5)")
        con.execute(f"create table examples__test as {EXAMPLES}")
        schema = read_schema(con, "examples__test", entity="user_id", label="bought", as_of="as_of", exclude=())
        con.execute("create view labelled as select * from examples__test where bought is not null")
        examples = read_examples(connect_backend(con), "labelled", schema)
        spec = parse_spec({**BINARY, "calibrate": None})
        fitted = fit_spec(spec, examples, examples, progress=lambda step, share: None)
        compile_sql(con, "test", fitted, examples)
        con.execute("drop view labelled")
        con.execute("delete from examples__test where as_of < (select max(as_of) from examples__test)")
        con.execute(
            f"""
            create table pred__test as
            select
                user_id, 3::integer as version, score,
                row_number() over (order by score desc, user_id)::integer as score_rank,
                ntile(10) over (order by score desc, user_id)::integer as score_decile, score > 0.5 as predicted_label,
                as_of, timestamp '2025-06-01' as scored_at,
                [
                    ('heat', heat::varchar, 0.5, 'heat is ' || heat || ': +0.50'),
                    ('kind', kind, -0.25, 'kind is ' || coalesce(kind, 'missing') || ': -0.25')
                ]::{REASONS} as reasons
            from scores.test_table('examples__test')
            order by score_rank
            """
        )
        con.execute(
            "create table pred__numbers as "
            "select 7 as shop, version, 0.5::float as score, * exclude (user_id, version, score, reasons) "
            "from pred__test limit 1"
        )
    return path
