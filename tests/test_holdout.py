"""Entities that are held out: who they are, that nothing is learned from them, and that they are judged apart."""

from hashlib import md5

import duckdb
import pytest

from foretable.reporting.facts import read_facts
from foretable.reporting.pages import render_report
from tests.predicting import fixed, predict


def held_out(seed: int, share: float) -> list[str]:
    """Worked out by Python: the first 32 bits of the hash, as a share of all that there are."""
    users = [f"u{number}" for number in range(120)]
    return [user for user in users if int(md5(f"holdout-{seed}-{user}".encode()).hexdigest()[:8], 16) / 2**32 < share]


def sha256s(con: duckdb.DuckDBPyConnection) -> list[str]:
    return [row[0] for row in con.execute("select artifact_sha256 from foretable.models order by version").fetchall()]


def test_held_out_entities_are_judged_apart_and_are_in_no_other_part(con: duckdb.DuckDBPyConnection) -> None:
    unseen = len(held_out(7, 0.3))
    assert 20 < unseen < 52
    assert predict(con, fixed(con), holdout=0.3) is None
    rows = con.execute("select train_rows, validate_rows, test_rows from foretable.models").fetchone()
    assert rows == (3 * (120 - unseen), 120 - unseen, 120 - unseen)
    judged = con.execute(
        "select split, row_count from foretable.metrics where scored_by = 'model' and metric = 'roc_auc' order by split"
    ).fetchall()
    assert judged == [("holdout", unseen), ("test", 120 - unseen), ("validate", 120 - unseen)]
    baselines = con.execute("select distinct scored_by from foretable.metrics where split = 'holdout' order by all")
    assert [row[0] for row in baselines.fetchall()] == ["above_base_rate", "base_rate", "model", "uncalibrated"]
    assert con.execute("select count(*) from pred__test").fetchone() == (120,), "all are scored"


def test_the_report_shows_them_beside_the_others(con: duckdb.DuckDBPyConnection) -> None:
    assert predict(con, fixed(con), holdout=0.3, rfm=["noise", "heat"], promote="always") is None
    page = render_report(read_facts(con, "test"))
    shown = page.index("Entities held out of the training, at the test snapshots")
    assert page.index("Test snapshots, which no model has seen") < shown
    [auc] = con.execute(
        "select value from foretable.metrics where split = 'holdout' and scored_by = 'rfm' and metric = 'roc_auc'"
    ).fetchone()
    assert f"{auc:.3f}" in page[shown:]
    assert "recency, frequency and money" in page
    assert "n_estimators 20" in page


def test_nothing_is_learned_from_them(con: duckdb.DuckDBPyConnection) -> None:
    select, unseen = fixed(con), held_out(7, 0.3)
    assert predict(con, select, holdout=0.3) is None
    con.execute("update fixed set bought = not bought, heat = -heat where user_id in ?", [unseen])
    assert predict(con, select, holdout=0.3) is None
    first, second = sha256s(con)
    assert first == second
    con.execute("update fixed set bought = not bought where user_id not in ? and user_id < 'u5'", [unseen])
    assert predict(con, select, holdout=0.3, promote="always") is None
    assert sha256s(con)[2] != first


def test_another_seed_holds_out_others(con: duckdb.DuckDBPyConnection) -> None:
    assert predict(con, fixed(con), holdout=0.3, seed=8) is None
    [count] = con.execute("select test_rows from foretable.models").fetchone()
    assert 120 - count == len(held_out(8, 0.3))
    assert set(held_out(8, 0.3)) != set(held_out(7, 0.3))


@pytest.mark.parametrize(
    ("holdout", "sentence"),
    [
        (1.0, "config holdout=1.0 is not a share between 0 and 1"),
        ("0.1", "config holdout='0.1' is not a share between 0 and 1"),
        (1e-9, "holdout=1e-09 leaves no entity with a labelled row at the test snapshots; hold out more"),
    ],
)
def test_a_share_that_cannot_be_is_refused(con: duckdb.DuckDBPyConnection, holdout: object, sentence: str) -> None:
    message = predict(con, fixed(con), holdout=holdout)
    assert message is not None
    assert sentence in message
