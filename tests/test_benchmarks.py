"""What the benchmarks compare is the same on both sides, and a difference is seen. No test here looks at a clock."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from benchmarks import feast_comparison, featuretools_comparison, lookup, pandas_comparison, scaling, sql_scoring
from benchmarks.event_log import DAYS, FIRST_DAY, last_file, write_log
from benchmarks.incremental import all_but_the_last_day, content
from benchmarks.pandas_comparison import Compared, Shop, asked_for
from benchmarks.processes import PEERS, run
from tests.conftest import ROOT

EVENTS = 4_000


@pytest.fixture(scope="session")
def small_shop(session_once: Callable[[str, Callable[[Path], None]], Path]) -> Shop:
    """A log that is staged and built, with the tables of both styles of pandas checked. Copy it before writing."""

    def make(folder: Path) -> None:
        shop = pandas_comparison.staged(folder, events=EVENTS)
        compared = pandas_comparison.compare(shop, Path(sys.executable), repeat=1)
        (folder / "compared.json").write_text(json.dumps(vars(compared)))

    folder = session_once("benchmarked_shop", make)
    staging = pandas_comparison.Run(0, 0, 0, {}, 0, folder / "target")
    return Shop(folder, EVENTS, folder / "log", folder / "ours.duckdb", staging)


@pytest.fixture(scope="module")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log"), events=EVENTS)


@pytest.fixture(scope="module")
def log(log_folder: Path) -> duckdb.DuckDBPyRelation:
    con = duckdb.connect()
    return con.sql(f"from read_parquet('{log_folder}/events/*.parquet', filename = true, file_row_number = true)")


def test_a_log_holds_redeliveries_second_clicks_and_late_rows(log: duckdb.DuckDBPyRelation) -> None:
    found = log.query(
        "log",
        """
        select
            count(*) between 3500 and 4500,
            count(*) - count(distinct event_id) between 10 and 80,
            count(*) filter (where loaded_at > occurred_at + interval 1 day) between 20 and 160,
            count(*) filter (where loaded_at < occurred_at)
        from log
        """,
    ).fetchone()
    assert found == (True, True, True, 0)


def test_a_redelivery_is_alike_but_for_when_it_was_loaded(log: duckdb.DuckDBPyRelation) -> None:
    kinds = log.query(
        "log",
        """
        select count(distinct md5(copies::varchar)) as kinds
        from (select * exclude (loaded_at, filename, file_row_number) from log) as copies
        group by event_id
        having count(*) > 1
        """,
    ).fetchall()
    assert set(kinds) == {(1,)}


def test_rows_are_in_the_order_they_were_loaded(log: duckdb.DuckDBPyRelation) -> None:
    in_order = log.query("log", "select loaded_at from log order by filename, file_row_number").fetchall()
    assert in_order == sorted(in_order)


def test_the_last_file_holds_what_was_loaded_on_the_last_day(log: duckdb.DuckDBPyRelation, log_folder: Path) -> None:
    spans = log.query(
        "log", "select filename, min(loaded_at), max(loaded_at) from log group by filename order by filename"
    ).fetchall()
    last_midnight = log.query("log", f"select date '{FIRST_DAY}' + {DAYS - 1}").fetchone()[0]
    assert spans[-1][0] == str(last_file(log_folder))
    assert spans[-1][1].date() == spans[-1][2].date() == last_midnight
    assert spans[-2][2].date() < last_midnight


def test_the_same_seed_gives_the_same_log_and_another_seed_another(tmp_path: Path) -> None:
    def rows(name: str, seed: int) -> list[tuple]:
        folder = write_log(tmp_path / name, events=300, seed=seed)
        return duckdb.sql(f"from read_parquet('{folder}/events/*.parquet')").fetchall()

    assert rows("once", 1) == rows("again", 1)
    assert rows("once", 1) != rows("other", 2)


def test_a_log_of_one_time_has_no_loaded_at(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", events=300, two_times=False)
    assert "loaded_at" not in duckdb.sql(f"from read_parquet('{folder}/events/*.parquet')").columns


def test_both_styles_of_pandas_equal_ours_in_every_cell(small_shop: Shop) -> None:
    compared = json.loads((small_shop.folder / "compared.json").read_text())
    assert compared["differing"] == {}
    assert set(compared["theirs"]) == {"plain", "tuned"}
    assert compared["cells"] > 100_000


def test_pandas_is_asked_for_every_window_and_type_that_our_models_count(small_shop: Shop) -> None:
    with duckdb.connect(str(small_shop.warehouse), read_only=True) as con:
        ours = pandas_comparison.columns_of(con, "int_users__activity")
        windows, event_types = asked_for(ours)
        theirs = con.sql(f"describe from read_parquet('{small_shop.folder}/pandas/activity/*.parquet')").fetchall()
    assert len(windows) >= 4
    assert {"view", "cart", "purchase"} <= set(event_types)
    counted = {f"{kind}_count_{days}d" for kind in (*event_types, "event", "active_day") for days in windows}
    assert counted <= {name for name, *_ in theirs} & set(ours)


def written_out(shop: Shop, folder: Path) -> Path:
    """A copy of the warehouse in which the view of sequences is a table, so that a cell of it can be changed."""
    warehouse = folder / "ours.duckdb"
    warehouse.write_bytes(shop.warehouse.read_bytes())
    with duckdb.connect(str(warehouse)) as con:
        con.execute("create table written as from sequences__user; drop view sequences__user")
        con.execute("alter table written rename to sequences__user")
    return warehouse


@pytest.mark.parametrize(
    ("model", "change", "column"),
    [
        ("cleaning.int_users__activity", "view_count_7d = view_count_7d + 1", "view_count_7d"),
        ("cleaning.int_users__activity", "purchase_value_lifetime = purchase_value_lifetime + 0.01", "purchase_value_"),
        ("cleaning.int_users__activity", "recency_days = null", "recency_days"),
        ("sequences__user", "item_ids = list_reverse(item_ids)", "item_ids"),
        ("sequences__user", "gaps_seconds = list_append(gaps_seconds, 1)", "gaps_seconds"),
    ],
)
def test_a_cell_that_differs_is_counted(small_shop: Shop, tmp_path: Path, model: str, change: str, column: str) -> None:
    warehouse = written_out(small_shop, tmp_path)
    with duckdb.connect(str(warehouse)) as con:
        con.execute(f"update {model} set {change} where rowid = (select max(rowid) from {model})")
    compared = Compared()
    pandas_comparison.hold_beside(replace(small_shop, warehouse=warehouse), "tuned", compared)
    assert [(key.split(".")[1].startswith(column), count) for key, count in compared.differing.items()] == [(True, 1)]


def test_a_row_that_is_missing_on_one_side_is_counted(small_shop: Shop, tmp_path: Path) -> None:
    warehouse = written_out(small_shop, tmp_path)
    with duckdb.connect(str(warehouse)) as con:
        con.execute("delete from sequences__user where rowid = (select max(rowid) from sequences__user)")
    compared = Compared()
    pandas_comparison.hold_beside(replace(small_shop, warehouse=warehouse), "tuned", compared)
    assert compared.differing["tuned sequences__user rows"] == 1


def test_the_exponent_is_one_where_time_grows_as_the_log_does() -> None:
    assert scaling.exponent({1_000_000: 2.0, 10_000_000: 20.0, 30_000_000: 60.0}) == pytest.approx(1)
    assert scaling.exponent({10: 1.0, 100: 100.0}) == pytest.approx(2)


def test_the_log_without_its_last_day_lacks_the_last_file_alone(log_folder: Path, tmp_path: Path) -> None:
    daily = all_but_the_last_day(log_folder, tmp_path / "daily")
    left, whole = ({file.name for file in (folder / "events").iterdir()} for folder in (daily, log_folder))
    assert whole - left == {last_file(log_folder).name}
    assert (daily / "items.parquet").exists()


def test_the_content_of_a_table_tells_one_changed_cell_and_not_the_order(tmp_path: Path) -> None:
    for name, rows in {
        "once": "range(5)",
        "shuffled": "(from range(5) order by 1 desc)",
        "other": "range(1, 6)",
    }.items():
        (tmp_path / name).mkdir()
        with duckdb.connect(str(tmp_path / name / "ours.duckdb")) as con:
            con.execute(f"create table features__user as from {rows}")
    once, shuffled, other = (content(tmp_path / name, "features__user") for name in ("once", "shuffled", "other"))
    assert once == shuffled
    assert once != other


def test_macros_that_score_as_their_models_do_differ_in_no_row_and_a_changed_leaf_is_counted() -> None:
    models = {
        "deep": {"model": "xgboost", "params": {"n_estimators": 3, "max_depth": 2}},
        "network": {"model": "mlp", "params": {"epochs": 1, "units": 2, "layers": 1}},
    }
    with duckdb.connect() as con:
        fitted = sql_scoring.prepare(con, models, rows=50, train_rows=400)
        assert sql_scoring.differing_rows(con, fitted) == 0
        con.execute("update scores_models.trees__deep set leaves = list_transform(leaves, lambda leaf: leaf + 1)")
        assert sql_scoring.differing_rows(con, fitted) == 2 * 50  # by the scalar macro and by the table macro


def peer(name: str) -> Path:
    python = PEERS / name / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is not there; `python -m benchmarks.features --only {name}` makes it")
    return python


@pytest.mark.slow
def test_our_join_equals_that_of_feast(small_shop: Shop, tmp_path: Path) -> None:
    python = peer("feast")
    (tmp_path / "ours.duckdb").write_bytes(small_shop.warehouse.read_bytes())
    shop = replace(small_shop, folder=tmp_path, warehouse=tmp_path / "ours.duckdb")
    compared = feast_comparison.compare(shop, python, rows=[1, 200], repeat=1)
    assert compared.differing == {1: 0, 200: 0}
    assert all(seconds > 0 for by_rows in compared.cpu.values() for seconds in by_rows.values())


def test_our_turn_of_the_lookups_times_each_call_and_checks_each_answer(tmp_path: Path) -> None:
    warehouse = tmp_path / "warehouse.duckdb"
    columns = lookup.written(warehouse, tmp_path / "features.parquet", users=300, their_users=50)
    with duckdb.connect(str(warehouse)) as con:
        con.execute("create table online__user as from features__user")
    asked = {"one": [["user-7"], ["user-299"]], "hundred": [[f"user-{n}" for n in range(100)]]}
    task = {"store": str(warehouse), "columns": columns, "asked": asked}
    (tmp_path / "task.json").write_text(json.dumps(task))
    laps = command("lookup_turn", str(tmp_path / "task.json"), folder=tmp_path)
    assert {name: len(each) for name, each in laps.items()} == {"one": 2, "hundred": 1}
    assert all(0 < seconds < 60 and worked >= 0 for each in laps.values() for seconds, worked in each)
    with duckdb.connect(str(warehouse)) as con:
        con.execute("update online__user set count_0 = 8 where user_id = 'user-7'")
    with pytest.raises(SystemExit, match="wrong answer for user-7"):
        command("lookup_turn", str(tmp_path / "task.json"), folder=tmp_path)


@pytest.mark.slow
def test_our_counts_and_sums_equal_those_of_featuretools(tmp_path: Path) -> None:
    compared = featuretools_comparison.compare(tmp_path, peer("featuretools"), events=2_000, repeat=1)
    assert compared.cells > 1_000
    assert compared.differing == {}


def command(name: str, *arguments: str, folder: Path) -> dict:
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments], folder=folder, environment=environment
    ).figures()


@pytest.mark.slow
def test_scaling_prints_its_figures(tmp_path: Path) -> None:
    figures = command("scaling", "--sizes", "2000", "4000", folder=tmp_path)
    assert set(figures["seconds"]) == {"2000", "4000"}
    assert isinstance(figures["exponent"], float)
    assert 0.05 < figures["peak_gb"] < 8


@pytest.mark.slow
def test_incremental_prints_its_figures_and_both_ways_end_in_the_same_tables(tmp_path: Path) -> None:
    figures = command("incremental", "--events", "3000", folder=tmp_path)
    assert figures["differing"] == []
    assert figures["share_of_full"] > 0


def test_a_command_that_fails_ends_the_benchmark_with_what_it_printed(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="out of paper"):
        run([sys.executable, "-c", "raise SystemExit('out of paper')"], folder=tmp_path)


@pytest.mark.slow
def test_rebuild_prints_its_figures_and_the_second_build_trains_nothing(tmp_path: Path) -> None:
    figures = command("rebuild", "--users", "150", "--predictions", "2", folder=tmp_path)
    assert 0 < figures["share_of_first"] < 1
    assert figures["predictions"] == 2
    assert figures["reasons"] == ["nothing changed"]
    assert figures["scored_rows"] > 100


@pytest.mark.slow
def test_scoring_prints_its_figures(tmp_path: Path) -> None:
    figures = command("scoring", "--rows", "5000", "--repeat", "1", folder=tmp_path)
    ratios = [figures[f"{side}_over_native{which}"] for side in ("udf", "build") for which in ("", "_shallow")]
    assert all(ratio > 0 for ratio in [*ratios, figures["network_over_predict"]])
    assert {turn["rows_a_second"] > 0 and turn["peak_gb"] < 8 for turn in figures["turns"].values()} == {True}
