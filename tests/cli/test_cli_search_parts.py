"""Weighted parts and indexed pictures as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts") / "photos"
    folder.mkdir()
    for name, colour in (("red", "red"), ("12", "blue"), ("green", "green"), ("2:odd", "yellow")):
        Image.new("RGB", (40, 30), colour).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def asked(folder: Path, run):
    assert run("index", str(folder), "-q")[0] == 0

    def search(*arguments: str) -> tuple[int, dict[str, float], str]:
        code, out, err = run("search", *arguments, "--in", str(folder), "--json", "--itself")
        found = json.loads(out)["results"] if out else []
        return code, {one["id"]: one["score"] for one in found}, err

    return search


def test_texts_pictures_and_what_is_kept_away_from_have_weights(asked, folder: Path) -> None:
    plain = asked("a red wall", "--image", str(folder / "green.png"), "--not", "blue")[1]
    same = ("1:a", "red", "wall", "--image", f"1:{folder / 'green.png'}", "--not", "0.5:blue")
    assert asked(*same)[1] == pytest.approx(plain)
    heavier = asked("4:a red wall", "--image", str(folder / "green.png"), "--not", "blue")[1]
    assert heavier != pytest.approx(plain)
    assert asked("a red wall", "--text-weight", "4", *same[3:])[1] == pytest.approx(heavier)
    several = asked("red", "0.5:blue")[1]
    assert several == pytest.approx(asked("2:red", "1:blue")[1], abs=1e-5)
    assert several != pytest.approx(asked("red blue")[1])


def test_words_with_a_colon_are_words(asked) -> None:
    assert asked("10:30", "train")[1] == pytest.approx(asked("1: 10:30 train")[1])
    assert asked("1: 2:cat")[1] != pytest.approx(asked("2:cat")[1])


def test_names_with_a_colon_are_names(asked, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for option in ("--image", "--like"):
        for argument, name in (("2:odd.png", "2:odd.png"), ("0.5:12.png", "12.png")):
            found = asked(option, argument)[1]
            assert max(found, key=found.__getitem__) == name


def test_like_asks_with_what_is_indexed(asked, run, folder: Path) -> None:
    stored, seen = (asked(option, str(folder / "red.png"))[1] for option in ("--like", "--image"))
    assert stored == pytest.approx(seen, abs=2e-3)
    assert asked("green", "--like", "red.png")[1] != pytest.approx(stored)
    code, found, err = asked("--like", "rde.png")
    assert (code, found) == (2, {})
    assert "has no 'rde.png' indexed; did you mean red.png" in err
    code, out, _ = run("search", "--like", "red.png", "--in", str(folder))
    assert code == 0
    assert "red.png" not in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("0:cat",), "text part must lie between 0.001 and 1000, not 0; leave out a part"),
        (("cat", "--not", "9999:dog"), "negative part must lie between 0.001 and 1000, not 9999"),
        (("--like", "5000:red.png"), "image part must lie between 0.001 and 1000, not 5000"),
        (("--image-weight", "2", "cat"), "--image-weight 2 weighs nothing without --image or --like"),
    ],
)
def test_weights_that_say_nothing(asked, arguments: tuple[str, ...], sentence: str) -> None:
    code, found, err = asked(*arguments)
    assert (code, found) == (2, {})
    assert sentence in err
