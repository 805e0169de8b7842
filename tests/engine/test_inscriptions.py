"""Text inside pictures: read once a content, kept beside it, resumed, and no caption."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from diptych.engine.collection import Collection, open_collection
from diptych.engine.rebuild import rebuilding
from diptych.errors import ImageError, MissingExtra
from diptych.media import ocr
from diptych.testing import Colours


@pytest.fixture
def signs(photos: Path) -> Path:
    """Three pictures with text, two of them alike, and one without."""
    font = ImageFont.load_default(48)
    for name, words in (("harbour", "Harbour Office"), ("ticket", "Ticket 4711")):
        picture = Image.new("RGB", (600, 300), "white")
        ImageDraw.Draw(picture).text((60, 120), words, fill="black", font=font)
        picture.save(photos / f"{name}.png")
    shutil.copy(photos / "harbour.png", photos / "copy.png")
    Image.new("RGB", (60, 40), "red").save(photos / "red.png")
    return photos


def inscriptions(collection: Collection) -> dict[str, str]:
    home = collection.home
    files = list(home.files())
    fields = home.fields([file.id for file in files])
    return {file.key.decode(): " ".join(map(str, fields[file.id].get("inscription", ()))) for file in files}


READ = {
    "copy.png": "Harbour Office",
    "harbour.png": "Harbour Office",
    "red.png": "",
    "ticket.png": "Ticket 4711",
}


def spaced(found: dict[str, str]) -> dict[str, str]:
    return {name: text.replace("HarbourOffice", "Harbour Office").replace("Ticket4711", "Ticket 4711")
            for name, text in found.items()}  # fmt: skip


def test_it_is_read_once_a_content_and_is_no_caption(signs: Path) -> None:
    with open_collection(signs, model=Colours()) as collection:
        assert collection.add().inscriptions is None
        assert set(inscriptions(collection).values()) == {""}
        found = collection.add(ocr=True).inscriptions
        assert found is not None
        assert (found.read, found.nothing, found.failed, found.away) == (2, 1, [], 0)
        assert spaced(inscriptions(collection)) == READ
        assert collection.count("text") == 0
        [best] = collection.search("red", k=1)
        assert (best.id, best.text) == ("red.png", None)
        [first, *_] = collection.search(signs / "ticket.png", k=4)
        assert first.text is None
        [asked] = collection.search("red", where="inscription like '%4711%'")
        assert asked.id == "ticket.png"
        again = collection.add(ocr=True).inscriptions
        assert again is not None
        assert (again.read, again.nothing) == (0, 0)


def test_it_stays_where_files_are_copied_moved_and_captioned(signs: Path) -> None:
    with open_collection(signs, model=Colours()) as collection:
        collection.add(ocr=True)
        shutil.copy(signs / "ticket.png", signs / "second.png")
        (signs / "harbour.png").rename(signs / "port.png")
        (signs / "copy.txt").write_text("a caption")
        collection.add()
        expected = {**READ, "second.png": "Ticket 4711", "port.png": "Harbour Office"}
        del expected["harbour.png"]
        assert spaced(inscriptions(collection)) == expected
        Image.new("RGB", (60, 40), "blue").save(signs / "ticket.png")  # other content: nobody has looked
        collection.add()
        assert spaced(inscriptions(collection)) == {**expected, "ticket.png": ""}
        with rebuilding(signs, model=Colours()) as fresh:
            found = fresh.add(ocr=True).inscriptions
            assert found is not None
            assert (found.read, found.nothing) == (0, 1)  # the new content alone
    with open_collection(signs, model=Colours()) as collection:
        assert spaced(inscriptions(collection)) == {**expected, "ticket.png": ""}


def test_it_goes_on_after_an_interruption(signs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diptych.engine import inscriptions as module

    asked: list[str] = []

    def read(picture: Any, *, name: str) -> list[str]:
        if len(asked) == 2:
            asked.append("stop")
            raise KeyboardInterrupt
        asked.append(name)
        return ["Sign"]

    monkeypatch.setattr(module.ocr, "read_text", read)
    monkeypatch.setattr(module, "_LOST", 0.0)
    with open_collection(signs, model=Colours()) as collection:
        with pytest.raises(KeyboardInterrupt):
            collection.add(ocr=True)
        assert len(collection.search("red", k=9, fold=None)) == 4  # which came first
        before = set(asked) - {"stop"}
        collection.add(ocr=True)
        assert len(set(asked) - {"stop"}) == 3
        assert len(asked) == 4
        assert len(before) == 2


def test_what_fails_is_told_once_and_does_not_end_the_run(
    signs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(picture: Any, *, name: str) -> list[str]:
        if name.endswith("ticket.png"):
            raise ImageError(name, "its text ends the program that reads it, so it is passed over")
        return []

    monkeypatch.setattr(ocr, "read_text", read)
    with open_collection(signs, model=Colours()) as collection:
        found = collection.add(ocr=True).inscriptions
        assert found is not None
        [failed] = found.failed
        assert failed.path == signs / "ticket.png"
        assert found.nothing == 2
        assert collection.add(ocr=True).inscriptions.as_dict() == {  # type: ignore[union-attr]
            "read": 0, "nothing": 0, "failed": [], "away": 0
        }  # fmt: skip


def test_a_column_of_that_name_does_not_take_its_place(signs: Path) -> None:
    with open_collection(signs, model=Colours()) as collection:
        collection.add(ocr=True)
        (signs / "facts.csv").write_text("image,caption,inscription\nticket.png,a ticket,forged\n")
        collection.add()
        assert spaced(inscriptions(collection)) == READ


def test_a_long_text_is_kept_in_parts(signs: Path) -> None:
    with open_collection(signs, model=Colours()) as collection:
        collection.add()
        file = collection.home.file(b"red.png")
        assert file is not None
        with collection.home.batch():
            collection.home.put_inscription(file.hash, "read", "a line of it\n" * 300)
        values = collection.home.fields([file.id])[file.id]["inscription"]
        assert all(len(str(value)) <= 1000 for value in values)


def test_without_the_package_nothing_is_founded(signs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    with (
        open_collection(signs, model=Colours()) as collection,
        pytest.raises(MissingExtra, match=r"pip install 'diptych\[ocr\]'"),
    ):
        collection.add(ocr=True)
    assert not (signs / ".diptych").exists()


def test_the_command(signs: Path, run: Any) -> None:
    _, _, told = run("index", str(signs), "--ocr")
    assert "text inside pictures: 2 of 3 that nobody had looked at have some\n" in told
    facts = json.loads(run("index", str(signs), "--ocr", "--json")[1])
    assert facts["inscriptions"] == {"read": 0, "nothing": 0, "failed": [], "away": 0}
