"""Reads the text inside the pictures of a collection, one content after the other, once each.

What was read is kept by the content, so that copies and files that move need no second look, and an
interrupted run goes on where it was. It is a field of the file, "inscription", and no caption: words find it,
but it is no description of what the picture shows, and has no vector.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from diptych.engine.homes.base import Home
from diptych.engine.results import Inscriptions, Progress, Skipped
from diptych.errors import ImageError
from diptych.media import ocr
from diptych.media.pictures import Unread
from diptych.media.raw import open_any

__all__ = ["read_inscriptions"]

_BATCH = 8  # contents that are stored at a time; about ten seconds of work
_LOST = 3.0  # seconds after which what was read is stored, so that little is lost


def read_inscriptions(
    home: Home,
    *,
    max_pixels: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Inscriptions:
    """Read the text inside every picture that nobody has looked at for it.

    Args:
        home: The caller may write to it.
        max_pixels: As for `diptych.media.pictures.open_picture`.
        on_progress: Called after every picture.

    Raises:
        MissingExtra: the package that reads is not installed.
    """
    ocr.needs_ocr()
    found, started, done, after = Inscriptions(), time.perf_counter(), 0, b""
    total = home.count_unread()
    kept: list[tuple[bytes, str, str]] = []
    stored = started
    while waiting := home.unread(after, _BATCH):
        for digest, key in waiting:
            after, path = digest, home.path(key)
            try:
                picture = open_any(path, size=ocr.LARGEST // 2, max_pixels=max_pixels)
                lines = ocr.read_text(picture, name=str(path))
            except Unread:
                found.away += 1
            except ImageError as error:
                found.failed.append(Skipped(path, error.reason))
                kept.append((digest, "failed", error.reason))
            else:
                found.read += bool(lines)
                found.nothing += not lines
                kept.append((digest, "read" if lines else "nothing", "\n".join(lines)))
            done += 1
            if on_progress is not None:
                seconds = time.perf_counter() - started
                on_progress(Progress(done, total, len(found.failed), path, seconds))
            if time.perf_counter() - stored > _LOST:
                _keep(home, kept)
                stored = time.perf_counter()
        _keep(home, kept)
    return found


def _keep(home: Home, kept: list[tuple[bytes, str, str]]) -> None:
    if kept:
        with home.batch():
            for digest, state, said in kept:
                home.put_inscription(digest, state, said)
        kept.clear()
