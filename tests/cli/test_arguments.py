"""The library names the argument, the command line the option."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from diptych.__main__ import main
from diptych.cli._arguments import OPTIONS, told
from diptych.errors import BadData, UsageError

# The command line, its start, and the pages, whose style sheets have variables that look alike.
SPEAKS = {"cli", "__main__.py", "report"}
SOURCE = Path(__file__).parents[2] / "src" / "diptych"


def test_an_error_about_an_argument_names_its_option() -> None:
    assert told(UsageError("extract features first", argument="features")) == (
        "extract features first (option --features)"
    )
    assert told(BadData("half a file")) == "half a file"
    assert told(UsageError("never", argument="nothing of the kind")) == "never"


def test_the_command_line_says_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "card.json").write_text("{}")
    monkeypatch.setattr("sys.argv", ["diptych", "train", "cca", "--data", "planted", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "choose another folder or remove it (option --out)" in capsys.readouterr().err


def test_an_error_about_pairs_names_both_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    files = [str(tmp_path / f"{side}.npy") for side in ("image", "text")]
    for file, count in zip(files, (30, 70), strict=True):
        np.save(file, rng.standard_normal((count, 4)))
    monkeypatch.setattr("sys.argv", ["diptych", "evaluate", "--embeddings", *files])
    with pytest.raises(SystemExit):
        main()
    assert "the number of captions of each image (option --pairs or --captions)" in capsys.readouterr().err


def test_every_argument_that_an_error_names_has_an_option() -> None:
    named = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.keyword)
                and node.arg == "argument"
                and isinstance(node.value, ast.Constant)
            ):
                named.add(node.value.value)
    assert named <= set(OPTIONS)
    assert "features" in named


@pytest.mark.parametrize(
    "path", [path for path in sorted(SOURCE.rglob("*.py")) if path.relative_to(SOURCE).parts[0] not in SPEAKS]
)
def test_no_text_of_the_library_names_an_option(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = re.search(r"(?:^|[\s`])--[a-z][a-z-]*", node.value)
            assert found is None, f"{path.name}, line {node.lineno}: {found[0]!r}"
