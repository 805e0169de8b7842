"""Language models on the command line, behind a real server on this machine that may die at any moment."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from diptych.cli._llm import budget_of
from diptych.engine.sessions import Session, sessions_in
from diptych.errors import UsageError
from llm_servers import Request, serving

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DIPTYCH_LLM", "DIPTYCH_LLM_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def photos(tmp_path: Path, run: Run) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("red", "green", "blue"):
        Image.new("RGB", (64, 48), name).save(folder / f"{name}.png")
    assert run("index", str(folder), "-q")[0] == 0
    return folder


def replying(request: Request) -> None:
    """Plays every part that the commands ask for."""
    messages = request.body["messages"]
    rule, last = str(messages[0]["content"]), str(messages[-1]["content"])
    if "new short question" in rule:
        request.say(f"Is it number {len(re.findall('Question:', last))}?")
    elif "JSON list" in last:
        request.say("[3, 2, 1]")
    elif "yes or no" in last:
        request.say("yes")
    elif "Describe" in last:
        request.say("a red wall")
    else:
        request.say("Caption: a blue wall\nEdited description: a blue wall\nDescription: a blue wall")


@pytest.fixture
def server() -> Iterator[tuple[str, list[Request]]]:
    with serving(replying) as (url, seen):
        yield f"llm:{url}#m", seen


def first(out: str) -> str:
    return Path(json.loads(out)["results"][0]["path"]).stem


def test_words_are_expanded(photos: Path, run: Run, server: tuple[str, list[Request]]) -> None:
    code, out, _ = run("search", "sea", "--expand", "--llm", server[0], "--in", str(photos), "--json")
    notes = json.loads(out)["notes"]
    assert code == 0
    assert notes["rewritten"] == "a blue wall"
    assert notes["usage"]["prompt_tokens"] == 11
    _, _, err = run("search", "sea", "--expand", "--llm", server[0], "--in", str(photos))
    assert "searched: a blue wall" in err
    assert len(server[1]) == 1, "the reply is in the collection's cache"


def test_a_picture_and_a_change_are_composed(
    photos: Path, run: Run, server: tuple[str, list[Request]]
) -> None:
    red = str(photos / "red.png")
    given = "--image", red, "--compose", "--llm", server[0], "--in", str(photos)
    code, out, err = run("search", "but blue", *given, "--json")
    assert code == 0
    assert json.loads(out)["notes"]["caption"] == "a red wall"
    assert json.loads(out)["notes"]["rewritten"].startswith("a blue wall")
    assert err == ""


def test_the_first_hits_are_judged(photos: Path, run: Run, server: tuple[str, list[Request]]) -> None:
    plain = json.loads(run("search", "red", "--in", str(photos), "--json")[1])["results"]
    given = "search", "red", "--in", str(photos), "--json", "--llm", server[0]
    found = json.loads(run(*given, "--rerank", "llm-list")[1])["results"]
    assert [one["path"] for one in found] == [one["path"] for one in plain][::-1]
    notes = json.loads(run(*given, "--rerank", "llm")[1])["notes"]
    assert notes["usage"]["calls"] == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--llm", "llm:x"), "--llm says nothing of a plain search"),
        (("--budget", "calls=1"), "--budget says nothing of a plain search"),
        (("--expand",), "needs a language model, and none is named; write llm:URL#MODEL"),
        (("--expand", "--llm", "gpt"), r"'gpt' names no language model.*\(option --llm\)"),
        (("--expand", "--llm", "llm:nothing.gguf"), "is not there; give the path of a GGUF file"),
        (("--expand", "--compose"), "give either"),
        (("--compose", "--llm", "llm:http://127.0.0.1:9#m"), "give one of each"),
        (
            ("--expand", "--llm", "llm:http://127.0.0.1:9#m", "--budget", "cents=3"),
            "--budget takes calls, tokens",
        ),
        (("--rerank", "vilt", "--expand"), "goes with a plain search"),
    ],
)
def test_wrong_usage_is_one_sentence(photos: Path, run: Run, given: tuple[str, ...], said: str) -> None:
    code, out, err = run("search", "sea", "--in", str(photos), *given)
    assert code in (1, 2)
    assert out == ""
    assert re.search(said, err)
    assert err.count("\n") == 1


@pytest.mark.parametrize("wrong", ["", "calls", "calls=x", "calls=1,calls=2", "dollars=1"])
def test_a_budget_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="--budget takes calls, tokens, seconds, money"):
        budget_of(wrong)
    assert budget_of("calls=3,money=0.5") == {"calls": 3, "money": 0.5}


def test_a_budget_of_nothing_and_a_dead_server_leave_the_plain_search(photos: Path, run: Run) -> None:
    plain = json.loads(run("search", "red", "--in", str(photos), "--json")[1])["results"]
    for more, reason in ((("--budget", "calls=0"), "budget"), (("--llm-seconds", "1"), "unreachable")):
        dead = "--llm", "llm:http://127.0.0.1:9#m"
        code, out, _ = run("search", "red", "--expand", *dead, *more, "--in", str(photos), "--json")
        found = json.loads(out)
        assert code == 0
        assert found["results"] == plain
        assert found["notes"]["reason"] == reason
        assert found["notes"]["degraded"]


def test_the_doctor_tells_what_a_model_can(
    run: Run, server: tuple[str, list[Request]], tmp_path: Path
) -> None:
    facts = json.loads(run("doctor", str(tmp_path), "--llm", server[0], "--json")[1])["language model"]
    assert facts["replies"] is True
    assert facts["pictures"] == 16
    assert facts["log-probabilities"] is False
    assert facts["on this machine"] is True
    _, out, _ = run("doctor", str(tmp_path), "--llm", "llm:http://127.0.0.1:9#m")
    assert "does not reply" in out
    assert "none (not needed)" in run("doctor", str(tmp_path))[1]


def chatting(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_a_dialogue_asks_back_and_is_resumed(
    photos: Path, run: Run, server: tuple[str, list[Request]], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = "chat", "--in", str(photos), "--llm", server[0], "--session", "mine"
    chatting(
        monkeypatch, "a wall", "", "/more 9", "/nonsense", "yes", "/undo", "no", "/more 1", "/quit", "never"
    )
    code, out, err = run(*given)
    assert code == 0
    assert out.count("Is it number 0?") == 1
    assert "searched: a blue wall" in err
    assert "by their ranks from 1 to" in err
    assert "there is no /nonsense" in err
    assert "taken back: yes" in err
    assert "2 calls" in err
    chatting(monkeypatch)
    assert run(*given)[0] == 2
    chatting(monkeypatch, "large")
    code, out, err = run(*given, "--resume", "--json")
    turn = json.loads(out.splitlines()[0])
    assert (turn["said"], turn["kind"]) == ("large", "say")
    assert turn["results"]
    assert "mine  4 turns  a wall" in run("chat", "--in", str(photos), "--list")[1]


def test_without_a_model_questions_come_from_a_list(
    photos: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    chatting(monkeypatch, "a wall", "red", "/restart", "/undo", "/help")
    code, out, err = run("chat", "--in", str(photos), "-k", "1")
    assert code == 0
    assert "What colours stand out?" in out
    assert "questions come from a list" in err
    assert "begun anew" in err
    assert "there is no turn to take back" in err


@pytest.mark.parametrize("victim", ["server", "chat"])
def test_a_kill_in_mid_turn_costs_that_turn_alone(photos: Path, run: Run, victim: str) -> None:
    reached, release = threading.Event(), threading.Event()

    def answer(request: Request) -> None:
        if "third" not in json.dumps(request.body):
            replying(request)
            return
        reached.set()
        if victim == "chat":
            release.wait(60)
        request.handler.connection.close()  # as of a process that is gone

    with serving(answer) as (url, _):
        chat = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "diptych",
                "chat",
                "--in",
                str(photos),
                "--llm",
                f"llm:{url}#m",
                "--session",
                "mine",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
        )
        assert chat.stdin is not None
        chat.stdin.write("first\nsecond\nthird\n")
        chat.stdin.flush()
        assert reached.wait(120)
        if victim == "chat":
            chat.send_signal(signal.SIGKILL)
            release.set()
        chat.stdin.close()
        assert chat.stdout is not None
        assert chat.stderr is not None
        said, told = chat.stdout.read(), chat.stderr.read()
        chat.wait(120)
        chat.stdout.close()
        chat.stderr.close()
    with_place = next(iter(sessions_in(next(photos.glob(".diptych"))).values()))
    turns = [turn.said for turn in Session(with_place).turns]
    assert turns[:2] == ["first", "second"]
    if victim == "chat":
        assert turns == ["first", "second"]
    else:  # the turn goes on without its model
        assert turns == ["first", "second", "third"], (said, told)
        assert "without the language model's help" in told
        assert "Traceback" not in told
