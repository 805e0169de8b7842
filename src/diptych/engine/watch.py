"""Waits for changes of files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from diptych.errors import MissingExtra

__all__ = ["changes"]


def changes(paths: Sequence[Path], *, ignore: Path) -> Iterator[None]:
    """Yields whenever something below the paths has changed and has been quiet for a moment.

    Args:
        paths: Folders and files.
        ignore: Changes below this folder do not count.

    Raises:
        MissingExtra: watchfiles is not installed.
    """
    try:
        from watchfiles import watch
    except ImportError as error:
        raise MissingExtra("watching a folder", "watch") from error
    for changed in watch(*paths, watch_filter=lambda _, name: ignore not in Path(name).parents):
        if changed:
            yield None
