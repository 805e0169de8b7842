"""A text of Markdown with pictures in it: cut into blocks, and written again as Markdown or as a page."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from diptych.printable import printable
from diptych.report.style import document, safe

__all__ = ["blocks", "page", "with_pictures"]

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_STYLE = """\
body { max-width: 44rem; }
figure { margin: 1.5rem 0; }
figure img { max-width: 100%; height: auto; border-radius: .4rem; display: block; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .4rem; }
"""


def blocks(text: str) -> list[str]:
    r"""The blocks of a text that empty lines part; a block of code stays whole.

    Example:
        >>> blocks("# One\n\nTwo\nlines\n\n\nThree")
        ['# One', 'Two\nlines', 'Three']
    """
    found: list[list[str]] = [[]]
    fence = ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
        if line.strip() or fence:
            found[-1].append(line.rstrip())
        elif found[-1]:
            found.append([])
    return ["\n".join(lines) for lines in found if lines]


def with_pictures(parts: list[str], placed: Mapping[int, tuple[str, str | Path]], folder: Path) -> str:
    """The text as Markdown, each picture behind its block.

    Args:
        parts: Blocks.
        placed: By the number of a block: what the picture shows, and its file.
        folder: Where the text will lie; pictures are named from there.
    """
    lines = []
    for at, block in enumerate(parts):
        lines.append(block)
        if at in placed:
            caption, path = placed[at]
            told = re.sub(r"([\\\[\]])", r"\\\1", printable(caption))
            lines.append(f"![{told}]({_address(path, folder)})")
    return "\n\n".join(lines) + "\n"


def page(title: str, parts: list[str], placed: Mapping[int, tuple[str, str | Path]], folder: Path) -> str:
    """The text as a page, each picture behind its block; HTML in the text is shown and not carried out.

    Args:
        title: Of the page.
        parts, placed, folder: As for `with_pictures`.
    """
    from markdown_it import MarkdownIt

    render = MarkdownIt("commonmark", {"html": False}).render
    body = []
    for at, block in enumerate(parts):
        body.append(render(block))
        if at in placed:
            caption, path = placed[at]
            told = safe(caption)
            body.append(
                f'<figure><img alt="{told}" src="{safe(_address(path, folder))}">'
                f"<figcaption>{told}</figcaption></figure>"
            )
    return document(title, *body, style=_STYLE)


def _address(path: str | Path, folder: Path) -> str:
    """A file as seen from a folder, as an address."""
    try:
        seen = os.path.relpath(path, folder)
    except ValueError:  # on another drive
        return Path(path).absolute().as_uri()
    return quote(Path(seen).as_posix(), safe="/.-_~")
