"""The endpoints. What they need of the server they find in the request; what they do, other modules say."""

from __future__ import annotations

import asyncio
import datetime
import mimetypes
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Depends, File, Query, Request, UploadFile
from fastapi import Path as InPath
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.responses import FileResponse, Response

from diptych import __version__
from diptych.core import Side
from diptych.engine.duplicates import Copy
from diptych.engine.homes.entries import Stored
from diptych.engine.hubness import Hubness
from diptych.engine.looks import ALIKE
from diptych.engine.parts import typed
from diptych.engine.plan import LOOSE
from diptych.engine.results import By
from diptych.media.metadata import shown
from diptych.report.style import LOOK
from diptych.server import schema
from diptych.server.app import Json, Serving
from diptych.server.asking import answer, facts_of_results, public_name, reasons
from diptych.server.changing import forget, take
from diptych.server.errors import Refused, without_paths
from diptych.server.holding import Served
from diptych.server.jobs import Job
from diptych.server.pictures import SIZES, original
from diptych.server.security import COOKIE

__all__ = ["FAILURES", "router"]

_T = TypeVar("_T")

FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": schema.Failure, "description": what}
    for status, what in {
        400: "It cannot be done as it was asked.",
        401: "A token is needed.",
        403: "It is not allowed.",
        404: "There is no such thing.",
        409: "Another process is writing, or the model is another.",
        410: "It is not there any more.",
        413: "It is too large.",
        421: "The server has another name.",
        422: "A value, or a picture, cannot be read.",
        429: "Too many wait already.",
        500: "A fault of the server.",
        501: "A package is not installed.",
        503: "The collection cannot be used, or the server is being stopped.",
        504: "It took too long.",
    }.items()
}

router = APIRouter(responses=FAILURES)

_FOREVER = "private, max-age=31536000, immutable"
_MOST_FACETS = 1_000
_FOLLOWED = 15.0  # seconds after which a stream without news says that it is there


def _serving(request: Request) -> Serving:
    found: Serving = request.app.state.serving
    return found


async def _read_only(request: Request) -> None:
    if not _serving(request).settings.write:
        raise Refused(
            "Forbidden", "this server only reads; whoever runs it can start it so that it also writes"
        )


Here = Annotated[Serving, Depends(_serving)]
Name = Annotated[str | None, Query(max_length=1_000, description="Of the collection; the first if left out.")]
Where = Annotated[str | None, Query(max_length=schema.MOST_WORDS, description="What fields must fulfil.")]
Number = Annotated[int, InPath(ge=0, le=2**63 - 1, description="Of the item.")]
Count = Annotated[int, Query(ge=1, le=schema.MOST_RESULTS)]
Offset = Annotated[int, Query(ge=0, le=10_000_000)]
Writing = Depends(_read_only)


def _local(request: Request) -> bool:
    return bool(request.state.local)


async def _searched(request: Request, serving: Serving, query: schema.Query) -> Json:
    served = serving.holding.get(query.collection)
    local, urls = _local(request), serving.settings.urls

    def work() -> Json:
        results, question = answer(served, query, serving.uploads, urls=urls, rerank=serving.settings.rerank)
        if results.reranked is not None:
            serving.reranked = results.seconds
        return Json(facts_of_results(results, served, query, question, local=local))

    return await serving.searches.run(work)


async def _looked_up(serving: Serving, work: Callable[[], _T]) -> _T:
    return await serving.files.run(work)


# Search


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
    return await _searched(request, serving, query)


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
    return await _searched(request, serving, query)


@router.post("/api/v1/uploads", response_model=schema.Upload, status_code=201)
async def upload(serving: Here, file: Annotated[UploadFile, File(description="A picture.")]) -> Any:
    """Send a picture to search with; it is kept for a while, and is no item of a collection."""
    content = await file.read()
    name = (file.filename or "the picture")[:200]
    kept = await _looked_up(serving, lambda: serving.uploads.put(content, name))
    facts = {
        "upload": kept.name,
        "width": kept.width,
        "height": kept.height,
        "format": None if kept.format is None else kept.format.lower(),
        "bytes": len(content),
        "expires": serving.uploads.seconds,
    }
    return Json(facts, status_code=201)


# Items


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
    return await _searched(request, serving, query)


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
    served, local = serving.holding.get(collection), _local(request)
    return await _looked_up(serving, lambda: Json(_facts_of(served, served.row_of(id), local=local)))


@router.get("/api/v1/items/{item}", response_model=schema.ItemFacts)
async def item_facts(request: Request, serving: Here, item: Number, collection: Name = None) -> Any:
    """All that is known of an item."""
    served, local = serving.holding.get(collection), _local(request)
    return await _looked_up(serving, lambda: Json(_facts_of(served, item, local=local)))


def _facts_of(served: Served, item: int, *, local: bool) -> dict[str, Any]:
    home = served.collection.home
    with home.snapshot():
        found = served.stored(item)
        picture = served.picture_of(found)
        key = home.key(found.path) if found.path is not None else None
        file = None if key is None else home.file(key)
        texts = [] if file is None else home.texts(file.id)
        twins = home.items(home.copies([item]).get(item, []), shown=False)
    below = served.collection.below
    if below is not None:
        twins = [one for one in twins if one.path is not None and one.path.is_relative_to(below)]
    if found.side == "text":
        texts = [(str(found.text), found.source)]
    elif not texts:
        texts = [(text, "program") for text in found.captions]
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
    serving: Here,
    item: Number,
    size: Annotated[
        int, Query(ge=1, le=100_000, description=f"Longer side; one of {', '.join(map(str, SIZES))}.")
    ] = 320,
    collection: Name = None,
) -> Response:
    """The picture of an item, small and upright; it never changes, as another picture has another number."""
    served = serving.holding.get(collection)
    side = next((one for one in SIZES if one >= size), SIZES[-1])
    content = await _looked_up(serving, lambda: serving.thumbnails.get(served, _picture(served, item), side))
    return Response(content, media_type="image/jpeg", headers={"Cache-Control": _FOREVER})


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
    found = await _looked_up(serving, lambda: _picture(served, item))
    file = await _looked_up(serving, lambda: original(served, found))
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
    return await _searched(request, serving, query)


@router.post("/api/v1/items/{item}/why", response_model=schema.WhyFacts)
async def why(
    request: Request, serving: Here, item: Number, query: schema.Query, collection: Name = None
) -> Any:
    """Why an item matches: which parts of its picture, and which words of its texts."""
    served = serving.holding.get(collection or query.collection)
    local, urls = _local(request), serving.settings.urls

    def work() -> Json:
        facts = reasons(served, item, query, serving.uploads, urls=urls).as_dict()
        return Json(facts if local else facts | {"id": public_name(facts["id"])})

    return await serving.searches.run(work)


# Collections


@router.get("/api/v1/collections", response_model=schema.Collections)
async def collections(request: Request, serving: Here) -> Any:
    """What is served."""
    local = _local(request)
    return await _looked_up(
        serving,
        lambda: Json({"collections": [_collection(serving, one, local=local) for one in serving.holding]}),
    )


@router.get("/api/v1/collections/{name}", response_model=schema.CollectionFacts)
async def collection_facts(request: Request, serving: Here, name: str) -> Any:
    """What a collection holds."""
    served, local = serving.holding.get(name), _local(request)
    return await _looked_up(serving, lambda: Json(_collection(serving, served, local=local)))


def _collection(serving: Serving, served: Served, *, local: bool) -> dict[str, Any]:
    opened = served.collection
    home = opened.home
    below = opened.below
    with home.snapshot():
        column = home.column
        skipped = sum(reason != LOOSE for _, reason, *_ in home.skipped())
        return {
            "name": served.name,
            "folder": str(opened.folder) if local else opened.folder.name,
            "below": None if below is None else below.relative_to(opened.folder).as_posix(),
            "images": len(opened.gallery("image")) if below is not None else opened.count("image"),
            "texts": len(opened.gallery("text")) if below is not None else opened.count("text"),
            "model": opened.model if local else without_paths(opened.model),
            "fingerprint": None if column is None else column.fingerprint or None,
            "models": [
                one.as_dict() if local else one.as_dict() | {"name": without_paths(one.name)}
                for one in opened.models()
            ],
            "bytes": sum(file.stat().st_size for file in opened.place.rglob("*") if file.is_file()),
            "codes": None if home.codes is None else dict(home.codes),
            "excludes": list(opened.excludes),
            "fields": sorted(home.field_names()),
            "skipped": skipped,
            "generation": home.state.generation,
            "jobs": serving.jobs.of(served),
        }


@router.get("/api/v1/collections/{name}/skipped", response_model=schema.SkippedFiles)
async def skipped(request: Request, serving: Here, name: str) -> Any:
    """The files that could not be taken, and why."""
    served, local = serving.holding.get(name), _local(request)
    opened = served.collection

    def work() -> Json:
        found = [
            {"path": _shown_path(served, opened.home.path(key), local=local), "reason": reason}
            for key, reason, *_ in opened.home.skipped()
            if reason != LOOSE
        ]
        return Json({"skipped": found})

    return await _looked_up(serving, work)


def _shown_path(served: Served, path: Any, *, local: bool) -> str:
    folder = served.collection.folder
    if path.is_relative_to(folder):
        return str(path.relative_to(folder).as_posix())
    return str(path) if local else str(path.name)


@router.get("/api/v1/facets", response_model=schema.Facets)
async def facets(
    serving: Here,
    field: Annotated[list[str], Query(min_length=1, max_length=schema.MOST_PARTS)],
    where: Where = None,
    side: Side = "image",
    limit: Annotated[int, Query(ge=1, le=_MOST_FACETS)] = 50,
    collection: Name = None,
) -> Any:
    """How many items have each value of fields."""
    served = serving.holding.get(collection)

    def work() -> Json:
        told = []
        for name in field:
            counts = served.collection.facets(name, where=where, side=side)
            values = [{"value": value, "count": count} for value, count in counts.items()]
            told.append({"field": name, "values": values[:limit], "more": max(0, len(values) - limit)})
        return Json({"facets": told})

    return await _looked_up(serving, work)


@router.get("/api/v1/count", response_model=schema.Count)
async def count(serving: Here, where: Where = None, side: Side = "image", collection: Name = None) -> Any:
    """How many items there are."""
    served = serving.holding.get(collection)
    return await _looked_up(serving, lambda: Json({"count": served.collection.count(side, where=where)}))


@router.get("/api/v1/duplicates", response_model=schema.Duplicates)
async def duplicates(
    serving: Here,
    threshold: Annotated[float, Query(gt=0, le=1, description="Likeness from which pictures count.")] = ALIKE,
    collection: Name = None,
) -> Any:
    """Copies among the pictures, in groups: the same content, and nearly the same; it reads pictures."""
    served = serving.holding.get(collection)

    def work() -> Json:
        found = served.collection.duplicates(threshold=threshold)

        def facts(one: Copy) -> dict[str, Any]:
            told = one.as_dict()
            told["item"] = served.row_of(one.id)
            return {name: told[name] for name in ("item", "id", "bytes", "likeness")}

        groups = {
            kind: [[facts(one) for one in group] for group in getattr(found, kind)]
            for kind in ("exact", "near")
        }
        return Json({**groups, "pictures": found.pictures, "threshold": threshold})

    return await _looked_up(serving, work)


@router.get("/api/v1/models", response_model=schema.Models)
async def models(request: Request, serving: Here) -> Any:
    """The models of all collections, and which are loaded."""
    local = _local(request)

    def work() -> Json:
        told: dict[str, dict[str, Any]] = {}
        for served in serving.holding:
            for one in served.collection.models():
                facts = {
                    "name": one.name if local else without_paths(one.name),
                    "fingerprint": one.fingerprint,
                    "similarity": one.similarity,
                    "dimensions": one.dimensions,
                    "loaded": serving.holding.warm.has(one.fingerprint),
                    "collections": [],
                }
                told.setdefault(one.fingerprint, facts)["collections"].append(served.name)
        return Json({"models": list(told.values())})

    return await _looked_up(serving, work)


# Jobs


def _job_facts(job: Job, *, local: bool) -> dict[str, Any]:
    facts = job.facts()
    if local:
        return facts
    folders = [job.served.collection.folder]
    if facts["error"] is not None:
        facts["error"] = without_paths(facts["error"], folders)
    for name in ("current", "summary"):
        facts[name] = _without(facts[name], folders)
    return facts


def _without(value: Any, folders: Any) -> Any:
    if isinstance(value, str):
        return without_paths(value, folders)
    if isinstance(value, list):
        return [_without(one, folders) for one in value]
    return {name: _without(one, folders) for name, one in value.items()} if isinstance(value, dict) else value


@router.post("/api/v1/jobs", response_model=schema.Job, status_code=202, dependencies=[Writing])
async def ask_job(request: Request, serving: Here, asked: schema.JobAsked) -> Any:
    """Have a collection brought up to date with its folder; once accepted, it is done."""
    served, local = serving.holding.get(asked.collection), _local(request)
    job = await _looked_up(serving, lambda: serving.jobs.ask(served, asked))
    return Json(_job_facts(job, local=local), status_code=202)


@router.get("/api/v1/jobs", response_model=schema.Jobs)
async def jobs(request: Request, serving: Here) -> Any:
    """The jobs that run, wait or have ended, the newest first."""
    return Json({"jobs": [_job_facts(one, local=_local(request)) for one in serving.jobs]})


@router.get("/api/v1/jobs/{job}", response_model=schema.Job)
async def job_facts(request: Request, serving: Here, job: str) -> Any:
    """How far a job is."""
    return Json(_job_facts(serving.jobs.get(job), local=_local(request)))


@router.delete("/api/v1/jobs/{job}", response_model=schema.Job, dependencies=[Writing])
async def stop_job(request: Request, serving: Here, job: str) -> Any:
    """End a job at its next batch; what is stored stays."""
    found = serving.jobs.get(job)
    serving.jobs.stop(found)
    return Json(_job_facts(found, local=_local(request)))


async def _followed(request: Request, serving: Here, job: str) -> Job:
    return serving.jobs.get(job)  # before the answer begins, so that an unknown one is told as such


@router.get("/api/v1/jobs/{job}/events", response_class=EventSourceResponse)
async def job_events(
    request: Request, serving: Here, found: Annotated[Job, Depends(_followed)]
) -> AsyncIterator[ServerSentEvent]:
    """A job as it goes on: `progress` now and with every batch, `skipped` for each file, and `end`."""
    local, version = _local(request), -1
    while True:
        ended, version_now = found.ended, found.version
        facts = _job_facts(found, local=local)
        if ended:
            for one in (facts["summary"] or {}).get("skipped", []):
                yield ServerSentEvent(event="skipped", data=one)
            yield ServerSentEvent(event="end", data=facts)
            return
        if version_now != version:
            yield ServerSentEvent(event="progress", data=facts)
        version = version_now
        for _ in range(int(_FOLLOWED / 0.2)):
            if serving.stopping or await request.is_disconnected():
                return
            if found.version != version:
                break
            await asyncio.sleep(0.2)


# The server itself


@router.get("/api/v1/health", response_model=schema.Health)
async def health(request: Request, serving: Here) -> Any:
    """Whether the server answers, and what whoever asks may ask of it."""
    settings = serving.settings
    facts = {
        "status": "stopping" if serving.stopping else "ok",
        "version": __version__,
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
            "name": settings.rerank if _local(request) else without_paths(settings.rerank),
            "seconds": serving.reranked,
        },
        "local": _local(request),
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

    return await _looked_up(serving, lambda: Json({"cells": cells(path)}))


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
    text = await _looked_up(
        serving, lambda: serving.metrics.text(serving.holding, (serving.searches, serving.files))
    )
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
