"""Dialogues about pictures: ChatIR's and VisDial's, a description and ten answered questions each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych.data.readers import tables
from diptych.errors import BadData, MissingData
from diptych.media.textfiles import parsed

__all__ = ["Told", "dialogues"]


@dataclass(frozen=True, slots=True)
class Told:
    """One dialogue.

    Args:
        picture: Name of the picture it is about.
        caption: The description that begins it.
        turns: Question with its answer, as one text each, in their order.
    """

    picture: str
    caption: str
    turns: tuple[str, ...]

    def at(self, rounds: int) -> str:
        """What is searched after so many rounds, joined by ", " as the authors' code has it."""
        return ", ".join([self.caption, *self.turns[:rounds]])


def dialogues(path: Path) -> Sequence[Told]:
    """The dialogues of a file, in its order.

    Args:
        path: JSON or JSON Lines (also ``.gz``) of objects with ``img`` and ``dialog``: the description, then
            question and answer as one text each.

    Raises:
        MissingData: there is no such file.
        BadData: it is not of this form; the message gives the row.
    """
    if not path.is_file():
        raise MissingData(f"{path} is not there; fetch it from where the dialogues' authors give it")
    rows = parsed(path.read_text(encoding="utf-8")) if path.suffix == ".json" else tables.rows(path)
    if not isinstance(rows, list):
        raise BadData(f"{path} is no list of dialogues; fetch it again")
    found = []
    for at, row in enumerate(rows, 1):
        said = row.get("dialog") if isinstance(row, dict) else None
        if not isinstance(said, list) or not said or "img" not in row:
            raise BadData(
                f"{path}, row {at}: a dialogue has img, and dialog with a description and its turns"
            )
        caption, *turns = map(str, said)
        found.append(Told(str(row["img"]), caption, tuple(turns)))
    return found
