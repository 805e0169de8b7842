"""Changes of a collection that a request makes and waits for."""

from __future__ import annotations

import base64
import binascii

from diptych.engine.collection import Collection
from diptych.engine.ignoring import check_patterns
from diptych.engine.items import NewItem
from diptych.engine.results import Summary
from diptych.server.errors import Refused
from diptych.server.holding import Served
from diptych.server.pictures import Uploads
from diptych.server.schema import Excluding, NewItemAsked, NewItems, Removal

__all__ = ["exclude", "forget", "take", "whole"]


def take(served: Served, asked: NewItems, uploads: Uploads) -> Summary:
    """Take items in, in one transaction: when this returns, all of them are on the disk.

    Args:
        served: The collection.
        asked: The items.
        uploads: Says how large pictures may be.

    Raises:
        Refused, UsageError, ImageError: one of them cannot be taken; then none is.
        CollectionBusy: another process, or a job, is writing.
    """
    items = [_item(one, uploads) for one in asked.items]
    if served.collection.home.column is not None:
        served.warmed()
    return served.collection.add_items(items, batch_size=len(items))


def forget(served: Served, asked: Removal) -> int:
    """Forget items and files; returns how many were there.

    Raises:
        Refused: a path leads out of what is served.
        CollectionBusy: another process, or a job, is writing.
    """
    paths = [served.inside(name) for name in asked.files]
    removed = served.collection.remove_items(asked.ids) if asked.ids else 0
    return removed + (served.collection.remove(*paths) if paths else 0)


def exclude(served: Served, asked: Excluding) -> list[str]:
    """Change the patterns of what is left out; returns those that count now.

    Raises:
        Refused: only a part of the collection is served.
        UsageError: one is no pattern, or none that could be taken back; then none is changed.
        CollectionBusy: another process, or a job, is writing.
    """
    collection = whole(served, "patterns")
    check_patterns(asked.more)
    if asked.no_longer:
        collection.exclude_no_longer(*asked.no_longer)
    if asked.more:
        collection.exclude(*asked.more)
    return list(collection.excludes)


def whole(served: Served, part: str) -> Collection:
    """The collection, for what concerns all of it.

    Raises:
        Refused: only a part of it is served.
    """
    if served.collection.below is not None:
        raise Refused(
            "Forbidden", "only a part of the collection is served, and this concerns all", part=part
        )
    return served.collection


def _item(one: NewItemAsked, uploads: Uploads) -> NewItem:
    content = None
    if one.data is not None:
        try:
            content = base64.b64decode(one.data, validate=True)
        except (binascii.Error, ValueError) as error:
            said = f"the picture of {one.id[:100]!r} is not given in base64 ({error})"
            raise Refused("BadRequest", said, part="items") from error
        uploads.check(content, f"the picture of {one.id[:100]!r}")
    return NewItem(one.id, image=content, vector=one.vector, texts=one.texts, meta=one.meta)
