"""Reads files of text that anybody may have written: the head first, within a limit, in any Unicode form.

Notes beside pictures, lists of captions and loose texts all come through here.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from diptych.errors import BadData

__all__ = ["DEEPEST", "MAX_LIST_BYTES", "MAX_TEXT_BYTES", "beginning", "content", "decoded", "parsed"]

MAX_TEXT_BYTES = 64 << 20
"""Largest file of texts, one a line, that is read."""

MAX_LIST_BYTES = 1 << 30
"""Largest table that is read, unpacked."""

DEEPEST = 100
"""Levels of brackets that JSON may have; tables have two or three."""

_HEAD = 4096
_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def content(path: Path, *, most: int = MAX_TEXT_BYTES) -> bytes:
    """The bytes of a text file, unpacked if its name ends in ``.gz``.

    Args:
        path: The file.
        most: Bytes that it may have, unpacked.

    Raises:
        BadData: it is no text, damaged or too large; the message leaves out the path.
        OSError: it cannot be read.
    """
    with _opened(path) as file:
        head = file.read(_HEAD)
        if len(head) == _HEAD and b"\0" in head and not head.startswith(_MARKS):
            raise BadData("is not text (it holds a zero byte)")
        data = head + file.read(most + 1 - len(head))
    if len(data) > most:
        raise BadData(f"too large a text file (at most {most >> 20} MiB are read)")
    return data


def beginning(path: Path, size: int) -> str:
    """How a text file begins, whatever is wrong with it further on; ``size`` bytes of it, unpacked.

    Raises:
        BadData: it is damaged.
        OSError: it cannot be read.
    """
    with _opened(path) as file:
        data = file.read(size)
    return data.decode(_encoding(data), errors="replace")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path) as packed:
                yield cast("IO[bytes]", packed)  # Typeshed knows the two kinds of files apart
        else:
            with path.open("rb") as file:
                yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadData(f"cannot be read as text ({error})") from error


def _encoding(data: bytes) -> str:
    return "utf-16" if data.startswith(_MARKS) else "utf-8-sig"


def decoded(data: bytes) -> str:
    """The text of such bytes: UTF-8, or UTF-16 with its mark.

    Raises:
        BadData: it is neither, or holds zeros.
    """
    try:
        text = data.decode(_encoding(data))
    except UnicodeDecodeError as error:
        raise BadData(f"cannot be read as text: it is not UTF-8 text (byte {error.start})") from error
    if "\0" in text:
        raise BadData("is not text (it holds a zero byte)")
    return text


def parsed(text: str) -> Any:
    """What a JSON text holds.

    Raises:
        BadData: it is not JSON, deeper than `DEEPEST`, or holds a number of thousands of digits.
    """
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadData(f"not JSON ({error.msg})") from error
    except RecursionError:
        found, levels = None, DEEPEST + 1
    except ValueError as error:  # Python turns no number of more than 4,300 digits into an integer
        raise BadData(f"not JSON that can be read ({str(error).partition(';')[0]})") from error
    else:
        levels = _levels(found)
    if levels > DEEPEST:
        raise BadData(f"not JSON that can be read: it is too deep (more than {DEEPEST} levels)")
    return found


def _levels(found: Any) -> int:
    """How many levels of lists and objects there are, up to one more than is allowed."""
    level, inside = 0, [found]
    while inside and level <= DEEPEST:
        inside = [
            part
            for one in inside
            if isinstance(one, dict | list)
            for part in (one.values() if isinstance(one, dict) else one)
            if isinstance(part, dict | list)
        ]
        level += 1
    return level
