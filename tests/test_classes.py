"""Predictions of one of a few classes: trained, judged, scored, compiled to SQL, looked up and watched."""

import json
import sqlite3
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import udfs
from ibis_features import ArtifactError
from models_ml.artifact import pack, unpack
from models_ml.class_trees import ClassesModel, with_classes
from models_ml.encoding import empty_batch
from models_ml.registry import active_model, read_artifact
from models_ml.trees import TreesModel
from tests.predicting import last_run, predict, version_count
from udfs import shadow
from udfs.lifecycle import compare, promote, roll_back
from udfs.portable import compile_select

CLASSES = ["", "it's", "toys", "Ünïcode"]
USERS = """
    select
        'u' || u as user_id,
        timestamp '2025-01-01' + interval (30 * s) days as as_of,
        ((u * 7 + s) % 10)::double as heat,
        ((u * 13 + s) % 7)::double as seven,
        case when u % 9 = 0 then null else 'k' || (u % 11) end as kind,
        (u * 7919 + s * 1299709) % 1000 / 1000.0 as luck
    from range(160) as users (u), range(6) as snapshots (s)
"""
OWN = """
    case when heat + 3 * luck > 8 then 'toys' when seven > 4 then 'Ünïcode' when kind = 'k3' then '' else 'it''s' end
"""
QUICK = {"n_estimators": 40, "eta": 0.3, "colsample_bytree": 1.0, "min_child_weight": 1.0}
CLASSED = {"kind": "multiclass", "label": "next", "model": "xgboost", "params": QUICK, "promote": "always"}


def users(con: duckdb.DuckDBPyConnection, own: str = OWN, *, known_before: str = "2025-05-31") -> str:
    """Users with their class, as long as it is known, in the table `fixed`."""
    con.execute(
        f"create or replace table fixed as select * exclude (luck), case when as_of < timestamp '{known_before}' "
        f"then {own} end as next from ({USERS})"
    )
    return "select * from fixed"


def fitted_model(con: duckdb.DuckDBPyConnection) -> ClassesModel:
    active = active_model(con, "test")
    assert active is not None
    model = unpack(read_artifact(con, "test", active.version), expected_sha256=active.sha256)
    assert isinstance(model, ClassesModel)
    return model


def figures(con: duckdb.DuckDBPyConnection, split: str = "test") -> dict[tuple[str, str], tuple[float, float]]:
    """Value and lower end of each metric of version 1, by who scored."""
    rows = con.execute(
        "select scored_by, metric, value, lower from foretable.metrics where split = ? and version = 1", [split]
    ).fetchall()
    return {(scored_by, metric): (value, lower) for scored_by, metric, value, lower in rows}


def reckoned(con: duckdb.DuckDBPyConnection, scores: str, labels: str) -> dict[str, float]:
    """The metrics in SQL; `scores` has user_id, next and score, `labels` user_id and its own class."""
    names = ("log_loss", "accuracy", "top_3_accuracy")
    values = con.execute(
        f"""
        with ranked as (
            select *, row_number() over (partition by user_id order by score desc, next) as place from ({scores})
        )
        select
            avg(-ln(greatest(coalesce(ranked.score, 0), 1e-7))),
            avg((coalesce(ranked.place, 9) = 1)::int),
            avg((coalesce(ranked.place, 9) <= 3)::int)
        from ({labels}) as labels
        left join ranked on labels.user_id = ranked.user_id and labels.own = ranked.next
        """
    ).fetchone()
    pairs = f"from ({scores}) as one inner join ({labels}) as labels using (user_id)"
    [auc] = con.execute(
        f"""
        with scored as (select one.next, score, own = one.next as is_own {pairs})
        select avg(auc) from (
            select avg((one.score > other.score)::int + (one.score = other.score)::int / 2) as auc
            from scored as one inner join scored as other on one.next = other.next and one.is_own and not other.is_own
            group by one.next
        )
        """
    ).fetchone()
    return {**dict(zip(names, values, strict=True)), "macro_roc_auc": auc}


def test_table_function_macro_and_lookups_agree_and_the_scores_of_a_user_add_up_to_one(
    con: duckdb.DuckDBPyConnection,
) -> None:
    assert predict(con, users(con), **CLASSED, reasons=2) is None
    udfs.register(con, ["test"])
    rows = con.execute(
        "select pred.score, score_test(lists), scores.test(lists), scores.test(fixed, next := pred.next), tabled.score "
        "from pred__test as pred "
        "inner join examples__test as lists using (user_id, as_of, next) "
        "inner join scores.test_table('examples__test') as tabled using (user_id, as_of, next) "
        "inner join fixed on pred.user_id = fixed.user_id and pred.as_of = fixed.as_of"
    ).fetchall()
    assert len(rows) == 160 * len(CLASSES)
    table, *others = np.array(rows).T
    assert all((table == other).all() for other in others)
    totals = con.execute("select sum(score), list(next order by next) from pred__test group by user_id").fetchall()
    assert all(total == pytest.approx(1, abs=1e-6) and names == CLASSES for total, names in totals)
    columns = [name for name, *_ in con.execute("describe pred__test").fetchall()]
    assert columns == [
        *("user_id", "next", "version", "score", "score_rank", "score_decile", "item_rank", "as_of", "scored_at"),
        "reasons",
    ]
    assert con.execute("select count(*) from pred__test where len(reasons) <> 2").fetchone() == (0,)
    for user in ("u1", "u17"):
        [[listed]] = con.execute("select scores.test_of(?)", [user]).fetchall()
        assert [-row["score"] for row in listed] == sorted(-row["score"] for row in listed)
        assert [row["item_rank"] for row in listed] == [1, 2, 3, 4]
        [first] = con.execute("from scores.recommend_test(?, n := 1)", [user]).fetchall()
        assert first == (listed[0]["next"], listed[0]["score"], 1)
    asked = con.execute(
        "select scores.test(fixed, next := 'no such class'), scores.test(heat := 3), score_test(3, 2, 'k1', null) "
        "from fixed limit 1"
    ).fetchone()
    assert asked == (0, None, None)
    offered = {name: row for name, *row in con.execute("from scores.describe()").fetchall()}
    assert offered["scores.test_of"][1] == 'STRUCT("next" VARCHAR, score FLOAT, item_rank INTEGER)[]'
    assert "one score, and there is one for each next" in offered["scores.test_live"][2]
    before = con.execute("select * from pred__test order by all").fetchall()
    assert predict(con, "select * from fixed", **CLASSED, reasons=2) is None
    assert last_run(con)["reason"] == "nothing changed"
    assert not last_run(con)["is_scored"]
    assert con.execute("select * from pred__test order by all").fetchall() == before


def test_trees_taken_apart_by_class_give_the_margins_of_all_of_them_to_the_bit(con: duckdb.DuckDBPyConnection) -> None:
    assert predict(con, users(con), **CLASSED) is None
    model, rng = fitted_model(con), np.random.default_rng(0)
    values = rng.normal(4, 4, (500, len(model.trees.columns))).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    together = model.trees.margins(values)
    apart = np.stack([member.margins(values) for member in model.members], axis=1)
    assert together.shape == (500, 4)
    np.testing.assert_array_equal(together.view(np.uint32), apart.view(np.uint32))
    batch = batch_of(model, heat=[1.0] * 5, seven=[np.nan] * 5, kind=["k1"] * 5, next=[*CLASSES, None])
    [one] = model.trees.margins(np.array([[1.0, np.nan, place_of(model, "kind", "k1")]], np.float32))
    wide = np.exp(one.astype(np.float64))
    np.testing.assert_allclose(model.predict(batch)[:4], wide / wide.sum(), rtol=1e-6)
    assert np.isnan(model.predict(batch)[4])


def batch_of(model: ClassesModel, **columns: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns, schema=empty_batch(model.schema).schema)


def place_of(model: ClassesModel, feature: str, value: str) -> int:
    [column] = [column for column in model.trees.columns if column.feature == feature]
    return column.vocabulary.index(value)


def test_contributions_add_up_to_margins_whose_softmax_is_the_score(con: duckdb.DuckDBPyConnection) -> None:
    assert predict(con, users(con), **CLASSED) is None
    model = fitted_model(con)
    rows = con.execute("select * from examples__test order by user_id, as_of, next limit 400").to_arrow_table()
    names = [field.name for field in empty_batch(model.schema).schema]
    batch = rows.select(names).cast(empty_batch(model.schema).schema).combine_chunks().to_batches()[0]
    margins = model.contributions(batch).sum(axis=1) + model.base_log_odds
    np.testing.assert_allclose(margins, model.margin(batch), rtol=1e-4, atol=1e-4)
    sizes = np.exp(margins.reshape(-1, len(CLASSES)))
    shares = sizes / sizes.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict(batch), shares.ravel(), rtol=1e-3, atol=1e-4)
    told = con.execute(
        "select scores.explain_test(lists) from (select * from examples__test order by user_id, as_of, next limit 400) "
        "as lists order by user_id, as_of, next"
    ).fetchall()
    for (reasons,), expected in zip(told, model.contributions(batch), strict=True):
        found = {reason["feature"]: reason["contribution"] for reason in reasons}
        np.testing.assert_allclose([found.get(name, 0.0) for name in names], expected, atol=1e-5)
        assert [*found] == sorted(found, key=lambda name: -abs(found[name]))
    of_none = "scores.explain_test(fixed, next := 'no such class'), scores.explain_test(heat := 3)"
    assert con.execute(f"select {of_none} from fixed limit 1").fetchone() == ([], [])


def test_the_rows_of_a_user_are_scored_once_for_all_classes(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predict(con, users(con), **CLASSED) is None
    counts, margins = [], TreesModel.margins

    def counted(trees: TreesModel, values: np.ndarray) -> np.ndarray:
        counts.append(len(values))
        return margins(trees, values)

    monkeypatch.setattr(TreesModel, "margins", counted)
    con.execute("update fixed set heat = heat + 1 where as_of = (select max(as_of) from fixed)")
    model = fitted_model(con)
    counts.clear()
    rows = con.execute("from examples__test where as_of = (select max(as_of) from fixed)").to_arrow_table()
    names = [field.name for field in empty_batch(model.schema).schema]
    model.predict(rows.select(names).cast(empty_batch(model.schema).schema).combine_chunks().to_batches()[0])
    assert sum(counts) == 160


def test_the_model_beats_the_shares_of_the_classes_and_its_metrics_are_those_of_each_user(
    con: duckdb.DuckDBPyConnection,
) -> None:
    config = {**CLASSED, "promote": "when_better", "slices": ["kind"], "holdout": 0.2}
    # The last labelled snapshot brings a class that no training row has.
    own = f"case when as_of = timestamp '2025-05-01' and heat = 4 then 'brand new' else {OWN} end"
    assert predict(con, users(con, own), **config) is None
    found = figures(con)
    assert found["above_class_shares", "macro_roc_auc"][1] > 0.2
    inside = "select user_id from examples__test where as_of = '2025-05-01'"
    judged = f"as_of = '2025-05-01' and user_id not in ({held_out()}) and user_id in ({inside})"
    scores = f"select user_id, next, scores.test(lists) as score from examples__test as lists where {judged}"
    labels = f"select user_id, next as own from fixed where {judged}"
    assert con.execute(f"select count(*) from ({labels}) where own = 'brand new'").fetchone()[0] > 5
    for metric, value in reckoned(con, scores, labels).items():
        assert found["model", metric][0] == pytest.approx(value), metric
    shares = (
        "select user_id, next, share as score from examples__test inner join (select next, count(*) / sum(count(*)) "
        f"over () as share from fixed where as_of < '2025-04-01' and user_id not in ({held_out()}) group by next) "
        f"using (next) where {judged}"
    )
    for metric, value in reckoned(con, shares, labels).items():
        assert found["class_shares", metric][0] == pytest.approx(value, rel=1e-5), metric
    assert {scored_by for scored_by, _ in found} == {"model", "class_shares", "above_class_shares"}
    slices = con.execute(
        "select value, metric, metric_value from foretable.slices where split = 'test' and value <> 'missing'"
    ).fetchall()
    assert len(slices) == 11
    for value, metric, measured in slices:
        of_slice = f"select * from fixed where kind = '{value}'"
        within = f"user_id in (select user_id from ({of_slice}))"
        expected = reckoned(con, f"{scores} and {within}", f"{labels} and {within}")
        assert measured == pytest.approx(expected[metric]), value
    assert con.execute("select train_rows, test_rows from foretable.models").fetchone() == (
        con.execute(
            "select count(*) filter (as_of < '2025-04-01'), count(*) filter (as_of = '2025-05-01') from fixed "
            f"where user_id not in ({held_out()})"
        ).fetchone()
    )
    assert ("model", "macro_roc_auc") in figures(con, "holdout")


def held_out(share: float = 0.2) -> str:
    """The users of the holdout by the documented rule, as SQL."""
    digits = f"{round(share * 16**8):08x}"
    return f"select user_id from fixed where md5('holdout-7-' || user_id)[:8] < '{digits}'"


def test_outcomes_judge_the_classes_when_they_are_known(con: duckdb.DuckDBPyConnection) -> None:
    select = users(con)
    assert predict(con, select, **CLASSED) is None
    con.execute("create table given as from pred__test")
    # By then the newest snapshot has a class that was not known, and the older ones have lost one that was.
    newest, older = f"case when heat = 4 then 'new' else {OWN} end", f"replace({OWN}, 'toys', '')"
    users(con, f"case when as_of = '2025-05-31' then {newest} else {older} end", known_before="2026-01-01")
    assert predict(con, select, **CLASSED, retrain="never") is None
    realised = dict(con.execute("select metric, value from foretable.realised where version = 1").fetchall())
    expected = reckoned(con, "from given", "select user_id, next as own from fixed where as_of = '2025-05-31'")
    for metric, value in expected.items():
        assert realised[metric] == pytest.approx(value), metric
    known = con.execute("select entity_id, item_id from foretable.outcomes where label = 1 order by all").fetchall()
    own = con.execute(
        "select user_id, next from fixed where as_of = '2025-05-31' and next <> 'new' order by all"
    ).fetchall()
    assert known == own
    assert con.execute("select count(*) from foretable.outcomes").fetchone() == (160 * 4,)
    assert con.execute("select metric, realised_value from foretable.decay").fetchall() == [
        ("macro_roc_auc", realised["macro_roc_auc"])
    ]


def test_each_version_scores_the_classes_that_it_knows(con: duckdb.DuckDBPyConnection) -> None:
    select = users(con)
    assert predict(con, select, **CLASSED) is None
    users(con, f"case when heat = 4 then 'new' else {OWN} end")
    assert predict(con, select, **{**CLASSED, "promote": "never"}) is None
    assert shown(con) == (CLASSES, CLASSES)
    shadow.start(con, "test", 2)
    logged = "select distinct item_id from foretable.prediction_log where version = ? and is_shadow order by 1"
    assert [name for (name,) in con.execute(logged, [2]).fetchall()] == sorted([*CLASSES, "new"])
    rows = {row["metric"]: row for row in compare(con, "test", 1, 2)}
    assert rows["log_loss"]["version 2"] < rows["log_loss"]["version 1"]
    assert rows["macro_roc_auc"]["lower"] is not None
    promote(con, "test", 2)
    assert shown(con) == (sorted([*CLASSES, "new"]),) * 2
    totals = con.execute("select sum(score) from pred__test group by user_id").fetchall()
    assert all(total == pytest.approx(1, abs=1e-6) for (total,) in totals)
    assert predict(con, select, **{**CLASSED, "promote": "never"}) is None
    assert not last_run(con)["is_scored"]
    roll_back(con, "test")
    assert shown(con) == (CLASSES, CLASSES)
    assert con.execute(
        "select count(*) from pred__test inner join examples__test using (user_id, as_of, next)"
    ).fetchone() == (640,)


def shown(con: duckdb.DuckDBPyConnection) -> tuple[list[str], list[str]]:
    """The classes of the table of scores, and those of the rows that it was made of."""
    scored, listed = (
        [name for (name,) in con.execute(f"select distinct next from {table} order by next").fetchall()]
        for table in ("pred__test", "examples__test")
    )
    return scored, listed


def test_a_prediction_may_change_its_kind_and_back(con: duckdb.DuckDBPyConnection) -> None:
    users(con)
    binary = {**CLASSED, "kind": "binary", "label": "is_toys"}
    select = "select * exclude (next), next = 'toys' as is_toys from fixed"
    for train in ("when_changed", "always"):
        assert predict(con, "select * from fixed", **CLASSED, train=train) is None
        assert con.execute("select count(*) from examples__test").fetchone() == (160 * 6 * 4,)
        assert con.execute("select count(*) from examples__test__rows").fetchone() == (160 * 6,)
        assert predict(con, select, **binary, train=train) is None
        tables = con.execute(
            "select table_name from information_schema.tables where table_name like 'examples!_!_test%' escape '!' "
            "and table_schema = 'main'"
        ).fetchall()
        assert [name for (name,) in tables if not name.endswith("__select")] == ["examples__test"]


@pytest.mark.parametrize(
    ("own", "classes"), [("heat > 5", ["false", "true"]), ("seven::integer // 3", ["0", "1", "2"])]
)
def test_truth_values_and_whole_numbers_become_text(
    con: duckdb.DuckDBPyConnection, own: str, classes: list[str]
) -> None:
    select = users(con, own)
    assert predict(con, select, **CLASSED, leak_check=False) is None
    assert shown(con) == (classes, classes)
    right = con.execute(
        f"select avg((pred.next = ({own})::varchar)::int) from pred__test as pred "
        "inner join fixed using (user_id, as_of) where item_rank = 1"
    ).fetchone()[0]
    assert right > 0.95
    assert predict(con, select, **CLASSED, leak_check=False) is None
    assert last_run(con)["reason"] == "nothing changed"


def test_params_are_searched_folds_judged_and_interactions_made(con: duckdb.DuckDBPyConnection) -> None:
    select = users(con)
    config = {**CLASSED, "tune": {"trials": 2, "metric": "macro_roc_auc"}, "params": {"n_estimators": 20}}
    config["interactions"] = [["heat", "seven"]]
    assert predict(con, select, **config) is None
    assert con.execute("select distinct metric from foretable.trials").fetchall() == [("macro_roc_auc",)]
    assert con.execute("select count(*) from foretable.interactions").fetchone() == (1,)
    assert con.execute(
        "select count(*), count(*) filter (pred.score = scores.test(lists)) from pred__test as pred "
        "inner join examples__test as lists using (user_id, as_of, next)"
    ).fetchone() == (640, 640)
    assert predict(con, select, **{**config, "tune": None}, folds=2) is None
    found = con.execute("select distinct train_rows, fold from foretable.cross_validation order by fold").fetchall()
    assert found == [(160 * 2, 1), (160 * 3, 2)]
    assert predict(con, select, **CLASSED, is_plan=True) is None
    plan = con.execute("select train_rows, feature_count, scored_rows from foretable.plans").fetchone()
    assert plan == (160 * 3, 3, 160)


def test_plain_selects_of_other_engines_give_the_score_of_the_class_that_a_row_names(
    con: duckdb.DuckDBPyConnection,
) -> None:
    assert predict(con, users(con), **CLASSED) is None
    model = fitted_model(con)
    scores = con.execute("select user_id, next, score from pred__test").fetchall()
    expected: dict[tuple[str, str | None], float | None] = {(user, name): score for user, name, score in scores}
    con.execute("create table lists as from examples__test where as_of = (select max(as_of) from fixed)")
    con.execute("insert into lists by name select * replace ('none' as next) from lists where next = 'toys'")
    con.execute("insert into lists by name select * replace (null as next) from lists where next = 'toys'")
    con.execute("alter table lists alter as_of type varchar")
    expected |= {(f"u{number}", name): given for number in range(160) for name, given in (("none", 0), (None, None))}
    rows = con.execute("select user_id, as_of, heat, seven, kind, next from lists").fetchall()
    assert answers(con.execute(compile_select(model, "duckdb", relation="lists")).fetchall()) == expected
    lite = sqlite3.connect(":memory:")
    lite.execute("create table lists (user_id text, as_of text, heat real, seven real, kind text, next text)")
    lite.executemany("insert into lists values (?, ?, ?, ?, ?, ?)", rows)
    found = answers(lite.execute(compile_select(model, "sqlite", relation="lists")).fetchall())
    assert found.keys() == expected.keys()
    for key, score in expected.items():
        assert found[key] == (None if score is None else pytest.approx(score, abs=1e-6)), key


def answers(rows: list[tuple[Any, ...]]) -> dict[tuple[str, str | None], float | None]:
    """Of user, class, as_of and score, as float32."""
    return {(user, name): None if score is None else float(np.float32(score)) for user, name, _, score in rows}


def test_an_artifact_whose_classes_do_not_fit_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    assert predict(con, users(con), **CLASSED) is None
    model = fitted_model(con)
    again = unpack(pack("xgboost", model))
    assert isinstance(again, ClassesModel)
    assert again.classes == tuple(CLASSES)
    for content in (b"{", b"[]", b'{"classes": "ab"}', json.dumps({"classes": CLASSES[:3]}).encode()):
        with pytest.raises(ArtifactError, match="damaged"):
            with_classes(model.trees, content)
    with pytest.raises(ArtifactError, match="damaged"):
        with_classes(model, json.dumps({"classes": CLASSES}).encode())


@pytest.mark.parametrize(
    ("select", "config", "sentence"),
    [
        ("select * from fixed", {"item": "kind"}, "config item='kind' is for kind 'ranking' alone"),
        ("select * from fixed", {"label": "gone"}, "no column 'gone', which the prediction needs as its label"),
        ("select * replace (heat as next) from fixed", {}, "the label 'next' is float64; a class is text"),
        ("select *, 1 as is_next from fixed", {}, "the SELECT has a column 'is_next'"),
        ("select * rename (next as score) from fixed", {"label": "score"}, "the key 'score' is named as a column of"),
        ("select * replace ('one' as next) from fixed", {}, "only the class 'one' in the label 'next'"),
        ("select * replace (user_id as next) from fixed", {}, "160 classes in the label 'next', and there may be 100"),
        ("select * replace (null::varchar as next) from fixed", {}, "every label 'next' is NULL"),
        ("from fixed union all from fixed", {}, "pairs of user_id and as_of occur more than once"),
        (
            "select * replace (case when as_of >= '2025-04-01' and next is not null then 'x' else next end as next) "
            "from fixed",
            {},
            "no labelled validation row",
        ),
        ("select *, next || '!' as told from fixed", {}, "'told' (share of what there is to know 1.0000)"),
        ("select *, ascii(next || '!') as told from fixed", {}, "'told' (share of what there is to know 1.0000)"),
        ("select * from fixed", {"model": "mlp"}, "model 'mlp' does not predict kind 'multiclass'; take one of: xgboo"),
        ("select * from fixed", {"model": ["xgboost", "mlp"]}, "an ensemble joins probabilities"),
        ("select * from fixed", {"class_weight": "balanced"}, "'class_weight' is about probabilities of true or false"),
        ("select * from fixed", {"calibrate": "platt"}, "'calibrate' is about probabilities of true or false"),
        (
            "select * from fixed",
            {"rfm": ["heat", "seven"]},
            "'rfm' names a baseline, and where kind is 'multiclass' th",
        ),
        ("select * from fixed", {"select": [{"method": "permutation", "keep": 2}]}, "leave columns out with exclude"),
        ("select * from fixed", {"warm_start": True}, "the classes of kind 'multiclass' come and go"),
        ("select * from fixed", {"interactions": 3}, "interactions are found for kind 'binary' alone"),
        ("select * from fixed", {"interactions": [["kind", "next"]]}, "interactions names next"),
        ("select * from fixed", {"slices": ["next"]}, "slices names next; it takes columns other than keys and label"),
        ("select * from fixed", {"tune": {"metric": "rmse"}}, "unknown tune metric 'rmse'; known: log_loss, macro_roc"),
    ],
)
def test_what_is_no_class_is_refused_in_one_sentence(
    con: duckdb.DuckDBPyConnection, select: str, config: dict[str, Any], sentence: str
) -> None:
    users(con)
    message = predict(con, select, **{**CLASSED, **config})
    assert message is not None
    assert sentence in message
    assert version_count(con) == 0
