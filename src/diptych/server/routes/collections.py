"""Collections: what they hold, counted, with what was skipped, their copies and models."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request

from diptych.core import Side
from diptych.engine.duplicates import Copy
from diptych.engine.homes.names import path_or_id
from diptych.engine.looks import ALIKE
from diptych.engine.plan import LOOSE
from diptych.server import schema
from diptych.server.app import Json, Serving
from diptych.server.asking import public_name
from diptych.server.changing import exclude
from diptych.server.errors import without_paths
from diptych.server.holding import Served
from diptych.server.routes.shared import (
    FAILURES,
    Here,
    Name,
    Where,
    Writing,
    is_local,
    looked_up,
)

__all__ = ["router"]

router = APIRouter(responses=FAILURES)

_MOST_FACETS = 1_000


@router.get("/api/v1/collections", response_model=schema.Collections)
async def collections(request: Request, serving: Here) -> Any:
    """What is served."""
    local = is_local(request)
    return await looked_up(
        serving,
        lambda: Json({"collections": [_collection(serving, one, local=local) for one in serving.holding]}),
    )


@router.get("/api/v1/collections/{name}", response_model=schema.CollectionFacts)
async def collection_facts(request: Request, serving: Here, name: str) -> Any:
    """What a collection holds."""
    served, local = serving.holding.get(name), is_local(request)
    return await looked_up(serving, lambda: Json(_collection(serving, served, local=local)))


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
            "bytes": home.size,
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
    served, local = serving.holding.get(name), is_local(request)
    opened = served.collection

    def work() -> Json:
        found = [
            {"path": _shown_path(served, path_or_id(opened.home, key), local=local), "reason": reason}
            for key, reason, *_ in opened.home.skipped()
            if reason != LOOSE
        ]
        return Json({"skipped": found})

    return await looked_up(serving, work)


def _shown_path(served: Served, path: Path | str, *, local: bool) -> str:
    folder = served.collection.folder
    if isinstance(path, str):  # an address, which is the same from everywhere
        return path
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

    return await looked_up(serving, work)


@router.get("/api/v1/count", response_model=schema.Count)
async def count(serving: Here, where: Where = None, side: Side = "image", collection: Name = None) -> Any:
    """How many items there are."""
    served = serving.holding.get(collection)
    return await looked_up(serving, lambda: Json({"count": served.collection.count(side, where=where)}))


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

    return await looked_up(serving, work)


@router.get("/api/v1/models", response_model=schema.Models)
async def models(request: Request, serving: Here) -> Any:
    """The models of all collections, and which are loaded."""
    local = is_local(request)

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

    return await looked_up(serving, work)


@router.get("/api/v1/vectors", response_model=schema.VectorsPage)
async def vectors(
    request: Request,
    serving: Here,
    side: Side = "image",
    after: Annotated[
        int, Query(ge=-1, le=2**63 - 1, description="The number that came last; -1 begins.")
    ] = -1,
    k: Annotated[int, Query(ge=1, le=schema.MOST_VECTORS)] = schema.MOST_VECTORS,
    collection: Name = None,
) -> Any:
    """Vectors of a side, page by page.

    What is there throughout comes once; what comes or goes meanwhile may be missing.
    """
    served, local = serving.holding.get(collection), is_local(request)
    opened = served.collection
    home = opened.home

    def work() -> Json:
        with home.snapshot():
            kept = home.vectors_now(side)
            rows = kept.rows
            if opened.below is not None:
                within = home.rows(side, under=home.key(opened.below))
                rows = rows[np.isin(rows, np.array(within, np.int64))]
            left = rows[np.searchsorted(rows, after, side="right") :]
            page = left[:k]
            found = kept.of(page)
            ids = [one.id for one in home.items(page.tolist())]
        return Json(
            {
                "items": page.tolist(),
                "ids": ids if local else [public_name(one) for one in ids],
                "dimensions": found.shape[1],
                "data": base64.b64encode(found.astype("<f4").tobytes()).decode("ascii"),
                "next": int(page[-1]) if len(left) > k else None,
            }
        )

    return await looked_up(serving, work)


@router.post("/api/v1/excludes", response_model=schema.Excluded, dependencies=[Writing])
async def excludes(serving: Here, asked: schema.Excluding) -> Any:
    """Say what is left out from the next indexing on, and what no longer is."""
    served = serving.holding.get(asked.collection)
    return await looked_up(serving, lambda: Json({"excludes": exclude(served, asked)}))
