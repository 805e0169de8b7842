"""Makes the pictures that README and pages show (docs/*.png): a contact sheet, the page of `diptych serve`.

    python tools/pictures.py [NAME...]

The contact sheet is of the photographs of the tests, the page is of the pictures of `make demo`, which are
fetched once; both with the built-in model. Needs Chromium (`make browser`). Look at what it made: nothing
else does.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import demo
from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
RESULTS = ROOT / "docs" / "results" / "results.jsonl"

# Width, height and ground of the window, what is asked, and the file whose match is explained.
PAGES = {
    "page": (1180, 760, "light", "a cat", ""),
    "page-why": (1100, 640, "light", "a rocket", "photographs/rocket.jpg"),
    "page-phone": (390, 780, "dark", "a cat", ""),
}


def main() -> None:
    """Make the pictures that are named, or all."""
    if CHROMIUM is None:
        sys.exit("Chromium is not installed; on Debian: apt-get install chromium")
    known = ["contact-sheet", *PAGES]
    names = sys.argv[1:] or known
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"there is no picture {unknown[0]}; there are {', '.join(known)}")
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        if "contact-sheet" in names:
            contact_sheet(browser, Path(made))
        if pages := [name for name in names if name in PAGES]:
            demo.build()
            shutil.copytree(demo.PICTURES, Path(made) / "photos")
            diptych(Path(made), "index", "-q", "photos")
            with serving(Path(made) / "photos") as address:
                for name in pages:
                    page(browser, address, name)
        browser.close()


def contact_sheet(browser: Any, folder: Path) -> None:
    """A contact sheet of the photographs of the tests."""
    shutil.copytree(ROOT / "tests" / "photographs", folder / "photographs")
    diptych(folder, "index", "-q", "photographs")
    diptych(folder, "search", "outer space", "--in", "photographs", "-k", "4", "--html", "sheet.html")
    shown = browser.new_page(viewport={"width": 1000, "height": 440})
    shown.goto((folder / "sheet.html").as_uri())
    keep(shown, "contact-sheet", colours=128)


def page(browser: Any, address: str, name: str) -> None:
    """The page of a server, with what was found, or with why something was."""
    width, height, ground, words, why = PAGES[name]
    shown = browser.new_page(viewport={"width": width, "height": height}, color_scheme=ground, locale="en-GB")
    for _ in range(2):  # the second time what was found comes from a model that is warm
        shown.goto("about:blank")
        shown.goto(f"{address}#/?q={words.replace(' ', '+')}")
        shown.wait_for_selector(".found[aria-busy=false] .tile")
    if why:
        shown.locator(".tile", has=shown.locator(f'[title="{why}"]')).locator("button").click()
        shown.get_by_role("button", name="Why this match?").click()
        shown.wait_for_selector("canvas.map")
        shown.locator(".fields tr").first.wait_for()
    shown.evaluate("document.activeElement.blur()")
    shown.wait_for_function("[...document.images].every(one => one.complete || one.loading === 'lazy')")
    shown.wait_for_timeout(1_000)  # what fades in
    keep(shown, name, colours=256)


def keep(shown: Any, name: str, *, colours: int) -> None:
    """Write what is shown as docs/NAME.png."""
    taken = Image.open(io.BytesIO(shown.screenshot())).convert("RGB")
    target = ROOT / "docs" / f"{name}.png"
    taken.quantize(colours).save(target, optimize=True)
    print(target.relative_to(ROOT))
    shown.close()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A block in which a server of its own process has the collection of a folder; gives its address."""
    command = [sys.executable, "-m", "diptych", "serve", str(folder), "--port", "0", "--bench", str(RESULTS)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            yield next(found[0] for line in server.stderr if (found := re.match(r"http://\S+", line)))
        finally:
            server.terminate()


def diptych(folder: Path, *command: str) -> None:
    """Run a command of the program in a folder."""
    subprocess.run(
        [sys.executable, "-m", "diptych", *command], cwd=folder, check=True, stdout=subprocess.DEVNULL
    )


if __name__ == "__main__":
    main()
