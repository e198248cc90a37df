"""The dbt project's own rules: access and contracts, names and layers, selectors, exposures, the documentation site."""

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from foretable.init import init_project
from tests.conftest import DBT_PROJECT, Shop, run_dbt
from tests.test_docs import literal_of, section

LAYERS = {
    "sources": 0,
    "staging": 1,
    "cleaning": 2,
    "features": 3,
    "online": 4,
    "live": 4,
    "sequences": 4,
    "labels": 4,
    "predictions": 5,
    "marts": 6,
    "monitoring": 6,
}
"""A layer reads itself and those of a smaller number."""

NAMES = {
    "sources/*": r"\w+?__(events|users|items|reviews|campaigns|truth)",
    "staging": r"stg_(events|users|items|reviews|campaigns)(__judged)?",
    "cleaning": r"(quarantine|duplicates)__\w+",
    "features": r"(features|fitted|attributes)__\w+",
    "sequences": r"sequences__\w+",
    "labels": r"labels__(\w+_\d+d|censored)|truth__\w+",
    "online": r"online__\w+",
    "live": r"live_\w+",
    "predictions": r"pred__\w+",
    "marts": r"mart__\w+",
    "monitoring": r"monitoring__\w+",
    "*/intermediate": r"int_[a-z_]+?s__\w+",
}

READS_A_MAPPING = {
    "attributes__history": "counts the dates that the mapping gives, which staging has filled",
    "truth__user": "what a simulated shop wrote down is no log to clean",
}
MOST_LEAVES = 4
MOST_VIEWS = 3

Node = Mapping[str, Any]


@dataclass(frozen=True)
class Parsed:
    """The project as dbt reads it, with every horizon that it has labels for."""

    manifest: Mapping[str, Any]
    select: Callable[[str], set[str]]
    """The unique ids that a selector selects."""

    @property
    def models(self) -> dict[str, Node]:
        return {key: node for key, node in self.manifest["nodes"].items() if node["resource_type"] == "model"}

    def named(self, name: str) -> Node:
        [node] = [node for node in self.models.values() if node["name"] == name]
        return node

    def parents(self, node: Node) -> list[Node]:
        """The models, seeds and snapshots that a node reads."""
        return [self.manifest["nodes"][key] for key in node["depends_on"]["nodes"] if key in self.manifest["nodes"]]

    def above(self, keys: set[str]) -> set[str]:
        """The models among `keys` and all models above them."""
        found: set[str] = set()
        due = [key for key in keys if key in self.models]
        while due:
            key = due.pop()
            if key not in found:
                found.add(key)
                due += [parent for parent in self.models[key]["depends_on"]["nodes"] if parent in self.models]
        return found

    def in_layers(self, *layers: str) -> set[str]:
        return {key for key, node in self.models.items() if layer_of(node) in layers}


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parsed]:
    from dbt.cli.main import dbtRunner

    folder = tmp_path_factory.mktemp("parsed")
    places = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT), "--target-path", str(folder)]
    places += ["--log-path", str(folder), "--vars", "{horizons: [1, 30]}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORETABLE_WAREHOUSE", str(folder / "parsed.duckdb"))
        result = dbtRunner().invoke(["--quiet", "parse", *places])
        assert result.success, result.exception
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))

        def select(selector: str) -> set[str]:
            order = ["--quiet", "ls", "--selector", selector, "--output", "json", "--output-keys", "unique_id"]
            listed = dbtRunner(manifest=result.result).invoke([*order, *places])
            assert listed.success, listed.exception
            return {json.loads(line)["unique_id"] for line in listed.result}

        yield Parsed(manifest, select)


def layer_of(node: Node) -> str:
    return Path(node["original_file_path"]).parts[1]


def is_intermediate(node: Node) -> bool:
    return "/intermediate/" in node["original_file_path"]


def documented(heading: str) -> dict[str, list[str]]:
    """First cell to the other cells of the table under a heading of docs/dbt.md."""
    rows = re.findall(r"^\| `?([\w-]+)`? \| (.*) \|$", section("docs/dbt.md", heading), re.MULTILINE)
    return {name: rest.split(" | ") for name, rest in rows[1:]}


# Layers and names


def test_each_layer_reads_itself_and_those_before_it(parsed: Parsed) -> None:
    wrong = [
        f"{node['name']} reads {parent['name']}"
        for node in parsed.models.values()
        for parent in parsed.parents(node)
        if parent["resource_type"] == "model"
        and layer_of(parent) != layer_of(node)
        and LAYERS[layer_of(parent)] >= LAYERS[layer_of(node)]
    ]
    assert wrong == []


def test_a_mapping_is_read_by_one_staging_model_and_by_what_says_why(parsed: Parsed) -> None:
    readers = defaultdict(list)
    for node in parsed.models.values():
        for parent in parsed.parents(node):
            if parent["resource_type"] == "model" and layer_of(parent) == "sources" != layer_of(node):
                readers[parent["name"]].append(node)
    assert set(readers) == {node["name"] for node in parsed.models.values() if layer_of(node) == "sources"}
    others = {name: [one for one in found if layer_of(one) != "staging"] for name, found in readers.items()}
    assert {one["name"] for found in others.values() for one in found} == set(READS_A_MAPPING)
    assert [name for name in readers if len(readers[name]) - len(others[name]) > 1] == []


def test_staging_reads_mappings_seeds_histories_and_its_own_judgement_alone(parsed: Parsed) -> None:
    wrong = [
        f"{node['name']} reads {parent['name']}"
        for node in parsed.models.values()
        if layer_of(node) == "staging"
        for parent in parsed.parents(node)
        if parent["resource_type"] == "model"
        and layer_of(parent) != "sources"
        and parent["name"] != f"{node['name']}__judged"
    ]
    assert wrong == []


def test_only_mappings_and_what_reads_the_state_are_without_a_parent(parsed: Parsed) -> None:
    roots = [node for node in parsed.models.values() if not parsed.parents(node) and layer_of(node) != "sources"]
    state = {source["unique_id"] for source in parsed.manifest["sources"].values() if source["schema"] == "foretable"}
    assert {layer_of(node) for node in roots} == {"monitoring"}
    assert [node["name"] for node in roots if not state & set(node["depends_on"]["nodes"])] == []


def without_jinja(sql: str) -> str:
    return re.sub(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|--[^\n]*", "?", sql, flags=re.DOTALL)


def test_no_model_or_test_names_a_relation_that_is_not_a_ref(parsed: Parsed) -> None:
    schemas = {node["schema"] for node in parsed.manifest["nodes"].values()} | {"foretable", "scores", "changes", "raw"}
    written = re.compile(rf'\b(?:from|join)\s+(?:"?\w+"?\.)?"?(?:{"|".join(sorted(schemas))})"?\.\w+', re.IGNORECASE)
    assert written.search("left join staging.stg_events as events")
    files = [*(DBT_PROJECT / "models").rglob("*.sql"), *(DBT_PROJECT / "tests").rglob("*.sql")]
    assert len(files) > 50
    found = {file.name: written.findall(without_jinja(file.read_text(encoding="utf-8"))) for file in files}
    assert {name: hits for name, hits in found.items() if hits} == {}


def test_a_name_says_the_folder(parsed: Parsed) -> None:
    wrong = []
    for node in parsed.models.values():
        folders = Path(node["original_file_path"]).parts[1:-1]
        kind = "sources/*" if folders[0] == "sources" else "*/intermediate" if is_intermediate(node) else folders[0]
        if not re.fullmatch(NAMES[kind], node["name"]):
            wrong.append(node["original_file_path"])
    assert wrong == []


def test_a_mapping_is_named_after_its_folder() -> None:
    mappings = list((DBT_PROJECT / "models" / "sources").rglob("*.sql"))
    assert len({file.stem for file in mappings}) == len(mappings) > 5
    assert [file.name for file in mappings if not file.stem.startswith(f"{file.parent.name}__")] == []


def test_the_yaml_of_a_model_lies_beside_its_sql(parsed: Parsed) -> None:
    wrong = {
        node["name"]: node["patch_path"]
        for node in parsed.models.values()
        if Path(str(node["patch_path"]).split("://")[-1]).parent != Path(node["original_file_path"]).parent
    }
    assert wrong == {}


def test_few_leaves_hang_on_one_model_beside_predictions_and_marts(parsed: Parsed) -> None:
    children = defaultdict(list)
    for node in parsed.models.values():
        for parent in parsed.parents(node):
            children[parent["unique_id"]].append(node["unique_id"])
    ends = parsed.in_layers("predictions", "marts")
    leaves = {
        key: [child for child in found if child not in children and child not in ends]
        for key, found in children.items()
    }
    assert max(len(found) for found in leaves.values()) > 1
    assert {key: found for key, found in leaves.items() if len(found) > MOST_LEAVES} == {}


def test_views_do_not_pile_up(parsed: Parsed) -> None:
    def chain(node: Node) -> int:
        if node["resource_type"] != "model" or node["config"]["materialized"] not in ("view", "ephemeral"):
            return 0
        return 1 + max((chain(parent) for parent in parsed.parents(node)), default=0)

    chains = {node["name"]: chain(node) for node in parsed.models.values()}
    assert max(chains.values()) > 0
    assert {name: length for name, length in chains.items() if length > MOST_VIEWS} == {}


# Descriptions and tests


def test_every_description_starts_with_the_grain(parsed: Parsed) -> None:
    kinds = ("model", "seed", "snapshot")
    nodes = [node for node in parsed.manifest["nodes"].values() if node["resource_type"] in kinds]
    assert [node["name"] for node in nodes if not re.match(r"One row an? \w", node["description"])] == []


def test_every_table_has_a_test_of_its_grain(parsed: Parsed) -> None:
    tested = defaultdict(set)
    for test in parsed.manifest["nodes"].values():
        if test["resource_type"] == "test" and test.get("attached_node"):
            tested[test["attached_node"]].add((test["test_metadata"]["name"], test.get("column_name")))
    missing = []
    for key, node in parsed.models.items():
        if layer_of(node) in ("sources", "live"):
            continue
        columns = {column for name, column in tested[key] if name == "unique"}
        is_told = ("unique_grain", None) in tested[key] or any(
            ("not_null", column) in tested[key] for column in columns
        )
        if not is_told:
            missing.append(node["name"])
    assert missing == []


def test_every_unit_test_is_a_sentence(parsed: Parsed) -> None:
    names = [node["name"] for node in parsed.manifest["unit_tests"].values()]
    assert len(names) > 20
    assert [name for name in names if name.count("_") < 4] == []


# Who may read what


def test_what_others_read_is_public_and_what_lies_between_is_not(parsed: Parsed) -> None:
    public = {node["name"] for node in parsed.models.values() if node["access"] == "public"}
    closed = ("sources", "staging", "online", "live")
    read = {
        node["name"] for node in parsed.models.values() if layer_of(node) not in closed and not is_intermediate(node)
    }
    assert public == read


def test_every_public_model_has_an_enforced_contract_and_describes_every_column(parsed: Parsed) -> None:
    public = [node for node in parsed.models.values() if node["access"] == "public"]
    assert [node["name"] for node in public if not node["config"]["contract"]["enforced"]] == []
    columns = {f"{node['name']}.{name}": column for node in public for name, column in node["columns"].items()}
    assert len(columns) > 1000
    assert [name for name, column in columns.items() if not (column["description"] and column["data_type"])] == []


def test_every_model_is_of_a_group_as_documented(parsed: Parsed) -> None:
    owners = {group["name"]: group["owner"]["name"] for group in parsed.manifest["groups"].values()}
    folders = defaultdict(set)
    for node in parsed.models.values():
        folders[node["group"]].add(layer_of(node))
    said = documented("Whose it is")
    assert owners == {name: owner for name, (owner, _) in said.items()}
    assert folders == {name: set(cell.split(", ")) for name, (_, cell) in said.items()}


TEAMS_MODEL = """
    select snapshots.user_id, any_value(features.recency_days) as recency_days, count(events.row_id) as event_count
    from {{ ref('int_users__snapshots') }} as snapshots
    inner join {{ ref('int_snapshots__grid') }} as grid using (as_of)
    inner join {{ ref('features__user') }} as features using (user_id, as_of)
    left join {{ ref('int_events__imputed') }} as events
        on snapshots.user_id = events.user_id and events.known_at < snapshots.as_of
    group by snapshots.user_id
"""


@pytest.mark.slow
def test_a_team_reads_public_and_protected_models_and_has_the_selectors(tmp_path: Path) -> None:
    team = tmp_path / "flowers"
    init_project(team)
    (team / "models" / "features__flower.sql").write_text(TEAMS_MODEL)
    warehouse = tmp_path / "flowers.duckdb"
    assert run_dbt("deps", warehouse=warehouse, project=team).code == 0
    listed = run_dbt("ls", "--selector", "features", "--output", "name", warehouse=warehouse, project=team)
    assert listed.code == 0, listed.output
    names = listed.output.split()
    assert {"features__flower", "features__user", "labels__cart_14d", "flowers__events", "stg_events"} <= set(names)
    assert not [name for name in names if name.startswith("pred__")]
    (team / "models" / "features__flower.sql").write_text("select * from {{ ref('int_users__money') }}")
    refused = run_dbt("parse", warehouse=warehouse, project=team)
    assert refused.code != 0
    assert "private to the 'features' group" in refused.output


# Selectors


SELECTORS = yaml.safe_load((DBT_PROJECT / "selectors.yml").read_text(encoding="utf-8"))["selectors"]


def test_every_selector_is_described_and_documented() -> None:
    said = {name: cells[0] for name, cells in documented("What a run is about").items()}
    assert list(said) == [selector["name"] for selector in SELECTORS]
    assert all(selector["description"] for selector in SELECTORS)


def test_selectors_select_what_they_say(parsed: Parsed) -> None:
    def models(selector: str) -> set[str]:
        return {key for key in parsed.select(selector) if key in parsed.models}

    predictions, marts = parsed.in_layers("predictions"), parsed.in_layers("marts")
    truth = {parsed.named("truth__user")["unique_id"]}
    features = parsed.in_layers("features", "online", "live", "sequences", "labels") - truth
    training = parsed.above(predictions)
    assert models("cleaning") == parsed.in_layers("sources", "staging", "cleaning")
    assert models("features") == parsed.above(features)
    assert models("training") == training
    assert models("scoring") == (training | marts | parsed.above(parsed.in_layers("online"))) - parsed.in_layers(
        "labels"
    )
    assert models("marts") == marts
    assert models("monitoring") == parsed.in_layers("monitoring")
    assert not [key for key in parsed.select("scoring") if key.startswith("unit_test.")]


def test_a_selected_test_reads_nothing_that_was_left_out(parsed: Parsed) -> None:
    for selector in ("cleaning", "features", "training"):
        selected = parsed.select(selector)
        tests = [key for key in selected if key.startswith("test.")]
        assert tests
        read = {parent for key in tests for parent in parsed.manifest["nodes"][key]["depends_on"]["nodes"]}
        assert {key for key in read if key in parsed.models} <= selected


# Exposures


def test_exposures_read_public_models_and_dashboards_what_is_a_table_once_published(parsed: Parsed) -> None:
    exposures = parsed.manifest["exposures"].values()
    assert {one["name"] for one in exposures} == set(documented("Who reads the outcome"))
    for one in exposures:
        assert one["description"], one["name"]
        assert one["maturity"], one["name"]
        assert one["owner"]["name"] in {group["owner"]["name"] for group in parsed.manifest["groups"].values()}
        read = [parsed.models[key] for key in one["depends_on"]["nodes"]]
        assert [node["name"] for node in read if node["access"] != "public"] == []
        if one["type"] == "dashboard":
            views = [node for node in read if node["config"]["materialized"] == "view"]
            assert {layer_of(node) for node in views} <= {"monitoring"}


def test_an_exposure_is_there_where_the_predictions_that_it_reads_are() -> None:
    exposures = yaml.safe_load((DBT_PROJECT / "models" / "_exposures.yml").read_text(encoding="utf-8"))["exposures"]
    of_predictions = [one for one in exposures if re.search("pred__|mart__", str(one["depends_on"]))]
    assert len(of_predictions) > 2
    by_source = literal_of("setting", "by_source", "settings.sql")
    default = literal_of("setting_defaults", "defaults", "settings.sql")["horizons"]
    for source, settings in {"contract": {}, "my_shop": {}, **by_source}.items():
        for given in ({}, {"horizons": [1]}, {"horizons": [1, 30]}):
            own = {"source": source, **given}
            horizons = given.get("horizons", settings.get("horizons", default))
            for one in of_predictions:
                enabled = jinja2.Template(one["config"]["enabled"]).render(
                    var=lambda name, other, own=own: own.get(name, other)
                )
                assert enabled == str(30 in horizons), (one["name"], own)


# The documentation site


def test_the_first_page_explains_every_layer(parsed: Parsed) -> None:
    overview = parsed.manifest["docs"]["doc.foretable.__overview__"]["block_contents"]
    assert [layer for layer in LAYERS if layer not in ("online", "live") and f"**{layer}**" not in overview] == []
    linked = set(re.findall(r"#!/model/(model\.foretable\.\w+)", overview))
    assert linked
    assert linked <= set(parsed.models)


def test_every_folder_has_a_colour_in_the_graph(parsed: Parsed) -> None:
    colours = defaultdict(set)
    for node in parsed.models.values():
        colours[layer_of(node), is_intermediate(node)].add(node["docs"]["node_color"])
    assert [folder for folder, found in colours.items() if len(found) != 1 or found == {None}] == []
    assert colours["features", True].isdisjoint(colours["features", False])


@pytest.mark.slow
def test_the_site_is_generated_and_says_what_the_tables_hold(tiny_shop: Shop, tmp_path: Path) -> None:
    warehouse = Path(shutil.copy(tiny_shop.warehouse, tmp_path / tiny_shop.warehouse.name))
    run = run_dbt("docs", "generate", "--no-compile", warehouse=warehouse, data=tiny_shop.data)
    assert run.code == 0, run.output
    assert (run.target / "index.html").stat().st_size > 1_000_000
    catalog = json.loads((run.target / "catalog.json").read_text(encoding="utf-8"))
    manifest = json.loads((tiny_shop.run.target / "manifest.json").read_text(encoding="utf-8"))
    assert not catalog["errors"]
    public = {key: node for key, node in manifest["nodes"].items() if node.get("access") == "public"}
    assert len(public) > 15
    for key, node in public.items():
        there = {name.lower(): column["type"].lower() for name, column in catalog["nodes"][key]["columns"].items()}
        assert there == {name: column["data_type"] for name, column in node["columns"].items()}, node["name"]
