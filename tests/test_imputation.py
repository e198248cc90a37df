"""Filling, capping and scaling: every method does what its name says, and what it fits ends before the cut."""

import json
import math
import shutil
import statistics
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.conftest import DBT_PROJECT, SERVING, DbtRun, Shop, run_dbt
from tests.pipeline import Pipeline, event

NEWEST = datetime(2025, 5, 1)
SETTINGS = {
    "history_days": 3, "snapshot_every": "10 days", "snapshot_anchor": str(NEWEST), "newest_as_of": str(NEWEST),
    "horizons": [30],
}  # fmt: skip
GRID = [NEWEST - timedelta(days=10 * place) for place in reversed(range(11)) if place]
"""Ten snapshots, ten days apart; the newest, NEWEST, lies on the grid as well."""
TRAINING = GRID[:2]
BLOCK = {
    "imputation": {
        "plain": {"method": "constant", "value": -1.5},
        "word": {"method": "constant", "value": "it's none"},
        "typical": "mean",
        "middle": "median",
        "by_region": {"method": "median", "by": "region"},
        "carried": {"method": "carry_forward", "else": "median"},
        "line": {"method": "interpolate", "else": {"method": "constant", "value": 0}},
        "alike": {"method": "knn", "near": ["near_a", "near_b"], "k": 2, "sample": 50},
    },
    "capping": {"outlier": [0.1, 0.9], "capped_first": [0.0, 0.5]},
    "scaling": {"standard": "standard", "ranged": "min_max", "robust": "robust", "capped_first": "min_max"},
}
NUMBERS = [
    "plain", "typical", "middle", "by_region", "carried", "line", "alike", "near_a", "near_b", "outlier",
    "capped_first", "standard", "ranged", "robust",
]  # fmt: skip
Row = dict[str, Any]


def rows_of_measured() -> list[Row]:
    """Five users at each snapshot; what a test needs stands in the last of them or in the columns of its method."""
    rows = []
    for place, as_of in enumerate([*GRID, NEWEST]):
        for number in range(5):
            value = float(number + 10 * place)
            rows.append(
                {
                    "user_id": f"u{number}", "region": "north" if number < 3 else "south",
                    "word": "known", **dict.fromkeys(NUMBERS, value), "as_of": as_of,
                }
            )  # fmt: skip
    newest = {row["user_id"]: row for row in rows if row["as_of"] == NEWEST}
    newest["u0"] |= dict.fromkeys(["plain", "typical", "middle", "by_region", "carried", "line", "alike", "word"])
    newest["u0"] |= {"near_a": 11.4, "near_b": 11.4}
    newest["u4"] |= {"by_region": None, "region": None}
    newest["u3"] |= {"by_region": None}
    for row in rows:
        if row["user_id"] == "u0" and row["as_of"] == GRID[-1]:
            row |= {"carried": None, "line": None}
        if row["user_id"] == "u1":
            row |= {"carried": None, "line": None if row["as_of"] > GRID[0] else 1.0}
    return rows


class Team:
    """A dbt project that has foretable as a package, and a feature model of its own with an imputation block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warehouse = folder / "team.duckdb"
        self.project = folder / "project"
        models = self.project / "models"
        models.mkdir(parents=True)
        (folder / "shop").mkdir()
        events = [{"user_id": "u", "event_type": "view", "occurred_at": day} for day in (datetime(2025, 1, 1), NEWEST)]
        pq.write_table(pa.Table.from_pylist(events), folder / "shop" / "events.parquet")
        (self.project / "dbt_project.yml").write_text(
            yaml.safe_dump(
                {
                    "name": "team",
                    "version": "1.0",
                    "profile": "foretable",
                    "models": {"team": {"+post-hook": "{{ foretable.keep_sql() }}"}},
                }
            )
        )
        (self.project / "packages.yml").write_text(yaml.safe_dump({"packages": [{"local": str(DBT_PROJECT)}]}))
        (self.project / "profiles.yml").write_text((DBT_PROJECT / "profiles.yml").read_text())
        (models / "team_measured.sql").write_text(f"select * from read_parquet('{folder / 'measured.parquet'}')")
        (models / "team_statistics.sql").write_text(
            "with {{ foretable.fitted_statistics(ref('team_measured'), of='team_features') }} select * from fitted"
        )
        (models / "team_neighbours.sql").write_text(
            "with {{ foretable.fitted_neighbours(ref('team_measured'), keys=['user_id'], "
            "statistics=ref('team_statistics'), of='team_features') }} select * from neighbours"
        )
        (models / "team_features.sql").write_text(
            "with {{ foretable.imputed(ref('team_measured'), keys=['user_id'], statistics=ref('team_statistics'), "
            "neighbours=ref('team_neighbours'), of='team_features') }} select * from imputed"
        )
        self.say(BLOCK)
        run = run_dbt("deps", warehouse=self.warehouse, project=self.project)
        assert run.code == 0, run.output

    def say(self, block: dict[str, Any]) -> None:
        tests = [{"foretable.fitted_on_training_rows": {"arguments": {"relation": "ref('team_measured')"}}}]
        table = {"materialized": "table"}
        models = [
            {"name": "team_measured", "config": {"materialized": "table"}},
            {"name": "team_statistics", "config": table, "data_tests": tests},
            {"name": "team_neighbours", "config": table, "data_tests": tests},
            {"name": "team_features", "config": {"meta": block}},
        ]
        (self.project / "models" / "team.yml").write_text(yaml.safe_dump({"models": models}))

    def build(self, rows: list[Row], *select: str) -> DbtRun:
        pq.write_table(pa.Table.from_pylist(rows), self.folder / "measured.parquet")
        return run_dbt(
            "build", "--select", *(select or ("team_measured+",)), "--exclude", "resource_type:unit_test",
            "--indirect-selection", "buildable",
            warehouse=self.warehouse, data=self.folder / "shop", project=self.project, variables=SETTINGS,
        )  # fmt: skip

    def rows(self, relation: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.warehouse), read_only=True) as con:
            return con.execute(f"select * from {relation} order by all").fetchall()


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Team:
    built = Team(tmp_path_factory.mktemp("team"))
    run = built.build(rows_of_measured(), "+int_snapshots__grid", "team_measured+")
    assert run.code == 0, run.output[-3000:]
    return built


@pytest.fixture(scope="module")
def cell(team: Team) -> Callable[..., Any]:
    def read(column: str, user: str = "u0", as_of: datetime = NEWEST) -> Any:
        with duckdb.connect(str(team.warehouse), read_only=True) as con:
            found = con.execute(
                f"select {column} from team_features where user_id = ? and as_of = ?", [user, as_of]
            ).fetchone()
            assert found is not None
            return found[0]

    return read


def trained(column: str, *, among: Callable[[Row], bool] = lambda row: True) -> list[float]:
    return [r[column] for r in rows_of_measured() if r["as_of"] in TRAINING and r[column] is not None and among(r)]


def test_the_snapshots_that_train_end_before_those_that_judge(team: Team) -> None:
    with duckdb.connect(str(team.warehouse), read_only=True) as con:
        grid = con.execute("select as_of from cleaning.int_snapshots__grid where is_training order by 1").fetchall()
    assert set(TRAINING) == {as_of for (as_of,) in grid if as_of >= GRID[0]}


def test_a_constant_fills_numbers_and_text(cell: Callable[..., Any]) -> None:
    assert (cell("plain"), cell("word")) == (-1.5, "it's none")
    assert (cell("plain", "u1"), cell("word", "u1")) == (101.0, "known")


def test_the_mean_and_the_median_are_those_of_the_training_rows(cell: Callable[..., Any]) -> None:
    assert cell("typical") == statistics.mean(trained("typical"))
    assert cell("middle") == statistics.median(trained("middle"))


def test_a_group_has_its_own_median_and_a_row_without_a_group_takes_that_of_all(cell: Callable[..., Any]) -> None:
    south = statistics.median(trained("by_region", among=lambda row: row["region"] == "south"))
    assert cell("by_region", "u3") == south != cell("by_region", "u0")
    assert cell("by_region", "u4") == statistics.median(trained("by_region"))


def test_the_last_value_is_carried_over_a_gap_and_where_there_is_none_the_next_method_fills(
    cell: Callable[..., Any],
) -> None:
    assert cell("carried", as_of=GRID[-1]) == 80.0
    assert cell("carried") == 80.0
    assert cell("carried", "u1") == statistics.median(trained("carried"))


def test_a_line_goes_through_the_last_two_values_and_stays_within_what_training_saw(cell: Callable[..., Any]) -> None:
    assert cell("line", as_of=GRID[-1]) == max(trained("line")), "70, 80 and on: above all that training saw"
    assert cell("line", "u1") == 1.0, "with one value there is no slope"
    assert cell("line", "u1", GRID[0]) == 1.0


def test_the_nearest_training_rows_are_those_of_standardised_columns(cell: Callable[..., Any]) -> None:
    nearest = sorted(trained("alike"), key=lambda value: abs(value - 11.4))[:2]
    assert cell("alike") == statistics.mean(nearest) == 11.5


def test_every_filled_cell_is_flagged_and_no_other(team: Team) -> None:
    given = {(row["user_id"], row["as_of"]): row for row in rows_of_measured()}
    with duckdb.connect(str(team.warehouse), read_only=True) as con:
        built = con.execute("select * from team_features").to_arrow_table().to_pylist()
    assert len(built) == len(given)
    for row in built:
        before = given[row["user_id"], row["as_of"]]
        for column in BLOCK["imputation"]:
            is_filled = before[column] is None and row[column] is not None
            assert row[f"is_{column}_imputed"] is is_filled, (column, row)
            assert is_filled or row[column] == before[column]
    assert sum(row["is_carried_imputed"] for row in built) > 5


def test_outliers_end_at_the_training_quantiles_and_are_flagged(team: Team) -> None:
    ordered = sorted(trained("outlier"))
    low, high = (
        ordered[math.floor(at)] + (at % 1) * (ordered[math.ceil(at)] - ordered[math.floor(at)]) for at in (0.9, 8.1)
    )
    with duckdb.connect(str(team.warehouse), read_only=True) as con:
        rows = con.execute("select near_b, outlier, is_outlier_capped from team_features where user_id <> 'u0'")
        for value, kept, is_capped in rows.fetchall():
            assert kept == pytest.approx(min(max(value, low), high), abs=1e-12)
            assert is_capped is not (low <= value <= high)


def test_scales_are_fitted_on_training_rows_after_capping(cell: Callable[..., Any]) -> None:
    values = trained("standard")
    expected = (101.0 - statistics.mean(values)) / statistics.stdev(values)
    assert cell("standard", "u1") == pytest.approx(expected, rel=1e-9)
    assert cell("ranged", "u1") == (101.0 - min(values)) / (max(values) - min(values))
    quarter, half, three = statistics.quantiles(values, n=4, method="inclusive")
    assert cell("robust", "u1") == pytest.approx((101.0 - half) / (three - quarter), rel=1e-12)
    assert cell("capped_first", "u1") == 1.0, "the top of the scale is the cap, not the largest value"


def test_what_is_fitted_says_on_what(team: Team) -> None:
    with duckdb.connect(str(team.warehouse), read_only=True) as con:
        ranges = con.execute("select distinct fitted_from, fitted_to from team_statistics").fetchall()
        counted = con.execute(
            "select row_count from team_statistics where feature = 'middle' and statistic = 'median'"
        ).fetchall()
    assert ranges == [(TRAINING[0], TRAINING[-1])]
    assert counted == [(len(trained("middle")),)]


def test_no_statistic_moves_when_every_row_after_the_cut_changes(team: Team) -> None:
    fitted = (team.rows("team_statistics"), team.rows("team_neighbours"))
    features = {row for row in map(repr, team.rows("team_features")) if repr(TRAINING[-1]) in row}
    assert all(fitted)
    assert features
    poisoned = [
        row if row["as_of"] in TRAINING else {**row, **dict.fromkeys(NUMBERS, -1e6), "region": "nowhere"}
        for row in rows_of_measured()
    ]
    try:
        assert team.build(poisoned).code == 0
        assert (team.rows("team_statistics"), team.rows("team_neighbours")) == fitted
        assert {row for row in map(repr, team.rows("team_features")) if repr(TRAINING[-1]) in row} == features
    finally:
        assert team.build(rows_of_measured()).code == 0


def test_rows_in_another_order_give_the_same_statistics_to_the_bit(team: Team) -> None:
    fitted = repr((team.rows("team_statistics"), team.rows("team_neighbours"), team.rows("team_features")))
    assert team.build(rows_of_measured()[::-1]).code == 0
    assert repr((team.rows("team_statistics"), team.rows("team_neighbours"), team.rows("team_features"))) == fitted


REFUSED = [
    ({"imputation": {"middle": "modus"}}, "imputation of middle: unknown method 'modus'; known: constant, mean"),
    ({"imputation": {"middle": {"method": "mean", "by": "region"}}}, "method mean takes no 'by'; known: method, else"),
    ({"imputation": {"plain": "constant"}}, "method constant needs a value"),
    ({"imputation": {"alike": {"method": "knn", "k": 3}}}, "method knn needs near"),
    ({"imputation": {"alike": {"method": "knn", "near": ["near_a"], "k": 0}}}, "k and sample are whole numbers"),
    ({"imputation": {"mddle": "median"}}, "names 'mddle', which team_measured does not have; it has: alike, as_of"),
    ({"imputation": {"middle": {"method": "median", "by": "county"}}}, "names 'county'"),
    ({"imputation": ["middle"]}, "are mappings of a column to what is done"),
    ({"capping": {"outlier": [0.9, 0.1]}}, "two quantiles with 0 <= low < high <= 1"),
    ({"scaling": {"standard": "log"}}, "unknown way 'log'; known: standard, min_max, robust"),
]


@pytest.fixture(scope="module")
def refusals(team: Team) -> str:
    """What dbt says of models that each have one of the blocks to refuse."""
    models = team.project / "models"
    imputed = (models / "team_features.sql").read_text()
    for number in range(len(REFUSED)):
        (models / f"refused_{number}.sql").write_text(imputed.replace("of='team_features'", f"of='refused_{number}'"))
    blocks = [{"name": f"refused_{number}", "config": {"meta": block}} for number, (block, _) in enumerate(REFUSED)]
    (models / "refused.yml").write_text(yaml.safe_dump({"models": blocks}))
    try:
        run = run_dbt(
            "run", "--select", "refused_*",
            warehouse=team.warehouse, data=team.folder / "shop", project=team.project, variables=SETTINGS,
        )  # fmt: skip
    finally:
        for file in models.glob("refused*"):
            file.unlink()
    assert run.code != 0
    assert {status for name, status in run.results().items() if name.startswith("refused_")} == {"error"}
    return " ".join(run.output.split())


@pytest.mark.parametrize("sentence", [sentence for _, sentence in REFUSED])
def test_a_block_that_cannot_be_meant_is_refused_with_what_is_known(refusals: str, sentence: str) -> None:
    assert sentence in refusals


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline(tmp_path_factory.mktemp("pipeline"), SETTINGS, targets=["fitted__statistics"])


def test_the_shipped_statistics_stay_when_the_log_after_the_cut_changes(pipeline: Pipeline) -> None:
    days = range(0, 120, 4)
    log = [event("u", "view", str(datetime(2025, 1, 1) + timedelta(days=day)), item_id="i") for day in days]
    log.append(event("v", "purchase", str(NEWEST), item_id="i", price=3))
    absurd = [
        event("u", "purchase", str(TRAINING[-1] + timedelta(hours=hour)), item_id="i", price=999_999)
        for hour in range(48)
    ]
    read = "select * from fitted__statistics order by all"
    before = pipeline.run(log).execute(read).fetchall()
    fitted = [row for row in before if row[5] is not None]
    assert len(fitted) > 3
    after = pipeline.run([*log, *absurd]).execute(read).fetchall()
    assert after == before


def test_the_block_of_the_shipped_features_is_read_from_its_yaml() -> None:
    models = yaml.safe_load((DBT_PROJECT / "models" / "features" / "_features__models.yml").read_text())["models"]
    block = next(model for model in models if model["name"] == "features__user")["config"]["meta"]["imputation"]
    assert json.dumps(block["age_years"]) == '"median"'


def test_a_source_that_keeps_only_the_present_gets_history_from_the_runs_that_saw_it(tmp_path: Path) -> None:
    shop, warehouse = tmp_path / "shop", tmp_path / "kept.duckdb"
    shop.mkdir()
    pq.write_table(
        pa.Table.from_pylist([{"user_id": "u", "event_type": "view", "occurred_at": NEWEST}]), shop / "events.parquet"
    )

    def build(region: str, run_at: str, *, keep_history: bool) -> list[tuple[Any, ...]]:
        users = [{"user_id": " u ", "region": region, "birth_year": 1990}, {"user_id": "same", "region": "x"}]
        pq.write_table(pa.Table.from_pylist(users), shop / "users.parquet")
        run = run_dbt(
            "build", "--select", "+stg_users", "+attributes__history", "--indirect-selection", "buildable",
            "--exclude", "resource_type:unit_test",
            warehouse=warehouse, data=shop, variables={"keep_history": keep_history, "run_at": run_at},
        )  # fmt: skip
        assert run.code == 0, run.output[-3000:]
        with duckdb.connect(str(warehouse), read_only=True) as con:
            known = con.execute("select has_history from attributes__history where source_table = 'users'").fetchone()
            versions = con.execute("select user_id, region, birth_year, valid_from from staging.stg_users order by all")
            return [known, *versions.fetchall()]

    present = build("north", "2025-04-01", keep_history=False)
    assert present == [
        (False,),
        ("same", "x", None, datetime(1, 1, 1)),
        ("u", "north", 1990, datetime(1, 1, 1)),
    ]
    build("north", "2025-04-01", keep_history=True)
    assert build("south", "2025-04-20 06:00:00", keep_history=True) == [
        (True,),
        ("same", "x", None, datetime(2025, 4, 1)),
        ("u", "north", 1990, datetime(2025, 4, 1)),
        ("u", "south", 1990, datetime(2025, 4, 20, 6)),
    ]


@pytest.mark.slow
def test_a_prediction_leaves_out_attributes_without_history(tiny_shop: Shop, tmp_path: Path) -> None:
    attributes = {"gender", "region", "occupation", "income_band", "age_years", "registered_days"}
    warehouse = Path(shutil.copy(tiny_shop.warehouse, tmp_path / "copied.duckdb"))

    def features() -> set[str]:
        with duckdb.connect(str(warehouse), read_only=True) as con:
            found = con.execute(
                "select feature_schema from foretable.models where prediction = 'purchase_30d' "
                "order by version desc limit 1"
            ).fetchone()
        assert found is not None
        return {feature["name"] for feature in json.loads(found[0])["features"]}

    assert attributes <= features(), "the shop says when its users changed"
    with duckdb.connect(str(warehouse)) as con:
        con.execute("update attributes__history set has_history = false where source_table = 'users'")
    run = run_dbt("run", "--select", "pred__purchase_30d", warehouse=warehouse, data=tiny_shop.data, variables=SERVING)
    assert run.code == 0, run.output[-3000:]
    assert "of which the source keeps only the present" in run.output
    assert not attributes & features()
    assert "event_count_30d" in features()
