"""Reasons: what moved a score, beside the score, by a function, in words, and over all rows."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

import udfs
from ibis_features.catalog import descriptions_of
from models_ml.wording import amount, phrase
from tests.predicting import fixed, last_run, predict, version_count
from udfs.answers import REASONS
from udfs.lifecycle import promote

SELECT = """
    select *, heat::int % 3 = 0 as is_odd, if(user_id = 'u9', null, heat * 2)::float as twice,
        [heat, noise]::float[2] as taste
    from fixed
"""
ROWS = "examples__test as examples inner join pred__test as pred using (user_id, as_of)"


@pytest.fixture(scope="module")
def trained(stateful: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One prediction with two reasons beside each score."""
    warehouse = Path(shutil.copy(stateful, tmp_path_factory.mktemp("reasons") / "shop.duckdb"))
    with duckdb.connect(str(warehouse)) as con:
        con.execute("select setseed(0.5)")
        fixed(con)
        _describe(con, {"heat": "Warmth of the user; of late."})
        assert predict(con, SELECT, reasons=2, calibrate=None, promote="always") is None
    return warehouse


@pytest.fixture
def con(trained: Path, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(shutil.copy(trained, tmp_path / "shop.duckdb"))) as connection:
        udfs.register(connection)
        yield connection


def test_the_table_holds_the_strongest_of_all_reasons(con: duckdb.DuckDBPyConnection) -> None:
    rows = con.execute(f"select reasons, explain_test(examples), user_id from {ROWS}").fetchall()
    assert len(rows) == 120
    for reasons, everything, _ in rows:
        assert 1 <= len(reasons) <= 2
        assert reasons == everything[: len(reasons)]
        sizes = [abs(reason["contribution"]) for reason in everything]
        assert sizes == sorted(sizes, reverse=True)
        assert min(sizes) > 0
    kinds = {user: r["value"] for _, everything, user in rows for r in everything if r["feature"] == "kind"}
    assert kinds["u1"] == "c1"
    assert kinds["u90"] is None
    twice = {user: r["value"] for _, everything, user in rows for r in everything if r["feature"] == "twice"}
    assert {value for user, value in twice.items() if user != "u9"} <= {f"{2 * heat}" for heat in range(10)}
    assert twice.get("u9") is None


def test_base_and_all_reasons_add_up_to_the_log_odds_also_of_a_changed_row(con: duckdb.DuckDBPyConnection) -> None:
    far_off = con.execute(
        """
        with changed as (
            select struct_update(examples, heat := null, kind := 'c2') as examples from examples__test as examples
            union all
            select examples from examples__test as examples
        ),

        explained as (
            select
                score_test(examples) as score,
                list_sum([reason.contribution for reason in explain_test(examples)]) as added
            from changed
        )

        select max(abs(base_log_odds + added - ln(score::double / (1 - score)))), count(distinct added)
        from explained
        inner join foretable.versions on version = 1
        """
    ).fetchone()
    assert far_off is not None
    assert far_off[0] < 1e-5
    assert far_off[1] > 20


def test_of_a_calibrated_score_they_add_up_to_the_log_odds_before_its_calibration(
    con: duckdb.DuckDBPyConnection,
) -> None:
    assert predict(con, SELECT, promote="always") is None
    udfs.register(con)
    far_off = con.execute(
        f"""
        with explained as (
            select
                user_id,
                pred.score,
                list_sum([reason.contribution for reason in explain_test(examples)]) as added
            from {ROWS}
        )

        select
            max(abs(base_log_odds + added - ln(raw_score::double / (1 - raw_score)))),
            max(abs(raw_score - explained.score))
        from explained
        inner join foretable.prediction_log as logged
            on explained.user_id = logged.entity_id
        inner join foretable.versions as versions
            on logged.version = versions.version
        where versions.status = 'active'
        """
    ).fetchone()
    assert far_off is not None
    assert far_off[0] < 1e-5
    assert far_off[1] > 0.001, "the calibration does something"


def test_a_changed_value_changes_its_own_reason(con: duckdb.DuckDBPyConnection) -> None:
    [(then, now)] = con.execute(
        "select explain_test(examples), explain_test(struct_update(examples, heat := 9 - heat)) "
        "from examples__test as examples where user_id = 'u1' and as_of = '2025-01-01'"
    ).fetchall()
    [(before, after)] = [[next(reason for reason in reasons if reason["feature"] == "heat") for reasons in (then, now)]]
    assert {before["value"], after["value"]} == {"7", "2"}
    assert (before["contribution"] > 0) != (after["contribution"] > 0)


def test_a_sentence_says_the_feature_by_its_description(con: duckdb.DuckDBPyConnection) -> None:
    found = con.execute(
        f"select distinct reason from (select unnest(explain_test(examples)) as reason from {ROWS}) order by all"
    ).fetchall()
    for (reason,) in found:
        said = {
            "heat": f"warmth of the user is {reason['value']}",
            "kind": f"kind is {reason['value'] or 'missing'}",
            "is_odd": f"is odd is {'yes' if reason['value'] == 'true' else 'no'}",
            "taste": "taste is 2 numbers",
        }
        if reason["feature"] in said:
            assert reason["sentence"] == f"{said[reason['feature']]}: {amount(reason['contribution'])}"
    assert {reason["feature"] for (reason,) in found} >= {"heat", "kind", "taste"}


def test_other_reasons_are_written_without_a_training(con: duckdb.DuckDBPyConnection) -> None:
    def columns() -> list[str]:
        return [name for name, *_ in con.execute("describe pred__test").fetchall()]

    assert predict(con, SELECT, reasons=2, calibrate=None, promote="always") is None
    assert (last_run(con)["is_trained"], last_run(con)["is_scored"]) == (False, False)
    assert predict(con, SELECT, reasons=4, calibrate=None, promote="always") is None
    assert (last_run(con)["is_trained"], last_run(con)["is_scored"]) == (False, True)
    assert con.execute("select max(len(reasons)) from pred__test").fetchone() == (4,)
    assert predict(con, SELECT, calibrate=None, promote="always") is None
    assert version_count(con) == 1
    assert "reasons" not in columns()
    assert predict(con, SELECT, reasons=1, calibrate=None, promote="always") is None
    assert predict(con, SELECT, reasons=1, calibrate=None, promote="never", seed=8) is None
    promote(con, "test", 2)
    assert con.execute("select distinct version, len(reasons) from pred__test").fetchall() == [(2, 1)]


@pytest.mark.parametrize("reasons", [-1, "3", 1.5, True, None])
def test_what_is_no_number_of_reasons_is_refused(con: duckdb.DuckDBPyConnection, reasons: object) -> None:
    message = predict(con, SELECT, reasons=reasons)
    assert message is not None
    assert f"config reasons={reasons!r} is not a whole number" in message


def test_a_contract_may_promise_the_reasons(con: duckdb.DuckDBPyConnection) -> None:
    contract = {name: kind for name, kind, *_ in con.execute("describe pred__test").fetchall()}
    assert duckdb.sqltype(contract["reasons"]) == duckdb.sqltype(REASONS)
    promised = {
        **contract,
        "reasons": "struct(feature varchar, value varchar, contribution double, sentence varchar)[]",
    }
    assert predict(con, SELECT, reasons=3, calibrate=None, promote="always", contract=promised) is None
    assert "reasons is missing" in (predict(con, SELECT, calibrate=None, promote="always", contract=promised) or "")


def test_importance_is_told_by_every_method_and_the_signal_stands_first(con: duckdb.DuckDBPyConnection) -> None:
    found = con.execute(
        "select method, list(feature order by importance desc, feature), max(importance), min(importance) "
        "from foretable.importances where prediction = 'test' group by method order by method"
    ).fetchall()
    assert [row[0] for row in found] == ["contribution", "gain", "permutation"]
    signal = {"heat", "twice", "taste"}
    for method, features, most, least in found:
        assert features[0] in signal, method
        assert least >= 0 or method == "permutation"
        assert most > 0.01
    contributions = con.execute(
        """
        with reasons as (select unnest(explain_test(examples), max_depth := 2)
            from examples__test as examples where as_of = '2025-05-01'::timestamp)
        select feature, sum(abs(contribution)) / 120 from reasons group by feature order by feature
        """
    ).fetchall()
    stored = con.execute(
        "select feature, importance from foretable.importances where method = 'contribution' order by feature"
    ).fetchall()
    assert [name for name, _ in contributions] == [name for name, _ in stored]
    assert np.array([v for _, v in contributions]) == pytest.approx(np.array([v for _, v in stored]), abs=1e-9)


def test_a_network_has_reasons_and_importances_too(con: duckdb.DuckDBPyConnection) -> None:
    select = (
        f"select *, list_transform(range(1 + heat::int), i -> i::double) as steps, "
        f"list_transform(range(1 + heat::int), i -> 'k' || i % 3) as kinds from ({SELECT})"
    )
    params = {"units": 4, "dense_units": 4, "epochs": 2}
    config = {"model": "lstm", "params": params, "calibrate": None, "reasons": 3}
    assert predict(con, select, **config, promote="always") is None
    udfs.register(con)
    methods = con.execute("select distinct method from foretable.importances where version = 2 order by all").fetchall()
    assert methods == [("contribution",), ("permutation",)]
    [(off, most)] = con.execute(
        f"""
        with explained as (
            select explain_test(examples) as everything, pred.score::double as score, reasons, pred.version
            from {ROWS}
        )

        select
            max(abs(
                base_log_odds + list_sum(list_transform(everything, lambda r: r.contribution))
                - ln(score / (1 - score))
            )),
            max(len(reasons))
        from explained
        inner join foretable.versions as versions on explained.version = versions.version
        """
    ).fetchall()
    assert off < 1e-4
    assert most == 3
    values = con.execute(
        f"select r.value from (select unnest(explain_test(examples)) as r from {ROWS}) where r.feature = 'kinds' "
        "order by len(r.value) desc, r.value limit 1"
    ).fetchall()
    assert values == [("[…, k0, k1, k2]",)]


@pytest.mark.parametrize(
    ("feature", "value", "description", "said"),
    [
        ("purchase_count_30d", "3", None, "bought 3 times in 30 days"),
        ("purchase_count_7d", "0", None, "not bought in 7 days"),
        ("view_count_1d", "1", None, "viewed once in 1 day"),
        ("cart_count_lifetime", "1200", None, "put into the cart 1,200 times so far"),
        ("session_count_90d", "1", None, "1 session in 90 days"),
        ("purchase_recency_days", "12.0", None, "last bought 12 days ago"),
        ("purchase_recency_days", None, "Days since the last purchase.", "never bought"),
        ("weekend_share_90d", "0.254", "Share of weekends in the 90 days before as_of; 1 is all.",
         "share of weekends in the 90 days is 25%"),
        ("is_retained_7d", "true", "Whether the user came back after the first day, in the 7 days before as_of.",
         "the user came back after the first day, in the 7 days"),
        ("is_retained_7d", "false", "Whether the user came back.", "not so: the user came back"),
        ("basket_size_14d", "2.71828", None, "basket size in 14 days is 2.72"),
        ("basket_size_14d", None, "Items in a basket.", "items in a basket is missing"),
        ("VIP_level", "4", None, "VIP level is 4"),
    ],
)  # fmt: skip
def test_a_feature_is_said_in_words(feature: str, value: str | None, description: str | None, said: str) -> None:
    assert phrase(feature, value, description) == said


def test_a_category_is_said_as_it_is() -> None:
    for text in ("02139", "true", "nan", "1e5"):
        assert phrase("purchase_count_30d", text, "Zip code.", is_number=False) == f"zip code is {text}"


def test_descriptions_are_those_of_the_tables_that_the_prediction_reads() -> None:
    def table(name: str, **columns: str) -> dict[str, Any]:
        return {"name": name, "columns": {column: {"description": said} for column, said in columns.items()}}

    nodes = {
        "a": table("features__a", x="X of a.", y=""), "b": table("features__b", x="X of b.", z="Z."),
        "other": table("features__other", w="W."),
        "p": {"name": "model", "alias": "pred__p", "depends_on": {"nodes": ["a", "b", "gone"]}},
    }  # fmt: skip
    assert descriptions_of({"nodes": nodes}, "pred__p") == {"x": "X of a.", "z": "Z."}
    assert descriptions_of({"nodes": nodes}, "pred__q") == {} == descriptions_of(None, "pred__p")


def _describe(con: duckdb.DuckDBPyConnection, columns: dict[str, str]) -> None:
    """What dbt would record of a model named features__made that the prediction reads."""
    documented = {name: {"description": said} for name, said in columns.items()}
    nodes = {
        "made": {"name": "features__made", "columns": documented},
        "test": {"name": "pred__test", "depends_on": {"nodes": ["made"]}},
    }
    con.execute("delete from foretable.manifest")
    con.executemany(
        "insert into foretable.manifest values ('nodes', ?, ?)",
        [[key, json.dumps(node)] for key, node in nodes.items()],
    )
