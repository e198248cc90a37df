"""The HTTP endpoint: what is asked and answered as JSON, who may ask, and how much.

A score is one row, looked up or computed on the event loop itself: handing it to a thread would take longer than most
scores do. Rows that clients send at the same time are computed together. SQL of strangers runs in processes of its
own, a bounded number at a time.
"""

import asyncio
import json
import logging
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr
from starlette.exceptions import HTTPException
from starlette.routing import Route

from foretable.sentences import plain_exception
from foretable.serving import strangers
from foretable.serving.batching import RowBatches
from foretable.serving.current import CurrentFile
from foretable.serving.offers import described
from foretable.serving.scoring import Row, ScoringFile
from ibis_features.errors import ForetableError, NotFoundError

SETTINGS = "FORETABLE_SERVING"
"""Environment variable that carries the settings from the command to the server's processes, as JSON."""
TOKEN = "FORETABLE_TOKEN"
log = logging.getLogger("foretable.serving")


@dataclass(frozen=True)
class Settings:
    """What is served, and how much one client may ask. queries: how many run at a time in this process."""

    path: Path
    token: str
    limits: strangers.Limits = field(default_factory=strangers.Limits)
    queries: int = 2
    body_kib: int = 256


class Refused(BaseModel):
    """An error: one sentence that says what was found and what to do."""

    error: str


class OfferedFeature(BaseModel):
    name: str
    type: str


class Offered(BaseModel):
    """A prediction that the file holds, and what can be asked of it."""

    prediction: str
    entity: str = Field(description="The column that names who is scored.")
    entity_type: str
    item: str | None = Field(description="The column that names what is put in order for the entity; null for none.")
    version: int | None
    row_count: int
    as_of: str | None = Field(description="The newest snapshot that is scored, in UTC.")
    least: float | None = Field(description="The lowest score.")
    greatest: float | None = Field(description="The highest score.")
    scored_at: str | None
    can_score_rows: bool = Field(description="Whether features, or an entity with changes, can be scored.")
    can_explain_rows: bool
    has_reasons: bool = Field(description="Whether the reasons of each scored entity are in the file.")
    features: list[OfferedFeature]


class Score(BaseModel):
    """The score of an entity, from the table of scores."""

    prediction: str
    entity: str | int | float | None
    version: int | None
    score: float | None
    score_rank: int | None
    score_decile: int | None
    predicted_label: bool | None = Field(
        None, description="Whether the threshold is reached; null where labels are numbers."
    )
    as_of: str | None
    scored_at: str | None


class RowScore(BaseModel):
    """The score of a row, and the row as it was scored."""

    prediction: str
    version: int | None
    score: float | None
    features: dict[str, Any]


class Reason(BaseModel):
    model_config = ConfigDict(extra="allow")
    feature: str | None
    contribution: float | None


class Explained(BaseModel):
    """The strongest reasons of a score, signed, in log-odds."""

    prediction: str
    entity: str | int | float | None = None
    version: int | None
    score: float | None
    reasons: list[Reason] | None
    features: dict[str, Any] | None = None


class RecommendedItem(BaseModel):
    item: str | int | float | None
    score: float | None
    item_rank: int = Field(description="The item's place in the entity's list; 1 is the best.")
    reasons: list[Reason] | None = Field(None, description="Why; where a build has written reasons.")


class Recommended(BaseModel):
    """The first items of an entity's list, best first, from the table of scores."""

    prediction: str
    entity: str | int | float | None
    version: int | None
    as_of: str | None
    scored_at: str | None
    items: list[RecommendedItem]


class AskedRow(BaseModel):
    """All features of a row, null where one is not known."""

    model_config = ConfigDict(extra="forbid")
    features: dict[str, Any]


class AskedEntity(BaseModel):
    """An entity that is scored, with changes to its features."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"entity": "u001", "changes": {"cart_count_7d": 3}}]}
    )
    entity: StrictStr | StrictInt
    changes: dict[str, Any] = {}


Asked = AskedRow | AskedEntity


class Question(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"sql": "from pred__churn_30d order by score desc limit 5"}]}
    )
    sql: str = Field(description="One SELECT; also FROM, VALUES, DESCRIBE, SHOW, SUMMARIZE.")


class Rows(BaseModel):
    """Rows of a query; `has_more` where it has more than the server gives at a time."""

    columns: list[str]
    types: list[str]
    rows: list[dict[str, Any]]
    has_more: bool


def from_environment() -> FastAPI:
    """The app as `foretable serve` has set it down in the environment, for a process of the server."""
    told = json.loads(os.environ[SETTINGS])
    limits = strangers.Limits(**told.pop("limits"))
    return make_app(Settings(path=Path(told.pop("path")), token=os.environ[TOKEN], limits=limits, **told))


def make_app(settings: Settings) -> FastAPI:
    """The app over one file; raises NotFoundError where there is none, once it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.current = CurrentFile(settings.path)
        app.state.batches = RowBatches(app.state.current)
        app.state.queries = asyncio.Semaphore(settings.queries)
        await asyncio.to_thread(strangers.warm_up)
        watching = asyncio.create_task(app.state.current.watch())
        yield
        watching.cancel()
        app.state.current.close()

    app = FastAPI(
        title="foretable",
        summary="Scores, reasons and read-only SQL over one DuckDB file.",
        version=version("foretable"),
        lifespan=lifespan,
        max_body_size=settings.body_kib * 1024,
        docs_url=None,
        redoc_url=None,
    )
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ForetableError, _on_refusal)
    app.add_exception_handler(Exception, _on_fault)
    _add_routes(app, settings)
    return app


def _add_routes(app: FastAPI, settings: Settings) -> None:
    bearer = HTTPBearer(auto_error=False, description="The token that `foretable serve` was started with.")

    async def check_token(given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        if given is None or not secrets.compare_digest(
            given.credentials.encode("latin-1"),
            settings.token.encode(),  # as a header comes in
        ):
            raise HTTPException(
                HTTPStatus.UNAUTHORIZED,
                "give the server's token in the header 'Authorization: Bearer TOKEN'",
                {"WWW-Authenticate": "Bearer"},
            )

    def file_of(request: Request) -> ScoringFile:
        return request.app.state.current.get()

    guarded: dict[str, Any] = {
        "dependencies": [Depends(check_token)],
        "responses": {
            **{code: {"model": Refused} for code in (400, 401, 404, 422, 500)},
            413: {"description": "The body is too large"},
        },
    }
    entity = Query(description="Whose score, as the entity's column has it.")
    most_items = Query(description="How many items at most.", ge=1, le=1000)

    @app.get("/health", summary="Whether the server answers; needs no token")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/predictions", response_model=list[Offered], summary="What can be asked", **guarded)
    async def predictions(request: Request) -> Response:
        file = file_of(request)
        return JSONResponse([{**described(offer), **file.summary(offer)} for offer in file.offers.values()])

    @app.get("/score/{name}", response_model=Score, summary="The score of an entity", **guarded)
    async def score(request: Request, name: str, entity: Annotated[str, entity]) -> Response:
        return JSONResponse(file_of(request).score(name, entity))

    @app.get("/recommend/{name}", response_model=Recommended, summary="The best items for an entity", **guarded)
    async def recommend(
        request: Request, name: str, entity: Annotated[str, entity], n: Annotated[int, most_items] = 10
    ) -> Response:
        return JSONResponse(file_of(request).recommended(name, entity, n))

    @app.post("/score/{name}", response_model=RowScore, summary="The score of a row, or of a changed entity", **guarded)
    async def score_row(request: Request, name: str, asked: Asked) -> Response:
        features = _features(file_of(request), name, asked)
        return JSONResponse(await request.app.state.batches.score(name, features))

    @app.get("/explain/{name}", response_model=Explained, summary="Why an entity scores so", **guarded)
    async def explain(request: Request, name: str, entity: Annotated[str, entity]) -> Response:
        return JSONResponse(file_of(request).reasons(name, entity))

    @app.post("/explain/{name}", response_model=Explained, summary="Why a row scores so", **guarded)
    async def explain_row(request: Request, name: str, asked: Asked) -> Response:
        file = file_of(request)
        return JSONResponse(file.explain_row(name, _features(file, name, asked)))

    refusals = {code: {"model": Refused} for code in (403, 429, 503)}
    guarded_sql = {**guarded, "responses": {**guarded["responses"], **refusals}}

    @app.post("/sql", response_model=Rows, summary="Read-only SQL", **guarded_sql)
    async def sql(request: Request, question: Question) -> Response:
        running: asyncio.Semaphore = request.app.state.queries
        if running.locked():
            sentence = f"{settings.queries} queries run already; ask again in a second"
            return _refusal(sentence, HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": "1"})
        async with running:
            answer = await asyncio.to_thread(strangers.ask, settings.path, question.sql, settings.limits)
        return Response(answer.body, answer.status, media_type="application/json")


def _features(file: ScoringFile, name: str, asked: Asked) -> Row:
    if isinstance(asked, AskedRow):
        return asked.features
    return file.features(name, asked.entity, asked.changes)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    sentence = f"{place}: {first['msg']}; /openapi.json says what is expected"
    if any("AskedRow" in one["loc"] for one in error.errors()):
        sentence = "give `features` with all features of a row, or `entity` with or without `changes`, and nothing else"
    return _refusal(sentence, HTTPStatus.UNPROCESSABLE_ENTITY)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence, headers = error.detail, dict(error.headers or {})
    if error.status_code == HTTPStatus.BAD_REQUEST:
        sentence = "the body cannot be read; send JSON in UTF-8"
    if error.status_code in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        sentence = f"{sentence}; /openapi.json lists the paths and methods"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:  # a router tells the methods of its first route alone
        routes = [route for route in request.app.routes if isinstance(route, Route)]
        fitting = [route.methods or set() for route in routes if route.path_regex.match(request.url.path)]
        headers["Allow"] = ", ".join(sorted(set().union(*fitting)))
    return _refusal(sentence, error.status_code, headers)


async def _on_refusal(request: Request, error: Exception) -> Response:
    status = HTTPStatus.NOT_FOUND if isinstance(error, NotFoundError) else HTTPStatus.UNPROCESSABLE_ENTITY
    return _refusal(plain_exception(error), status)


async def _on_fault(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _refusal("the server failed; its log says why", HTTPStatus.INTERNAL_SERVER_ERROR)


def _refusal(sentence: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """What a client has sent may be no Unicode, and stand in the sentence."""
    return JSONResponse({"error": sentence.encode(errors="replace").decode()}, status, headers)
