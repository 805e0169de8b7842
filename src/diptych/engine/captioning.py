"""Has the pictures of a collection described by a captioner, one content after the other, once each.

What it says becomes a text of the picture, of the source "generated", told from what people wrote: words find
it, and it is found by pictures. It belongs to the content: copies, files that move, and those whose
captions change keep it, and an interrupted run goes on where it was.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

from diptych import catalogue
from diptych.core import offered
from diptych.engine.homes.base import Home
from diptych.engine.homes.entries import Caption, Known
from diptych.engine.model import Model
from diptych.engine.results import Captioned, Progress, Skipped
from diptych.errors import ImageError, UsageError
from diptych.llm import CAPTIONER, LanguageModel, ask, asked, each, ready, sentence
from diptych.media.pictures import Unread
from diptych.media.raw import open_any

__all__ = ["CAPTIONER", "GENERATED", "caption_pictures", "captioner_of", "generated_of", "take_over"]

GENERATED = "generated"
"""Source of a text that a captioner wrote."""

_ANY = "captioned"  # the setting of a collection that has generated texts
_DESCRIBE = "Describe what this picture shows in one short sentence: what, how many, which colours, where."
_BATCH = 16  # pictures that are described and stored at a time


def captioner_of(given: Any = None, *, sends: bool = False) -> Any:
    """A captioner: a system that has `captions`, by its name or as it is; the one of Diptych's own for None.

    Args:
        given: A name may be that of a language model that sees, too (``llm:...``).
        sends: Whether pictures may be sent to a model that is asked over a network.

    Raises:
        UnknownName, MissingData, MissingExtra: as `diptych.catalogue.load`.
        UsageError: the system describes no pictures, or may not be sent any.
    """
    if isinstance(given, str) and given.startswith("llm:"):
        return _Model(ready(given), sends=sends)
    system = catalogue.load(given or CAPTIONER) if given is None or isinstance(given, str) else given
    if not callable(getattr(system, "captions", None)):
        raise UsageError(
            f"{given} describes no pictures; name a captioner, such as {CAPTIONER} or the run folder of one",
            argument="captioner",
        )
    return system


class _Model:
    """A language model that sees, as a captioner.

    Args:
        model: Is asked about each picture.
        sends: Whether pictures may leave this machine.

    Raises:
        UsageError: it is asked over a network, and they may not; or it sees no pictures.
    """

    image_size = 768

    def __init__(self, model: LanguageModel, *, sends: bool) -> None:
        if not model.abilities.local and not sends:
            raise UsageError(
                f"{model.name} is asked over a network, and nobody has allowed to send it pictures",
                argument="captioner",
            )
        if model.abilities.pictures == 0:
            raise UsageError(f"{model.name} sees no pictures; name a model that does", argument="captioner")
        self.model, self.fingerprint = model, model.name

    def captions(self, images: Sequence[Any]) -> list[str]:
        """A caption of each picture; empty where the model gave none."""
        prompts = [asked(picture, _DESCRIBE, max_tokens=60) for picture in images]
        answers = each(lambda prompt: ask(self.model, prompt, sentence), prompts, self.model)
        return [answer.value or "" for answer in answers]


def generated(home: Home, file: int) -> list[str]:
    """The texts of a file that a captioner wrote."""
    return [text for text, source in home.texts(file) if source == GENERATED]


def generated_of(home: Home, digest: bytes) -> list[str]:
    """The texts that a captioner wrote of a content of pictures."""
    if home.get(_ANY) is None:
        return []
    return next(filter(None, (generated(home, twin.id) for twin in home.twins(digest, image=True))), [])


def take_over(home: Home, old: Home, model: Model) -> None:
    """Give a collection the generated texts of another one, by content.

    Args:
        home: The caller may write to it.
        old: Has them.
        model: Encodes them.
    """
    if old.get(_ANY) is None:
        return
    for known in home.files():
        if known.image and not generated(home, known.id) and (said := generated_of(old, known.hash)):
            _keep(home, model, [(known.id, text) for text in said])


def caption_pictures(
    home: Home,
    model: Model,
    captioner: Any,
    *,
    max_pixels: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Captioned:
    """Describe every picture that no captioner has described yet.

    Args:
        home: The caller may write to it.
        model: Encodes the captions.
        captioner: See `captioner_of`.
        max_pixels: As for `diptych.media.pictures.open_picture`.
        on_progress: Called after every batch.

    Raises:
        UsageError: what the captioner gives are no captions.
    """
    found, started, done = Captioned(), time.perf_counter(), 0
    size = offered(captioner, "image_size")
    waiting = [known for known in home.files() if known.image and not generated(home, known.id)]
    told: dict[bytes, str] = {}  # of contents that were met before in this run
    files = iter(waiting)
    while batch := list(itertools.islice(files, _BATCH)):
        pictures: list[tuple[Known, Any]] = []
        copies: list[Known] = []
        for known in batch:
            if known.hash in told or any(known.hash == one.hash for one, _ in pictures):
                copies.append(known)
                continue
            if said := generated_of(home, known.hash):
                told[known.hash] = said[0]
                copies.append(known)
                continue
            path = home.path(known.key)
            try:
                pictures.append((known, open_any(path, size=size, max_pixels=max_pixels)))
            except Unread:
                found.away += 1
            except ImageError as error:
                found.failed.append(Skipped(path, error.reason))
        captions = _said(captioner, [picture for _, picture in pictures])
        told |= {known.hash: text for (known, _), text in zip(pictures, captions, strict=True)}
        found.described += sum(map(bool, captions))
        found.silent += len(captions) - sum(map(bool, captions))
        _keep(home, model, [(known.id, told[known.hash]) for known in [*(k for k, _ in pictures), *copies]])
        done += len(batch)
        if on_progress is not None:
            seconds = time.perf_counter() - started
            on_progress(Progress(done, len(waiting), len(found.failed), home.path(batch[-1].key), seconds))
    return found


def _said(captioner: Any, pictures: Sequence[Any]) -> list[str]:
    if not pictures:
        return []
    captions = [str(text).strip() for text in captioner.captions(pictures)]
    if len(captions) != len(pictures):
        raise UsageError(f"a captioner gives a caption a picture, not {len(captions)} for {len(pictures)}")
    return captions


def _keep(home: Home, model: Model, told: Sequence[tuple[int, str]]) -> None:
    """Store captions, encoded where the model encodes texts; a picture without a word stays without."""
    texts = [text for _, text in told if text]
    if not texts:
        return
    vectors, _ = model.text_vectors(home, texts)
    with home.batch():
        home.set(_ANY, "yes")
        for file, text in told:
            if text:
                home.add_captions(file, [Caption(text, vectors.get(text), GENERATED)])
