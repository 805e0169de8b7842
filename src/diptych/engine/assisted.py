"""Searches of a collection with the help of a language model, and what they say when it does not help.

The model changes what is asked before the collection's own search, or the order of what it found after it;
the search between the two is always the same. A model that is missing, slow, spent or useless costs nothing
but its help: the plain results come, with a note.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from diptych.core import Hits, Item, Run, Side
from diptych.engine.results import Result, Results
from diptych.errors import NoReply, UsageError
from diptych.llm import (
    CAPTIONER,
    RULE,
    Abilities,
    LanguageModel,
    Prompt,
    Reply,
    Usage,
    ask,
    asked,
    fenced,
    labelled,
    ready,
)
from diptych.systems.mllm.cirevl import CIReVL
from diptych.systems.mllm.gemini import Gemini, Judge

if TYPE_CHECKING:
    from diptych.engine.asked import Asked
    from diptych.engine.opening import Opened

__all__ = ["Assistant", "Guarded", "allow_pictures", "allowed_hosts", "expanding", "host_of"]

_SETTING = "language models that are shown pictures"
LABEL = "Caption"

_EXPAND = (
    f"You rewrite the words of a picture search as the caption of the picture that is wanted. {RULE} "
    f"Reply with one line of at most 25 words after '{LABEL}:'. Keep everything that is asked for, say "
    "it as it is seen, and invent nothing that the words do not imply."
)


@dataclass(frozen=True)
class Guarded:
    """A model that is shown no pictures of a collection, as they would leave this machine.

    Args:
        inner: The model.
        folder: Of the collection, for the error.
    """

    inner: LanguageModel
    folder: str

    @property
    def name(self) -> str:
        """That of the model."""
        return self.inner.name

    @property
    def abilities(self) -> Abilities:
        """Those of the model, without seeing."""
        return replace(self.inner.abilities, pictures=0)

    def reply(self, prompt: Prompt) -> Reply:
        """The reply of the model, of a prompt without pictures.

        Raises:
            NoReply: the prompt shows pictures, or the model has none.
        """
        if prompt.pictures:
            raise NoReply(
                f"pictures of {self.folder} are not sent to {host_of(self.name)}, as nobody has allowed it",
                reason="pictures",
            )
        return self.inner.reply(prompt)


def host_of(name: str) -> str:
    """The host of a model that is asked over a network; empty for others.

    Example:
        >>> host_of("llm:https://api.example/v1#small"), host_of("llm:model.gguf")
        ('api.example', '')
    """
    return urlsplit(name.removeprefix("llm:")).hostname or "" if "://" in name else ""


def allowed_hosts(opened: Opened) -> list[str]:
    """The hosts to which pictures of a collection may be sent."""
    return list(json.loads(opened.home.get(_SETTING) or "[]"))


def allow_pictures(opened: Asked, host: str, *, allow: bool = True) -> None:
    """Record whether pictures of a collection may be sent to a host; until it is recorded, they may not.

    Raises:
        UsageError: there is no such host.
        CollectionBusy: another process is writing.
    """
    if not host:
        raise UsageError(
            "pictures are sent over a network, and this model is asked on this machine", argument="llm"
        )
    hosts = [one for one in allowed_hosts(opened) if one != host] + [host] * allow
    with opened.writing(), opened.home.batch(changes=False):
        opened.home.set(_SETTING, json.dumps(hosts))


class Assistant:
    """Searches a collection with the help of a language model.

    Args:
        opened: The collection.
        llm: The model, its name, or None for the one that the environment sets. A name is made ready: bounded
            in time, attempts and budget, with a cache in the collection's folder.
        captioner: Describes pictures that are asked with: as `llm`; None leaves it to `llm` if that sees and
            may be shown them, and else to the packaged captioner.
        seconds: For a reply.
        budget: The most of "calls", "tokens", "seconds" and "money"; for names only.

    Raises:
        UsageError: no model is named anywhere.
        MissingData, MissingExtra: the model needs what is not there.

    Attributes:
        model: The model that is asked; it is shown no pictures if they may not leave this machine.
    """

    def __init__(
        self,
        opened: Asked,
        llm: str | LanguageModel | None = None,
        *,
        captioner: str | LanguageModel | None = None,
        seconds: float = 30.0,
        budget: Mapping[str, float] | None = None,
    ) -> None:
        self.opened = opened
        self._how: dict[str, Any] = {"seconds": seconds, "budget": budget, "cache": opened.place / "replies"}
        self.model = self._guarded(llm)
        sees = captioner is None and self.model.abilities.pictures != 0
        self.captioner = self.model if sees else self._guarded(captioner or CAPTIONER)
        # The packaged captioner is often wrong, so that the picture counts beside what it says.
        self._beside = 0.0 if sees or captioner is not None else 1.0

    def _guarded(self, given: str | LanguageModel | None) -> LanguageModel:
        model = ready(given, **self._how) if given is None or isinstance(given, str) else given
        if model.abilities.local or host_of(model.name) in allowed_hosts(self.opened):
            return model
        return Guarded(model, str(self.opened.folder))

    def search(
        self,
        text: Any = None,
        *,
        image: Any = None,
        expand: bool = False,
        compose: bool = False,
        rerank: str | None = None,
        depth: int = 20,
        k: int = 10,
        offset: int = 0,
        to: Side = "image",
        **options: Any,
    ) -> Results:
        """The k best matches, with the help that is asked for; `Results.notes` says what it was.

        Args:
            text: Words to look for; with `compose`, what is to be otherwise in the picture. As for
                `Collection.search`, but with `expand` and `compose` one text.
            image: A picture to look like, or several, as there; with `compose`, one.
            expand: Whether the model makes a caption of the words, which is searched beside them.
            compose: Whether the model describes the picture after the change that the words say (CIReVL).
            rerank: How the model judges the first hits: "yes_no", "list" or "grade"; None does not ask it.
            depth: First hits that it judges.
            k, offset, to, options: As for `Collection.search`.

        Raises:
            UsageError: there is nothing that could be expanded or composed, or as for `Collection.search`.
        """
        notes: dict[str, Any] = {"model": self.model.name}
        query: Item | None = None
        if compose:
            query = self._composed(text, image, notes)
        elif expand:
            query = self._expanded(text, image, notes)
        parts: dict[str, Any] = {}
        if query is None:
            parts = {"text": () if text is None else text, "image": () if image is None else image}
        if rerank is None:
            found = self.opened.search(query, k=k, offset=offset, to=to, **parts, **options)
        else:
            wanted = max(offset + k, depth)
            every = self.opened.search(query, k=wanted, to=to, **parts, **options)
            shown = query if query is not None and not query.terms else _shown(text, image)
            found = self._judged(every, shown, rerank, depth, to, notes)
            found[:] = found[offset : offset + k]
        found.notes = notes
        return found

    def _composed(self, text: Any, image: Any, notes: dict[str, Any]) -> Item:
        from diptych.engine.query import picture_of

        one = image is not None and not isinstance(image, list | tuple)
        if not one or not isinstance(text, str) or not text.strip():
            raise UsageError(
                "a picture and words that say what is to be otherwise are composed; give one of each"
            )
        shown = picture_of(image, paths=(str,)) if isinstance(image, str) else image
        known = self._known(image)
        beside = 0.0 if known else self._beside
        # Where nothing is merged, what a plain search would look for.
        system = CIReVL(None, self.model, self.captioner, otherwise="vectors", image_weight=beside)
        run = system.merging()(Run([Item(image=shown, text=text.strip(), meta=known)], []))
        notes |= run.notes[0]
        return run.queries[0]

    def _known(self, image: Any) -> Mapping[str, Any]:
        """The caption that a picture has in the collection, which somebody wrote."""
        if not isinstance(image, str) and not hasattr(image, "__fspath__"):
            return {}
        item = self.opened.get(image)
        text = item.text if item is not None else None
        return {"caption": text.partition("\n")[0]} if isinstance(text, str) and text.strip() else {}

    def _expanded(self, text: Any, image: Any, notes: dict[str, Any]) -> Item:
        if not isinstance(text, str) or not text.strip() or (image is not None and image != []):
            raise UsageError("words alone are expanded; give words, and no picture")
        answer = ask(self.model, expanding(text), lambda said: labelled(said, LABEL, words=30))
        notes["usage"] = answer.usage.as_dict()
        if answer.value is None:
            why = f"the words were searched as they are ({answer.reason})"
            notes |= {"degraded": why, "reason": answer.reason}
            return Item(text=text.strip())
        notes["rewritten"] = answer.value
        return Item(terms=((1.0, Item(text=text.strip())), (0.5, Item(text=answer.value))))

    def _judged(
        self, found: Results, query: Item, way: str, depth: int, to: Side, notes: dict[str, Any]
    ) -> Results:
        """The results in the order of the model's judgement."""
        entries = [_entry(result) for result in found]
        judge = Judge(Gemini(way=way, depth=depth), self.model, to, max(len(entries), 1))
        hits = Hits(
            np.arange(len(entries), dtype=np.int64)[None], -np.arange(len(entries), dtype=np.float32)[None]
        )
        run = judge(Run([query], entries, hits))
        assert run.hits is not None
        said = dict(run.notes[0]) if run.notes else {}
        before = notes.get("usage", {})
        notes |= said
        if before:
            notes["usage"] = (Usage(**before) + Usage(**said.get("usage", {}))).as_dict()
        order = [row for row in run.hits.rows[0].tolist() if row >= 0]
        ranked = [replace(found[row], rank=at) for at, row in enumerate(order, found[0].rank if found else 1)]
        found[:] = ranked
        return found


def expanding(words: str) -> Prompt:
    """The prompt that makes a caption of the words of a search."""
    return asked(f"Words: {fenced(words)}", system=_EXPAND, max_tokens=64)


def _shown(text: Any, image: Any) -> Item:
    """What a query of one text, of one picture, or of more, is shown as to a model."""
    pictures = image if isinstance(image, list | tuple) else [image]
    texts = (
        [text] if isinstance(text, str) else [one if isinstance(one, str) else one[1] for one in text or ()]
    )
    picture = pictures[0] if len(pictures) == 1 else None
    words = ", ".join(texts).strip() or None
    return Item(text=words, image=Path(picture) if isinstance(picture, str) else picture)


def _entry(result: Result) -> Item:
    """A result as something that is judged; a picture that is no file by its captions alone."""
    text = result.text.partition("\n")[0] if result.text else None
    return Item(result.id, image=result.path if result.side == "image" else None, text=text)
