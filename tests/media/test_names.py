"""A name in a list means one picture or none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from diptych.media.names import Names, below, match, written


def means(names: Sequence[str], pictures: Sequence[str], **how: object) -> dict[str, str]:
    found = match(names, set(pictures).__contains__, lambda _: Names(pictures), **how)  # type: ignore[arg-type]
    assert set(found.found) | set(found.lost) == set(names)
    return dict(found.found)


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("a/1.jpg", "a/1.jpg"),
        ("./a//1.jpg", "a/1.jpg"),
        ("A/1.JPG", "a/1.jpg"),
        ("a\\1.jpg", "a/1.jpg"),
        ("C:\\Me\\a\\1.jpg", "a/1.jpg"),
        ("/home/me/a/1.jpg", "a/1.jpg"),
        ("../b/1.jpg", "b/1.jpg"),
        ("stra\u00dfe.png", "STRASSE.png"),
        ("cafe\u0301.png", "caf\u00e9.png"),
        ("photos/cafe\u0301.png", "caf\u00e9.png"),
        ("caf\u00e9", "caf\u00e9.png"),
    ],
)
def test_a_path_or_the_one_picture_of_that_name(name: str, picture: str) -> None:
    assert means([name], ["a/1.jpg", "b/1.jpg", "STRASSE.png", "caf\u00e9.png"]) == {name: picture}


def test_two_pictures_of_one_name_are_nobodys() -> None:
    assert means(["1.jpg", "x/1.jpg"], ["a/1.jpg", "b/1.jpg"]) == {}
    assert means(["A.png"], ["a.PNG", "a.png"]) == {}
    assert means(["1.jpg"], ["1.jpg", "b/1.jpg"]) == {"1.jpg": "1.jpg"}


def test_a_folder_that_is_there_is_believed() -> None:
    assert means(["train/2.jpg"], ["train/1.jpg", "2.jpg"]) == {}
    assert means(["gone/2.jpg"], ["train/1.jpg", "2.jpg"]) == {"gone/2.jpg": "2.jpg"}


def test_two_names_for_one_picture_are_nobodys_unless_one_is_its_path() -> None:
    assert means(["cats/1.jpg", "dogs/1.jpg"], ["1.jpg"]) == {}
    assert means(["1.jpg", "dogs/1.jpg"], ["1.jpg"]) == {"1.jpg": "1.jpg"}


def test_usual_folders_come_before_names() -> None:
    pictures = ["images/1.jpg", "thumbs/1.jpg"]
    assert means(["1.jpg"], pictures, folders=["x", "images"]) == {"1.jpg": "images/1.jpg"}


def test_what_lies_below_a_folder(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/2.jpg", ".hidden/1.jpg", "b/1.txt", "B/C/1.JPG"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert below(tmp_path, ["x/1.jpg"]).called("1.jpg") == ["B/C/1.JPG", "a/1.jpg"]


def test_as_seen_from_the_list() -> None:
    assert written("/here/a/1.jpg", "/here") == "a/1.jpg"
    assert written("../here/a/1.jpg", "/here") == "a/1.jpg"
    assert written("../../../etc/1.jpg", "/here") == "/etc/1.jpg"


def test_many_pictures_of_one_name_cost_no_more_each() -> None:
    pictures = [f"f{number}/1.jpg" for number in range(3_000)]
    names = Names(pictures)
    assert names.called("x/1.jpg") is names.called("y/1.jpg")  # looked up, not compared one by one
    assert means([f"x/{one}" for one in pictures], pictures) == {f"x/{one}": one for one in pictures}
