"""How results of a search are told: as a table, JSON, paths or a contact sheet, and what to say of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from diptych.cli._llm import told_cost
from diptych.cli._terminal import say, say_json, say_table, shown

if TYPE_CHECKING:
    from diptych.engine.collection import Collection
    from diptych.engine.results import Reranked, Result, Results

__all__ = ["print_json", "print_notes", "print_paths", "print_table", "why_nothing", "write_sheet"]

_NOTHING = "Nothing here shows what was asked, as far as the model can tell; these are only the least bad."


def print_json(facts: dict[str, Any], results: Results) -> None:
    """Results, after what was asked, as JSON."""
    say_json({**facts, **results.as_dict()})


def print_paths(results: Results, end: bytes) -> None:
    """The files found, for other programs."""
    # Bytes, so that a name in any encoding reaches the next program as it is; each file once.
    for path in dict.fromkeys(r.path for r in results if r.path is not None):
        sys.stdout.buffer.write(os.fsencode(path) + end)
    sys.stdout.buffer.flush()


def print_table(results: Results, to: str) -> None:
    """Results, a line each."""
    from rich.table import Table

    from diptych.report.contact_sheet import percent

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for r in results:
        style = {"strong": "bold green", "good": "green", "fair": "yellow"}.get(r.word, "dim")
        where = r.id if r.path is None else _name(r.path)
        first = shown(r.text or "") if to == "text" else shown(where)
        if to == "text":
            first.append_text(shown(f"  {where}", "dim"))
        elif r.text:
            first.append_text(shown("  " + r.text.split("\n")[0], "dim"))
        if r.found_in:
            first.append_text(shown(f"  [{_words_in(r)}]", "dim"))
        if r.copies:
            first.append_text(shown(f"  {_more(r)}", "bold"))
        if r.by == "date":
            table.add_row(str(r.rank), shown(str(r.meta.get("date", "no date"))), "", "", first)
            continue
        word = "words" if r.by == "words" and r.percentile is None else r.word
        table.add_row(str(r.rank), shown(word, style), percent(r.percentile), f"{r.score:.3f}", first)
    say_table(table)


def _words_in(result: Result) -> str:
    """Where the words stand by which a result was found; nothing if it was found by its vector alone."""
    if not result.found_in:
        return ""
    places = {
        "name": "its name",
        "tag": "its tags",
        "read": "text read in it",
        "generated": "a generated caption",
    }
    return f"words of {places.get(result.found_in, 'its caption' if result.side == 'image' else 'it')}"


def _more(result: Result) -> str:
    """How many copies are told under a result."""
    from diptych.media.report import counted

    return f"+{counted(len(result.copies), 'copies')}"


def _name(path: Path) -> Path:
    """The path from this folder, if it lies in it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def why_nothing(
    opened: Collection,
    results: Results,
    to: Any,
    by: str,
    min_score: str | None,
    where: str | None,
    page: int,
) -> str:
    """Why there are no results, in a sentence; "" if there are some."""
    if results:
        return ""
    kind = "texts" if to == "text" else "pictures"
    if not opened.count(to):
        return (
            "there are no texts in this collection; captions come from .txt files, caption lists and the "
            "pictures' own fields"
            if to == "text"
            else f"there are no pictures in this collection; add some: diptych index {opened.folder}"
        )
    if not len(opened.gallery(to)):
        return f"no {kind} of {opened.below} are indexed; index them: diptych index {opened.below}"
    if where is not None and not opened.count(to, where=where):
        return f"none of the {kind} fulfils: {where}"
    if page > 1:
        return f"there is no page {page}; ask for an earlier --page"
    if min_score is None:
        what = "has such words" if to == "text" else "has such words in its captions or name"
        return f"none of the {kind} {what}; leave out --by {by} to compare what they show, too"
    return f"none of the {kind} reaches --min-score {min_score}{_best(results)}"


def print_notes(folder: Path, model: str, results: Results, nothing: str) -> None:
    """What to say of the results on standard error.

    Args:
        folder: Of the collection.
        model: That compared.
        results: The results.
        nothing: Why there are none; "" if there are some.
    """
    if results.missing:
        say(
            f"{results.missing} hits whose files are not there now were left out; bring the collection up to "
            f"date: diptych index {folder}",
            err=True,
        )
    if nothing:
        say(nothing, err=True)
    elif results.nothing_matches:
        say(_NOTHING, err=True)
    if results.notes:
        say(*told_cost(results.notes), err=True)
    if results.reranked is not None:
        say(_second(results.reranked), err=True)
    if results.unknown_words:
        say(f"{model} does not know {', '.join(map(repr, results.unknown_words))}", err=True)
    if results.remark:
        say(results.remark, err=True)


def _second(one: Reranked) -> str:
    """How the first hits were ranked anew, and what that cost."""
    if one.degraded:
        return one.degraded
    told = (
        f"the first {one.pairs} were ranked anew by {one.system} (weight {one.weight:g}): "
        f"{one.milliseconds_a_pair:.3g} ms a pair"
    )
    learned = f"; diptych models --rerank {one.system} learns the weight from captions"
    return told if one.calibrated else told + learned


def _best(results: Results) -> str:
    """What the best was, where it was left out."""
    from diptych.report.contact_sheet import percent

    best = results.best
    if best is None:
        return ""
    word = " ".join(filter(None, (best.word, percent(best.percentile))))
    return (
        f"; the best scores {best.score:.3f} ({word}): {best.id if best.path is None else _name(best.path)}"
    )


def write_sheet(
    opened: Collection,
    question: str,
    results: Results,
    images: list[Path],
    target: Path | None,
    *,
    show: bool,
) -> None:
    """A contact sheet of the results, in a file of its own."""
    import datetime
    import tempfile

    from diptych.media.pictures import is_picture
    from diptych.media.raw import is_raw, open_any
    from diptych.report.contact_sheet import Cell, Sheet, contact_sheet

    if target is None:
        target = Path(tempfile.mkdtemp(prefix="diptych-")) / "found.html"
    cells: list[tuple[bool, Cell]] = []
    for r in results:
        asked = _asked_with(r.path, images) if r.side == "image" and r.path is not None else ""
        mark = ", ".join(filter(None, [asked, _more(r) if r.copies else ""]))
        inside = r.path is None or r.path.is_relative_to(opened.folder)
        name = r.id if inside else r.path
        shows = r.path is not None and (is_picture(r.path.name) or is_raw(r.path))
        how = _words_in(r)
        cell = Cell(r.rank, r.score, r.word, r.path, r.text, shows, str(name), mark, r.percentile, how)
        cells.append((bool(asked), cell))
    cells.sort(key=lambda one: one[0])  # what was asked with is no finding: it comes last
    side = results[0].side if results else "image"
    kind = "texts" if side == "text" else "pictures"
    today = datetime.datetime.now().astimezone().date().isoformat()
    page = contact_sheet(
        [
            Sheet(
                question,
                [cell for _, cell in cells],
                images,
                _NOTHING * (bool(results) and results.nothing_matches),
            )
        ],
        title="Diptych",
        read=lambda path: open_any(path, size=320),
        base=target.parent,
        about=f"{len(results)} of {opened.count(side)} {kind} in the folder {opened.folder.name}, {today}",
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page, encoding="utf-8")
    if show:
        typer.launch(str(target))
    say(target, err=True)


def _asked_with(path: Path, images: list[Path]) -> str:
    """Whether a result is a picture of the query, or a copy of one, byte for byte."""
    import filecmp

    for image in images:
        if not path.is_file() or not image.is_file():
            continue
        if path.samefile(image):
            return "the picture asked with"
        if filecmp.cmp(path, image, shallow=False):
            return "a copy of the picture asked with"
    return ""
