"""``diptych index``: take pictures and texts into a collection."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli._terminal import say, say_json

if TYPE_CHECKING:
    from diptych.engine.collection import Collection, Summary
    from diptych.engine.results import Progress as Told

__all__ = ["command"]


def command(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...", help="Folders, files, patterns, or - for a list on standard input."
        ),
    ] = None,
    collection: Annotated[
        Path | None,
        typer.Option("--in", help="Folder whose collection to fill; default: the folder given, or this one."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="System that encodes, such as clip:vit-b-32@openai or a run folder [builtin]."),
    ] = None,
    codes: Annotated[
        str | None,
        typer.Option(
            help="Make binary codes, of so many bits or by the hashing system of a run folder, and calibrate "
            "them; searches then take two stages.",
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
    watch: Annotated[bool, typer.Option("--watch", help="Go on and follow changes.")] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Pictures encoded and stored at a time.", show_default=False)
    ] = None,
    null: Annotated[bool, typer.Option("-0", "--null", help="Names on standard input end with NUL.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no summary.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Take pictures and texts into a collection, or bring it up to date.

    May be interrupted at any moment: the next run goes on. Files that cannot be read are listed with the
    reason.
    """
    from diptych.engine import collection as engine
    from diptych.engine.rebuild import rebuilding
    from diptych.engine.scan import expand
    from diptych.errors import UsageError

    given = _names(paths or [], null)
    folders = [Path(path) for path in given if Path(path).is_dir()]
    home = collection or (folders[0] if len(folders) == 1 == len(given) else Path())
    if not given:
        raise UsageError("nothing to index; give a folder of pictures: diptych index FOLDER")
    expand(given)  # before anything is founded or forgotten: a path that does not exist is named
    if codes is not None and watch:
        raise UsageError("--codes is made once, after indexing; run it without --watch")
    if codes is not None:
        from diptych.engine.homes.local import coded

        coded.check(int(codes) if codes.isdecimal() else codes)
    hushed = quiet or as_json
    try:
        if rebuild:
            with rebuilding(home, model=model) as fresh:
                _report(fresh, _run(fresh, given, recursive, texts, batch_size, hushed), as_json, quiet)
                if codes is not None:
                    _make_codes(fresh, codes, hushed)
        if watch or not rebuild:
            new = engine.find(home) is None
            with engine.open_collection(home, model=model) as opened:
                if new and model is None and not quiet:
                    _remark()
                if watch:
                    for summary in opened.watch(
                        *given, recursive=recursive, texts=texts, batch_size=batch_size
                    ):
                        _report(opened, summary, as_json, quiet)
                _report(opened, _run(opened, given, recursive, texts, batch_size, hushed), as_json, quiet)
                if codes is not None:
                    _make_codes(opened, codes, hushed)
    except KeyboardInterrupt:
        say("interrupted; what was indexed is kept, and the next run goes on from there", err=True)
        raise typer.Exit(130) from None


def _make_codes(opened: Collection, by: str, quiet: bool) -> None:
    facts = opened.make_codes(int(by) if by.isdecimal() else by)
    if quiet:
        return
    needed = {(one["side"], one["recall"]): one["candidates"] for one in facts["calibrations"]}
    count = needed.get(("text", 0.98), 0)
    say(
        f"codes of {facts['bits']} bits ({facts['made_with']}): {count} of {facts['pictures']} pictures "
        "are compared exactly for a recall of 0.98",
        err=True,
    )


def _names(paths: list[str], null: bool) -> list[str]:
    if "-" not in paths:
        return paths
    import os

    listed = sys.stdin.buffer.read().split(b"\0" if null else b"\n")
    names = [os.fsdecode(name if null else name.rstrip(b"\r")) for name in listed if name.strip()]
    return [path for path in paths if path != "-"] + names


def _run(
    opened: Collection, given: list[str], recursive: bool, texts: bool, batch_size: int | None, quiet: bool
) -> Summary:
    if quiet:
        return opened.add(*given, recursive=recursive, texts=texts, batch_size=batch_size)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("indexing"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, rate="")

        def shown(at: Told) -> None:
            rate = f"{at.done / at.seconds:.0f}/s" if at.seconds > 0 else ""
            bar.update(task, completed=at.done, total=at.total, rate=rate)

        return opened.add(*given, recursive=recursive, texts=texts, batch_size=batch_size, on_progress=shown)


def _remark() -> None:
    """Say once, for a new collection, which model it gets and that a stronger one exists."""
    from diptych.cli._models import remark

    say(remark(), err=True)


def _report(opened: Collection, summary: Summary, as_json: bool, quiet: bool) -> None:
    if as_json:
        facts = {"folder": str(opened.folder), "model": opened.model, **summary.as_dict()}
        say_json(facts, indent=None)
        return
    if quiet:
        return
    from diptych.engine.plan import LOOSE

    for skipped in summary.skipped:
        say(f"skipped {skipped.path}: {skipped.reason}", err=True)
    for line in summary.captions.lines():
        say(f"captions: {line}", err=True)
    if any(left.reason == LOOSE for left in summary.captions.left):
        say("to search these texts too: --texts, or give the files by name", err=True)
    counts = [
        f"{getattr(summary, name)} {name}"
        for name in ("added", "changed", "moved", "unchanged", "removed")
        if getattr(summary, name)
    ]
    if summary.skipped:
        counts.append(f"{len(summary.skipped)} skipped")
    rate = f" ({summary.per_second:.0f}/s)" if summary.added + summary.changed else ""
    say(
        f"{opened.folder}: {', '.join(counts) or 'no pictures or texts found'} "
        f"in {summary.seconds:.1f} s{rate}",
        err=True,
    )
