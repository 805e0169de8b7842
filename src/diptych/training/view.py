"""What a person sees of a training: progress bar, log file, curves, TensorBoard."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.errors import BadData
from diptych.optional import optional

__all__ = ["Log", "Progress", "TensorBoard", "draw_curves"]


class Log:
    """One JSON object a line and epoch; kept in memory only, if there is no file.

    Args:
        path: The file, or None.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []
        self.bytes = 0
        """Length of what was written; a checkpoint remembers it."""

    def cut(self, length: int) -> None:
        """Forget what was written after the first `length` bytes, by a run that was interrupted there.

        Raises:
            BadData: the file is shorter, or not a log.
        """
        self.entries, self.bytes = [], length
        if self.path is None:
            return
        content = self.path.read_bytes() if self.path.is_file() else b""
        if len(content) < length:
            raise BadData(f"{self.path} is shorter than its checkpoint says; remove the folder, train again")
        try:
            self.entries = [json.loads(line) for line in content[:length].splitlines()]
        except ValueError as error:
            raise BadData(f"{self.path} is damaged ({error}); remove the folder and train again") from error
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.truncate(length)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append one entry."""
        self.entries.append(dict(entry))
        if self.path is not None:
            line = (json.dumps(entry, allow_nan=False) + "\n").encode()
            with self.path.open("ab") as file:
                file.write(line)
            self.bytes += len(line)


class Progress:
    """A bar on standard error with the loss terms by name and the time that is left.

    Args:
        epochs: How many there will be.
        done: How many there were already.
        shown: False draws nothing.
    """

    def __init__(self, epochs: int, *, done: int = 0, shown: bool = True) -> None:
        self._bar: Any = None
        self._passes = 0.0
        if not shown:
            return
        from rich import progress
        from rich.console import Console

        self._bar = progress.Progress(
            progress.TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"),
            progress.BarColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.description}"),
            console=Console(stderr=True),
            transient=False,
        )
        self._task = self._bar.add_task("", total=epochs, completed=done)
        self._bar.start()

    @staticmethod
    def wanted(quiet: bool) -> bool:
        """Whether somebody is looking."""
        return not quiet and sys.stderr.isatty()

    def terms(self, values: Mapping[str, float]) -> None:
        """Show the latest value of each term."""
        if self._bar is not None:
            self._bar.update(self._task, description=_words(values))

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """One more epoch is done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=epoch + 1, description=_words(values))

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._bar is not None:
            self._bar.stop()


class TensorBoard:
    """Writes terms and validation for TensorBoard.

    Args:
        folder: Where its event files go.

    Raises:
        MissingExtra: if it is not installed.
    """

    def __init__(self, folder: Path) -> None:
        optional("tensorboard", "TensorBoard logging", "tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))

    def add(self, entry: Mapping[str, Any]) -> None:
        """One entry of the log."""
        stage, epoch = entry["stage"], entry["epoch"]
        for name, value in {**entry["terms"], "validation": entry.get("validation")}.items():
            if value is not None:
                self._writer.add_scalar(f"stage{stage}/{name}", value, epoch)
        self._writer.flush()


def draw_curves(entries: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw every loss term and the validation metric over the epochs into a picture.

    Args:
        entries: The log: each has "stage", "epoch", "terms" and perhaps "validation".
        path: The picture; its ending says in which format.

    Raises:
        MissingExtra: if matplotlib is not installed.
    """
    figures = optional("matplotlib.figure", "drawing training curves", "plots")
    names = list(dict.fromkeys(name for entry in entries for name in entry["terms"]))
    validated = [(at, entry["validation"]) for at, entry in enumerate(entries, 1) if "validation" in entry]
    figure = figures.Figure(figsize=(8, 6 if validated else 3.5), layout="constrained")
    axes = figure.subplots(2 if validated else 1, squeeze=False)[:, 0]
    for name in names:
        points = [(at, entry["terms"][name]) for at, entry in enumerate(entries, 1) if name in entry["terms"]]
        axes[0].plot(*zip(*points, strict=True), label=name, marker="." if len(points) == 1 else None)
    axes[0].set(xlabel="epoch", ylabel="mean loss term")
    if names:
        axes[0].legend()
    if validated:
        axes[1].plot(*zip(*validated, strict=True), color="black", marker=".")
        axes[1].set(xlabel="epoch", ylabel="validation")
    figure.savefig(path)


def _words(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
