"""What endpoints need of the server, which they find in the request, and how each may fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query, Request
from fastapi import Path as InPath

from diptych.server import schema
from diptych.server.app import Json, Serving
from diptych.server.asking import alike, answer, answers, facts_of_results
from diptych.server.errors import Refused

__all__ = [
    "FAILURES",
    "Count",
    "Here",
    "Name",
    "Number",
    "Offset",
    "Where",
    "Writing",
    "is_local",
    "looked_up",
    "searched",
    "serving_of",
    "while_there",
]

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


def serving_of(request: Request) -> Serving:
    """What the endpoints work with."""
    found: Serving = request.app.state.serving
    return found


async def only_reads(request: Request) -> None:
    if not serving_of(request).settings.write:
        raise Refused(
            "Forbidden", "this server only reads; whoever runs it can start it so that it also writes"
        )


Here = Annotated[Serving, Depends(serving_of)]
Name = Annotated[str | None, Query(max_length=1_000, description="Of the collection; the first if left out.")]
Where = Annotated[str | None, Query(max_length=schema.MOST_WORDS, description="What fields must fulfil.")]
Number = Annotated[int, InPath(ge=0, le=2**63 - 1, description="Of the item.")]
Count = Annotated[int, Query(ge=1, le=schema.MOST_RESULTS)]
Offset = Annotated[int, Query(ge=0, le=10_000_000)]
Writing = Depends(only_reads)


def is_local(request: Request) -> bool:
    """Whether whoever asks is at this machine, and may see its paths."""
    return bool(request.state.local)


async def searched(request: Request, serving: Serving, query: schema.Query) -> Json:
    """The answer to a search, which waits for its turn."""
    served = serving.holding.get(query.collection)
    local, urls = is_local(request), serving.settings.urls

    def work() -> Json:
        results, question = answer(served, query, serving.uploads, urls=urls, rerank=serving.settings.rerank)
        if results.reranked is not None:
            serving.reranked = results.seconds
        return Json(facts_of_results(results, served, query, question, local=local))

    def work_together(asked: Sequence[tuple[schema.Query, bool]]) -> list[Json]:
        found = answers(served, [query for query, _ in asked], serving.uploads)
        return [
            Json(facts_of_results(results, served, query, question, local=local))
            for (results, question), (query, local) in zip(found, asked, strict=True)
        ]

    kind = alike(query)
    if kind is None:
        return await while_there(request, serving.searches.run(work))
    return await while_there(request, serving.searches.join(kind, (query, local), work_together))


async def while_there(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """What is worked out, unless whoever asked goes first: what waits for a thread is then not begun.

    Args:
        request: The request, whose body was read.
        work: For it, which changes nothing.

    Raises:
        Refused: whoever asked has gone, so that nobody is told.
    """

    async def gone() -> None:
        # That it is cancelled may be lost where a message comes at the same moment (`asyncio.wait_for`).
        while not mine.done() and (await request.receive())["type"] != "http.disconnect":
            pass

    mine = asyncio.ensure_future(work)
    other = asyncio.ensure_future(gone())
    try:
        await asyncio.wait((mine, other), return_when=asyncio.FIRST_COMPLETED)
        if not mine.done():
            raise Refused("Left", "whoever asked has gone")
        return mine.result()
    finally:
        mine.cancel()
        other.cancel()
        await asyncio.wait((mine,))  # so that its place in the queue is free


async def looked_up(serving: Serving, work: Callable[[], _T]) -> _T:
    """What work gives that needs no model, done beside other requests."""
    return await serving.files.run(work)
