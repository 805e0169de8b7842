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
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

__all__ = ["TRIAL_MEMORY", "TRIAL_SECONDS", "Reading"]

TRIAL_SECONDS = 60.0
"""Longest time that a picture on trial may take."""
TRIAL_MEMORY = 4 << 30
"""Memory in bytes that it may take, where the system can limit it."""

# Size that is enough and most pixels, -1 for None; bytes of the path that follows.
_ASKED = struct.Struct("!iqI")
_READ, _TOO_LARGE = b"r", b"m"


class Reading:
    """The files in flight, in a file that is there for as long as any are.

    Args:
        place: The folder to keep it in.

    Attributes:
        suspects: Names of the files that were in flight when an earlier run ended, and have not been dealt
            with since.
    """

    def __init__(self, place: Path) -> None:
        self._path = place / "reading"
        self._trial = _Trial()
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

    def trial(self, path: Path, size: int | None, max_pixels: int | None = None) -> str:
        """Why a picture must not be read in this process, in a few words; empty if nothing speaks against it.

        Args:
            path: The picture.
            size, max_pixels: As for `diptych.media.pictures.open_picture`.
        """
        return self._trial.verdict(path, size, max_pixels)

    def close(self, dealt_with: Callable[[bytes], bool]) -> None:
        """No file is being read any more.

        Args:
            dealt_with: Whether a suspect needs no trial any more.
        """
        self._trial.end()
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


class _Trial:
    """A process that reads pictures to see whether it survives; started when first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def verdict(self, path: Path, size: int | None, max_pixels: int | None) -> str:
        name = os.fsencode(path)
        with self._lock:
            process, late = self._running(), threading.Event()

            def stop() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(TRIAL_SECONDS, stop)
            timer.start()
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                asked = (-1 if given is None else given for given in (size, max_pixels))
                process.stdin.write(_ASKED.pack(*asked, len(name)) + name)
                process.stdin.flush()
                answer = process.stdout.read(1)
            except OSError:
                answer = b""
            finally:
                timer.cancel()
            if answer == _READ:
                return ""
            self.end()
            if answer == _TOO_LARGE:
                why = f"needs more than {TRIAL_MEMORY >> 30} GiB of memory"
            elif late.is_set():
                why = f"takes longer than {TRIAL_SECONDS:.0f} s to read"
            else:
                why = f"ends the process that reads it{_how(process.returncode)}"
        return f"{why}, and was being read when an earlier run ended; passed over until it changes"

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.end()
            package = str(Path(__file__).parents[2])
            code = (
                "import sys; sys.path.append(sys.argv[1]); from diptych.engine.reading import serve; serve()"
            )
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", code, package],  # -P: nothing is imported from where we stand
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for whoever waits
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        return self._process

    def end(self) -> None:
        """Stop the process, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _how(code: int) -> str:
    try:
        return f" ({signal.Signals(-code).name})"
    except ValueError:
        return ""


# What runs in the process of its own


def serve() -> None:
    """Read the pictures whose paths come on standard input, until it ends; answers on standard output."""
    from diptych.errors import ImageError
    from diptych.media.pictures import read_captioned

    _limit_memory()
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    while header := asked.read(_ASKED.size):
        size, most, length = _ASKED.unpack(header)
        path, answer = os.fsdecode(asked.read(length)), _READ
        try:
            read_captioned(path, size=None if size < 0 else size, max_pixels=None if most < 0 else most)
        except ImageError as error:  # whoever asks will meet the same, and say so
            if isinstance(error.__cause__, MemoryError):
                answer = _TOO_LARGE
        answers.write(answer)
        answers.flush()


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; time and crashes are still contained
        return
    resource.setrlimit(resource.RLIMIT_AS, (TRIAL_MEMORY, TRIAL_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
