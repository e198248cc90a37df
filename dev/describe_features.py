"""Write the columns of features__user, with types and descriptions, into its YAML, and hold the view to them.

    python -m dev.describe_features WAREHOUSE

The warehouse is one that was built with the default settings. Every column needs a text in feature_descriptions.yml.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import yaml

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "dbt_project" / "models" / "features" / "_features__models.yml"
TEXTS = Path(__file__).parent / "feature_descriptions.yml"
ATTRIBUTES = ("gender", "region", "occupation", "income_band", "age_years", "registered_days")
KEYS = ("user_id", "as_of")
WINDOWED = re.compile(r"(?P<base>\w+?)_(?:(?P<days>\d+)d|lifetime)")
FLAG = re.compile(r"is_(?P<column>\w+)_(?P<what>imputed|capped)")
CONTRACT = "      contract:\n        enforced: \"{{ var('windows', none) is none }}\"\n"


def main(warehouse: str) -> None:
    """Rewrite the YAML in place; ends with a sentence where a column has no text."""
    with duckdb.connect(warehouse, read_only=True) as con:
        columns = {row[0]: row[1] for row in con.execute("describe features__user").fetchall()}
    MODELS.write_text(described(MODELS.read_text(encoding="utf-8"), columns), encoding="utf-8")


def described(models: str, columns: Mapping[str, str]) -> str:
    """The YAML of the models with the columns of features__user, the first and only model in it, written anew.

    Raises ValueError naming the columns without a text.
    """
    texts = yaml.safe_load(TEXTS.read_text(encoding="utf-8"))
    said = {name: describe(name, texts) for name in columns}
    if missing := [name for name, text in said.items() if text is None]:
        raise ValueError(f"no text for {', '.join(missing)}; write one into {TEXTS.name}")
    head = models.split("    columns:\n", maxsplit=1)[0]
    if "contract:" not in head:
        head = head.replace("    config:\n", "    config:\n" + CONTRACT, 1)
    entries = [_entry(name, columns[name], str(said[name])) for name in columns]
    return head + "    columns:\n" + "".join(entries)


def describe(column: str, texts: Mapping[str, str]) -> str | None:
    """What a column says, from the text of its name, or of its name before the window; None where there is neither."""
    if column in texts:
        return texts[column]
    if flag := FLAG.fullmatch(column):
        filled = {"imputed": "was missing and is filled", "capped": "lay outside the limits and is capped"}
        return f"Whether {flag['column']} {filled[flag['what']]}."
    windowed = WINDOWED.fullmatch(column)
    if windowed is None or windowed["base"] not in texts:
        return None
    days = windowed["days"]
    number = "day" if days == "1" else f"{days} days"
    window = f"in the {number} before as_of" if days else "up to as_of"
    ahead = f"in the {number} from as_of on"
    return texts[windowed["base"]].replace("{window}", window).replace("{ahead}", ahead)


def _entry(name: str, kind: str, text: str) -> str:
    entry: dict[str, Any] = {"name": name, "data_type": kind.lower(), "description": text}
    if name in ATTRIBUTES:
        entry["config"] = {"meta": {"attribute_of": "users"}}
    if name in KEYS:
        entry["data_tests"] = ["not_null"]
    lines = yaml.safe_dump([entry], sort_keys=False, width=1000, allow_unicode=True).splitlines()
    return "".join(f"      {line}\n" for line in lines)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m dev.describe_features WAREHOUSE")
    try:
        main(sys.argv[1])
    except (ValueError, duckdb.Error) as error:
        sys.exit(str(error))
