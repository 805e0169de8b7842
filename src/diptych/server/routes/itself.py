"""The server itself: health, signing in, results of bench, metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from diptych import __version__
from diptych.report.style import LOOK
from diptych.server import schema
from diptych.server.app import Json
from diptych.server.errors import Refused, without_paths
from diptych.server.routes.shared import (
    FAILURES,
    Here,
    is_local,
    looked_up,
)
from diptych.server.security import COOKIE

__all__ = ["router"]

router = APIRouter(responses=FAILURES)


@router.get("/api/v1/health", response_model=schema.Health)
async def health(request: Request, serving: Here) -> Any:
    """Whether the server answers, and what whoever asks may ask of it."""
    settings = serving.settings
    facts = {
        "status": "stopping" if serving.stopping else "ok",
        "version": __version__,
        "run": serving.run,
        "ready": serving.holding.ready,
        "token": settings.token is not None,
        "authorized": bool(request.state.authorized),
        "write": settings.write,
        "urls": settings.urls,
        "chat": settings.llm is not None,
        "bench": settings.bench is not None,
        "rerank": None
        if settings.rerank is None
        else {
            "name": settings.rerank if is_local(request) else without_paths(settings.rerank),
            "seconds": serving.reranked,
        },
        "local": is_local(request),
        "max_upload": settings.max_upload,
    }
    return Json(facts, headers={"Cache-Control": "no-store"})


@router.post("/api/v1/session", status_code=204, response_class=Response)
async def sign_in(request: Request, serving: Here, session: schema.Session) -> Response:
    """Have a browser remember the token, for pictures and streams, which can send no header."""
    assert serving.guard is not None
    if serving.settings.token is not None and not serving.guard.knows(session.token):
        raise Refused("Unauthorized", "that token is not this server's", part="token")
    value, seconds = serving.guard.session()
    answered = Response(status_code=204)
    answered.set_cookie(
        COOKIE, value, max_age=seconds, httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )
    return answered


@router.delete("/api/v1/session", status_code=204, response_class=Response)
async def sign_out() -> Response:
    """Have a browser forget the token."""
    answered = Response(status_code=204)
    answered.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answered


@router.get("/api/v1/bench", response_model=schema.Bench)
async def bench(serving: Here) -> Any:
    """The results of `diptych bench` that the server was started with."""
    path = serving.settings.bench
    if path is None:
        raise Refused("NotFound", "this server was started without results of bench")
    from diptych.bench.shown import cells

    return await looked_up(serving, lambda: Json({"cells": cells(path)}))


@router.get("/look.css", include_in_schema=False)
async def look() -> Response:
    """The style sheet that the page shares with reports."""
    return Response(LOOK, media_type="text/css; charset=utf-8", headers={"Cache-Control": "no-cache"})


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "The text format of Prometheus."}},
)
async def metrics(serving: Here) -> Response:
    """Counters for Prometheus."""
    text = await looked_up(
        serving,
        lambda: serving.metrics.text(serving.holding, (serving.searches, serving.files, serving.chats)),
    )
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
