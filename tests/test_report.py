"""The report: a page a prediction, that says what the warehouse knows of it, and an index."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pytest
from click.testing import CliRunner, Result

import udfs
from foretable.cli import main
from foretable.reporting import charts, pages
from foretable.reporting.facts import limits, read_facts
from models_ml.evaluation import METRICS, TRUE_CALIBRATION_ERROR
from models_ml.kinds import KINDS, Lists, kind_of
from tests.predicting import fixed, predict, state_of

ODD = 'a<b>"x"</b>&/../y'
SELECT = """
    select *, heat + noise as "<i>warm</i> & $x$", user_id < 'u5' as is_early,
        if(as_of < '2025-05-01', 'old', 'new') as era, (heat::int % 3)::double / 2 as third
    from fixed
"""
CONFIG = {"slices": ["kind", "is_early", "third", "era"], "exclude": ["is_early", "era"]}
WITH_PREDICTION = [
    *("models", "active", "promotions", "metrics", "importances", "runs"),
    *("deciles", "curves", "confusion", "slices"),
]


@pytest.fixture(scope="module")
def trained(stateful: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One prediction of two versions, the newer one a candidate."""
    warehouse = Path(shutil.copy(stateful, tmp_path_factory.mktemp("trained") / "shop.duckdb"))
    with duckdb.connect(str(warehouse)) as con:
        con.execute("select setseed(0.5)")
        fixed(con)
        assert predict(con, SELECT, **CONFIG) is None
        assert predict(con, SELECT, **CONFIG, promote="never", seed=8) is None
    return warehouse


@pytest.fixture
def warehouse(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(trained, tmp_path / "shop.duckdb"))


def report(warehouse: Path, *arguments: str) -> Result:
    out = () if "--out" in arguments else ("--out", str(warehouse.parent / "report"))
    return CliRunner().invoke(main, ["report", *arguments, *out, "--warehouse", str(warehouse)])


def written(warehouse: Path, name: str = "test.html") -> str:
    result = report(warehouse)
    assert result.exit_code == 0, result.output
    return (warehouse.parent / "report" / name).read_text(encoding="utf-8")


class Shown(HTMLParser):
    """The text of a page, and the ids and tags in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        if self.lasttag != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


# The tables behind it


def test_a_training_keeps_curves_that_agree_with_its_metrics(con: duckdb.DuckDBPyConnection) -> None:
    metrics = con.execute(
        "select version, split, metric, value from foretable.metrics where scored_by = 'model' order by all"
    ).fetchall()
    value = {(version, split, metric): value for version, split, metric, value in metrics}
    for version in (1, 2):
        for split in ("validate", "test"):
            here = f"version = {version} and split = '{split}'"
            roc = con.execute(
                f"select x, y from foretable.curves where {here} and curve = 'roc' order by x, y"
            ).fetchall()
            area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(roc))
            assert area == pytest.approx(value[version, split, "roc_auc"], abs=1e-3)
            deciles = con.execute(
                f"select row_count, lift from foretable.deciles where {here} order by decile"
            ).fetchall()
            assert len(deciles) == 10
            assert sum(rows for rows, _ in deciles) == pytest.approx(120)
            assert deciles[0][1] == pytest.approx(value[version, split, "top_decile_lift"])
            counted = con.execute(
                "select count(*), min(true_positive + false_positive + true_negative + false_negative), "
                f"count(*) filter (is_chosen) from foretable.confusion where {here}"
            ).fetchone()
            assert counted == (20, 120, 1)


def test_slices_hold_all_rows_of_their_split_whether_they_are_features_or_not(con: duckdb.DuckDBPyConnection) -> None:
    found = con.execute(
        "select column_name, split, sum(row_count), list(value order by value) from foretable.slices "
        "where version = 1 group by all order by all"
    ).fetchall()
    kinds, truths, thirds = ["c0", "c1", "c2", "c3", "missing"], ["false", "true"], ["0.0", "0.5", "1.0"]
    assert found == [
        ("era", "test", 120, ["other"]), ("era", "validate", 120, ["old"]),
        ("is_early", "test", 120, truths), ("is_early", "validate", 120, truths),
        ("kind", "test", 120, kinds), ("kind", "validate", 120, kinds),
        ("third", "test", 120, thirds), ("third", "validate", 120, thirds),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("select", "slices", "sentence"),
    [
        ("select * from fixed", ["gone", "kind"], "slices names columns that the SELECT does not return: gone"),
        ("select * from fixed", ["bought"], "slices names bought; it takes columns other than keys and label"),
        ("select * from fixed", ["user_id"], "slices names user_id"),
        ("select *, [1.0, 2.0]::float[2] as e from fixed", ["e"], "a slice is a category, a boolean or a number"),
        ("select * from fixed", "kind", "config slices='kind' is not a list of columns"),
        ("select * from fixed", [1], "config slices=[1] is not a list of columns"),
    ],
)
def test_a_slice_that_cannot_be_told_is_refused_by_name(
    con: duckdb.DuckDBPyConnection, select: str, slices: object, sentence: str
) -> None:
    before = state_of(con)
    message = predict(con, select, slices=slices)
    assert message is not None
    assert sentence in message
    assert state_of(con) == before


# What a page says


def test_a_page_says_what_serves_how_good_it_is_and_where_it_errs(warehouse: Path) -> None:
    text = Shown(written(warehouse)).text
    with duckdb.connect(str(warehouse)) as con:
        auc, digest = con.execute(
            "select metrics.value, models.artifact_sha256 from foretable.metrics as metrics "
            "inner join foretable.models as models using (prediction, version) "
            "where version = 1 and metrics.split = 'test' and scored_by = 'model' and metric = 'roc_auc'"
        ).fetchone() or (0, "")
        user, score = con.execute("select user_id, score from pred__test order by score_rank").fetchone() or ()
    for words in (
        "For each user_id : the probability that bought is true within the 30 days after the cut-off instant",
        "Version 1 (xgboost) active serves since",
        "scored 120 rows as of 2025-05-31",
        "2 candidate xgboost",
        f"{auc:.3f} [",
        "base rate",
        f"{user} {score:.3f}",
        "the best F1 on validation: score at least",
        "uncalibrated",
        "By contribution",
        "By permutation",
        "By gain",
        "is_early value rows event rate mean score AUC",
        "missing",
        "<i>warm</i> & $x$",
        "The test sample is small:",
        "Columns of the SELECT that it was not trained on: is_early, era.",
        "Leak check: no feature tells the label by itself",
        digest,
        "Intended use:",
        "xgboost 3.",
    ):
        assert words in text, words


def test_a_page_explains_the_highest_the_middle_and_the_lowest_score(warehouse: Path) -> None:
    text = Shown(written(warehouse)).text
    with duckdb.connect(str(warehouse)) as con:
        udfs.register(con)
        rows = con.execute(
            "select user_id, round(score, 3)::decimal(4, 3)::varchar, explain_test(examples) from pred__test "
            "inner join examples__test as examples using (user_id, as_of) "
            "where score_rank in (1, 60, 120) order by score_rank"
        ).fetchall()
        base = con.execute("select base_log_odds from foretable.models where version = 1").fetchone()
    assert base is not None
    assert f"the log-odds, which start at {base[0]:.2f}." in text
    for user, score, reasons in rows:
        shown = " ".join(reason["sentence"] for reason in reasons[:6])
        assert f"{user}: {score} {shown}" in text
    assert f"and {len(reasons) - 6} smaller ones" in text or len(reasons) <= 6


def test_a_page_needs_nothing_but_itself(warehouse: Path) -> None:
    for page in (written(warehouse), written(warehouse, "index.html")):
        shown = Shown(page)
        assert not re.search(r"https?:|@import|url\((?!#)|\bsrc=", page)
        assert not shown.tags & {"script", "link", "img", "iframe"}
        assert len(shown.ids) == len(set(shown.ids))
    assert {"svg", "figure"} <= Shown(written(warehouse)).tags


def test_pictures_take_their_colours_from_the_page(warehouse: Path) -> None:
    page = written(warehouse)
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) == 10
    for picture in pictures:
        assert "var(--ink)" in picture
        assert re.findall(r"#[0-9a-f]{6}\b", picture) == []
        assert "http" not in picture
        assert re.match(r'<svg role="img" aria-label="[^"]+"', picture)
    assert "&lt;i&gt;warm&lt;/i&gt; &amp; $x$</text>" in pictures[-1]


def test_names_are_text_and_file_names_are_safe(warehouse: Path) -> None:
    with duckdb.connect(str(warehouse)) as con:
        for table in WITH_PREDICTION:
            con.execute(f"update foretable.{table} set prediction = ?", [ODD])
        con.execute("update foretable.slices set value = '<u>c1</u>' where value = 'c1'")
    result = report(warehouse, ODD)
    assert result.exit_code == 0, result.output
    folder = warehouse.parent / "report"
    [file] = [file for file in folder.iterdir() if file.name != "index.html"]
    assert re.fullmatch(r"a-b-x-b-y-[0-9a-f]{8}\.html", file.name)
    page, index = file.read_text(encoding="utf-8"), (folder / "index.html").read_text(encoding="utf-8")
    assert f'<a href="{file.name}">' in index
    for text in (page, index):
        assert ODD in Shown(text).text
        assert not {"b>", "u>", "i>"} & {found[1:] for found in re.findall(r'<[bui]>(?=x|c1|warm|"x)', text)}
    assert "<u>c1</u>" in Shown(page).text


def test_file_names_differ_where_predictions_do() -> None:
    names = ["churn_30d", "index", "INDEX", "a/b", "a\\b", "..", "", "é", "x" * 300, "x" * 301]
    files = [pages.file_name(name) for name in names]
    assert len(set(files)) == len(files)
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*\.html", file) and len(file) < 100 for file in files)
    assert files[0] == "churn_30d.html"
    assert "index.html" not in {file.lower() for file in files}


def test_an_older_version_without_curves_says_so(warehouse: Path) -> None:
    with duckdb.connect(str(warehouse)) as con:
        con.execute("delete from foretable.curves; delete from foretable.deciles")
        con.execute("drop table foretable.confusion; drop table foretable.slices")
    shown = Shown(written(warehouse))
    assert "No curves were kept when version 1 was trained" in shown.text
    assert "Said and happened" not in shown.text
    assert "Highest scores" in shown.text


def test_where_nothing_serves_the_newest_version_is_shown(warehouse: Path) -> None:
    with duckdb.connect(str(warehouse)) as con:
        con.execute("delete from foretable.active; drop table pred__test; drop table examples__test")
    text = Shown(written(warehouse)).text
    assert "No version serves. What follows is about version 2, the newest (xgboost, candidate)." in text
    assert "Highest scores" not in text


def test_without_importances_the_first_features_stand_beside_the_scores(warehouse: Path) -> None:
    with duckdb.connect(str(warehouse)) as con:
        con.execute("delete from foretable.importances")
    text = Shown(written(warehouse)).text
    assert "Nothing was kept of the importance of its 5 features" in text
    assert "with the first features user_id score heat noise kind" in text


def test_limits_tell_what_is_weak(con: duckdb.DuckDBPyConnection) -> None:
    said = " ".join(limits(read_facts(con, "test")))
    assert "not clearly better" not in said
    con.execute("update foretable.metrics set lower = -0.1 where scored_by = 'above_base_rate' and split = 'test'")
    con.execute("update foretable.confusion set true_positive = true_positive + 1000")
    con.execute(
        "update foretable.models set config = json_merge_patch(config, "
        """'{"leak_check": false, "class_weight": "balanced", "calibrate": null, "include_unversioned": true}')"""
    )
    said = " ".join(limits(read_facts(con, "test")))
    assert "It is not clearly better than the base rate" in said
    assert "The leak check was off" in said
    assert "scores rank rows and are no probabilities" in said
    assert "they may tell the future" in said
    assert "test sample is small" not in said


def test_every_metric_has_words() -> None:
    some, one_true, ones = np.arange(4.0), np.array([0.0, 0.0, 1.0, 0.0]), np.ones((1, 4))
    lists = Lists(np.zeros(4, np.int64), np.arange(4))
    kinds = [kind_of(name, 3) for name in KINDS if name != "binary"]
    of_others = {
        name
        for kind in kinds
        for name in kind.measures(one_true if kind.has_classes else some, some, lists=lists)(ones)
    }
    assert set(pages.METRIC_WORDS) == {*METRICS, TRUE_CALIBRATION_ERROR, *of_others}


def test_a_cost_is_drawn_and_the_counts_are_at_the_threshold_that_it_chose(con: duckdb.DuckDBPyConnection) -> None:
    before = Shown(pages.render_report(read_facts(con, "test"))).text
    assert "Cost" not in before
    threshold = {"cost": {"false_positive": 1, "false_negative": 20}}
    assert predict(con, SELECT, **CONFIG, threshold=threshold) is None
    facts = read_facts(con, "test")
    page = pages.render_report(facts)
    text = Shown(page).text
    chosen = facts.model["threshold"]
    assert f"the least cost (false positive 1, false negative 20) on validation: score at least {chosen:.3f}" in text
    assert "What the mistakes cost a row" in text
    [picture] = [svg for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL) if "Cost by threshold" in svg]
    for words in ("cost a row", "threshold (score)", "validation", "test"):
        assert f"{words}</text>" in picture


# Which files are written


def test_the_same_warehouse_gives_the_same_pages(warehouse: Path) -> None:
    assert written(warehouse) == written(warehouse)


def test_the_index_lists_all_and_links_what_is_there(warehouse: Path) -> None:
    with duckdb.connect(str(warehouse)) as con:
        for table in ("models", "metrics"):
            con.execute(
                f"insert into foretable.{table} select * replace ('other' as prediction) from foretable.{table}"
            )
    assert report(warehouse, "other").output.startswith("1 report in ")
    folder = warehouse.parent / "report"
    assert sorted(file.name for file in folder.iterdir()) == ["index.html", "other.html"]
    index = (folder / "index.html").read_text(encoding="utf-8")
    assert 'href="other.html"' in index
    assert "test.html" not in index
    assert report(warehouse).output.startswith("2 reports in ")
    assert report(warehouse, "other").exit_code == 0
    assert 'href="test.html"' in (folder / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("place", [(charts, "lift"), (pages.os, "replace")])
def test_a_run_that_is_killed_leaves_the_pages_of_before(
    warehouse: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[object, str]
) -> None:
    before = written(warehouse)
    with duckdb.connect(str(warehouse)) as con:
        con.execute("update foretable.metrics set value = 0.123")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(*place, killed)
        assert report(warehouse).exit_code == 130
    folder = warehouse.parent / "report"
    assert (folder / "test.html").read_text(encoding="utf-8") == before
    assert sorted(file.name for file in folder.iterdir()) == ["index.html", "test.html"]
    assert written(warehouse) != before


def test_what_cannot_be_reported_is_one_sentence(
    warehouse: Path, stateful: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for result, sentence in (
        (report(stateful, "--out", str(tmp_path / "none")), "the warehouse holds no predictions; train some with"),
        (report(tmp_path / "nowhere.duckdb"), "no warehouse at"),
        (report(warehouse, "tset"), "no prediction 'tset'; there are: test"),
        (report(warehouse, "--out", str(tmp_path / "file")), "name another folder with --out"),
        (report(warehouse, "--out", str(tmp_path / "file" / "below")), "name another folder with --out"),
    ):
        assert result.exit_code != 0
        assert sentence in result.output
        assert result.output.count("\n") == 1, result.output
    assert not (tmp_path / "report").exists()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = report(warehouse)
    assert "pip install 'foretable[report]'" in result.output
    assert result.exit_code == 2


# In a browser


@pytest.mark.parametrize("width", [400, 1100])
def test_a_browser_shows_a_page_without_overflow(warehouse: Path, tmp_path: Path, width: int) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium is installed to show a page")
    page = written(warehouse)
    without_policy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    assert without_policy != page
    frame = tmp_path / "frame.html"
    (tmp_path / "page.html").write_text(
        without_policy.replace(
            "</body>",
            "<script>parent.postMessage([document.title, document.documentElement.scrollWidth, innerWidth,"
            " document.querySelectorAll('svg path').length], '*')</script></body>",
        ),
        encoding="utf-8",
    )
    frame.write_text(
        f"<iframe src='page.html' style='width:{width}px;height:900px;border:0'></iframe>"
        "<script>onmessage = told => { document.body.append('TOLD ' + told.data.join('|') + ' END') }</script>"
    )
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom", frame.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    told = re.search(r"TOLD ([^'<]*) END", done.stdout)
    assert told, done.stdout[-500:] + done.stderr[-500:]
    title, wide, inner, paths = told[1].split("|")
    assert title == "test · foretable"
    assert int(wide) <= int(inner) == width
    assert int(paths) > 100
