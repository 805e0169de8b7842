"""``diptych index``: take pictures and texts into a collection."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diptych.cli._libraries import aside
from diptych.cli._options import Trust
from diptych.cli._progress import progress
from diptych.cli._terminal import say, say_json

if TYPE_CHECKING:
    from diptych.cluster import Cluster
    from diptych.engine.collection import Collection, Summary
    from diptych.engine.results import Skipped
    from diptych.media.report import Report

__all__ = ["command"]

_NAMED = 3  # files that are named of those skipped for one reason
_ENDINGS = 8  # endings that are named of the files passed over
_VIDEO_SUFFIXES = frozenset(
    {
        ".3gp",
        ".avi",
        ".flv",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".webm",
        ".wmv",
    }
)
_RAW, _VIDEOS = "raw", "videos"
_NAMES = {
    _RAW: (
        "raw picture of a camera (read with: pip install 'diptych[raw]')",
        "raw pictures of cameras (read with: pip install 'diptych[raw]')",
    ),
    _VIDEOS: ("video", "videos"),
    "": ("without an ending", "without an ending"),
}


def command(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...",
            help="Folders, files, patterns, s3://BUCKET/FOLDER, or - for a list on standard input.",
        ),
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option(
            "--in",
            metavar="FOLDER",
            help="Folder whose collection to fill, or the address of one on a server, such as "
            "postgresql://user@host/database or milvus://host/?record=photos; default: the folder given, or "
            "this one.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="System that encodes, such as clip:vit-b-32@openai or a run folder [builtin]."),
    ] = None,
    add_model: Annotated[
        str | None,
        typer.Option(
            help="Then make the vectors of a further system beside these, for search --model.",
            show_default=False,
        ),
    ] = None,
    codes: Annotated[
        str | None,
        typer.Option(
            help="Make binary codes, of so many bits or by the hashing system of a run folder, and calibrate "
            "them; searches then take two stages. In PostgreSQL and Milvus also hnsw, a graph of the "
            "vectors.",
            show_default=False,
        ),
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Index everything anew; what is indexed serves until that is done. Files are not touched.",
        ),
    ] = False,
    recursive: Annotated[bool, typer.Option(help="Also the folders below.")] = True,
    texts: Annotated[
        bool,
        typer.Option("--texts", help="Also .txt files that belong to no picture; each line is a text."),
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Leave out what fits a pattern as in .gitignore, from now on; may be repeated. Files "
            ".diptychignore count, too.",
        ),
    ] = None,
    no_exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Take back a pattern; diptych info lists them."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on and follow changes.")] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Pictures encoded and stored at a time.", show_default=False)
    ] = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Also follow links that lead out of the folders given.")
    ] = False,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Largest picture that is decoded, for panoramas; up to 20 bytes of memory a pixel. Those "
            "that were too large before are tried again.",
            show_default="what takes a gigabyte",
        ),
    ] = None,
    ocr: Annotated[
        bool,
        typer.Option("--ocr", help="Also read the text inside pictures, once they can be searched."),
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:PORT]",
            help="Read and encode on a Ray cluster, whose head is there, or on this machine's.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes on the cluster.", show_default="one a processor or card"),
    ] = None,
    cards: Annotated[
        float, typer.Option(min=0, help="Graphics cards for each, or the part of one.", show_default="none")
    ] = 0.0,
    vectors_of: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Take vectors of unchanged files from rclip's database, if --model made them.",
            show_default=False,
        ),
    ] = None,
    caption: Annotated[
        bool,
        typer.Option(
            "--caption",
            help="Also describe the pictures that none has described; marked as generated.",
        ),
    ] = False,
    captioner: Annotated[
        str | None,
        typer.Option(help="Who describes, with --caption [captioner].", show_default=False),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Read every file, to find what changed though its size and time are the same."
        ),
    ] = False,
    forget_missing: Annotated[
        bool,
        typer.Option(
            "--forget-missing",
            help="Also forget the files of folders that are gone or empty, as they are when a disk is out.",
        ),
    ] = False,
    null: Annotated[bool, typer.Option("-0", "--null", help="Names on standard input end with NUL.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no summary.")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Name every file that was skipped, now and before.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Refuse a list on standard input that names a file that is not there."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    trust: Trust = False,
) -> None:
    """Take pictures and texts into a collection, or bring it up to date.

    May be interrupted at any moment: the next run goes on. Files that cannot be read are counted with the
    reason, once; diptych info lists them all.
    """
    from diptych.engine import collection as engine
    from diptych.engine.captioning import CAPTIONER
    from diptych.engine.homes.address import address_of
    from diptych.engine.ignoring import check_patterns
    from diptych.engine.rebuild import rebuilding
    from diptych.engine.scan import expand
    from diptych.engine.storage import is_address
    from diptych.engine.where import where_of
    from diptych.errors import UsageError

    given, lost = _names(paths or [], null, strict)
    folders = [Path(path) for path in given if Path(path).is_dir()]
    folder = folders[0] if len(folders) == 1 == len(given) else Path()
    home = collection or folder
    if lost and not given:
        raise UsageError(f"none of the {len(lost)} names that were listed exists, the first: {lost[0].path}")
    if not given:
        raise UsageError("nothing to index; give a folder of pictures: diptych index FOLDER")
    expand(
        path for path in given if not is_address(path)
    )  # before anything is founded or forgotten: a path that does not exist is named
    check_patterns(exclude or ())
    if ray is not None and watch:
        raise UsageError("a cluster takes in what is there; run --ray without --watch")
    if codes is not None and watch:
        raise UsageError("--codes is made once, after indexing; run it without --watch")
    if vectors_of is not None and watch:
        raise UsageError("--vectors-of takes what is there, once; run it without --watch")
    if add_model is not None and watch:
        raise UsageError("--add-model is done once, after indexing; run it without --watch")
    by = int(codes) if codes is not None and codes.isdecimal() else codes
    if captioner is not None and not caption:
        raise UsageError("--captioner says who describes the pictures, with --caption; give both")
    if by is not None and not (by == "hnsw" and address_of(home)):
        from diptych.engine.homes.local import coded

        coded.check(by)
    hushed = quiet or as_json
    how: dict[str, Any] = {
        "recursive": recursive, "texts": texts, "follow_links": follow_links, "batch_size": batch_size,
        "ocr": ocr,
        "caption": (captioner or CAPTIONER) if caption else None,
        "max_pixels": max_pixels,
    }  # fmt: skip
    once = {**how, "check": check, "forget_missing": forget_missing, "cluster": _cluster(ray, workers, cards)}
    once["vectors_of"] = vectors_of
    try:
        if rebuild:
            with rebuilding(home, model=model) as fresh:
                _exclude(fresh, exclude, no_exclude)
                summary = _run(fresh, given, once, hushed, lost)
                if add_model is not None:
                    _add_model(fresh, summary, add_model, batch_size, max_pixels, hushed)
                _report(fresh, summary, as_json, quiet, verbose)
                if by is not None:
                    fresh.make_codes(by)
            if not hushed:
                with engine.open_collection(home, create=False) as opened:
                    _tell_codes(opened.home.codes)  # which are made again where there were any
        if watch or not rebuild:
            new = not where_of(home, create=True)[0].is_there()
            with engine.open_collection(home, model=model, trust=trust, folder=folder) as opened:
                if new and model is None and not quiet:
                    _remark()
                if not rebuild:
                    _exclude(opened, exclude, no_exclude)
                if watch:
                    for summary in opened.watch(*given, **how):
                        _report(opened, summary, as_json, quiet, verbose)
                summary = _run(opened, given, once, hushed, lost)
                if add_model is not None:
                    _add_model(opened, summary, add_model, batch_size, max_pixels, hushed)
                _report(opened, summary, as_json, quiet, verbose)
                if by is not None:
                    facts = opened.make_codes(by)
                    if not hushed:
                        _tell_codes(facts)
    except KeyboardInterrupt:
        say("interrupted; what was indexed is kept, and the next run goes on from there", err=True)
        raise typer.Exit(130) from None


def _cluster(ray: str | None, workers: int | None, cards: float) -> Cluster | None:
    from diptych.cluster import Cluster
    from diptych.errors import UsageError

    if ray is not None:
        return Cluster(ray, workers, cards)
    if workers is not None or cards:
        raise UsageError("--workers and --cards are of a cluster; say which with --ray")
    return None


def _exclude(opened: Collection, more: list[str] | None, fewer: list[str] | None) -> None:
    if fewer:
        opened.exclude_no_longer(*fewer)
    if more:
        opened.exclude(*more)


def _tell_codes(facts: Mapping[str, Any] | None) -> None:
    if facts is None:
        return
    needed = {(one["side"], one["recall"]): one["candidates"] for one in facts["calibrations"]}
    count = needed.get(("text", 0.98), 0)
    what = f"codes of {facts['bits']} bits" if facts["bits"] else "a graph"
    say(
        f"{what} ({facts['made_with']}): {count} of {facts['pictures']} pictures "
        "are compared exactly for a recall of 0.98",
        err=True,
    )


def _names(paths: list[str], null: bool, strict: bool) -> tuple[list[str], list[Skipped]]:
    """What was given, typed and listed; and of what was listed that which is not there."""
    if "-" not in paths:
        return paths, []
    from diptych.engine.results import Skipped
    from diptych.engine.scan import expand
    from diptych.engine.storage import is_address
    from diptych.errors import UsageError

    listed = sys.stdin.buffer.read().split(b"\0" if null else b"\n")
    names = [os.fsdecode(name if null else name.rstrip(b"\r")) for name in listed if name.strip()]
    found: list[str] = []
    lost: list[Skipped] = []
    for name in names:
        try:
            expand([] if is_address(name) else [name])
        except UsageError:
            if strict:
                raise
            lost.append(Skipped(Path(name), "was listed and does not exist"))
        else:
            found.append(name)
    return [path for path in paths if path != "-"] + found, lost


def _run(
    opened: Collection, given: list[str], how: dict[str, Any], quiet: bool, lost: list[Skipped]
) -> Summary:
    with aside(told=not quiet):
        if quiet:
            summary = opened.add(*given, **how)
        else:
            with progress() as shown:
                summary = opened.add(*given, **how, on_progress=shown)
    summary.skipped[:0] = lost
    return summary


def _add_model(
    opened: Collection,
    summary: Summary,
    model: str,
    batch_size: int | None,
    max_pixels: int | None,
    quiet: bool,
) -> None:
    how: dict[str, Any] = {"batch_size": batch_size, "max_pixels": max_pixels}
    with aside(told=not quiet):
        if quiet:
            filled = opened.add_model(model, **how)
        else:
            with progress() as shown:
                filled = opened.add_model(model, **how, on_progress=shown)
    summary.models = [one for one in summary.models if one.model != filled.model] + [filled]


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


def _remark() -> None:
    """Say once, for a new collection, which model it gets and that a stronger one exists."""
    from diptych.cli._models import remark

    say(remark(), err=True)


def _report(opened: Collection, summary: Summary, as_json: bool, quiet: bool, verbose: bool) -> None:
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
