"""Which option of the command line sets an argument of the library."""

from __future__ import annotations

from diptych.errors import DiptychError

__all__ = ["OPTIONS", "told"]

OPTIONS = {
    "add_model": "--add-model",
    "captioner": "--captioner",
    "device": "--device",
    "features": "--features",
    "image": "--image",
    "index": "--index",
    "llm": "--llm",
    "model": "--model",
    "port": "--port",
    "pairs": "--pairs or --captions",
    "processes": "--processes",
    "rebuild": "--rebuild",
    "run": "--out",
    "settings": "--set",
    "token": "--token",
    "trust": "--trust",
}
"""By the name that the library's errors give in `argument`."""


def told(error: DiptychError) -> str:
    """The error's sentence, and the option that it is about."""
    option = OPTIONS.get(error.argument)
    return f"{error} (option {option})" if option else str(error)
