"""Names, cards and loading; a small system is written to disk where one is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from diptych import catalogue
from diptych.catalogue import Name, parse
from diptych.errors import BadParameter, MissingData, UnknownName, UsageError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("dscmr", Name("dscmr")),
        ("clip:vit-b-32", Name("clip", "vit-b-32")),
        ("clip:vit-b-32@openai", Name("clip", "vit-b-32", "openai")),
        ("dscmr@runs/a:b", Name("dscmr", None, "runs/a:b")),
        ("bi-cmr", Name("bi_cmr")),
    ],
)
def test_a_name_has_three_parts(text: str, parts: Name) -> None:
    assert parse(text) == parts


def test_a_name_without_a_system_is_refused() -> None:
    with pytest.raises(UsageError, match="names no system"):
        parse("@openai")


def test_every_card_has_a_title_fields_and_an_idea() -> None:
    for kind in ("system", "feature", "dataset"):
        for name, card in catalogue.cards(kind).items():
            assert card.title, (kind, name)
            assert card.fields, (kind, name)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean builtin"):
        catalogue.load("bultin")


def test_a_path_that_is_no_run_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"no card\.json"):
        catalogue.load(str(tmp_path))


class Example:
    def __init__(self, *, bits: int = 32, rate: float = 0.1, name: str = "x", deep: bool = False) -> None:
        self.bits = bits


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"bit": 8}, "did you mean bits"),
        ({"bits": 8.5}, "bits of Example must be a whole number like 32, not 8.5"),
        ({"bits": True}, "bits of Example must be a whole number"),
        ({"deep": 1}, "deep of Example must be true or false"),
        ({"rate": "fast"}, "rate of Example must be a number"),
    ],
)
def test_wrong_parameters_are_named(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(BadParameter, match=sentence):
        catalogue.checked(Example, given)


def test_whole_numbers_pass_for_floats() -> None:
    assert catalogue.checked(Example, {"rate": 1}) == {"rate": 1}


def test_listing_imports_no_system() -> None:
    code = (
        "import sys; from diptych import catalogue; catalogue.names('system'); "
        "bad = [m for m in sys.modules if m.startswith(('diptych.systems.', 'diptych.features.', 'torch'))]; "
        "sys.exit(repr(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_third_parties_add_systems_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_system.py").write_text(
        '"""THEIRS: A system of somebody else (A. Author, 2026).\n\n'
        'Paper: none\nInputs: anything\n\nIdea.\n"""\n'
        'VARIANTS = {"paper": {"size": 3}}\n'
        '__all__ = ["Theirs"]\n'
        "class Theirs:\n    def __init__(self, *, size=1):\n        self.size = size\n"
    )
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[diptych.systems]\ntheirs = their_system\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    card = catalogue.card("system", "theirs")
    assert (card.title, card.family, card.idea) == (
        "A system of somebody else (A. Author, 2026).",
        "third party",
        "Idea.",
    )
    assert "their_system" not in sys.modules
    assert catalogue.load("theirs").size == 3
    assert catalogue.load("theirs", size=5).size == 5
    with pytest.raises(UnknownName, match="variant 'papr' of theirs; did you mean paper"):
        catalogue.load("theirs:papr")


_WITHOUT = """
import json, sys
from diptych import catalogue
from diptych.errors import DiptychError
from diptych.optional import EXTRAS

for packages in EXTRAS.values():
    sys.modules.update(dict.fromkeys(packages))  # as if they were not installed
told = {}
for name in json.loads(sys.argv[1]):
    try:
        catalogue.load(name)
    except DiptychError as error:
        told[name] = str(error)
for kind in ("system", "feature", "dataset"):
    for name, card in catalogue.cards(kind).items():
        try:
            catalogue.named_by(card)
        except DiptychError as error:
            told[f"{kind} {name}"] = str(error)
try:
    catalogue.variant("dscmr")
except DiptychError as error:
    told["variant"] = str(error)
print(json.dumps(told))
"""


def test_without_what_an_extra_brings_every_name_says_how_to_install_it() -> None:
    published = ("clip@nobody/nothing", "align@nobody/nothing", "vilt@nobody/nothing")
    names = [*catalogue.names("system"), *catalogue.names("feature"), *published]
    ran = subprocess.run(
        [sys.executable, "-c", _WITHOUT, json.dumps(names)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    told = json.loads(ran.stdout)
    assert told["dscmr"] == told["variant"] == told["system dscmr"]
    assert told["dscmr"] == "dscmr needs an optional package: pip install 'diptych[train]'"
    assert "pip install 'diptych[hub]'" in told["clip@nobody/nothing"]
    for name in ("align@nobody/nothing", "vilt@nobody/nothing"):  # which only torch runs
        assert "pip install 'diptych[towers]'" in told[name]
    assert not {"builtin", "system builtin"} & told.keys()  # which needs none
    needing = {name for name, message in told.items() if "pip install 'diptych[" in message}
    assert {"dcmh", "acmr", "clip"} <= needing


@pytest.mark.parametrize("name", [3, None, ["builtin"]])
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(UsageError, match="loaded by its name or its folder, not by"):
        catalogue.load(name)
