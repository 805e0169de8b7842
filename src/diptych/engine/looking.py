"""What is found in a file, wherever that is looked for: here, in threads, or on the machines of a cluster."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

from diptych.core import Side, offered
from diptych.engine import storage
from diptych.engine.decoding import AHEAD, THREADS, ahead, digest_of, prepared
from diptych.engine.reading import Trial
from diptych.errors import BadData, ImageError
from diptych.media import textfiles
from diptych.media.captions import lines
from diptych.media.formats import HEAD, may_be_picture
from diptych.media.opening import Described
from diptych.media.pictures import Unread, read_file
from diptych.media.raw import description_of, is_raw

__all__ = [
    "Asked",
    "Copy",
    "Eyes",
    "Failed",
    "Here",
    "Knows",
    "Picture",
    "Seen",
    "Texts",
    "look",
    "nothing_known",
]

_Task = TypeVar("_Task")


@dataclass(frozen=True, slots=True)
class Asked:
    """A file to look into.

    Args:
        name: Its path, or its address in a storage.
        side: What it may hold.
        digest: Hash of its content, where that is known and only what lies beside it changed; else empty.
        suspect: Whether it may have ended a process that read it, so that it is put on trial first.
        beside: Address of a file with its captions, each a line; empty if there is none.
    """

    name: str
    side: Side = "image"
    digest: bytes = b""
    suspect: bool = False
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of new content.

    Args:
        digest: Hash of its content.
        own: What it says in its own fields.
        partly: What is missing of it, in a sentence; empty if nothing is.
        prepared: What the encoder takes; None if it is encoded already.
        vector: As a home keeps it, if it is encoded already.
        beside: Captions of the file beside it.
    """

    digest: bytes
    own: Described
    partly: str
    prepared: Any = None
    vector: bytes | None = None
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Copy:
    """A picture whose content was known when it was looked at; see `Picture`."""

    digest: bytes
    own: Described
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Texts:
    """A list of texts."""

    digest: bytes
    texts: list[str]


@dataclass(frozen=True, slots=True)
class Failed:
    """A file that could not be read.

    Args:
        reason: Why.
        again: Whether the next run should try again although the file has not changed.
    """

    reason: str
    again: bool


Seen: TypeAlias = Picture | Copy | Texts | Failed
Knows: TypeAlias = Callable[[bytes], bool]
"""Whether the picture of a content is stored, so that it needs no decoding."""


class Eyes(Protocol):
    """What looks into files, ahead of whoever stores what is found."""

    def seen(
        self, tasks: Iterable[tuple[_Task, Asked]], size: int, knows: Knows
    ) -> Generator[list[tuple[_Task, Seen]]]:
        """What is found in each file, in their order and in batches; tasks are asked for a few ahead.

        Args:
            tasks: Whatever the caller tells files by, and the file.
            size: Files in a batch.
            knows: Whether a content needs no decoding; may be called in any thread, or not at all.
        """
        ...


def nothing_known(digest: bytes) -> bool:
    """Of no content it is known."""
    return False


class Here:
    """Looks into files in threads of this process; pictures are prepared, and encoded by whoever stores them.

    Args:
        encoder: Prepares pictures.
        trial: For suspects.
        max_pixels: As for `diptych.media.pictures.open_picture`.
    """

    def __init__(self, encoder: Any, trial: Trial, *, max_pixels: int | None) -> None:
        self.encoder, self.trial, self.max_pixels = encoder, trial, max_pixels

    def look(self, asked: Asked, knows: Knows) -> Seen:
        """What one file holds."""
        return look(asked, self.encoder, knows=knows, trial=self.trial, max_pixels=self.max_pixels)

    def seen(
        self, tasks: Iterable[tuple[_Task, Asked]], size: int, knows: Knows
    ) -> Generator[list[tuple[_Task, Seen]]]:
        """What is found in each file, in their order and in batches; see `Eyes`."""
        with ThreadPoolExecutor(THREADS, thread_name_prefix="decode") as pool:

            def one(task: tuple[_Task, Asked]) -> tuple[_Task, Seen]:
                return task[0], self.look(task[1], knows)

            found = ahead(pool, one, tasks, size * AHEAD)
            try:
                while batch := list(itertools.islice(found, size)):
                    yield batch
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def look(asked: Asked, encoder: Any, *, knows: Knows, trial: Trial, max_pixels: int | None) -> Seen:
    """Hash a file and, unless its content is known, decode the very bytes that were hashed.

    Args:
        asked: The file.
        encoder: Says how large it wants pictures, and may prepare them.
        knows: Whether a content needs no decoding.
        trial: Of suspects.
        max_pixels: As for `diptych.media.pictures.open_picture`.
    """
    try:
        beside, wrong = _beside(asked.beside)
        if asked.digest:
            own = description_of(asked.name, _from_storage(asked.name))
            return Copy(asked.digest, own, beside)
        if asked.side == "text":
            content = textfiles.content(Path(asked.name))
            return Texts(digest_of(content), list(dict.fromkeys(lines(content))))
        content = _content(asked, encoder, trial, max_pixels)
        digest = digest_of(content)
        if knows(digest):
            return Copy(digest, description_of(asked.name, content), beside)
        found, own, partly = prepared(encoder, content, name=asked.name, max_pixels=max_pixels)
        return Picture(digest, own, partly or wrong, found, beside=beside)
    except ImageError as error:
        return Failed(error.reason, isinstance(error, Unread))
    except BadData as error:
        return Failed(str(error), False)
    except OSError as error:
        return Failed(f"cannot be read ({error.strerror or error})", True)


def _beside(address: str) -> tuple[tuple[str, ...], str]:
    """The captions in a file of a storage, and why there are none."""
    if not address:
        return (), ""
    try:
        return tuple(lines(storage.read(address))), ""
    except BadData as error:
        return (), f"its captions, {address}, are not used: {error}"


def _from_storage(name: str) -> bytes | None:
    """The content of what has an address; None of a path, of which less may be enough."""
    return storage.read(name) if storage.is_address(name) else None


def _content(asked: Asked, encoder: Any, trial: Trial, max_pixels: int | None) -> bytes:
    """The bytes of a file whose beginning is what it should be."""
    content = _from_storage(asked.name)
    if content is None:
        try:
            with open(asked.name, "rb") as file:
                head = file.read(HEAD)
        except OSError:
            return read_file(asked.name)  # which says what is wrong
    else:
        head = content[:HEAD]
    if not head:
        raise ImageError(asked.name, "empty file")
    raw = is_raw(asked.name)  # whose reader looks for itself, in a process of its own
    if not raw and not may_be_picture(head):
        raise ImageError(asked.name, "not a picture, whatever its name says")
    if asked.suspect and not raw:
        why = trial.of(asked.name, content, offered(encoder, "image_size"), max_pixels)
        if why:
            raise ImageError(asked.name, why)
    return read_file(asked.name) if content is None else content
