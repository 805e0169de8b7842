"""``diptych index``: take pictures and texts into a collection."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diptych.cli._libraries import aside
from diptych.cli._models import kind_of_codes, remark
from diptych.cli._options import Trust
from diptych.cli._progress import progress
from diptych.cli._terminal import say
from diptych.cli._updates import say_summary

if TYPE_CHECKING:
    from diptych.cluster import Cluster
    from diptych.engine.collection import Collection, Summary
    from diptych.engine.results import Progress, Skipped

__all__ = ["command"]


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
    told: dict[str, Any] = {"as_json": as_json, "quiet": quiet, "verbose": verbose}
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
                say_summary(fresh, summary, **told)
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
                        say_summary(opened, summary, **told)
                summary = _run(opened, given, once, hushed, lost)
                if add_model is not None:
                    _add_model(opened, summary, add_model, batch_size, max_pixels, hushed)
                say_summary(opened, summary, **told)
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
    what = f"{'codes of ' if facts['bits'] else ''}{kind_of_codes(facts)}"
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


@contextlib.contextmanager
def _followed(hushed: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A block of long work; gives what shows how far it is, if anything is to be shown."""
    with aside(told=not hushed):
        if hushed:
            yield None
        else:
            with progress() as shown:
                yield shown


def _run(
    opened: Collection, given: list[str], how: dict[str, Any], hushed: bool, lost: list[Skipped]
) -> Summary:
    with _followed(hushed) as shown:
        summary = opened.add(*given, **how, on_progress=shown)
    summary.skipped[:0] = lost
    return summary


def _add_model(
    opened: Collection,
    summary: Summary,
    model: str,
    batch_size: int | None,
    max_pixels: int | None,
    hushed: bool,
) -> None:
    with _followed(hushed) as shown:
        filled = opened.add_model(model, batch_size=batch_size, max_pixels=max_pixels, on_progress=shown)
    summary.models = [one for one in summary.models if one.model != filled.model] + [filled]


def _remark() -> None:
    """Say once, for a new collection, which model it gets and that a stronger one exists."""
    say(remark(), err=True)
