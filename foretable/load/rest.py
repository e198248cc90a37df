"""A REST API, page by page, through dlt's client: it repeats a request that fails for the moment (429, 5xx, no answer).

With a cursor (a column that only grows) a load takes what came since the last one. Without it the API has to give its
rows in the order they were made: a load then asks for the last page again, leaves out what it had, and goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from foretable.load.batches import BATCH_ROWS, Batch, Seen, digest, is_later
from foretable.load.credentials import Credentials
from foretable.load.errors import LoadError
from foretable.load.json_rows import parse_exact, row_of
from foretable.load.landing import Row
from foretable.project import Refusal

PAGING = ("none", "page", "offset", "cursor", "next", "link")
DEFAULT_PARAMS = {"page": "page", "offset": "offset", "cursor": "cursor"}
DEFAULT_NEXT = {"cursor": "next_cursor", "next": "next"}
ATTEMPTS = 5
BACKOFF_SECONDS = 1.0
SECRET_WORDS = ("key", "token", "secret", "password", "passwd", "auth", "signature")


@dataclass(frozen=True)
class RestSource:
    """An address and how it pages. `url`, `params` and `headers` hold ${NAME} where a secret stands."""

    url: str
    credentials: Credentials
    paging: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    records: str | None = None
    page_param: str | None = None
    first_page: int = 1
    next_path: str | None = None
    cursor: str | None = None
    since: str | None = None
    since_param: str | None = None
    batch_rows: int = BATCH_ROWS
    kind: str = "rest"

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if "@" in parts.netloc:
            raise Refusal("the address holds a user or password; give them as --header 'Authorization: Basic ${NAME}'")
        for name, value in [*parse_qsl(parts.query), *self.params.items()]:
            if any(word in name.lower() for word in SECRET_WORDS) and "${" not in value:
                raise Refusal(f"'{name}' looks like a secret; put it into the environment and write {name}=${{NAME}}")
        if self.since_param and not self.cursor:
            raise Refusal("--since-param asks for what came since the last load; name the column by --cursor, too")

    @property
    def place(self) -> str:
        query = urlencode(sorted({**dict(parse_qsl(urlsplit(self.url).query)), **self.params}.items()), safe="${}")
        return urlunsplit((*urlsplit(self.url)[:3], query, ""))

    def batches(self, position: Mapping[str, Any] | None) -> Iterator[Batch]:
        """The new rows of as many pages as fill a batch; where a page fails, those before it come first."""
        state = self._start(position)
        rows: list[Row] = []
        byte_count, cursor_from = 0, state.top
        try:
            for page in self._pages(state):
                rows += state.take(page)
                byte_count += page.byte_count
                if len(rows) >= self.batch_rows:
                    yield Batch(rows, state.document(), byte_count, cursor_from, state.top)
                    rows, byte_count, cursor_from = [], 0, state.top
        except Exception:
            if rows:
                yield Batch(rows, state.document(), byte_count, cursor_from, state.top)
            raise
        state.is_finished = True
        yield Batch(rows, state.document(), byte_count, cursor_from, state.top)

    def _start(self, position: Mapping[str, Any] | None) -> _State:
        if position is None:
            return _State(self.paging, self.cursor, since=self.since)
        state = _State(**position)
        if (state.paging, state.cursor) != (self.paging, self.cursor):
            raise LoadError(
                f"{self.place} was loaded with --paging {state.paging} and --cursor {state.cursor or '(none)'}; "
                "go on with these, or load it from its start with --again"
            )
        if state.is_finished and self.cursor:
            return _State(
                self.paging,
                self.cursor,
                since=state.top or state.since,
                since_seen=state.top_seen,
                top=state.top,
                top_seen=list(state.top_seen),
            )
        state.is_finished = False
        return state

    def _pages(self, state: _State) -> Iterator[_Page]:
        """Pages from where the state stands. Everything that goes wrong is a LoadError without secrets."""
        try:
            import dlt.sources.helpers.rest_client as _  # noqa: F401
            import requests
        except ImportError:
            raise LoadError("loading from a REST API needs dlt: pip install 'foretable[load]'") from None
        try:
            yield from self._requested(state)
        except requests.HTTPError as error:
            raise LoadError(self._failure(error.response)) from None
        except requests.RequestException as error:
            raise LoadError(f"{self.place} does not answer ({type(error).__name__}); {_GO_ON}") from None
        except LoadError as error:
            raise LoadError(self.credentials.redact(str(error)).replace(_PLACE, self.place)) from None

    def _requested(self, state: _State) -> Iterator[_Page]:
        params: dict[str, Any] = {name: self.credentials.expand(value) for name, value in self.params.items()}
        if self.since_param and state.since is not None:
            params[self.since_param] = state.since
        url, first_params = self._first_request(state.at, params)
        at, previous = state.at, list[str]()
        for page in self._client().paginate(
            url,
            params=first_params,
            paginator=self._paginator(at),
            data_selector="$",
            hooks={"response": [_refuse_failure]},
        ):
            found = _Page(at, [row_of(record) for record in page], len(page.response.content))
            if found.rows and found.digests == previous:
                raise LoadError(f"{_PLACE} gives the same page again and again; is --paging {self.paging} right?")
            if found.rows:
                previous = found.digests
                yield found
            if self.paging == "none" and "next" in page.response.links:
                raise LoadError(f"{_PLACE} has more pages; load them with --paging link")
            at = self._next(page)
            if at is not None and self.paging in {"next", "link"}:
                if urlsplit(page.request.url)[:2] != urlsplit(url)[:2]:
                    raise LoadError(f"{_PLACE} says that its next page lies on another host; not followed")
                page.request.params = _missing(params, page.request.url)

    def _first_request(self, at: Any, params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The address and the params that give the page `at`, or the first one."""
        if at is not None and self.paging in {"next", "link"}:
            url = self.credentials.expand(at, in_address=True)
            return url, _missing(params, url)
        url = self.credentials.expand(self.url, in_address=True)
        return url, {**params, self._param: at} if at is not None and self.paging == "cursor" else dict(params)

    def _client(self) -> Any:
        """dlt's client, with records read to the letter."""
        from dlt.common.configuration.specs import RuntimeConfiguration
        from dlt.sources.helpers.requests.retry import Client
        from dlt.sources.helpers.rest_client import RESTClient

        headers = {name: self.credentials.expand(value) for name, value in self.headers.items()}
        for value in headers.values():
            self.credentials.hide(value)
            self.credentials.hide(value.rpartition(" ")[2])
        records = self.records

        class ExactClient(RESTClient):
            def extract_response(self, response: Any, data_selector: Any) -> list[Any]:
                return _records(response.content, records)

        retrying = Client(raise_for_status=False, request_max_attempts=ATTEMPTS, request_backoff_factor=BACKOFF_SECONDS)
        return ExactClient("", headers=headers, session=retrying.session, config=RuntimeConfiguration())

    @property
    def _param(self) -> str:
        return self.page_param or DEFAULT_PARAMS[self.paging]

    def _paginator(self, at: Any) -> Any:
        from dlt.sources.helpers.rest_client import paginators

        following = self.next_path or DEFAULT_NEXT.get(self.paging, "")
        if self.paging == "page":
            first = self.first_page
            return paginators.PageNumberPaginator(first, first if at is None else at, self._param, total_path=None)
        if self.paging == "offset":
            return _offset_paginator(self._param, at or 0)
        if self.paging == "cursor":
            return paginators.JSONResponseCursorPaginator(following, self._param)
        if self.paging == "next":
            return paginators.JSONLinkPaginator(following)
        return paginators.HeaderLinkPaginator() if self.paging == "link" else paginators.SinglePagePaginator()

    def _next(self, page: Any) -> Any:
        """What tells the next page from this one, without secrets."""
        if not page.paginator.has_next_page:
            return None
        if self.paging in {"page", "offset"}:
            return page.paginator.current_value
        if self.paging == "cursor":
            return page.request.params[self._param]
        return self.credentials.redact(page.request.url)

    def _failure(self, response: Any) -> str:
        status = response.status_code
        if status in {401, 403}:
            return f"{self.place} refuses the request ({status}); look at --header, --param and the secrets in them"
        if status in {301, 302, 303, 307, 308}:
            return f"{self.place} has moved ({status}), and foretable follows no address that it was not given"
        return f"{self.place} answers {status} {response.reason or ''}".rstrip() + f"; {_GO_ON}"


_PLACE = "THE_PLACE"
"""Stands in a sentence for the address until secrets are out of the rest of it."""
_GO_ON = "what came before is loaded, and the next load goes on after it"


@dataclass
class _Page:
    """A page's rows, and what was asked to get it."""

    at: Any
    rows: list[Row]
    byte_count: int

    def __post_init__(self) -> None:
        self.digests = [digest(row) for row in self.rows]


@dataclass
class _State:
    """How far a load is. As JSON it is the position.

    `at` and `page` are the last page and the digests of its rows; `since` the cursor's value that this round starts
    from and the rows there that were loaded before; `top` its largest value so far and the rows there.
    """

    paging: str
    cursor: str | None
    at: Any = None
    page: list[str] = field(default_factory=list)
    since: str | None = None
    since_seen: list[str] = field(default_factory=list)
    top: str | None = None
    top_seen: list[str] = field(default_factory=list)
    is_finished: bool = False

    def __post_init__(self) -> None:
        self._page_seen = Seen(self.page)
        self._since_seen = Seen(self.since_seen)

    def document(self) -> dict[str, Any]:
        names = ("paging", "cursor", "at", "page", "since", "top", "top_seen", "is_finished")
        return {**{name: getattr(self, name) for name in names}, "since_seen": self._since_seen.left()}

    def take(self, page: _Page) -> list[Row]:
        """The rows of a page that are new. A page that raises leaves the state as it was."""
        before = self.top, list(self.top_seen), self._since_seen.left()
        try:
            new = [
                row
                for row, row_digest in zip(page.rows, page.digests, strict=True)
                if not self._page_seen.take(row_digest) and (self.cursor is None or self._is_due(row, row_digest))
            ]
        except LoadError:
            self.top, self.top_seen, self._since_seen = before[0], before[1], Seen(before[2])
            raise
        self._page_seen = Seen()
        self.at, self.page = page.at, page.digests
        return new

    def _is_due(self, row: Row, row_digest: str) -> bool:
        value = row.get(self.cursor or "")
        if value is None:
            raise LoadError(f"a record has no '{self.cursor}', the cursor; it has: {', '.join(row)}")
        if self.since is not None and value != self.since and not is_later(value, self.since):
            return False
        if value == self.since and self._since_seen.take(row_digest):
            return False
        if self.top is None or is_later(value, self.top):
            self.top, self.top_seen = value, [row_digest]
        elif value == self.top:
            self.top_seen.append(row_digest)
        return True


def _records(body: bytes, path: str | None) -> list[dict[str, Any]]:
    """The list of objects in a page: under a dotted path, else the body itself or its only list."""
    try:
        found = parse_exact(body)
    except ValueError:
        raise LoadError(f"{_PLACE} sends a page that is no JSON ({len(body)} bytes); {_GO_ON}") from None
    if path:
        for name in path.split("."):
            if not isinstance(found, dict) or name not in found:
                raise LoadError(f"{_PLACE} sends a page without '{path}', which --records names")
            found = found[name]
    elif isinstance(found, dict):
        lists = {name: value for name, value in found.items() if isinstance(value, list)}
        if len(lists) != 1:
            raise LoadError(
                f"{_PLACE} sends {', '.join(found) or 'nothing'}; say where the rows are with --records NAME"
            )
        found = next(iter(lists.values()))
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise LoadError(f"{_PLACE} sends something else than a list of objects; say where the rows are with --records")
    return found


def _offset_paginator(param: str, at: int) -> Any:
    from dlt.sources.helpers.rest_client.paginators import RangePaginator

    class OffsetByRows(RangePaginator):
        """Goes on by the rows that came: an API may give fewer than it was asked for."""

        def update_state(self, response: Any, data: list[Any] | None = None) -> None:
            self.value_step = len(data or [])
            super().update_state(response, data)

    return OffsetByRows(param, at, 1)


def _refuse_failure(response: Any, *_: Any, **__: Any) -> None:
    from requests import HTTPError

    if response.status_code >= 300:
        raise HTTPError(response=response)


def _missing(params: Mapping[str, Any], url: str) -> dict[str, Any]:
    """The params that an address lacks: the next page's often has them already."""
    there = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    return {name: value for name, value in params.items() if name not in there}
