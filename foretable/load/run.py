"""One load from order to report: which kind the source is, what was loaded, and what failed."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from foretable.build import Screen, Step
from foretable.load.batches import BATCH_ROWS, Source, load_source
from foretable.load.credentials import Credentials
from foretable.load.errors import LoadError
from foretable.load.files import FileResult, SourceFile, find_files, load_file
from foretable.load.landing import SCHEMA, Landing, Load, now
from foretable.load.postgres import PostgresSource
from foretable.load.rest import PAGING, RestSource
from foretable.project import Refusal
from foretable.sentences import plain_exception

_SCHEME = re.compile(r"^(?P<scheme>[a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_FILES, _REST, _POSTGRES = "files", "an API", "Postgres"
_ONLY = {
    "format": (_FILES,),
    "record_tag": (_FILES,),
    "origin": (_POSTGRES,),
    "cursor": (_REST, _POSTGRES),
    "since": (_REST, _POSTGRES),
    "batch_rows": (_REST, _POSTGRES),
    "paging": (_REST,),
    "records": (_REST,),
    "page_param": (_REST,),
    "first_page": (_REST,),
    "next_path": (_REST,),
    "since_param": (_REST,),
    "params": (_REST,),
    "headers": (_REST,),
}
"""What each option is for."""
_TYPED = {"origin": "--from", "next_path": "--next", "params": "--param", "headers": "--header"}
_TABLE = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True)
class Order:
    """What to load, as the command line says it. None and empty: not said."""

    sources: tuple[str, ...]
    warehouse: Path
    table: str | None = None
    format: str | None = None
    record_tag: str | None = None
    origin: str | None = None
    cursor: str | None = None
    since: str | None = None
    paging: str | None = None
    records: str | None = None
    page_param: str | None = None
    first_page: int = 1
    next_path: str | None = None
    since_param: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    batch_rows: int = BATCH_ROWS
    again: bool = False


@dataclass
class Report:
    """What came of it, file by file or as one place."""

    loads: list[Load] = field(default_factory=list)
    known: list[FileResult] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def row_count(self) -> int:
        return sum(load.row_count for load in self.loads)


def run_load(order: Order, screen: Screen) -> Report:
    """Load what is new. A file that fails is in the report and the others are loaded; an order that is wrong raises
    Refusal before anything is touched."""
    started = time.monotonic()
    if order.table is not None and not _TABLE.fullmatch(order.table):
        raise Refusal(f"--table '{order.table}' will not do; lower-case letters, digits and _ as in 'events'")
    if order.warehouse.stem.lower() == SCHEMA:
        raise Refusal(
            f"the warehouse cannot be named {order.warehouse.name}: '{SCHEMA}' is the schema that rows land in"
        )
    report = Report()
    credentials = Credentials()
    first = credentials.expand(order.sources[0])
    scheme = _SCHEME.match(first)
    if scheme is None:
        _refuse_others(order, _FILES)
        _load_files(order, screen, report)
    elif len(order.sources) > 1:
        raise Refusal("one address at a time; only files and folders can be named together")
    elif scheme["scheme"].lower() in {"http", "https"}:
        _refuse_others(order, _REST)
        _load_place(order, _rest_source(order, credentials), screen, report)
    elif scheme["scheme"].lower() in {"postgresql", "postgres"}:
        _refuse_others(order, _POSTGRES)
        source = _postgres_source(order, credentials)
        try:
            _load_place(order, source, screen, report)
        finally:
            source.close()
    else:
        raise Refusal(
            f"unknown kind of source '{scheme['scheme']}://…'; known: a file, a folder, https://, postgresql://"
        )
    report.seconds = time.monotonic() - started
    return report


def _refuse_others(order: Order, kind: str) -> None:
    """An option that this kind of source has no use for would be passed by without a word."""
    nothing_said = Order(order.sources, order.warehouse)
    for name, kinds in _ONLY.items():
        if kind not in kinds and getattr(order, name) != getattr(nothing_said, name):
            option = _TYPED.get(name, "--" + name.replace("_", "-"))
            raise Refusal(f"{option} is for {' and '.join(kinds)}; the source named here is {kind}: leave it out")


def _load_files(order: Order, screen: Screen, report: Report) -> None:
    files = find_files([Path(source) for source in order.sources], table=order.table, form=order.format)
    if not order.record_tag and any(file.format == "xml" for file in files):
        raise Refusal("XML needs --record-tag TAG: the element that is one row, such as --record-tag event")
    with Landing(order.warehouse) as landing:
        screen.say(f"{len(files):,} file{'s' if len(files) != 1 else ''} to look at")
        for place, file in enumerate(files, start=1):
            began = time.monotonic()
            screen.started(file.name)
            result = _load_one(landing, file, order, screen)
            if result.load is not None:
                report.loads.append(result.load)
            elif result.outcome == "known":
                report.known.append(result)
            else:
                report.failures.append((str(file.path), result.text))
            status = "success" if result.outcome in {"loaded", "known"} else "error"
            step = Step(name=file.name, kind="load", status=status, seconds=time.monotonic() - began)
            screen.finished(step, place, len(files))


def _load_one(landing: Landing, file: SourceFile, order: Order, screen: Screen) -> FileResult:
    started_at = now()
    try:
        return load_file(
            landing,
            file,
            record_tag=order.record_tag,
            again=order.again,
            progress=lambda share: screen.share(file.name, "reading", share),
        )
    except Exception as error:
        text = plain_exception(error)
        failed = Load(file.format, str(file.place), file.table, started_at, file.name, status="failed", error=text)
        landing.record(replace(failed, byte_count=file.path.stat().st_size if file.path.exists() else None))
        return FileResult(file, "failed", text=text)


def _load_place(order: Order, source: Source, screen: Screen, report: Report) -> None:
    table = order.table or "events"
    started_at = now()
    with Landing(order.warehouse) as landing:
        screen.say(f"loading {source.place}")
        try:
            for load in load_source(landing, source, table, again=order.again):
                report.loads.append(load)
                screen.say(f"loading {source.place}: {report.row_count:,} rows")
        except LoadError as error:
            text = str(error)
            landing.record(Load(source.kind, source.place, table, started_at, status="failed", error=text))
            report.failures.append((source.place, text))


def _rest_source(order: Order, credentials: Credentials) -> RestSource:
    if order.paging is None:
        raise Refusal(f"say how the API pages, so that no page is missed: --paging {' or '.join(PAGING)}")
    return RestSource(
        url=order.sources[0],
        credentials=credentials,
        paging=order.paging,
        params=order.params,
        headers=order.headers,
        records=order.records,
        page_param=order.page_param,
        first_page=order.first_page,
        next_path=order.next_path,
        cursor=order.cursor,
        since=order.since,
        since_param=order.since_param,
        batch_rows=order.batch_rows,
    )


def _postgres_source(order: Order, credentials: Credentials) -> PostgresSource:
    if not order.origin:
        raise Refusal("say which table of the database to read: --from public.events")
    if not order.cursor:
        raise Refusal("name a column that only grows, so that a load knows what is new: --cursor id")
    return PostgresSource(
        connection=order.sources[0],
        credentials=credentials,
        table=order.origin,
        cursor=order.cursor,
        since=order.since,
        batch_rows=order.batch_rows,
    )
