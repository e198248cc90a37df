"""Scores by an entity's key, and the list of all functions: through builds, promotions and rollbacks."""

import duckdb
import pytest

from tests.predicting import fixed, predict
from udfs.agreement import register_agreement
from udfs.lifecycle import promote

LIVE = """
    create or replace macro live_features(live_key, at_instant := null::timestamp) as table
    select live_key as user_id, timestamp '2025-07-01' as as_of, 3::double as heat, 0.5::double as noise, 'c1' as kind
"""


def described(con: duckdb.DuckDBPyConnection) -> dict[str, tuple[bool, str, int]]:
    rows = con.execute("select function_name, is_there, meaning, version from scores.describe()").fetchall()
    return {name: (is_there, meaning, version) for name, is_there, meaning, version in rows}


def test_an_entity_has_the_score_of_its_newest_row(con: duckdb.DuckDBPyConnection) -> None:
    assert predict(con, fixed(con)) is None
    differing = con.execute(
        "select count(*), count(*) filter (score is distinct from scores.test_of(user_id)) from pred__test"
    ).fetchone()
    assert differing == (120, 0)
    assert con.execute("select scores.test_of('nobody'), scores.test_of(null)").fetchone() == (None, None)
    con.execute("update examples__test set heat = 9 - heat, noise = 1 - noise where as_of = timestamp '2025-05-31'")
    moved = con.execute("select count(*) from pred__test where score <> scores.test_of(user_id)").fetchone()
    assert moved[0] > 60  # computed from the examples, not looked up


def test_describe_lists_every_function_of_the_schema_and_follows_the_version(con: duckdb.DuckDBPyConnection) -> None:
    assert predict(con, fixed(con), promote="always") is None
    there = {name for name, (is_there, _, _) in described(con).items() if is_there}
    listed = con.execute(
        "select distinct schema_name || '.' || function_name from duckdb_functions() "
        "where schema_name = 'scores' and function_name <> 'describe'"
    ).fetchall()
    assert there == {name for (name,) in listed}
    assert there == {"scores.test", "scores.test_table", "scores.explain_test", "scores.test_of"}
    assert described(con)["scores.test_live"] == (
        False,
        "not there: live_features was not there when the prediction was built",
        1,
    )
    assert "the probability that bought is true within 30 days" in described(con)["scores.test"][1]
    assert predict(con, fixed(con), promote="always", params={"n_estimators": 3}) is None
    after = con.execute("select user_id, scores.test_of(user_id) from pred__test order by all").fetchall()
    assert described(con)["scores.test"][2] == 2
    promote(con, "test", 1)
    assert described(con)["scores.test"][2] == 1
    before = con.execute("select user_id, scores.test_of(user_id) from pred__test order by all").fetchall()
    assert before == con.execute("select user_id, score from pred__test order by all").fetchall()
    assert before != after


def test_features_of_this_moment_are_scored_where_live_features_tells_them_all(
    con: duckdb.DuckDBPyConnection,
) -> None:
    con.execute(LIVE)
    assert predict(con, fixed(con)) is None
    expected = con.execute("select scores.test(heat := 3, noise := 0.5, kind := 'c1')").fetchone()
    assert con.execute("select scores.test_live('u1')").fetchone() == expected
    con.execute(LIVE.replace("0.5::double as noise, ", ""))
    assert predict(con, "select * from fixed") is None
    assert described(con)["scores.test_live"] == (False, "not there: live_features does not tell noise", 1)
    with pytest.raises(duckdb.CatalogException):
        con.execute("select scores.test_live('u1')")


def test_the_dbt_test_finds_a_macro_that_no_longer_says_what_its_model_says(con: duckdb.DuckDBPyConnection) -> None:
    def faults() -> list[str]:
        return con.execute("""select foretable_macro_agrees('{"prediction": "test", "rows": 500}')""").fetchone()[0]

    register_agreement(con)
    assert faults() == ["it cannot be tested: no version of 'test' serves; build it first"]
    assert predict(con, fixed(con)) is None
    assert faults() == []
    con.execute(
        "update scores_models.trees__test set nodes = "
        "list_transform(nodes, lambda node: struct_update(node, threshold := (node.threshold * 1.01)::float))"
    )
    assert len(faults()) == 1
    assert faults()[0].startswith("scores.test and its model differ on ")


def test_a_key_named_as_the_argument_is_told_apart(con: duckdb.DuckDBPyConnection) -> None:
    renamed = f"select * exclude (user_id), user_id as entity_id from ({fixed(con)})"
    assert predict(con, renamed, entity="entity_id") is None
    differing = con.execute("select count(*) from pred__test where score is distinct from scores.test_of(entity_id)")
    assert differing.fetchone() == (0,)


def test_a_feature_may_be_named_as_what_the_functions_call_a_row(con: duckdb.DuckDBPyConnection) -> None:
    named = fixed(con).replace("from fixed", "exclude (heat, noise), heat as latest, noise as examples from fixed")
    assert predict(con, named) is None
    differing = "select count(*), count(*) filter (score is distinct from scores.test_of(user_id)) from pred__test"
    assert con.execute(differing).fetchone() == (120, 0)


def test_live_features_of_an_earlier_build_do_not_stop_a_build(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("create table seen as select 1 as heat")
    con.execute("create macro live_features(live_key) as table select heat from seen")
    con.execute("drop table seen")
    assert predict(con, fixed(con)) is None
    is_there, meaning, _ = described(con)["scores.test_live"]
    assert not is_there
    assert "live_features cannot be read" in meaning


def test_the_rows_of_the_newest_snapshot_are_those_of_the_connections_time_zone(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("set global TimeZone = 'Asia/Tokyo'")  # as on a machine there; a build sets its own connection to UTC
    select = fixed(con).replace("select *", "select * replace (as_of::timestamptz as as_of)")
    assert predict(con, select) is None
    assert con.execute("select count(*) from pred__test").fetchone() == (120,)


def test_two_predictions_do_not_share_the_name_of_a_function(con: duckdb.DuckDBPyConnection) -> None:
    assert predict(con, fixed(con)) is None
    con.execute("update scores_models.functions set prediction = 'other'")
    message = predict(con, fixed(con, "noise < 0.9"))
    assert message is not None
    assert "would take the name of scores.test, a function of the prediction 'other'" in message
