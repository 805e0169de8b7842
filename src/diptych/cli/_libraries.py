"""Keeps what C libraries write to standard error from tearing the progress, and says it afterwards.

Decoders of pictures complain there by themselves, once a strip of a damaged file or more often.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator

from diptych.cli._terminal import say

__all__ = ["aside"]

_TOLD = 5  # different lines that are told
_READ = 1 << 20  # bytes of what was written that are looked at


@contextlib.contextmanager
def aside(*, told: bool) -> Iterator[None]:
    """A block in which Python alone writes to standard error; at its end the libraries' lines are told.

    Where standard error is not the process's own, nothing is done.

    Args:
        told: Whether to tell them: each once, and no more than a few.
    """
    try:
        real = isinstance(sys.stderr, io.TextIOWrapper) and sys.stderr.fileno() == 2
    except (OSError, ValueError):
        real = False
    if not real:
        yield
        return
    python, kept = sys.stderr, os.dup(2)
    with tempfile.TemporaryFile() as written:
        python.flush()
        os.dup2(written.fileno(), 2)
        try:
            with open(kept, "w", encoding=python.encoding, errors=python.errors, buffering=1) as sys.stderr:
                try:
                    yield
                finally:
                    sys.stderr.flush()
                    os.dup2(kept, 2)
        finally:
            sys.stderr = python
        written.seek(0)
        said = written.read(_READ).decode("utf-8", "backslashreplace")
    lines = list(dict.fromkeys(line for line in said.split("\n") if line.strip()))
    if told and lines:
        more = f"; and {len(lines) - _TOLD} other lines" if len(lines) > _TOLD else ""
        say(f"libraries that read pictures said: {' / '.join(lines[:_TOLD])}{more}", err=True)
