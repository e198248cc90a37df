"""Tables that grow run by run are, cell by cell, the tables that one full refresh builds."""

import random
import shutil
from pathlib import Path

import duckdb
import pytest

from tests.conftest import DBT_PROJECT, run_dbt
from tests.growing import assert_equal_tables, at, empty_tables, make_shop, rebuilt_models, tables_of, write_shop

SETTINGS = {"history_days": 20, "near_duplicate_seconds": 60, "late_days": 3}
MODELS = ("--resource-type", "model", "--resource-type", "seed", "--exclude", "pred__*", "mart__*", "group:monitoring")
EMPTY = {"staging.contract__truth", "main.truth__user", "main.fitted__neighbours"}
"""A simulated shop has truth; no shipped feature is filled by its neighbours."""
OF_LATE_ROWS = {f"cleaning.int_users__{name}" for name in ("unsettled", "unsettled_events", "unsettled_sequences")}
"""Empty where every row is known once it has happened."""


def build(folder: Path, *arguments: str, settings: dict[str, object]) -> None:
    run = run_dbt(
        "build", *MODELS, *arguments,
        warehouse=folder / "grown.duckdb", data=folder / "shop", variables=settings,
    )  # fmt: skip
    assert run.code == 0, run.output[-3000:]


@pytest.mark.parametrize(
    ("seed", "has_loaded_at", "mode", "horizon", "empty"),
    [
        (1, True, "known", 1, set()),
        (2, False, "known", 30, OF_LATE_ROWS),
        (3, True, "occurred", 1, OF_LATE_ROWS),
    ],
)
def test_runs_day_by_day_give_the_tables_of_one_full_refresh(
    tmp_path: Path, seed: int, has_loaded_at: bool, mode: str, horizon: int, empty: set[str]
) -> None:
    settings = {**SETTINGS, "as_of_mode": mode, "horizons": [horizon]}
    shop = make_shop(seed, 60, has_loaded_at=has_loaded_at)
    rebuilt = {}
    for days in (40, 41, 48, 60, 70):
        write_shop(tmp_path / "shop", shop, at(days), random.Random(seed))
        build(tmp_path, settings=settings)
        rebuilt[days] = rebuilt_models(tmp_path / "grown.duckdb")
    assert not rebuilt[48] | rebuilt[60] | rebuilt[70], "these runs add to the tables"
    grown = tables_of(tmp_path / "grown.duckdb")
    build(tmp_path, "--full-refresh", settings=settings)
    assert_equal_tables(grown, tables_of(tmp_path / "grown.duckdb"))
    assert empty_tables(tmp_path / "grown.duckdb") == EMPTY | empty


def test_a_changed_macro_builds_anew_what_it_may_decide(tmp_path: Path) -> None:
    project = Path(shutil.copytree(DBT_PROJECT, tmp_path / "project"))
    write_shop(tmp_path / "shop", make_shop(1, 2, has_loaded_at=True), at(3), random.Random(1))

    def build_staging() -> set[str]:
        run = run_dbt(
            "run", "--select", "contract__events", "stg_events",
            warehouse=tmp_path / "grown.duckdb", data=tmp_path / "shop", project=project,
        )  # fmt: skip
        assert run.code == 0, run.output[-3000:]
        return rebuilt_models(tmp_path / "grown.duckdb")

    def change(name: str, before: str, after: str) -> None:
        macro = project / "macros" / name
        assert before in macro.read_text()
        macro.write_text(macro.read_text().replace(before, after))

    run = run_dbt("seed", warehouse=tmp_path / "grown.duckdb", data=tmp_path / "shop", project=project)
    assert run.code == 0, run.output[-3000:]
    assert build_staging() == {"stg_events"}
    change("record_manifest.sql", "'group': node.config.group", "'group': none")
    assert build_staging() == set(), "what says nothing of rows builds nothing anew"
    change("contract.sql", "nullif(trim({{ column }}::varchar), '')", "nullif(upper({{ column }}::varchar), '')")
    assert build_staging() == {"stg_events"}
    with duckdb.connect(str(tmp_path / "grown.duckdb"), read_only=True) as con:
        assert con.execute("select bool_and(user_id[1] = 'U') from staging.stg_events").fetchone() == (True,)
