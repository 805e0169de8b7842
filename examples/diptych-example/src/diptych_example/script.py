"""Script: a language model that replies with the lines of a file, in turn, over and over.

Name: script:FILE
Needs: nothing

For demonstrations and tests. An adapter of a real model sends the prompt somewhere, and raises
`diptych.errors.NoReply` where no reply comes.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from diptych.errors import MissingData
from diptych.llm import Abilities, Prompt, Reply, Usage

__all__ = ["Script"]


class Script:
    """Replies from a file.

    Args:
        where: The file, as it stands after the colon of its name.

    Raises:
        MissingData: there is no such file, or nothing in it.
    """

    def __init__(self, where: str) -> None:
        path = Path(where).expanduser()
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        if not lines:
            raise MissingData(f"{where} has no lines to reply with; write script:FILE", argument="llm")
        self.name = f"script:{path.name}"
        self.abilities = Abilities(pictures=0, logprobs=False, local=True)
        self._lines = itertools.cycle(lines)

    def reply(self, prompt: Prompt) -> Reply:
        """The next line."""
        said = next(self._lines)
        return Reply(said, usage=Usage(1, len(str(prompt).split()), len(said.split())))
