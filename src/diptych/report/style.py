"""What all pages share: one look for light and dark ground, safe text, and pictures inside the page.

A page is one file: no script, nothing from the network.
"""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.printable import printable

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["COLOURS", "LOOK", "document", "picture", "safe"]

COLOURS = ("#3b7dd8", "#d9732e", "#2f9e6e", "#b0489b", "#8a7a1f", "#d0485a", "#5b6ad0", "#4a9aa8", "#7c6a5c")
"""For lines and bars, in this order; readable on light and dark ground."""

_DOCUMENT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}
</style>
<h1>{title}</h1>
{body}
</html>
"""

LOOK = (Path(__file__).parent / "look.css").read_text(encoding="utf-8")
"""The style sheet that all pages share, those of the server, too."""


def document(title: str, *parts: str, style: str = "") -> str:
    """A whole page.

    Args:
        title: Its heading, as plain text.
        parts: What stands below, as HTML.
        style: Rules of its own, after those of all pages; colours are the variables of `LOOK`.
    """
    return _DOCUMENT.format(title=safe(title), style=(LOOK + style).strip(), body="\n".join(parts))


def picture(image: Image, alt: str, side: int) -> str:
    """A small copy of a picture inside the page, its longer side of `side` pixels at most."""
    small = image.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.convert("RGB").save(buffer, "JPEG", quality=80, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img alt="{safe(alt)}" src="data:image/jpeg;base64,{data}">'


def safe(text: object) -> str:
    """Text for HTML; but for line breaks, what no page may hold or nobody would see is made visible."""
    return "\n".join(html.escape(printable(line), quote=True) for line in str(text).split("\n"))
