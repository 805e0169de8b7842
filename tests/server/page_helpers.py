"""A real server on a small collection, and Chromium on its page."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHOTOGRAPHS = Path(__file__).parents[1] / "photographs"
ALBUMS = {"space": "space", "living": "garden", "things": "home", "ground": "home", "people": "town"}
SHOWN = 14  # pictures of the collection, a copy told under its like
PATIENCE = 60_000  # milliseconds: on a busy machine a page that is right may be slow

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed; on Debian: apt-get install chromium"
)


def lay(folder: Path) -> Path:
    """The photographs in albums, with captions, dates, cameras, a copy, and files that are none."""
    with (PHOTOGRAPHS / "captions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    first = {row["image"]: row for row in reversed(rows)}
    for at, (name, row) in enumerate(sorted(first.items())):
        album = folder / ALBUMS[row["label"]]
        album.mkdir(parents=True, exist_ok=True)
        with Image.open(PHOTOGRAPHS / name) as picture:
            exif = Image.Exif()
            exif[0x0110] = "Camera A" if at % 2 else "Camera B"
            exif.get_ifd(0x8769)[0x9003] = f"{2020 + at % 3}:05:{at + 1:02} 10:00:00"
            picture.save(album / name, exif=exif, quality=90)
        (album / name).with_suffix(".txt").write_text(row["caption"] + "\n", encoding="utf-8")
    # A result counts with the two after it: what only one picture shows is never called strong.
    with Image.open(folder / "garden" / "cat.jpg") as cat:
        cat.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "garden" / "cat_mirrored.jpg")
        cat.crop((20, 10, cat.width - 10, cat.height - 30)).save(folder / "garden" / "cat_closer.jpg")
    shutil.copy(folder / "space" / "moon.jpg", folder / "space" / "moon_again.jpg")
    (folder / "home" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is no picture")
    return folder


@dataclass
class Site:
    """A server that runs.

    Args:
        url: Of its page.
        folder: That it serves.
        process: Of it.
        said: Lines that it wrote.
    """

    url: str
    folder: Path
    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    def stop(self) -> None:
        """End it, as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextmanager
def serving(folder: Path, *options: str, port: int = 0) -> Iterator[Site]:
    """``diptych serve`` in a process of its own, until the block ends."""
    command = [sys.executable, "-m", "diptych", "serve", str(folder), "--port", str(port), *options]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )
    site = Site("", folder, process)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            site.said.append(line)
            found = re.search(r"http://\S+", line)
            if found:
                site.url = found[0]
                break
        assert site.url, "".join(site.said)
        reader = threading.Thread(target=lambda: site.said.extend(process.stdout or ()), daemon=True)
        reader.start()
        yield site
    finally:
        site.stop()
        process.stdout.close()


class Browsed:
    """A page in Chromium that must not report anything wrong, with what tests ask of it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.wrong: list[str] = []
        self.asked: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        page.on("request", lambda request: self.asked.append(request.url))

    def until(self, what: Callable[[], Any], told: str = "") -> Any:
        """Wait until something is true, and give it."""
        for _ in range(PATIENCE // 50):
            found = what()
            if found:
                return found
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{told or what} did not come true; the page says: {self.text()[:2000]}")

    def text(self) -> str:
        """All that is to be read."""
        return str(self.page.locator("body").inner_text())

    def settled(self) -> None:
        """Wait until what is asked has been answered."""
        self.page.wait_for_timeout(250)
        self.until(lambda: self.page.locator(".found[aria-busy=false]").count(), "an answer")

    def open(self, url: str) -> Browsed:
        """Go there and wait for the answer."""
        self.page.goto(url)
        self.page.wait_for_selector("input[name=q]")
        self.settled()
        return self

    def ask(self, words: str) -> None:
        """Type words, and wait for the answer."""
        self.page.fill("input[name=q]", words)
        self.settled()

    def names(self) -> list[str]:
        """Names of the pictures that are shown, in order."""
        tiles = self.page.locator(".tile")
        found = tiles.evaluate_all(
            "tiles => tiles.sort((a, b) => a.ariaPosInSet - b.ariaPosInSet)"
            ".map(tile => tile.querySelector('.under .clip').title)"
        )
        return [str(name) for name in found]

    def shot(self, name: str) -> None:
        """A picture of the page, where somebody wants to look at it."""
        folder = os.environ.get("DIPTYCH_SCREENSHOTS")
        if folder:
            self.page.wait_for_timeout(400)
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"))

    def violations(self) -> list[str]:
        """What axe finds wrong for people who cannot see, or cannot use a mouse: serious and critical."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {one['help']} {[node['html'][:160] for node in one['nodes']]}"
            for one in found
            if one["impact"] in ("serious", "critical")
        ]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that may write, on a collection that is indexed."""
    import diptych

    folder = lay(tmp_path_factory.mktemp("served") / "album")
    with diptych.open(folder) as collection:
        collection.add()
    results = Path(__file__).parents[2] / "docs" / "results" / "results.jsonl"
    with serving(folder, "--write", "--bench", str(results)) as found:
        yield found


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Browsed]]:
    """Opens pages; what they reported as wrong and nobody expected fails the test."""
    contexts, pages = [], []

    def make(width: int = 1280, height: int = 860, **how: Any) -> Browsed:
        how.setdefault("locale", "en-GB")
        context = chromium.new_context(viewport={"width": width, "height": height}, **how)
        contexts.append(context)
        pages.append(Browsed(context.new_page()))
        return pages[-1]

    yield make
    wrong = [one for page in pages for one in page.wrong]
    for context in contexts:
        context.close()
    assert not wrong, wrong
