"""Which files are being read, written down, so that one that ends the process is known to the next.

A damaged picture can take a decoder down, and the whole process with it: a segmentation fault, all of the
memory, or work without end that somebody stops. Nothing can be written then, so it is written before: a small
file beside the record names what is in flight. Whoever finds it there reads those files one by one, each on
trial in a process of its own under limits of time and memory; what ends that one as well is passed over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from diptych.media.worker import Ended, Worker, exactly, limit_memory

__all__ = ["TRIAL_MEMORY", "TRIAL_SECONDS", "Reading", "Trial"]

TRIAL_SECONDS = 60.0
"""Longest time that a picture on trial may take."""
TRIAL_MEMORY = 4 << 30
"""Memory in bytes that it may take, where the system can limit it."""

# Size that is enough and most pixels, -1 for None; bytes of the path that follows.
_ASKED = struct.Struct("!iqI")
_READ, _TOO_LARGE = b"r", b"m"


class Trial:
    """Reads pictures in a process of its own, under limits of time and memory: whether that ends it."""

    def __init__(self) -> None:
        self._worker = Worker(
            "diptych.engine.reading",
            "serve",
            environment={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )

    def of(self, name: str, content: bytes | None, size: int | None, max_pixels: int | None = None) -> str:
        """Why a picture must not be read in this process, in a few words; empty if nothing speaks against it.

        Args:
            name: Its path.
            content: Its bytes, if it is in no file here.
            size, max_pixels: As for `diptych.media.pictures.open_picture`.
        """
        if content is None:
            return self._of(name, size, max_pixels)
        with tempfile.TemporaryDirectory(prefix="diptych-") as folder:
            path = Path(folder) / f"picture{os.path.splitext(name)[1]}"
            path.write_bytes(content)
            return self._of(str(path), size, max_pixels)

    def _of(self, path: str, size: int | None, max_pixels: int | None) -> str:
        name = os.fsencode(path)
        asked = (-1 if given is None else given for given in (size, max_pixels))
        question = _ASKED.pack(*asked, len(name)) + name
        try:
            answer = self._worker.ask(question, lambda stream: exactly(stream, 1), seconds=TRIAL_SECONDS)
        except Ended as ended:
            if ended.late:
                why = f"takes longer than {TRIAL_SECONDS:.0f} s to read"
            else:
                why = f"ends the process that reads it{_how(ended.code)}"
        else:
            if answer == _READ:
                return ""
            self._worker.end()  # whose memory is in pieces now
            why = f"needs more than {TRIAL_MEMORY >> 30} GiB of memory"
        return f"{why}, and was being read when an earlier run ended; passed over until it changes"

    def end(self) -> None:
        """End the process, if there is one; another begins where it is needed again."""
        self._worker.end()


class Reading:
    """The files in flight, in a file that is there for as long as any are.

    Args:
        place: The folder to keep it in.
        name: Of the file.

    Attributes:
        suspects: Names of the files that were in flight when an earlier run ended, and have not been dealt
            with since.
        trial: For them.
    """

    def __init__(self, place: Path, name: str = "reading") -> None:
        self._path = place / name
        self.trial = Trial()
        self._flying: dict[bytes, None] = {}
        self.suspects = dict.fromkeys(_names(self._path))
        with contextlib.suppress(OSError):  # a disk that takes nothing: the record says so in a moment
            self._file: IO[bytes] | None = None
            self._file = self._path.open("wb", buffering=0)
            self._rewrite()

    def begin(self, name: bytes) -> None:
        """A file is about to be read."""
        self._flying[name] = None
        self._write(name + b"\0")

    def done(self, names: Iterable[bytes]) -> None:
        """These have been dealt with, for good or ill."""
        for name in names:
            self._flying.pop(name, None)
            self.suspects.pop(name, None)
        self._rewrite()

    def close(self, dealt_with: Callable[[bytes], bool]) -> None:
        """No file is being read any more.

        Args:
            dealt_with: Whether a suspect needs no trial any more.
        """
        self.trial.end()
        if self._file is None:
            return
        self._flying.clear()
        self.suspects = {name: None for name in self.suspects if not dealt_with(name)}
        self._rewrite()
        self._file.close()
        if not self.suspects:
            self._path.unlink(missing_ok=True)

    def _rewrite(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.seek(0)
                self._file.truncate()
        self._write(b"".join(name + b"\0" for name in {**self.suspects, **self._flying}))

    def _write(self, data: bytes) -> None:
        # Handed to the system at once, which outlives this process; a power cut is no picture's fault.
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.write(data)


def _names(path: Path) -> list[bytes]:
    try:
        return [name for name in path.read_bytes().split(b"\0")[:-1] if name]
    except OSError:
        return []


def _how(code: int) -> str:
    try:
        return f" ({signal.Signals(-code).name})"
    except ValueError:
        return ""


# What runs in the process of its own


def serve() -> None:
    """Read the pictures whose paths come on standard input, until it ends; answers on standard output."""
    from diptych.errors import ImageError
    from diptych.media.pictures import read_described

    limit_memory(TRIAL_MEMORY)
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    while header := asked.read(_ASKED.size):
        size, most, length = _ASKED.unpack(header)
        path, answer = os.fsdecode(asked.read(length)), _READ
        try:
            read_described(path, size=None if size < 0 else size, max_pixels=None if most < 0 else most)
        except ImageError as error:  # whoever asks will meet the same, and say so
            if isinstance(error.__cause__, MemoryError):
                answer = _TOO_LARGE
        answers.write(answer)
        answers.flush()
