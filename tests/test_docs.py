"""The documentation says what the code does: every key, param, setting, table and command, and its examples run."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

import udfs
from foretable.cli import main
from models_ml.spec import PredictionSpec, parse_spec
from models_ml.trainer import TRAINERS, merged_params, trainer
from tests.conftest import DBT_PROJECT, ROOT, SERVING, Shop, run_dbt

DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
FENCE = re.compile(r"^ *```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
ROW = re.compile(r"^\| `(?P<key>[\w.]+)` \| (?P<cell>[^|]*?) \|", re.MULTILINE)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(language: str) -> list[Any]:
    """Every fenced block of a language in any page, with a name for pytest."""
    found = []
    for page in PAGES:
        for place, fence in enumerate(FENCE.finditer(page.read_text(encoding="utf-8")), start=1):
            if fence["language"] == language:
                found.append(pytest.param(fence["text"], id=f"{page.stem}-{place}"))
    return found


def section(page: str, heading: str) -> str:
    """What stands under a second-level heading."""
    return re.split(rf"^## {heading}$", text_of(page), flags=re.MULTILINE)[1].split("\n## ")[0]


def table(page: str, heading: str) -> dict[str, str]:
    """First cell to second cell of the table under a heading."""
    return {row["key"]: row["cell"] for row in ROW.finditer(section(page, heading))}


def shown(value: object) -> str:
    """A default as the tables write it."""
    words = {None: "none", True: "true", False: "false", (): "[]"}
    return words[value] if value is None or isinstance(value, bool | tuple) else str(value)


def literal_of(macro: str, name: str, file: str) -> Any:
    """The dict or list that a macro sets to `name`. Calls of Jinja are read as None."""
    source = (DBT_PROJECT / "macros" / file).read_text(encoding="utf-8")
    body = source.split(f"macro {macro}(")[1]
    value = re.search(rf"set {name} = (?P<value>.*?) -?%\}}", body, re.DOTALL)
    assert value
    text = re.sub(r"\bnone\b|env_var\([^)]*\)|run_started_at\.strftime\([^)]*\)", "None", value["value"])
    text = re.sub(r"\b(true|false)\b", lambda word: word[0].title(), text)
    return ast.literal_eval(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_relative_link_resolves(page: Path) -> None:
    targets = [link["target"] for link in LINK.finditer(FENCE.sub("", page.read_text(encoding="utf-8")))]
    local = [target.split("#")[0] for target in targets if not target.startswith(("http://", "https://", "#"))]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_the_map_of_the_docs_names_every_page() -> None:
    targets = {link["target"] for link in LINK.finditer(text_of("docs/index.md"))}
    assert {page.name for page in DOCS.glob("*.md")} - {"index.md"} <= targets


def test_every_config_key_is_documented_with_its_default() -> None:
    defaults = {
        field.name: "required" if field.default is MISSING else shown(field.default) for field in fields(PredictionSpec)
    }
    assert table("docs/predictions.md", "Config") == defaults


@pytest.mark.parametrize("model", TRAINERS)
def test_every_trainer_is_documented_with_its_params_and_their_defaults(model: str) -> None:
    defaults = {param: shown(default) for param, default in trainer(model).DEFAULT_PARAMS.items()}
    assert table("docs/trainers.md", model) == defaults


def test_what_a_search_looks_at_is_documented() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| ([\d.]+) \| ([\d.]+)( ~)? \|",
        section("docs/trainers.md", "What a search looks at"),
        re.MULTILINE,
    )
    assert rows == [
        (model, param, str(one["low"]), str(one["high"]), " ~" if one.get("log") else "")
        for model in TRAINERS
        for param, one in trainer(model).SPACE.items()
    ]


def test_every_setting_is_documented() -> None:
    defaults = literal_of("setting_defaults", "defaults", "settings.sql")
    documented = table("docs/raw-contract.md", "Settings")
    assert list(documented) == list(defaults)
    plain = {
        name: shown(value) for name, value in defaults.items() if isinstance(value, int | str) or name == "horizons"
    }
    assert {name: documented[name] for name in plain} == plain


def test_every_column_of_the_contract_is_documented_and_the_required_ones_are_bold() -> None:
    columns = literal_of("contract_columns", "columns", "contract.sql")
    required = literal_of("required_columns", "columns", "contract.sql")
    rows = dict(re.findall(r"^\| (\w+) \| (.*?)(?: \(of a .*)? \|$", text_of("docs/raw-contract.md"), re.MULTILINE))
    assert {name: rows[name].replace("*", "").split(", ") for name in columns} == columns
    assert {name: re.findall(r"\*\*(\w+)\*\*", rows[name]) for name in required} == required


def test_every_reason_to_quarantine_a_row_is_documented() -> None:
    sql = (DBT_PROJECT / "models" / "staging" / "stg_events.sql").read_text(encoding="utf-8")
    reasons = {reason for reason in re.findall(r"then '(\w+)'", sql) if not reason.endswith("_")}
    assert len(reasons) > 5
    documented = section("docs/raw-contract.md", "Rows that are quarantined")
    assert sorted(reason for reason in reasons if reason not in documented) == []


def test_every_state_table_is_documented_with_its_columns() -> None:
    sql = (DBT_PROJECT / "macros" / "state.sql").read_text(encoding="utf-8")
    tables = {
        name: re.findall(r"^ {8}(\w+) (?!key)", body, re.MULTILINE)
        for name, body in re.findall(r"create table if not exists (foretable\.\w+) \((.*?)\n    \)", sql, re.DOTALL)
    }
    assert len(tables) == sql.count("create table")
    added = re.findall(r"in (\{[^{}]*\})\.items\(\) %\}\s+alter table (foretable\.\w+)", sql)
    assert len(added) == sql.count("add column")
    for columns, name in added:
        tables[name] += ast.literal_eval(columns)
    rows = re.findall(r"^\| `(foretable\.\w+)` \| [^|]* \| ([^|]*) \|", text_of("docs/predictions.md"), re.MULTILINE)
    assert {name: columns.split(", ") for name, columns in rows} == tables


def test_every_command_is_documented() -> None:
    documented = re.findall(r"^\| `foretable ([\w-]+)` \|", text_of("docs/command-line.md"), re.MULTILINE)
    assert sorted(documented) == sorted(main.commands)


def commands() -> list[str]:
    """Every `foretable …` of a block or of a cell, as it would be typed."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [
            line.strip()
            for fence in FENCE.finditer(text)
            if not fence["language"]
            for line in fence["text"].split("\n")
        ]
        cells = re.findall(r"`(foretable \w+ [^`]+)`", FENCE.sub("", text))
        found += [line for line in (*lines, *cells) if line.startswith("foretable ")]
    return sorted({line for line in found if "COMMAND" not in line and "|" not in line})


@pytest.mark.parametrize("line", commands())
def test_every_command_line_is_one_that_the_command_takes(line: str) -> None:
    _, name, *arguments = shlex.split(line, comments=True)
    command = main.commands[name]
    with command.make_context(name, arguments) as context:
        assert context.params


@pytest.fixture(scope="module")
def reader(tiny_shop: Shop) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(tiny_shop.warehouse), read_only=True) as con:
        udfs.register(con)
        yield con


EMPTY = ("foretable.feature_selection", "foretable.interactions", "foretable.trials", "foretable.cross_validation")
"""No shipped prediction selects features, has interactions or searches params, and none was cross-validated."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "sql", [block for block in blocks("sql") if re.match(r"(select|with)\b(?!.*\{\{)", block.values[0], re.DOTALL)]
)
def test_every_select_runs_on_a_warehouse(reader: duckdb.DuckDBPyConnection, sql: str) -> None:
    assert reader.sql(sql).fetchall() or any(table in sql for table in EMPTY)


@pytest.fixture
def beside_a_warehouse(tiny_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the small shop's file under the name that the docs give it."""
    (tmp_path / "warehouse.duckdb").symlink_to(tiny_shop.warehouse)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("sql", [block for block in blocks("sql") if block.values[0].startswith("attach")])
def test_an_attached_warehouse_scores_as_the_docs_say(beside_a_warehouse: Path, sql: str) -> None:
    with duckdb.connect() as con:
        assert con.execute(sql).fetchall()


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks("python"))
def test_every_python_block_runs(beside_a_warehouse: Path, code: str) -> None:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def complete_examples() -> list[Any]:
    return [block for block in blocks("sql") if "materialized='prediction'" in block.values[0]]


@pytest.mark.parametrize("sql", complete_examples())
def test_the_config_of_a_complete_example_is_one_that_a_prediction_takes(sql: str) -> None:
    call = re.search(r"\{\{ (?P<call>config\(.*?\)) \}\}", sql, re.DOTALL)
    assert call
    expression = ast.parse(call["call"], mode="eval").body
    assert isinstance(expression, ast.Call)
    config = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in expression.keywords}
    assert config.pop("materialized") == "prediction"
    spec = parse_spec(config)
    merged_params(spec.model, spec.params or {})


@pytest.mark.slow
@pytest.mark.parametrize("sql", complete_examples())
def test_a_complete_example_builds_as_one_file_of_a_team(tiny_shop: Shop, tmp_path: Path, sql: str) -> None:
    team = tmp_path / "team"
    (team / "models").mkdir(parents=True)
    (team / "dbt_project.yml").write_text(yaml.safe_dump({"name": "team", "version": "1.0", "profile": "foretable"}))
    (team / "packages.yml").write_text(yaml.safe_dump({"packages": [{"local": str(DBT_PROJECT)}]}))
    shutil.copy(DBT_PROJECT / "profiles.yml", team)
    (team / "models" / "pred__example.sql").write_text(sql)
    warehouse = Path(shutil.copy(tiny_shop.warehouse, tmp_path / "copied.duckdb"))
    assert run_dbt("deps", warehouse=warehouse, project=team).code == 0
    run = run_dbt("build", "--select", "pred__example", warehouse=warehouse, project=team, variables=SERVING)
    assert run.code == 0, run.output
    with duckdb.connect(str(warehouse), read_only=True) as con:
        assert con.execute("select count(*) > 100 from pred__example").fetchone() == (True,)


def test_no_tracked_file_names_a_machine_or_a_registry() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout")
    foreign = re.compile(
        "|".join(["/wor" + "k/", "/tm" + "p/", "/roo" + "t/", "/hom" + "e/", r"pythonhoste" + "d", "index-ur" + "l"])
    )
    found = {}
    for name in filter(None, listed.stdout.split("\0")):
        file = ROOT / name
        if file.is_file() and (hits := foreign.findall(file.read_text(encoding="utf-8", errors="ignore"))):
            found[name] = hits
    assert found == {}
