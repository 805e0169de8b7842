"""Files of text that anybody wrote: the head first, within limits, named when they cannot be used."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from diptych.errors import BadData
from diptych.media import textfiles
from diptych.media.captions import Sidecars, lines
from diptych.media.tables import read_list
from diptych.media.textfiles import DEEPEST, content, decoded, parsed


def sparse(path: Path, size: int, head: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
    return path


def test_text_in_every_form(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for data in ("né\nà".encode(), "né\nà".encode("utf-8-sig"), "né\nà".encode("utf-16")):
        path.write_bytes(data)
        assert decoded(content(path)) == "né\nà"
    packed = tmp_path / "a.txt.gz"
    packed.write_bytes(gzip.compress("né\nà".encode()))
    assert decoded(content(packed)) == "né\nà"
    path.write_bytes(b"")
    assert lines(path) == []


def test_what_is_no_text_is_known_by_its_head(tmp_path: Path) -> None:
    """Reading it whole would take gigabytes of memory."""
    for name in ("notes.txt", "captions.csv"):
        path = sparse(tmp_path / name, 1 << 40)
        with pytest.raises(BadData, match="is not text"):
            (lines if name == "notes.txt" else read_list)(path)


def test_limits_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfiles, "MAX_LIST_BYTES", 1 << 20)
    bomb = tmp_path / "captions.csv.gz"
    bomb.write_bytes(gzip.compress(b"image,caption\n" + b"a.jpg,dog\n" * 300_000))
    with pytest.raises(BadData, match="at most 1 MiB"):
        read_list(bomb)
    plain = sparse(tmp_path / "a.txt", 5_000, b"x" * 4_096)
    with pytest.raises(BadData, match="too large a text file"):
        content(plain, most=4_999)
    bomb.write_bytes(bomb.read_bytes()[:100])
    with pytest.raises(BadData, match="cannot be read as text"):
        read_list(bomb)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "too deep"),
        ("[" * 100_000 + "]" * 100_000, "too deep"),
        ('{"a":' * 900 + "1" + "}" * 900, "too deep"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "too deep"),
        (f"[{'1' * 5_000}]", "limit"),
        ("[1, 2", "not JSON"),
    ],
    ids=["open", "deep", "objects", "one level too many", "long number", "cut"],
)
def test_json_that_would_end_a_run_is_refused(text: str, reason: str) -> None:
    with pytest.raises(BadData, match=reason):
        parsed(text)


def test_json_that_is_as_deep_as_allowed_is_read() -> None:
    assert parsed("[" * DEEPEST + "]" * DEEPEST) is not None
    assert parsed('{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000 + "]" * 100_000,
        json.dumps([{"image": "dog.jpg", "caption": json.loads("[" * 900 + "]" * 900)}]),
        json.dumps({"dog.jpg": json.loads("[" * 900 + "]" * 900)}),
        f'[{{"image": "dog.jpg", "caption": {"9" * 5_000}}}]',
        '[{"image": "dog.jpg", "caption": "half \\ud83d"}]',
        '[{"image": "half \\ud83d.jpg", "caption": "a dog"}]',
        '[{"image": "dog.jpg", "half \\ud83d": "a dog"}]',
        '[{"image": "zero\\u0000.jpg", "caption": "a dog"}]',
    ],
    ids=["deep", "deep cell", "deep value", "long number", "half caption", "half name", "half head", "zero"],
)
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_a_hostile_list_costs_no_other_caption(tmp_path: Path, text: str, ending: str) -> None:
    (tmp_path / "dog.jpg").touch()
    (tmp_path / "dog.txt").write_text("beside it\n")
    (tmp_path / f"captions.{ending}").write_text(text if ending == "json" else f"{text}\n{text}\n")
    found = Sidecars(tmp_path)
    assert found.of(tmp_path / "dog.jpg") == ["beside it"]
    for name in found.wrong:
        assert name.name == f"captions.{ending}"
    for reason in found.wrong.values():
        assert len(reason) < 400
