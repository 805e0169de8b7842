"""Compares what a walk finds with what a home knows, and says which files have work in them.

Both come in the order of their names, so one pass over the two together is enough, and nothing of either is
held in memory: a library of millions costs what a small one does.
"""

from __future__ import annotations

import os
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from diptych.engine.homes.base import Home
from diptych.engine.homes.entries import Known
from diptych.engine.ignoring import Rules
from diptych.engine.results import Skipped, Summary
from diptych.engine.scan import Found
from diptych.media.captions import Sidecars
from diptych.media.pictures import TOO_LARGE
from diptych.media.tables import is_list

__all__ = ["LOOSE", "Plan", "Work", "tell_skipped"]

LOOSE = "texts that belong to no picture, which are taken only if asked for"
"""Why a file of loose texts was left out: notes and letters must not become results unasked."""

_READ = "1:"  # another number, whenever more is read of files: those known are then gone through once
_FOLDERS = (
    64  # whose caption files are remembered; a walk leaves a folder and comes back to it only for a while
)


@dataclass(frozen=True, slots=True)
class Work:
    """A file to deal with.

    Args:
        found: The file.
        key: Its name in the home.
        before: What the home knows of a file of that name.
        sidecars: Caption files of its folder; None for a text file.
        stamp: State of the caption files that may concern it.
        same: Whether only those changed.
        first: Whether what the file says of itself was never read in today's way.
        failed: Whether it could not be read before.
    """

    found: Found
    key: bytes
    before: Known | None
    sidecars: Sidecars | None
    stamp: str
    same: bool
    first: bool
    failed: bool


class Plan:
    """One update's work, found as it is asked for.

    Args:
        home: What is known.
        summary: Counts the files that need no work.
        texts: Whether to take loose texts that are met on a walk, too; else only those that were given by
            name, and those known already.
        given: Folders and files that were named: these are taken even if they were removed before.
        check: Whether to look into files whose size and time are the same, too.
        larger: Whether to try pictures again that were too large before.
        follow_links: Whether to read caption files, too, that are links out of the folders given.
        rules: What is left out, caption files among it.

    Attributes:
        unseen: Numbers of known files, below the folders walked, that were not met on the walk.
        problems: Files that the walk itself found to be unreadable, with the reason.
        loose: Files of loose texts that nobody asked for and that were not met before.
    """

    def __init__(
        self,
        home: Home,
        summary: Summary,
        *,
        texts: bool = False,
        given: Iterable[Path] = (),
        check: bool = False,
        larger: bool = False,
        follow_links: bool = False,
        rules: Rules,
    ) -> None:
        self.rules = rules
        self.home, self.summary, self.texts, self.check = home, summary, texts, check
        self.larger, self.follow_links = larger, follow_links
        self._inside = [home.path(b""), *(one if one.is_dir() else one.parent for one in given)]
        self._given, self._removed = frozenset(given), home.removed()
        self.unseen = array("q")
        self.problems: dict[bytes, str] = {}
        self.loose: set[bytes] = set()
        self._folders: OrderedDict[Path, Sidecars | None] = OrderedDict()

    def work(self, files: Iterable[Found], *, under: Path | None) -> Iterator[Work]:
        """The files that are new or changed.

        Args:
            files: What was found.
            under: The folder that was walked; None for files that were named one by one.
        """
        known = _Together(self.home, under)
        for found in files:
            if found.excluded:
                what = "folders" if found.kind == "folder" else "files"
                self.summary.excluded.leave(what, found.excluded, str(found.path))
                continue
            if found.kind == "other":
                self.summary.passed_over[found.path.suffix.lower()] += 1
                continue
            if found.problem:
                self._unreadable(found)
                continue
            work = self._compared(found, known)
            if work is not None:
                yield work
        self.unseen.extend(known.rest())

    def _unreadable(self, found: Found) -> None:
        key = self.home.key(found.path)
        tell_skipped(self.home, self.summary, key, found.path, found.problem)
        self.problems[key] = found.problem

    def _compared(self, found: Found, known: _Together) -> Work | None:
        key = self.home.key(found.path)
        before = known.file(key)
        if before is None and self._was_removed(found.path):
            self.summary.left_out += 1
            return None
        same = (
            not self.check
            and before is not None
            and (before.size, before.mtime_ns) == (found.size, found.mtime_ns)
        )
        if found.kind == "text" and not same and not self._wanted(found, before):
            return None
        sidecars = self._sidecars(found)
        stamp = _READ + (sidecars.stamp(found.path) if sidecars is not None else "")
        if same and before is not None and before.captions == stamp:
            self.summary.unchanged += 1
            return None
        failed = self.home.skipped_file(key)
        reason = "" if failed is None else failed[0]
        again = self.check or reason == LOOSE or (self.larger and reason.startswith(TOO_LARGE))
        if failed is not None and not again and failed[1:] == (found.size, found.mtime_ns):
            self.summary.skipped.append(Skipped(found.path, failed[0], known=True))
            return None
        first = before is not None and before.captions[: len(_READ)] != _READ
        return Work(found, key, before, sidecars, stamp, same, first, failed is not None)

    def _wanted(self, found: Found, before: Known | None) -> bool:
        """Whether a ``.txt`` that is new or changed holds texts to take; it is opened to tell."""
        if is_list(found.path):
            if before is not None:
                self.unseen.append(before.id)
            return False
        if before is None and not (self.texts or found.named):
            key = self.home.key(found.path)
            told = self.home.skipped_file(key)
            if told is None or told[0] != LOOSE:
                self.loose.add(key)
                self.summary.captions.leave("files", LOOSE, str(found.path))
            return False
        return True

    def _was_removed(self, path: Path) -> bool:
        """Whether a file, or a folder that it is in, was removed and has not been named since."""
        if self._removed:
            for one in (path, *path.parents):
                if one in self._given:
                    return False
                if self.home.key(one) in self._removed:
                    return True
        return False

    def _sidecars(self, found: Found) -> Sidecars | None:
        if found.kind != "image":
            return None
        folder = found.path.parent
        new = [folder]  # and the folders above, inside the home's own, that are not remembered
        while new[-1] not in self._folders and self._is_inside(new[-1].parent):
            new.append(new[-1].parent)
        sidecars: Sidecars | None = None
        for one in reversed(new):
            if one in self._folders:
                self._folders.move_to_end(one)
                sidecars = self._folders[one]
                continue
            try:
                sidecars = Sidecars(
                    one,
                    above=sidecars,
                    follow_links=self.follow_links,
                    inside=self._inside,
                    left_out=self.rules.leaves_out,
                )
            except OSError:
                sidecars = None  # the folder vanished; reading the picture will say so
            self._folders[one] = sidecars
        while len(self._folders) > _FOLDERS:
            self._folders.popitem(last=False)
        return sidecars

    def _is_inside(self, folder: Path) -> bool:
        """Whether it is the home's own folder, or below it: lists further up are nobody's business."""
        return not os.path.isabs(os.fsdecode(self.home.key(folder)))


def tell_skipped(home: Home, summary: Summary, key: bytes, path: Path | str, reason: str) -> None:
    """Have a summary name a file that cannot be taken, and say whether an earlier update met the same."""
    before = home.skipped_file(key)
    summary.skipped.append(Skipped(path, reason, known=before is not None and before[0] == reason))


class _Together:
    """The files that a home knows below a folder, passed over as a walk asks for them in order."""

    def __init__(self, home: Home, under: Path | None) -> None:
        self._home = home
        self._files = iter(()) if under is None else home.files(under)
        self._next = next(self._files, None)
        self._last = b"" if under is not None else b"\xff"  # every name then counts as out of order
        self._passed = array("q")

    def file(self, key: bytes) -> Known | None:
        """The file of that name, if it is known; out of order, as links lead, it is looked up."""
        if key <= self._last:
            return self._home.file(key)
        self._last = key
        while self._next is not None and self._next.key < key:
            self._passed.append(self._next.id)
            self._next = next(self._files, None)
        if self._next is None or self._next.key != key:
            return None
        found, self._next = self._next, next(self._files, None)
        return found

    def rest(self) -> array[int]:
        """Numbers of the files that nobody asked for."""
        while self._next is not None:
            self._passed.append(self._next.id)
            self._next = next(self._files, None)
        return self._passed
