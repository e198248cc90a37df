"""`foretable ui`: the page without a browser, and a real click in one."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from foretable.cli import main
from foretable.ui import page
from tests.published import write_published

testing = pytest.importorskip("streamlit.testing.v1", reason="streamlit is not installed: pip install 'foretable[ui]'")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp("built") / "shop.duckdb")


def answer(file: Path, sql: str, *values: object) -> Any:
    """What a client of its own finds in a copy of the file."""
    copy = file.with_name("asked.duckdb")
    if not copy.exists():
        shutil.copy(file, copy)
    with duckdb.connect(str(copy), read_only=True) as con:
        return con.execute(sql, values).fetchall()


@pytest.fixture
def shown(built: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "argv", ["run_page.py", str(built)])
    app = testing.AppTest.from_file(Path(page.__file__).with_name("run_page.py"), default_timeout=120).run()
    assert not app.exception
    app.selectbox("prediction").select("test").run()
    return app


def test_the_page_shows_the_highest_scores_and_the_reasons_of_the_first(shown: Any, built: Path) -> None:
    rows = answer(built, "select user_id, score from pred__test order by score desc, user_id")
    table = shown.dataframe[0].value
    assert list(table["user_id"]) == [user for user, _ in rows]
    assert table["score"].tolist() == pytest.approx([score for _, score in rows])
    [(reasons,)] = answer(built, "select reasons from pred__test where user_id = ?", rows[0][0])
    assert [text.value for text in shown.text] == [reason["sentence"] for reason in reasons]


def test_filters_leave_the_rows_that_they_name(shown: Any, built: Path) -> None:
    shown.text_input("containing").input("u11").run()
    shown.slider("between").set_value((0.1, 0.9)).run()
    expected = answer(
        built,
        "select user_id from pred__test where user_id like '%u11%' and score between 0.1 and 0.9 "
        "order by score desc, user_id",
    )
    assert 0 < len(expected) < 12
    assert [(user,) for user in shown.dataframe[0].value["user_id"]] == expected
    shown.text_input("containing").input("nobody").run()
    assert "No row is left" in shown.info[0].value
    assert not shown.exception


def test_a_changed_feature_gets_the_score_that_the_macro_gives(shown: Any, built: Path) -> None:
    user = shown.dataframe[0].value["user_id"].iloc[0]
    assert shown.selectbox("feature_test").value == "heat"
    shown.number_input(f"value_test_{user}_heat").set_value(0.25).run()
    [(before, after)] = answer(
        built,
        "select scores.test(given), scores.test(struct_update(given, heat := 0.25)) "
        "from examples__test as given where user_id = ?",
        user,
    )
    metric = shown.metric[-1]
    assert (metric.value, metric.delta) == (f"{after:.4f}", f"{after - before:+.4f}")
    assert after != before
    shown.selectbox("feature_test").select("kind").run()
    shown.selectbox(f"value_test_{user}_kind").select(None).run()
    assert not shown.exception


def test_a_prediction_without_macro_and_reasons_says_so(shown: Any) -> None:
    shown.selectbox("prediction").select("numbers").run()
    assert not shown.exception
    said = "the file holds no function that scores rows of 'numbers'; ask for the score of an entity"
    assert [info.value for info in shown.info] == [said, said]


def test_of_items_in_order_the_page_shows_the_list_of_an_entity(built: Path, tmp_path: Path, monkeypatch: Any) -> None:
    file = Path(shutil.copy(built, tmp_path / "lists.duckdb"))
    with duckdb.connect(str(file)) as con:
        con.execute(
            """
            create table pred__liked as
            select
                pred.user_id, 'item ' || n as item_id, 1 as version, (n * 7 % 5 + pred.score)::float as score,
                row_number() over (order by n * 7 % 5 + pred.score desc)::integer as score_rank, 1 as score_decile,
                row_number() over (partition by user_id order by n * 7 % 5 desc)::integer as item_rank,
                as_of, scored_at, [struct_pack(
                    feature := 'n', value := n::varchar, contribution := 0.5, sentence := 'n is ' || n
                )] as reasons
            from pred__test as pred, range(1, 4) as numbers (n)
            """
        )
    monkeypatch.setattr(sys, "argv", ["run_page.py", str(file)])
    app = testing.AppTest.from_file(Path(page.__file__).with_name("run_page.py"), default_timeout=120).run()
    app.selectbox("prediction").select("liked").run()
    assert not app.exception
    scores, items = (table.value for table in app.dataframe[:2])
    assert len(scores) == 360
    assert items["item_id"].tolist() == ["item 2", "item 1", "item 3"]
    first = scores["user_id"].iloc[0]
    assert [text.value for text in app.text] == ["n is 2"]
    app.selectbox(f"item_liked_{first}").select("item 3").run()
    assert [text.value for text in app.text] == ["n is 3"]


def test_a_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.duckdb").write_text("no DuckDB file")
    for name, said in (("text.duckdb", "is not a DuckDB file"), ("nowhere.duckdb", "no file at")):
        result = CliRunner().invoke(main, ["ui", str(tmp_path / name)])
        assert result.exit_code == 1
        assert said in result.output


# In a browser


@pytest.fixture
def served(built: Path) -> Iterator[str]:
    """What a user types, in a process of its own; the page's address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "foretable", "ui", str(built), "--port", str(port)]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/_stcore/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 15)


def wait_for(url: str, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=seconds).close()
        except OSError:
            assert time.monotonic() < end, "the page never came"
            time.sleep(0.2)
        else:
            return


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="selenium is not installed: pip install 'foretable[dev]'"
    )
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no chromium and chromedriver are installed to show a page")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1400,1400",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)  # fmt: skip
    with webdriver.Chrome(options, Service(driver)) as one:
        yield one


def test_a_click_in_a_browser_moves_the_score_and_runs_sql(served: str, built: Path, browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    def until(found: Any) -> Any:
        return WebDriverWait(browser, 120, ignored_exceptions=[Exception]).until(found)

    def seen() -> str:
        return browser.find_element(By.TAG_NAME, "body").text

    browser.get(served)
    until(lambda _: "Why " in seen())
    choice = browser.find_element(By.CSS_SELECTOR, "[data-testid=stSidebar] [data-testid=stSelectbox] input")
    choice.click()
    choice.send_keys("test", Keys.ENTER)
    until(lambda _: "kind is" in seen() and "What if" in seen())
    [(user,)] = answer(built, "select user_id from pred__test order by score desc, user_id limit 1")
    [(before, after)] = answer(
        built,
        "select scores.test(given), scores.test(struct_update(given, heat := 0.25)) "
        "from examples__test as given where user_id = ?",
        user,
    )
    assert f"{before:.4f}" in seen()
    value = browser.find_element(By.CSS_SELECTOR, "[data-testid=stNumberInput] input")
    value.send_keys(Keys.CONTROL, "a")
    value.send_keys("0.25", Keys.ENTER)
    until(lambda _: f"{after:.4f}" in seen())
    text = browser.find_element(By.CSS_SELECTOR, "[data-testid=stTextArea] textarea")
    text.send_keys(Keys.CONTROL, "a")
    text.send_keys("delete from pred__test")
    browser.find_element(By.CSS_SELECTOR, "[data-testid=stFormSubmitButton] button").click()
    until(lambda _: "DELETE is refused" in seen())
    if picture := os.environ.get("FORETABLE_PICTURE"):  # for docs/ui.png
        browser.save_screenshot(picture)
