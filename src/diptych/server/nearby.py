"""Asks the server of the same collection that this user runs on this machine, whose model is warm."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from diptych.engine.place import absolute, find
from diptych.engine.results import Results
from diptych.engine.weights import weighted
from diptych.errors import DiptychError
from diptych.server.client import Client, question
from diptych.server.found import Running, running

if TYPE_CHECKING:
    from diptych.core import Item
    from diptych.engine.collection import Collection

__all__ = ["Answer", "answer_nearby", "search_nearby"]

_SECONDS = 10.0  # that an answer may take; what takes longer is searched here

_log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """What a server answered.

    Args:
        folder: Of its collection.
        model: That compared.
        results: The results.
    """

    folder: Path
    model: str
    results: Results


def answer_nearby(
    place: str, *, like: Sequence[str] = (), fold: str | None = "exact", **asked: Any
) -> Answer | None:
    """What a search would give, from a server that has the collection, which is not opened for it.

    Nothing heavy is imported, so that asking costs little more than starting a command.

    Args:
        place: A folder of the collection.
        like: What is indexed to look like, by its `id` in results.
        fold: As for `Collection.search`.
        asked: Further arguments of `Collection.search`, without pictures and without what would load a model;
            with no part to look for, of `Collection.newest`.

    Returns:
        None where there is no such server, or it cannot answer this: then the collection says why not, or
        answers itself.
    """
    if "://" in place:  # an address, behind which no folder tells where its server is noted
        return None
    folder, start = find(place), absolute(place)
    there = None if folder is None else running(folder)
    if folder is None or there is None or not os.path.isdir(start):
        return None
    below = None if start == folder else start
    if there.below is not None and (below is None or not below.is_relative_to(there.below)):
        return None
    parts = {name: asked.pop(name) for name in (*_PARTS, "image_weight") if name in asked}
    try:
        body = question(None, like=like, **parts) | asked | {"fold": fold or "none"}
    except DiptychError as error:
        _log.info("not asked: %s", error)
        return None
    if below is not None:
        body["folder"] = below.relative_to(folder).as_posix()
    told = _told(there, body)
    return None if told is None else Answer(folder, told["model"], Results.from_dict(told))


def _told(there: Running, body: Mapping[str, Any]) -> Any:
    """What a server answers to a search; None if it does not, or not in time, or refuses."""
    try:
        with Client(there.address, token=there.key, collection=there.name, timeout=_SECONDS) as client:
            return client.ask("POST", "search", body)
    except (DiptychError, UnicodeError) as error:
        _log.info("searched here, not by the server at %s: %s", there.address, error)
        return None


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
    from diptych.core import Item
    from diptych.engine.parts import liked
    from diptych.engine.query import asked_rows
    from diptych.media.raw import is_raw

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
    told = _told(there, body)
    return None if told is None else Results.from_dict(told)


_PARTS = ("text", "image", "negative", "text_weight", "negative_weight")


def _rows(item: Item) -> Iterator[tuple[float, int]]:
    """Weight and number of each part of what the collection has of a file."""
    if not item.terms:
        yield 1.0, int(item.meta["row"])
    for weight, term in item.terms:
        yield weight, int(term.meta["row"])
