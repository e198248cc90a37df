"""Every family keeps the protocol: it learns, refuses what it cannot read, and scores the same after a round trip."""

import _thread
import io
import json
import math
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import duckdb
import ibis
import numpy as np
import pyarrow as pa
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from ibis_features import ArtifactError, ConfigError, Examples, ExamplesError, read_examples, read_schema
from models_ml import network
from models_ml.encoding import matrix
from models_ml.evaluation import log_loss, roc_auc
from models_ml.importance import importances
from models_ml.reasons import reasons
from models_ml.trainer import READS_SEQUENCES, TRAINERS, FittedModel, merged_params, trainer

STATIC = """
    user_id, timestamp '2024-01-01' as as_of, label,
    case when user_id % 11 = 0 then null else signal * 100 end as spend,
    if(user_id % 13 < 3, ['nan', 'inf', '-inf'][1 + user_id % 13]::double, noise) as ratio,
    signal > 0.5 as is_member, (noise * 50)::decimal(6, 2) as price, 7 as constant, null::integer as never,
    case when user_id % 7 = 0 then null else chr(97 + (signal * 5)::int) end as city,
    if(user_id % 9 = 0, null, [signal, noise, 0])::float[3] as taste
"""
SEQUENCES = """
    list_transform(range(user_id % 9), i -> if(i % 4 = 3, null, (signal * 10 + i)::double)) as gaps,
    if(user_id % 9 = 0, null, list_transform(range(user_id % 9), i -> if(signal > 0.5, 'buy', 'view'))) as kinds
"""
FAST: dict[str, dict[str, Any]] = {
    "xgboost": {"n_estimators": 40, "max_depth": 3, "eta": 0.2, "early_stopping_rounds": 10},
    "lightgbm": {"n_estimators": 40, "learning_rate": 0.2, "early_stopping_rounds": 10},
    "random_forest": {"n_estimators": 40},
    "logistic": {"reg_lambda": 1.0},
    "mlp": {"units": 16, "epochs": 6, "learning_rate": 0.01},
    "lstm": {"units": 8, "dense_units": 16, "epochs": 4, "max_length": 20, "learning_rate": 0.02},
    "transformer": {
        **{"units": 8, "feed_forward_units": 16, "dense_units": 16, "blocks": 2, "epochs": 4, "max_length": 20},
        "learning_rate": 0.02,
    },
}
FAMILIES = sorted(TRAINERS)
NETWORKS = sorted({"mlp", *READS_SEQUENCES})
TREES = ("lightgbm", "random_forest", "xgboost")
WHOLE_NUMBER = {**dict.fromkeys(TREES, "n_estimators"), "logistic": "max_iterations"}
"""A param of a family that takes whole numbers from 1 on; of all networks it is epochs."""


@pytest.fixture(scope="module")
def fitted() -> dict[str, FittedModel]:
    return {family: _fit(family, *_parts(family)) for family in FAMILIES}


@pytest.fixture(scope="module")
def batches() -> dict[str, pa.RecordBatch]:
    return {family: _batch(_parts(family)[1]) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_learns_and_scores_are_probabilities(family: str, fitted: Any, batches: Any) -> None:
    scores = fitted[family].predict(batches[family])
    assert scores.dtype == np.float32
    assert scores.shape == (batches[family].num_rows,)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert roc_auc(_labels(batches[family]), scores) > 0.85


@pytest.mark.parametrize("family", FAMILIES)
def test_a_dumped_model_loads_and_gives_the_same_scores_and_bytes(family: str, fitted: Any, batches: Any) -> None:
    parts = fitted[family].dump()
    loaded = trainer(family).load(parts, fitted[family].schema)
    assert np.array_equal(loaded.predict(batches[family]), fitted[family].predict(batches[family]))
    assert loaded.dump() == parts


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_rows_and_seed_give_the_same_model(family: str, fitted: Any, batches: Any) -> None:
    again = _fit(family, *_parts(family))
    if family in TREES:
        assert again.dump() == fitted[family].dump()
    assert again.predict(batches[family]) == pytest.approx(fitted[family].predict(batches[family]), abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_order_in_which_rows_lie_does_not_matter(family: str, fitted: Any, batches: Any) -> None:
    con = _connection()
    con.execute(f"create table shuffled as {_select(family, 600, 0)} order by hash(user_id)")
    again = _fit(family, _examples(con, "shuffled"), _parts(family)[1])
    assert again.predict(batches[family]) == pytest.approx(fitted[family].predict(batches[family]), abs=1e-6)


@pytest.mark.parametrize("family", sorted(NETWORKS))
def test_a_network_never_runs_on_a_thread_that_python_has_not_started(
    family: str, fitted: Any, batches: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow crashes there, now and then, on threads of DuckDB's that have called it before."""
    ran, told = [], queue.Queue[Any]()
    all_logits = network._all_logits
    monkeypatch.setattr(
        network, "_all_logits", lambda *given: ran.append(threading.current_thread()) or all_logits(*given)
    )
    compiled = network._compiled
    monkeypatch.setattr(network, "_compiled", lambda net: ran.append(threading.current_thread()) or compiled(net))
    model, batch = fitted[family], batches[family]

    def foreign() -> None:
        loaded = trainer(family).load(model.dump(), model.schema)
        told.put((loaded.predict(batch), loaded.contributions(batch.slice(0, 2))))

    _thread.start_new_thread(foreign, ())
    scores, contributions = told.get(timeout=120)
    np.testing.assert_array_equal(scores, model.predict(batch))
    assert contributions.shape == (2, len(model.schema.features))
    assert len(ran) > 2
    assert not any(isinstance(thread, threading._DummyThread) for thread in ran)


@pytest.mark.parametrize("family", FAMILIES)
def test_many_threads_get_the_scores_that_one_gets(family: str, fitted: Any, batches: Any) -> None:
    model = trainer(family).load(fitted[family].dump(), fitted[family].schema)
    batch = batches[family]
    pieces = [batch.slice(start, 1 + start % 70) for start in range(0, 140, 3)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(model.predict, pieces))
    for piece, scores in zip(pieces, together, strict=True):
        assert scores == pytest.approx(fitted[family].predict(piece), abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_columns_come_in_any_order_and_an_empty_batch_gives_no_scores(family: str, fitted: Any, batches: Any) -> None:
    batch, model = batches[family], fitted[family]
    turned = batch.select(batch.schema.names[::-1])
    assert np.array_equal(model.predict(turned), model.predict(batch))
    assert model.predict(batch.slice(0, 0)).shape == (0,)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_training_never_saw_still_gets_a_score(family: str, fitted: Any, batches: Any) -> None:
    batch = batches[family].slice(0, 3)
    strange = {name: batch.column(name) for name in batch.schema.names}
    strange["constant"] = pa.array([None, math.inf, 1e30], pa.float32())
    strange["never"] = pa.array([1.0, math.nan, -1e30], pa.float32())
    strange["city"] = pa.array(["Atlantis", None, ""], pa.string())
    strange["taste"] = pa.array([[math.nan, None, 1e30], None, [1, 2, 3]], pa.list_(pa.float32()))
    if family in READS_SEQUENCES:
        strange["gaps"] = pa.array([[None, math.inf], None, list(range(300))], pa.list_(pa.float32()))
        strange["kinds"] = pa.array([["?", None], [], ["buy"] * 300], pa.list_(pa.string()))
    assert np.isfinite(fitted[family].predict(pa.RecordBatch.from_pydict(strange))).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_nan_and_infinity_are_missing_as_null_is(family: str, fitted: Any, batches: Any) -> None:
    batch = batches[family].slice(0, 4)
    place = batch.schema.get_field_index("ratio")
    absent = batch.set_column(place, "ratio", pa.array([None] * 4, pa.float32()))
    odd = batch.set_column(place, "ratio", pa.array([math.nan, math.inf, -math.inf, None], pa.float32()))
    assert np.array_equal(fitted[family].predict(odd), fitted[family].predict(absent))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("label", "kind"), [("false", "positive"), ("true", "negative")])
def test_training_rows_of_one_kind_are_refused(family: str, label: str, kind: str) -> None:
    con = _connection()
    con.execute(f"create table examples as select * replace ({label} as label) from ({_select(family, 40, 0)})")
    train = _examples(con, "examples")
    with pytest.raises(ExamplesError, match=f"no {kind} label in the training rows.*change the horizon"):
        _fit(family, train, train)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_validation_row_is_refused(family: str) -> None:
    train, validate = _parts(family)
    nothing = Examples(validate.table.filter(validate.table.user_id < 0), validate.schema)
    with pytest.raises(ExamplesError, match="no labelled validation row"):
        _fit(family, train, nothing)


@pytest.mark.parametrize("family", FAMILIES)
def test_balanced_classes_raise_the_scores_of_a_rare_label(family: str) -> None:
    con = _connection()
    rare = "select * replace (label and user_id % 4 = 0 as label) from"
    con.execute(f"create table train as {rare} ({_select(family, 600, 0)})")
    con.execute(f"create table validate as {rare} ({_select(family, 300, 1)})")
    train, validate = _examples(con, "train"), _examples(con, "validate")
    plain = _fit(family, train, validate).predict(_batch(validate)).mean()
    balanced = _fit(family, train, validate, class_weight="balanced").predict(_batch(validate)).mean()
    assert balanced > plain + 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_params_out_of_bounds_and_unknown_class_weights_are_named(family: str) -> None:
    train, validate = _parts(family)
    params = trainer(family).DEFAULT_PARAMS
    assert set(trainer(family).BOUNDS) == {name for name, value in params.items() if not isinstance(value, str)}
    name = WHOLE_NUMBER.get(family, "epochs")
    for value in (0, 2.5, "10", True, None):
        with pytest.raises(ConfigError, match=rf"params.{name}={value!r}.*a whole number from 1 to"):
            _fit(family, train, validate, params={name: value})
    with pytest.raises(ConfigError, match="unknown class_weight 'heavy'; known: balanced"):
        _fit(family, train, validate, class_weight="heavy")


@pytest.mark.parametrize("family", FAMILIES)
def test_progress_rises_from_reading_to_one(family: str) -> None:
    told: list[tuple[str, float]] = []
    train, validate = _parts(family)
    params = merged_params(family, FAST[family])
    trainer(family).fit(
        train, validate, params=params, seed=1, class_weight=None, progress=lambda step, done: told.append((step, done))
    )
    shares = [done for step, done in told if step == "training"]
    assert told[0] == ("reading", 0.0)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) > 3


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_that_do_not_fit_are_refused(family: str, fitted: Any) -> None:
    parts, schema = fitted[family].dump(), fitted[family].schema
    first, second = parts
    for damaged in (
        {},
        {first: parts[first]},
        {**parts, "more.bin": b""},
        {**parts, first: b"garbage"},
        {**parts, second: b"[]"},
        {**parts, second: parts[second][: len(parts[second]) // 2]},
    ):
        with pytest.raises(ArtifactError, match="train anew"):
            trainer(family).load(damaged, schema)
    fewer = type(schema)(schema.entity, schema.as_of, schema.label, schema.features[1:])
    with pytest.raises(ArtifactError, match="columns of the feature schema"):
        trainer(family).load(parts, fewer)


def test_early_stopping_stops_trees_and_keeps_the_best_round() -> None:
    train, validate = _noise()
    rounds = []
    for patience in (5, 10):
        model = _fit("xgboost", train, validate, params={"n_estimators": 500, "early_stopping_rounds": patience})
        rounds.append(model.booster.num_boosted_rounds())  # type: ignore[attr-defined]
    assert rounds[0] < 50
    assert rounds[0] == rounds[1]


def test_early_stopping_stops_a_network_and_keeps_the_best_weights() -> None:
    train, validate = _noise()
    batch = _batch(validate)
    told: list[float] = []
    hasty = {**FAST["mlp"], "learning_rate": 0.05}
    params = merged_params("mlp", {**hasty, "epochs": 200, "patience": 3})
    long = trainer("mlp").fit(
        train, validate, params=params, seed=5, class_weight=None, progress=lambda step, done: told.append(done)
    )
    short = _fit("mlp", train, validate, params={**hasty, "epochs": 1})
    assert len(told) < 60
    # Noise cannot be learned: more epochs make the last weights worse, the best ones never.
    assert log_loss(_labels(batch), long.predict(batch)) <= log_loss(_labels(batch), short.predict(batch)) + 1e-6


def test_trees_read_a_margin_whose_logistic_is_the_score_bit_for_bit_as_duckdb_computes_it(
    fitted: Any, batches: Any
) -> None:
    margins, scores = fitted["xgboost"].margin(batches["xgboost"]), fitted["xgboost"].predict(batches["xgboost"])
    assert margins.dtype == np.float32
    con = duckdb.connect()
    con.register("margins", pa.table({"margin": margins}))
    in_sql = con.execute("select (1.0 / (1.0 + exp(-(margin::double))))::float as score from margins").fetchnumpy()
    assert np.array_equal(in_sql["score"], scores)


def test_margins_beyond_the_range_of_exp_give_zero_and_one(fitted: Any, batches: Any, monkeypatch: Any) -> None:
    model = trainer("xgboost").load(fitted["xgboost"].dump(), fitted["xgboost"].schema)
    extreme = np.array([-1e30, -750, -710, 710, 1e30], np.float32)
    monkeypatch.setattr(model, "margin", lambda batch: extreme)
    assert model.predict(batches["xgboost"].slice(0, 5)).tolist() == [0, 0, 0, 1, 1]


def test_importance_sums_to_one_names_features_and_puts_the_signal_before_the_noise(fitted: Any) -> None:
    for family in TREES:
        shares = fitted[family].importance()
        assert sum(shares.values()) == pytest.approx(1.0)
        assert set(shares) == set(fitted[family].schema.names)
        assert shares["spend"] + shares["taste"] + shares["is_member"] + shares["city"] > 0.8
    assert all(fitted[family].importance() == {} for family in FAMILIES if family not in TREES)


@pytest.mark.parametrize("family", FAMILIES)
def test_base_and_contributions_add_up_to_the_log_odds_of_the_score(family: str, fitted: Any, batches: Any) -> None:
    model, batch = fitted[family], batches[family]
    contributions = model.contributions(batch)
    assert contributions.shape == (batch.num_rows, len(model.schema.features))
    scores = model.predict(batch).astype(np.float64)
    far_off = np.abs(model.base_log_odds + contributions.sum(axis=1) - np.log(scores / (1 - scores)))
    rounding = np.spacing(np.float32(1)) / (scores * (1 - scores))  # the score is a float32, its log-odds amplify that
    assert (far_off <= 1e-4 + rounding).all()
    assert np.abs(contributions).sum(axis=1).min() > 0
    by_feature = dict(zip(model.schema.names, np.abs(contributions).mean(axis=0), strict=True))
    assert by_feature["constant"] == 0
    assert by_feature["spend"] > by_feature["price"]
    assert model.contributions(batch.slice(0, 0)).shape == (0, len(model.schema.features))


@pytest.mark.parametrize("family", FAMILIES)
def test_contributions_do_not_depend_on_the_rows_beside_them(family: str, fitted: Any, batches: Any) -> None:
    model, batch = fitted[family], batches[family]
    turned = batch.select(batch.schema.names[::-1]).take(pa.array(np.arange(batch.num_rows)[::-1]))
    assert model.contributions(turned)[::-1] == pytest.approx(model.contributions(batch), abs=1e-4)


@pytest.mark.parametrize("depth", [1, 3, 8])
def test_contributions_of_trees_are_those_of_xgboost(depth: int, batches: Any, monkeypatch: Any) -> None:
    params = {"max_depth": depth, "min_child_weight": 0.1, "reg_lambda": 0.1, "colsample_bytree": 1.0}
    model = _fit("xgboost", *_parts("xgboost"), params=params)
    batch = batches["xgboost"]
    by_tables = model.contributions(batch)
    assert model.shap is not None
    own = model.booster.predict(xgboost.DMatrix(matrix(batch, model.columns)), pred_contribs=True)
    taste = len(model.schema.features) - 1  # the last three columns are one embedding
    assert by_tables[:, :taste] == pytest.approx(own[:, :taste], abs=1e-5)
    assert by_tables[:, taste] == pytest.approx(own[:, taste:-1].sum(axis=1), abs=1e-5)
    monkeypatch.setattr("models_ml.tree_shap.MOST_ENTRIES", 0)
    deep = trainer("xgboost").load(model.dump(), model.schema)
    assert deep.contributions(batch) == pytest.approx(by_tables, abs=1e-5)
    assert deep.shap is None


@pytest.mark.parametrize("family", NETWORKS)
def test_a_networks_middle_row_has_no_contributions(family: str, fitted: Any, batches: Any) -> None:
    model = fitted[family]
    row = {name: batches[family].column(name).slice(0, 1) for name in batches[family].schema.names}
    for number in model.encoding.numbers:
        mean = np.array(number.mean, np.float32)
        value = mean if number.role == "embedding" else float(np.sign(mean[0]) * np.expm1(np.abs(mean[0])))
        row[number.feature] = pa.array([value], row[number.feature].type)
    for category in model.encoding.categories:
        row[category.feature] = pa.array([category.vocabulary[0]])
    for sequence in model.schema.sequences:
        row[sequence.name] = pa.array([None], row[sequence.name].type)
    middle = pa.RecordBatch.from_pydict(row)
    score = float(model.predict(middle)[0])
    assert math.log(score / (1 - score)) == pytest.approx(model.base_log_odds, abs=1e-4)
    assert model.contributions(middle) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("family", NETWORKS)
def test_the_gradients_along_the_path_nearly_add_up_by_themselves(
    family: str, fitted: Any, batches: Any, monkeypatch: Any
) -> None:
    whole = fitted[family].contributions(batches[family]).sum(axis=1)
    monkeypatch.setattr("models_ml.integrated_gradients._adding_up", lambda contributions, whole: contributions)
    bare = fitted[family].contributions(batches[family])
    missing = np.abs(bare.sum(axis=1) - whole) / np.abs(bare).sum(axis=1)
    assert missing.mean() < 0.01
    assert missing.max() < (0.2 if family == "transformer" else 0.05)


def test_another_backend_tells_no_reasons_and_says_so(fitted: Any, batches: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with pytest.raises(ConfigError, match="the reasons of a network need TensorFlow"):
        reasons(fitted["mlp"], batches["mlp"], 3, {})
    assert importances(fitted["mlp"], _parts("mlp")[1], seed=1) == []


def test_a_logistic_regression_has_the_coefficients_at_which_its_loss_has_no_slope() -> None:
    model = _fit("logistic", *_noise(), params={"reg_lambda": 3.0})
    batch = _batch(_noise()[0])
    x = np.column_stack([batch.column(f"x{place}").to_numpy() for place in range(8)]).astype(np.float64)
    x = np.log1p(x)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    missed = model.predict(batch) - _labels(batch)
    assert missed.sum() == pytest.approx(0, abs=1e-3)
    assert model.numbers == pytest.approx(-(missed @ x) / 3.0, abs=1e-4)  # type: ignore[attr-defined]
    assert model.contributions(batch) == pytest.approx(x * model.numbers, abs=1e-4)  # type: ignore[attr-defined]


def test_a_category_of_a_logistic_regression_that_training_never_saw_adds_nothing_of_its_own(
    fitted: Any, batches: Any
) -> None:
    model, batch = fitted["logistic"], batches["logistic"]
    assert model.contributions(batch).mean(axis=0) == pytest.approx(0, abs=0.3)
    place = batch.schema.get_field_index("city")
    rows = batch.set_column(place, "city", pa.array(["Atlantis"] * batch.num_rows))
    (atlantis,) = np.unique(model.contributions(rows)[:, place])
    city = model.encoding.categories[0]
    seen = [model.categories[0][code] for code in range(city.codes) if code != 1]
    train = _batch(_parts("logistic")[0]).column("city").to_pylist()
    shares = [train.count(value) / len(train) for value in (None, *city.vocabulary)]
    assert atlantis == pytest.approx(-np.dot(shares, seen))


def test_a_logistic_regression_goes_on_from_what_it_was() -> None:
    train, validate = _parts("logistic")
    before = _fit("logistic", train, validate, params={"reg_lambda": 1.0})
    params = merged_params("logistic", {"reg_lambda": 1e6})
    settings = {"params": params, "seed": 5, "class_weight": None, "progress": lambda step, done: None}
    flat = trainer("logistic").fit(train, validate, **settings)
    again = trainer("logistic").fit(train, validate, **settings, start=before)
    assert np.abs(flat.coefficients[1:]).max() < 0.01
    assert again.coefficients == pytest.approx(before.coefficients, abs=0.01)


def test_trees_deeper_than_the_sql_scorer_holds_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"params\.max_depth=9 .* from 1 to 8"):
        _fit("xgboost", *_parts("xgboost"), params={"max_depth": 9})


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(READS_SEQUENCES)))
def test_sequences_are_refused_where_they_cannot_be_read(family: str) -> None:
    with pytest.raises(ConfigError, match=rf"{family} reads no sequences \(gaps, kinds\).*model='lstm' or"):
        _fit(family, *_parts("lstm"))


@pytest.mark.parametrize("family", READS_SEQUENCES)
def test_a_network_over_sequences_without_a_sequence_is_refused(family: str) -> None:
    with pytest.raises(ConfigError, match=f"{family} needs a sequence"):
        _fit(family, *_parts("mlp"))


def test_sequences_of_unequal_length_in_a_row_are_refused_in_training_and_in_scoring(fitted: Any, batches: Any) -> None:
    con = _connection()
    con.execute(f"create table examples as select * replace ([1, 2] as gaps) from ({_select('lstm', 60, 0)})")
    ragged = _examples(con, "examples")
    with pytest.raises(ExamplesError, match="'gaps' and 'kinds' differ in length"):
        _fit("lstm", ragged, ragged)
    with pytest.raises(ExamplesError, match="'gaps' and 'kinds' differ in length"):
        fitted["lstm"].predict(_batch(ragged))


@pytest.mark.parametrize("family", READS_SEQUENCES)
def test_a_network_over_sequences_reads_sequences_alone(family: str) -> None:
    con = _connection()
    columns = "user_id, as_of, label, kinds"
    con.execute(f"create table examples as select {columns} from ({_select(family, 300, 0)})")
    examples = _examples(con, "examples")
    model = _fit(family, examples, examples)
    empty, full = (
        pa.array([[], ["buy"] * 4], pa.list_(pa.string())),
        pa.array([None, ["buy"] * 4], pa.list_(pa.string())),
    )
    assert model.predict(pa.record_batch({"kinds": empty})) == pytest.approx(
        model.predict(pa.record_batch({"kinds": full}))
    )


def test_a_transformer_knows_the_order_of_the_steps(fitted: Any, batches: Any) -> None:
    steps = [(float(place), "buy" if place % 2 else "view") for place in range(8)]
    one, turned = (_with_sequences(batches["transformer"], [sequence]) for sequence in (steps, steps[::-1]))
    scores = [fitted["transformer"].predict(rows)[0] for rows in (one, turned)]
    assert abs(scores[0] - scores[1]) > 1e-4


SEQUENCE = st.lists(st.tuples(st.floats(-1e3, 1e3, width=32), st.sampled_from(["buy", "view", "new"])), max_size=25)


@pytest.mark.parametrize("family", READS_SEQUENCES)
@settings(max_examples=25, deadline=None)
@given(sequences=st.lists(SEQUENCE, min_size=1, max_size=6))
def test_padding_never_changes_a_score(family: str, fitted: Any, batches: Any, sequences: list[Any]) -> None:
    model = fitted[family]
    together = model.predict(_with_sequences(batches[family], sequences))
    for place, sequence in enumerate(sequences):
        rows = _with_sequences(batches[family].slice(place), [sequence])
        assert model.predict(rows)[0] == pytest.approx(together[place], abs=1e-6)


@pytest.mark.parametrize("family", READS_SEQUENCES)
def test_only_the_newest_steps_count(family: str) -> None:
    train, validate = _parts(family)
    model = _fit(family, train, validate, params={"max_length": 3})
    newest = [(1.0, "buy"), (2.0, "view"), (3.0, "buy")]
    batch = _batch(validate)
    short, long = _with_sequences(batch, [newest]), _with_sequences(batch, [[(9.0, "view")] * 40 + newest])
    other = _with_sequences(batch, [[(9.0, "view"), *newest[1:]]])
    assert np.array_equal(model.predict(short), model.predict(long))
    assert not np.array_equal(model.predict(short), model.predict(other))


def test_a_network_samples_more_rows_than_max_rows_by_the_seed() -> None:
    train, validate = _parts("mlp")
    sampled = [_fit("mlp", train, validate, params={"max_rows": 100, "epochs": 1}) for _ in range(2)]
    assert sampled[0].dump() == sampled[1].dump()
    whole = _fit("mlp", train, validate, params={"epochs": 1})
    encodings = [json.loads(model.dump()["network.json"])["encoding"] for model in (sampled[0], whole)]
    assert encodings[0] != encodings[1]


@pytest.mark.parametrize("family", READS_SEQUENCES)
def test_scores_at_many_batch_sizes_build_one_graph(family: str, fitted: Any, batches: Any) -> None:
    traces = []
    network = fitted[family].network
    original = type(network).call
    try:
        type(network).call = lambda *args, **named: (traces.append(1), original(*args, **named))[1]
        for size in range(1, 20):
            fitted[family].predict(batches[family].slice(0, size))
    finally:
        type(network).call = original
    assert traces == []


def test_weights_that_hold_objects_or_other_shapes_are_refused(fitted: Any) -> None:
    model = fitted["mlp"]
    parts = model.dump()
    with np.load(io.BytesIO(parts["weights.npz"])) as arrays:
        weights = {name: arrays[name] for name in arrays.files}
    first = next(iter(weights))
    for damaged in (
        {**weights, first: np.array([{"a": 1}], dtype=object)},
        {**weights, first: weights[first].T[:-1]},
        {**weights, first: weights[first].astype(np.float16)},
        {name: values for name, values in weights.items() if name != first},
    ):
        buffer = io.BytesIO()
        np.savez(buffer, **damaged)
        with pytest.raises(ArtifactError, match="train anew"):
            trainer("mlp").load({**parts, "weights.npz": buffer.getvalue()}, model.schema)


def test_settings_of_a_network_hold_no_code(fitted: Any) -> None:
    state = json.loads(fitted["lstm"].dump()["network.json"])
    assert set(state) == {"family", "params", "encoding"}
    with pytest.raises(ArtifactError, match="not a mlp"):
        trainer("mlp").load({**fitted["lstm"].dump(), "network.json": _without_length(state)}, fitted["lstm"].schema)


def _without_length(state: dict[str, Any]) -> bytes:
    params = dict(trainer("mlp").DEFAULT_PARAMS)
    return json.dumps({**state, "params": params}).encode()


def _fit(
    family: str, train: Examples, validate: Examples, *, params: dict[str, Any] | None = None, class_weight: Any = None
) -> FittedModel:
    merged = merged_params(family, {**FAST[family], **(params or {})})
    return trainer(family).fit(
        train, validate, params=merged, seed=5, class_weight=class_weight, progress=lambda step, done: None
    )


def _parts(family: str) -> tuple[Examples, Examples]:
    con = _connection()
    con.execute(f"create table train as {_select(family, 600, 0)}")
    con.execute(f"create table validate as {_select(family, 200, 1)}")
    return _examples(con, "train"), _examples(con, "validate")


def _noise() -> tuple[Examples, Examples]:
    con = _connection()
    for name, draw in (("train", 0), ("validate", 1)):
        columns = ", ".join(f"md5_number_lower(user_id || '{draw}{i}') / 2 ** 64 as x{i}" for i in range(8))
        con.execute(
            f"create table {name} as select user_id, timestamp '2024-01-01' as as_of, {columns}, "
            f"md5_number_lower(user_id || 'label{draw}') % 2 = 0 as label from range(400) as numbers(user_id)"
        )
    return _examples(con, "train"), _examples(con, "validate")


def _select(family: str, rows: int, draw: int) -> str:
    """Rows whose label follows `signal` with some noise; `draw` tells one set of rows from another."""
    columns = f"{STATIC}, {SEQUENCES}" if family in READS_SEQUENCES else STATIC
    uniform = "md5_number_lower(user_id || '{}') / 2 ** 64"
    return (
        f"select {columns} from (select user_id, {uniform.format(f'signal{draw}')} as signal, "
        f"{uniform.format(f'noise{draw}')} as noise, "
        f"signal + 0.1 * {uniform.format(f'label{draw}')} > 0.55 as label from range({rows}) as numbers(user_id))"
    )


def _connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def _examples(con: duckdb.DuckDBPyConnection, relation: str) -> Examples:
    schema = read_schema(con, relation, entity="user_id", label="label")
    return read_examples(ibis.duckdb.from_connection(con), relation, schema)


def _batch(examples: Examples) -> pa.RecordBatch:
    return next(examples.batches())


def _labels(batch: pa.RecordBatch) -> np.ndarray:
    return batch.column("__label").to_numpy(zero_copy_only=False)


def _with_sequences(batch: pa.RecordBatch, sequences: list[list[tuple[float, str]]]) -> pa.RecordBatch:
    """The first rows of the batch with these sequences of (gap, kind)."""
    columns = {name: batch.column(name).slice(0, len(sequences)) for name in batch.schema.names}
    columns["gaps"] = pa.array([[gap for gap, _ in steps] for steps in sequences], pa.list_(pa.float32()))
    columns["kinds"] = pa.array([[kind for _, kind in steps] for steps in sequences], pa.list_(pa.string()))
    return pa.RecordBatch.from_pydict(columns)
