"""Pages: one look for all of them, one safe file each."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from diptych.errors import ImageError
from diptych.report import page, style
from diptych.report.bench_page import Chart, Table, as_html, as_markdown
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
    made = make()  # type: ignore[operator]
    empty = style.document("x")
    shared = empty[empty.index(":root") : empty.index("</style>")].strip()
    assert shared in made
    assert made.count("<style>") == 1
    assert made.count(":root") == 2  # light and dark ground, said once
    assert "<script" not in made
    assert "&lt;script&gt;alert(&#x27;a &amp; b&#x27;)&lt;/script&gt; \\udc80" in made
    made.encode("utf-8")
    assert not re.search(r'src="(?!data:)', made)
    variables = set(re.findall(r"var\((--[\w-]+)\)", made))
    assert variables <= set(re.findall(r"(--[\w-]+):", made))


def test_a_contact_sheet_shows_pictures_links_and_reasons() -> None:
    made = sheet()
    assert '<a href="a.png"><img alt="' in made
    assert '<div class="none">is damaged</div>' in made
    assert made.count('<li style="--shape:') == 3
    assert made.count('<li style="--shape:1.500">') == 1  # a picture in its own shape, and no box around it


def test_pictures_are_made_small_and_the_original_stays() -> None:
    image = Image.new("RGBA", (900, 600), "red")
    text = style.picture(image, 'a "red" one', 320)
    data = re.search(r"base64,([^\"]+)", text)
    assert data is not None
    assert Image.open(io.BytesIO(base64.b64decode(data[1]))).size == (320, 213)
    assert image.size == (900, 600)
    assert 'alt="a &quot;red&quot; one"' in text


def test_columns_of_numbers_stand_right_and_values_with_a_deviation_below_each_other() -> None:
    shown = page.table(
        ["a", "b", "c"], [["0.150 ± 0.015", 0.5, None], ["0.247", None, "12"], ["- [1]", 2, 3]]
    )
    assert re.findall(r'<td class="(\w+)">(.*?)</td>', shown) == [
        ("spread", "<span>0.150</span><span>± 0.015</span>"),
        ("number", "0.5000"),
        ("number", "-"),
        ("spread", "<span>0.247</span><span></span>"),
        ("number", "-"),
        ("number", "12"),
        ("spread", "<span>- [1]</span><span></span>"),
        ("number", "2"),
        ("number", "3"),
    ]
    assert "<tbody></tbody>" in page.table(["a"], [])


def test_a_result_table_marks_the_best_and_folds_away_what_is_missing() -> None:
    rows = [["cca", "0.310 ± 0.004", 0.3], ["dscmr", "0.511", 0.3], ["agree", "- [1]", None]]
    bars = Chart("MAP", {"cca": ([""], [0.3])}, spread={"cca": 0.1})
    full = Table("t", ["system", "MAP", "R@10"], rows, charts=[bars], reasons=["[1] gone"], best=[1, 2])
    empty = Table("e", ["system", "MAP"], [["cca", "- [1]"]], reasons=["[1] away"], best=[1])
    made = as_html("x", [full, empty], reasons=["planted: nowhere"])
    assert '<td class="spread best"><span>0.511</span>' in made
    assert made.count(' best"') == 3  # the better MAP, and both of two equal recalls
    assert made.count("<details>") == 4
    assert "No result of this table is here" in made.partition("<h2>e</h2>")[2]
    text = as_markdown("x", [full, empty], reasons=["planted: nowhere"])
    assert "| dscmr | **0.511** | **0.3000** |" in text
    assert "- [1] gone" in text
    assert "- planted: nowhere" in text
