"""The application: what is held, who guards it, and the endpoints over it."""

from __future__ import annotations

import contextlib
import json
import logging
import mimetypes
import re
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from diptych import __version__
from diptych.engine.collection import Collection
from diptych.errors import CollectionBusy, DiptychError
from diptych.server.errors import Refused, facts_of, status_of
from diptych.server.gate import Gate
from diptych.server.holding import Holding
from diptych.server.jobs import Jobs
from diptych.server.metrics import Metrics
from diptych.server.pictures import Thumbnails, Uploads
from diptych.server.security import Guard, Message, Scope, content_policy
from diptych.server.settings import Settings

__all__ = ["PAGE", "Json", "Serving", "create_app"]

PAGE = Path(__file__).parent / "page"
"""The files of the page."""

_log = logging.getLogger(__name__)


class Json(Response):
    """An answer in JSON of ASCII only, so that names of files in any encoding pass through it whole."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes of it."""
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


@dataclass(slots=True)
class Serving:
    """What the endpoints work with."""

    settings: Settings
    holding: Holding
    uploads: Uploads
    thumbnails: Thumbnails
    jobs: Jobs
    metrics: Metrics
    searches: Gate
    files: Gate
    chats: Gate
    run: str = field(default_factory=lambda: secrets.token_hex(6))  # another server may have other items
    guard: Guard | None = None
    stopping: bool = False
    reranked: float | None = None  # seconds of the latest search that ranked anew

    def stop(self) -> None:
        """Let those who follow a job go, and end jobs at their next batch."""
        self.stopping = True


def create_app(
    collections: Sequence[Collection], settings: Settings | None = None, *, keys: Iterable[str] = ()
) -> Any:
    """The ASGI application that serves collections.

    Args:
        collections: Opened ones, at least one; they are closed when the application ends.
        settings: How it behaves.
        keys: Secrets that are as good as the token.

    Returns:
        An ASGI application, whose attribute `serving` is what it works with.
    """
    from diptych.server.chat import Talks
    from diptych.server.routes import chat, items, itself, jobs, searching
    from diptych.server.routes import collections as about_collections

    settings = settings or Settings()
    metrics = Metrics()
    holding = Holding(collections, metrics.encoded)
    serving = Serving(
        settings,
        holding,
        Uploads(largest=settings.max_upload, most_pixels=settings.max_pixels),
        Thumbnails(),
        Jobs(ended=metrics.ended, warm=holding.warm.lend),
        metrics,
        Gate("search", threads=settings.threads, waiting=settings.waiting, deadline=settings.deadline),
        Gate("files", threads=4, waiting=4 * settings.waiting, deadline=settings.deadline),
        Gate(
            "chat", threads=8, waiting=16, deadline=3 * settings.deadline
        ),  # which its model has, and searches
    )

    talks = None if settings.llm is None else Talks(settings.llm, settings.deadline)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        _begin(serving)
        yield
        serving.stop()
        serving.searches.close()
        serving.files.close()
        serving.chats.close()
        serving.jobs.close()
        serving.holding.close()
        if talks is not None:
            talks.close()

    app = FastAPI(
        title="Diptych",
        version=__version__,
        summary="Find pictures with words and words with pictures.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # both load their scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.serving = serving
    app.state.talks = talks
    for part in (searching, items, about_collections, jobs, itself, chat):
        app.include_router(part.router)
    _tell_errors(app, serving)
    maps = _prepare_page()
    if PAGE.is_dir():
        app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
    counted = _Counted(app, metrics)
    guard = Guard(
        counted,
        settings=settings,
        keys=keys,
        policy=content_policy(maps),
        respond=lambda error, scope: _failure(serving, error, scope),
    )
    serving.guard = guard
    return _Served(guard, serving)


class _Served:
    """The guarded application, with what it works with at hand."""

    def __init__(self, app: Any, serving: Serving) -> None:
        self._app, self.serving = app, serving

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


def _begin(serving: Serving) -> None:
    """Load the models beside, so that the first search finds them, and go on with jobs of earlier servers."""

    def load() -> None:
        for served in serving.holding:
            try:
                if served.collection.home.column is not None:
                    served.warmed()
            except DiptychError as error:
                _log.warning("%s: %s", served.name, error)

    threading.Thread(target=load, name="diptych-loading", daemon=True).start()
    if serving.settings.write:
        for served in serving.holding:
            serving.jobs.resume(served)


def _prepare_page() -> list[bytes]:
    """The import maps in the page, which its content policy admits by their hashes."""
    mimetypes.add_type("text/javascript", ".mjs")  # which not every system knows
    mimetypes.add_type("text/javascript", ".js")
    index = PAGE / "index.html"
    if not index.is_file():
        return []
    return re.findall(rb'<script type="importmap">(.*?)</script>', index.read_bytes(), re.DOTALL)


def _failure(serving: Serving, error: DiptychError, scope: Scope) -> Json:
    """The answer that says what was wrong."""
    local = bool(scope.get("state", {}).get("local"))
    headers = {}
    if isinstance(error, Refused) and error.after is not None:
        headers["Retry-After"] = str(error.after)
    elif isinstance(error, CollectionBusy):
        headers["Retry-After"] = "1"
    if isinstance(error, Refused) and error.kind == "Unauthorized":
        headers["WWW-Authenticate"] = "Bearer"
    headers["Cache-Control"] = "no-store"
    facts = facts_of(error, local=local, folders=serving.holding.folders)
    return Json(facts, status_code=status_of(error), headers=headers)


def _tell_errors(app: FastAPI, serving: Serving) -> None:
    """Have every failure answered in the one form that the schema describes."""

    @app.exception_handler(DiptychError)
    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, DiptychError)
        return _failure(serving, error, request.scope)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:])
        said = f"{name}: {first['msg']}" if name else str(first["msg"])
        return Json({"error": {"kind": "BadRequest", "message": said, "argument": name}}, status_code=422)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, DiptychError):  # while the body was read
            return _failure(serving, error.__cause__, request.scope)
        kind = {404: "NotFound", 405: "BadRequest"}.get(error.status_code, "BadRequest")
        facts = {"error": {"kind": kind, "message": str(error.detail), "argument": ""}}
        return Json(facts, status_code=error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> Response:
        said = "something went wrong inside the server; its log says what"
        return Json({"error": {"kind": "Internal", "message": said, "argument": ""}}, status_code=500)


class _Counted:
    """Counts requests by the endpoint that they reach."""

    def __init__(self, app: Any, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def counting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counting)
        finally:
            route = scope.get("route")
            endpoint = getattr(route, "path", "") or "page"
            seconds = time.perf_counter() - started
            self._metrics.answered(endpoint, scope["method"], status, seconds)
