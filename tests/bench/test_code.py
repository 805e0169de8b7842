"""Fingerprints of code: what is reached by imports, what counts of it, and what is left out."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import diptych
from diptych import catalogue
from diptych.bench import code

ROOT = Path(diptych.__file__).parent


def canonical(text: str) -> str:
    """What counts of a source text."""
    return "".join(code._canonical(ast.parse(text)))


def test_what_no_number_depends_on_does_not_count() -> None:
    plain = canonical("import a\n\n\ndef f(x):\n    return x + 1\n")
    said = 'import a\n# why\ndef f(x):\n    """Says."""\n    return (x\n            + 1)\n'
    assert plain == canonical(f'"""Text."""\n{said}"""End."""')
    assert plain == canonical("import a\nif TYPE_CHECKING:\n    import b\ndef f(x):\n    return x + 1\n")
    assert plain != canonical("import a\ndef f(x):\n    return x + 2\n")
    assert plain != canonical("import a\ndef f(y):\n    return y + 1\n")
    assert canonical("x = 'a'") == canonical('x = "a"') != canonical("x = b'a'")
    assert canonical("x = 1") != canonical("x = True")
    assert canonical("f([a], b)") != canonical("f([a, b])")
    assert canonical("if a:\n    b\nelse:\n    c") != canonical("if a:\n    b\n    c")


@pytest.mark.parametrize("system", sorted(catalogue.names("system")))
def test_every_system_reaches_what_measures_and_trains_it(system: str) -> None:
    found = code.closure("diptych.bench.run", catalogue.card("system", system).module)
    wanted = {"diptych.bench.run", "diptych.bench.signs", "diptych.training.run", "diptych.data.split"}
    wanted |= {"diptych.evaluation", "diptych.metrics.precision", "diptych.metrics.recall"}
    assert wanted <= set(found)
    assert list(found) == sorted(found)
    assert not [name for name in found if name in code.OUTSIDE]
    assert not [
        name for name in found if name.startswith(("diptych.cli", "diptych.engine", "diptych.testing"))
    ]


def test_what_is_left_out_exists_and_says_why() -> None:
    for name, reason in code.OUTSIDE.items():
        place = ROOT.joinpath(*name.split(".")[1:])
        assert place.is_dir() or place.with_suffix(".py").is_file(), name
        assert reason


def test_values_are_read_without_an_import() -> None:
    assert code.literal("diptych.systems.hashing.dcmh", "FEATURES", {})["cnn_f"] == "image=pixels,text=bow"
    assert code.literal("diptych.systems.hashing.dcmh", "NOTHING", 3) == 3
    with pytest.raises(ModuleNotFoundError, match=r"no module diptych\.nothing"):
        code.literal("diptych.nothing", "X", None)
