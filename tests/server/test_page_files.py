"""The files of the page: complete texts, parts that are what they claim to be, nothing from elsewhere."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

import diptych

PAGE = Path(diptych.__file__).parent / "server" / "page"
MODULES = sorted(PAGE.glob("*.mjs"))
# As their packages have them, but for a source map's name and the one name that a browser cannot find.
PARTS = {
    "preact.mjs": "86c693f569d3ec7b694002cc62d0aac3c00231cc0ab76e48f607b3c3df3f6217",
    "hooks.mjs": "a8ee1fa1736b1f61500ccc8889a03961d9c47e00d9a0c9ebd9d8294835cbb93d",
    "htm.mjs": "ab33dd3f38059b9be4d5f5350128eefb2356639c4e0bbe9d9e8b3ba75847e9e4",
}


def texts(language: str) -> dict[str, str | dict[str, str]]:
    found: dict[str, str | dict[str, str]] = json.loads(
        (PAGE / "text" / f"{language}.json").read_text("utf-8")
    )
    return found


def forms(text: str | dict[str, str]) -> list[str]:
    return list(text.values()) if isinstance(text, dict) else [text]


def test_every_text_that_is_used_is_there_and_every_one_that_is_there_is_used() -> None:
    code = "".join(module.read_text("utf-8") for module in MODULES)
    known = set(texts("en"))
    used = set(re.findall(r'(?<![\w.])(?:t|named)\(\s*"([^"]+)"', code))
    assert used <= known
    # Names that are put together are looked for by their beginnings, and others in whole as strings.
    begun = {one for one in re.findall(r"`([a-z]+(?:\.[a-z]+)*\.)\$\{", code) if one}
    lost = {
        name
        for name in known - used
        if f'"{name}"' not in code and not any(name.startswith(beginning) for beginning in begun)
    }
    assert not lost


@pytest.mark.parametrize("language", ["de"])
def test_a_translation_has_the_same_texts_with_the_same_values(language: str) -> None:
    english, other = texts("en"), texts(language)
    assert list(other) == list(english)
    for name, text in english.items():
        assert isinstance(other[name], type(text)), name
        values = {value for form in forms(text) for value in re.findall(r"\{(\w+)\}", form)}
        assert {value for form in forms(other[name]) for value in re.findall(r"\{(\w+)\}", form)} <= values, (
            name
        )
        if isinstance(text, dict):
            assert set(text) == {"one", "other"}, name
            assert set(other[name]) == {"one", "other"}, name


def test_what_others_made_is_unchanged_and_named() -> None:
    said = (PAGE / "vendor" / "LICENSES.txt").read_text("utf-8")
    for name, sha256 in PARTS.items():
        assert hashlib.sha256((PAGE / "vendor" / name).read_bytes()).hexdigest() == sha256, name
        assert name in said
    assert sorted(path.name for path in (PAGE / "vendor").glob("*.mjs")) == sorted(PARTS)


def test_nothing_stands_in_line_and_nothing_comes_from_elsewhere() -> None:
    index = (PAGE / "index.html").read_text("utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>|<style|\sstyle=|\son\w+=", index)
    for path in [PAGE / "index.html", PAGE / "page.css", *MODULES]:
        text = path.read_text("utf-8")
        assert not re.search(r"(?:src|href|url|import|fetch)\W{1,3}(?:https?:)?//", text), path.name
        for wanted in re.findall(r'from "([^"]+)"', text):
            assert wanted.startswith("./"), path.name
            assert (PAGE / wanted).is_file(), path.name
        assert "innerHTML" not in text, path.name


def test_colours_are_those_of_the_shared_style_sheet() -> None:
    from diptych.report.style import COLOURS, LOOK

    own = (PAGE / "page.css").read_text("utf-8")
    known = set(re.findall(r"(--[\w-]+):", LOOK + own)) | {"--shape", "--natural"}
    assert set(re.findall(r"var\((--[\w-]+)", own)) <= known
    assert set(re.findall(r"#[0-9a-f]{3,8}\b", own)) == set(COLOURS)  # of charts, and no others
