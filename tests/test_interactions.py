"""Interactions: columns of two features that the model makes by itself, wherever it scores."""

import json
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import udfs
from ibis_features import ArtifactError, Examples, FeatureSchema, read_examples, read_schema
from ibis_features.warehouse import connect_backend
from models_ml.artifact import pack, unpack
from models_ml.interactions import (
    CrossedModel,
    Interaction,
    crossed_text,
    read_interactions,
    uncrossed_text,
    widened,
    with_interactions,
)
from models_ml.registry import read_artifact
from models_ml.score_map import unmapped
from tests.predicting import last_run, predict
from tests.test_compiling_trees import COLUMNS, FEATURES, batch_of, model_of, schema_of, scores
from udfs.compiling import compile_sql

SELECT = "from shop"
NUMBERS, CATEGORIES = ["left_hand", "right_hand"], ["city", "store"]
PAIRS = [NUMBERS, CATEGORIES]
TREES: dict[str, Any] = {"promote": "always", "params": {"n_estimators": 30, "eta": 0.3, "max_depth": 2}}


@pytest.fixture
def con(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A shop where users buy if both hands have one sign, or city and store are alike: neither alone tells."""
    con.execute(
        """
        create table shop as
        with drawn as (
            select
                'u' || u as user_id,
                timestamp '2025-01-01' + interval (30 * s) days as as_of,
                random() - 0.5 as left_hand,
                (random() * 20)::integer - 10 as right_hand,
                'c' || (random() * 2.99)::integer as city,
                case when u % 11 > 0 then 'c' || (random() * 2.99)::integer end as store,
                random() as noise,
                random() * 3 as warmth,
                random() as chance,
                s
            from range(300) as users (u), range(6) as snapshots (s)
        )

        select
            drawn.* exclude (s, chance),
            case
                when s < 5 then chance < 0.05 + 0.5 * (left_hand * right_hand > 0)::int
                    + 0.3 * coalesce(city = store, false)::int + 0.03 * warmth
            end as bought
        from drawn
        """
    )
    return con


def model_in(con: duckdb.DuckDBPyConnection, version: int = 1) -> Any:
    return unmapped(unpack(read_artifact(con, "test", version)))


def found(con: duckdb.DuckDBPyConnection, version: int = 1) -> list[tuple[str, str, float | None]]:
    return con.execute(
        "select feature, other, gain from foretable.interactions where version = ? order by rowid", [version]
    ).fetchall()


def schema_in(con: duckdb.DuckDBPyConnection, version: int = 1) -> list[str]:
    row = con.execute("select feature_schema from foretable.models where version = ?", [version]).fetchone()
    assert row is not None
    return [feature["name"] for feature in json.loads(row[0])["features"]]


def auc(con: duckdb.DuckDBPyConnection, version: int) -> float:
    row = con.execute(
        "select value from foretable.metrics "
        "where split = 'test' and scored_by = 'model' and metric = 'roc_auc' and version = ?",
        [version],
    ).fetchone()
    assert row is not None
    return row[0]


def shop(con: duckdb.DuckDBPyConnection) -> Examples:
    schema = read_schema(con, "shop", entity="user_id", label="bought")
    return read_examples(connect_backend(con), "shop", schema)


def test_table_function_and_macro_make_the_interactions_themselves(con: duckdb.DuckDBPyConnection) -> None:
    single = {**TREES, "params": {**TREES["params"], "max_depth": 1}}
    assert predict(con, SELECT, **single) is None
    assert predict(con, SELECT, **single, interactions=PAIRS) is None
    assert auc(con, 2) > auc(con, 1) + 0.1, "trees of one split see no pair by themselves"
    assert found(con, 1) == []
    assert found(con, 2) == [(*NUMBERS, None), (*CATEGORIES, None)]
    assert schema_in(con, 2) == schema_in(con, 1) == [*NUMBERS, *CATEGORIES, "noise", "warmth"]
    udfs.register(con)
    by_name = ", ".join(f"{name} := {name}" for name in schema_in(con, 2))
    row = con.execute(
        f"""
        select
            count(*), bool_and(pred.score = score_test(shop)), bool_and(pred.score = scores.test(shop)),
            bool_and(pred.score = scores.test({by_name}))
        from pred__test as pred
        inner join shop using (user_id, as_of)
        """
    ).fetchone()
    assert row == (300, True, True, True)
    # What-if: the sign of one hand turns the score of a user over.
    turned = con.execute(
        "select avg(scores.test(struct_update(shop, left_hand := abs(left_hand) * sign(right_hand))) - "
        "scores.test(struct_update(shop, left_hand := -abs(left_hand) * sign(right_hand)))) from shop"
    ).fetchone()
    assert turned is not None
    assert turned[0] > 0.3
    assert con.execute(
        "select feature, unknown_share from foretable.drift where feature like '% * %' order by 1"
    ).fetchall() == [
        ("city * store", 0.0),
        ("left_hand * right_hand", None),
    ]


def test_the_trees_read_what_a_product_by_hand_gives(con: duckdb.DuckDBPyConnection) -> None:
    """The model with an interaction is the one that the product as a column of the SELECT trains."""
    assert predict(con, SELECT, **TREES, interactions=[NUMBERS]) is None
    by_hand = f"select *, (left_hand::float * right_hand::float)::float as product {SELECT}"
    assert predict(con, by_hand, **TREES) is None
    own, other = model_in(con, 1), model_in(con, 2)
    assert own.model.booster.get_dump(with_stats=True) == other.booster.get_dump(with_stats=True)
    assert any("f6<" in tree for tree in other.booster.get_dump())


def crossed_trees(seed: int = 0) -> CrossedModel:
    pairs = (Interaction("spent", "visits"), Interaction("city", "gender"), Interaction("visits", "is_member"))
    gender = [*FEATURES[:4], FEATURES[3].__class__("gender", "category", "VARCHAR"), *FEATURES[4:]]
    schema = schema_of(tuple(gender))
    texts = tuple(
        crossed_text(city, other) for city in ("Leeds", "L'Île", "", "nul\0l") for other in ("", "1:ä", "nul\0l")
    )
    columns = [*COLUMNS[:4], COLUMNS[3].__class__("gender", "category", vocabulary=("", "1:ä", "nul\0l")), *COLUMNS[4:]]
    columns += [COLUMNS[0].__class__(pairs[0].name, "number")]
    columns += [COLUMNS[0].__class__(pairs[1].name, "category", vocabulary=texts)]
    columns += [COLUMNS[0].__class__(pairs[2].name, "number")]
    inner = model_of(widened(schema, pairs).features, tuple(columns), seed=seed, trees=40)
    return CrossedModel(inner, pairs, schema)


@pytest.mark.parametrize("seed", range(3))
def test_macro_and_model_agree_in_every_bit_on_odd_values(seed: int) -> None:
    """Missing factors, infinities, products beyond float32, empty texts, and texts that look alike once joined."""
    model, con = crossed_trees(seed), duckdb.connect()
    batch = batch_of(model, 400, seed)
    table = pa.Table.from_batches([batch])
    huge = pa.array([1e30 if row % 5 else 3e-30 for row in range(400)], pa.float32())
    odd = table.set_column(0, "spent", huge)
    draws = np.random.default_rng(seed)
    genders = pa.array(draws.choice(np.array(["", "1:ä", "nul\0l", "ä", None], object), 400).tolist())
    odd = odd.set_column(odd.schema.get_field_index("gender"), "gender", genders)
    compile_sql(con, "crossed", model, batch)
    by_name = ", ".join(f"{name} := {name}" for name in model.schema.names)
    for rows in (table, odd):
        con.register("rows", rows)
        expected = model.predict(rows.combine_chunks().to_batches()[0])
        for sql in (
            "select scores.crossed(rows) from rows",
            f"select scores.crossed({by_name}) from rows",
            "select score from scores.crossed_table('rows')",
        ):
            given = np.array(scores(con, sql), np.float32)
            assert np.array_equal(given.view(np.uint32), expected.view(np.uint32))


def test_a_macro_that_multiplies_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows made for the purpose find it without any row of the shop."""

    def added(*arguments: Any) -> dict[str, str]:
        sources = read_from(*arguments)
        return {name: sql.replace(" * ", " + ") for name, sql in sources.items()}

    from udfs.compiling import interactions

    read_from = interactions.read_from
    monkeypatch.setattr(interactions, "read_from", added)
    with pytest.raises(ArtifactError, match="and its model differ"):
        compile_sql(duckdb.connect(), "crossed", crossed_trees())


def test_training_and_scoring_make_the_same_columns(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "insert into shop select * replace ('x' || user_id as user_id, 'nan'::double as left_hand, '' as city) "
        "from shop"
    )
    con.execute("update shop set right_hand = null, store = 'ä:1' where user_id like '%9'")
    examples = shop(con)
    pairs = (Interaction(*NUMBERS), Interaction(*CATEGORIES))
    [batch] = examples.batches()
    [wide] = with_interactions(examples, pairs).batches()

    class Reader:
        schema: FeatureSchema = widened(examples.schema, pairs)

        def margin(self, batch: pa.RecordBatch) -> pa.RecordBatch:
            return batch

    seen = CrossedModel(Reader(), pairs, examples.schema).margin(batch)  # type: ignore[arg-type]
    rows = con.execute("select left_hand, right_hand, city, store from shop order by as_of, user_id").fetchall()
    products = [None if right is None else np.float32(left) * np.float32(right) for left, right, _, _ in rows]
    texts = [None if other is None else f"{len(city)}:{city}{other}" for _, _, city, other in rows]
    for columns in (wide, seen):
        numbers = columns.column("left_hand * right_hand").to_pylist()
        assert [value is None for value in numbers] == [value is None for value in products]
        assert np.array_equal(*(np.array(values, np.float32) for values in (numbers, products)), equal_nan=True)
        assert columns.column("city * store").to_pylist() == texts


def test_no_two_pairs_of_texts_are_written_alike() -> None:
    texts = ["", "1", ":", "1:", "1:1", "ä", "11", "0:"]
    pairs = [(one, other) for one in texts for other in texts]
    assert len({crossed_text(*pair) for pair in pairs}) == len(pairs)
    assert [uncrossed_text(crossed_text(*pair)) for pair in pairs] == pairs


def test_a_contribution_of_an_interaction_goes_half_and_half_to_its_features() -> None:
    model = crossed_trees()
    batch = batch_of(model, 200, 3)
    told = model.contributions(batch)
    assert told.shape == (200, len(model.schema.features))
    assert told.sum(axis=1) + model.base_log_odds == pytest.approx(model.margin(batch).astype(float), abs=1e-5)
    inner = model.model.contributions(model.widen(batch))
    names = [*model.schema.names, "spent * visits", "city * gender", "visits * is_member"]
    of = dict(zip(names, inner.T, strict=True))
    expected = of["visits"] + of["spent * visits"] / 2 + of["visits * is_member"] / 2
    assert told[:, model.schema.names.index("visits")] == pytest.approx(expected)
    assert np.abs(of["spent * visits"]).max() > 0.05
    assert sum(model.importance().values()) == pytest.approx(1)
    assert set(model.importance()) <= set(model.schema.names)


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("mlp", {"units": 8, "epochs": 2}),
        (["xgboost", "mlp"], {"xgboost": TREES["params"], "mlp": {"units": 8, "epochs": 2}}),
    ],
)
def test_networks_and_ensembles_have_interactions_too(con: duckdb.DuckDBPyConnection, model: Any, params: Any) -> None:
    config = {"model": model, "params": params, "promote": "always", "interactions": PAIRS}
    assert predict(con, SELECT, **config, reasons=2) is None
    fitted = model_in(con)
    assert isinstance(fitted, CrossedModel)
    udfs.register(con)
    row = con.execute(
        "select count(*), max(abs(pred.score - score_test(shop))), min(len(reasons)) "
        "from pred__test as pred inner join shop using (user_id, as_of)"
    ).fetchone()
    assert row is not None
    assert (row[0], row[2]) == (300, 2)
    assert row[1] < 1e-6
    [batch] = shop(con).batches()
    told = fitted.contributions(batch).sum(axis=1) + fitted.base_log_odds
    assert told == pytest.approx(fitted.margin(batch).astype(float), abs=1e-3)
    again = unpack(pack(" + ".join(model) if isinstance(model, list) else model, fitted))
    assert np.array_equal(again.margin(batch), fitted.margin(batch))


def test_the_pairs_that_tell_most_together_are_found(con: duckdb.DuckDBPyConnection) -> None:
    assert predict(con, SELECT, **TREES, interactions=2) is None
    pairs = found(con)
    assert pairs[0][:2] == tuple(NUMBERS)
    assert pairs[1][:2] == tuple(CATEGORIES)
    assert pairs[0][2] > pairs[1][2] > 0
    assert [(pair.feature, pair.other, pair.gain) for pair in model_in(con).interactions] == pairs
    # The rows that test say nothing to the search.
    con.execute("update shop set left_hand = noise, noise = left_hand where as_of >= '2025-05-01'")
    assert predict(con, SELECT, **TREES, interactions=2) is None
    assert found(con, 2) == pairs


def test_features_of_a_named_pair_are_not_left_out_by_a_selection(con: duckdb.DuckDBPyConnection) -> None:
    select = {"method": "mutual_information", "keep": 1}
    assert predict(con, SELECT, **TREES, interactions=[NUMBERS], select=select) is None
    kept = schema_in(con)
    assert set(NUMBERS) < set(kept)
    assert len(kept) == 3
    permutation = {"method": "permutation", "keep": 4}
    assert predict(con, SELECT, **TREES, interactions=1, select=permutation, folds=1) is None
    assert predict(con, SELECT, **TREES, interactions=1, select=permutation) is None
    assert {*found(con, 2)[0][:2]} <= set(schema_in(con, 2))


def test_a_warm_start_keeps_the_pairs_of_before(con: duckdb.DuckDBPyConnection) -> None:
    config = {**TREES, "warm_start": True, "interactions": 1}
    assert predict(con, SELECT, **config) is None
    con.execute("update shop set bought = left_hand * right_hand > 0 where bought is null")
    con.execute(
        "insert into shop select * replace (as_of + interval 30 days as as_of, null as bought) from shop "
        "where as_of = (select max(as_of) from shop)"
    )
    assert predict(con, SELECT, **config) is None
    assert last_run(con)["reason"].endswith("so the warm start is taken")
    assert found(con, 2) == found(con, 1)


@pytest.mark.parametrize(
    ("interactions", "sentence"),
    [
        (0, "config interactions=0 is neither a whole number above 0 nor a list of pairs"),
        (True, "config interactions=True is neither"),
        ([["noise"]], "config interactions=[['noise']] is neither"),
        ([["noise", "noise"]], "config interactions=[['noise', 'noise']] is neither"),
        ([NUMBERS, NUMBERS[::-1]], "config interactions names right_hand and left_hand twice"),
        ([["noise", "luck"]], "interactions names luck; it takes features of the SELECT"),
        ([["noise", "city"]], "interactions names noise and city, which are number and category; a pair is"),
        ([["taste", "taste_too"]], "which are embedding and embedding; a pair is of two numbers"),
        ([["noise", "warmth"]], "the interaction 'noise * warmth' is named as a column of the SELECT"),
    ],
)
def test_an_interaction_that_cannot_be_is_refused(
    con: duckdb.DuckDBPyConnection, interactions: Any, sentence: str
) -> None:
    select = """select *, [1, 2]::float[2] as taste, [3, 4]::float[2] as taste_too, 1 as "Noise * warmth" from shop"""
    message = predict(con, select, interactions=interactions)
    assert message is not None
    assert sentence in message


@pytest.mark.parametrize(
    "content",
    [
        b"[",
        b"[]",
        b'[{"feature": "spent"}]',
        b'[{"feature": "spent", "other": "gone", "gain": null}]',
        b'[{"feature": "gone", "other": "gone too", "gain": null}]',
        b'[{"feature": "spent", "other": "city", "gain": null}]',
        b'[{"feature": "taste", "other": "taste", "gain": null}]',
    ],
)
def test_damaged_interactions_are_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError, match="train anew"):
        read_interactions(content, schema_of(FEATURES))
