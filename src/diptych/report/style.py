"""What all pages share: one look for light and dark ground, safe text, and pictures inside the page.

A page is one file: no script, nothing from the network.
"""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING

from diptych.printable import printable

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["COLOURS", "document", "picture", "safe"]

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

_STYLE = """\
:root { color-scheme: light dark; --ground: #fbfaf8; --ink: #1d1c1a; --soft: #6b6862; --card: #fff;
  --line: #e4e1db; --strong: #1a7f4b; --good: #2b6cb0; --fair: #96670a; --weak: #8a8680; }
@media (prefers-color-scheme: dark) { :root { --ground: #171614; --ink: #eceae6; --soft: #a09c95;
  --card: #211f1d; --line: #35322e; --strong: #5cc98f; --good: #7fb2ec; --fair: #dfb04f; --weak: #8f8b84; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 80rem; padding: 1.5rem 1rem 3rem; background: var(--ground);
  color: var(--ink); font: 16px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.35rem; font-weight: 650; margin: 0 0 .25rem; }
h2 { font-size: 1.1rem; font-weight: 620; margin: 2.2rem 0 .4rem; }
h3 { font-size: .95rem; font-weight: 600; margin: 1.1rem 0 .4rem; }
p { max-width: 60rem; margin: .3rem 0 .6rem; }
li, p { overflow-wrap: anywhere; }
.note { color: var(--soft); font-size: .9rem; }
"""


def document(title: str, *parts: str, style: str = "") -> str:
    """A whole page.

    Args:
        title: Its heading, as plain text.
        parts: What stands below, as HTML.
        style: Rules of its own, after those of all pages; colours are the variables ``--ground``, ``--ink``,
            ``--soft``, ``--card``, ``--line``, and from best to worst ``--strong``, ``--good``, ``--fair``,
            ``--weak``.
    """
    return _DOCUMENT.format(title=safe(title), style=(_STYLE + style).strip(), body="\n".join(parts))


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
