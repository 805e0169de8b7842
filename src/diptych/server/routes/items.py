"""Items: what is known of each, their pictures, what is like them; taken in and forgotten."""

from __future__ import annotations

import datetime
import mimetypes
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse, Response

from diptych.core import Side
from diptych.engine.homes.entries import Stored
from diptych.engine.homes.names import key_of
from diptych.media.metadata import shown
from diptych.server import schema
from diptych.server.app import Json
from diptych.server.asking import public_name, reasons
from diptych.server.changing import forget, take
from diptych.server.errors import Refused
from diptych.server.holding import Served
from diptych.server.pictures import SIZES, original
from diptych.server.routes.shared import (
    FAILURES,
    Count,
    Here,
    Name,
    Number,
    Offset,
    Where,
    Writing,
    is_local,
    looked_up,
    searched,
    while_there,
)

__all__ = ["router"]

router = APIRouter(responses=FAILURES)

_FOREVER = "private, max-age=31536000, immutable"


@router.get("/api/v1/items", response_model=schema.Found)
async def items(
    request: Request,
    serving: Here,
    to: Side = "image",
    k: Count = 50,
    offset: Offset = 0,
    where: Where = None,
    fold: schema.Fold = "exact",
    folder: Annotated[str | None, Query(max_length=4_000)] = None,
    collection: Name = None,
) -> Any:
    """The newest items, by their dates."""
    query = schema.Query(
        to=to, k=k, offset=offset, where=where, fold=fold, folder=folder, collection=collection
    )
    return await searched(request, serving, query)


@router.post("/api/v1/items", response_model=schema.SummaryFacts, status_code=201, dependencies=[Writing])
async def take_in(serving: Here, asked: schema.NewItems) -> Any:
    """Take in pictures and texts under ids of the caller's own; answered when they are stored."""
    served = serving.holding.get(asked.collection)
    return await serving.searches.run(
        lambda: Json(take(served, asked, serving.uploads).as_dict(), status_code=201)
    )


@router.post("/api/v1/remove", response_model=schema.Removed, dependencies=[Writing])
async def remove(serving: Here, asked: schema.Removal) -> Any:
    """Forget items and files; the files themselves stay."""
    served = serving.holding.get(asked.collection)
    return await serving.searches.run(lambda: Json({"removed": forget(served, asked)}))


@router.get("/api/v1/lookup", response_model=schema.ItemFacts)
async def lookup(
    request: Request, serving: Here, id: Annotated[str, Query(max_length=4_000)], collection: Name = None
) -> Any:
    """All that is known of an item, by its `id` in results."""
    served, local = serving.holding.get(collection), is_local(request)
    return await looked_up(serving, lambda: Json(_facts_of(served, served.row_of(id), local=local)))


@router.get("/api/v1/items/{item}", response_model=schema.ItemFacts)
async def item_facts(request: Request, serving: Here, item: Number, collection: Name = None) -> Any:
    """All that is known of an item."""
    served, local = serving.holding.get(collection), is_local(request)
    return await looked_up(serving, lambda: Json(_facts_of(served, item, local=local)))


def _facts_of(served: Served, item: int, *, local: bool) -> dict[str, Any]:
    home = served.collection.home
    with home.snapshot():
        found = served.stored(item)
        picture = served.picture_of(found)
        file = home.file(key_of(home, found))
        texts = [] if file is None else home.texts(file.id)
        twins = home.items(home.copies([item]).get(item, []), shown=False)
    below = served.collection.below
    if below is not None:
        twins = [one for one in twins if one.path is not None and one.path.is_relative_to(below)]
    if found.side == "text":
        texts = [(str(found.text), found.source)]
    return {
        "item": found.row,
        "side": found.side,
        "id": found.id if local else public_name(found.id),
        "path": str(found.path) if local and found.path is not None else None,
        "text": found.text if found.side == "text" else "\n".join(found.captions) or None,
        "captions": [{"text": text, "source": source or ""} for text, source in texts],
        "meta": shown(found.fields),
        "copies": [{"item": one.row, "id": one.id if local else public_name(one.id)} for one in twins],
        "has_picture": picture is not None and picture.path is not None,
        "picture": None if picture is None else _picture_facts(served, picture),
    }


def _picture_facts(served: Served, picture: Stored) -> dict[str, Any] | None:
    try:
        file = original(served, picture)
    except Refused:
        return None
    fields = shown(picture.fields)
    when = datetime.datetime.fromtimestamp(file.modified, datetime.UTC)
    return {
        "width": fields.get("width"),
        "height": fields.get("height"),
        "format": fields.get("format"),
        "bytes": file.size,
        "modified": when.isoformat(timespec="seconds"),
    }


def _picture(served: Served, item: int) -> Stored:
    found = served.picture_of(served.stored(item))
    if found is None:
        raise Refused("NotFound", f"item {item} has no picture", part="item")
    return found


@router.get(
    "/api/v1/items/{item}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}, "description": "A JPEG."}},
)
async def thumbnail(
    request: Request,
    serving: Here,
    item: Number,
    size: Annotated[
        int, Query(ge=1, le=100_000, description=f"Longer side; one of {', '.join(map(str, SIZES))}.")
    ] = 320,
    run: Annotated[
        str | None, Query(max_length=64, description="What `health` tells of this server.")
    ] = None,
    collection: Name = None,
) -> Response:
    """The picture of an item, small and upright; it never changes, as another picture has another number.

    An address that says of which run of a server it is may be kept; without that, a later server at the same
    address would seem to have the pictures of this one.
    """
    served = serving.holding.get(collection)
    side = next((one for one in SIZES if one >= size), SIZES[-1])

    def work() -> bytes:
        return serving.thumbnails.get(served, _picture(served, item), side)

    content = await while_there(request, looked_up(serving, work))
    kept = _FOREVER if run == serving.run and collection is not None else "private, no-cache"
    return Response(content, media_type="image/jpeg", headers={"Cache-Control": kept})


@router.get(
    "/api/v1/items/{item}/original",
    response_class=FileResponse,
    responses={200: {"content": {"image/*": {}}, "description": "The file as it is."}},
)
async def original_file(
    serving: Here, item: Number, download: bool = False, collection: Name = None
) -> Response:
    """The file of an item's picture, as it is; what browsers do not show as a picture comes as a download."""
    served = serving.holding.get(collection)
    found = await looked_up(serving, lambda: _picture(served, item))
    file = await looked_up(serving, lambda: original(served, found))
    name = public_name(found.id).rpartition("/")[2].encode("utf-8", "replace").decode()
    how = "attachment" if download or file.kind is None else "inline"
    kind = file.kind or mimetypes.guess_type(name)[0] or ""
    return FileResponse(
        file.path,
        # What is no picture to browsers must not become a page of this server either.
        media_type=kind if kind.startswith("image/") and "svg" not in kind else "application/octet-stream",
        headers={
            "Content-Disposition": f"{how}; filename*=utf-8''{quote(name)}",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cache-Control": "private, no-cache",
        },
    )


@router.get("/api/v1/items/{item}/similar", response_model=schema.Found)
async def similar(
    request: Request,
    serving: Here,
    item: Number,
    to: Side = "image",
    k: Count = 10,
    offset: Offset = 0,
    where: Where = None,
    fold: schema.Fold = "exact",
    collection: Name = None,
) -> Any:
    """What is like an item."""
    query = schema.Query(
        like=[item], to=to, k=k, offset=offset, where=where, fold=fold, collection=collection
    )
    return await searched(request, serving, query)


@router.post("/api/v1/items/{item}/why", response_model=schema.WhyFacts)
async def why(
    request: Request, serving: Here, item: Number, query: schema.Query, collection: Name = None
) -> Any:
    """Why an item matches: which parts of its picture, and which words of its texts."""
    served = serving.holding.get(collection or query.collection)
    local, urls = is_local(request), serving.settings.urls

    def work() -> Json:
        facts = reasons(served, item, query, serving.uploads, urls=urls).as_dict()
        return Json(facts if local else facts | {"id": public_name(facts["id"])})

    return await while_there(request, serving.searches.run(work))
