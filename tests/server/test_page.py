# ruff: noqa: F811  # fixtures are imported by name
"""The page in a browser: what people do with it, on a real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from page_helpers import SHOWN, Browsed, Site, chromium, needs_chromium, site, visit  # noqa: F401
from PIL import Image

pytestmark = needs_chromium

Visit = Callable[..., Browsed]


def drop(page: Browsed, path: Path, name: str | None = None, kind: str = "image/jpeg") -> None:
    """Drop a file into the page."""
    data = list(path.read_bytes())
    handle = page.page.evaluate_handle(
        "([data, name, type]) => { const all = new DataTransfer();"
        " all.items.add(new File([new Uint8Array(data)], name, { type })); return all; }",
        [data, name or path.name, kind],
    )
    page.page.dispatch_event("body", "drop", {"dataTransfer": handle})


def test_words_find_pictures_and_say_how_well(site: Site, visit: Visit) -> None:
    page = visit().open(site.url)
    assert len(page.names()) == SHOWN  # a copy is told under its like
    page.ask("a rocket")
    assert page.names()[0] == "space/rocket.jpg"
    assert "a rocket lifting off at night" in page.text()
    page.ask("a cat")
    assert page.names()[0].startswith("garden/cat")
    grades = page.page.locator(".tile .grade").all_inner_texts()
    assert len(grades) == SHOWN
    assert "strong" in grades[0]
    assert "weak" in grades[-1]
    assert page.page.locator(".tile .by").count() == 3  # whose captions or names have the word
    page.page.locator(".legend summary").click()
    assert "There is a first result, too, where nothing fits" in page.text()
    assert page.page.url.endswith("#/?q=a+cat")
    page.shot("words")


def test_the_address_brings_a_search_back(site: Site, visit: Visit) -> None:
    asked = "#/?q=a+crater&not=0.5:a+cup&and=2:the+night+sky&is.folder=%22space%22"
    none = "&is.tag=true&is.year=%7B%22a%22%3A1%7D&is.camera=no+JSON"  # which no page makes
    page = visit().open(site.url + asked + none)
    assert {name.split("/")[0] for name in page.names()} == {"space"}
    assert page.page.locator(".term.minus input").first.input_value() == "a cup"
    page.page.get_by_role("button", name="Begin anew").click()
    page.settled()
    assert len(page.names()) == SHOWN
    page.page.go_back()
    page.settled()
    assert page.page.input_value("input[name=q]") == "a crater"
    page.page.get_by_role("link", name="Collection").click()
    page.page.wait_for_selector(".wholepage h1")
    page.page.get_by_role("link", name="Search").click()
    page.settled()
    assert page.page.input_value("input[name=q]") == "a crater"
    assert "q=a+crater" in page.page.url


def test_further_words_and_words_to_keep_away_from_have_weights(site: Site, visit: Visit) -> None:
    page = visit().open(site.url)
    page.ask("a crater on the moon")
    assert page.names()[0] == "space/moon.jpg"
    page.page.get_by_role("button", name="not…").click()
    page.page.keyboard.type("the surface of the moon")
    page.settled()
    weight = page.page.get_by_label("Weight of the surface of the moon")
    weight.focus()
    for _ in range(25):
        page.page.keyboard.press("ArrowRight")
    page.settled()
    assert page.names()[0] != "space/moon.jpg"
    page.page.get_by_role("button", name="Remove the surface of the moon").click()
    page.settled()
    assert page.names()[0] == "space/moon.jpg"


def test_a_picture_is_dropped_picked_or_pasted_and_mixed_with_words(site: Site, visit: Visit) -> None:
    page = visit().open(site.url)
    drop(page, site.folder / "home" / "coffee.jpg")
    page.settled()
    assert page.page.locator(".term img").count() == 1
    assert page.names()[0] == "home/coffee.jpg"
    page.ask("at night")
    assert page.page.get_by_label("Weight of coffee.jpg").count() == 1
    page.shot("mixture")
    page.page.get_by_role("button", name="Begin anew").click()
    with page.page.expect_file_chooser() as chooser:
        page.page.get_by_role("button", name="a picture…").click()
    chooser.value.set_files(site.folder / "space" / "hubble.jpg")
    page.settled()
    assert page.names()[0] == "space/hubble.jpg"
    page.page.get_by_role("button", name="Begin anew").click()
    page.page.evaluate(
        "data => { const all = new DataTransfer(); all.items.add(new File([new Uint8Array(data)], 'p.jpg',"
        " { type: 'image/jpeg' }));"
        " window.dispatchEvent(new ClipboardEvent('paste', { clipboardData: all })); }",
        list((site.folder / "home" / "coins.jpg").read_bytes()),
    )
    page.settled()
    assert page.names()[0] == "home/coins.jpg"


def test_a_picture_finds_texts(site: Site, visit: Visit) -> None:
    page = visit().open(site.url)
    drop(page, site.folder / "garden" / "cat.jpg")
    page.page.get_by_role("radio", name="Texts").check()
    page.settled()
    assert page.page.locator(".texts blockquote").first.inner_text() == "a tabby cat looking at the camera"
    page.shot("texts")


def test_files_that_are_no_pictures_are_refused_with_the_reason(
    site: Site, visit: Visit, tmp_path: Path
) -> None:
    page = visit().open(site.url)
    drop(page, site.folder / "home" / "broken.jpg")
    page.until(lambda: page.page.locator(".problem").count(), "a reason")
    assert "broken.jpg" in page.page.locator(".problem").inner_text()
    bomb = tmp_path / "bomb.png"
    Image.new("1", (40_000, 40_000)).save(bomb)
    drop(page, bomb, kind="image/png")
    page.until(lambda: "bomb.png:" in page.page.locator(".problem").inner_text(), "a reason")
    (tmp_path / "note.txt").write_text("<script>alert(1)</script>")
    drop(page, tmp_path / "note.txt", kind="text/plain")
    page.until(lambda: "note.txt is no picture" in page.page.locator(".problem").inner_text(), "a reason")
    drop(page, tmp_path / "note.txt", "<img src=x onerror=alert(1)>.png", kind="image/png")
    page.until(lambda: "onerror" in page.page.locator(".problem").inner_text(), "a reason, as text")
    page.page.evaluate(
        "size => { const all = new DataTransfer(); all.items.add(new File([new Uint8Array(size)], 'huge.jpg',"
        " { type: 'image/jpeg' })); window.dispatchEvent(new DragEvent('drop', { dataTransfer: all })); }",
        33 << 20,
    )
    page.until(lambda: "huge.jpg is larger than" in page.page.locator(".problem").inner_text(), "a reason")
    page.shot("refused")
    assert all("422" in one or "413" in one for one in page.wrong)
    page.wrong.clear()


def test_filters_and_facets_limit_what_is_found(site: Site, visit: Visit) -> None:
    page = visit().open(site.url)
    facet = page.page.get_by_role("group", name="Folder")
    page.until(lambda: facet.count(), "the facet")
    facet.get_by_label("space").check()
    page.settled()
    assert sorted(name.replace("_again", "") for name in page.names()) == [
        "space/astronaut.jpg",
        "space/hubble.jpg",
        "space/moon.jpg",
        "space/rocket.jpg",
    ]
    assert "What fulfils the filters" in page.text()
    page.page.get_by_role("group", name="Camera").get_by_label("Camera B").check()
    page.settled()
    some = page.names()
    assert 0 < len(some) < 4
    page.page.get_by_label("Until").fill("2019-12-31")
    page.settled()
    assert "Nothing fulfils these filters" in page.text()
    page.shot("nothing_fulfils")
    page.page.get_by_role("button", name="Take all filters back").click()
    page.settled()
    assert len(page.names()) == SHOWN
    page.page.get_by_label("A filter of your own").fill("width < 10 and camra = 3")
    page.page.keyboard.press("Tab")
    page.until(lambda: "did you mean camera?" in page.text(), "the reason")
    page.shot("wrong_filter")
    assert page.wrong
    page.wrong.clear()  # the browser says that the answer was 400


def test_nothing_that_matches_is_said(site: Site, visit: Visit) -> None:
    page = visit().open(site.url)
    page.ask("a submarine")
    assert "Nothing here shows what you asked" in page.text()
    assert "each weak" in page.text()
    assert not page.page.locator(".tile .grade").count()  # what all have in common is said once
    page.shot("nothing_matches")
    page.page.get_by_text("How to search").click()
    page.page.locator("select[name=least]").select_option("strong")
    page.settled()
    assert "Nothing here is strong or better" in page.text()
    page.ask("submarine")
    page.page.locator("select[name=least]").select_option("")
    page.page.locator("select[name=by]").select_option("words")
    page.settled()
    assert "Nobody wrote these words about a picture here" in page.text()
    page.shot("no_words")


def test_one_result_is_shown_with_what_is_known_of_it(site: Site, visit: Visit) -> None:
    page = visit().open(site.url)
    page.ask("a cup of coffee")
    page.page.locator(".tile button").first.click()
    box = page.page.locator("dialog")
    page.until(lambda: "Camera" in box.inner_text(), "its fields")
    told = box.inner_text()
    assert "a cup of coffee with a spoon on a wooden table" in told
    assert "home / coffee.jpg" in told
    box.get_by_role("button", name="Why this match?").click()
    page.until(lambda: box.locator("canvas.map").count(), "the map")
    assert box.locator("mark").all_inner_texts() == ["cup", "coffee"]
    assert "by itself like what you asked" in box.inner_text()
    page.shot("why")
    with page.page.expect_download() as download:
        box.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes() == (site.folder / "home" / "coffee.jpg").read_bytes()
    box.get_by_role("button", name="Copy path").click()
    page.until(lambda: "Copied" in box.inner_text(), "that it was copied")
    page.page.keyboard.press("ArrowRight")
    page.until(lambda: "coffee.jpg" not in box.locator(".crumbs").inner_text(), "the next")
    page.page.keyboard.press("ArrowLeft")
    page.until(lambda: "coffee.jpg" in box.locator(".crumbs").inner_text(), "the one before")
    box.get_by_role("button", name="More like this").click()
    page.settled()
    assert not page.page.locator("dialog").count()
    assert "home/coffee.jpg" not in page.names()  # everybody knows that it is like itself
    assert page.page.locator(".term").inner_text().startswith("+")
    page.page.go_back()
    page.settled()
    assert page.page.input_value("input[name=q]") == "a cup of coffee"


def test_everything_is_reached_by_keyboard(site: Site, visit: Visit) -> None:
    page = visit().open(site.url + "#/?q=galaxies")
    keys = page.page.keyboard
    page.page.evaluate("document.activeElement.blur()")
    keys.press("/")
    assert page.page.evaluate("document.activeElement.name") == "q"
    # From the top, as whoever comes to the page begins.
    page.page.evaluate("document.body.tabIndex = -1; document.body.focus()")
    keys.press("Tab")
    assert page.page.evaluate("document.activeElement.className") == "skip"
    keys.press("Enter")
    keys.press("Tab")
    first = page.page.evaluate("document.activeElement.dataset.at")
    assert first == "0"
    outline = page.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    keys.press("ArrowRight")
    assert page.page.evaluate("document.activeElement.dataset.at") == "1"
    keys.press("ArrowDown")
    below = int(page.page.evaluate("document.activeElement.dataset.at"))
    assert below > 1
    keys.press("End")
    assert page.page.evaluate("document.activeElement.dataset.at") == str(SHOWN - 1)
    keys.press("Home")
    keys.press("Enter")
    page.page.wait_for_selector("dialog[open]")
    assert page.page.evaluate("document.activeElement.closest('dialog') !== null")
    keys.press("Escape")
    page.until(lambda: not page.page.locator("dialog").count(), "the end of the lightbox")
    assert page.page.evaluate("document.activeElement.dataset.at") == "0"


def test_nothing_is_asked_of_anybody_else_and_nothing_jumps(site: Site, visit: Visit) -> None:
    page = visit()
    page.page.add_init_script(
        "window.jumps = []; new PerformanceObserver(list => list.getEntries().forEach(one =>"
        " one.sources.some(source => source.node?.closest?.('.grid')) && window.jumps.push(one.value)"
        ")).observe({ type: 'layout-shift', buffered: true });"
    )
    page.open(site.url + "#/?q=a+cat")
    page.until(
        lambda: page.page.evaluate(
            "[...document.querySelectorAll('.tile img')].every(image => image.complete)"
        ),
        "all pictures",
    )
    assert page.asked
    assert not [url for url in page.asked if not url.startswith((site.url, "blob:"))]
    assert page.page.evaluate("window.jumps") == []
    for tile in page.page.locator(".tile img").all()[:4]:
        box = tile.bounding_box()
        shape = tile.evaluate("image => image.naturalWidth / image.naturalHeight")
        assert box is not None
        assert box["width"] / box["height"] == pytest.approx(shape, rel=0.03)  # neither cut nor boxed


def test_the_page_speaks_german(site: Site, visit: Visit) -> None:
    page = visit(locale="de-DE").open(site.url + "#/?q=a+cat")
    assert page.page.evaluate("document.documentElement.lang") == "de"
    assert "Filter" in page.text()
    assert f"Die besten {SHOWN} von {SHOWN + 1}" in page.text()
    page.shot("german")
    page.page.get_by_label("Sprache").select_option("en")
    page.until(lambda: f"The best {SHOWN} of {SHOWN + 1}" in page.text(), "English")


def test_less_motion_is_none(site: Site, visit: Visit) -> None:
    page = visit(reduced_motion="reduce").open(site.url)
    moving = page.page.evaluate(
        "[...document.querySelectorAll('*')].filter(one => { const how = getComputedStyle(one);"
        " return how.animationName !== 'none' || (how.transitionDuration !== '0s'); }).length"
    )
    assert moving == 0
