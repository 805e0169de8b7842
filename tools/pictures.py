"""Makes the picture of a contact sheet that the pages show again: docs/contact-sheet.png.

    python tools/pictures.py

Searches the photographs of the tests with the built-in model. Needs Chromium (`make browser`). The pictures
of `diptych serve` are made by hand.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "contact-sheet.png"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def main() -> None:
    """Make the page, then take its picture."""
    if CHROMIUM is None:
        sys.exit("Chromium is not installed; on Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        folder = Path(made)
        shutil.copytree(ROOT / "tests" / "photographs", folder / "photographs")
        diptych(folder, "index", "-q", "photographs")
        diptych(folder, "search", "outer space", "--in", "photographs", "-k", "4", "--html", "sheet.html")
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        shown = browser.new_page(viewport={"width": 1000, "height": 440})
        shown.goto((folder / "sheet.html").as_uri())
        taken = Image.open(io.BytesIO(shown.screenshot()))
        taken.quantize(128).save(TARGET, optimize=True)
        browser.close()
    print(TARGET.relative_to(ROOT))


def diptych(folder: Path, *command: str) -> None:
    """Run a command of the program in a folder."""
    subprocess.run(
        [sys.executable, "-m", "diptych", *command], cwd=folder, check=True, stdout=subprocess.DEVNULL
    )


if __name__ == "__main__":
    main()
