"""What others see of items put in order: a published file, the endpoint, the report, and the portable SELECT."""

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from foretable.cli import main
from foretable.serving.scoring import ScoringFile
from ibis_features import NotFoundError
from tests.predicting import predict
from tests.publishing import published, rows
from tests.test_ranking import RANKED, candidates
from tests.test_serving import Server, serving


@pytest.fixture(scope="module")
def shop(stateful: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with a ranking and a prediction of truth values beside it. Read it only."""
    warehouse = tmp_path_factory.mktemp("recommending") / "shop.duckdb"
    warehouse.write_bytes(stateful.read_bytes())
    with duckdb.connect(str(warehouse)) as con:
        assert predict(con, candidates(con), **RANKED, reasons=2, slices=["category"]) is None
        model = {"name": "pred__test", "resource_type": "model", "personal": {"item_id": True}}
        con.execute("insert into foretable.manifest values ('nodes', 'model.shop.pred__test', ?)", [json.dumps(model)])
    return warehouse


@pytest.fixture(scope="module")
def server(shop: Path) -> Iterator[Server]:
    with serving(published(shop, personal="keep").file) as running:
        yield running


def test_a_published_file_recommends_what_the_warehouse_does(shop: Path) -> None:
    done = published(shop, personal="keep")
    assert {"recommend_test", "test_of", "test", "test_table"} <= set(done.macros)
    assert done.left_out == {}
    assert done.compared == 3 * 80 * 12
    for query in ("select scores.test_of('u1')", "from scores.recommend_test('u1', n := 4)", "from scores.describe()"):
        assert rows(done.file, query) == rows(shop, query)


def test_a_personal_item_is_hashed_and_still_recommended(shop: Path) -> None:
    done = published(shop, personal="drop")
    assert done.compared == 3 * 80 * 12
    first = rows(done.file, "from scores.recommend_test('u1')")
    assert [row[1:] for row in first] == [row[1:] for row in rows(shop, "from scores.recommend_test('u1')")]
    assert all(len(item) == 64 for item, *_ in first)


def test_a_client_asks_for_the_best_items_and_not_for_one_score(shop: Path, server: Server) -> None:
    answer = server.get("/recommend/test", entity="u1", n="3")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    expected = rows(shop, "from scores.recommend_test('u1', n := 3)")
    assert [(row["item"], row["item_rank"]) for row in told["items"]] == [(item, rank) for item, _, rank in expected]
    assert [row["score"] for row in told["items"]] == pytest.approx([score for _, score, _ in expected])
    assert all(len(row["reasons"]) == 2 for row in told["items"])
    assert (told["entity"], told["version"]) == ("u1", 1)
    assert len(server.get("/recommend/test", entity="u1").json()["items"]) == 10
    for path in ("/score/test", "/explain/test"):
        refused = server.get(path, entity="u1")
        assert refused.status_code == 404
        assert "a user_id has a list and no single score; see the table pred__test, ask /recommend/test" in refused.text
    assert server.get("/recommend/test", entity="nobody").status_code == 404
    assert server.get("/recommend/test", entity="u1", n="0").status_code == 422
    assert server.get("/predictions").json()[0]["item"] == "item_id"


def test_a_prediction_without_items_recommends_none(filled: Path) -> None:
    file = ScoringFile(filled)
    with pytest.raises(NotFoundError, match="scores a user_id and puts no items in order; ask /score/test"):
        file.recommended("test", "u1", 10)
    file.close()


@pytest.fixture(scope="module")
def filled(stateful: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with a prediction of truth values."""
    warehouse = tmp_path_factory.mktemp("filled") / "shop.duckdb"
    warehouse.write_bytes(stateful.read_bytes())
    with duckdb.connect(str(warehouse)) as con:
        assert predict(con, promote="always") is None
    return warehouse


def test_the_commands_and_the_report_speak_of_lists(shop: Path, tmp_path: Path) -> None:
    def call(*arguments: str) -> str:
        found = CliRunner().invoke(main, [*arguments, "--warehouse", str(shop)], env={"COLUMNS": "400"})
        assert found.exit_code == 0, found.output
        return found.output

    assert "NDCG@10" in call("predictions")
    assert "popularity" in call("predictions")
    assert "test NDCG@10 [95%]" in call("versions", "test")
    call("report", "--out", str(tmp_path / "report"))
    page = (tmp_path / "report" / "test.html").read_text("utf-8")
    for words in ("the items in the order of", "NDCG@10", "the popularity of an item", "each item_id for a user_id"):
        assert words in page
    assert "<h2>Calibration" not in page
    best = rows(shop, "select user_id || ' · ' || item_id from pred__test order by score_rank limit 1")[0][0]
    assert best in page
    assert "NDCG@10" in (tmp_path / "report" / "index.html").read_text("utf-8")
    assert '"item_id"' in call("compile", "test", "--dialect", "sqlite", "--from", "fixed")
