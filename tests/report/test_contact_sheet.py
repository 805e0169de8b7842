"""The contact sheet: one caption a card, names with folders, marks, and a legend where there are words."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from diptych.errors import ImageError
from diptych.report.contact_sheet import Cell, Sheet, contact_sheet


def sheet_of(*cells: Cell, **given: str) -> str:
    def read(path: Path) -> Image.Image:
        if path.name == "gone.jpg":
            raise ImageError(str(path), "there is no such file")
        return Image.new("RGB", (40, 30), "red")

    return contact_sheet([Sheet("a dog", cells)], title="Diptych", read=read, **given)


def test_a_card_shows_one_caption_and_keeps_the_others_at_hand() -> None:
    page = sheet_of(Cell(1, 0.5, "good", Path("a.jpg"), "a dog\none <more>\nand more"))
    assert re.findall(r'<p class="text" title="([^"]*)">([^<]*)</p>', page) == [
        ("a dog\none &lt;more&gt;\nand more", "a dog")
    ]
    assert 'alt="a dog"' in page
    assert re.search(r"\.text[^{]*\{[^}]*-webkit-line-clamp: 2", page)


def test_a_name_comes_with_its_folder_and_a_mark_with_its_words() -> None:
    page = sheet_of(Cell(2, 0.5, "", Path("/x/y/a.jpg"), None, name="y/a.jpg", mark="asked with"))
    assert '<p class="name" title="y/a.jpg">y/a.jpg</p>' in page
    assert '<p class="mark">asked with</p>' in page


def test_the_words_have_a_legend_and_the_page_a_line_about_it() -> None:
    page = sheet_of(Cell(1, 0.5, "fair", Path("a.jpg"), None), about="3 of 9 <pictures>")
    assert "3 of 9 &lt;pictures&gt;" in page
    legend = page[page.index('class="note legend"') :]
    assert all(f">{word}</span>" in legend for word in ("strong", "good", "fair", "weak"))
    assert "legend" not in sheet_of(Cell(1, 0.5, "", Path("a.jpg"), None)).partition("</style>")[2]


def test_a_picture_that_is_gone_is_said_on_its_card() -> None:
    page = sheet_of(Cell(1, 0.5, "weak", Path("gone.jpg"), None))
    assert '<div class="none">there is no such file</div>' in page
