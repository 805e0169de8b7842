"""What is asked of a few files costs the database the same, however many others there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from diptych.engine.collection import Collection, open_collection
from diptych.engine.homes.entries import Caption
from diptych.testing import Colours

FEW, MANY = 200, 4_000
COUNTED = [0]


class Counting(sqlite3.Connection):
    """Counts the steps of SQLite's machine, by tens."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.set_progress_handler(self._step, 10)

    @staticmethod
    def _step() -> int:
        COUNTED[0] += 10
        return 0


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Collection]]:
    """One of few and one of many pictures, ten a folder, each with a caption and a field."""
    opened = []
    with pytest.MonkeyPatch.context() as patch:
        plain = sqlite3.connect
        patch.setattr(sqlite3, "connect", lambda *args, **kw: plain(*args, **{**kw, "factory": Counting}))
        for count in (FEW, MANY):
            folder = tmp_path_factory.mktemp(str(count))
            collection = open_collection(folder, model=Colours())
            with collection.writing(), collection.home.batch():
                collection.home.put_column("main", "colours", "colours", "cosine", 3)
                for number in range(count):
                    put(collection, number)
            opened.append(collection)
        yield opened
        for collection in opened:
            collection.close()


def put(collection: Collection, number: int) -> None:
    home = collection.home
    vector = np.ones(3, np.float16).tobytes()
    file = home.put_file(b"%05d/%d.jpg" % (number // 10, number), 1, 1, number.to_bytes(16, "big"))
    home.put_image(file, vector)
    home.put_captions(file, "", [Caption(f"number {number}", vector, "own")])
    home.put_fields(file, {"camera": (f"camera {number}",)})


def add(collection: Collection) -> None:
    with collection.writing(), collection.home.batch():
        put(collection, 100_000)


def move(collection: Collection) -> None:
    home = collection.home
    with collection.writing(), home.batch():
        (file,) = [
            known.id for known in home.files(collection.folder / "00003") if known.key.endswith(b"/35.jpg")
        ]
        home.move_file(file, b"00003/new name.jpg", 1, 1)


TASKS: list[tuple[str, Callable[[Collection], Any]]] = [
    ("copies of hits", lambda one: one.home.copies(one.home.rows_of(b"00004/44.jpg"))),
    ("hits", lambda one: one.home.items(one.home.rows_of(b"00004/44.jpg"))),
    ("rows of a folder", lambda one: one.home.rows("image", under=b"00005")),
    ("files of a folder", lambda one: list(one.home.files(one.folder / "00005"))),
    ("twins", lambda one: one.home.twins((17).to_bytes(16, "big"), image=True)),
    ("one more", add),
    ("a new name", move),
]


@pytest.mark.parametrize(("name", "task"), TASKS, ids=[name for name, _ in TASKS])
def test_what_concerns_a_few_files_does_not_go_through_all(
    name: str, task: Callable[[Collection], Any], collections: list[Collection]
) -> None:
    steps = []
    for collection in collections:
        before = COUNTED[0]
        task(collection)
        steps.append(COUNTED[0] - before)
    assert steps[1] < 2 * steps[0] + 100, f"{steps[0]} steps among {FEW} pictures, {steps[1]} among {MANY}"


def test_the_steps_are_counted(collections: list[Collection]) -> None:
    before = COUNTED[0]
    assert len(collections[1].home.rows("image")) >= MANY
    assert COUNTED[0] - before > MANY
