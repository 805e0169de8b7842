"""`make wheel`: build the wheel, look what is in it, and use it where nothing else is installed.

Two empty environments: one with the lowest versions that `pyproject.toml` allows of what Diptych needs
directly, one with the newest. In both the program must index pictures and find the right one. For other
Pythons than this one the same is done where their interpreter is at hand; where it is not, that is said, and
the newest dependencies are only resolved for it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
EXTRAS = ("heic", "svg", "raw", "watch")  # the small ones; those that bring torch are used by the tests
OTHERS = ("3.12", "3.13", "3.14")

# What a newcomer does, with the Pillow that came along.
DRAW = """
import sys
from pathlib import Path
from PIL import Image
folder = Path(sys.argv[1])
for name in ("red", "green", "blue"):
    Image.new("RGB", (64, 48), name).save(folder / f"{name}.png")
Image.new("RGB", (64, 48), "black").save(folder / "black.webp")
Image.new("RGB", (64, 48), "white").save(folder / "white.avif")
(folder / "yellow.svg").write_text(
    '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48">'
    '<rect width="64" height="48" fill="yellow"/></svg>'
)
import pillow_heif
pillow_heif.from_pillow(Image.new("RGB", (64, 64), "purple")).save(folder / "purple.heic")
"""
PICTURES = 7


def main() -> None:
    """Build, look, install, use."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        wheel = build(folder)
        look(wheel)
        lowest, newest = requirements(lowest=True), requirements(lowest=False)
        jobs = [
            partial(use, folder / "lowest", sys.executable, wheel, lowest),
            partial(use, folder / "newest", sys.executable, wheel, newest),
        ]
        for version in OTHERS:
            if version == "{}.{}".format(*sys.version_info):
                continue
            interpreter = at_hand(version)
            jobs.append(
                partial(use, folder / version, interpreter, wheel, newest)
                if interpreter
                else partial(resolve, version, newest)
            )
        with ThreadPoolExecutor(2) as pool:  # installing waits for the disk and the network
            for done in [pool.submit(job) for job in jobs]:
                done.result()


def at_hand(version: str) -> str | None:
    """An interpreter of that version that starts: on the path, or one that pyenv keeps."""
    kept = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    for found in (shutil.which(f"python{version}"), *map(str, kept)):
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    return None


def build(folder: Path) -> Path:
    """The wheel of this checkout, which is the same, byte for byte, out of the source archive."""
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    [wheel] = folder.glob("diptych-*.whl")
    archived = folder / "archived"
    run(sys.executable, "-m", "build", "--outdir", archived, ROOT)
    [archive], [again] = archived.glob("diptych-*.tar.gz"), archived.glob("diptych-*.whl")
    if again.read_bytes() != wheel.read_bytes():
        sys.exit(f"{wheel.name} is not the same when it is built from {archive.name}")
    print(f"{archive.name}: {archive.stat().st_size / 2**20:.1f} MiB")
    return wheel


def look(wheel: Path) -> None:
    """Everything of the source is in it, unchanged, and nothing else but its own description."""
    with zipfile.ZipFile(wheel) as archive:
        found = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to(SOURCE).as_posix(): path.read_bytes()
        for path in (SOURCE / "diptych").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            sys.exit(f"{name} is not the same in {wheel.name} and in {SOURCE}")
    endings = {name.rpartition(".")[2] for name in found}
    if not {"py", "typed", "toml", "onnx", "npz", "json"} <= endings:
        sys.exit(f"{wheel.name} lacks some kind of file: it has {', '.join(sorted(endings))}")
    print(f"{wheel.name}: {len(found)} files, {wheel.stat().st_size / 2**20:.1f} MiB")


def requirements(*, lowest: bool) -> list[str]:
    """What the base and the small extras ask for; the lower bounds as the only version, if wanted."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [
        *project["dependencies"],
        *(name for extra in EXTRAS for name in project["optional-dependencies"][extra]),
    ]
    return [re.sub(">=", "==", name) for name in asked] if lowest else asked


def use(folder: Path, interpreter: str, wheel: Path, asked: list[str]) -> None:
    """Install the wheel into a new environment, index pictures there and find them."""
    run(interpreter, "-m", "venv", folder)
    binaries = folder / ("Scripts" if os.name == "nt" else "bin")
    python = binaries / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary", ":all:", wheel, *asked)
    program, pictures = binaries / "diptych", folder / "pictures"
    pictures.mkdir()
    run(python, "-c", DRAW, pictures)
    if "diptych index FOLDER" not in run(program, "--help"):
        sys.exit("the help of the installed program does not name its first command")
    told = json.loads(run(program, "index", pictures, "--json"))
    if (told["added"], told["skipped"]) != (PICTURES, []):
        sys.exit(f"of {PICTURES} pictures: {told}")
    for colour in ("red", "green", "blue"):
        [best, *_] = json.loads(run(program, "search", "the", "colour", colour, "--in", pictures, "--json"))[
            "results"
        ]
        if Path(best["id"]).stem != colour:
            sys.exit(f"{best['id']} was found for {colour}")
    for table in ("ours", "ablations"):  # the others draw charts, which is an extra
        if "cells finished." not in run(program, "bench", table, "--collect", "--out", folder / "bench"):
            sys.exit(f"the table {table} is not printed")
    run(
        python,
        "-c",
        "import diptych, pathlib; assert (pathlib.Path(diptych.__file__).parent / 'py.typed').is_file()",
    )
    if "torch" in run(python, "-m", "pip", "list").split():
        sys.exit("torch was installed, though nothing here needs it")
    version = run(python, "-c", "import platform; print(platform.python_version())").strip()
    print(f"{folder.name}: works with Python {version}", flush=True)


def resolve(version: str, asked: list[str]) -> None:
    """Say that an interpreter is absent, and whether all that is needed can be had for it."""
    with tempfile.TemporaryDirectory() as nowhere:
        how = ("--quiet", "--dry-run", "--only-binary", ":all:", "--target", nowhere)
        run(sys.executable, "-m", "pip", "install", *how, "--python-version", version, *asked)
    print(f"{version}: no python{version} is here, so nothing ran; all that is needed can be had", flush=True)


def run(*command: object) -> str:
    """What a program prints; this one ends if it fails.

    It runs in the file system's root with a home of its own, so that nothing of the checkout is found.
    """
    with tempfile.TemporaryDirectory() as home:
        own = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DIPTYCH_"))
        }
        environment = {**own, "DIPTYCH_HOME": home}
        done = subprocess.run(
            [str(part) for part in command],
            cwd=home,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
