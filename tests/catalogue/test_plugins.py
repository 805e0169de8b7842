"""Packages of others: a healthy one is found, and what is wrong with a broken one is a sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from diptych import catalogue
from diptych.engine.homes.address import address_of
from diptych.errors import PluginError, UnknownName, UsageError
from diptych.llm import named

CARD = '"""Theirs: a part of somebody else.\n\nNeeds: nothing\n"""\n'
INDEX = (
    '__all__ = ["Theirs"]\n'
    "class Theirs:\n"
    "    def add(self): ...\n    def remove(self): ...\n    def search(self): ...\n"
)

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make a package that announces a module, whose text is given, under the name "theirs"."""

    def install(group: str, text: str | None, *, module: str = "their_part") -> None:
        if text is not None:
            (tmp_path / f"{module}.py").write_text(text)
        info = tmp_path / "their_package-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{group}]\ntheirs = {module}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install


def test_what_is_whole_is_found_and_not_imported_before_it_is_used(install: Install) -> None:
    install("diptych.indexes", CARD + INDEX)
    card = catalogue.card("index", "theirs")
    assert (card.title, card.package) == ("a part of somebody else.", "their-package 1.2")
    assert "their_part" not in sys.modules
    assert catalogue.named_by(card).__name__ == "Theirs"
    assert catalogue.faults("index") == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "the module their_part, which is not there"),
        ("x = 1\n", "has no lines 'Field: text'"),
        ('"""Theirs: no end', "is no Python that can be read"),
    ],
)
def test_what_cannot_be_found_is_told_and_costs_no_other(
    install: Install, text: str | None, fault: str
) -> None:
    install("diptych.indexes", text)
    assert set(catalogue.faults("index")) == {"theirs"}
    assert "flat" in catalogue.cards("index")
    with pytest.raises(
        PluginError, match=rf"theirs of their-package 1\.2 cannot be used: .*{fault}.*pip uninst"
    ):
        catalogue.card("index", "theirs")


def test_a_package_that_raises_when_its_part_is_looked_for_costs_no_other(
    install: Install, tmp_path: Path
) -> None:
    (tmp_path / "theirs_whole").mkdir()
    (tmp_path / "theirs_whole" / "__init__.py").write_text("raise RuntimeError('no licence found')\n")
    install("diptych.homes", None, module="theirs_whole.part")
    with pytest.raises(PluginError, match="RuntimeError: no licence found"):
        catalogue.card("home", "theirs")
    assert {"local", "postgres"} <= set(catalogue.cards("home"))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (CARD + "raise OSError('no device')\n", "OSError: no device"),
        (CARD + "import a_module_that_nobody_has\n", "ModuleNotFoundError"),
        (CARD, "names no class first in its __all__"),
        (CARD + '__all__ = ["Theirs"]\nclass Theirs: ...\n', "Theirs lacks add, remove, search"),
    ],
)
def test_what_cannot_be_used_says_why(install: Install, text: str, fault: str) -> None:
    install("diptych.indexes", text)
    with pytest.raises(PluginError, match=rf"theirs of their-package 1\.2 cannot be used: .*{fault}"):
        catalogue.named_by(catalogue.card("index", "theirs"))


def test_addresses_and_language_models_of_broken_packages_say_so(install: Install) -> None:
    install("diptych.homes", None)
    with pytest.raises(PluginError, match="it announces the module their_part"):
        address_of("theirs://somewhere")
    with pytest.raises(
        UsageError, match="begins with postgresql://, postgres://, milvus://, not with nobodys://"
    ):
        address_of("nobodys://somewhere")
    with pytest.raises(UsageError, match="names no language model"):
        named("nobodys:file")


def test_an_adapter_of_a_language_model_is_named_before_the_colon(install: Install) -> None:
    install(
        "diptych.llms",
        CARD + '__all__ = ["Theirs"]\nclass Theirs:\n    def __init__(self, where): self.name = where\n'
        "    def reply(self, prompt): ...\n",
    )
    assert named("theirs:some/file").name == "some/file"


def test_an_unknown_index_lists_the_nearest() -> None:
    with pytest.raises(UnknownName, match="no index 'flt'; did you mean flat"):
        catalogue.card("index", "flt")


def test_the_list_and_the_doctor_tell_what_is_broken(install: Install, run) -> None:
    install("diptych.llms", "x = 1\n")
    code, out, err = run("list", "llms")
    assert code == 0
    assert "llm:FILE.gguf" in out
    assert "theirs of their-package 1.2 cannot be used" in err
    code, out, _ = run("doctor")
    assert code == 1
    assert "WRONG: theirs of their-package 1.2 cannot be used" in out
