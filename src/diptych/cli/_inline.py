"""Pictures in the terminal: by kitty's protocol, as sixels (iTerm2 and most others), or in half blocks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.optional import optional

if TYPE_CHECKING:
    from PIL.Image import Image

    from diptych.engine.results import Result

__all__ = ["can_show", "show"]

_LINES = 9  # height of a picture
_NARROW, _WIDE = 6, 36  # columns of one
_CELL = (10, 20)  # pixels that are drawn for a column and a line; the terminal's own differ little


def can_show() -> bool:
    """Whether standard output is a terminal and the package that draws in it is there."""
    import importlib.util

    return sys.stdout.isatty() and importlib.util.find_spec("textual_image") is not None


def show(results: Iterable[Result], *, draw: Any = None, console: Any = None) -> None:
    """Draw the pictures of results in rows, the rank below each; files that cannot be read are left out.

    Args:
        results: What was found; of texts the pictures that they describe.
        draw: Makes a picture what rich can print; by default what the terminal says that it shows best.
        console: Of rich; that of standard output if None.

    Raises:
        MissingExtra: the package that draws is not installed.
    """
    from rich.console import Console

    draw = draw or optional("textual_image.renderable", "showing pictures in the terminal", "terminal").Image
    console = console or Console(highlight=False)
    for row in _rows(list(_pictures(results)), console.width):
        # One picture a row: not every way of drawing can be put side by side.
        columns = sum(wide + 1 for _, wide, _ in row)
        console.print(
            draw(_strip([(picture, wide) for _, wide, picture in row]), width=columns, height=_LINES)
        )
        console.print("".join(f"{rank:<{wide + 1}}" for rank, wide, _ in row).rstrip(), style="dim")


def _pictures(results: Iterable[Result]) -> Iterable[tuple[int, int, Image]]:
    """Rank, columns and picture of each that can be read."""
    from diptych.errors import ImageError
    from diptych.media.pictures import is_picture
    from diptych.media.raw import is_raw, open_any

    seen: set[Path] = set()
    for result in results:
        path = result.path
        if path is None or path in seen or not (is_picture(path.name) or is_raw(path)):
            continue
        seen.add(path)
        try:
            picture = open_any(path, size=_LINES * _CELL[1])
        except ImageError:
            continue  # the table has it all the same
        columns = _LINES * _CELL[1] * picture.width / picture.height / _CELL[0]
        yield result.rank, min(max(round(columns), _NARROW), _WIDE), picture


def _rows(entries: Sequence[tuple[int, int, Image]], width: int) -> list[list[tuple[int, int, Image]]]:
    """The entries in rows that fit, a column free behind each."""
    rows: list[list[tuple[int, int, Image]]] = []
    free = 0
    for entry in entries:
        if not rows or entry[1] + 1 > free:
            rows.append([])
            free = width
        rows[-1].append(entry)
        free -= entry[1] + 1
    return rows


def _strip(row: Sequence[tuple[Image, int]]) -> Image:
    """Pictures side by side, each cut to its columns where it is too wide or narrow for them."""
    from PIL import Image, ImageOps

    strip = Image.new("RGBA", (sum(wide + 1 for _, wide in row) * _CELL[0], _LINES * _CELL[1]))
    left = 0
    for picture, wide in row:
        strip.paste(ImageOps.fit(picture, (wide * _CELL[0], strip.height)), (left, 0))
        left += (wide + 1) * _CELL[0]
    return strip
