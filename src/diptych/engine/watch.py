"""Waits for changes of files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from diptych.optional import optional

__all__ = ["changes"]


def changes(paths: Sequence[Path], *, ignore: Path) -> Iterator[None]:
    """Yields whenever something below the paths has changed and has been quiet for a moment.

    Args:
        paths: Folders and files.
        ignore: Changes below this folder do not count.

    Raises:
        MissingExtra: watchfiles is not installed.
    """
    watchfiles = optional("watchfiles", "watching a folder", "watch")
    for changed in watchfiles.watch(*paths, watch_filter=lambda _, name: ignore not in Path(name).parents):
        if changed:
            yield None
