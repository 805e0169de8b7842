"""What is public is listed, and its doors are typed."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest
from mypy import api

import diptych

SRC = Path(diptych.__file__).parent


PACKAGES, MODULES = [], []
for _, found, is_package in pkgutil.walk_packages([str(SRC)], "diptych."):
    if not found.endswith("__main__"):
        (PACKAGES if is_package else MODULES).append(found)


def test_the_root_lists_its_names_sorted_and_all_resolve() -> None:
    assert diptych.__all__ == sorted(diptych.__all__)
    assert dir(diptych) == diptych.__all__
    assert {*diptych._PUBLIC, "__version__", "errors"} == set(diptych.__all__)
    for name in diptych.__all__:
        assert getattr(diptych, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = diptych.nothing


def test_the_root_has_every_error() -> None:
    assert set(diptych.errors.__all__) <= set(diptych.__all__)
    for name in diptych.errors.__all__:
        assert getattr(diptych, name) is getattr(diptych.errors, name)


def test_what_modules_and_packages_list_is_there_and_handed_on_from_a_module() -> None:
    public: set[str] = set()
    for name in MODULES:
        module = importlib.import_module(name)
        listed: list[str] = getattr(module, "__all__", [])
        assert not [one for one in listed if not hasattr(module, one)], name
        public |= set(listed)
    for name in PACKAGES:
        package = importlib.import_module(name)
        listed = getattr(package, "__all__", [])
        assert len(listed) == len(set(listed)), name
        assert not [one for one in listed if not hasattr(package, one)], name
        own = {key for key, value in vars(package).items() if getattr(value, "__module__", "") == name}
        assert set(listed) <= own | public, (name, set(listed) - own - public)


WRONG = """\
import diptych

with diptych.open("photos") as collection:
    collection.search("x", image=3)
    collection.search(["a", "b"])
    collection.search("x", to="pictures")
    collection.search("x", k="3")
    collection.search_many([3])
    collection.add(3)
    collection.watch(recursiv=True)
diptych.open(3)
diptych.open("photos", model=3)
diptych.load(3)
diptych.evaluate(diptych.load("builtin"), 3)
"""

RIGHT = """\
from pathlib import Path

import numpy as np
from PIL import Image

import diptych

with diptych.open("photos", model="builtin") as collection:
    found: diptych.Results = collection.search("x", image=["a.jpg", Path("b.jpg"), b"..."], k=3)
    found = collection.search(Path("a.jpg"), to="text")
    found = collection.search(Image.new("RGB", (9, 9)))
    found = collection.search(np.zeros((9, 9, 3), np.uint8))
    several: list[diptych.Results] = collection.search_many(["a dog", Path("a.jpg"), diptych.Item(text="x")])
    summary: diptych.Summary = collection.add("photos", recursive=False)
try:
    diptych.load("nothing")
except diptych.UnknownName as error:
    print(error)
"""


def test_wrong_arguments_fail_the_type_check(tmp_path: Path) -> None:
    wrong, right = tmp_path / "wrong.py", tmp_path / "right.py"
    wrong.write_text(WRONG)
    right.write_text(RIGHT)
    root = SRC.parents[1]
    # With what `make check` has cached, so that the whole program is not checked again.
    given = ["--config-file", str(root / "pyproject.toml"), "--cache-dir", str(root / ".mypy_cache")]
    said, problem, _ = api.run(["--strict", *given, str(wrong), str(right)])
    assert not problem
    refused = {
        int(line.split(":")[1]) for line in said.splitlines() if "wrong.py" in line and "error" in line
    }
    expected = [at for at, line in enumerate(WRONG.splitlines(), 1) if at > 3]
    assert sorted(refused) == expected, said
    assert "right.py" not in said, said
