"""The dashboard of Superset: what it reads is what contracts promise, and a browser shows it with data."""

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from click.testing import CliRunner, Result

from foretable.cli import main
from foretable.project import Refusal
from foretable.publish.publishing import publish
from foretable.superset.bundle import make_bundle
from foretable.superset.environment import make_environment
from foretable.superset.server import Superset
from tests.conftest import DBT_PROJECT, ROOT, Shop

READ = (
    "mart__users",
    "mart__funnel",
    "pred__purchase_30d",
    "pred__churn_30d",
    "monitoring__metrics",
    "monitoring__drift",
)
PASSWORD = "correct horse"
VENV = os.environ.get("FORETABLE_SUPERSET_VENV")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A published file without rows: its tables are what the contracts of the dbt project say."""
    file = tmp_path / "shop_published.duckdb"
    models = {
        model["name"]: model
        for place in (DBT_PROJECT / "models").rglob("*.yml")
        for model in yaml.safe_load(place.read_text(encoding="utf-8")).get("models") or []
    }
    with duckdb.connect(str(file)) as con:
        con.execute("create table _published as select 'build' as build_id")
        for name in READ:
            columns = ", ".join(f'"{one["name"]}" {one["data_type"]}' for one in models[name]["columns"])
            con.execute(f"create table {name} ({columns})")
    return file


def contents(bundle: bytes) -> dict[str, Any]:
    """The files of the archive, by their place in it."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {name: yaml.safe_load(archive.read(name)) for name in archive.namelist()}


def folder(files: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [content for place, content in files.items() if f"/{name}/" in place]


def columns_of(params: dict[str, Any]) -> list[str]:
    """Every column that a chart names."""
    one = [params[key] for key in ("column", "x_axis") if key in params]
    lists = ("groupby", "all_columns", "groupbyRows", "groupbyColumns")
    return [*one, *(name for key in lists for name in params.get(key, []))]


def test_every_chart_reads_columns_that_the_contracts_promise(published: Path) -> None:
    files = contents(make_bundle(published))
    datasets = {dataset["uuid"]: dataset for dataset in folder(files, "datasets")}
    charts = folder(files, "charts")
    assert len(charts) > 10
    with duckdb.connect(str(published), read_only=True) as con:
        for chart in charts:
            dataset, params = datasets[chart["dataset_uuid"]], chart["params"]
            metrics = {metric["metric_name"]: metric["expression"] for metric in dataset["metrics"]}
            named = [params[key] for key in ("metric", "x_axis_sort", "timeseries_limit_metric") if key in params]
            asked = [metrics[name] for name in [*params.get("metrics", []), *named]]
            columns = [f'"{column}"' for column in columns_of(params)]
            where = " and ".join(one["sqlExpression"] for one in params["adhoc_filters"]) or "true"
            grouped = f"group by {', '.join(columns)}" if columns else ""
            con.execute(f"select {', '.join(columns + asked)} from ({dataset['sql']}) where {where} {grouped}")
            assert set(columns) <= {f'"{column["column_name"]}"' for column in dataset["columns"]}


def test_every_chart_stands_on_the_dashboard_once_and_no_row_is_too_wide(published: Path) -> None:
    files = contents(make_bundle(published))
    [dashboard] = folder(files, "dashboards")
    position = dashboard["position"]
    placed = [one["meta"]["uuid"] for one in position.values() if isinstance(one, dict) and one["type"] == "CHART"]
    assert sorted(placed) == sorted(chart["uuid"] for chart in folder(files, "charts"))
    rows = [one for one in position.values() if isinstance(one, dict) and one["type"] == "ROW"]
    assert {sum(position[key]["meta"]["width"] for key in row["children"]) for row in rows} == {12}


def test_the_database_is_registered_for_reading_alone(published: Path) -> None:
    [database] = folder(contents(make_bundle(published)), "databases")
    assert database["sqlalchemy_uri"] == f"duckdb:///{published}"
    assert not any(database[key] for key in ("allow_dml", "allow_ctas", "allow_cvas", "allow_file_upload"))
    arguments = database["extra"]["engine_params"]["connect_args"]
    assert arguments["read_only"] is True
    with duckdb.connect(str(published), **arguments) as con:
        for sql in ("create table t (a int)", "from read_text('/etc/hostname')", "set lock_configuration = false"):
            with pytest.raises(duckdb.Error):
                con.execute(sql)


def test_the_same_file_gives_the_same_bytes(published: Path) -> None:
    assert make_bundle(published) == make_bundle(published)


# What is refused


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["superset", *arguments])


def test_a_file_that_lacks_what_a_chart_reads_is_refused_before_anything_is_installed(published: Path) -> None:
    with duckdb.connect(str(published)) as con:
        con.execute("alter table pred__churn_30d drop column reasons")
    result = call("--file", str(published))
    assert result.exit_code == 2
    assert "dataset 'scores'" in result.output
    assert "reasons" in result.output
    assert not (published.parent / ".foretable").exists()


def test_a_warehouse_is_refused_since_readers_would_block_its_builds(published: Path) -> None:
    with duckdb.connect(str(published)) as con:
        con.execute("drop table _published")
    result = call("--file", str(published))
    assert result.exit_code == 2
    assert "was not published" in result.output


def test_without_a_published_file_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    result = call("--file", str(tmp_path / "none.duckdb"))
    assert result.exit_code == 1
    assert "foretable publish" in result.output


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refusal, match=f"port {port} cannot be used"):
            Superset(tmp_path, tmp_path / "venv", port).refuse_taken_port()


def test_a_folder_with_other_things_does_not_become_an_environment(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(Refusal, match="name another with --venv"):
        make_environment(tmp_path, tmp_path / "install.log", print)
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]


# In a browser


@contextmanager
def running_superset(file: Path, home: Path) -> Iterator[str]:
    """The command as a user runs it; gives the dashboard's address once it says it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "FORETABLE_SUPERSET_PASSWORD": PASSWORD}
    command = [sys.executable, "-m", "foretable", "superset", "--file", str(file), "--home", str(home)]
    log = home.with_suffix(".log")
    with log.open("w") as out:
        process = subprocess.Popen([*command, "--port", str(port)], stdout=out, stderr=out, env=environment, cwd=ROOT)
    try:
        while not (told := re.search(r"The dashboard is at (\S+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(1)
        yield told[1]
    finally:
        process.terminate()
        process.wait(timeout=60)
    assert "Superset has stopped." in log.read_text()


DRAWN = """
    const holders = document.querySelectorAll('.dashboard-component-chart-holder');
    return document.querySelector('[data-test=loading-indicator]') ? 0 : holders.length;
"""
SHOWN = """
    return [...document.querySelectorAll('.dashboard-component-chart-holder')].map(holder => {
        const colours = new Set();
        for (const canvas of holder.querySelectorAll('canvas')) {
            if (!canvas.width || !canvas.height) continue;
            const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            for (let at = 0; at < pixels.length; at += 4) {
                if (pixels[at + 3]) colours.add(pixels[at] << 16 | pixels[at + 1] << 8 | pixels[at + 2]);
            }
        }
        return {text: holder.innerText, colours: colours.size,
                rows: holder.querySelectorAll('tbody tr').length};
    });
"""


@pytest.mark.superset
@pytest.mark.skipif(
    not VENV, reason="FORETABLE_SUPERSET_VENV names no folder with an environment of Superset, or for one"
)
@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver are installed to look at Superset")
def test_a_browser_shows_every_chart_with_data(tiny_shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "shop_published.duckdb"
    publish(tiny_shop.warehouse, file, state=tmp_path)
    charts = folder(contents(make_bundle(file)), "charts")
    with duckdb.connect(str(file), read_only=True) as con:
        [(users,)] = con.execute("select count(*) from mart__users").fetchall()
        first = con.execute(
            "select user_id, reasons[1].sentence from pred__purchase_30d where score_rank = 1"
        ).fetchone()
    with running_superset(file, tmp_path / "home") as address:
        shown = look(address, len(charts), tmp_path / "dashboard.png")
    texts = {chart["slice_name"]: next(one for one in shown if chart["slice_name"] in one["text"]) for chart in charts}
    for title, one in texts.items():
        assert not re.search("no results|no data|error|unexpected", one["text"], re.IGNORECASE), title
    for chart in charts:
        one = texts[chart["slice_name"]]
        if chart["viz_type"] == "big_number_total":
            assert re.search(r"\d", one["text"].replace(chart["slice_name"], "")), one["text"]
        elif chart["viz_type"] in ("table", "pivot_table_v2"):
            assert one["rows"] >= 3, one["text"]
        else:
            assert one["colours"] > 10, one["text"]
    assert f"{users:,}" in texts["Users scored"]["text"]
    assert first is not None
    for word in first:
        assert word in texts["The likeliest buyers, and why"]["text"]


def look(address: str, count: int, picture: Path) -> list[dict[str, Any]]:
    """Log in, wait until all charts are drawn, take a picture, and tell what each of them shows."""
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1500,4600"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.set_script_timeout(300)
        wait = WebDriverWait(driver, 600, poll_frequency=2)
        driver.get(address)
        name = wait.until(lambda page: page.find_element(By.ID, "username"))
        name.send_keys("admin")
        driver.find_element(By.ID, "password").send_keys(PASSWORD + "\n")
        wait.until(lambda page: "/login" not in page.current_url)
        driver.get(address)
        wait.until(lambda page: page.execute_script(DRAWN) == count)
        time.sleep(3)  # the charts grow while they appear
        driver.save_screenshot(str(picture))
        return driver.execute_script(SHOWN)
    finally:
        driver.quit()
