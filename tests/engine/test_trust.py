"""A collection that somebody else may have made chooses no model, and names no files elsewhere."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from engine_helpers import Paint, names
from typer.testing import CliRunner

from diptych import catalogue
from diptych.cli import app
from diptych.engine.collection import find, open_collection
from diptych.engine.rebuild import rebuilding
from diptych.errors import CollectionError, MissingData, WrongModel
from diptych.testing import Colours


@pytest.fixture
def downloaded(photos: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with a collection, as another user made it on another machine."""
    for name in ("red", "green", "blue"):
        paint(f"{name}.png", name)
    (photos.parent / "secret.png").write_bytes((photos / "red.png").read_bytes())
    with open_collection(photos, model=Colours()) as collection:
        collection.add()
    monkeypatch.setenv("DIPTYCH_HOME", str(tmp_path / "other home"))
    return photos


def change(folder: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(folder / ".diptych" / "collection.sqlite")) as database:
        database.execute(statement, values)
        database.commit()


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that were loaded."""
    found: list[str] = []

    def load(name: str, **_: Any) -> Any:
        found.append(name)
        encoder = Colours()
        encoder.name = name
        return encoder

    monkeypatch.setattr(catalogue, "load", load)
    return found


@pytest.mark.parametrize("model", ["clip:vit-b-32@openai", "/tmp/run", "colours"])
def test_its_model_is_not_loaded_unasked(downloaded: Path, loaded: list[str], model: str) -> None:
    change(downloaded, "UPDATE vector_column SET model = ?", model)
    with open_collection(downloaded) as collection:
        for ask in (lambda: collection.search("red"), collection.add, lambda: collection.encoder):
            with pytest.raises(CollectionError, match=f"not made here and asks for the model {model}"):
                ask()
        assert collection.count("image") == 3  # looking at it is harmless
    with pytest.raises(CollectionError, match="not made here"), rebuilding(downloaded):
        pass
    assert loaded == []
    told = CliRunner().invoke(app, ["search", "red", "--in", str(downloaded)])
    assert isinstance(told.exception, CollectionError)
    assert told.exception.argument == "trust"
    # Naming it is asking, and so is trust, which lasts.
    with open_collection(downloaded, model=model) as collection:
        assert names(collection.search("red", k=1)) == ["red.png"]
    with open_collection(downloaded) as collection, pytest.raises(CollectionError):
        collection.search("red")
    assert CliRunner().invoke(app, ["info", str(downloaded), "--trust"]).exit_code == 0
    with open_collection(downloaded) as collection:
        assert names(collection.search("red", k=1)) == ["red.png"]


def test_the_built_in_model_needs_no_trust(downloaded: Path, loaded: list[str]) -> None:
    change(downloaded, "UPDATE vector_column SET model = 'builtin'")
    with open_collection(downloaded) as collection:
        assert names(collection.search("red", k=1)) == ["red.png"]
    assert loaded == ["builtin"]


def test_a_run_folder_of_its_codes_is_not_loaded(downloaded: Path, loaded: list[str]) -> None:
    facts = {
        "bits": 8,
        "fingerprint": "colours:1",
        "made_with": "x",
        "system": "/tmp/run",
        "calibrations": [],
    }
    change(downloaded, "INSERT INTO setting VALUES ('codes', ?)", json.dumps(facts))
    with open_collection(downloaded, model=Colours()) as collection:
        assert names(collection.search("red", k=1)) == ["red.png"]
    with rebuilding(downloaded, model=Colours()) as fresh:
        fresh.add()
    with open_collection(downloaded, model=Colours()) as collection:
        assert (collection.info()["codes"]["bits"], loaded) == (8, [])


@pytest.mark.parametrize("name", ["{}/secret.png", "../secret.png", "below/../../secret.png"])
def test_it_names_no_files_elsewhere(downloaded: Path, name: str) -> None:
    outside = name.format(downloaded.parent)
    (downloaded / "below").mkdir()
    change(downloaded, "UPDATE file SET path = ? WHERE path = CAST('red.png' AS BLOB)", os.fsencode(outside))
    with pytest.raises(CollectionError, match=r"names files outside of that folder, such as .*secret\.png"):
        open_collection(downloaded, model=Colours())
    with open_collection(downloaded, model=Colours(), trust=True) as collection:
        assert len(collection.search("red")) == 3
    with open_collection(downloaded, model=Colours()) as collection:
        assert len(collection.search("red")) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("folder", [False, True], ids=["a file", "a folder"])
def test_its_links_show_no_files_elsewhere(downloaded: Path, paint: Paint, folder: bool) -> None:
    name = "red.png"
    if folder:
        paint("../elsewhere/a.png", "red")
        (downloaded / "below").symlink_to(downloaded.parent / "elsewhere")
        name = "below/a.png"
        change(
            downloaded, "UPDATE file SET path = CAST(? AS BLOB) WHERE path = CAST('red.png' AS BLOB)", name
        )
    (downloaded / "red.png").unlink()
    if not folder:
        (downloaded / "red.png").symlink_to(downloaded.parent / "secret.png")
    with open_collection(downloaded, model=Colours()) as collection:
        for ask in (
            lambda: collection.search("red"),
            lambda: collection.get(name),
            lambda: list(collection),
            lambda: collection.gallery("image")[:],
        ):
            with pytest.raises(CollectionError, match=rf"{name} is a link out of that folder") as told:
                ask()
            assert told.value.argument == "trust"
        assert names(collection.search("green", k=1)) == ["green.png"]  # which does not meet it
    with open_collection(downloaded, model=Colours(), trust=True) as collection:
        assert len(collection.search("red")) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_inside_and_a_linked_folder_are_no_way_out(downloaded: Path, tmp_path: Path) -> None:
    (downloaded / "red.png").rename(downloaded / "kept.png")
    (downloaded / "red.png").symlink_to("kept.png")
    linked = tmp_path / "linked"
    linked.symlink_to(downloaded)
    with open_collection(linked, model=Colours()) as collection:
        assert len(collection.search("red")) == 3


def test_names_with_dots_are_no_way_out(downloaded: Path, paint: Paint) -> None:
    paint("a../b..png", "yellow")
    paint("c/d...png", "black")
    with open_collection(downloaded, model=Colours()) as collection:
        assert collection.add().added == 2
    with open_collection(downloaded, model=Colours()) as collection:
        assert len(collection.search("red")) == 5


def test_what_this_user_indexed_may_lie_elsewhere(photos: Path, paint: Paint) -> None:
    outside = paint("../outside/a.png").resolve()
    with open_collection(photos, model=Colours()) as collection:
        collection.add(outside)
    with open_collection(photos, model=Colours()) as collection:
        assert [result.path for result in collection.search("red")] == [outside]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root may give files away")
def test_another_owner_is_refused(downloaded: Path) -> None:
    os.chown(downloaded / ".diptych" / "collection.sqlite", 54321, 54321)
    with pytest.raises(CollectionError, match=r"belongs to another user \(number 54321\)"):
        open_collection(downloaded, model=Colours())
    open_collection(downloaded, model=Colours(), trust=True).close()
    open_collection(downloaded, model=Colours()).close()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such owners")
def test_one_who_is_not_the_owner_is_refused(downloaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = downloaded / ".diptych" / "collection.sqlite"
    if path.stat().st_uid == 0:
        pytest.skip("what belongs to root is believed")
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(CollectionError, match="belongs to another user"):
        open_collection(downloaded, model=Colours())


@pytest.mark.parametrize("identity", ["../../../x", "", "A" * 32])
def test_an_odd_identity_is_nobody_s(downloaded: Path, identity: str, tmp_path: Path) -> None:
    change(downloaded, "UPDATE setting SET value = ? WHERE name = 'id'", identity)
    open_collection(downloaded, model=Colours(), trust=True).close()
    assert list((tmp_path / "other home").rglob("*")) == []
    with open_collection(downloaded) as collection, pytest.raises(CollectionError, match="not made here"):
        collection.search("red")


def test_a_rebuild_makes_it_this_user_s(downloaded: Path) -> None:
    with rebuilding(downloaded, model=Colours()) as fresh:
        fresh.add()
    with open_collection(downloaded) as collection, pytest.raises(WrongModel, match="program's own"):
        collection.search("red")  # no longer that it is not trusted


# Founding


def test_opening_founds_nothing(photos: Path, paint: Paint) -> None:
    with open_collection(photos) as collection:
        assert (len(collection), collection.search_many([]), collection.model) == (0, [], "builtin")
        assert collection.info()["images"] == 0
        assert repr(collection).startswith("<Collection of")
    with open_collection(photos, model=Colours()) as collection:
        assert collection.search("red") == []
        passing = collection.place
        assert find(photos) is None
        assert list(photos.iterdir()) == []
        paint("a.png")
        assert collection.add().added == 1
        assert collection.place == photos / ".diptych"
        assert names(collection.search("red")) == ["a.png"]
    assert find(photos) == photos
    assert not passing.exists()


def test_a_mistyped_folder_is_said(photos: Path) -> None:
    with pytest.raises(MissingData, match="folder"):
        open_collection(photos / "nowhere")


def test_one_of_an_encoder_of_its_own_says_how_to_open_it(photos: Path, paint: Paint) -> None:
    paint("a.png")
    with open_collection(photos, model=Colours()) as collection:
        collection.add()
    told = CliRunner().invoke(app, ["search", "red", "--in", str(photos)])
    assert isinstance(told.exception, WrongModel)
    assert "indexed with colours, an encoder of a program's own" in str(told.exception)
    assert "open the collection in Python with that encoder" in str(told.exception)
