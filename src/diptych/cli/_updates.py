"""What to say of an update: what was taken, and what was not, each for its reason."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.cli._terminal import say, say_json

if TYPE_CHECKING:
    from diptych.engine.collection import Collection, Summary
    from diptych.engine.results import Skipped
    from diptych.media.report import Report

__all__ = ["say_summary"]

_NAMED = 3  # files that are named of those skipped for one reason
_ENDINGS = 8  # endings that are named of the files passed over
_VIDEO_SUFFIXES = frozenset({
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm", ".wmv",
})  # fmt: skip
_RAW, _VIDEOS = "raw", "videos"
_NAMES = {
    _RAW: (
        "raw picture of a camera (read with: pip install 'diptych[raw]')",
        "raw pictures of cameras (read with: pip install 'diptych[raw]')",
    ),
    _VIDEOS: ("video", "videos"),
    "": ("without an ending", "without an ending"),
}


def say_summary(
    opened: Collection, summary: Summary, *, as_json: bool = False, quiet: bool = False, verbose: bool = False
) -> None:
    """Say what an update did.

    Args:
        opened: What was updated.
        summary: Of the update.
        as_json: On standard output, as JSON.
        quiet: Say nothing otherwise.
        verbose: Name every file that was skipped, now and before.
    """
    if as_json:
        facts = {"folder": str(opened.folder), "model": opened.model, **summary.as_dict()}
        say_json(facts, indent=None)
        return
    if quiet:
        return
    from diptych.engine.plan import LOOSE
    from diptych.media.pictures import TOO_LARGE
    from diptych.media.report import counted

    lines = _told("skipped", summary.skipped, opened.folder, verbose)
    if any(not one.known and one.reason.startswith(TOO_LARGE) for one in summary.skipped):
        lines.append("to read larger pictures: --max-pixels")
    lines += _told("used in part", summary.in_part, opened.folder, verbose)
    lines += [f"captions: {line}" for line in summary.captions.below(str(opened.folder)).lines()]
    if any(left.reason == LOOSE for left in summary.captions.left):
        lines.append("to search these texts too: --texts, or give the files by name")
    if summary.passed_over:
        lines.append(f"passed over, as Diptych does not read them: {_passed_over(summary.passed_over)}")
    if summary.excluded.left:
        lines += _excluded(summary.excluded, verbose)
    counts = [
        f"{getattr(summary, name)} {name}"
        for name in ("added", "changed", "moved", "unchanged", "removed", "away")
        if getattr(summary, name)
    ]
    if summary.left_out:
        counts.append(f"{summary.left_out} removed before and left out")
    if summary.skipped:
        before = sum(one.known for one in summary.skipped)
        counts.append(f"{len(summary.skipped)} skipped" + (f" ({before} of them before)" if before else ""))
    rate = f" ({summary.per_second:.0f}/s)" if summary.added + summary.changed else ""
    pictures, texts = counted(opened.count("image"), "pictures"), counted(opened.count("text"), "texts")
    lines.append(
        f"{opened.folder}: {', '.join(counts) or 'no pictures or texts found'} "
        f"in {summary.seconds:.1f} s{rate}; it holds {pictures} and {texts}"
    )
    if summary.lent:
        lines.append(
            f"{counted(summary.lent, 'pictures')} did not have to be encoded: their vectors were there"
        )
    lines += _told_models(summary, opened.folder, verbose)
    lines += _told_inscriptions(summary, opened.folder, verbose)
    lines += _told_captioned(summary, opened.folder, verbose)
    if summary.away:
        lines.append(
            "what is away lies in folders that are gone, empty or cannot be read, as when a disk is out; it "
            "is kept, and --forget-missing forgets it"
        )
    say(*lines, err=True)


def _told_inscriptions(summary: Summary, folder: Path, verbose: bool) -> list[str]:
    """What was read inside pictures, and where that failed."""
    found = summary.inscriptions
    if found is None:
        return []
    looked = found.read + found.nothing + len(found.failed)
    away = f"; {found.away} could not be opened now, and the next run tries again" if found.away else ""
    told = f"text inside pictures: {found.read} of {looked} that nobody had looked at have some{away}"
    return [*_told("text not read of", found.failed, folder, verbose), told]


def _told_captioned(summary: Summary, folder: Path, verbose: bool) -> list[str]:
    """What a captioner described, and where that failed."""
    found = summary.captioned
    if found is None:
        return []
    away = f"; {found.away} could not be opened now, and the next run tries again" if found.away else ""
    silent = f"; of {found.silent} nothing was said" if found.silent else ""
    told = f"captions: {found.described} pictures described{silent}{away}"
    return [*_told("not described", found.failed, folder, verbose), told]


def _told_models(summary: Summary, folder: Path, verbose: bool) -> list[str]:
    """What was made for further models, and what they still lack."""
    lines = []
    for one in summary.models:
        lines += [f"{one.model}: {line}" for line in _told("not encoded", one.skipped, folder, verbose)]
        if one.reason:
            lines.append(f"{one.model} lacks {one.lacking} pictures and texts: {one.reason}")
        else:
            lack = f"; {one.lacking} have no vector of it yet" if one.lacking else ""
            lines.append(f"{one.model}: {one.encoded} pictures and texts encoded{lack}")
    return lines


def _told(how: str, skipped: Sequence[Skipped], folder: Path, verbose: bool) -> list[str]:
    """A line for each reason that is new; for each file, if all are wanted."""
    if verbose:
        return [f"{how} {one.path}: {one.reason}" for one in skipped]
    reasons: dict[str, list[str]] = {}
    for one in skipped:
        if not one.known:
            inside = isinstance(one.path, Path) and one.path.is_relative_to(folder)
            name = os.path.relpath(one.path, folder) if inside else one.path
            reasons.setdefault(one.reason, []).append(str(name))
    return [f"{how} {_some(names)}: {reason}" for reason, names in reasons.items()]


def _some(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} files ({', '.join(names[:_NAMED])}{more})"


def _excluded(report: Report, verbose: bool) -> list[str]:
    """One line for all rules that left something out; for each rule, if all are wanted."""
    from diptych.media.report import counted

    if verbose:
        return [one.told("left out") for one in report.left]
    shown = [f"{counted(one.count, one.what)} {one.reason}" for one in report.left]
    rest = sum(one.count for one in report.left[_ENDINGS:])
    return [f"left out: {', '.join(shown[:_ENDINGS])}" + (f" and {rest} others" if rest else "")]


def _passed_over(endings: Mapping[str, int]) -> str:
    """How many files of each ending, raw pictures and videos each taken together."""
    from diptych.media.raw import RAW_SUFFIXES

    kinds: dict[str, int] = {}
    for ending, count in sorted(endings.items(), key=lambda one: -one[1]):
        kind = _RAW if ending in RAW_SUFFIXES else _VIDEOS if ending in _VIDEO_SUFFIXES else ending
        kinds[kind] = kinds.get(kind, 0) + count
    shown = [
        f"{count} {(one if count == 1 else several)}"
        for (one, several), count in (
            (_NAMES.get(kind, (kind, kind)), count) for kind, count in kinds.items()
        )
    ]
    rest = sum(list(kinds.values())[_ENDINGS:])
    return ", ".join(shown[:_ENDINGS]) + (f" and {rest} others" if rest else "")
