"""Which files are left out, by patterns of the collection and by ``.diptychignore`` files.

Patterns mean what they do in ``.gitignore`` (https://git-scm.com/docs/gitignore): the last that fits decides,
``!`` takes back, a slash at the end means folders only, and nothing comes back that lies in a folder which is
left out. Those of the collection count from its folder and decide before any file does; a file counts for its
folder and those below, the nearest first. In folders outside the collection's own they count from the folder
that was given.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.errors import CollectionError, UsageError
from diptych.media.links import LEADS_OUT, leads_out

if TYPE_CHECKING:
    from diptych.engine.homes.base import Home

__all__ = ["IGNORE_FILE", "Here", "Rules", "Unclear", "check_patterns", "keep", "kept", "leaving_out"]

IGNORE_FILE = ".diptychignore"
"""Name of the files with patterns."""

_SETTING = "excludes"
_MOST_BYTES = 1 << 20  # of one such file
_MOST_STARS = 4  # the time of a match grows with the length of the name to this power
_FOLDERS = 256  # whose patterns are remembered


class Unclear(Exception):
    """What a ``.diptychignore`` says of a folder cannot be known.

    Args:
        folder: Where the file lies.
        reason: Why, in a few words that follow the folder's name.
    """

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(folder, reason)
        self.folder = folder
        self.reason = (
            f"has a {IGNORE_FILE} that {reason}, and nothing new is taken from it until that is mended"
        )


class _Patterns:
    """Patterns of one place.

    Args:
        lines: As they are written.
        origin: Where, as a summary names it; empty for those of the collection.

    Raises:
        ValueError: one of them is none; names it.
    """

    def __init__(self, lines: Iterable[str], origin: str) -> None:
        from pathspec import GitIgnoreSpec

        self.origin = origin
        written = (_composed(line.rstrip("\r\n")) for line in lines)
        self._lines = [line for line in written if line.strip() and not line.startswith("#")]
        for line in self._lines:
            if why := _wrong(line):
                raise ValueError(f"{line!r}, which is no pattern ({why})")
        self._patterns = GitIgnoreSpec.from_lines(self._lines).patterns

    def __bool__(self) -> bool:
        return bool(self._lines)

    def of(self, name: str, folder: bool) -> str | None:
        """What they say of a path from their place.

        Returns:
            None for nothing; why it is left out; or an empty text if it is taken back.
        """
        last = len(self._lines) - 1
        for number, pattern in enumerate(reversed(self._patterns)):
            if pattern.regex is None or not _fits(pattern.regex, name, folder):
                continue
            if not pattern.include:
                return ""
            line = self._lines[last - number]
            return f"excluded by {line} in {self.origin}" if self.origin else f"excluded by {line}"
        return None


@dataclass(frozen=True, slots=True)
class Here:
    """What counts in one folder.

    Args:
        patterns: The first that says anything decides; each with the folder's path from where it counts,
            ending in a slash unless it counts from here.
        why: Why the folder itself is left out; empty if it is not.
    """

    patterns: tuple[tuple[_Patterns, str], ...] = ()
    why: str = ""

    def of(self, name: str, *, folder: bool = False) -> str | None:
        """What is said of an entry of the folder, see `_Patterns.of`; all is left out if the folder is."""
        if self.why or not self.patterns:
            return self.why or None
        name = _composed(name)
        for patterns, prefix in self.patterns:
            if (found := patterns.of(prefix + name, folder)) is not None:
                return found
        return None

    def below(self, name: str, own: _Patterns | None) -> Here:
        """What counts in a folder of that name within, which may have a file of its own."""
        why = self.of(name, folder=True) or ""
        deeper = [(patterns, f"{prefix}{_composed(name)}/") for patterns, prefix in self.patterns]
        if own:
            deeper.insert(bool(deeper) and not deeper[0][0].origin, (own, ""))
        return Here(tuple(deeper), why)


def leaving_out(patterns: Sequence[str]) -> Callable[[str], str]:
    """What says of a path, from the place where patterns count, why they leave it out; empty if they do not.

    Raises:
        ValueError: one of them is none.
    """
    start = Here(((_Patterns(patterns, ""), ""),))

    def why(name: str) -> str:
        here = start
        *folders, last = name.split("/")
        for folder in folders:
            here = here.below(folder, None)
        return here.of(last) or ""

    return why


class Rules:
    """What is left out of a collection.

    Args:
        root: The collection's folder.
        patterns: Of the collection.
        given: Folders that are walked; those outside of `root` count from themselves.
        inside: Real paths of folders that a file may be a link into; None for any.

    Raises:
        UsageError: a pattern is none.
    """

    def __init__(
        self,
        root: Path,
        patterns: Sequence[str] = (),
        *,
        given: Iterable[Path] = (),
        inside: Sequence[str] | None = None,
    ) -> None:
        check_patterns(patterns)
        self._root, self._inside = root, inside
        self._tops = {root, *(one for one in given if root not in one.parents)}
        self._below = tuple(os.path.join(os.path.normcase(top), "") for top in self._tops)
        self._patterns = _Patterns(patterns, "") if patterns else None
        self._known: OrderedDict[Path, Here] = OrderedDict()

    def of(self, folder: Path) -> Here:
        """What counts in a folder.

        Raises:
            Unclear: a file with patterns in it, or in a folder above, cannot be used.
        """
        above = []  # a loop, as folders may be nested deeper than Python calls
        while folder not in self._known and not self._is_top(folder):
            above.append(folder)
            folder = folder.parent
        if folder in self._known:
            self._known.move_to_end(folder)
            here = self._known[folder]
        else:
            here = self._keep(folder, self._start(folder))
        for folder in reversed(above):
            here = self._keep(folder, here.below(folder.name, self._read(folder)))
        return here

    def why(self, path: Path) -> str:
        """Why a file is left out, itself or with a folder that it is in; empty if it is not.

        Raises:
            Unclear: as `of`.
        """
        return self.of(path.parent).of(path.name) or ""

    def leaves_out(self, path: Path, folder: bool = False) -> bool:
        """Whether a file or folder is left out; not where that cannot be known."""
        try:
            return bool(self.of(path.parent).of(path.name, folder=folder))
        except Unclear:
            return False

    def _is_top(self, folder: Path) -> bool:
        if folder in self._tops or folder == folder.parent:
            return True
        # By its name: to look at each folder above makes a deep tree's cost the square of its depth.
        return not os.path.normcase(folder).startswith(self._below)

    def _start(self, folder: Path) -> Here:
        own = self._read(folder)
        return Here(tuple((one, "") for one in (self._patterns, own) if one))

    def _keep(self, folder: Path, here: Here) -> Here:
        self._known[folder] = here
        while len(self._known) > _FOLDERS:
            self._known.popitem(last=False)
        return here

    def _read(self, folder: Path) -> _Patterns | None:
        path = folder / IGNORE_FILE
        try:
            if not os.path.lexists(path):
                return None
            if leads_out(path, self._inside) and path.is_symlink():
                raise Unclear(folder, LEADS_OUT)
            if not path.is_file():
                raise Unclear(folder, "is not a regular file")
            with path.open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise Unclear(folder, f"cannot be read ({error.strerror or error})") from error
        if len(data) > _MOST_BYTES:
            raise Unclear(folder, f"is too large (at most {_MOST_BYTES >> 20} MiB are read)")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Unclear(folder, "is no UTF-8 text") from error
        near = path.relative_to(self._root) if path.is_relative_to(self._root) else path
        try:
            return _Patterns(text.split("\n"), near.as_posix())
        except ValueError as error:
            raise Unclear(folder, f"holds {error}") from error


def check_patterns(patterns: Iterable[str]) -> None:
    """Refuse patterns of a collection that are none.

    Raises:
        UsageError: names the first.
    """
    for pattern in patterns:
        empty = not pattern.strip() or pattern.startswith("#") or not {"\n", "\0"}.isdisjoint(pattern)
        if why := "it is empty, a comment or several lines" if empty else _wrong(_composed(pattern)):
            raise UsageError(
                f"{pattern!r} is no pattern of files ({why}); give one as in .gitignore, such as '*.tmp', "
                "'old/' or '/private/'"
            )


def kept(home: Home) -> tuple[str, ...]:
    """The patterns that a collection keeps.

    Raises:
        CollectionError: they are none.
    """
    said = home.get(_SETTING)
    try:
        found = json.loads(said) if said is not None else []
        check_patterns(found)
        return tuple(found)
    except (ValueError, TypeError, AttributeError, UsageError) as error:
        raise CollectionError(
            f"the patterns kept in {home.place} are damaged ({error}); restore it from a copy, or delete it "
            "and index again"
        ) from error


def keep(home: Home, patterns: Iterable[str]) -> None:
    """Let a collection keep these patterns, and no others; the caller may write to it."""
    with home.batch(changes=False):
        home.set(_SETTING, json.dumps(list(dict.fromkeys(patterns))))


def _fits(regex: re.Pattern[str], name: str, folder: bool) -> bool:
    """Whether a pattern fits the path itself, and not only a folder that it is in."""
    found = regex.match(f"{name}/" if folder else name)
    if found is None:
        return False
    # The package's name for the slash after what fits, where that is a folder.
    at = found.start("ps_d") if "ps_d" in regex.groupindex else -1
    if at >= 0:
        return at == len(name)
    return not folder or regex.match(name) is not None  # else it fits what is in the folder


def _wrong(pattern: str) -> str:
    """What is wrong with a pattern, in a few words; empty if nothing is."""
    from pathspec import GitIgnoreSpec

    if len(re.findall(r"\*+", pattern.removeprefix("!").removeprefix("**/"))) > _MOST_STARS:
        return f"it has more than {_MOST_STARS} stars"
    try:
        never = GitIgnoreSpec.from_lines([pattern]).patterns[0].include is None
    except re.error as error:
        return str(error)
    except ValueError:
        return "it names nothing"
    return "no file can have such a name" if never else ""


def _composed(name: str) -> str:
    """A name as most programs write it: some systems take letters and their accents apart."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)
