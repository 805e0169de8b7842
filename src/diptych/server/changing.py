"""Changes of a collection that a request makes and waits for."""

from __future__ import annotations

import base64
import binascii

from diptych.engine.items import NewItem
from diptych.engine.results import Summary
from diptych.server.errors import Refused
from diptych.server.holding import Served
from diptych.server.pictures import Uploads
from diptych.server.schema import NewItemAsked, NewItems, Removal

__all__ = ["forget", "take"]


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
