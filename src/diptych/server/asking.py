"""A query as it was asked over HTTP, made one of the engine's; its answer as JSON."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diptych.core import Item
from diptych.engine.gallery import item_of
from diptych.engine.listing import Fold
from diptych.engine.modelless import newest
from diptych.engine.parts import liked, recalled
from diptych.engine.query import Options, composed
from diptych.engine.results import Results
from diptych.engine.search import search_many
from diptych.engine.why import Why, why
from diptych.media.fetch import fetch
from diptych.server.errors import Refused
from diptych.server.holding import Served
from diptych.server.pictures import Uploads, original
from diptych.server.schema import ImagePart, LikePart, Query, TextPart

__all__ = ["alike", "answer", "answers", "facts_of_results", "public_name", "reasons"]

_FETCHING = 15.0  # seconds that fetching a picture of a query may take


def answer(
    served: Served, query: Query, uploads: Uploads, *, urls: bool, rerank: str | None = None
) -> tuple[Results, str]:
    """What a collection answers to a query, and the question in words.

    Without anything to look for, the newest.

    Args:
        served: The collection.
        query: What is asked.
        uploads: Has the pictures that were sent before.
        urls: Whether addresses may be fetched.
        rerank: Name of what ranks first hits anew; None if nothing does.

    Raises:
        Refused: a part is not there, or not allowed.
        DiptychError: as for `Collection.search`.
    """
    if query.rerank and rerank is None:
        raise Refused("BadRequest", "this server ranks nothing anew", part="rerank")
    options = replace(options_of(query), rerank=rerank if query.rerank else None)
    if not (query.text or query.like or query.image):
        _refuse_without_parts(query)
        return newest(served.view(folder=query.folder, model=query.model), options), ""
    words_only = query.by == "words"
    view = (served.view if words_only else served.warmed)(folder=query.folder, model=query.model)
    item, question = item_of_query(served, query, uploads, urls=urls)
    return search_many(view, [item], options)[0], question


def alike(query: Query) -> tuple[Any, ...] | None:
    """What queries have in common that are answered together; None of one that is answered by itself.

    Only words are asked together: pictures are read, or fetched, which takes each as long as it takes.
    """
    if not query.text or query.like or query.image or query.by == "words" or query.rerank:
        return None
    return query.collection, query.folder, query.model, options_of(query)


def answers(served: Served, queries: Sequence[Query], uploads: Uploads) -> list[tuple[Results, str]]:
    """What a collection answers to queries that are `alike`, and each question in words.

    The encoder is called once for all of them, and the collection's vectors are read once.

    Args:
        served, uploads: As for `answer`.
        queries: At least one.

    Raises:
        Refused, DiptychError: as for `answer`, whichever query's fault it is.
    """
    first = queries[0]
    view = served.warmed(folder=first.folder, model=first.model)
    asked = [item_of_query(served, one, uploads, urls=False) for one in queries]
    found = search_many(view, [item for item, _ in asked], options_of(first))
    for results in found:
        results.seconds *= len(found)  # its part of the time, and each waited for all of it
    return [(results, question) for results, (_, question) in zip(found, asked, strict=True)]


def reasons(served: Served, item: int, query: Query, uploads: Uploads, *, urls: bool) -> Why:
    """Why an item matches a query.

    Args:
        served, query, uploads, urls: As for `answer`; of the query its parts and their weights count.
        item: Its number.

    Raises:
        Refused, DiptychError: as for `answer`; nothing is asked.
    """
    found = served.stored(item)
    picture = served.picture_of(found)
    if picture is not None and picture.path is not None:
        original(served, picture)  # or it is not looked at
    view = served.warmed(model=query.model)
    asked, _ = item_of_query(served, query, uploads, urls=urls)
    return why(view, item_of(picture or found), asked)


def item_of_query(served: Served, query: Query, uploads: Uploads, *, urls: bool) -> tuple[Item, str]:
    """The parts of a query as one of the engine's, and the same in words.

    Args:
        served, query, uploads, urls: As for `answer`.

    Raises:
        Refused, DiptychError: as for `answer`.
    """
    images = [(_weight(one), _picture(served, one, uploads, urls=urls)) for one in query.image]
    likes = [(_weight(one), _like(served, one)) for one in query.like]
    item = composed(
        None,
        text=[_words(one) for one in query.text],
        image=(),
        like=[(query.image_weight if weight is None else weight, one) for weight, one in (*images, *likes)],
        negative=[_words(one) for one in query.negative],
        text_weight=query.text_weight,
        image_weight=query.image_weight,
        negative_weight=query.negative_weight,
    )
    return item, _question(query, [one for _, one in (*images, *likes)])


def options_of(query: Query) -> Options:
    """How a collection is searched; its model is chosen before."""
    fold: Fold | None = None if query.fold == "none" else query.fold
    return Options(
        query.to,
        query.k,
        query.min_score,
        query.exact,
        query.recall,
        None,
        query.where,
        query.by,
        query.offset,
        fold,
        query.itself,
        query.diverse,
        query.hubness,
    )


def facts_of_results(
    results: Results, served: Served, query: Query, question: str, *, local: bool
) -> dict[str, Any]:
    """An answer as JSON, as that of the command line.

    Args:
        results: The answer.
        served: Who answered.
        query: What was asked.
        question: The same in words.
        local: Whether the caller is on this machine; others are told no paths of it.
    """
    folder = served.collection.folder
    facts = {
        "query": question,
        "to": query.to,
        "folder": str(folder) if local else served.name,
        "model": query.model or served.collection.model,
        "offset": query.offset,
        **results.as_dict(),
    }
    if not local:
        best = [] if facts["best"] is None else [facts["best"]]
        for one in (*facts["results"], *best):
            one["path"] = None
            one["id"] = public_name(one["id"])
            one["copies"] = [public_name(copy) for copy in one["copies"]]
    return facts


def public_name(name: str) -> str:
    """An `id` as callers from elsewhere are told it: of a file outside of the collection its name."""
    return Path(name).name if Path(name).is_absolute() else name


def _refuse_without_parts(query: Query) -> None:
    """Refuse what says nothing where nothing is compared."""
    said = {
        "negative": query.negative,
        "min_score": query.min_score,
        "diverse": query.diverse,
        "hubness": query.hubness,
        "recall": query.recall,
        "rerank": query.rerank or None,
    }
    for name, value in said.items():
        if value not in (None, []):
            raise Refused(
                "BadRequest", f"{name} says nothing without words or a picture to look for", part=name
            )


def _words(part: str | TextPart) -> Any:
    if isinstance(part, str):
        return part
    return part.text if part.weight is None else (part.weight, part.text)


def _weight(part: ImagePart | LikePart | int) -> float | None:
    return None if isinstance(part, int) else part.weight


def _like(served: Served, part: LikePart | int) -> Item:
    if isinstance(part, LikePart) and (part.item is None) == (part.id is None):
        raise Refused("BadRequest", "what is to be looked like is given as one of item and id", part="like")
    if isinstance(part, LikePart) and part.id is not None:
        return liked(served.collection.home, served.named(part.id), served.collection.folder)
    found = served.stored(part if isinstance(part, int) else int(part.item or 0))
    return recalled(item_of(found))


def _picture(served: Served, part: ImagePart, uploads: Uploads, *, urls: bool) -> Item:
    given = [name for name in ("upload", "data", "url") if getattr(part, name) is not None]
    if len(given) != 1:
        raise Refused(
            "BadRequest",
            "a picture is given as one of upload, data (its file in base64) and url",
            part="image",
        )
    name = part.name or "the picture"
    if part.upload is not None:
        content = uploads.get(part.upload).content
    elif part.data is not None:
        try:
            content = base64.b64decode(part.data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Refused("BadRequest", f"{name} is not given in base64 ({error})", part="image") from error
        uploads.check(content, name)
    else:
        if not urls:
            raise Refused(
                "Forbidden", "this server fetches no addresses; send the picture itself", part="image"
            )
        name = str(part.url)
        content = fetch(name, largest=uploads.largest, seconds=_FETCHING)
        uploads.check(content, name)
    meta: dict[str, Any] = {"name": name}
    if part.item is not None:
        found = served.stored(part.item)
        meta |= {"row": found.row, "side": found.side}
    return Item(name, image=content, meta=meta)


def _question(query: Query, pictures: Sequence[Item]) -> str:
    said = [one if isinstance(one, str) else one.text for one in query.text]
    said += [f"like {Path(str(one.id)).name}" for one in pictures]
    away = [one if isinstance(one, str) else one.text for one in query.negative]
    return ", ".join(said) + "".join(f", not {one}" for one in away)
