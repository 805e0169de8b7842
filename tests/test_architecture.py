"""The layer rules hold, and the tool that says so notices when they are broken."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    # The linter analyses whatever `diptych` its working folder imports first.
    code = (
        "import sys; sys.path.insert(0, 'src'); from importlinter.cli import lint_imports_command as c; c()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "weights"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_layers_hold(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("similarity.py", "import diptych.pipeline", "Lower layers never import upper ones"),
        ("catalogue/loading.py", "def late():\n    import torch", "Torch stays where training is"),
        ("systems/hashing/dcmh.py", "import diptych.systems.hashing.dsph", "Systems never import each other"),
        ("data/sets/wikipedia.py", "import diptych.data.sets.flickr8k", "Data sets never import each other"),
        ("cli/index.py", "import diptych.cli.search", "Commands never import each other"),
        ("towers/onnx.py", "def late():\n    import torch", "Torch stays where training is"),
        ("cli/index.py", "import diptych.testing", "Lower layers never import upper ones"),
        ("engine/scan.py", "import diptych.testing", "Lower layers never import upper ones"),
        ("novel.py", '"""A module without a place."""', "Lower layers never import upper ones"),
    ],
)
def test_a_broken_rule_is_reported(copy: Path, file: str, line: str, contract: str) -> None:
    with (copy / "src" / "diptych" / file).open("a") as source:
        source.write(f"\n\n{line}\n")
    done = lint(copy)
    assert done.returncode == 1
    assert any(contract in row and "BROKEN" in row for row in done.stdout.splitlines()), done.stdout


def layers() -> list[list[str]]:
    """The layers, top first; those in brackets are still to come."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    written = project["tool"]["importlinter"]["contracts"][0]["layers"]
    split = [[name for name in line.split(" | ") if not name.startswith("(")] for line in written]
    return [line for line in split if line]


def test_contributors_are_told_the_same_layers() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    told = text.split("```text\n")[1].split("```")[0].split()
    assert " ".join(told) == " ".join(", ".join(line) for line in layers())


def test_no_import_by_name_hides_an_upper_layer() -> None:
    height = {name: -at for at, line in enumerate(layers()) for name in line}
    for path in sorted((ROOT / "src" / "diptych").rglob("*.py")):
        own = path.relative_to(ROOT / "src" / "diptych").parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module")):
                continue
            match = re.search(r"diptych\.(\w+)", ast.unparse(node.args[0]))
            if match and match[1] != own:
                assert height[match[1]] < height[own], f"{path}, line {node.lineno}: {match[0]}"


@pytest.mark.parametrize(
    "module", ["diptych", "diptych.catalogue", "diptych.pipeline", "diptych.engine.collection"]
)
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    heavy = {
        "torch",
        "transformers",
        "onnxruntime",
        "faiss",
        "matplotlib",
        "typer",
        "rich",
        "scipy",
        "sklearn",
    }
    code = (
        f"import sys, {module}; found = {heavy!r} & set(sys.modules); sys.exit(repr(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_tests_lie_where_the_source_lies() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests")
        assert (ROOT / "src" / "diptych" / folder / "__init__.py").is_file(), f"{path} has no counterpart"


def test_no_test_is_skipped_for_want_of_what_make_test_installs() -> None:
    """A broken installation must fail."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    for names in project["project"]["optional-dependencies"].values():
        asked.extend(names)
    installed = {re.split(r"[^\w.-]", name)[0] for name in asked}
    providing = packages_distributions()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for module in re.findall(r'importorskip\(\s*"(\w+)', path.read_text(encoding="utf-8")):
            assert module != "diptych", path
            assert not installed & set(providing.get(module, ())), f"{path} may skip for want of {module}"


def test_no_two_test_files_share_a_name() -> None:
    """Pytest imports them by their bare names."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_no_test_imports_a_conftest() -> None:
    """Each folder's is called `conftest`, so which one is meant would depend on what was collected before."""
    importing = re.compile(r"^\s*(from|import) conftest\b", re.MULTILINE)
    found = [path for path in (ROOT / "tests").rglob("*.py") if importing.search(path.read_text("utf-8"))]
    assert not found
