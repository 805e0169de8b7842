"""What goes wrong at the server: its own refusals, and what of an error a caller is told."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from diptych.errors import (
    BadData,
    CollectionBusy,
    CollectionError,
    DiptychError,
    ImageError,
    MissingData,
    MissingExtra,
    PluginError,
    UsageError,
    WrongModel,
)

__all__ = ["Refused", "facts_of", "status_of", "without_paths"]


class Refused(DiptychError):
    """A request that the server does not take, whatever the library would say of it.

    Args:
        kind: What it is called in answers, such as "NotFound".
        text: One sentence.
        part: Of the request, if one would have to be another.
        after: Seconds after which it may be asked again, if that helps.
    """

    STATUS: ClassVar = {
        "BadRequest": 400,
        "Unauthorized": 401,
        "Forbidden": 403,
        "NotFound": 404,
        "Gone": 410,
        "TooLarge": 413,
        "Misdirected": 421,
        "Busy": 429,
        "Left": 499,
        "Stopping": 503,
        "Late": 504,
    }

    def __init__(self, kind: str, text: str, *, part: str = "", after: int | None = None) -> None:
        assert kind in self.STATUS, kind
        self.kind, self.after = kind, after
        super().__init__(text, argument=part)


# The first that an error is; what is none of these is a fault of ours.
_STATUS: tuple[tuple[type[DiptychError], int], ...] = (
    (UsageError, 400),
    (ImageError, 422),
    (CollectionBusy, 409),
    (WrongModel, 409),
    (CollectionError, 503),
    (MissingData, 404),
    (MissingExtra, 501),
    (PluginError, 501),
    (BadData, 422),
)


def status_of(error: DiptychError) -> int:
    """The status of the answer to what failed so."""
    if isinstance(error, Refused):
        return Refused.STATUS[error.kind]
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def facts_of(error: DiptychError, *, local: bool, folders: Iterable[Path] = ()) -> dict[str, dict[str, str]]:
    """What a caller is told of an error.

    Args:
        error: The error.
        local: Whether the caller is on this machine; others are told no paths of it.
        folders: That are served; others are told their names only.
    """
    kind = error.kind if isinstance(error, Refused) else type(error).__name__
    message = str(error) if local else without_paths(str(error), folders)
    return {"error": {"kind": kind, "message": message, "argument": error.argument}}


# Two names and more after slashes (or a drive), at whose beginning no word or address ends.
_PATH = re.compile(r"(?<![\w:/.])(?:[A-Za-z]:[\\/]|~?/)(?:[^\s/\\'\",;:()]+[\\/])+([^\s/\\'\",;:()]*)")


def without_paths(text: str, folders: Iterable[Path] = ()) -> str:
    """A sentence in which folders of this machine are gone: a file's name is left of its path.

    Args:
        text: The sentence.
        folders: Of which the name is left, too, with what lies in them.

    Example:
        >>> without_paths("/home/ann/photos/a b/cat.jpg is gone", [Path("/home/ann/photos")])
        'photos/a b/cat.jpg is gone'
        >>> without_paths("cannot read /var/lib/x.sqlite, see https://example.org/a/b")
        'cannot read x.sqlite, see https://example.org/a/b'
    """
    for folder in sorted(map(str, folders), key=len, reverse=True):
        text = text.replace(folder, os.path.basename(folder))
    for folder in (str(Path.home()), tempfile.gettempdir(), str(Path.cwd())):
        if len(folder) > 1:
            text = text.replace(folder + os.sep, "")
    return _PATH.sub(lambda found: found[1], text)
