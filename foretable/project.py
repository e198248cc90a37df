"""Which dbt project to build, and whether what it reads and writes can be there: all that is checked before dbt starts.

Everything here raises click's exceptions with exit code 2: the order itself is wrong, and nothing has been touched.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

PACKAGE = "foretable"
TAKEN_NAMES = ("foretable", "scores", "scores_models", "main", "staging", "cleaning", "changes", "raw")
"""Schemas of a warehouse. A DuckDB file of that name would make `scores.x` ambiguous."""
ENDINGS = ("parquet", "csv", "csv.gz", "jsonl", "ndjson", "jsonl.gz")
DEFAULT_SOURCE = "contract"
DEFAULT_DATA = "shop"


class Refusal(click.ClickException):
    """The order cannot be carried out as given."""

    exit_code = 2


@dataclass(frozen=True)
class Project:
    """A dbt project: its folder, the folder of its profiles.yml, and its own vars."""

    folder: Path
    profiles: Path
    vars: Mapping[str, Any]

    @property
    def is_packaged(self) -> bool:
        return self.folder == packaged_project()

    @property
    def has_packages(self) -> bool:
        return (self.folder / "packages.yml").is_file()


def packaged_project() -> Path:
    """The dbt project that foretable brings: inside the package in a wheel, beside it in a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "dbt_project", here.parent / "dbt_project"):
        if (folder / "dbt_project.yml").is_file():
            return folder
    raise Refusal(f"the installation in {here} lacks its dbt project; install foretable anew")


def find_project(folder: Path | None, profiles: Path | None = None) -> Project:
    """The project in `folder`; without one that of the current folder, else the packaged one."""
    if folder is None:
        here = Path.cwd()
        folder = here if (here / "dbt_project.yml").is_file() else packaged_project()
    folder = folder.resolve()
    file = folder / "dbt_project.yml"
    if not file.is_file():
        raise Refusal(f"{folder} holds no dbt_project.yml; start a project with `foretable init FOLDER`")
    own_vars = read_yaml(file.read_text(encoding="utf-8"), place=str(file)).get("vars") or {}
    if profiles is None:
        profiles = folder if (folder / "profiles.yml").is_file() else packaged_project()
    return Project(folder, profiles.resolve(), own_vars)


def read_yaml(text: str, *, place: str) -> dict[str, Any]:
    """The mapping that `text` says; `place` names it in the error."""
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = getattr(error, "problem", None) or "it cannot be parsed"
        raise Refusal(
            f"{place} is not YAML ({reason}); write it like '{{source: contract, snapshot_every: 7 days}}'"
        ) from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Refusal(
            f"{place} holds no names with values; write it like '{{source: contract, snapshot_every: 7 days}}'"
        )
    return found


def check_warehouse(warehouse: Path) -> Path:
    """The absolute path of a warehouse that may be written; raises Refusal on a name or folder that will not do."""
    warehouse = warehouse.absolute()
    if warehouse.stem.lower() in TAKEN_NAMES:
        raise Refusal(
            f"the warehouse cannot be named {warehouse.name}: '{warehouse.stem}' is also the name of a schema in it, "
            "and DuckDB could not tell them apart; name it warehouse.duckdb, say"
        )
    if any(quote in warehouse.name for quote in "'\""):
        raise Refusal(f"the warehouse's name {warehouse.name} holds a quote, which dbt cannot handle; leave it out")
    if warehouse.is_dir():
        raise Refusal(f"{warehouse} is a folder; --warehouse names a file, such as {warehouse.name}/warehouse.duckdb")
    if not warehouse.parent.is_dir():
        raise Refusal(f"no folder {warehouse.parent} for the warehouse; make it first")
    if warehouse.is_file() and _is_published(warehouse):
        raise Refusal(
            f"{warehouse} is a published file, which is for reading and is replaced by every publish; name the "
            "warehouse that it was published from with --warehouse"
        )
    return warehouse


def _is_published(file: Path) -> bool:
    """Is it a file that `foretable publish` has written? One that cannot be opened says why when it is built into."""
    import duckdb

    from ibis_features.reader import is_published

    try:
        with duckdb.connect(str(file), read_only=True) as con:
            return is_published(con)
    except duckdb.Error:
        return False


def check_data(project: Project, chosen: Mapping[str, Any], data: Path | None) -> None:
    """Are the files there that the source will read? Only what can be told without dbt is checked.

    `chosen` holds the vars of the command line, `data` the folder named by --data or FORETABLE_DATA.
    """
    settings = {**project.vars, **chosen}
    source = settings.get("source", DEFAULT_SOURCE)
    mappings = _mappings(project)
    if source not in mappings:
        raise Refusal(f"unknown source '{source}'; known: {', '.join(sorted(mappings))}")
    if settings.get("raw_schema"):
        return
    reads_contract = source == DEFAULT_SOURCE
    named_files = sorted({name for file in mappings[source] for name in _data_files(file)})
    if data is None and (reads_contract or named_files):
        data = Path(settings.get("data") or DEFAULT_DATA)
        if not data.is_absolute() and not project.is_packaged:
            data = project.folder / data
    if data is None:
        return
    how = "name the folder with --data FOLDER, or make a shop with `foretable simulate`"
    if not data.exists():
        raise Refusal(f"no folder '{data}' with the raw log; {how}")
    if not data.is_dir():
        raise Refusal(f"'{data}' is a file; name the folder that holds it with --data FOLDER")
    if reads_contract and not any(_tables_files(data, "events")):
        raise Refusal(
            f"folder '{data}' holds no events; expected events.parquet, events.csv, events.csv.gz or events.jsonl, "
            f"or a folder events/ of such files; {how}"
        )
    if not reads_contract:
        for name in named_files:
            if not any(data.glob(name)):
                raise Refusal(f"folder '{data}' holds no {name}, which the source '{source}' reads; {how}")


def check_selector(project: Project, selector: str) -> None:
    """Does the project's selectors.yml name it? dbt reads those of the project alone, not of its packages."""
    file = project.folder / "selectors.yml"
    if not file.is_file():
        raise Refusal(f"{project.folder} holds no selectors.yml; copy {packaged_project() / file.name} into it")
    found = read_yaml(file.read_text(encoding="utf-8"), place=str(file)).get("selectors") or []
    known = [one["name"] for one in found]
    if selector not in known:
        raise Refusal(f"unknown selector '{selector}'; known: {', '.join(known)}")


def known_sources(project: Project) -> list[str]:
    """The sources that there are mappings for, sorted."""
    return sorted(_mappings(project))


def _tables_files(data: Path, table: str) -> list[Path]:
    patterns = [pattern for ending in ENDINGS for pattern in (f"{table}.{ending}", f"{table}/*.{ending}")]
    return [file for pattern in patterns for file in data.glob(pattern)]


def _mappings(project: Project) -> dict[str, list[Path]]:
    """The mapping models of each source, by its name: <source>__events.sql and its neighbours, the team's over ours."""
    found: dict[str, list[Path]] = {}
    for folder in {packaged_project(): None, project.folder: None}:
        for events in sorted(folder.glob("models/**/*__events.sql")):
            source = events.name.removesuffix("__events.sql")
            if events.parent.parent.name == "sources" or folder != packaged_project():
                found[source] = sorted(events.parent.glob(f"{source}__*.sql"))
    return found


def _data_files(mapping: Path) -> list[str]:
    """The files that a mapping reads with data_file('…')."""
    return re.findall(r"data_file\(\s*'([^']+)'\s*\)", mapping.read_text(encoding="utf-8"))
