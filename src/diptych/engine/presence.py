"""Tells a file that was deleted from one whose disk or folder is away.

Asked of the file system when it matters, and kept nowhere: what is away is there again once its disk is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

__all__ = ["Presence"]


class Presence:
    """Looks for files that were there once; what it has seen of a folder it believes as long as it lives."""

    def __init__(self) -> None:
        self._filled: dict[Path, bool] = {}

    def of(self, path: Path) -> Literal["here", "gone", "away"]:
        """Whether a file is there.

        Returns:
            "here"; "gone" if its folder is there with other things in it; "away" if the folder is gone, empty
            or cannot be read, or the file is a link to nothing: so it looks where a disk was taken out.
        """
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return "gone" if self._holds_something(path.parent) and not os.path.islink(path) else "away"
        except OSError:
            return "away"
        return "here"

    def _holds_something(self, folder: Path) -> bool:
        if folder not in self._filled:
            try:
                with os.scandir(folder) as entries:
                    self._filled[folder] = any(not entry.name.startswith(".") for entry in entries)
            except NotADirectoryError:
                self._filled[folder] = True  # a file has its name now
            except OSError:
                self._filled[folder] = False
        return self._filled[folder]
