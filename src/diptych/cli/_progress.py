"""How far a long work is: a bar on a terminal, a line every so often in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from diptych.cli._terminal import say

if TYPE_CHECKING:
    from diptych.engine.results import Progress as Told

__all__ = ["progress"]

SECONDS = 10.0
"""Between two lines where there is no terminal."""


@contextmanager
def progress(work: str = "indexing") -> Iterator[Callable[[Told], None]]:
    """A block whose work, of that name, is shown on standard error by calling what it gives."""
    if sys.stderr.isatty():
        with _bar(work) as shown:
            yield shown
    else:
        yield _lines(work)


@contextmanager
def _bar(work: str) -> Iterator[Callable[[Told], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(work), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, rate="")
        yield lambda at: bar.update(task, completed=at.done, total=at.total, rate=_rate(at))


def _lines(work: str) -> Callable[[Told], None]:
    last = time.monotonic()

    def shown(at: Told) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS:
            last = time.monotonic()
            total = "" if at.total is None else f" of {at.total}"
            say(f"{work}: {at.done}{total}, {_rate(at)}", err=True)

    return shown


def _rate(at: Told) -> str:
    return f"{at.done / at.seconds:.0f}/s" if at.seconds > 0 else ""
