"""Copies between homes: all of it, checked, both ways, and gone on with after any interruption."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.engine import copying
from diptych.engine.collection import Collection, open_collection
from diptych.engine.copying import copy_collection
from diptych.engine.items import NewItem
from diptych.errors import CollectionError, UsageError
from diptych.testing import Colours

Opening = Callable[..., Collection]
Paint = Callable[..., Path]

_numbers = itertools.count()


class Other(Colours):
    name, fingerprint = "other", "other:1"

    def encode_image(self, images: Any) -> Any:
        return np.hstack([super().encode_image(images)] * 2)

    def encode_text(self, texts: Any) -> Any:
        return np.hstack([super().encode_text(texts)] * 2)


@pytest.fixture(params=["folder", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which home to copy from; of what Milvus only searches, one test suffices."""
    return str(request.param)


@pytest.fixture(params=["folder", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where to copy to."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres").address(f"copy{next(_numbers)}"))
    place = tmp_path / "target"
    place.mkdir()
    if request.param == "milvus":
        return str(request.getfixturevalue("milvus").address(f"copy{next(_numbers)}", place))
    return str(place)


_HOMES = ("folder", "postgresql")
_PAIRS = [*itertools.product(_HOMES, _HOMES), ("folder", "milvus"), ("milvus", "postgresql")]


@pytest.fixture
def full(opening: Opening, paint: Paint, photos: Path) -> None:
    """A source with something of everything."""
    for number in range(12):
        paint(f"sub{number % 3}/{number}.png", (20 * number, 200 - 9 * number, 90))
    (photos / "sub0" / "3.txt").write_text("red and blue\nred and blue\ngreen")
    (photos / "broken.jpg").write_bytes(b"nothing")
    with opening() as collection:
        collection.exclude("*.tmp")
        collection.add(photos)
        collection.add_model(Other())
        collection.add_items(
            [
                NewItem(
                    "mine", vector=[1.0, 2.0, 3.0], texts=["a thing"], meta={"tag": ["A", "b"], "n": 2.0}
                ),
                NewItem("words", texts=["only words"]),
            ]
        )
        collection.remove(photos / "sub2" / "2.png")
        with collection.writing(), collection.home.batch():
            digest = collection.home.unread(b"", 1)[0][0]
            collection.home.put_inscription(digest, "read", "Exit here")


def answers(collection: Collection) -> list[Any]:
    found = [
        collection.search("red", k=9, by=by, fold=None, where=where, model=model)
        for by in ("vectors", "words", "both")
        for where in (None, "tag = a or width > 3")
        for model in (None, *([Other()] if by == "vectors" else []))
    ]
    found.append(collection.search("exit", by="words"))
    return [[(str(one.path or one.id), round(one.score, 5), one.text) for one in some] for some in found]


@pytest.mark.parametrize(("kind", "target"), _PAIRS, indirect=True)
@pytest.mark.usefixtures("full")
def test_a_copy_has_everything_and_answers_the_same(
    where: str, target: str, opening: Opening, tmp_path: Path
) -> None:
    done = copy_collection(where, target)
    assert (done.files, done.copied, done.images, done.texts) == (13, 13, 12, 4)
    assert done.vectors == 12 + 4 + 11 + 2  # the second model never saw what the program gave
    with opening() as one, open_collection(target, model=Colours(), create=False) as two:
        assert answers(one) == answers(two)
        assert two.excludes == one.excludes
        assert two.info()["skipped"] == one.info()["skipped"]
        told = [collection.models() for collection in (one, two)]
        assert told[0] == told[1]
        assert two.add(one.folder).encoded == 0
        assert [one.facets("tag"), one.facets("n")] == [two.facets("tag"), two.facets("n")]
    again = tmp_path / "again"
    again.mkdir()
    back = copy_collection(target, again)
    assert back.vectors == done.vectors


@pytest.mark.usefixtures("full")
def test_an_interrupted_copy_goes_on(where: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_PAGE", 2)
    done = itertools.count(1)

    def ends(progress: Any) -> None:
        if next(done) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_collection(where, target, on_progress=ends)
    whole = copy_collection(where, target)
    assert (whole.files, whole.copied) == (13, 7)
    assert copy_collection(where, target).copied == 0


@pytest.mark.usefixtures("full")
def test_what_changed_since_an_interruption_is_copied_too(
    where: str, target: str, opening: Opening, paint: Paint, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_PAGE", 2)
    done = itertools.count(1)

    def ends(progress: Any) -> None:
        if next(done) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_collection(where, target, on_progress=ends)
    with opening() as collection:
        (photos / "sub0" / "0.png").unlink()
        paint("sub1/1.png", "white")
        (photos / "sub0" / "3.txt").write_text("yellow")
        (photos / "sub1" / "4.png").rename(photos / "sub1" / "moved.png")
        collection.add(photos)
    whole = copy_collection(where, target)
    assert whole.files == 12
    assert whole.copied < 12


@pytest.mark.usefixtures("full")
def test_other_collections_are_not_overwritten(where: str, target: str, tmp_path: Path) -> None:
    with open_collection(target, model=Colours(), folder=tmp_path) as other:
        other.add_items([NewItem("x", vector=[1, 2, 3])])
    with pytest.raises(UsageError, match="a collection of its own"):
        copy_collection(where, target)
    with pytest.raises(UsageError, match="another place"):
        copy_collection(where, where)


@pytest.mark.usefixtures("full")
def test_a_copy_that_was_changed_since_is_left_alone(where: str, target: str) -> None:
    copy_collection(where, target)
    with open_collection(target, model=Colours()) as other:
        other.add_items([NewItem("x", vector=[1, 2, 3])])
    with pytest.raises(UsageError, match="has been changed since"):
        copy_collection(where, target)


@pytest.mark.usefixtures("full")
def test_damage_on_the_way_is_found_and_mended(
    where: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = copying._Copying._put

    def damaging(self: Any, file: Any, content: Any, fields: Any) -> None:
        if file.image and content.image[0]:
            content.image[0] = bytes(len(content.image[0]))
        real(self, file, content, fields)

    with monkeypatch.context() as patched:
        patched.setattr(copying._Copying, "_put", damaging)
        with pytest.raises(CollectionError, match="does not hold what"):
            copy_collection(where, target)
    assert copy_collection(where, target).copied == 12


_KILLED = """
import os, signal, sys
from diptych.__main__ import main
from diptych.engine import copying
left, real = int(sys.argv.pop()), copying._Copying._put
def put(*given):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given)
copying._Copying._put = put
sys.exit(main())
"""


def test_killed_at_any_moment_it_goes_on(where: str, target: str, opening: Opening) -> None:
    rng = np.random.default_rng(0)
    with opening() as collection:
        collection.add_items(
            (NewItem(str(n), vector=rng.random(3), texts=[f"text {n}"]) for n in range(1200)), batch_size=400
        )
    command = [sys.executable, "-c", _KILLED, "copy", where, target, "--json"]
    for puts in (1, 700, 300):  # in the first batch, in a later one, and having gone on
        killed = subprocess.run([*command, str(puts)], capture_output=True, text=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = subprocess.run([*command, "0"], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert (told["images"], told["texts"], told["vectors"]) == (1200, 1200, 2400)
    assert 0 < told["copied"] < 1200, "what was committed before is not copied again"
