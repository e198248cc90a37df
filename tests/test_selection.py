"""Feature selection: what each method keeps and why, and that the version reads nothing else."""

import json
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

import udfs
from models_ml.association import chi_square, mutual_information, rank_correlations, value_codes
from tests.predicting import fixed, last_run, predict, version_count

WIDER = "select *, heat * 2 + noise / 1e3 as warmth, random() as dice, 7.0 as constant from fixed"


@pytest.fixture
def con(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    con.execute(f"create table wider as {WIDER}" if fixed(con) else "")
    return con


def verdicts(con: duckdb.DuckDBPyConnection, version: int = 1) -> dict[tuple[int, str], tuple[float, bool, str]]:
    rows = con.execute(
        "select step, feature, score, is_kept, reason from foretable.feature_selection where version = ?", [version]
    ).fetchall()
    return {(step, feature): (score, is_kept, reason) for step, feature, score, is_kept, reason in rows}


def features(con: duckdb.DuckDBPyConnection, version: int = 1) -> list[str]:
    row = con.execute("select feature_schema from foretable.models where version = ?", [version]).fetchone()
    return [feature["name"] for feature in json.loads(row[0])["features"]]


@pytest.mark.parametrize("method", ["mutual_information", "chi_square", "permutation", "recursive"])
def test_each_method_keeps_what_tells_of_the_label_and_leaves_noise_out(
    con: duckdb.DuckDBPyConnection, method: str
) -> None:
    select = "select * exclude (warmth) from wider"
    assert predict(con, select, select={"method": method, "keep": 1}) is None
    assert features(con) == ["heat"]
    found = verdicts(con)
    assert {feature for _, feature in found} == {"heat", "noise", "kind", "dice", "constant"}
    assert [feature for (_, feature), (_, is_kept, _) in found.items() if is_kept] == ["heat"]
    scores = {feature: score for (_, feature), (score, _, _) in found.items()}
    assert scores["constant"] == 0.0


def test_of_two_columns_that_correlate_the_one_that_tells_more_stays_and_the_reason_names_it(
    con: duckdb.DuckDBPyConnection,
) -> None:
    assert predict(con, "from wider", select={"method": "correlation"}) is None
    found = verdicts(con)
    [gone] = [feature for (_, feature), (_, is_kept, _) in found.items() if not is_kept]
    assert gone in {"heat", "warmth"}
    [stays] = {"heat", "warmth"} - {gone}
    heat, warmth = con.execute("select list(heat), list(warmth) from wider where as_of < '2025-04-01'").fetchone()
    expected = stats.spearmanr(heat, warmth).statistic
    assert found[1, gone] == (pytest.approx(expected), False, f"correlates {expected:.2f} with {stays}")
    assert (1, "kind") not in found
    assert features(con) == [name for name in ["heat", "noise", "kind", "warmth", "dice", "constant"] if name != gone]


def test_steps_follow_one_another(con: duckdb.DuckDBPyConnection) -> None:
    steps = [{"method": "correlation", "above": 0.9}, {"method": "mutual_information", "keep": 2}]
    assert predict(con, "from wider", select=steps) is None
    found = verdicts(con)
    [gone] = [feature for (step, feature), (_, is_kept, _) in found.items() if step == 1 and not is_kept]
    assert {feature for step, feature in found if step == 2} == {
        "heat",
        "warmth",
        "noise",
        "kind",
        "dice",
        "constant",
    } - {gone}
    assert len(features(con)) == 2


def test_nothing_but_the_training_rows_decides(con: duckdb.DuckDBPyConnection) -> None:
    config: dict[str, Any] = {"select": {"method": "mutual_information", "keep": 2}, "promote": "always"}
    assert predict(con, "from wider", **config) is None
    con.execute("update wider set heat = random(), dice = bought::int where as_of >= '2025-04-01'")
    assert predict(con, "from wider", **config, leak_check=False) is None
    assert version_count(con) == 2
    assert verdicts(con, 1) == verdicts(con, 2)


def test_the_macro_and_the_function_do_not_ask_for_what_was_left_out(con: duckdb.DuckDBPyConnection) -> None:
    select = "select * from wider"
    assert predict(con, select, select={"method": "chi_square", "keep": 2}) is None
    kept = ", ".join(features(con))
    udfs.register(con)
    assert con.execute(
        f"""
        select count(*), bool_and(pred.score = score_test(examples) and pred.score = scores.test(examples))
        from pred__test as pred
        inner join (select user_id, as_of, {kept} from wider) as examples using (user_id, as_of)
        """
    ).fetchone() == (120, True)
    assert predict(con, select, select={"method": "chi_square", "keep": 2}) is None
    assert last_run(con)["reason"] == "nothing changed"
    con.execute("update wider set heat = 3 where bought is null")
    assert predict(con, select, select={"method": "chi_square", "keep": 2}) is None
    assert (version_count(con), last_run(con)["is_scored"]) == (1, True)


def test_a_column_that_the_serving_version_does_not_read_may_come_and_go(con: duckdb.DuckDBPyConnection) -> None:
    assert predict(con, "from wider", select={"method": "chi_square", "keep": 2}) is None
    read = features(con)
    gone = next(name for name in ["dice", "constant", "noise"] if name not in read)
    assert predict(con, f"select * exclude ({gone}), 1 as other from wider", train="never") is None
    message = predict(con, f"select * exclude ({read[0]}) from wider", train="never")
    assert message is not None
    assert f"without {read[0]}" in message


def test_baselines_read_what_was_left_out(con: duckdb.DuckDBPyConnection) -> None:
    assert predict(con, "from wider", select={"method": "chi_square", "keep": 1}, rfm=["dice", "noise"]) is None
    assert not {"dice", "noise"} & set(features(con))
    assert con.execute(
        "select count(*) from foretable.metrics where scored_by = 'rfm' and split = 'test'"
    ).fetchone() == (10,)


@pytest.mark.parametrize(
    ("select", "sentence"),
    [
        ("best", "config select='best' is neither a mapping nor a list of mappings"),
        ({"keep": 3}, "config select={'keep': 3} is neither a mapping nor a list of mappings"),
        ({"method": "anova", "keep": 3}, "unknown select method 'anova'; known: mutual_information, chi_square"),
        ({"method": "chi_square"}, "select method 'chi_square': keep=None is not a whole number above 0"),
        ({"method": "chi_square", "keep": 0}, "keep=0 is not a whole number above 0"),
        ({"method": "correlation", "keep": 3}, "select method 'correlation' takes above, not keep"),
        ([{"method": "correlation", "above": 2}], "above=2 is not a number between 0 and 1"),
    ],
)
def test_a_selection_that_cannot_be_is_refused(con: duckdb.DuckDBPyConnection, select: Any, sentence: str) -> None:
    message = predict(con, "from wider", select=select)
    assert message is not None
    assert sentence in message


# The measures


def test_the_measures_are_those_of_scipy() -> None:
    draws = np.random.default_rng(3)
    codes, labels = draws.integers(0, 6, 500), draws.integers(0, 2, 500).astype(np.float32)
    labels[codes == 4] = 1
    table = [[int(((codes == code) & (labels == label)).sum()) for label in (0, 1)] for code in range(6)]
    assert chi_square(codes, labels) == pytest.approx(stats.chi2_contingency(table, correction=False).statistic)
    joint = np.array(table) / 500
    expected = stats.entropy(joint.ravel(), np.outer(joint.sum(1), joint.sum(0)).ravel())
    assert mutual_information(codes, labels) == pytest.approx(expected)
    columns = draws.integers(0, 9, (500, 3)).astype(np.float32)
    assert rank_correlations(columns) == pytest.approx(stats.spearmanr(columns).statistic)


def test_missing_values_have_a_code_of_their_own_and_rare_values_share_one() -> None:
    numbers = pa.array([1.0, None, 2.0, float("nan"), 3.0, float("inf")], pa.float32())
    codes = value_codes(pa.array(numbers.to_numpy(zero_copy_only=False), pa.float32()))
    assert len({codes[1], codes[3], codes[5]}) == 1
    assert codes[1] not in {codes[0], codes[2], codes[4]}
    texts = pa.array([None, None, *(f"v{number}" for number in range(80)), "v0", "v0", "v0"])
    coded = value_codes(texts)
    assert coded[0] == coded[1] != coded[2]
    assert coded[2] == coded[-1]
    assert len(set(coded)) == 51
