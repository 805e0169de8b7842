"""Lists made to hurt: ten times the size takes about ten times the time, and none ends a run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from diptych.media.captions import Sidecars

LISTS: dict[str, tuple[str, Callable[[int], str]]] = {
    "names of nothing": ("csv", lambda n: "\n".join(["image,caption", *(f"{i}.jpg,c" for i in range(n))])),
    "one picture": ("csv", lambda n: "image,caption\n" + "".join(f"a.jpg,c{i}\n" for i in range(n))),
    "columns": ("csv", lambda n: f"image,caption{',k' * n}\n" + f"a.jpg,c{',x' * n}\n" * 3),
    "quotes in a line": ("csv", lambda n: "image,caption\n" + 'a.jpg,"' * n + "\n"),
    "quotes never closed": ("tsv", lambda n: "image\tcaption\n" + 'a.jpg\t"x\n' * n),
    "a list in a cell": ("csv", lambda n: f"image,caption\na.jpg,\"[{chr(39) * 2 * n}]\"\n"),
    "delimiters": ("csv", lambda n: ";" * n + "\na;b\n"),
    "levels of folders": ("csv", lambda n: "image,caption\n" + "d/" * n + "a.jpg,c\n"),
    "names of JSON": ("json", lambda n: json.dumps({f"k{i}": "v" for i in range(n)})),
    "fields of JSON": (
        "jsonl", lambda n: "\n".join(f'{{"image": "a.jpg", "text": "c", "k{i}": 1}}' for i in range(n)),
    ),
}  # fmt: skip


def seconds(folder: Path, ending: str, text: str) -> float:
    folder.mkdir()
    (folder / "a.jpg").touch()
    (folder / f"captions.{ending}").write_text(text)
    started = time.process_time()
    Sidecars(folder).of(folder / "a.jpg")
    return time.process_time() - started


@pytest.mark.parametrize("kind", LISTS)
def test_time_grows_with_size(tmp_path: Path, kind: str) -> None:
    ending, text = LISTS[kind]
    small = max(seconds(tmp_path / "small", ending, text(800)), 0.005)
    assert seconds(tmp_path / "large", ending, text(8_000)) < 40 * small  # a hundred times, if quadratic


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl", "txt"])
@pytest.mark.parametrize("character", [",", "a", '"', " ", "[", "{", "\u2028", "\r"])
def test_a_line_without_end_ends_nothing(tmp_path: Path, ending: str, character: str) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "a.txt").write_text("beside it\n")
    for text in (character * 200_000, f"image,caption\na.jpg,{character * 200_000}\n"):
        (tmp_path / f"captions.{ending}").write_text(text, newline="")
        assert Sidecars(tmp_path).of(tmp_path / "a.jpg")[0] == "beside it"
