"""The leak tests on a team's own models: silent on a clean one, and they name the place of a leak that is planted."""

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from tests.conftest import DBT_PROJECT, ROOT, DbtRun, Shop, run_dbt
from tests.predicting import BINARY
from udfs.leak_tests import label_shuffle, tautologies
from udfs.sentiment import register_sentiment

SEEN = """
select snapshots.user_id, count(events.row_id) as seen_count, max(events.price) as largest_price, snapshots.as_of
from {{{{ ref('int_users__snapshots') }}}} as snapshots
left join {{{{ ref('int_events__imputed') }}}} as events
    on snapshots.user_id = events.user_id and {bound}
where {{{{ foretable.due('snapshots') }}}}
group by snapshots.user_id, snapshots.as_of
"""
PREDICTION = """
{{{{ config(materialized='prediction', entity='user_id', label='purchased_30d', horizon_days=30, model='xgboost') }}}}
select features.user_id, labels.purchased_30d, features.event_count_30d, {feature} as chosen, features.as_of
from {{{{ ref('features__user') }}}} as features
left join {{{{ ref('labels__purchase_30d') }}}} as labels
    on features.user_id = labels.user_id and features.as_of = labels.as_of
"""
NOISY = "labels.purchased_30d <> (md5(features.user_id || features.as_of) < '3')"
FITTED = """
select 'event_count_30d' as feature, median(measured.event_count_30d) as value, max(measured.as_of) as fitted_to
from {{{{ ref('int_users__measured') }}}} as measured
inner join {{{{ ref('int_snapshots__grid') }}}} as grid on measured.as_of = grid.as_of
where {which}
"""
LABEL = "select user_id, {label} as purchased_30d, as_of from {{{{ ref('labels__purchase_30d') }}}}"
POISON: dict[str, Any] = {"foretable.future_poison": {"arguments": {"keys": ["user_id"], "rows": 500}}}
FITTED_TEST: dict[str, Any] = {
    "foretable.fitted_on_training_rows": {"arguments": {"relation": "ref('int_users__measured')"}}
}
TAUTOLOGY: dict[str, Any] = {
    "foretable.no_tautology": {
        "arguments": {"labels": "ref('labels__purchase_30d')", "label": "purchased_30d", "keys": ["user_id"]}
    }
}
SHUFFLE: dict[str, Any] = {"foretable.label_shuffle": {"arguments": {"params": {"n_estimators": 30}}}}
CENSORED: dict[str, Any] = {"foretable.censored_labels": {"arguments": {"horizon_days": 30}}}

MODELS: dict[str, tuple[str, Any, str]] = {
    # name: (SQL, test, what its faults say; nothing where it is clean)
    "seen_clean": (SEEN.format(bound="{{ foretable.known_before('events', 'snapshots') }}"), POISON, ""),
    "seen_at_as_of": (
        SEEN.format(bound="events.known_on <= snapshots.as_of"),
        POISON,
        "seen_at_as_of: seen_count knows at .* what came after",
    ),
    "seen_by_time": (
        SEEN.format(bound="events.occurred_at < snapshots.as_of and events.is_kept"),
        POISON,
        "seen_by_time: largest_price knows at",
    ),
    "seen_below": (SEEN.format(bound="events.known_on <= snapshots.as_of"), None, ""),
    "seen_through_a_view": ("select * from {{ ref('seen_below') }}", POISON, "seen_through_a_view: seen_count knows"),
    "seen_of_items": ("select * from {{ ref('features__item') }}", None, ""),
    "seen_long_ago": (
        SEEN.format(bound="events.known_on < date '2025-02-01'"),
        POISON,
        "seen_long_ago: nothing was tried",
    ),
    "fitted_clean": (FITTED.format(which="grid.is_training"), FITTED_TEST, ""),
    "fitted_over_all": (
        FITTED.format(which="true").replace("max(measured.as_of)", "min(measured.as_of)"),
        FITTED_TEST,
        "fitted_over_all: moves with what comes after the cut: .*event_count_30d",
    ),
    "fitted_too_far": (FITTED.format(which="true"), FITTED_TEST, "fitted_too_far: its range reaches"),
    "untold": ("select user_id, recency_days, as_of from {{ ref('features__user') }}", TAUTOLOGY, ""),
    "told": (
        """
        select features.user_id, labels.purchased_30d as again, 1 - labels.purchased_30d::integer as turned,
            labels.purchased_30d::integer * 5 + features.recency_days / 1e3 as mixed,
            case when labels.purchased_30d then 'yes' else 'no' end as word,
            features.recency_days, features.as_of
        from {{ ref('features__user') }} as features
        left join {{ ref('labels__purchase_30d') }} as labels
            on features.user_id = labels.user_id and features.as_of = labels.as_of
        """,
        TAUTOLOGY,
        "told: again is the label .*told: turned is the label's negation"
        ".*told: mixed tells the label by itself .*told: word tells",
    ),
    "label_clean": (LABEL.format(label="purchased_30d"), CENSORED, ""),
    "label_false": (
        LABEL.format(label="coalesce(purchased_30d, false)"),
        CENSORED,
        r"label_false: purchased_30d is known in (\d+) of \1 rows, .* from 2025-08-18 00:00:00 on ends after the log",
    ),
    "label_lost": (
        LABEL.format(label="nullif(purchased_30d, true)"),
        CENSORED,
        r"label_lost: purchased_30d is NULL in \d+ of \d+ rows, .* ends within the log",
    ),
    "pred__clean": (PREDICTION.format(feature="features.recency_days"), SHUFFLE, ""),
    "pred__noisy": (PREDICTION.format(feature=NOISY), SHUFFLE, "pred__noisy: with shuffled labels the AUC is 0.[789]"),
}
COLUMN_TESTS = ("label_clean", "label_false", "label_lost")


def example_of_the_docs() -> tuple[str, str]:
    """The model and the YAML of the complete example."""
    page = (ROOT / "docs" / "leak-tests.md").read_text(encoding="utf-8").split("## A complete example")[1]
    sql, said = (re.search(rf"```{language}\n(.*?)```", page, re.DOTALL) for language in ("sql", "yaml"))
    assert sql
    assert said
    return sql[1], said[1]


def write_team(folder: Path) -> None:
    models = folder / "models"
    models.mkdir(parents=True)
    entries: list[dict[str, Any]] = []
    for name, (sql, test, _) in MODELS.items():
        (models / f"{name}.sql").write_text(sql)
        entry: dict[str, Any] = {"name": name}
        if name in COLUMN_TESTS:
            entry["columns"] = [{"name": "purchased_30d", "data_tests": [test]}]
        elif name == "seen_of_items":
            entry["data_tests"] = [{"foretable.future_poison": {"arguments": {"keys": ["item_id"]}}}]
        elif test:
            entry["data_tests"] = [test]
        entries.append(entry)
    (models / "unkept").mkdir()
    (models / "unkept" / "unknown.sql").write_text(MODELS["seen_clean"][0])
    (models / "unkept" / "elsewhere.sql").write_text("select 'u' as user_id, timestamp '2025-01-01' as as_of")
    entries += [{"name": name, "data_tests": [POISON]} for name in ("unknown", "elsewhere")]
    sql, said = example_of_the_docs()
    (models / "carts.sql").write_text(sql)
    entries += yaml.safe_load(said)["models"]
    (models / "team.yml").write_text(yaml.safe_dump({"models": entries}))
    kept = {"+materialized": "table", "+post-hook": "{{ foretable.keep_sql() }}"}
    project = {"name": "team", "version": "1.0", "profile": "foretable"}
    per_model: dict[str, Any] = {
        name: kept for name in MODELS if not name.startswith("pred__") and name != "seen_through_a_view"
    }
    per_model["seen_through_a_view"] = {**kept, "+materialized": "view"}
    (folder / "dbt_project.yml").write_text(yaml.safe_dump({**project, "models": {"team": per_model}}))
    (folder / "packages.yml").write_text(yaml.safe_dump({"packages": [{"local": str(DBT_PROJECT)}]}))
    shutil.copy(DBT_PROJECT / "profiles.yml", folder)


class Built:
    """A team's models and the shipped leak tests, run once on a copy of the small shop's warehouse."""

    def __init__(self, folder: Path, shop: Shop) -> None:
        self.warehouse = Path(shutil.copy(shop.warehouse, folder / shop.warehouse.name))
        write_team(folder / "team")
        assert run_dbt("deps", warehouse=self.warehouse, project=folder / "team").code == 0
        self.run: DbtRun = run_dbt(
            *("build", "--select", "package:team", "test_name:future_poison", "test_name:label_shuffle"),
            warehouse=self.warehouse, data=shop.data, project=folder / "team", variables={"leak_tests": True},
        )  # fmt: skip
        self.statuses: Mapping[str, str] = self.run.results()

    def status(self, name: str, model: str) -> str:
        found = [status for test, status in self.statuses.items() if re.match(rf"(foretable_)?{name}_{model}_", test)]
        assert len(found) == 1, sorted(self.statuses)
        return found[0]

    def test_sql(self, name: str) -> str:
        found = list((self.run.target / "compiled").rglob(f"*{name}*.sql"))
        assert len(found) == 1, found
        return found[0].read_text()


@pytest.fixture(scope="module")
def built(tiny_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("leaks"), tiny_shop)


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in MODELS if name != "seen_below"])
def test_a_planted_leak_is_told_with_its_place_and_a_clean_model_passes(built: Built, model: str) -> None:
    test = MODELS[model][1] or POISON
    name = next(iter(test)).removeprefix("foretable.")
    says = MODELS[model][2]
    assert built.status(name, model) == ("fail" if says else "pass"), built.run.output[-3000:]
    lines = " ".join(line for line in built.run.output.splitlines() if f"{model}: " in line)
    assert bool(re.search(says, lines)) if says else not lines


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        "features__user", "features__item", "features__category", "features__user_item", "features__session",
        "sequences__user", "sequences__session",
    ],
)  # fmt: skip
def test_the_future_changes_nothing_in_the_shipped_tables(built: Built, model: str) -> None:
    keys = "user_id|item_id|category_id"
    found = [s for test, s in built.statuses.items() if re.search(rf"future_poison_{model}_({keys})", test)]
    assert found == ["pass"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["future_poison", "no_tautology"])
def test_the_example_of_the_docs_passes(built: Built, name: str) -> None:
    assert built.status(name, "carts") == "pass"


@pytest.mark.slow
def test_shuffled_labels_tell_nothing_to_the_shipped_prediction(built: Built) -> None:
    assert built.status("label_shuffle", "pred__purchase_30d") == "pass"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("unknown", "the SQL of unknown is not known. Give it the post-hook"),
        ("elsewhere", "elsewhere reads none of foretable's staging tables"),
    ],
)
def test_what_cannot_be_poisoned_is_an_error_that_says_why(built: Built, model: str, says: str) -> None:
    assert built.status("future_poison", model) == "error"
    assert says in built.run.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "bound", "fault"),
    [
        ("features__item_item_id", "tiles.known_on < rings.as_of", "tiles.known_on <= rings.as_of"),
        ("features__item_item_id", "snapshots.as_of > items.valid_from", "snapshots.as_of >= items.valid_from"),
        ("features__session_user_id", "events.known_on < sessions.as_of", "events.known_on <= sessions.as_of"),
        ("sequences__user_user_id", "events.known_on < unsettled.as_of", "events.occurred_at < unsettled.as_of"),
        ("sequences__user_user_id", "not coalesce(versions.is_redelivered, false)", "versions.hidden_at is null"),
        ("features__user_user_id", "coalesce(matched.hidden_on >= cut.fitted_to, true)", "matched.row_id is null"),
    ],
)
def test_a_bound_that_is_loosened_in_a_shipped_model_is_seen(built: Built, table: str, bound: str, fault: str) -> None:
    sql = built.test_sql(f"future_poison_{table}")
    assert bound in sql
    with duckdb.connect(str(built.warehouse), read_only=True) as con:
        register_sentiment(con)
        assert con.execute(sql.replace(bound, fault)).fetchall()


@pytest.mark.slow
def test_the_counts_of_labels_are_a_table(built: Built) -> None:
    with duckdb.connect(str(built.warehouse), read_only=True) as con:
        wrong, censored = con.execute(
            """
            select
                count(*) filter (
                    row_count <> labelled_count + censored_count or is_censored <> (labelled_count = 0)
                ),
                count(*) filter (is_censored)
            from labels__censored
            """
        ).fetchone()
        counted = con.execute(
            """
            select label, as_of, row_count, labelled_count, positive_count from labels__censored
            where label = 'purchased_30d' order by all
            """
        ).fetchall()
        by_hand = con.execute(
            """
            select 'purchased_30d', as_of, count(*), count(purchased_30d), count(*) filter (purchased_30d)
            from labels__purchase_30d group by as_of order by all
            """
        ).fetchall()
    assert wrong == 0
    assert censored > 2
    assert counted == by_hand


# The two that compute in Python, on rows of their own


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(
        """
        create table labels as
        select 'u' || u as user_id, timestamp '2025-01-01' + interval (30 * s) days as as_of,
            case when s < 5 then md5(u || ' ' || s) < '8' end as bought
        from range(200) as users (u), range(6) as snapshots (s)
        """
    )
    return connection


def shuffled(con: duckdb.DuckDBPyConnection, feature: str, **arguments: Any) -> list[str]:
    sql = f"select user_id, as_of, bought, {feature} as feature from labels"
    con.execute("drop table if exists temp.shuffled_labels; drop table if exists temp.selected")
    con.execute("drop table if exists temp.examples")
    given = {"labels": "labels", "unversioned": [], "rows": 10_000, "params": {}, **arguments}
    return label_shuffle(con, sql=sql, config=BINARY, **given)


def test_a_feature_made_of_the_label_follows_the_shuffle_and_one_of_anything_else_does_not(
    con: duckdb.DuckDBPyConnection,
) -> None:
    assert shuffled(con, "length(user_id)::double + hash(user_id) % 100") == []
    of_group = "avg(bought::integer) over (partition by user_id)"
    assert "with shuffled labels the AUC is" in shuffled(con, of_group)[0]
    assert "leans on: feature 100%" in shuffled(con, of_group)[0]


@pytest.mark.parametrize("labels", ['"main"."labels"', None])
def test_a_feature_that_foretells_the_label_but_is_not_made_of_it_tells_nothing_of_shuffled_labels(
    con: duckdb.DuckDBPyConnection, labels: str | None
) -> None:
    con.execute("create table signals as select user_id, as_of, bought::integer as signal from labels")
    sql = 'select l.*, signals.signal from "main"."labels" as l inner join signals using (user_id, as_of)'
    found = label_shuffle(con, sql=sql, config=BINARY, labels=labels, unversioned=[], rows=10_000, params={})
    assert found == []


def test_the_shuffle_gives_the_same_answer_twice_and_from_rows_in_any_order(con: duckdb.DuckDBPyConnection) -> None:
    noisy = "bought::integer + (hash(user_id, as_of) % 3)"
    first = shuffled(con, noisy)
    con.execute("create or replace table labels as from labels order by random()")
    assert shuffled(con, noisy) == first != []


def test_of_many_rows_whole_entities_are_taken(con: duckdb.DuckDBPyConnection) -> None:
    shuffled(con, "1.0", rows=600)
    assert con.execute("select count(*), count(distinct user_id) from temp.examples").fetchone() == (600, 100)


def test_a_label_that_is_computed_in_the_select_is_shuffled_among_its_rows(con: duckdb.DuckDBPyConnection) -> None:
    assert shuffled(con, "bought::integer", labels=None) == []
    assert shuffled(con, "bought::integer") != []


def test_shuffled_labels_stay_within_their_snapshot_and_unknown_ones_where_they_are(
    con: duckdb.DuckDBPyConnection,
) -> None:
    shuffled(con, "1.0")
    moved, kept = con.execute(
        """
        select count(*) filter (one.bought is distinct from other.bought),
            bool_and((one.bought is null) = (other.bought is null))
        from labels as one inner join temp.shuffled_labels as other using (user_id, as_of)
        """
    ).fetchone()
    counts = "select as_of, bought, count(*) from {} group by all order by all"
    assert moved > 200
    assert kept
    assert (
        con.execute(counts.format("labels")).fetchall() == con.execute(counts.format("temp.shuffled_labels")).fetchall()
    )


@pytest.fixture
def told(con: duckdb.DuckDBPyConnection) -> Callable[..., list[str]]:
    def faults(feature: str, *, threshold: float = 0.999) -> list[str]:
        con.execute("drop table if exists temp.labelled; drop table if exists temp.chosen")
        relation = f"(select *, {feature} as feature, hash(user_id) % 7 as fair from labels) as examples"
        return tautologies(
            con, relation=relation, entity="user_id", label="bought", as_of="as_of", exclude=[], threshold=threshold,
            rows=10_000,
        )  # fmt: skip

    return faults


@pytest.mark.parametrize(
    ("feature", "says"),
    [
        ("bought", "feature is the label (AUC 1.00000)"),
        ("not bought", "feature is the label's negation (AUC 1.00000)"),
        ("case when bought then 7.5 end", "feature tells the label by itself (AUC 1.00000)"),
        ("nullif(bought, false)::varchar", "feature tells the label by itself (AUC 1.00000)"),
        ("-(bought::integer) - (hash(user_id) % 10) / 11.0", "feature tells the label by itself (AUC 1.00000)"),
    ],
)
def test_a_column_that_tells_the_label_is_named(told: Callable[..., list[str]], feature: str, says: str) -> None:
    assert told(feature) == [says]


def test_the_threshold_says_how_near_to_the_label_a_column_may_come(told: Callable[..., list[str]]) -> None:
    nearly = "bought <> (user_id in ('u1', 'u2', 'u3', 'u4'))"
    assert told(nearly) == []
    assert len(told(nearly, threshold=0.97)) == 1
    assert told("hash(user_id, as_of) % 5", threshold=0.97) == []
