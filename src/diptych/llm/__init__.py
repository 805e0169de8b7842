"""Language models as parts that can be replaced: one protocol, adapters, and wrappers that are models too."""

from diptych.llm.asking import Answer, Unusable, ask, each, labelled, numbers, sentence
from diptych.llm.names import CAPTIONER, DEFAULT, NAMES, default_name, describing, named, ready, wanted
from diptych.llm.probing import probe
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
from diptych.llm.tapes import Cached, Tape
from diptych.llm.untrusted import RULE, fenced, one_line
from diptych.llm.wrappers import Budgeted, Retrying, Timed

__all__ = [
    "CAPTIONER",
    "DEFAULT",
    "NAMES",
    "RULE",
    "Abilities",
    "Answer",
    "Budgeted",
    "Cached",
    "LanguageModel",
    "Message",
    "Prompt",
    "Reply",
    "Retrying",
    "Tape",
    "Timed",
    "Token",
    "Unusable",
    "Usage",
    "ask",
    "asked",
    "assistant",
    "default_name",
    "describing",
    "each",
    "fenced",
    "labelled",
    "named",
    "numbers",
    "one_line",
    "probe",
    "ready",
    "sentence",
    "system",
    "user",
    "wanted",
]
