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
        self._folders: dict[Path, _Folder] = {}

    def of(self, path: Path) -> Literal["here", "gone", "away"]:
        """Whether a file is there.

        Returns:
            "here"; "gone" if its folder is there with other things in it; "away" if the folder is gone, empty
            or cannot be read, or the file is a link to nothing: so it looks where a disk was taken out.
        """
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            full = self._folder(path.parent) == "full"
            return "gone" if full and not os.path.islink(path) else "away"
        except OSError:
            return "away"
        return "here"

    def folder_away(self, path: Path, *, below: Path) -> Path | None:
        """The topmost folder above a file that is away with all that was in it; None if none is.

        Args:
            path: The file.
            below: A folder that is not asked about, nor those above it.
        """
        found = None
        for folder in path.parents:
            if folder == below or self._folder(folder) not in ("empty", "gone"):
                break
            found = folder
        return found

    def _folder(self, folder: Path) -> _Folder:
        if folder not in self._folders:
            self._folders[folder] = _look(folder)
        return self._folders[folder]


_Folder = Literal["full", "hidden", "empty", "gone", "closed"]


def _look(folder: Path) -> _Folder:
    """Whether a folder holds something; "hidden" if that is only what a system keeps there."""
    try:
        with os.scandir(folder) as entries:
            found: _Folder = "empty"
            for entry in entries:
                if not entry.name.startswith("."):
                    return "full"
                found = "hidden"
            return found
    except NotADirectoryError:
        return "full"  # a file has its name now
    except PermissionError:
        return "closed"  # which says nothing of what is in it
    except OSError:
        return "gone"
