"""Start a dbt project for a team's own shop: the files under templates/ with the shop's name, and an example log.

The templates are a project themselves, for a shop named my_shop.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from foretable.project import PACKAGE, Refusal, packaged_project

TEMPLATE_NAME = "my_shop"
NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")
RESERVED = (PACKAGE, "dbt", "udfs", "labels", "predictions", "main", "staging", "cleaning", "scores", "scores_models")
EXAMPLE_USERS, EXAMPLE_DAYS, EXAMPLE_SEED = 150, 220, 7

EXAMPLE_LOG = """
    select
        event_id as event_key,
        user_id as visitor,
        session_id as visit,
        case event_type
            when 'view' then 'product viewed'
            when 'search' then 'searched'
            when 'cart' then 'added to basket'
            when 'remove' then 'taken from basket'
            when 'favourite' then 'wished for'
            when 'purchase' then 'bought'
            when 'return' then 'sent back'
            when 'click' then 'banner clicked'
            when 'impression' then 'banner shown'
            when 'share' then 'recommended'
            when 'register' then 'signed up'
            else event_type
        end as action,
        item_id as product,
        query as words,
        channel as came_by,
        quantity as pieces,
        price as unit_price,
        occurred_at as happened_at,
        loaded_at as stored_at
    from read_parquet(?)
    order by all
"""


def init_project(folder: Path, name: str | None = None) -> str:
    """Write the project into a new or empty folder; return the shop's name."""
    name = _checked_name(folder.absolute().name if name is None else name, is_given=name is not None)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refusal(f"{folder} is there already and not empty; name a new folder")
    templates = Path(__file__).parent / "templates"
    for template in sorted(file for file in templates.rglob("*") if file.is_file() and file.suffix != ".pyc"):
        place = str(template.relative_to(templates)).replace(TEMPLATE_NAME, name)
        target = folder / (".gitignore" if place == "gitignore" else place)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = template.read_text(encoding="utf-8").replace(TEMPLATE_NAME, name)
        target.write_text(text.replace("path_of_foretable", packaged_project().as_posix()), encoding="utf-8")
    # dbt reads the selectors of the project that it runs, not those of its packages.
    shutil.copy(packaged_project() / "selectors.yml", folder)
    _write_example_log(folder / "data" / "log.csv")
    return name


def _write_example_log(file: Path) -> None:
    """A small simulated log under a shop's own column names and its own words for what users do."""
    import duckdb

    from foretable.simulate import simulate

    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as con:
        shop = Path(scratch) / "shop"
        simulate(shop, users=EXAMPLE_USERS, days=EXAMPLE_DAYS, seed=EXAMPLE_SEED)
        con.sql(EXAMPLE_LOG, params=[str(shop / "events.parquet")]).write_csv(str(file))


def _checked_name(name: str, *, is_given: bool) -> str:
    from foretable.project import find_project, known_sources

    remedy = "" if is_given else "; give it another with --name"
    if not NAME.fullmatch(name):
        raise Refusal(f"'{name}' cannot name a shop: lower-case letters, digits and _ only, a letter first{remedy}")
    if name in RESERVED or name in known_sources(find_project(packaged_project())):
        raise Refusal(f"'{name}' is taken by foretable itself; choose another name{remedy}")
    return name
