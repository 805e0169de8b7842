"""Dialogues about a collection that outlive the process: each an append-only log of what happened.

A turn is one line, written and on the disk when the turn is whole; whoever is killed in the middle of one
loses that turn and nothing else. Taking a turn back is a line as well, so that the log tells all that
happened, and what holds now is what its lines come to.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diptych.errors import BadData, CollectionError, UnknownName, UsageError

__all__ = ["Session", "Turn", "sessions_in"]

_NAME = re.compile(r"[\w][\w.-]{0,63}", re.ASCII)
_FORM = 1


@dataclass(frozen=True)
class Turn:
    """One round of a dialogue, once it is whole.

    Args:
        said: What was typed, or which results were liked.
        kind: "say", or "like" where results were pointed at.
        question: What had been asked and is answered by it; empty if nothing was.
        searched: The text that was searched.
        ask: What is asked next; empty if nothing is.
        liked, disliked: The `id` of results pointed at.
        found: The `id` and score of the results, best first.
        usage: What it cost, as `diptych.llm.Usage.as_dict` tells.
        degraded: Why a model's help is missing; empty if it is not.
        at: When, in UTC.
    """

    said: str
    kind: str = "say"
    question: str = ""
    searched: str = ""
    ask: str = ""
    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()
    found: tuple[tuple[str, float], ...] = ()
    usage: Mapping[str, float] = field(default_factory=dict)
    degraded: str = ""
    at: str = ""


class Session:
    """The log of one dialogue.

    Args:
        path: Its file, JSON Lines; made with the first turn.

    Raises:
        BadData: the file is no log of a dialogue.

    Attributes:
        turns: Those that hold now, the first first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.turns: list[Turn] = []
        self._torn = False
        if path.is_file():
            self._read()

    @property
    def name(self) -> str:
        """By which it is resumed."""
        return self.path.stem

    def add(self, turn: Turn) -> Turn:
        """Keep a turn that is whole.

        Raises:
            CollectionError: the disk does not take it; the turn is then not kept.
        """
        turn = turn if turn.at else Turn(**{**asdict(turn), "at": _now()})
        self._append({"event": "turn", **asdict(turn)})
        self.turns.append(turn)
        return turn

    def undo(self) -> Turn:
        """Take the last turn back, and return it.

        Raises:
            UsageError: there is none.
        """
        if not self.turns:
            raise UsageError("there is no turn to take back")
        self._append({"event": "undo", "at": _now()})
        return self.turns.pop()

    def restart(self) -> None:
        """Begin anew; what was said before stays in the log."""
        if self.turns:
            self._append({"event": "restart", "at": _now()})
            self.turns.clear()

    def _append(self, event: Mapping[str, Any]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new = not self.path.exists()
            with self.path.open("a", encoding="utf-8") as file:
                if new:
                    file.write(json.dumps({"event": "begin", "form": _FORM, "at": _now()}) + "\n")
                elif self._torn:
                    file.write("\n")  # after what a kill cut short
                file.write(json.dumps(event) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self._torn = False
        except OSError as error:
            raise CollectionError(
                f"the dialogue cannot be kept in {self.path} ({error.strerror}); make room, or let its "
                "folder be written"
            ) from error

    def _read(self) -> None:
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        self._torn = bool(lines) and not lines[-1].endswith("\n")
        for at, line in enumerate(lines):
            try:
                event = json.loads(line)
                kind = event["event"]
            except (ValueError, KeyError, TypeError) as error:
                if at == 0:
                    raise BadData(
                        f"{self.path} is no log of a dialogue; remove it, or name another"
                    ) from error
                continue  # the line that a kill cut short
            if at == 0 and (kind != "begin" or event.get("form") != _FORM):
                raise BadData(f"{self.path} is no log of a dialogue that this version reads; name another")
            if kind == "turn":
                self.turns.append(_turn(event))
            elif kind == "undo" and self.turns:
                self.turns.pop()
            elif kind == "restart":
                self.turns.clear()


def _turn(event: Mapping[str, Any]) -> Turn:
    known = {name: event[name] for name in Turn.__dataclass_fields__ if name in event}
    for name in ("liked", "disliked"):
        known[name] = tuple(known.get(name, ()))
    known["found"] = tuple((str(one), float(score)) for one, score in known.get("found", ()))
    return Turn(**known)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def sessions_in(place: Path) -> dict[str, Path]:
    """The logs of a collection by name, the latest first.

    Args:
        place: The folder that holds the collection.
    """
    with contextlib.suppress(FileNotFoundError):
        found = sorted((place / "sessions").glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
        return {path.stem: path for path in reversed(found)}
    return {}


def session_of(place: Path, name: str | None = None, *, resume: bool = False) -> Session:
    """A session of a collection.

    Args:
        place: The folder that holds the collection.
        name: Of the session; None for a new one, or with `resume` the latest.
        resume: Whether it must be there already.

    Raises:
        UsageError: the name is none, or there is nothing to resume.
        UnknownName: there is no session of that name.
    """
    known = sessions_in(place)
    if resume:
        if not known:
            raise UsageError("there is no dialogue to resume; begin one")
        if name is not None and name not in known:
            raise UnknownName("dialogue", name, known)
        return Session(known[name or next(iter(known))])
    if name is None:
        name = datetime.datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")
        while name in known:
            name += "-more"
    if not _NAME.fullmatch(name):
        raise UsageError(f"a dialogue is named by letters, digits, dots and dashes, not {name!r}")
    return Session(place / "sessions" / f"{name}.jsonl")


def likes(turns: Sequence[Turn]) -> tuple[list[str], list[str]]:
    """What was liked and disliked in all turns, each once; what was said last of a result counts."""
    said: dict[str, bool] = {}
    for turn in turns:
        said |= dict.fromkeys(turn.liked, True) | dict.fromkeys(turn.disliked, False)
    return [one for one, good in said.items() if good], [one for one, good in said.items() if not good]
