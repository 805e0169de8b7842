"""Optional packages: there, not there, and there but broken."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from diptych.errors import MissingExtra
from diptych.optional import optional


def test_a_module_that_is_there() -> None:
    assert optional("importlib.metadata", "reading versions", "data").version("numpy")


def test_one_that_is_not_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"^reading HDF5 files needs .* pip install 'diptych\[data\]'$"):
        optional("h5py", "reading HDF5 files", "data")


def test_an_extra_that_does_not_bring_the_module_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"pip install 'diptych\[towers\]'$"):
        optional("transformers", "running a tower", "hub")


def test_a_broken_package_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        optional("broken_package", "anything", "data")
