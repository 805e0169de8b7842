"""A child process under limits of time and memory, for what may crash, hang or take all of the memory.

It is started when first needed and serves one question after another. Who asks and who serves agree on the
bytes that pass between them. A child that dies on a question, or is late, is an `Ended` for whoever asked,
and the next question gets a new one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TypeVar

__all__ = ["Ended", "Worker", "exactly", "limit_memory"]

_Answer = TypeVar("_Answer")
_CODE = """
import importlib, sys
sys.path.append(sys.argv[1])
getattr(importlib.import_module(sys.argv[2]), sys.argv[3])()
"""


class Ended(Exception):
    """The child died before it had answered.

    Args:
        late: Whether it took longer than it may, and was killed for it.
        code: Its exit code; below zero, the number of the signal that killed it.
    """

    def __init__(self, late: bool, code: int) -> None:
        super().__init__(late, code)
        self.late, self.code = late, code


class Worker:
    """Asks a child process, one question at a time.

    Args:
        module: Of the function that runs in the child; imported there.
        serve: Its name; reads questions from standard input until that ends, answers on standard output.
        environment: What the child's environment has over that of this process.
    """

    def __init__(self, module: str, serve: str, *, environment: Mapping[str, str] | None = None) -> None:
        self._runs, self._environment = (module, serve), environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, question: bytes, read: Callable[[IO[bytes]], _Answer], *, seconds: float) -> _Answer:
        """What the child answers.

        Args:
            question: Written to it.
            read: Reads the answer; `EOFError` says that it is cut off.
            seconds: Longest time that it may take.

        Raises:
            Ended: it died, or was late.
        """
        with self._lock:
            process, late = self._running(), threading.Event()

            def stop() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(seconds, stop)
            timer.start()
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(question)
                process.stdin.flush()
                return read(process.stdout)
            except (OSError, EOFError):
                self.end()
                raise Ended(late.is_set(), process.returncode) from None
            except BaseException:  # interrupted: what the child still says belongs to nobody
                self.end()
                raise
            finally:
                timer.cancel()

    def end(self) -> None:
        """Stop the child, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.end()
            package = str(Path(__file__).parents[2])
            self._process = subprocess.Popen(
                # -P: nothing is imported from where we stand
                [sys.executable, "-P", "-c", _CODE, package, *self._runs],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for whoever waits
                env={**os.environ, **self._environment},
            )
        return self._process


def exactly(stream: IO[bytes], count: int) -> bytes:
    """So many bytes of a stream.

    Raises:
        EOFError: it has fewer.
    """
    found = stream.read(count)
    if len(found) < count:
        raise EOFError
    return found


def limit_memory(most: int) -> None:
    """Let this process take so many bytes of memory at most, where the system can limit it."""
    try:
        import resource
    except ImportError:  # Windows has no such limits; time and crashes are still contained
        return
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
