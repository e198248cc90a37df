"""The dashboard as Superset imports it: the YAML files of this package, completed by what the published file says."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import yaml

from foretable.project import Refusal

if TYPE_CHECKING:
    import duckdb

FOLDER = Path(__file__).parent / "bundle"
VERSION = "1.0.0"
"""Of Superset's export format."""
DATABASE = "foretable"
NAMESPACE = UUID("3d1f1c8e-6f0b-5a55-9d0e-0b1f6f4c2a77")
"""The same chart has the same id in every release, so that an import replaces it."""
MOMENT = (1980, 1, 1, 0, 0, 0)
"""Of every file in the archive: the same content has the same bytes."""


def make_bundle(published: Path) -> bytes:
    """The dashboard on this published file, as the zip archive of Superset's assets import.

    Raises NotFoundError where there is no file, and Refusal where it is none that was published, or lacks a table or
    column that a chart reads.
    """
    from ibis_features.errors import NotFoundError
    from ibis_features.reader import SHUT, is_published, open_shut

    if not published.is_file():
        raise NotFoundError(f"no published file at {published}; publish one with `foretable publish`")
    definitions = {name: _read(name) for name in ("datasets", "charts", "dashboard")}
    database = {
        "database_name": DATABASE,
        "sqlalchemy_uri": f"duckdb:///{published}",
        "expose_in_sqllab": True,
        "allow_ctas": False,
        "allow_cvas": False,
        "allow_dml": False,
        "allow_file_upload": False,
        "extra": {"engine_params": {"connect_args": {"read_only": True, "config": SHUT}}},
        "uuid": _id("database", DATABASE),
        "version": VERSION,
    }
    files: dict[str, Mapping[str, Any]] = {
        "metadata.yaml": {"version": VERSION, "type": "assets", "timestamp": "1980-01-01T00:00:00+00:00"},
        f"databases/{DATABASE}.yaml": database,
    }
    with open_shut(published) as con:
        if not is_published(con):
            raise Refusal(
                f"{published} was not published, and readers would block its builds; name what `foretable publish` made"
            )
        for name, dataset in definitions["datasets"].items():
            files[f"datasets/{DATABASE}/{name}.yaml"] = _dataset(con, published, name, dataset)
    for name, chart in definitions["charts"].items():
        files[f"charts/{name}.yaml"] = _chart(name, chart)
    files["dashboards/dashboard.yaml"] = _dashboard(definitions["dashboard"], definitions["charts"])
    return _zip(files)


def _read(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def _id(kind: str, name: str) -> str:
    return str(uuid5(NAMESPACE, f"{kind}/{name}"))


def _dataset(con: duckdb.DuckDBPyConnection, published: Path, name: str, dataset: Mapping[str, Any]) -> dict[str, Any]:
    import duckdb

    try:
        described = con.execute(f"describe {dataset['sql']}").fetchall()
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise Refusal(
            f"{published} lacks what the dashboard's dataset '{name}' reads: {error}; build purchase_30d and churn_30d "
            "with `reasons` in their config by this release, and publish again"
        ) from None
    return {
        "table_name": name,
        "description": dataset["description"],
        "schema": "main",
        "sql": dataset["sql"],
        "uuid": _id("dataset", name),
        "version": VERSION,
        "database_uuid": _id("database", DATABASE),
        "metrics": [
            {"metric_name": metric, "expression": expression} for metric, expression in dataset["metrics"].items()
        ],
        "columns": [
            {"column_name": row[0], "type": row[1], "is_dttm": row[1].startswith("TIMESTAMP") or row[1] == "DATE"}
            for row in described
        ],
    }


def _chart(name: str, chart: Mapping[str, Any]) -> dict[str, Any]:
    filters = []
    if "where" in chart:
        filters = [{"clause": "WHERE", "expressionType": "SQL", "sqlExpression": chart["where"]}]
    params = {"viz_type": chart["viz_type"], "adhoc_filters": filters, **chart["params"]}
    return {
        "slice_name": chart["title"],
        "viz_type": chart["viz_type"],
        "params": params,
        "uuid": _id("chart", name),
        "version": VERSION,
        "dataset_uuid": _id("dataset", chart["dataset"]),
    }


def _dashboard(dashboard: Mapping[str, Any], charts: Mapping[str, Any]) -> dict[str, Any]:
    position: dict[str, Any] = {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"id": "ROOT_ID", "type": "ROOT", "children": ["GRID_ID"]},
        "GRID_ID": {"id": "GRID_ID", "type": "GRID", "children": [], "parents": ["ROOT_ID"]},
        "HEADER_ID": {"id": "HEADER_ID", "type": "HEADER", "meta": {"text": dashboard["title"]}},
    }

    def place(kind: str, key: str, meta: Mapping[str, Any], parent: str = "GRID_ID") -> str:
        parents = [*position[parent]["parents"], parent]
        position[key] = {"id": key, "type": kind, "children": [], "parents": parents, "meta": dict(meta)}
        position[parent]["children"].append(key)
        return key

    for number, section in enumerate(dashboard["sections"], start=1):
        text = {"text": section["title"], "headerSize": "MEDIUM_HEADER", "background": "BACKGROUND_TRANSPARENT"}
        place("HEADER", f"HEADER-{number}", text)
        for line, row in enumerate(section["rows"], start=1):
            here = place("ROW", f"ROW-{number}-{line}", {"background": "BACKGROUND_TRANSPARENT"})
            for name, width in row["charts"].items():
                meta = {"uuid": _id("chart", name), "sliceName": charts[name]["title"], "chartId": 0}
                place("CHART", f"CHART-{name}", {**meta, "width": width, "height": row["height"]}, here)
    return {
        "dashboard_title": dashboard["title"],
        "slug": dashboard["slug"],
        "published": True,
        "position": position,
        "metadata": {"color_scheme": "supersetColors"},
        "uuid": _id("dashboard", dashboard["slug"]),
        "version": VERSION,
    }


def _zip(files: Mapping[str, Mapping[str, Any]]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            # Through JSON, so that no anchor of the YAML comes along.
            text = yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False, allow_unicode=True)
            out.writestr(zipfile.ZipInfo(f"foretable/{name}", MOMENT), text)
    return archive.getvalue()
