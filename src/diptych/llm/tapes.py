"""Language models that remember: a cache of replies, and a tape that replays a whole benchmark."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from diptych import files
from diptych.errors import BadData, MissingData, NoReply
from diptych.llm.kept import key_of, reply_of, told
from diptych.llm.protocol import Abilities, LanguageModel, Prompt, Reply, Usage
from diptych.llm.wrappers import Wrapped

__all__ = ["Cached", "Tape"]


class Cached(Wrapped):
    """Asks nothing twice; a reply that is known costs nothing.

    Only the likeliest reply (temperature 0) is kept, as others differ from call to call. A file that is
    damaged is as none.

    Args:
        inner: The model.
        folder: Where the replies are kept, a file each; made when the first is.
    """

    def __init__(self, inner: LanguageModel, folder: Path) -> None:
        super().__init__(inner)
        self.folder = folder

    def reply(self, prompt: Prompt) -> Reply:
        """The reply that is kept, or else that of the model inside.

        Raises:
            NoReply: it is not kept, and the model inside has none.
        """
        if prompt.temperature > 0:
            return self.inner.reply(prompt)
        key = key_of(self.name, prompt)
        path = self.folder / key[:2] / f"{key[2:]}.json"
        with contextlib.suppress(OSError, ValueError, BadData):
            kept = reply_of(json.loads(path.read_text(encoding="utf-8")))
            return replace(kept, usage=Usage())
        said = self.inner.reply(prompt)
        with contextlib.suppress(OSError):  # a disk that is full costs the cache, not the reply
            files.write(path, json.dumps(told(said)))
        return said


class Tape:
    """Records every reply and every failure, and replays them, so that a benchmark repeats bit for bit.

    Each line of the file is one of them, under the key of its prompt; the first says which model it was. A
    line that a crash cut short is as none.

    Args:
        path: The file, JSON Lines; made if it is not there.
        inner: Asked for what is not on the tape; None only replays.

    Raises:
        MissingData: there is no file to replay.
        BadData: the file is no tape, or that of another model.

    Attributes:
        asked: Prompts that were not on the tape.
    """

    def __init__(self, path: Path, inner: LanguageModel | None = None) -> None:
        self.path, self.inner, self.asked = path, inner, 0
        self._kept: dict[str, Any] = {}
        self._lock = threading.Lock()
        if not path.is_file():
            if inner is None:
                raise MissingData(f"there is no tape {path} to replay; record it with a language model first")
            self._head: dict[str, Any] = {"model": inner.name, "abilities": asdict(inner.abilities)}
            self._append(self._head)
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        try:
            self._head = json.loads(lines[0])
            self._abilities = Abilities(**self._head["abilities"])
            name = self._head["model"]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise BadData(f"{path} is no tape of a language model ({error}); give another file") from error
        if inner is not None and inner.name != name:
            raise BadData(f"{path} is a tape of {name}, not of {inner.name}; give another file")
        for line in lines[1:]:
            with contextlib.suppress(ValueError):
                kept = json.loads(line)
                self._kept[kept["key"]] = kept
        if inner is not None and not lines[-1].endswith("\n"):
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")  # after what a crash cut short

    @property
    def name(self) -> str:
        """That of the model whose tape it is."""
        return str(self._head["model"])

    @property
    def abilities(self) -> Abilities:
        """Those of the model whose tape it is."""
        return Abilities(**self._head["abilities"])

    def reply(self, prompt: Prompt) -> Reply:
        """The reply on the tape, or else that of the model inside.

        Raises:
            NoReply: the tape has none for such a prompt, or recorded that there was none.
        """
        key = key_of(self.name, prompt)
        with self._lock:
            kept = self._kept.get(key)
        if kept is None:
            kept = self._recorded(key, prompt)
        if "failed" in kept:
            raise NoReply(kept["text"], reason=kept["failed"])
        return reply_of(kept["reply"])

    def _recorded(self, key: str, prompt: Prompt) -> dict[str, Any]:
        self.asked += 1
        if self.inner is None:
            raise NoReply(f"the tape {self.path} has no reply to what is asked", reason="unreachable")
        try:
            kept: dict[str, Any] = {"key": key, "reply": told(self.inner.reply(prompt))}
        except NoReply as error:
            kept = {"key": key, "failed": error.reason, "text": str(error)}
        with self._lock:
            self._kept[key] = kept
            self._append(kept)
        return kept

    def _append(self, line: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
