"""Searches, and the pictures that are searched with."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Query, Request, UploadFile

from diptych.core import Side
from diptych.engine.hubness import Hubness
from diptych.engine.results import By
from diptych.engine.weights import typed
from diptych.server import schema
from diptych.server.app import Json
from diptych.server.errors import Refused
from diptych.server.routes.shared import (
    FAILURES,
    Count,
    Here,
    Name,
    Offset,
    Where,
    looked_up,
    searched,
)

__all__ = ["router"]

router = APIRouter(responses=FAILURES)


@router.get("/api/v1/search", response_model=schema.Found)
async def search(
    request: Request,
    serving: Here,
    q: Annotated[str, Query(max_length=schema.MOST_WORDS, description="Words; none for the newest.")] = "",
    negative: Annotated[
        list[Annotated[str, Query(max_length=schema.MOST_WORDS)]],
        Query(max_length=schema.MOST_PARTS, description="Words to keep away from, or 0.2:WORDS."),
    ] = [],  # noqa: B006  # it is copied for each request
    like: Annotated[list[int], Query(max_length=schema.MOST_PARTS, description="Items to look like.")] = [],  # noqa: B006
    to: Side = "image",
    k: Count = 10,
    offset: Offset = 0,
    by: By = "both",
    where: Where = None,
    fold: schema.Fold = "exact",
    min_score: Annotated[
        float | Literal["strong", "good", "fair"] | None, Query(description="The least of a result.")
    ] = None,
    itself: bool = False,
    exact: bool = False,
    recall: float | None = None,
    model: Annotated[str | None, Query(max_length=4_000)] = None,
    diverse: float | None = None,
    hubness: Hubness | None = None,
    rerank: bool = False,
    folder: Annotated[str | None, Query(max_length=4_000)] = None,
    collection: Name = None,
) -> Any:
    """Search with words, and with what is there already; without any of these, the newest."""
    away: list[str | schema.TextPart] = []
    for one in negative:
        part = typed(one)
        away.append(part if isinstance(part, str) else schema.TextPart(text=part[1], weight=part[0]))
    query = schema.Query(
        text=[q] if q.strip() else [],
        negative=away,
        like=[schema.LikePart(item=one) for one in like if _is_number(one)],
        to=to,
        k=k,
        offset=offset,
        by=by,
        where=where,
        fold=fold,
        min_score=min_score,
        itself=itself,
        exact=exact,
        recall=recall,
        model=model,
        diverse=diverse,
        hubness=hubness,
        rerank=rerank,
        folder=folder,
        collection=collection,
    )
    return await searched(request, serving, query)


def _is_number(item: int) -> bool:
    """Whether a number can be that of an item.

    Raises:
        Refused: it cannot.
    """
    if not 0 <= item < 2**63:
        raise Refused("NotFound", f"there is no item {item} here", part="like")
    return True


@router.post("/api/v1/search", response_model=schema.Found)
async def search_for(request: Request, serving: Here, query: schema.Query) -> Any:
    """Search with words, pictures and what is there already, each with its weight."""
    return await searched(request, serving, query)


@router.post("/api/v1/uploads", response_model=schema.Upload, status_code=201)
async def upload(serving: Here, file: Annotated[UploadFile, File(description="A picture.")]) -> Any:
    """Send a picture to search with; it is kept for a while, and is no item of a collection."""
    content = await file.read()
    name = (file.filename or "the picture")[:200]
    kept = await looked_up(serving, lambda: serving.uploads.put(content, name))
    facts = {
        "upload": kept.name,
        "width": kept.width,
        "height": kept.height,
        "format": None if kept.format is None else kept.format.lower(),
        "bytes": len(content),
        "expires": serving.uploads.seconds,
    }
    return Json(facts, status_code=201)
