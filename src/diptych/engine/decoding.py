"""How pictures are read for an encoder: by their content's hash, decoded in threads, ahead of the model."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from diptych.core import offered
from diptych.media.opening import Described
from diptych.media.pictures import read_described
from diptych.media.raw import is_raw, read_raw

if TYPE_CHECKING:
    from diptych.engine.homes.base import Home

__all__ = ["AHEAD", "THREADS", "ahead", "digest_of", "prepared", "vector_of"]

AHEAD = 3
"""Batches that may be decoded before they are needed; bounds the memory."""
THREADS = max(2, (os.cpu_count() or 2) // 2)
"""Threads that decode."""

_Waiting = TypeVar("_Waiting")
_Read = TypeVar("_Read")


def digest_of(content: bytes) -> bytes:
    """Hash (16 bytes) by which a home knows the content of a file."""
    return hashlib.blake2b(content, digest_size=16).digest()


def vector_of(home: Home, digest: bytes) -> bytes | None:
    """The stored vector of any picture of a content; None if there is none."""
    vectors = (home.image_vector(twin.id) for twin in home.twins(digest, image=True))
    return next((vector for vector in vectors if vector is not None), None)


def prepared(
    encoder: Any, content: bytes, *, name: str, max_pixels: int | None
) -> tuple[Any, Described, str]:
    """What an encoder takes of a picture's file, what its own fields say, and what is missing of it.

    Args:
        encoder: Says how large it wants pictures, and may prepare them.
        content: The file.
        name: Of the file, for messages; its ending tells raw files of cameras.
        max_pixels: As for `diptych.media.pictures.open_picture`.

    Raises:
        ImageError: it cannot be read.
    """
    size = offered(encoder, "image_size")
    read = read_raw if is_raw(name) else read_described
    picture, own = read(content, size=size, max_pixels=max_pixels, name=name)
    prepare = offered(encoder, "prepare_image")
    part = picture.info.get("truncated", "")
    return (picture if prepare is None else prepare(picture)), own, part


def ahead(
    pool: ThreadPoolExecutor,
    read: Callable[[_Waiting], _Read],
    waiting: Iterable[_Waiting],
    window: int,
) -> Iterator[_Read]:
    """Read things in threads, in order, never more than `window` ahead."""
    futures: deque[Future[_Read]] = deque()
    for one in waiting:
        futures.append(pool.submit(read, one))
        if len(futures) >= window:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()
