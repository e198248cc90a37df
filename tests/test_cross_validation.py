"""Rolling-origin cross-validation: the folds, their figures, and that nothing else changes."""

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibis_features import ExamplesError, purged_split, rolling_splits
from tests.conftest import Shop
from tests.predicting import fixed, predict, state_of

FIRST = datetime(2025, 1, 1)
RFM = ["heat", "noise"]


@settings(deadline=None)
@given(
    days=st.sets(st.integers(0, 200), min_size=1),
    horizon_days=st.integers(1, 30),
    validate_snapshots=st.integers(1, 3),
    test_snapshots=st.integers(1, 3),
    folds=st.integers(1, 4),
)
def test_no_window_of_a_fold_reaches_into_a_later_part_or_into_the_test_of_the_next_fold(
    days: set[int], horizon_days: int, validate_snapshots: int, test_snapshots: int, folds: int
) -> None:
    labelled = [FIRST + timedelta(days=day) for day in days]
    horizon = timedelta(days=horizon_days)
    sizes = {"validate_snapshots": validate_snapshots, "test_snapshots": test_snapshots}
    try:
        splits = rolling_splits(labelled, horizon_days=horizon_days, folds=folds, **sizes)
    except ExamplesError:
        return
    assert len(splits) == folds
    assert splits[-1] == purged_split(labelled, horizon_days=horizon_days, **sizes)
    for split in splits:
        assert max(split.train) + horizon <= min(split.validate)
        assert max(split.validate) + horizon <= min(split.test)
    for older, newer in pairwise(splits):
        assert max(older.test) + horizon <= min(newer.test)
        assert set(older.train) <= set(newer.train)


def test_too_many_folds_are_refused_with_how_many_there_are() -> None:
    labelled = [FIRST + timedelta(days=30 * place) for place in range(5)]
    assert [len(split.train) for split in rolling_splits(labelled, horizon_days=30, folds=3)] == [1, 2, 3]
    with pytest.raises(ExamplesError, match="long enough for 3 of 4 folds"):
        rolling_splits(labelled, horizon_days=30, folds=4)


def test_an_older_fold_is_what_a_build_of_that_time_would_have_measured(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    assert predict(con, select, folds=3, rfm=RFM) is None
    newest = con.execute("select max(as_of) from fixed where bought is not null").fetchone()[0]
    for fold, age in ((3, 0), (2, 1), (1, 2)):
        ended = newest - timedelta(days=30 * age)
        predict(con, f"select * replace (if(as_of <= '{ended}', bought, null) as bought) from fixed", rfm=RFM)
        version = 4 - fold
        assert con.execute(
            "select count(*) from foretable.metrics where version = ? and split = 'test'", [version]
        ).fetchone() == (42,)
        differing = con.execute(
            """
            from (select scored_by, metric, value, lower, upper, row_count from foretable.metrics
                where version = $version and split = 'test')
            except
            select scored_by, metric, value, lower, upper, row_count from foretable.cross_validation where fold = $fold
            """,
            {"version": version, "fold": fold},
        ).fetchall()
        assert differing == []


def test_a_cross_validation_changes_nothing_else(con: duckdb.DuckDBPyConnection) -> None:
    select = fixed(con)
    assert predict(con, select) is None
    before = state_of(con)
    assert predict(con, select, folds=2, seed=8) is None
    assert state_of(con) == before
    assert con.execute("from duckdb_tables() where table_name like '%building'").fetchall() == []
    assert con.execute("select distinct fold, fold_count from foretable.cross_validation order by all").fetchall() == [
        (1, 2),
        (2, 2),
    ]


@pytest.mark.parametrize(
    ("folds", "sentence"),
    [(9, "long enough for 3 of 9 folds"), (0, "folds=0 in --vars is not a whole number above 0")],
)
def test_folds_that_cannot_be_are_refused(con: duckdb.DuckDBPyConnection, folds: int, sentence: str) -> None:
    message = predict(con, fixed(con), folds=folds)
    assert message is not None
    assert sentence in message
    assert con.execute("select count(*) from foretable.cross_validation").fetchone() == (0,)


def test_the_command_shows_each_fold_and_how_far_they_differ(tiny_shop: Shop, tmp_path: Path) -> None:
    warehouse = Path(shutil.copy(tiny_shop.warehouse, tmp_path / "copied.duckdb"))

    def foretable(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "foretable", *arguments, "--warehouse", str(warehouse)],
            capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "COLUMNS": "200"},
        )  # fmt: skip

    refused = foretable("cross-validate", "purchase_30d")
    assert "was not built yet by `foretable build`; build it once, then cross-validate" in refused.stderr
    kept = tmp_path / ".foretable" / "copied" / "build.json"
    kept.parent.mkdir(parents=True)
    order: dict[str, Any] = {"source": "contract", "data": str(tiny_shop.data), "project": "packaged", "vars": {}}
    kept.write_text(json.dumps(order), encoding="utf-8")
    with duckdb.connect(str(warehouse)) as con:
        before = con.execute("from foretable.versions order by all").fetchall()
    done = foretable("cross-validate", "purchase_30d", "--folds", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "purchase_30d in 2 folds" in done.stdout
    with duckdb.connect(str(warehouse)) as con:
        assert con.execute("from foretable.versions order by all").fetchall() == before
        newest, rfm, mean, deviation = con.execute(
            """
            select
                max_by(value, fold) filter (scored_by = 'model'), max_by(value, fold) filter (scored_by = 'rfm'),
                avg(value) filter (scored_by = 'model'), stddev_samp(value) filter (scored_by = 'model')
            from foretable.cross_validation
            where metric = 'roc_auc'
            """
        ).fetchone()
        [registered] = con.execute(
            "select value from foretable.metrics where prediction = 'purchase_30d' and split = 'test' "
            "and scored_by = 'model' and metric = 'roc_auc'"
        ).fetchone()
    assert newest == registered
    rows = [line.split() for line in done.stdout.splitlines()]
    [fold] = [row for row in rows if row[:1] == ["2"]]
    assert f"{newest:.3f}" in fold
    assert f"{rfm:.3f}" in fold
    [auc] = [row for row in rows if row[:1] == ["roc_auc"]]
    assert auc[1:3] == [f"{mean:.4f}", f"{deviation:.4f}"]
