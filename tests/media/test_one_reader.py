"""Captions are read by one reader: a collection and a data set of the same folder hold the same ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import diptych
from diptych.data import open_data
from diptych.errors import BadData
from diptych.media.pictures import SUFFIXES, is_picture
from diptych.media.tables import COLUMNS, cell, is_list, read_list, strings
from diptych.testing import Colours

EXPECTED = {"a.png": ["red, and square", "seen twice"], "b.png": ["blue"]}


def separated(delimiter: str, head: tuple[str, str] = ("image", "caption"), space: str = "") -> str:
    rows = [head, ("a.png", '"red, and square"'), ("a.png", "seen twice"), ("b.png", "blue")]
    return "".join(f"{first}{delimiter}{space}{second}\n" for first, second in rows)


LINES = [{"File_Name": "a.png", "Captions": EXPECTED["a.png"]}, {"File_Name": "b.png", "Captions": "blue"}]

FORMS: dict[str, dict[str, str]] = {
    "sidecars": {"a.txt": "red, and square\nseen twice\n", "b.png.txt": "blue"},
    "csv": {"captions.csv": separated(",")},
    "a space after the comma": {"captions.csv": separated(",", space=" ")},
    "capitals": {"captions.csv": separated(",", ("Filename", "Title"))},
    "semicolons": {"captions.csv": separated(";")},
    "tabs in csv": {"captions.csv": separated("\t", ("filepath", "title"))},
    "bars": {"captions.csv": separated("|", ("image_name", "comment"), " ")},
    "tsv": {"captions.tsv": separated("\t")},
    "txt": {"captions.txt": separated(",")},
    "txt with tabs": {"captions.txt": separated("\t")},
    "txt with bars": {"captions.txt": separated("|", space=" ")},
    "jsonl": {"metadata.jsonl": "\n".join(map(json.dumps, LINES))},
}


@pytest.mark.parametrize("form", FORMS)
def test_index_and_data_read_the_same(form: str, tmp_path: Path) -> None:
    for name, colour in {"a.png": "red", "b.png": "blue"}.items():
        Image.new("RGB", (8, 8), colour).save(tmp_path / name)
    for name, text in FORMS[form].items():
        (tmp_path / name).write_text(text)
    data = open_data(tmp_path)
    split = data.split(data.splits[0])
    in_data: dict[str, list[str]] = {}
    for image, text in split.pairs.tolist():
        in_data.setdefault(split.image_id[image], []).append(split.text[text])
    with diptych.open(tmp_path, model=Colours()) as collection:
        assert collection.add().skipped == []
        found = collection.search("red blue", to="image", k=9)
        in_collection = {result.path.name: (result.text or "").split("\n") for result in found if result.path}
    assert in_data == in_collection == EXPECTED


def test_a_list_in_a_folder_with_sidecars_counts_for_both(tmp_path: Path) -> None:
    for name, colour in {"a.png": "red", "deep/b.png": "blue", "deep/c.png": "green"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), colour).save(tmp_path / name)
    (tmp_path / "a.txt").write_text("red")
    (tmp_path / "captions.json").write_text('{"a.png": "a square", "deep/b.png": "blue"}')
    split = open_data(tmp_path).split("all")
    expected = [("a.png", "red"), ("a.png", "a square"), ("deep/b.png", "blue")]
    assert [(split.image_id[image], split.text[text]) for image, text in split.pairs.tolist()] == expected
    with diptych.open(tmp_path, model=Colours()) as collection:
        collection.add()
        found = collection.search("red green blue", to="text", k=9)
        assert sorted(result.text or "" for result in found) == sorted(text for _, text in expected)


def test_what_a_list_says_and_what_of_it_was_not_used(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text(
        'image,caption,other\nx/a.png,"one\ntwo",1\nx/a.png,three,2\nb.png, ,3\nd.png, ,\n,four,4\nc.png\n'
    )
    found = read_list(path)
    assert found.captions == {"x/a.png": ["one two", "three"], "b.png": []}
    assert found.fields == {"x/a.png": {"other": (1, 2)}, "b.png": {"other": (3,)}}
    assert found.skipped == {6: "has no caption", 7: "names no picture", 8: "expected 3 columns"}


def test_a_list_without_the_columns_says_what_is_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(BadData, match=r"needs a column of pictures \(image, .*\(text, .*; it has a, b"):
        read_list(path)
    path.write_text("image,caption\n")
    assert read_list(path).captions == {}


def test_cells() -> None:
    assert cell({"caption": "", "Title ": "x"}, "text") == "x"
    assert cell({"caption": float("nan"), "text": None}, "text") is None
    assert strings([{"raw": "a"}, "b", None, " ", float("nan"), 3]) == ["a", "b", "3"]
    assert all(name == name.lower() for names in COLUMNS.values() for name in names)


def test_lists_are_known_by_their_names_and_a_txt_by_its_head(tmp_path: Path) -> None:
    heads = {"a list": "Image| comment_number| comment\n", "loose": "a picture of a dog, and its caption\n"}
    for name, head in heads.items():
        path = tmp_path / name / "captions.txt"
        path.parent.mkdir()
        path.write_text(head)
    assert is_list(tmp_path / "a list" / "captions.txt")
    assert not is_list(tmp_path / "loose" / "captions.txt")
    assert not is_list(tmp_path / "gone" / "captions.txt")
    assert is_list(Path("Metadata.JSONL"))
    assert not is_list(Path("others.csv"))


def test_one_list_of_endings() -> None:
    assert all(is_picture(f"a{suffix.upper()}") for suffix in SUFFIXES)
    assert not is_picture("__MACOSX/a.jpg")
    assert not is_picture("._a.jpg")
    assert not is_picture("jpg")


def test_a_first_line_of_any_length_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("a" * 200_000 + ", and more")
    assert not is_list(path)
    path = tmp_path / "captions.csv"
    path.write_text("a" * 200_000 + "\n")
    assert read_list(path).captions == {}
