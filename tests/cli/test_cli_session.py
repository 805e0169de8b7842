"""``diptych search -i``, and pictures in the terminal."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import diptych
from diptych.cli import _inline
from diptych.testing import Colours

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pictures of one colour, one of them with a caption; the encoder is known by its name."""
    from diptych import catalogue

    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("red", "green", "blue"):
        Image.new("RGB", (80, 60), name).save(folder / f"{name}.png")
    (folder / "red.txt").write_text("a red wall\n", encoding="utf-8")
    with diptych.open(folder, model=Colours()) as collection:
        collection.add()
    monkeypatch.setattr(catalogue, "load", lambda name, **_: Colours())
    return folder


@pytest.fixture
def typed(run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[str], str]]:
    """What a session prints for lines, by result, and what it says."""

    def type_(*lines: str, options: tuple[str, ...] = ()) -> tuple[list[str], str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        code, out, err = run("search", "-i", "-k", "1", "--in", str(photos), *options)
        assert code == 0, err
        return [
            next(word for word in line.split() if word.endswith(".png")) for line in out.splitlines()
        ], err

    return type_


def names(found: list[str]) -> list[str]:
    return [Path(one).name for one in found]


def test_lines_are_answered_one_after_the_other(
    typed: Callable[..., tuple[list[str], str]], photos: Path
) -> None:
    found, err = typed("green", "", "blue", str(photos / "red.png"), f"'{photos / 'green.png'}'")
    # A picture that is asked with is left out of what is found.
    assert names(found)[:2] == ["green.png", "blue.png"]
    assert "red.png" not in names(found)[2]
    assert "green.png" not in names(found)[3]
    assert "Traceback" not in err


def test_what_was_asked_is_changed_by_commands(typed: Callable[..., tuple[list[str], str]]) -> None:
    found, _ = typed(
        "red", ":not 2:red", ":more", ":new", "red and green", ":where name = 'blue.png'", ":where"
    )
    assert names(found)[0] == "red.png"
    assert names(found)[1] != "red.png"
    assert names(found)[2] != names(found)[1]
    assert names(found)[4] == "blue.png"
    assert names(found)[5] == names(found)[3]
    found, err = typed("blue", ":like 1", ":to text", ":quit", "red")
    assert len(found) == 3
    assert names(found)[1] != "blue.png"
    assert names(found)[2] == "red.png"
    assert "Traceback" not in err


def test_what_cannot_be_done_is_said_and_the_session_goes_on(
    typed: Callable[..., tuple[list[str], str]],
) -> None:
    lines = (":like 3", ":nothing", ":to sound", ":and", ":where camra = 3", ":open 1", ":more", "green")
    found, err = typed(*lines)
    assert names(found) == ["green.png"]
    for said in (
        "there is no result 3; there are none yet",
        "there is no :nothing; there are :like, :and",
        ":to takes image or text, not 'sound'",
        ":and needs words behind it",
        "no picture here has a field 'camra'",
        "nothing is asked yet",
    ):
        assert said in err


def test_a_session_begins_with_what_was_given(
    typed: Callable[..., tuple[list[str], str]], run: Run, photos: Path
) -> None:
    found, _ = typed(":more", options=("blue", "--not", "red"))
    assert names(found)[0] == "blue.png"
    assert len(found) == 2
    code, _, err = run("search", "-i", "red", "--json", "--in", str(photos))
    assert code == 2
    assert "leave out --json" in err


def test_help_names_every_command(typed: Callable[..., tuple[list[str], str]], capsys: object) -> None:
    from diptych.cli._session import _HELP, Session

    session = Session.__new__(Session)
    assert set(session._commands()) - {"help"} == {
        word.removeprefix(":") for word in _HELP.split() if word.startswith(":")
    }


@pytest.mark.filterwarnings("ignore:Image.Image.getdata:DeprecationWarning")  # of the package that draws
def test_pictures_are_drawn_in_rows_with_their_ranks(photos: Path) -> None:
    from rich.console import Console
    from textual_image.renderable import HalfcellImage, SixelImage, TGPImage

    with diptych.open(photos, model=Colours()) as collection:
        results = collection.search("red", k=3)
    (photos / "blue.png").write_bytes(b"gone")  # what cannot be read is left out
    for draw, begins in (
        (HalfcellImage, "\x1b[38;2;254;0;0"),
        (SixelImage, "\x1bP"),
        (TGPImage, "\U0010eeee"),
    ):
        console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system="truecolor")
        _inline.show(results, draw=draw, console=console)
        drawn = console.file.getvalue()  # type: ignore[attr-defined]
        assert begins in drawn or (draw is HalfcellImage and "▀" in drawn), draw
        plain = re.sub(r"\x1b\[[\d;]*m", "", drawn)
        assert re.search(r"1 {10,}2$", plain, re.MULTILINE)


def test_rows_are_as_wide_as_the_terminal_at_most() -> None:
    pictures = [(rank, 20, Image.new("RGB", (4, 3))) for rank in range(1, 6)]
    rows = _inline._rows(pictures, 63)
    assert [[rank for rank, _, _ in row] for row in rows] == [[1, 2, 3], [4, 5]]
    assert [len(row) for row in _inline._rows(pictures, 10)] == [1] * 5  # one a row, however narrow
    strip = _inline._strip([(Image.new("RGB", (40, 30), "red"), 12), (Image.new("RGB", (30, 40), "blue"), 7)])
    assert strip.size == ((12 + 1 + 7 + 1) * 10, 9 * 20)
    assert strip.getpixel((0, 0)) == (255, 0, 0, 255)
    assert strip.getpixel((125, 0))[3] == 0  # type: ignore[index]


def test_without_the_package_it_is_said_how_to_get_it(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "textual_image", None)
    monkeypatch.setitem(sys.modules, "textual_image.renderable", None)
    code, _, err = run("search", "red", "--show", "--in", str(photos))
    assert code == 1
    assert "pip install 'diptych[terminal]'" in err
