"""Search results as one self-contained HTML page: small pictures inside, links to the files."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.errors import ImageError
from diptych.report.style import document, picture, safe

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Cell", "Sheet", "contact_sheet", "percent"]

_SHAPES = (4 / 3, 0.45, 3.2)  # width by height: the usual, and the narrowest and widest that are shown whole
_SIDE = 320  # pixels of a small picture's longer side: sharp on a phone, about 20 kB each

_STYLE = """\
body { max-width: 78rem; }
h2 { display: flex; align-items: center; gap: .75rem; margin: 2rem 0 .6rem; }
h2 img { width: 4.5rem; height: 4.5rem; object-fit: cover; border-radius: .5rem; }
.note { margin: 0 0 .9rem; }
ol { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: 1rem .9rem; }
ol::after { content: ""; flex: 1e6 1 0; } /* the last row is no wider than its pictures */
li { flex: var(--shape) 1 calc(var(--shape) * min(11.5rem, 34vw)); min-width: 0; }
li > a, li > .none { display: block; background: var(--sunk); border-radius: .45rem; overflow: hidden; }
li img { width: 100%; height: auto; aspect-ratio: var(--shape); object-fit: cover; display: block; }
.none { padding: 1rem; color: var(--soft); font-size: .85rem; }
.about { padding: .35rem .1rem 0; font-size: .85rem; min-width: 0; }
.about p { margin: 0; }
.rank { display: flex; justify-content: space-between; color: var(--soft); }
.text, .name { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden; }
.text { font-size: .95rem; }
.name { color: var(--soft); }
.mark { font-weight: 600; }
.legend { margin-top: 2rem; }
"""

_LEGEND = (
    '<p class="note legend">The number is the similarity by which the results are ordered. The word says '
    "whether a result shows what was asked, by the percentage beside it: of a hundred searches for what "
    'nothing in such a collection shows, so many find nothing as good. <span class="strong">strong</span> '
    'from 99.5 %, <span class="good">good</span> from 98 %, <span class="fair">fair</span> from 96 %, else '
    '<span class="weak">weak</span>; "not calibrated" where it is not known. There is a first result, too, '
    "where nothing fits.</p>"
)


def percent(percentile: float | None) -> str:
    """A percentile in words, never rounded up to what it does not reach; empty if it is not known.

    Example:
        >>> percent(99.97)
        '99.9 %'
    """
    return "" if percentile is None else f"{math.floor(percentile * 10) / 10:.1f} %"


@dataclass(frozen=True, slots=True)
class Cell:
    """One entry of a sheet.

    Args:
        rank: From 1.
        score: Shown with three digits.
        word: "strong", "good", "fair" or "weak", or "not calibrated".
        path: The picture, or the file of the text; None for neither.
        text: Captions, one a line, of which the first is shown; or the text found.
        picture: Whether `path` is a picture to show.
        name: What to call it, with its folder; the file's name if empty.
        mark: What is particular about it, such as being the picture that was asked with.
        percentile: Beside the word; None if it is not known.
        how: What it was found by, if that is to be told.
    """

    rank: int
    score: float
    word: str
    path: Path | None
    text: str | None
    picture: bool = True
    name: str = ""
    mark: str = ""
    percentile: float | None = None
    how: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """One query and its results.

    Args:
        query: What was asked, in words.
        cells: The results, best first.
        images: Pictures that were part of the query.
        note: A line below the query.
    """

    query: str
    cells: Sequence[Cell]
    images: Sequence[Path] = ()
    note: str = ""


def contact_sheet(
    sheets: Sequence[Sheet],
    *,
    title: str,
    read: Callable[[Path], Image],
    base: Path | None = None,
    about: str = "",
) -> str:
    """The page as HTML, with a legend of the words where there are any.

    Args:
        sheets: What to show, from top to bottom.
        title: Heading and title of the page.
        read: Opens a picture as RGB; may raise `ImageError`, which the page then says.
        base: Folder the page will lie in, for relative links; absolute links if None.
        about: A line below the title, such as how many were searched, where and when.
    """
    said = [f'<p class="note">{safe(about)}</p>'] if about else []
    legend = [_LEGEND] if any(cell.word for sheet in sheets for cell in sheet.cells) else []
    return document(title, *said, *(_sheet(sheet, read, base) for sheet in sheets), *legend, style=_STYLE)


def _sheet(sheet: Sheet, read: Callable[[Path], Image], base: Path | None) -> str:
    pictures = "".join(_image(path, "picture of the query", read)[0] for path in sheet.images)
    note = f'<p class="note">{safe(sheet.note)}</p>' if sheet.note else ""
    cells = "\n".join(_cell(cell, read, base) for cell in sheet.cells)
    return (
        f"<section><h2>{pictures}<span>{safe(sheet.query)}</span></h2>{note}\n<ol>\n{cells}\n</ol></section>"
    )


def _cell(cell: Cell, read: Callable[[Path], Image], base: Path | None) -> str:
    shown, shape = "", _SHAPES[0]
    if cell.path is not None and cell.picture:
        image, shape = _image(cell.path, (cell.text or "").partition("\n")[0] or cell.path.name, read)
        found = image.startswith("<img")
        shown = f'<a href="{_link(cell.path, base)}">{image}</a>' if found else image
    lines = (cell.text or "").strip().splitlines()
    text = f'<p class="text" title="{safe(chr(10).join(lines))}">{safe(lines[0])}</p>' if lines else ""
    called = cell.name or ("" if cell.path is None else cell.path.name)
    name = f'<p class="name" title="{safe(called)}">{safe(called)}</p>' if called else ""
    mark = f'<p class="mark">{safe(cell.mark)}</p>' if cell.mark else ""
    how = f'<p class="name">{safe(cell.how)}</p>' if cell.how else ""
    return (
        f'<li style="--shape:{shape:.3f}">{shown}<div class="about"><p class="rank"><span>{cell.rank}</span>'
        f'<span><span class="{safe(cell.word)}">{safe(cell.word)} {percent(cell.percentile)}</span> '
        f"{cell.score:.3f}</span></p>"
        f"{mark}{text}{name}{how}</div></li>"
    )


def _image(path: Path, alt: str, read: Callable[[Path], Image]) -> tuple[str, float]:
    """A picture and its width by its height, or why there is none."""
    try:
        image = read(path)
    except ImageError as error:
        return f'<div class="none">{safe(error.reason)}</div>', _SHAPES[0]
    usual, narrowest, widest = _SHAPES
    shape = image.width / image.height if image.height else usual
    return picture(image, alt, _SIDE), min(max(shape, narrowest), widest)


def _link(path: Path, base: Path | None) -> str:
    from urllib.parse import quote_from_bytes

    if base is not None:
        try:
            relative = Path(os.path.relpath(path, base))
        except ValueError:  # another drive on Windows
            return safe(path.as_uri())
        return safe(quote_from_bytes(os.fsencode(relative.as_posix()), safe="/"))
    return safe(path.absolute().as_uri())
