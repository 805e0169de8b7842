"""``diptych search``: find pictures with words or pictures, and words with pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diptych.cli._terminal import say, say_json, say_table, shown

if TYPE_CHECKING:
    from diptych.engine.collection import Collection
    from diptych.engine.results import Result, Results

__all__ = ["command"]

NOTHING = "Nothing here shows what was asked, as far as the model can tell; these are only the least bad."


def command(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORDS...", help="What to look for, with or without quotes.")
    ] = None,
    place: Annotated[
        Path, typer.Option("--in", help="Indexed folder, or one inside it.", show_default="this folder")
    ] = Path(),
    image: Annotated[
        list[str] | None, typer.Option("--image", help="A picture to look like; may be repeated.")
    ] = None,
    negative: Annotated[
        list[str] | None, typer.Option("--not", help="Words to keep away from; may be repeated.")
    ] = None,
    text_weight: Annotated[
        float | None, typer.Option(help="Weight of the words; default 1.", show_default=False)
    ] = None,
    image_weight: Annotated[
        float | None, typer.Option(help="Weight of each picture; default 1.", show_default=False)
    ] = None,
    not_weight: Annotated[
        float | None, typer.Option(help="Weight of each --not; default 0.5.", show_default=False)
    ] = None,
    to: Annotated[str, typer.Option(help="What to find: image or text.")] = "image",
    k: Annotated[int, typer.Option("-k", help="Most results.")] = 10,
    min_score: Annotated[
        str | None,
        typer.Option(
            help="Leave out results that score lower than a number, or are less than strong, good or fair.",
            show_default=False,
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare with every picture even if there are codes.")
    ] = False,
    recall: Annotated[
        float | None,
        typer.Option(help="With codes: share of the best to find; default 0.98.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Which of the collection's models compares [the default].", show_default=False),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            help="Search only what fulfils this: date >= 2024 and tag in (dog, beach).", show_default=False
        ),
    ] = None,
    by: Annotated[
        str, typer.Option(help="Compare vectors, look for the words in captions, tags and names, or both.")
    ] = "both",
    update: Annotated[
        bool, typer.Option("--update", help="First bring the collection up to date with its folder.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a contact sheet to this file.", show_default=False)
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show a contact sheet in the browser.")] = False,
    paths: Annotated[bool, typer.Option("--paths", help="Print paths only, for other programs.")] = False,
    null: Annotated[bool, typer.Option("-0", "--null", help="With --paths: end names with NUL.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Believe a collection that somebody else made, from now on.")
    ] = False,
) -> None:
    """Find pictures with words or pictures, and words with pictures (--to text).

    Answers from what was indexed; the exit code is 1 where nothing was found.
    """
    from diptych.engine import collection as engine

    asked = " ".join(words or [])
    weights: dict[str, Any] = {
        "text_weight": _weight("--text-weight", text_weight, "words", asked.strip()),
        "image_weight": _weight("--image-weight", image_weight, "--image", image),
        "negative_weight": _weight("--not-weight", not_weight, "--not", negative),
    }
    with engine.open(place, create=False, trust=trust) as opened:
        if update:
            opened.add()
        if model is not None:
            opened = opened.using(model)
        results = opened.search(
            asked or None,
            image=image or (),
            negative=negative or (),
            **{name: weight for name, weight in weights.items() if weight is not None},
            to=to,  # type: ignore[arg-type]  # search says what is allowed
            k=k,
            min_score=_least(min_score),
            exact=exact,
            recall=recall,
            where=where,
            by=by,  # type: ignore[arg-type]  # search says what is allowed
        )
        question = _question(asked, image or [], negative or [])
        if html or open_:
            _sheet(opened, question, results, [Path(path) for path in image or []], html, show=open_)
        if as_json:
            _print_json(opened, question, to, results)
        elif paths:
            _print_paths(results, b"\0" if null else b"\n")
        elif results and not html and not open_:
            _print_table(results, to)
        if not as_json:
            _notes(opened, results, to, by, min_score, where)
    if not results:
        raise typer.Exit(1)


def _weight(option: str, weight: float | None, part: str, given: object) -> float | None:
    """The weight of a part of the query, refused where there is no such part: it would say nothing."""
    from diptych.errors import UsageError

    if weight is not None and not given:
        raise UsageError(f"{option} {weight:g} weighs nothing without {part}; leave it out or add {part}")
    return weight


def _least(given: str | None) -> Any:
    """The number or the word that was given; search says what is allowed."""
    try:
        return None if given is None else float(given)
    except ValueError:
        return given


def _question(asked: str, images: list[str], negative: list[str]) -> str:
    parts = [asked] if asked else []
    parts += [f"like {Path(path).name}" for path in images]
    return ", ".join(parts) + "".join(f", not {word}" for word in negative)


def _print_json(opened: Collection, question: str, to: str, results: Results) -> None:
    facts = {
        "query": question,
        "to": to,
        "folder": str(opened.folder),
        "model": opened.model,
        **results.as_dict(),
    }
    say_json(facts)


def _print_paths(results: Results, end: bytes) -> None:
    import os

    # Bytes, so that a name in any encoding reaches the next program as it is; each file once.
    for path in dict.fromkeys(r.path for r in results if r.path is not None):
        sys.stdout.buffer.write(os.fsencode(path) + end)
    sys.stdout.buffer.flush()


def _print_table(results: Results, to: str) -> None:
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
        if r.by != "vectors":
            first.append_text(shown(f"  [{_words_in(r)}]", "dim"))
        table.add_row(str(r.rank), shown(r.word, style), percent(r.percentile), f"{r.score:.3f}", first)
    say_table(table)


def _words_in(result: Result) -> str:
    """Where the words stand by which a result was found; nothing if it was found by its vector alone."""
    if result.by == "vectors":
        return ""
    places = {
        "name": "its name",
        "tag": "its tags",
        "read": "text read in it",
        "generated": "a generated caption",
    }
    return f"words of {places.get(result.found_in, 'its caption' if result.side == 'image' else 'it')}"


def _name(path: Path) -> Path:
    """The path from this folder, if it lies in it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _notes(
    opened: Collection, results: Results, to: Any, by: str, min_score: str | None, where: str | None
) -> None:
    """What to say of the results on standard error."""
    kind = "texts" if to == "text" else "pictures"
    if results.missing:
        say(
            f"{results.missing} hits whose files are not there now were left out; bring the collection up to "
            f"date: diptych index {opened.folder}",
            err=True,
        )
    if not opened.count(to):
        say(
            "there are no texts in this collection; captions come from .txt files, caption lists and the "
            "pictures' own fields"
            if to == "text"
            else f"there are no pictures in this collection; add some: diptych index {opened.folder}",
            err=True,
        )
    elif not len(opened.gallery(to)):
        say(f"no {kind} of {opened.below} are indexed; index them: diptych index {opened.below}", err=True)
    elif where is not None and not opened.count(to, where=where):
        say(f"none of the {kind} fulfils: {where}", err=True)
    elif not results and min_score is None:
        what = "has such words" if to == "text" else "has such words in its captions or name"
        say(f"none of the {kind} {what}; leave out --by {by} to compare what they show, too", err=True)
    elif not results:
        say(f"none of the {kind} reaches --min-score {min_score}{_best(results)}", err=True)
    elif results.nothing_matches:
        say(NOTHING, err=True)
    if results.unknown_words:
        say(f"{opened.model} does not know {', '.join(map(repr, results.unknown_words))}", err=True)


def _best(results: Results) -> str:
    """What the best was, where it was left out."""
    from diptych.report.contact_sheet import percent

    best = results.best
    if best is None:
        return ""
    word = " ".join(filter(None, (best.word, percent(best.percentile))))
    return f"; the best scores {best.score:.3f} ({word}): {_name(best.path)}"


def _sheet(
    opened: Collection,
    question: str,
    results: Results,
    images: list[Path],
    target: Path | None,
    *,
    show: bool,
) -> None:
    import datetime
    import tempfile

    from diptych.media.pictures import is_picture
    from diptych.media.raw import is_raw, open_any
    from diptych.report.contact_sheet import Cell, Sheet, contact_sheet

    if target is None:
        target = Path(tempfile.mkdtemp(prefix="diptych-")) / "found.html"
    cells = []
    for r in results:
        mark = _asked_with(r.path, images) if r.side == "image" and r.path is not None else ""
        inside = r.path is None or r.path.is_relative_to(opened.folder)
        name = r.id if inside else r.path
        shows = r.path is not None and (is_picture(r.path.name) or is_raw(r.path))
        how = _words_in(r)
        cells.append(Cell(r.rank, r.score, r.word, r.path, r.text, shows, str(name), mark, r.percentile, how))
    cells.sort(key=lambda cell: bool(cell.mark))  # what was asked with is no finding: it comes last
    side = results[0].side if results else "image"
    kind = "texts" if side == "text" else "pictures"
    today = datetime.datetime.now().astimezone().date().isoformat()
    page = contact_sheet(
        [Sheet(question, cells, images, NOTHING * (bool(results) and results.nothing_matches))],
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
