"""Pages: one look for all of them, one safe file each."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from diptych.errors import ImageError
from diptych.report import style
from diptych.report.bench_page import Table, as_html
from diptych.report.contact_sheet import Cell, Sheet, contact_sheet

NASTY = "<script>alert('a & b')</script> \udc80"


def red(path: Path) -> Image.Image:
    """A picture, or the error that a damaged one raises."""
    if path.name == "bad.png":
        raise ImageError(str(path), "is damaged")
    return Image.new("RGB", (900, 600), "red")


def sheet() -> str:
    """A contact sheet of a picture, a damaged picture and a text."""
    cells = [
        Cell(1, 0.5, "strong", Path("/pictures/a.png"), NASTY),
        Cell(2, 0.4, "weak", Path("/pictures/bad.png"), None),
        Cell(3, 0.3, "fair", None, "a note", picture=False),
    ]
    return contact_sheet([Sheet(NASTY, cells)], title=NASTY, read=red, base=Path("/pictures"))


def table() -> str:
    """A result table."""
    return as_html(NASTY, [Table(NASTY, [NASTY, "b"], [[NASTY, 0.5], ["x", None]], NASTY, [NASTY])])


@pytest.mark.parametrize("make", [sheet, table])
def test_pages_share_one_look_and_are_safe(make: object) -> None:
    page = make()  # type: ignore[operator]
    empty = style.document("x")
    shared = empty[empty.index(":root") : empty.index("</style>")].strip()
    assert shared in page
    assert page.count("<style>") == 1
    assert page.count(":root") == 2  # light and dark ground, said once
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#x27;a &amp; b&#x27;)&lt;/script&gt; ?" in page
    page.encode("utf-8")
    assert not re.search(r'src="(?!data:)', page)
    variables = set(re.findall(r"var\((--\w+)\)", page))
    assert variables <= set(re.findall(r"(--\w+):", page))


def test_a_contact_sheet_shows_pictures_links_and_reasons() -> None:
    page = sheet()
    assert '<a href="a.png"><img alt="' in page
    assert '<div class="none">is damaged</div>' in page
    assert page.count("<li>") == 3


def test_pictures_are_made_small_and_the_original_stays() -> None:
    image = Image.new("RGBA", (900, 600), "red")
    text = style.picture(image, 'a "red" one', 320)
    data = re.search(r"base64,([^\"]+)", text)
    assert data is not None
    assert Image.open(io.BytesIO(base64.b64decode(data[1]))).size == (320, 213)
    assert image.size == (900, 600)
    assert 'alt="a &quot;red&quot; one"' in text
