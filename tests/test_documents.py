"""README and docs: every block of commands or Python is run, or says why it is not; errors are all listed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image, ImageDraw

import diptych
import diptych.errors
from diptych.optional import EXTRAS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
GENERATED = "docs/cli.md"  # compared with the program by tests/cli/test_commands.py
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"))
    if page.relative_to(ROOT).as_posix() != GENERATED
)


SERVER = "http://localhost:8765"  # where `diptych serve` listens unless it is told otherwise


class Block(NamedTuple):
    line: int
    language: str
    content: str
    reason: str  # why it is not run


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page; a comment `not run: REASON` right above one says why it is not run.

    Above one that needs an extra that not every Python has, it is `run where: EXTRA`.
    """
    found, lines = [], (ROOT / page).read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        if opened := re.fullmatch(r"```(\w*)", lines[at]):
            told = re.fullmatch(r"<!-- (not run|run where): (.+) -->", lines[at - 1])
            end = lines.index("```", at + 1)
            content = "\n".join(lines[at + 1 : end])
            found.append(Block(at + 1, opened[1], content, _why_not(*told.groups()) if told else ""))
            at = end
        at += 1
    return found


def _why_not(said: str, what: str) -> str:
    """Why a block is not run here; empty if it is."""
    if said == "not run":
        return what
    return "" if all(map(importlib.util.find_spec, EXTRAS[what])) else f"diptych[{what}] is not installed"


def pages(language: str) -> list[str]:
    """Pages with a block of that language to run."""
    return [p for p in PAGES if any(b.language == language and not b.reason for b in blocks(p))]


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pictures that the pages name, those of `photos` indexed."""
    place = tmp_path_factory.mktemp("place")
    lay(place)
    with diptych.open(place / "photos") as collection:
        collection.add()
    return place


@pytest.fixture
def place(indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of these as the current folder."""
    shutil.copytree(indexed, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lay(place: Path) -> None:
    """Draw pictures, with captions beside them."""
    for folder in ("photos/holidays", "drawn"):
        (place / folder).mkdir(parents=True)
    for at, name in enumerate(("cat", "car", "photos/cat", "photos/car", "bridge", "photos/holidays/bridge")):
        picture = Image.new("RGB", (96, 64), (40 * at, 90, 250 - 40 * at))
        ImageDraw.Draw(picture).ellipse((8 * at, 9, 8 * at + 30, 50), "white")
        picture.save(place / f"{name}.jpg")
        (place / f"{name}.txt").write_text(f"a {Path(name).name}\n", encoding="utf-8")
    shutil.copy(place / "bridge.jpg", place / "photos")
    Image.new("L", (9, 9), 20).save(place / "drawn" / "night.png")
    Image.new("L", (9, 9), 240).save(place / "drawn" / "snow.png")


@contextlib.contextmanager
def served(page: str, language: str, environment: dict[str, str]) -> Iterator[Callable[[str], str]]:
    """What turns the address of a server in the blocks of a page into that of one that serves `photos`."""
    if not any(SERVER in b.content for b in blocks(page) if b.language == language and not b.reason):
        yield lambda content: content
        return
    command = [sys.executable, "-m", "diptych", "serve", "photos", "--write", "--port", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            address = (
                next(line for line in server.stderr if line.startswith("http://")).split()[0].rstrip("/")
            )
            yield lambda content: content.replace(SERVER, address)
        finally:
            server.terminate()


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page: str) -> None:
    for block in blocks(page):
        where = f"{page}:{block.line}"
        assert block.language in {"bash", "python", "text"}, f"{where}: bash, python or text?"
        assert not (block.reason and block.language == "text"), f"{where}: a text is never run"
        if block.language == "python":
            compile(block.content, where, "exec")


@pytest.mark.parametrize("page", pages("bash"))
def test_the_commands_of_a_page_work(page: str, place: Path) -> None:
    shims = place / "bin"
    shims.mkdir()
    for name, more in (("diptych", " -m diptych"), ("python", "")):
        (shims / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)}{more} "$@"\n')
        (shims / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{shims}{os.pathsep}{os.environ['PATH']}"}
    with served(page, "bash", environment) as turned:
        for block in blocks(page):
            if block.language == "bash" and not block.reason:
                command = ["bash", "-euc", turned(block.content)]
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{page}:{block.line}: {done.stderr}"
                assert "Traceback" not in done.stderr


@pytest.mark.parametrize("page", pages("python"))
def test_the_python_of_a_page_works(page: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # where its dataclasses look for their names
    with served(page, "python", dict(os.environ)) as turned:
        for block in blocks(page):
            if block.language == "python" and not block.reason:
                exec(compile(turned(block.content), f"{page}:{block.line}", "exec"), vars(module))


def test_every_promise_of_security_names_tests_that_are_there() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", text, re.MULTILINE)
    assert len(rows) > 15
    for promise, proof in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", proof)
        assert named or promise in {"promise", "---"} or set(promise) <= {"-", "|"}, promise
        for path, name in named:
            source = (ROOT / path).read_text(encoding="utf-8")
            assert not name or f"def {name}(" in source, f"{path}::{name}"


def test_every_error_is_listed_with_a_remedy() -> None:
    text = (ROOT / "docs/trouble.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", text, re.MULTILINE)
    assert sorted(name for name, *_ in rows) == sorted(diptych.errors.__all__)
    assert all(means.strip() and remedy.strip() for _, means, remedy in rows)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http", "#")):
            assert ((ROOT / page).parent / target.partition("#")[0]).exists(), f"{page}: {target}"
