"""Prompts as keys and replies as JSON, for what keeps replies: the cache and the tape."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diptych.errors import BadData, UsageError
from diptych.llm.protocol import Prompt, Reply, Token, Usage

__all__ = ["key_of", "reply_of", "told"]


def key_of(model: str, prompt: Prompt) -> str:
    """A digest of all that decides a reply: the model, what is said and shown, and how it is decoded.

    The time that a reply may take decides nothing; a picture counts by its content, not by its path.

    Args:
        model: Its name.
        prompt: What it is asked.

    Raises:
        UsageError: a part is neither text nor picture.
        OSError: a picture's file cannot be read.
    """
    digest = hashlib.sha256()

    def add(kind: str, content: bytes) -> None:
        digest.update(f"{kind} {len(content)}\n".encode())
        digest.update(content)

    add("model", model.encode())
    for message in prompt.messages:
        add("role", message.role.encode())
        for part in message.parts:
            add(*_content(part))
    decoding = (prompt.max_tokens, float(prompt.temperature), list(prompt.stop), prompt.top)
    add("decoding", json.dumps(decoding).encode())
    return digest.hexdigest()


def _content(part: Any) -> tuple[str, bytes]:
    if isinstance(part, str):
        return "text", part.encode("utf-8", "surrogatepass")
    if isinstance(part, os.PathLike):
        return "file", Path(part).read_bytes()
    if isinstance(part, bytes):
        return "file", part
    try:
        pixels = np.ascontiguousarray(part)  # an array, or a PIL picture
    except (TypeError, ValueError):
        pixels = np.array(None)
    if pixels.dtype == object:
        raise UsageError(f"a message holds texts and pictures, not a {type(part).__name__}")
    return f"pixels {pixels.shape} {pixels.dtype}", pixels.tobytes()


def told(reply: Reply) -> dict[str, Any]:
    """A reply as JSON has it."""
    found: dict[str, Any] = {"text": reply.text, "finish": reply.finish, "usage": reply.usage.as_dict()}
    if reply.tokens:
        found["tokens"] = [[one.text, one.logprob, dict(one.top)] for one in reply.tokens]
    return found


def reply_of(kept: Mapping[str, Any]) -> Reply:
    """The reply that `told` gave.

    Raises:
        BadData: it is none.
    """
    try:
        tokens = tuple(
            Token(str(text), float(logprob), {str(k): float(v) for k, v in top.items()})
            for text, logprob, top in kept.get("tokens", ())
        )
        return Reply(str(kept["text"]), tokens, kept["finish"], Usage(**kept["usage"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadData(f"this is no reply that was kept ({error})") from error
