"""A REST API is loaded page by page: nothing twice, nothing missed, no secret kept, whatever the API does."""

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, urlsplit

import pytest

pytest.importorskip("dlt", reason="loading from an API needs the extra 'load'")

from foretable.load import rest
from tests.loading import everything, fails, load, loaded, rows

SECRET = "s3cret/+value"
PAGE = 3


class Api(ThreadingHTTPServer):
    """A shop's API on a port of this machine. `records` is what it has, `failures` what it answers first."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.records: list[dict[str, Any]] = [{"id": number, "price": 1.5} for number in range(1, 8)]
        self.asked: list[str] = []
        self.sent: list[dict[str, str]] = []
        self.failures: dict[str, list[tuple[int, bytes]]] = {}
        self.other_host: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    server: Api
    silent: ClassVar[bool] = True

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        api, parts = self.server, urlsplit(self.path)
        asked = dict(parse_qsl(parts.query))
        api.asked.append(self.path)
        api.sent.append(dict(self.headers))
        page_name = asked.get("page") or asked.get("offset") or asked.get("cursor") or "first"
        if api.failures.get(page_name):
            status, body = api.failures[page_name].pop(0)
            return self._send(status, body)
        records = [record for record in api.records if record["id"] >= int(asked.get("since", 0))]
        headers: dict[str, str] = {}
        body: Any
        if parts.path == "/page":
            start = (int(asked["page"]) - 1) * PAGE
            body = records[start : start + PAGE]
        elif parts.path == "/offset":
            start = int(asked["offset"])
            body = {"count": len(records), "items": records[start : start + PAGE]}
        elif parts.path in {"/cursor", "/next"}:
            start = int(asked.get("cursor", 0))
            more = start + PAGE if start + PAGE < len(records) else None
            following: Any = str(more) if more else None
            if parts.path == "/next" and more:
                following = f"{api.other_host or api.url}/next?cursor={more}&{_echoed(asked)}"
            body = {"data": {"items": records[start : start + PAGE]}, "meta": {"next": following}}
        elif parts.path == "/link":
            start = int(asked.get("cursor", 0))
            if start + PAGE < len(records):
                headers["Link"] = f'<{api.url}/link?cursor={start + PAGE}&{_echoed(asked)}>; rel="next"'
            body = records[start : start + PAGE]
        elif parts.path == "/same":
            body = records[:PAGE]
        elif parts.path == "/text":
            return self._send(200, b'[{"id": 12345678901234567890123, "price": 1.10, "in": {"a": [0.10]}, "no": null}]')
        else:
            return self._send(404, b"")
        return self._send(200, json.dumps(body).encode(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        if status in {301, 302}:
            self.send_header("Location", f"{self.server.url}/page?page=1")
        self.end_headers()
        self.wfile.write(body)


def _echoed(asked: dict[str, str]) -> str:
    """The params that the client gave, as an API repeats them in the address of its next page."""
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items() if name != "cursor")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(rest, "BACKOFF_SECONDS", 0.01)
    server = Api()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    return tmp_path / "warehouse.duckdb"


WAYS = {
    "page": ["--paging", "page"],
    "offset": ["--paging", "offset"],
    "cursor": ["--paging", "cursor", "--next", "meta.next", "--records", "data.items"],
    "next": ["--paging", "next", "--next", "meta.next", "--records", "data.items"],
    "link": ["--paging", "link"],
}
FAILING_PAGE = {"page": "3", "offset": "6", "cursor": "6", "next": "6", "link": "6"}


def ids(warehouse: Path) -> list[int]:
    return [int(row[0]) for row in rows(warehouse, "select id from raw.events order by id::integer")]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_paging_brings_every_row_once(api: Api, warehouse: Path, way: str) -> None:
    loaded(warehouse, f"{api.url}/{way}", *WAYS[way])
    assert ids(warehouse) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("way", WAYS)
def test_a_second_load_asks_for_the_last_page_again_and_adds_only_what_is_new(
    api: Api, warehouse: Path, way: str
) -> None:
    loaded(warehouse, f"{api.url}/{way}", *WAYS[way])
    api.records += [{"id": number, "price": 1.5} for number in range(8, 12)]
    api.asked.clear()
    loaded(warehouse, f"{api.url}/{way}", *WAYS[way])
    assert ids(warehouse) == list(range(1, 12))
    assert FAILING_PAGE[way] in api.asked[0]
    assert "0 rows added" in loaded(warehouse, f"{api.url}/{way}", *WAYS[way]).output
    assert ids(warehouse) == list(range(1, 12))


@pytest.mark.parametrize("batch_rows", ["1", "4", "1000"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("failure", [(500, b""), (200, b'{"broken": '), (200, b"<html>")], ids=["500", "cut", "html"])
def test_a_load_that_was_interrupted_goes_on_after_what_it_had(
    api: Api, warehouse: Path, way: str, batch_rows: str, failure: tuple[int, bytes]
) -> None:
    order = [f"{api.url}/{way}", *WAYS[way], "--batch-rows", batch_rows]
    api.failures[FAILING_PAGE[way]] = [failure] * rest.ATTEMPTS
    fails(load(warehouse, *order), "the next load goes on")
    assert ids(warehouse) == [1, 2, 3, 4, 5, 6]
    api.failures.clear()
    api.asked.clear()
    loaded(warehouse, *order)
    assert ids(warehouse) == [1, 2, 3, 4, 5, 6, 7]
    assert len(api.asked) <= 3
    assert rows(warehouse, "select status, count(*) > 0 from foretable.loads group by all order by all") == [
        ("failed", True),
        ("loaded", True),
    ]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_failure_that_passes_is_not_even_seen(api: Api, warehouse: Path, status: int) -> None:
    api.failures["2"] = [(status, b"")] * 2
    loaded(warehouse, f"{api.url}/page", "--paging", "page")
    assert ids(warehouse) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("since_param", [[], ["--since-param", "since"]], ids=["filtered-here", "asked-for"])
@pytest.mark.parametrize("way", WAYS)
def test_with_a_cursor_a_load_takes_what_came_since_the_last_one(
    api: Api, warehouse: Path, way: str, since_param: list[str]
) -> None:
    order = [f"{api.url}/{way}", *WAYS[way], "--cursor", "id", *since_param, "--batch-rows", "2"]
    loaded(warehouse, *order)
    api.records.append({"id": 7, "price": 2.5})  # of the value that was last, but another row
    api.records += [{"id": 10, "price": 1.5}, {"id": 9, "price": 1.5}]
    loaded(warehouse, *order)
    assert ids(warehouse) == [1, 2, 3, 4, 5, 6, 7, 7, 9, 10]
    assert "0 rows added" in loaded(warehouse, *order).output
    assert rows(warehouse, "select max(cursor_to::integer) from foretable.loads") == [(10,)]


@pytest.mark.parametrize("way", ["page", "cursor"])
def test_an_interrupted_load_by_cursor_misses_nothing_though_the_newest_come_first(
    api: Api, warehouse: Path, way: str
) -> None:
    order = [f"{api.url}/{way}", *WAYS[way], "--cursor", "id", "--batch-rows", "1"]
    loaded(warehouse, *order)
    api.records = [{"id": number, "price": 1.5} for number in range(14, 0, -1)]
    api.failures[FAILING_PAGE[way]] = [(500, b"")] * rest.ATTEMPTS
    assert load(warehouse, *order).exit_code == 1
    assert ids(warehouse) == [*range(1, 8), *range(9, 15)]
    loaded(warehouse, *order)
    assert ids(warehouse) == list(range(1, 15))


def test_rows_that_are_alike_are_kept_as_often_as_they_came(api: Api, warehouse: Path) -> None:
    api.records = [{"id": 1}] * 7
    api.records[3] = {"id": 2}
    order = [f"{api.url}/offset", *WAYS["offset"]]
    loaded(warehouse, *order)
    api.records.append({"id": 1})
    loaded(warehouse, *order)
    assert ids(warehouse) == [1] * 7 + [2]


def test_since_is_where_the_first_load_starts(api: Api, warehouse: Path) -> None:
    order = [f"{api.url}/page", "--paging", "page", "--cursor", "id", "--since", "5"]
    loaded(warehouse, *order)
    loaded(warehouse, *order)
    assert ids(warehouse) == [5, 6, 7]


def test_again_loads_all_of_it_once_more(api: Api, warehouse: Path) -> None:
    for extra in ([], ["--again"]):
        loaded(warehouse, f"{api.url}/page", "--paging", "page", *extra)
    assert len(ids(warehouse)) == 14


def test_numbers_keep_their_digits(api: Api, warehouse: Path) -> None:
    loaded(warehouse, f"{api.url}/text", "--paging", "none")
    assert rows(warehouse, "select * from raw.events") == [("12345678901234567890123", "1.10", '{"a": [0.10]}', None)]


@pytest.mark.parametrize(
    ("path", "arguments", "words"),
    [
        ("same", ["--paging", "page"], "the same page again and again"),
        ("link", ["--paging", "none"], "load them with --paging link"),
        ("nowhere", ["--paging", "none"], "answers 404"),
        ("cursor", ["--paging", "none"], "say where the rows are with --records"),
        ("cursor", ["--paging", "none", "--records", "data.rows"], "without 'data.rows'"),
        ("page", ["--paging", "page", "--cursor", "made_at"], "no 'made_at', the cursor; it has: id, price"),
    ],
)
def test_what_cannot_be_right_is_refused(
    api: Api, warehouse: Path, path: str, arguments: list[str], words: str
) -> None:
    fails(
        load(warehouse, f"{api.url}/{path}", *arguments), f"{api.url}/{path}" if "cursor;" not in words else "", words
    )


def test_an_address_that_answers_nothing_is_named(warehouse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "ATTEMPTS", 1)
    fails(load(warehouse, "http://127.0.0.1:9/x", "--paging", "none"), "http://127.0.0.1:9/x does not answer")


def test_other_options_than_those_of_the_first_load_are_refused(api: Api, warehouse: Path) -> None:
    loaded(warehouse, f"{api.url}/page", "--paging", "page")
    fails(load(warehouse, f"{api.url}/page", "--paging", "page", "--cursor", "id"), "--again")


def test_a_next_page_on_another_host_gets_no_request_and_so_no_secret(
    api: Api, warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN", SECRET)
    foreign = Api()
    threading.Thread(target=foreign.serve_forever, daemon=True).start()
    api.other_host = foreign.url.replace("127.0.0.1", "localhost")
    order = [f"{api.url}/next", *WAYS["next"], "--header", "X-Key: ${API_TOKEN}"]
    fails(load(warehouse, *order), "lies on another host")
    foreign.shutdown()
    assert foreign.asked == []


def test_a_redirect_is_not_followed(api: Api, warehouse: Path) -> None:
    api.failures["first"] = [(302, b"")]
    fails(load(warehouse, f"{api.url}/link", "--paging", "link"), "has moved (302)")
    assert len(api.asked) == 1


@pytest.mark.parametrize("status", [200, 401, 403, 404, 500, 0])
@pytest.mark.parametrize("way", ["next", "link", "page"])
def test_a_secret_is_sent_and_reaches_no_table_no_log_and_no_error(
    api: Api,
    warehouse: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    way: str,
    status: int,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("API_TOKEN", SECRET)
    monkeypatch.setattr(rest, "ATTEMPTS", 2)
    order = [f"{api.url}/{way}?shop=1", *WAYS[way], "--param", "api_key=${API_TOKEN}"]
    order += ["--header", "Authorization: Bearer ${API_TOKEN}"]
    if status not in {0, 200}:
        api.failures[FAILING_PAGE[way]] = [(status, f"no {SECRET}".encode())] * 2
    if status == 0:
        api.failures[FAILING_PAGE[way]] = [(200, f"no json {SECRET}".encode())] * 2
    first = load(warehouse, *order)
    assert (first.exit_code == 0) == (status == 200)
    api.failures.clear()
    second = loaded(warehouse, *order)
    debugged = load(warehouse, *order, "--debug")
    assert ids(warehouse) == [1, 2, 3, 4, 5, 6, 7]
    assert {dict(parse_qsl(urlsplit(path).query))["api_key"] for path in api.asked} == {SECRET}
    assert {sent["Authorization"] for sent in api.sent} == {f"Bearer {SECRET}"}
    shown = first.output + second.output + debugged.output + everything(warehouse)
    logged = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("urllib3"))
    for form in (SECRET, quote(SECRET, safe=""), SECRET.replace("/", "\\/")):
        assert form not in shown
        assert form not in logged
        assert form.encode() not in warehouse.read_bytes()
    assert "api_key=${API_TOKEN}" in everything(warehouse)


def test_without_dlt_it_is_said_what_to_install(api: Api, warehouse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == "dlt"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dlt", None)
    fails(load(warehouse, f"{api.url}/page", "--paging", "page"), "pip install 'foretable[load]'")
