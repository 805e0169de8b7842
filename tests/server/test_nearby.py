"""The command line asks this user's server of the same collection, and says what it would say by itself."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from diptych.server.found import announced, running

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def indexed(photos: Path, run: Run) -> Path:
    assert run("index", str(photos), "-q")[0] == 0
    return photos


@pytest.fixture
def server(indexed: Path) -> Iterator[subprocess.Popen[str]]:
    """A server of its own process."""
    started = subprocess.Popen(
        [sys.executable, "-m", "diptych", "serve", str(indexed), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr is not None
    for line in started.stderr:
        if re.match(r"http://localhost:\d+/", line):
            break
    with started:
        yield started
        started.send_signal(signal.SIGTERM)


def asked(run: Run, *arguments: str) -> tuple[int, object]:
    code, out, err = run("search", *arguments, "--json")
    assert out, err
    facts = json.loads(out)
    del facts["seconds"]
    return code, facts


def test_a_search_is_answered_by_the_server_that_runs(
    indexed: Path, server: subprocess.Popen[str], run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = running(indexed)
    assert found is not None
    assert (found.name, found.below) == ("photos", None)
    Image.new("RGB", (30, 30), "blue").save(tmp_path / "mine.png")
    cases = [
        ("a", "red", "wall"),
        ("2:red", "0.5:blue", "--not", "0.2:green", "-k", "3"),
        ("--image", f"0.5:{tmp_path / 'mine.png'}", "red", "--all-copies"),
        ("--image", str(indexed / "red.png")),
        ("--like", "more/white.png", "--page", "2", "-k", "2"),
        ("--like", "0.5:red.png", "--like", "more/black.png", "--image-weight", "2"),
        ("--where", "width > 62"),
        ("red", "--model", "builtin"),
        ("red", "--where", "width > 1000"),
        ("red", "--min-score", "strong"),
        ("wall", "--to", "text", "--by", "words"),
        ("red", "--where", "width > 62", "--min-score", "-1"),
    ]
    mine = [asked(run, *case, "--in", str(indexed), "--here") for case in cases]
    below = asked(run, "red", "--in", str(indexed / "more"), "--here")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded here")

    monkeypatch.setattr("diptych.engine.model.Model.__init__", never)
    assert [asked(run, *case, "--in", str(indexed)) for case in cases] == mine
    assert asked(run, "red", "--in", str(indexed / "more")) == below
    code, _, err = run("search", "red", "--in", str(indexed), "--min-score", "excellent")
    assert (code, "strong, good or fair, not 'excellent'" in err) == (2, True)


def test_words_are_asked_before_anything_heavy_is_imported(
    indexed: Path, server: subprocess.Popen[str]
) -> None:
    heavy = {"numpy", "PIL", "sqlite3", "diptych.engine.collection", "diptych.catalogue"}
    code = (
        "import sys\nfrom diptych.__main__ import main\ntry:\n    main()\n"
        f"finally:\n    print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)"
    )
    cases = ["a red wall", "2:red --not blue", "--like red.png", "--where width>62"]
    for case in map(str.split, cases):
        command = [sys.executable, "-c", code, "search", *case, "--in", str(indexed), "-k", "1"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip()
        assert done.stderr.splitlines()[-1] == "[]", case


def test_what_the_server_cannot_do_is_done_here(
    indexed: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import diptych

    with diptych.open(indexed) as collection, announced([("photos", collection)], "127.0.0.1", 9, "a key"):
        assert running(indexed) is not None
        assert run("search", "red", "--in", str(indexed), "--json")[0] == 0  # nobody listens there
    assert running(indexed) is None


def test_a_note_of_a_server_that_was_killed_is_not_believed(
    indexed: Path, server: subprocess.Popen[str], run: Run
) -> None:
    assert running(indexed) is not None
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    assert running(indexed) is None
    assert run("search", "red", "--in", str(indexed))[0] == 0


def test_nobody_else_can_read_the_note(indexed: Path, tmp_path: Path) -> None:
    import diptych
    from diptych.server.found import _note

    with diptych.open(indexed) as collection, announced([("photos", collection)], "127.0.0.1", 9, "a key"):
        note = _note(collection.folder)
        assert note.stat().st_mode & 0o077 == 0
        assert json.loads(note.read_text())["key"] == "a key"
        with announced([("photos", collection)], "127.0.0.1", 10, "another"):
            found = running(collection.folder)
            assert found is not None
            assert found.key == "a key"  # the first stays
    assert not note.exists()
