"""The site builds without a warning, has a page for every system, and fetches nothing from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from diptych import catalogue
from diptych.catalogue.equations import parted

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "site"
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "site.py", "--out", out],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_every_system_has_a_page_of_its_card(site: Path) -> None:
    for card in catalogue.cards("system").values():
        page = (site / "systems" / f"{card.name}.html").read_text(encoding="utf-8")
        assert card.fields["Structure"] in page
        assert "What it reached here" in page
        block = parted(card.idea)[1]
        if block is not None:
            drawn = re.findall(r'<math [^>]*display="block">(.*?)</math>', page)
            assert len(drawn) == len(block.equations)
            assert not [one for one in drawn if "\\" in one], "a command that the converter does not know"
    printed = (site / "systems" / "dscmr.html").read_text(encoding="utf-8")
    assert "0.71 (" in printed, "what the paper has on Pascal, beside the survey's"


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(?:https?:)?//", text), page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
def test_the_search_works_from_the_disk_and_asks_nobody(site: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page, asked = browser.new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.locator(".md-search__input").fill("duplicates")
        found = page.locator(".md-search-result__item")
        found.first.wait_for(state="attached", timeout=60_000)
        assert "diptych duplicates" in " ".join(found.all_text_contents())
        browser.close()
    assert not [url for url in asked if not url.startswith(("file:", "data:", "about:", "blob:"))]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
def test_equations_are_drawn_without_a_script(site: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto((site / "systems" / "dcmh.html").as_uri())
        fraction = page.locator("figure.equation mfrac").first
        above, below = (fraction.locator("> *").nth(at).bounding_box() for at in (0, 1))
        browser.close()
    assert above is not None
    assert below is not None
    assert above["y"] + above["height"] <= below["y"], "a fraction's parts stand one above the other"


def test_every_page_can_be_reached(site: Path) -> None:
    linked = set()
    for page in site.rglob("*.html"):
        for target in re.findall(r'href="([^"#]+\.html)', page.read_text(encoding="utf-8")):
            if "//" not in target:
                linked.add((page.parent / target).resolve())
    pages = {page.resolve() for page in site.rglob("*.html")} - {(site / "404.html").resolve()}
    assert not sorted(pages - linked)
