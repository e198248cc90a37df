"""materialized='prediction', reached by plain dbt and by its one Python function."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

import udfs
from ibis_features import FeatureSchema
from tests.conftest import DBT_PROJECT, SERVING, DbtRun, Shop, run_dbt
from tests.predicting import fixed, predict, state_of, version_count


@pytest.fixture
def warehouse(tiny_shop: Shop, tmp_path: Path) -> Path:
    """A copy of the small shop's warehouse that a test may change."""
    return Path(shutil.copy(tiny_shop.warehouse, tmp_path / "copied.duckdb"))


# What cannot be trained on


@pytest.mark.parametrize(
    ("select", "config", "sentence"),
    [
        (
            "select * exclude (user_id) from fixed",
            {},
            "has no column 'user_id', which the prediction needs as its entity",
        ),
        ("select * exclude (as_of) from fixed", {}, "has no column 'as_of'"),
        ("select * exclude (bought) from fixed", {}, "has no column 'bought', which the prediction needs as its label"),
        ("select *, bought from fixed", {}, "the label 'bought' is also among the features"),
        ("select *, bought as bought_too from fixed", {}, "a feature tells the label by itself"),
        ("select *, not bought as not_bought from fixed", {}, "a feature tells the label by itself"),
        ("select *, bought::int + heat / 1e6 as next_purchase from fixed", {}, "tells the label by itself"),
        ("select *, date '2025-01-01' as day from fixed", {}, "feature 'day' is DATE, which no model reads"),
        ("select *, {'a': 1} as s from fixed", {}, "feature 's' is STRUCT(a INTEGER)"),
        ("select * replace (as_of::varchar as as_of) from fixed", {}, "as_of has to be a DATE or a TIMESTAMP"),
        ("select user_id, as_of, bought from fixed", {}, "returns no feature"),
        ("select * from fixed where false", {}, "returns no rows"),
        ("select * replace (null::boolean as bought) from fixed", {}, "every label 'bought' is NULL"),
        ("select * replace (false as bought) from fixed", {}, "no positive label in the training rows"),
        ("select * replace (true as bought) from fixed", {}, "no negative label in the training rows"),
        ("select * replace (7 as bought) from fixed", {}, "neither true/1 nor false/0 nor NULL"),
        ("from fixed union all from fixed", {}, "occur more than once"),
        ("select * replace (nullif(user_id, 'u1') as user_id) from fixed", {}, "have a NULL user_id or as_of"),
        ("select *, 1e300::double as far from fixed", {}, "out of range for the destination type FLOAT"),
        ("select * from fixed where user_id = 'u1'", {}, "label in the training rows"),
        ("select * from fixed", {"horizon_days": 400}, "training, validation and test each need one, 400 days apart"),
        ("select *, [1, 2] as path from fixed", {}, "xgboost reads no sequences (path)"),
        ("select * from fixed", {"model": "xgbost"}, "unknown model 'xgbost'; known: xgboost, lightgbm, random_forest"),
        (
            "select * from fixed",
            {"kind": "ordinal"},
            "unknown kind 'ordinal'; known: binary, multiclass, regression, value, time_to_ev",
        ),
        ("select * from fixed", {"lable": "x"}, "unknown config key 'lable'; known: entity, label"),
        ("select * from fixed", {"params": {"depth": 3}}, "unknown params for xgboost: depth; known: n_estimators"),
        ("select * from fixed", {"params": {"max_depth": 99}}, "max_depth=99"),
        ("select * from fixed", {"horizon_days": "30"}, "config horizon_days='30' is not a whole number above 0"),
        ("select * from fixed", {"horizon_days": "absent"}, "config lacks key 'horizon_days'"),
        ("select * from fixed", {"exclude": ["gone"]}, "exclude names columns that the SELECT does not return: gone"),
        ("select * from fixed", {"rfm": ["heat", "kind"]}, "rfm names kind; it takes features of the SELECT that are"),
        ("select * from fixed", {"rfm": "heat"}, "config rfm='heat' is not a list of columns"),
        ("select * from fixed", {"promote": "yes"}, "unknown promote 'yes'; known: when_better, always, never"),
        (
            "select * from fixed",
            {"retrain": {"every": "soon"}},
            "retrain every='soon' is not a span such as '12 hours'",
        ),
        ("select * from fixed", {"retrain": {"often": "7 days"}}, "unknown retrain {'often': '7 days'}"),
        ("select * from fixed", {"retrain": ["always"]}, "unknown retrain ['always']"),
        (
            "select * from fixed",
            {"retrain": "daily"},
            "unknown retrain 'daily'; known: when_changed, always, never, {'every': '7 days', ",
        ),
    ],
)
def test_what_cannot_be_trained_gives_one_sentence_and_leaves_what_was_there(
    con: duckdb.DuckDBPyConnection, select: str, config: dict[str, Any], sentence: str
) -> None:
    assert predict(con, fixed(con)) is None
    before = state_of(con)
    message = predict(con, select, **config)
    assert message is not None
    assert sentence in message
    assert message.startswith("prediction 'test': ")
    assert state_of(con) == before
    assert con.execute("from duckdb_tables() where table_name like '%building'").fetchall() == []


def test_a_feature_that_tells_too_much_may_be_let_through(con: duckdb.DuckDBPyConnection) -> None:
    fixed(con)
    assert predict(con, "select *, bought as bought_too from fixed", leak_check=False) is None


PROMISED = {
    "user_id": "varchar",
    "version": "integer",
    "score": "float",
    "score_rank": "integer",
    "score_decile": "integer",
    "predicted_label": "boolean",
    "as_of": "timestamp",
    "scored_at": "timestamp",
}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"score": "double"}, "score is FLOAT and promised as DOUBLE"),
        ({"rank": "integer"}, "rank is missing and promised as INTEGER"),
    ],
)
def test_a_table_that_breaks_its_contract_is_refused_and_what_was_there_stays(
    con: duckdb.DuckDBPyConnection, change: dict[str, str], part: str
) -> None:
    select = fixed(con)
    assert predict(con, select, contract=PROMISED) is None
    before = state_of(con)
    message = predict(con, select, train="always", contract={**PROMISED, **change})
    assert message is not None
    assert part in message
    assert state_of(con) == before


# When it trains


def test_nothing_is_trained_or_logged_when_nothing_changed(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    predict(con, select)
    before = state_of(con)
    assert predict(con, select) is None
    assert state_of(con) == before
    assert con.execute("select is_trained, is_scored from foretable.runs where prediction = 'test'").fetchall() == [
        (True, True),
        (False, False),
    ]


@pytest.mark.parametrize(
    ("change", "config"),
    [
        ("update fixed set heat = heat + 1 where user_id = 'u1' and as_of = '2025-01-01'", {}),
        ("delete from fixed where user_id = 'u1'", {}),
        ("alter table fixed add column extra integer default 1", {}),
        ("select 1", {"seed": 8}),
        ("select 1", {"params": {"n_estimators": 21}}),
    ],
)
def test_it_trains_when_rows_columns_or_config_changed(
    con: duckdb.DuckDBPyConnection, change: str, config: dict[str, Any]
) -> None:
    select = fixed(con)
    predict(con, select)
    con.execute(change)
    assert predict(con, select, **config) is None
    assert version_count(con) == 2


def test_new_rows_to_score_are_scored_by_the_version_that_is_there(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    predict(con, select)
    con.execute("update fixed set heat = 9 where bought is null")
    assert predict(con, select) is None
    assert version_count(con) == 1
    logged = con.execute("select count(*) from foretable.prediction_log where prediction = 'test'").fetchone()
    assert logged == (240,), "the log keeps the older scores"


def test_the_order_of_the_rows_changes_nothing(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    predict(con, select)
    before = con.execute("select user_id, score from pred__test order by all").fetchall()
    con.execute("create or replace table fixed as from fixed order by noise")
    predict(con, select)
    assert version_count(con) == 1
    predict(con, select, train="always")
    assert con.execute("select user_id, score from pred__test order by all").fetchall() == before


def test_never_trains_nothing_and_scores_with_what_is_there(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    message = predict(con, select, train="never")
    assert message is not None
    assert "it was never trained, and train is 'never'" in message
    predict(con, select)
    con.execute("update fixed set heat = 5")
    assert predict(con, select, train="never") is None
    assert version_count(con) == 1


def test_never_scores_rows_of_which_none_is_labelled(con: duckdb.DuckDBPyConnection) -> None:
    predict(con, fixed(con))
    assert predict(con, "select * replace (null::boolean as bought) from fixed", train="never") is None
    assert con.execute("select count(*) from pred__test").fetchone() == (120,)
    assert version_count(con) == 1


def test_never_refuses_rows_whose_features_are_not_those_of_the_training(con: duckdb.DuckDBPyConnection) -> None:
    predict(con, fixed(con))
    message = predict(con, "select * exclude (noise), 1 as extra from fixed", train="never")
    assert message is not None
    assert "without noise; with extra" in message


def test_a_model_that_learns_nothing_says_so_in_its_metrics(con: duckdb.DuckDBPyConnection) -> None:
    predict(con, "select * exclude (heat, kind) from fixed" if fixed(con) else "")
    value, lower, upper = con.execute(
        "select value, lower, upper from foretable.metrics "
        "where prediction = 'test' and metric = 'roc_auc' and split = 'test' and scored_by = 'model'"
    ).fetchone()
    assert lower <= 0.5 <= upper or abs(value - 0.5) < 0.15


# Three ways a score reaches SQL


@pytest.mark.parametrize("prediction", ["purchase_30d", "spend_30d", "next_purchase_30d"])
def test_table_udf_and_macro_agree_to_the_last_bit(tiny_shop: Shop, prediction: str) -> None:
    con = duckdb.connect(str(tiny_shop.warehouse), read_only=True)
    udfs.register(con)
    compared, differing = con.execute(
        f"""
        select
            count(*),
            count(*) filter (
                where predictions.score is distinct from scores.{prediction}(features)
                or predictions.score is distinct from score_{prediction}(features)
            )
        from pred__{prediction} as predictions
        inner join features__user as features
            on predictions.user_id = features.user_id and predictions.as_of = features.as_of
        """
    ).fetchone()
    assert compared > 100
    assert differing == 0


@pytest.mark.parametrize("hole", ["null", "'nan'::double", "'inf'::double", "'-inf'::double"])
def test_udf_and_macro_agree_where_values_are_missing(tiny_shop: Shop, hole: str) -> None:
    con = duckdb.connect(str(tiny_shop.warehouse), read_only=True)
    udfs.register(con)
    schema = FeatureSchema.from_json(
        json.loads(
            con.execute("select feature_schema from foretable.models where prediction = 'purchase_30d'").fetchone()[0]
        )
    )
    numbers = [feature.name for feature in schema.features if feature.sql_type == "DOUBLE"]
    holes = ", ".join(f'case when random() < 0.5 then {hole} else "{name}" end as "{name}"' for name in numbers)
    con.execute("select setseed(0.1)")
    con.execute(f"create temp table holed as select * replace ({holes}) from features__user using sample 500 rows")
    differing = con.execute(
        "select count(*) filter (scores.purchase_30d(holed) is distinct from score_purchase_30d(holed)), count(*) "
        "from holed"
    ).fetchone()
    assert differing == (0, 500)


@pytest.mark.parametrize("prediction", ["churn_30d", "purchase_30d_lstm"])
def test_table_and_udf_of_a_network_agree(tiny_shop: Shop, prediction: str) -> None:
    con = duckdb.connect(str(tiny_shop.warehouse), read_only=True)
    udfs.register(con)
    compared, furthest = con.execute(
        f"""
        select count(*), max(abs(predictions.score - score_{prediction}(examples)))
        from pred__{prediction} as predictions
        inner join examples__{prediction} as examples
            on predictions.user_id = examples.user_id and predictions.as_of = examples.as_of
        """
    ).fetchone()
    assert compared > 100
    assert furthest < 1e-5


def test_an_artifact_that_was_tampered_with_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    predict(con, fixed(con))
    con.execute("update foretable.models set artifact = artifact || '\\x00'::blob where prediction = 'test'")
    con.execute("update fixed set heat = 5 where bought is null")
    before = state_of(con)
    message = predict(con, "select * from fixed")
    assert message is not None
    assert "sha256" in message
    assert state_of(con) == before
    udfs.register(con, ["test"])
    with pytest.raises(duckdb.Error, match="sha256"):
        con.execute("select score_test(fixed) from fixed").fetchall()


def test_a_macro_of_an_older_version_is_gone_when_what_sql_cannot_hold_takes_its_place(
    con: duckdb.DuckDBPyConnection,
) -> None:
    predict(con, fixed(con))
    assert con.execute("select count(scores.test(fixed)) from fixed").fetchone() == (720,)
    with_sequence = "select *, [heat, noise] as steps from fixed"
    assert predict(con, with_sequence, model="lstm", params={"epochs": 1}) is None
    with pytest.raises(duckdb.CatalogException):
        con.execute("select scores.test(fixed) from fixed")
    assert con.execute("select table_name from duckdb_tables() where table_name = 'trees__test'").fetchall() == []
    looked_up = con.execute("select count(*) from pred__test where scores.test_of(user_id) = score").fetchone()
    assert looked_up == (120,)


# The whole, by plain dbt


def test_the_tiny_shop_is_built_with_all_its_tests(tiny_shop: Shop) -> None:
    statuses = set(tiny_shop.run.results().values())
    assert statuses <= {"success", "pass", "no-op"}  # exposures are listed, and nothing is done for them
    con = duckdb.connect(str(tiny_shop.warehouse), read_only=True)
    trained = con.execute("select prediction, model from foretable.models order by all").fetchall()
    assert trained == [
        ("churn_30d", "mlp"), ("next_purchase_30d", "xgboost"), ("purchase_30d", "xgboost"),
        ("purchase_30d_lstm", "lstm"), ("spend_30d", "xgboost"),
    ]  # fmt: skip
    baselines = con.execute(
        "select distinct scored_by from foretable.metrics inner join foretable.models using (prediction, version) "
        "where metrics.split = 'test' and kind = 'binary' order by all"
    ).fetchall()
    assert [row[0] for row in baselines] == [
        "above_base_rate", "above_recency", "above_rfm",
        "base_rate", "model", "recency", "rfm", "truth", "uncalibrated",
    ]  # fmt: skip
    overlapping = con.execute(
        """
        select count(*)
        from (select *, interval (horizon_days) days as horizon from foretable.models)
        where (split ->> '$.train[#-1]')::timestamp + horizon > (split ->> '$.validate[0]')::timestamp
            or (split ->> '$.validate[#-1]')::timestamp + horizon > (split ->> '$.test[0]')::timestamp
        """
    ).fetchone()
    assert overlapping == (0,)


def test_a_second_build_with_nothing_changed_trains_nothing(tiny_shop: Shop, warehouse: Path) -> None:
    run = run_dbt("build", "--exclude-resource-type", "test", "unit_test", warehouse=warehouse, data=tiny_shop.data)
    assert run.code == 0, run.output
    with duckdb.connect(str(warehouse), read_only=True) as con:
        runs = con.execute(
            "select is_trained, is_scored, reason from foretable.runs order by rowid desc limit 5"
        ).fetchall()
        assert runs == [(False, False, "nothing changed")] * 5
        assert con.execute("select max(version) from foretable.models").fetchone() == (1,)


def test_the_mart_has_null_for_a_prediction_that_builds_leave_out(tiny_shop: Shop, warehouse: Path) -> None:
    with duckdb.connect(str(warehouse)) as con:
        as_before = "select * exclude (expected_spend_30d, spend_decile) from mart__users order by user_id"
        before = con.execute(as_before).fetchall()
        con.execute("drop table pred__spend_30d; drop table mart__users")
    run = run_dbt("run", "--select", "mart__users", warehouse=warehouse, data=tiny_shop.data)
    assert run.code == 0, run.output
    with duckdb.connect(str(warehouse), read_only=True) as con:
        spend = con.execute("select count(*), count(expected_spend_30d), count(spend_decile) from mart__users")
        assert spend.fetchone() == (len(before), 0, 0)
        assert con.execute(as_before).fetchall() == before
    assert len(before) > 100


def test_a_plan_says_what_a_build_would_do_and_does_nothing(tiny_shop: Shop, warehouse: Path) -> None:
    def plan(*arguments: str) -> str:
        place = ["--warehouse", str(warehouse), "--data", str(tiny_shop.data)]
        done = subprocess.run(
            [sys.executable, "-m", "foretable", "plan", *place, *arguments],
            capture_output=True, text=True, check=False, cwd=warehouse.parent, env={**os.environ, "COLUMNS": "200"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    before = rows_of_predictions(warehouse)
    kept = warehouse.parent / ".foretable" / warehouse.stem / "build.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("the order of the last build", encoding="utf-8")
    assert "0 of 5 predictions would be trained. Nothing was changed." in plan()
    with duckdb.connect(str(warehouse)) as con:
        con.execute("update foretable.models set fingerprint = 'another' where prediction = 'churn_30d'")
        con.execute("delete from foretable.active where prediction = 'purchase_30d_lstm'")
        con.execute("delete from foretable.models where prediction = 'purchase_30d_lstm'")
    told = plan("--select", "pred__churn_30d +pred__purchase_30d_lstm")
    assert "2 of 2 predictions would be trained, which took" in told
    assert "the SELECT, the config, the training rows or a library changed" in told
    assert "never trained before" in told
    assert rows_of_predictions(warehouse) == before
    assert kept.read_text(encoding="utf-8") == "the order of the last build"
    with duckdb.connect(str(warehouse), read_only=True) as con:
        planned = con.execute(
            """
            select plans.train_rows = models.train_rows, plans.test_rows = models.test_rows,
                plans.train_as_of::varchar[] = (models.split ->> '$.train[*]')
            from foretable.plans as plans
            inner join foretable.models as models on plans.prediction = models.prediction
            """
        ).fetchall()
    assert planned == [(True, True, True)]


def rows_of_predictions(warehouse: Path) -> list[Any]:
    with duckdb.connect(str(warehouse), read_only=True) as con:
        tables = con.execute(
            "select table_name from duckdb_tables() where table_name similar to '(pred|examples)__.*' order by all"
        ).fetchall()
        return [
            (name, con.execute(f"select count(*), bit_xor(hash(t)) from {name} as t").fetchall()) for (name,) in tables
        ]


@pytest.fixture
def team_project(tmp_path: Path, warehouse: Path) -> Callable[[str, str], DbtRun]:
    """A team's own dbt project that uses ours as a package, and builds one model of its own."""
    folder = tmp_path / "team"
    (folder / "models").mkdir(parents=True)
    project = {"name": "team", "version": "1.0", "profile": "foretable", "flags": {"send_anonymous_usage_stats": False}}
    (folder / "dbt_project.yml").write_text(yaml.safe_dump(project))
    (folder / "packages.yml").write_text(yaml.safe_dump({"packages": [{"local": str(DBT_PROJECT)}]}))
    shutil.copy(DBT_PROJECT / "profiles.yml", folder)
    assert run_dbt("deps", warehouse=warehouse, project=folder).code == 0

    def add(name: str, sql: str) -> DbtRun:
        (folder / "models" / f"{name}.sql").write_text(sql)
        return run_dbt("build", "--select", name, warehouse=warehouse, project=folder, variables=SERVING)

    return add


SPENDERS = """
{{ config(materialized='prediction', entity='user_id', label='spends_30d', horizon_days=30, model='xgboost') }}

select
    features.user_id,
    features.as_of,
    %s as spends_30d,
    features.* exclude (user_id, as_of)
from {{ ref('features__user') }} as features
inner join {{ ref('labels__purchase_30d') }} as labels using (user_id, as_of)
"""


def test_adding_a_prediction_is_one_sql_file(team_project: Callable[[str, str], DbtRun], warehouse: Path) -> None:
    run = team_project("pred__spends_30d", SPENDERS % "labels.purchased_30d")
    assert run.code == 0, run.output
    con = duckdb.connect(str(warehouse), read_only=True)
    udfs.register(con)
    assert con.execute(
        """
        select count(*) > 100 and bool_and(predictions.score = score_spends_30d(features))
        from pred__spends_30d as predictions
        inner join features__user as features using (user_id, as_of)
        """
    ).fetchone() == (True,)


def test_dbt_shows_a_fault_as_one_sentence_without_a_traceback(
    team_project: Callable[[str, str], DbtRun], warehouse: Path
) -> None:
    run = team_project("pred__spends_30d", SPENDERS % "null::boolean")
    assert run.code == 1
    assert "prediction 'spends_30d': every label 'spends_30d' is NULL" in run.output
    assert "Traceback" not in run.output
    with duckdb.connect(str(warehouse), read_only=True) as con:
        tables = con.execute("select table_name from duckdb_tables() where table_name like '%spends%'").fetchall()
        assert tables == []


def test_full_refresh_trains_anew_and_the_var_never_goes_before_it(warehouse: Path) -> None:
    arguments = ["build", "--select", "pred__purchase_30d", "--exclude-resource-type", "test", "--full-refresh"]
    for variables, count in (({"train": "never"}, 1), (SERVING, 2)):
        run = run_dbt(*arguments, warehouse=warehouse, variables=variables)
        assert run.code == 0, run.output
        with duckdb.connect(str(warehouse), read_only=True) as con:
            assert version_count(con, "purchase_30d") == count
