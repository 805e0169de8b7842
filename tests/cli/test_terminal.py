"""Names, captions and messages come out of every command without a character that a terminal obeys."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import diptych.cli

EVIL = "\x1b]0;PWNED\x07\x1b[31mred\x1b[2J dog \x9b31m \u202e"
OBEYED = {"\x1b", "\x07", "\r", "\x9b", "\u202e", "\x08", "\x7f"}


def diptych_command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "diptych", *arguments],
        cwd=cwd, capture_output=True, text=True, encoding="utf-8", check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "FORCE_COLOR": "", "TERM": "dumb"},
    )  # fmt: skip


def assert_harmless(done: subprocess.CompletedProcess[str]) -> None:
    for stream in (done.stdout, done.stderr):
        assert not OBEYED & set(stream), repr(stream)
        assert "Traceback" not in stream


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "photos"
    home.mkdir()
    Image.new("RGB", (30, 30), "red").save(home / "dog.jpg")
    (home / "dog.txt").write_text(f"{EVIL}\n", encoding="utf-8")
    Image.new("RGB", (30, 30), "blue").save(home / "sea.jpg")
    if sys.platform != "win32":
        (home / "sea.jpg").rename(home / f"sea{EVIL}\r\n.jpg")
        (home / f"bad{EVIL}.jpg").write_bytes(b"no picture")
    return home


def test_index_info_search_and_doctor(folder: Path) -> None:
    for arguments in (
        ["index", "."],
        ["info"],
        ["search", "red"],
        ["search", "red", "--to", "text"],
        ["search", "red", "--json"],
        ["search", "red", "--html", f"{EVIL}.html"],
        ["doctor"],
    ):
        done = diptych_command(*arguments, cwd=folder)
        assert_harmless(done)
        if "--json" in arguments:
            texts = {result["text"] for result in json.loads(done.stdout)["results"]}
            assert EVIL.strip() in texts  # which is what the caption is
        elif arguments[0] != "doctor":
            assert "\\x1b" in done.stdout + done.stderr
    page = (folder / f"{EVIL}.html").read_text(encoding="utf-8")
    assert not OBEYED & set(page)


@pytest.mark.skipif(sys.platform == "win32", reason="names there hold no such characters")
def test_paths_for_other_programs_stay_bytes(folder: Path) -> None:
    diptych_command("index", ".", "--quiet", cwd=folder)
    done = subprocess.run(
        [sys.executable, "-m", "diptych", "search", "blue", "--paths", "-0"],
        cwd=folder, capture_output=True, check=True,
    )  # fmt: skip
    assert os.fsencode(folder / f"sea{EVIL}\r\n.jpg") in done.stdout.split(b"\0")


@pytest.mark.parametrize(
    "arguments",
    [
        ["index", EVIL],
        ["index", f"--{EVIL}"],
        [EVIL],
        ["search", "red", "--in", EVIL],
        ["train", EVIL, "--data", EVIL],
        ["list", EVIL],
        ["data", "info", EVIL],
    ],
    ids=["path", "option", "command", "folder", "system", "list", "data"],
)
def test_errors_repeat_what_was_typed_harmlessly(arguments: list[str], tmp_path: Path) -> None:
    done = diptych_command(*arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert_harmless(done)
    assert "PWNED" in done.stderr


def test_a_terminal_of_another_encoding_shows_what_it_can(folder: Path) -> None:
    (folder / "dog.txt").write_text("猫\n", encoding="utf-8")
    diptych_command("index", ".", "--quiet", cwd=folder)
    done = subprocess.run(
        [sys.executable, "-m", "diptych", "search", "red", "--to", "text"],
        cwd=folder, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )  # fmt: skip
    assert b"\\u732b" in done.stdout


def test_commands_write_in_one_way_only() -> None:
    """So that nobody forgets: no command prints by itself."""
    for path in Path(diptych.cli.__file__).parent.glob("*.py"):
        if path.name not in ("__init__.py", "_terminal.py"):
            calls = (
                node.func
                for node in ast.walk(ast.parse(path.read_text("utf-8")))
                if isinstance(node, ast.Call)
            )
            names = {ast.unparse(call) for call in calls}
            assert not names & {"typer.echo", "typer.secho", "print", "sys.stdout.write"}, path.name
