"""Finds out whether a model replies, and what it can, by asking it as little as possible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from diptych.errors import DiptychError, NoReply
from diptych.llm.protocol import Abilities, LanguageModel, asked

__all__ = ["probe"]

_TRIED = (1, 4, 16)  # pictures in a prompt


def probe(model: LanguageModel) -> tuple[Abilities | None, str]:
    """What a model can, and what is wrong with it.

    It is asked for one token, and, where nobody knows whether it sees, shown up to 16 tiny pictures, which
    are all of one colour and of nobody.

    Args:
        model: Is asked at most four times.

    Returns:
        Its abilities, None if it does not reply; and why not, in a sentence, empty if it does.
    """
    known = model.abilities
    try:
        reply = model.reply(asked("Reply with the word yes.", max_tokens=1, top=1, seconds=10))
    except DiptychError as error:
        return None, str(error)
    found = replace(known, logprobs=bool(reply.tokens) if known.logprobs is None else known.logprobs)
    if known.pictures is not None:
        return found, ""
    most = 0
    grey = np.full((32, 32, 3), 128, np.uint8)
    for count in _TRIED:
        try:
            model.reply(asked("Reply with the word yes.", *[grey] * count, max_tokens=1, seconds=20))
        except NoReply:
            break
        most = count
    return replace(found, pictures=most), ""
