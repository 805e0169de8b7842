"""Dialogues are kept line by line, and what was cut short is lost alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diptych.engine.sessions import Session, Turn, likes, session_of, sessions_in
from diptych.errors import BadData, CollectionError, UnknownName, UsageError


def turn(said: str, **more: object) -> Turn:
    return Turn(said, searched=said, found=(("a.jpg", 0.5),), usage={"calls": 2}, **more)  # type: ignore[arg-type]


def test_what_was_kept_is_there_again(tmp_path: Path) -> None:
    log = session_of(tmp_path, "mine")
    assert not sessions_in(tmp_path)
    for said in ("a dog", "brown"):
        log.add(turn(said, question="Which colour?", liked=("a.jpg",)))
    again = session_of(tmp_path, "mine", resume=True)
    assert again.turns == log.turns
    assert again.turns[0].at
    assert sessions_in(tmp_path) == {"mine": log.path}


def test_what_was_taken_back_stays_in_the_log_alone(tmp_path: Path) -> None:
    log = session_of(tmp_path, "mine")
    log.add(turn("a dog"))
    log.add(turn("a cat"))
    assert log.undo().said == "a cat"
    log.add(turn("brown"))
    assert [one.said for one in Session(log.path).turns] == ["a dog", "brown"]
    assert log.path.read_text().count("a cat") > 0
    log.restart()
    log.add(turn("a car"))
    assert [one.said for one in Session(log.path).turns] == ["a car"]
    log.undo()
    with pytest.raises(UsageError, match="no turn to take back"):
        log.undo()


@pytest.mark.parametrize("cut", range(2, 60, 7))
def test_a_kill_in_mid_turn_costs_that_turn_alone(tmp_path: Path, cut: int) -> None:
    log = session_of(tmp_path, "mine")
    for said in ("a dog", "brown", "in the snow"):
        log.add(turn(said))
    log.path.write_bytes(log.path.read_bytes()[:-cut])
    again = Session(log.path)
    assert [one.said for one in again.turns] == ["a dog", "brown"]
    again.add(turn("at night"))
    assert [one.said for one in Session(log.path).turns] == ["a dog", "brown", "at night"]


def test_the_end_of_a_line_alone_costs_nothing(tmp_path: Path) -> None:
    """The turn is whole, and what follows begins a line of its own."""
    log = session_of(tmp_path, "mine")
    log.add(turn("a dog"))
    log.path.write_bytes(log.path.read_bytes().rstrip(b"\n"))
    again = Session(log.path)
    assert [one.said for one in again.turns] == ["a dog"]
    again.add(turn("brown"))
    assert [one.said for one in Session(log.path).turns] == ["a dog", "brown"]


def test_the_latest_is_resumed_and_others_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no dialogue to resume"):
        session_of(tmp_path, resume=True)
    for name in ("first", "second"):
        session_of(tmp_path, name).add(turn(name))
    import os

    os.utime(tmp_path / "sessions" / "first.jsonl", (1, 1))
    assert session_of(tmp_path, resume=True).name == "second"
    assert session_of(tmp_path, "first", resume=True).turns[0].said == "first"
    with pytest.raises(UnknownName, match="did you mean first"):
        session_of(tmp_path, "fist", resume=True)


def test_new_ones_are_named_by_the_time_and_never_alike(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        log = session_of(tmp_path)
        log.add(turn("x"))
        names.append(log.name)
    assert len(set(names)) == 3


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 65, "a b"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="named by letters"):
        session_of(tmp_path, name)


@pytest.mark.parametrize(
    "content", ["hello\n", "[]\n", '{"event": "begin", "form": 99}\n', '{"event": "turn"}\n']
)
def test_what_is_no_log_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "sessions" / "mine.jsonl"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(BadData, match="no log of a dialogue"):
        Session(path)


def test_a_disk_that_takes_nothing_is_one_sentence_and_keeps_the_turns(tmp_path: Path) -> None:
    log = session_of(tmp_path / "file", "mine")
    (tmp_path / "file").write_text("")
    with pytest.raises(CollectionError, match="cannot be kept in"):
        log.add(turn("a dog"))
    assert log.turns == []


def test_what_was_said_last_of_a_result_counts() -> None:
    turns = [Turn("x", liked=("a", "b")), Turn("y", disliked=("a",)), Turn("z", liked=("c",))]
    assert likes(turns) == (["b", "c"], ["a"])


def test_later_fields_of_a_turn_are_passed_over(tmp_path: Path) -> None:
    log = session_of(tmp_path, "mine")
    log.add(turn("a dog"))
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    lines[1]["mood"] = "good"
    log.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert Session(log.path).turns == log.turns
