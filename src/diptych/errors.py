"""Everything Diptych raises on purpose.

DiptychError
├── UsageError            what the user typed cannot be done
│   ├── UnknownName       no system, variant, data set, protocol ... of that name (lists the nearest)
│   └── BadParameter      a hyper-parameter that does not exist or has the wrong type
├── MissingExtra          an optional package is not installed (holds the install command)
├── PluginError           a package that adds to Diptych does not work (says which, and what is wrong)
├── MissingData           files of a data set or model are absent (says where they come from and go)
├── BadData               files are there but not what they should be
├── ImageError            one picture cannot be read (holds path and reason)
├── Unreachable           a part of an index, or a cluster, does not answer
├── CollectionError       a collection cannot be used
│   ├── CollectionBusy    another process is writing to it
│   ├── WrongModel        it was indexed with another model
│   ├── TooNew            it was written by a later version of Diptych
│   └── ConnectionLost    the server that it lives on does not answer
├── ServerError           a server does not answer, or refuses (holds the kind)
├── NoReply               a language model gave no reply that can be used (holds the reason)
└── TrainingError         training cannot go on (a term that is not finite, a run folder that does not fit)

Each message says what was wrong, what was given, what is allowed and what to do next, in one or two
sentences. The library raises; only the command line prints.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BadData",
    "BadParameter",
    "CollectionBusy",
    "CollectionError",
    "ConnectionLost",
    "DiptychError",
    "ImageError",
    "MissingData",
    "MissingExtra",
    "NoReply",
    "PluginError",
    "ServerError",
    "TooNew",
    "TrainingError",
    "UnknownName",
    "Unreachable",
    "UsageError",
    "WrongModel",
]


class DiptychError(Exception):
    """Base of every error that Diptych raises on purpose; its text is one clear sentence.

    Args:
        text: The sentence.
        argument: Name of the argument that would have to be another, if there is one ("features"). The
            command line says which of its options that is.
    """

    def __init__(self, text: str, *, argument: str = "") -> None:
        self.argument = argument
        super().__init__(text)


class UsageError(DiptychError):
    """What was asked for cannot be done as it was asked."""


class UnknownName(UsageError):
    """A name that nothing answers to; the message lists the nearest names.

    Args:
        kind: What was looked for, in the singular ("system", "data set").
        name: What was given.
        known: Every name that would have been accepted.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        near = difflib.get_close_matches(name, self.known, n=3, cutoff=0.5)
        if near:
            hint = f"did you mean {' or '.join(near)}?"
        elif self.known:
            hint = f"known: {', '.join(self.known)}."
        else:
            hint = "none is known."
        what, of, whose = kind.partition(" of ")
        super().__init__(f"there is no {what} {name!r}{of}{whose}; {hint}")


class BadParameter(UsageError):
    """A hyper-parameter that does not exist, or has a value of the wrong type."""


class MissingExtra(DiptychError):
    """An optional package is needed and not installed.

    Args:
        purpose: What it was needed for ("reading HEIC pictures").
        extra: Name of the extra that brings it.
    """

    def __init__(self, purpose: str, extra: str) -> None:
        self.purpose, self.extra = purpose, extra
        super().__init__(f"{purpose} needs an optional package: pip install 'diptych[{extra}]'")


class PluginError(DiptychError):
    """What a package of somebody else announces cannot be used; the message names both, and the fault."""


class MissingData(DiptychError):
    """Files are absent; the message says which, where they come from and where to put them."""


class BadData(DiptychError):
    """Files are present but are not what they should be; the message names file and fault."""


class ImageError(DiptychError):
    """One picture cannot be read.

    Args:
        path: The picture, as the user named it.
        reason: Why, in a few words.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}")


class Unreachable(DiptychError):
    """What is on another machine does not answer: a part of an index, or a cluster; it may again, later."""


class CollectionError(DiptychError):
    """A collection cannot be used as asked."""


class CollectionBusy(CollectionError):
    """Another process is writing to the collection."""


class WrongModel(CollectionError):
    """The collection holds vectors of another model."""


class TooNew(CollectionError):
    """The collection was written by a later version of Diptych."""


class ConnectionLost(CollectionError):
    """The server that the collection lives on does not answer, or no longer."""


class ServerError(DiptychError):
    """A server of collections does not answer, or refuses what is asked of it.

    Args:
        text: The sentence.
        kind: What it is called: "Away" (no answer), "Unauthorized", "Forbidden", "NotFound", "Gone",
            "TooLarge", "Busy", "Late", "Stopping", "Failed" (a job) or "Internal".
    """

    def __init__(self, text: str, *, kind: str) -> None:
        self.kind = kind
        super().__init__(text)


class NoReply(DiptychError):
    """A language model gave no reply that can be used.

    Args:
        text: The sentence.
        reason: Why, in a word: "timeout", "unreachable", "key" (none or a wrong one), "rejected" (the model
            takes no such prompt), "context_overflow", "parse", "refusal", "budget", "pictures" (they may not
            leave this machine, or the model cannot see).
        again: Seconds after which asking again may help, at least; None where it will not.
    """

    def __init__(self, text: str, *, reason: str, again: float | None = None) -> None:
        self.reason, self.again = reason, again
        super().__init__(text)


class TrainingError(DiptychError):
    """Training cannot go on."""
