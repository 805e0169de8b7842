"""Pictures on their way to an encoder: read and prepared while the ones before are encoded.

One picture that cannot be read says nothing of the others. Who encodes many of them therefore takes them from
here, and is told which could not be read and why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from diptych.core import offered
from diptych.errors import ImageError
from diptych.media.pictures import open_picture, sized

__all__ = ["BATCH", "Batch", "ahead", "unreadable"]

BATCH = 64
"""Items that are read at a time."""


@dataclass(slots=True)
class Batch:
    """Some items, as what encodes them takes them.

    Args:
        items: Those that could be read.
        lost: Why the others could not, by their rows among all.
    """

    items: list[Any] = field(default_factory=list)
    lost: dict[int, ImageError] = field(default_factory=dict)


def ahead(items: Sequence[Any], encoder: Any, *, size: int = BATCH) -> Iterator[Batch]:
    """Batches of items; while one is encoded, the next is read and prepared in another thread.

    Args:
        items: Pictures, or what else an encoder takes. Looking at one may read it, and fail.
        encoder: May offer `prepare_image` and `image_size`; None for what needs no preparation.
        size: Items in a batch.
    """
    prepare = offered(encoder, "prepare_image")
    items = sized(items, offered(encoder, "image_size"))

    def batch(start: int) -> Batch:
        found = Batch()
        for row in range(start, min(start + size, len(items))):
            try:
                found.items.append(items[row] if prepare is None else prepare(items[row]))
            except ImageError as error:
                found.lost[row] = error
        return found

    starts = range(0, len(items), size)
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        waiting = [pool.submit(batch, start) for start in starts[:1]]
        for start in starts:
            ready = waiting.pop().result()
            if start + size < len(items):
                waiting.append(pool.submit(batch, start + size))
            yield ready


def unreadable(pictures: Sequence[Any]) -> dict[int, ImageError]:
    """Which pictures cannot be read, by row, and why; each is decoded to see that.

    Args:
        pictures: Files that are opened when they are looked at, or any that `open_picture` takes.
    """
    lost: dict[int, ImageError] = {}
    for row in range(len(pictures)):
        try:
            open_picture(pictures[row])
        except ImageError as error:
            lost[row] = error
    return lost
