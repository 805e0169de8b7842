"""Whatever is damaged, every door gives one sentence or the right answer, and a rebuild makes it whole."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diptych.engine.collection import open_collection
from diptych.engine.rebuild import rebuilding
from diptych.errors import DiptychError
from diptych.testing import Colours

pytestmark = pytest.mark.slow

PICTURES = 120


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with captions, codes and search files, in one file without a log."""
    folder = tmp_path_factory.mktemp("whole") / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(folder / f"{number:03}.png")
        if number % 2 == 0:
            (folder / f"{number:03}.txt").write_text(f"red {number}\n")
    with open_collection(folder, model=Colours()) as collection:
        collection.add()
        collection.make_codes(8)
        for side in ("image", "text"):
            collection.search("red", to=side)  # type: ignore[arg-type]
    with closing(
        sqlite3.connect(folder / ".diptych" / "collection.sqlite", isolation_level=None)
    ) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("PRAGMA journal_mode = DELETE")
    return folder


@pytest.fixture
def damaged(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "photos"))


def doors(folder: Path) -> dict[str, str]:
    """What each door said; anything but a sentence of ours is not caught."""
    said: dict[str, str] = {}

    def ask(name: str, door: Callable[[], Any]) -> None:
        try:
            door()
        except DiptychError as error:
            said[name] = str(error)

    def within() -> None:
        with open_collection(folder, model=Colours()) as one:
            for name, door in {
                "search": lambda: one.search("red", k=50),
                "texts": lambda: one.search("red", to="text", k=50),
                "exact": lambda: one.search("red", exact=True),
                "info": one.info,
                "length": lambda: len(one),
                "items": lambda: list(one),
                "get": lambda: one.get("003.png"),
                "vectors": lambda: one.vectors("image"),
                "add": one.add,
                "check": lambda: one.add(check=True),
                "remove": lambda: one.remove(folder / "001.png"),
                "codes": lambda: one.make_codes(8),
            }.items():
                ask(name, door)

    ask("open", within)
    return said


def can_be_rebuilt(folder: Path) -> None:
    with rebuilding(folder, model=Colours()) as fresh:
        fresh.add()
    with open_collection(folder, model=Colours()) as collection:
        assert collection.count("image") >= PICTURES - 1  # one may have been removed
        assert len(collection.search("red", k=PICTURES)) == collection.count("image")
        assert collection.info()["check"] == "ok"


@pytest.mark.parametrize("seed", range(16))
def test_bytes_of_the_file(damaged: Path, seed: int) -> None:
    path, rng = damaged / ".diptych" / "collection.sqlite", random.Random(seed)
    data = bytearray(path.read_bytes())
    if seed % 4 == 3:
        del data[rng.randrange(len(data)) :]
    else:
        for _ in range(rng.choice((1, 3))):
            page = 4096 * rng.randrange(len(data) // 4096)
            start, count = page + rng.choice((0, rng.randrange(4096))), rng.choice((4, 100, 4096))
            data[start : start + count] = rng.choice((bytes, rng.randbytes))(len(data[start : start + count]))
    path.write_bytes(data)
    doors(damaged)
    can_be_rebuilt(damaged)


CODES = "UPDATE setting SET value = {} WHERE name = 'codes'"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE setting SET value = 'x' WHERE name = 'schema'",
        "DELETE FROM setting",
        "UPDATE setting SET value = x'ff' WHERE name = 'id'",
        CODES.format("'{'"),
        CODES.format("'[]'"),
        CODES.format("""replace(value, '"bits": 8', '"bits": 0')"""),
        CODES.format("""replace(value, 'calibrations": [', 'calibrations": [3,')"""),
        CODES.format("""replace(value, '"candidates"', '"cand"')"""),
        "UPDATE setting SET value = '!!' WHERE name = 'codes_rotation'",
        "UPDATE setting SET value = substr(value, 1, 101) WHERE name = 'codes_rotation'",
        "DELETE FROM vector",
        "DELETE FROM vector WHERE row % 2",
        "UPDATE vector SET vector = 'text' WHERE row = 3",
        "UPDATE vector SET vector = zeroblob(6)",
        "UPDATE vector_column SET similarity = 'hamming'",
        "UPDATE vector_column SET similarity = 'nonsense'",
        "UPDATE vector_column SET fingerprint = x'ff'",
        "DELETE FROM vector_column",
        "DELETE FROM batch",
        "UPDATE batch SET generation = (1 << 62) WHERE generation = (SELECT max(generation) FROM batch)",
        "UPDATE batch SET token = 3",
        "DROP TABLE batch",
        "DROP TABLE removed",
        "DROP TABLE file",
        "UPDATE file SET path = 'text' WHERE id = 3",
        "UPDATE file SET path = x'ff00' WHERE id = 3",
        "UPDATE file SET hash = 3",
        "UPDATE file SET size = 'x'",
        "UPDATE file SET captions = x'ff'",
        "UPDATE item SET text = x'ff' WHERE side = 'text'",
        "UPDATE item SET text = NULL",
        "UPDATE item SET meta = 'x'",
        "UPDATE item SET file = 99999 WHERE row = 3",
        "INSERT INTO skipped VALUES ('text', x'00', 'a', 'b')",
        "INSERT INTO removed VALUES ('text')",
    ],
)
def test_what_it_says(damaged: Path, statement: str) -> None:
    with closing(sqlite3.connect(damaged / ".diptych" / "collection.sqlite")) as database:
        assert database.execute(statement).rowcount != 0
        database.commit()
    doors(damaged)
    can_be_rebuilt(damaged)


def test_the_sentence_names_the_file_and_the_way_out(damaged: Path) -> None:
    path = damaged / ".diptych" / "collection.sqlite"
    data = bytearray(path.read_bytes())
    data[8 * 4096 :] = b"\xff" * (len(data) - 8 * 4096)
    path.write_bytes(data)
    said = doors(damaged)
    assert said
    for sentence in said.values():
        assert str(path) in sentence
        assert "restore it from a copy, rebuild the collection, or delete it and index again" in sentence


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 10**18), ("count", -1), ("count", 0), ("count", "x"), ("count", True), ("width", 3),
        ("width", 0), ("width", 10**12), ("removed", "AAAA"), ("removed", "é"), ("kind", "dot"), ("seen", ""),
        ("format", 99), ("generation", 10**30), ("generation", -1), ("token", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("side", ["image", "text"])
def test_what_search_files_say_is_not_believed(damaged: Path, side: str, name: str, value: Any) -> None:
    path = damaged / ".diptych" / "search" / f"{side}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with open_collection(damaged, model=Colours()) as collection:
        assert len(collection.search("red", k=PICTURES)) == PICTURES
        assert len(collection.search("red", to="text", k=PICTURES)) == PICTURES // 2
    assert doors(damaged) == {}


@pytest.mark.parametrize("seed", range(6))
def test_damaged_codes_are_made_again(damaged: Path, seed: int) -> None:
    path, rng = damaged / ".diptych" / "search" / "image.codes", random.Random(seed)
    with open_collection(damaged, model=Colours()) as collection:
        expected = [result.id for result in collection.search("red")]
    data = bytearray(path.read_bytes())
    start = rng.randrange(len(data))
    if seed % 2:
        del data[start:]
    else:
        data[start : start + 9] = rng.randbytes(9)
    path.write_bytes(data)
    with open_collection(damaged, model=Colours()) as collection:
        assert [result.id for result in collection.search("red")] == expected
    assert doors(damaged) == {}
