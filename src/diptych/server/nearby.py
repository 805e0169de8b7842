"""Asks the server of the same collection that this user runs on this machine, whose model is warm."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from diptych.core import Item
from diptych.engine.collection import Collection
from diptych.engine.parts import liked, weighted
from diptych.engine.query import asked_rows
from diptych.engine.results import Results
from diptych.errors import ServerError
from diptych.media.raw import is_raw
from diptych.server.client import Client, question
from diptych.server.found import running

__all__ = ["search_nearby"]

_SECONDS = 10.0  # that an answer may take; what takes longer is searched here

_log = logging.getLogger(__name__)


def search_nearby(
    opened: Collection,
    query: str | None,
    *,
    like: Sequence[Any] = (),
    image_weight: float = 1.0,
    **asked: Any,
) -> Results | None:
    """What `Collection.search` would give, from a server that has the collection.

    Args:
        opened: The collection, which need not load its model for it.
        query: Words.
        like, image_weight: As for `Collection.search`.
        asked: Its further arguments.

    Returns:
        None where there is no such server, or it cannot answer this: then the search is made here.

    Raises:
        UsageError, ImageError: as for `Collection.search`.
    """
    there = running(opened.folder)
    if there is None or asked.pop("rerank", None) is not None:
        return None
    asked.pop("depth", None)
    if there.below is not None and (opened.below is None or not opened.below.is_relative_to(there.below)):
        return None
    images = weighted(asked.get("image", ()), image_weight, "image")
    if any(isinstance(one, str | os.PathLike) and is_raw(one) for _, one in images):
        return None  # its name says how it is read
    parts = {name: asked.pop(name) for name in _PARTS if name in asked}

    def known(path: Path) -> int | None:
        return next(iter(asked_rows(Item(image=path), opened.home, "image")), None)

    likes = [
        (weight * part, row)
        for weight, name in weighted(like, image_weight, "image")
        for part, row in _rows(liked(opened.home, name, opened.folder))
    ]
    if query is None and not (likes or images or parts.get("text")):
        return None
    body = question(query, like=likes, image_weight=image_weight, known=known, **parts)
    if opened.below is not None:
        body["folder"] = opened.below.relative_to(opened.folder).as_posix()
    if opened.default is not opened:
        body["model"] = opened.model
    body |= asked | {"fold": asked.get("fold") or "none"}
    try:
        with Client(there.address, token=there.key, collection=there.name, timeout=_SECONDS) as client:
            return Results.from_dict(client.ask("POST", "search", body))
    except (ServerError, UnicodeError) as error:
        _log.info("searched here, not by the server at %s: %s", there.address, error)
        return None


_PARTS = ("text", "image", "negative", "text_weight", "negative_weight")


def _rows(item: Item) -> Iterator[tuple[float, int]]:
    """Weight and number of each part of what the collection has of a file."""
    if not item.terms:
        yield 1.0, int(item.meta["row"])
    for weight, term in item.terms:
        yield weight, int(term.meta["row"])
