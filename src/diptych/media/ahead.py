"""Pictures on their way to an encoder: read and prepared while the ones before are encoded.

One picture that cannot be read says nothing of the others. Who encodes many of them therefore takes them from
here, and is told which could not be read and why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from diptych.core import offered
from diptych.errors import ImageError
from diptych.media.pictures import open_picture, sized

__all__ = ["BATCH", "Trouble", "ahead", "unreadable"]

BATCH = 64
"""Items that are read at a time."""


@dataclass(slots=True)
class Trouble:
    """What was wrong with pictures, by their rows.

    Args:
        lost: Why those could not be read that could not.
        partly: What is missing of others.
    """

    lost: dict[int, ImageError] = field(default_factory=dict)
    partly: dict[int, str] = field(default_factory=dict)

    def __or__(self, other: Trouble) -> Trouble:
        return Trouble(self.lost | other.lost, self.partly | other.partly)

    def at(self, rows: Sequence[int]) -> Trouble:
        """The same by the rows of a longer sequence.

        Args:
            rows: Where each of these pictures stands there.
        """
        return Trouble(
            {rows[row]: error for row, error in self.lost.items()},
            {rows[row]: reason for row, reason in self.partly.items()},
        )

    def see(self, row: int, picture: Any) -> None:
        """Take note of a picture that was read."""
        reason = getattr(picture, "info", {}).get("truncated")
        if isinstance(reason, str):
            self.partly[row] = reason


def ahead(items: Sequence[Any], encoder: Any, *, size: int = BATCH) -> Iterator[tuple[list[Any], Trouble]]:
    """Batches of the items that can be read, and what was wrong with others, by their rows among all.

    While one batch is encoded, the next is read and prepared in another thread.

    Args:
        items: Pictures, or what else an encoder takes. Looking at one may read it, and fail.
        encoder: May offer `prepare_image` and `image_size`; None for what needs no preparation.
        size: Items in a batch.
    """
    prepare = offered(encoder, "prepare_image")
    enough = offered(encoder, "image_size")
    items = sized(items, enough)

    def batch(start: int) -> tuple[list[Any], Trouble]:
        found: list[Any] = []
        trouble = Trouble()
        for row in range(start, min(start + size, len(items))):
            try:
                one = items[row]
                if prepare is not None and isinstance(one, str | PathLike):
                    one = open_picture(one, size=enough)
                trouble.see(row, one)
                found.append(one if prepare is None else prepare(one))
            except ImageError as error:
                trouble.lost[row] = error
        return found, trouble

    starts = range(0, len(items), size)
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        waiting = [pool.submit(batch, start) for start in starts[:1]]
        for start in starts:
            ready = waiting.pop().result()
            if start + size < len(items):
                waiting.append(pool.submit(batch, start + size))
            yield ready


def unreadable(pictures: Sequence[Any]) -> Trouble:
    """What is wrong with pictures; each is decoded to see that.

    Args:
        pictures: Files that are opened when they are looked at, or any that `open_picture` takes.
    """
    trouble = Trouble()
    for row in range(len(pictures)):
        try:
            trouble.see(row, open_picture(pictures[row]))
        except ImageError as error:
            trouble.lost[row] = error
    return trouble
