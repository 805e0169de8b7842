"""Time-out, further attempts, budget, cache and tape."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.errors import BadData, MissingData, NoReply, UsageError
from diptych.llm import Budgeted, Cached, Prompt, Reply, Retrying, Tape, Timed, Token, Usage, asked
from diptych.llm.kept import key_of
from diptych.testing import Faulty, Scripted


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_a_model_that_hangs_is_left() -> None:
    released = threading.Event()

    def hang(prompt: Prompt) -> str:
        released.wait(20)
        return "late"

    model = Timed(Scripted(hang), 0.05)
    with pytest.raises(NoReply, match=r"did not reply within 0\.05 seconds") as caught:
        model.reply(asked("?"))
    released.set()
    assert (caught.value.reason, caught.value.again) == ("timeout", 0)


def test_a_model_in_time_is_told_how_much_time_it_has() -> None:
    inner = Scripted("yes")
    assert Timed(inner, 20).reply(asked("?", seconds=7)).text == "yes"
    assert inner.prompts[0].seconds == 7
    with pytest.raises(AssertionError, match="call 1"):
        Timed(Scripted([])).reply(asked("?"))
    with pytest.raises(UsageError, match="some time"):
        Timed(inner, 0)


def test_it_asks_again_with_growing_waits_that_are_drawn() -> None:
    clock = Clock()
    inner = Faulty(["timeout", "unreachable", "fine"])
    model = Retrying(inner, sleep=clock.sleep, clock=clock, seed=0)
    assert model.reply(asked("?")).text == "fine"
    assert len(clock.slept) == 2
    assert 0 <= clock.slept[0] <= 0.5
    assert 0 <= clock.slept[1] <= 1.0


def test_it_gives_up_after_its_attempts_and_where_asking_again_is_useless() -> None:
    clock = Clock()
    inner = Faulty(["timeout"])
    with pytest.raises(NoReply, match="in time"):
        Retrying(inner, sleep=clock.sleep, clock=clock).reply(asked("?"))
    assert len(inner.prompts) == 3
    inner = Faulty(["overflow"])
    with pytest.raises(NoReply, match="length"):
        Retrying(inner, sleep=clock.sleep, clock=clock).reply(asked("?"))
    assert len(inner.prompts) == 1


def test_it_waits_as_long_as_the_server_says_but_never_beyond_its_time() -> None:
    clock = Clock()

    def busy(prompt: Prompt) -> Reply:
        raise NoReply("busy", reason="unreachable", again=25)

    with pytest.raises(NoReply, match="busy"):
        Retrying(Scripted(busy), sleep=clock.sleep, clock=clock, within=60).reply(asked("?"))
    assert clock.slept == [25, 25]
    clock = Clock()
    inner = Scripted(busy)
    with pytest.raises(NoReply, match="busy"):
        Retrying(inner, sleep=clock.sleep, clock=clock, within=20).reply(asked("?"))
    assert (clock.slept, len(inner.prompts)) == ([], 1)
    assert inner.prompts[0].seconds == 20


@pytest.mark.parametrize(
    ("limits", "calls"),
    [({"calls": 2}, 2), ({"tokens": 20}, 2), ({"money": 0.5}, 1), ({"seconds": 2.5}, 3), ({"calls": 0}, 0)],
)
def test_a_budget_ends(limits: dict[str, float], calls: int) -> None:
    inner = Scripted(lambda prompt: Reply("yes", usage=Usage(1, 9, 1, 1.0, 0.5)))
    model = Budgeted(inner, **limits)  # type: ignore[arg-type]
    for _ in range(calls):
        model.reply(asked("?"))
    for _ in range(2):
        with pytest.raises(
            NoReply, match=f"the budget of .* {next(iter(limits))} for scripted is spent"
        ) as caught:
            model.reply(asked("?"))
        assert (caught.value.reason, caught.value.again) == ("budget", None)
    assert len(inner.prompts) == calls == model.spent.calls


def test_failures_count_and_a_negative_budget_is_refused() -> None:
    model = Budgeted(Faulty(["timeout"]), calls=1)
    with pytest.raises(NoReply, match="in time"):
        model.reply(asked("?"))
    assert model.spent.calls == 1
    with pytest.raises(NoReply, match="spent"):
        model.reply(asked("?"))
    with pytest.raises(UsageError, match="budget of money"):
        Budgeted(Scripted("x"), money=-1)
    with pytest.raises(UsageError, match="budget of calls"):
        Budgeted(Scripted("x"), calls=float("nan"))  # type: ignore[arg-type]


def test_calls_of_many_threads_never_go_beyond_the_budget() -> None:
    inner = Scripted("yes")
    model = Budgeted(inner, calls=10)
    spent: list[str] = []

    def ask() -> None:
        try:
            model.reply(asked("?"))
        except NoReply as error:
            spent.append(error.reason)

    threads = [threading.Thread(target=ask) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(inner.prompts), len(spent)) == (10, 20)


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    inner = Scripted(
        lambda prompt: Reply("yes", (Token("yes", -0.1, {"no": -2.5}),), "length", Usage(1, 9, 1, 2.0))
    )
    model = Cached(inner, tmp_path)
    first, second = model.reply(asked("?")), model.reply(asked("?"))
    assert len(inner.prompts) == 1
    assert (second.text, second.tokens, second.finish) == (first.text, first.tokens, first.finish)
    assert second.usage == Usage()
    model.reply(asked("?", temperature=1))
    model.reply(asked("?", temperature=1))
    assert len(inner.prompts) == 3


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"text": "x"}', '{"text": 1, "finish": 2, "usage": {"a": 1}}']
)
def test_a_damaged_cache_is_as_none(tmp_path: Path, content: str) -> None:
    model = Cached(Scripted("yes"), tmp_path)
    model.reply(asked("?"))
    (kept,) = tmp_path.rglob("*.json")
    kept.write_text(content)
    assert model.reply(asked("?")).text == "yes"
    assert Cached(Scripted([]), tmp_path).reply(asked("?")).text == "yes"


def test_a_cache_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert Cached(Scripted("yes"), tmp_path / "file").reply(asked("?")).text == "yes"


def test_the_key_is_of_all_that_decides_the_reply_and_of_nothing_else(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 4), "red")
    picture.save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    red, other = np.asarray(picture), np.zeros((4, 4, 3), np.uint8)
    different = [
        key_of("m", asked("?")),
        key_of("n", asked("?")),
        key_of("m", asked("!")),
        key_of("m", asked("?", "")),
        key_of("m", asked("?", system="s")),
        key_of("m", asked("?", max_tokens=3)),
        key_of("m", asked("?", temperature=1)),
        key_of("m", asked("?", stop=("x",))),
        key_of("m", asked("?", top=2)),
        key_of("m", asked("?", red)),
        key_of("m", asked("?", other)),
        key_of("m", asked("?", tmp_path / "a.png")),
    ]
    assert len(set(different)) == len(different)
    assert key_of("m", asked("?", seconds=3, heard=print)) == different[0]
    assert key_of("m", asked("?", picture)) == key_of("m", asked("?", red))
    for same in (tmp_path / "b.png", (tmp_path / "a.png").read_bytes()):
        assert key_of("m", asked("?", same)) == different[-1]
    with pytest.raises(UsageError, match="texts and pictures, not a dict"):
        key_of("m", asked({}))


def test_a_tape_replays_replies_and_failures(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    inner = Faulty(["fine", "timeout", "fine"], Scripted(lambda prompt: prompt.messages[-1].text.upper()))
    recording = Tape(path, inner)
    assert recording.reply(asked("a")).text == "A"
    with pytest.raises(NoReply, match="in time"):
        recording.reply(asked("b"))
    with pytest.raises(NoReply, match="in time"):
        recording.reply(asked("b"))  # a tape is faithful: what failed fails
    assert (recording.asked, len(inner.prompts)) == (2, 2)
    replayed = Tape(path)
    assert (replayed.name, replayed.abilities) == (inner.name, inner.abilities)
    assert replayed.reply(asked("a")) == recording.reply(asked("a"))
    with pytest.raises(NoReply, match="in time") as caught:
        replayed.reply(asked("b"))
    assert caught.value.reason == "timeout"
    with pytest.raises(NoReply, match="has no reply"):
        replayed.reply(asked("c"))


def test_a_tape_that_a_crash_cut_short_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    recording = Tape(path, Scripted(lambda prompt: prompt.messages[-1].text.upper()))
    for word in "abc":
        recording.reply(asked(word))
    path.write_bytes(path.read_bytes()[:-15])
    again = Tape(path, Scripted(lambda prompt: prompt.messages[-1].text.upper()))
    assert [again.reply(asked(word)).text for word in "abcd"] == ["A", "B", "C", "D"]
    assert again.asked == 2
    replayed = Tape(path)
    assert [replayed.reply(asked(word)).text for word in "abcd"] == ["A", "B", "C", "D"]


def test_what_is_no_tape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"no tape .* to replay"):
        Tape(tmp_path / "none.jsonl")
    (tmp_path / "other.jsonl").write_text('{"hello": 1}\n')
    (tmp_path / "empty.jsonl").write_text("")
    for name in ("other", "empty"):
        with pytest.raises(BadData, match="is no tape"):
            Tape(tmp_path / f"{name}.jsonl")
    Tape(tmp_path / "a.jsonl", Scripted("x", name="a"))
    with pytest.raises(BadData, match="a tape of a, not of b"):
        Tape(tmp_path / "a.jsonl", Scripted("x", name="b"))
