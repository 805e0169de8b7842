"""What every test shares: isolated folders, one thread, and the shared data where it is present."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers import Milvus, Server, milvus_server, postgres_server, why_no_milvus

# Two threads on two busy cores made the same tiny training forty times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests begin first, those with most before all: none is waited for at the end.

    Slow tests are not traced: that takes a third of their time, and coverage is asked of the others alone.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.no_cover)


@pytest.fixture(autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the user's collections and data."""
    monkeypatch.setenv("DIPTYCH_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(autouse=True, scope="session")
def _one_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One cache for the whole run, so that the built-in towers are converted once and not in every test."""
    if "DIPTYCH_CACHE" not in os.environ:
        os.environ["DIPTYCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The shared data folder; tests that need it skip where it is absent."""
    root = Path(
        os.environ.get("DIPTYCH_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")
    ).resolve()
    if not root.is_dir():
        pytest.skip("the shared data folder is absent; set DIPTYCH_SHARED_DATA to its path")
    return root


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The command line, called in this process: its exit code, and what it printed and said."""
    from diptych.__main__ import main

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["diptych", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a CLIP checkpoint with a few thousand random weights; its pictures have 32 x 32 pixels."""
    import torch

    from diptych.towers.transformers import tiny_parts

    folder = tmp_path_factory.mktemp("tiny_clip")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for part in tiny_parts():
            part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server with pgvector, for all tests of this process; each takes collections of its own."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def milvus() -> Iterator[Milvus]:
    """A Milvus server in a network of its own, for all tests of a file; idle, it keeps a processor busy."""
    if why := why_no_milvus():
        pytest.skip(why)
    with milvus_server() as server:
        yield server
