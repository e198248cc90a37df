"""What the demo asks before it writes: is the warehouse its own, and is the shop already there?"""

import json
from pathlib import Path

from foretable.build import last_order
from foretable.predictions import has_state
from foretable.project import Refusal
from foretable.query import open_reader
from foretable.simulate import FILES


def refuse_foreign_warehouse(warehouse: Path, shop: Path) -> None:
    """The demo must not write over tables that were built from something else."""
    if not warehouse.is_file():
        return
    remedy = "name another file with --warehouse for the demo"
    with open_reader(warehouse) as con:
        sources = set()
        if has_state(con):
            sources = {row[0] for row in con.execute("select distinct source from foretable.runs").fetchall()}
        elif con.execute("select count(*) from duckdb_tables() where not internal").fetchall() != [(0,)]:
            raise Refusal(f"{warehouse} holds tables that foretable has not built; {remedy}")
    known = last_order(warehouse)
    foreign = sorted({*sources, known.get("source", "contract")} - {"contract"})
    if foreign:
        raise Refusal(f"{warehouse} was built from the source '{foreign[0]}', not from a simulated shop; {remedy}")
    data = known.get("data")
    if data and Path(data) != shop.resolve():
        raise Refusal(f"{warehouse} was built from the folder {data}, not from {shop.resolve()}; {remedy}")


def is_same_shop(folder: Path, users: int, days: int, seed: int) -> bool:
    if not all((folder / name).is_file() for name in FILES):
        return False
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except ValueError:
        return False
    asked = {"users": users, "days": days, "seed": seed, "change_at": None}
    return {name: manifest.get(name) for name in asked} == asked
