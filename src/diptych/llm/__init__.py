"""Language models as parts that can be replaced: one protocol, adapters, and wrappers that are models too."""

from diptych.llm.protocol import (
    Abilities,
    LanguageModel,
    Message,
    Prompt,
    Reply,
    Token,
    Usage,
    asked,
    assistant,
    system,
    user,
)
from diptych.llm.untrusted import RULE, fenced, one_line

__all__ = [
    "RULE",
    "Abilities",
    "LanguageModel",
    "Message",
    "Prompt",
    "Reply",
    "Token",
    "Usage",
    "asked",
    "assistant",
    "fenced",
    "one_line",
    "system",
    "user",
]
