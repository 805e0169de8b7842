"""From a name to a language model: ``llm:URL#model``, ``llm:FOLDER``, ``llm:FILE.gguf`` or a package's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from diptych import catalogue
from diptych.errors import MissingData, UnknownName, UsageError
from diptych.llm.protocol import LanguageModel
from diptych.llm.tapes import Cached
from diptych.llm.wrappers import Budgeted, Retrying, Timed

__all__ = ["CAPTIONER", "DEFAULT", "NAMES", "default_name", "describing", "named", "ready", "wanted"]

DEFAULT = "DIPTYCH_LLM"
"""The environment's name for the language model that is used where none is named."""

PRICE = "DIPTYCH_LLM_PRICE"
"""The environment's name for what a million tokens in and out cost: ``0.1,0.4``."""

CAPTIONER = "captioner"
"""The system that describes pictures; it is a language model as well."""

NAMES = "llm:URL#MODEL for a server, llm:FOLDER for a model of transformers, or llm:FILE.gguf"


def default_name() -> str | None:
    """The name of the language model that the environment sets; None if it sets none."""
    return os.environ.get(DEFAULT, "").strip() or None


def named(name: str) -> LanguageModel:
    """The language model of that name, as it is: without time-out, further attempts, budget or cache.

    Args:
        name: ``llm:URL#model`` for an OpenAI-compatible server (without ``#model``, the first that it lists),
            ``llm:FOLDER`` for a model of transformers, or ``llm:FILE.gguf``; or ``captioner`` for the system
            that describes pictures, ``captioner@FOLDER`` for one that was trained; or ``ADAPTER:WHAT`` for
            what the adapter of another package makes of ``WHAT``.

    Raises:
        UsageError: it is no such name.
        PluginError: the package of that adapter cannot be used.
        MissingData: there is no such file or folder.
        MissingExtra: it needs a package that is not installed.
    """
    if name.partition("@")[0] == CAPTIONER:
        captioner: Any = catalogue.load(name)
        return cast("LanguageModel", captioner)
    kind, _, where = name.partition(":")
    if kind != "llm" and (adapter := _plugged(kind)) is not None:
        plugged: LanguageModel = adapter(where)
        return plugged
    if kind != "llm" or not where:
        raise UsageError(f"{name!r} names no language model; write {NAMES}", argument="llm")
    if where.startswith(("http://", "https://")):
        from diptych.llm.openai_api import OpenAICompatible

        url, _, model = where.partition("#")
        return OpenAICompatible(url, model, price=_price())
    path = Path(where).expanduser()
    if path.suffix.lower() == ".gguf":
        from diptych.llm.gguf import GGUF

        return GGUF(path)
    if path.is_dir():
        from diptych.llm.local import LocalModel

        return LocalModel(path)
    raise MissingData(
        f"{name} is neither a folder nor a GGUF file that is there; write {NAMES}", argument="llm"
    )


def ready(
    name: str | LanguageModel | None = None,
    *,
    seconds: float = 30.0,
    attempts: int = 3,
    budget: Mapping[str, float] | None = None,
    cache: Path | None = None,
) -> LanguageModel:
    """A language model with all that makes it safe to depend on.

    Args:
        name: As for `named`, or a model; None for the one that the environment sets.
        seconds: For a reply.
        attempts: Calls at most, where asking again may help.
        budget: The most of "calls", "tokens", "seconds" and "money".
        cache: Folder where replies are kept, so that nothing is asked twice.

    Raises:
        UsageError: no model is named anywhere, or a number is none.
        MissingData, MissingExtra: as for `named`.
    """
    if name is None:
        name = _default("this needs")
    model = named(name) if isinstance(name, str) else name
    model = Retrying(Timed(model, seconds), attempts=attempts, within=2 * seconds)
    limits = dict(budget or {})
    if limits:
        model = Budgeted(model, **limits)  # type: ignore[arg-type]  # counts may be given as floats
    return model if cache is None else Cached(model, cache)


def wanted(given: str | LanguageModel | None, who: str) -> LanguageModel:
    """The language model that a system was given, by name or as it is, or else that of the environment.

    Args:
        given: A model is taken as it is; a name is made `ready`.
        who: The system, for the error.

    Raises:
        UsageError: none is named anywhere.
        MissingData, MissingExtra: as for `named`.
    """
    if given is not None and not isinstance(given, str):
        return given
    return ready(given or _default(f"{who} asks"))


def _default(who: str) -> str:
    """The name that the environment sets, for who needs one.

    Raises:
        UsageError: it sets none.
    """
    name = default_name()
    if name is None:
        raise UsageError(
            f"{who} a language model, and none is named; write {NAMES}, or set {DEFAULT}", argument="llm"
        )
    return name


def _plugged(kind: str) -> Any:
    """The adapter that a package has under that name; None if none has.

    Raises:
        PluginError: one has, and it cannot be used.
    """
    try:
        card = catalogue.card("llm", kind)
    except UnknownName:
        return None
    return catalogue.named_by(card) if card.package else None


def describing(given: str | LanguageModel | None, model: LanguageModel, who: str) -> LanguageModel:
    """What describes pictures: what was named, else the model itself if it may see, else the captioner.

    Args:
        given, who: As for `wanted`.
        model: The language model that is asked for everything else.

    Raises:
        MissingData, MissingExtra: as for `named`.
    """
    if given is None and model.abilities.pictures != 0:
        return model
    return wanted(given or CAPTIONER, who)


def _price() -> tuple[float, float]:
    given = os.environ.get(PRICE, "")
    if not given:
        return 0.0, 0.0
    try:
        into, out = map(float, given.split(","))
    except ValueError as error:
        raise UsageError(
            f"{PRICE} holds the prices of a million tokens in and out, such as 0.1,0.4, not {given!r}"
        ) from error
    return into, out
