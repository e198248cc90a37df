"""What is said of features: read from dbt's manifest, or from what a build recorded of it in the warehouse."""

import json
import shutil
from pathlib import Path

import duckdb
import pytest
import yaml
from click.testing import CliRunner

import ibis_features
from foretable.cli import main
from ibis_features import ConfigError, ListedFeature, NotFoundError
from tests.conftest import DBT_PROJECT, run_dbt

MANIFEST = {
    "nodes": {
        "model.shop.features__user": {
            "name": "features__user",
            "resource_type": "model",
            "depends_on": {"nodes": ["seed.shop.names", "model.shop.stg_events"]},
            "columns": {
                "recency_days": {"description": "Days since.", "meta": {}, "config": {"meta": {}}},
                "CITY": {"description": "", "config": {"meta": {"has_history": False, "owner": "geo"}}},
            },
            "checksum": {"name": "sha256", "checksum": "0123456789abcdef"},
            "group": "growth",
        },
        "model.shop.features__item.v2": {
            "name": "features__item",
            "alias": "features__item",
            "resource_type": "model",
            "depends_on": {"nodes": []},
            "columns": {},
            "version": 2,
            "config": {"meta": {"owner": "catalogue"}},
        },
        "model.shop.stg_events": {
            "name": "stg_events",
            "resource_type": "model",
            "depends_on": {"nodes": ["seed.shop.names", "source.shop.raw.events"]},
        },
        "seed.shop.names": {"name": "names", "resource_type": "seed"},
        "test.shop.features__user": {"name": "features__user", "resource_type": "test"},
    },
    "sources": {"source.shop.raw.events": {"name": "events", "resource_type": "source"}},
    "groups": {"group.shop.growth": {"name": "growth", "owner": {"name": "Growth team", "email": "g@example.com"}}},
}


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    path = tmp_path / "small.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute(
            "create table features__user (user_id varchar, recency_days integer, city varchar, as_of timestamp)"
        )
        con.execute("create table features__item (item_id varchar, age_days double, as_of timestamp)")
        con.execute("create table online__user as from features__user")
        con.execute("create table features__odd (x integer, as_of timestamp)")
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    return path


def test_a_feature_is_listed_with_all_that_the_manifest_says_of_it(warehouse: Path) -> None:
    with ibis_features.open(warehouse, manifest=warehouse.with_name("manifest.json")) as store:
        recency, city = store.features("user")
        (age,) = store.features("item")
    assert recency == ListedFeature(
        name="features__user.recency_days",
        table="features__user",
        column="recency_days",
        entity="user",
        type="INTEGER",
        description="Days since.",
        owner="Growth team",
        lineage=("names", "stg_events", "events"),
        version="01234567",
        has_history=None,
    )
    assert (city.owner, city.has_history, city.description) == ("geo", False, None)
    assert (age.version, age.owner, age.type) == ("v2", "catalogue", "DOUBLE")


def test_without_a_manifest_names_and_types_are_still_listed(warehouse: Path) -> None:
    with ibis_features.open(warehouse) as store:
        assert [(one.name, one.type, one.owner) for one in store.features()] == [
            ("features__item.age_days", "DOUBLE", None),
            ("features__user.recency_days", "INTEGER", None),
            ("features__user.city", "VARCHAR", None),
        ]
        with pytest.raises(NotFoundError, match=r"no features of entity 'shop'; known: item, user"):
            store.features("shop")


def test_what_is_no_manifest_is_refused(warehouse: Path) -> None:
    missing = ibis_features.open(warehouse, manifest=warehouse.with_name("none.json"))
    with missing as store, pytest.raises(NotFoundError, match="no manifest at"):
        store.features()
    for text in ("{", "[]", "{}"):
        other = warehouse.with_name("other.json")
        other.write_text(text)
        with (
            ibis_features.open(warehouse, manifest=other) as store,
            pytest.raises(ConfigError, match="no dbt manifest"),
        ):
            store.features()


def test_the_command_lists_features_as_a_table_as_csv_and_as_json(warehouse: Path) -> None:
    manifest = str(warehouse.with_name("manifest.json"))
    arguments = ["features", "--warehouse", str(warehouse), "--manifest", manifest]
    shown = CliRunner().invoke(main, arguments)
    assert shown.exit_code == 0, shown.output
    assert "Growth team" in shown.output
    listed = CliRunner().invoke(main, [*arguments, "user", "--format", "csv"]).output.splitlines()
    assert listed[:2] == [
        "feature,type,owner,version,has_history,description",
        "features__user.recency_days,INTEGER,Growth team,01234567,,Days since.",
    ]
    found = json.loads(CliRunner().invoke(main, [*arguments, "user", "--format", "json"]).output)
    assert found[0]["lineage"] == ["names", "stg_events", "events"]
    refused = CliRunner().invoke(main, [*arguments, "shop"])
    assert refused.exit_code == 1
    assert "known: item, user" in refused.output


PROPERTIES = {
    "groups": [{"name": "growth", "owner": {"name": "Growth team", "email": "growth@example.com"}}],
    "models": [
        {
            "name": "features__store",
            "config": {"group": "growth", "meta": {"cost": 1}},
            "columns": [
                {"name": "n", "description": "It's a \"count\" of {braces} and\nlines: ' '' \\ é."},
                {"name": "city", "config": {"meta": {"has_history": False}}},
            ],
        }
    ],
}


@pytest.mark.slow
def test_a_build_records_the_manifest_so_that_a_copied_file_says_what_it_holds(tmp_path: Path) -> None:
    team = tmp_path / "team"
    (team / "models").mkdir(parents=True)
    project = {
        "name": "team",
        "version": "1.0",
        "profile": "foretable",
        "on-run-end": "{{ foretable.record_manifest() }}",
    }
    (team / "dbt_project.yml").write_text(yaml.safe_dump(project))
    (team / "packages.yml").write_text(yaml.safe_dump({"packages": [{"local": str(DBT_PROJECT)}]}))
    shutil.copy(DBT_PROJECT / "profiles.yml", team)
    (team / "models" / "mine.sql").write_text("select 'a' as store_id, 1 as n, 'Oslo' as city")
    (team / "models" / "features__store.sql").write_text(
        "select *, timestamp '2025-01-06' as as_of from {{ ref('mine') }}"
    )
    (team / "models" / "_models.yml").write_text(yaml.safe_dump(PROPERTIES))
    warehouse = tmp_path / "built.duckdb"
    assert run_dbt("deps", warehouse=warehouse, project=team).code == 0
    for _ in range(2):
        run = run_dbt("run", "--select", "package:team", warehouse=warehouse, project=team)
        assert run.code == 0, run.output
    copied = Path(shutil.copy(warehouse, tmp_path / "elsewhere.duckdb"))
    with ibis_features.open(copied) as store:
        recorded = store.features("store")
    with ibis_features.open(copied, manifest=run.target / "manifest.json") as store:
        assert store.features("store") == recorded
    n, city = recorded
    assert n.description == "It's a \"count\" of {braces} and\nlines: ' '' \\ é."
    assert (n.owner, n.lineage, n.has_history, city.has_history) == ("Growth team", ("mine",), None, False)
    assert n.version is not None
    assert len(n.version) == 8
