r"""INTERNLM-XCOMPOSER: A Vision-Language Large Model for Text-image Composition (Zhang et al., 2023).

Paper: title says "for Advanced Text-image Comprehension and Composition"; arXiv 2309.15112
Code: InternLM/InternLM-XComposer@0f70c3e (folder InternLM-XComposer-1.0)
Tables: 1
Inputs: texts (or an article), and pictures that an encoder found
Learns from: pairs, where a model of a folder is tuned to select; without, nothing
Structure: pipeline
Representation: real-valued
Survey: Table 1: fine-tunes the perceive sampler and the language model, then the sampler by LoRA; CLIP gives
    the first k candidates, of which the model chooses one.
Erratum: The paper has no retrieval metric, and in the released script for LoRA the sampler is frozen.

An encoder proposes the best k pictures, and a model that sees selects one of them, named by letters. So an
article is illustrated: the model says after which paragraphs a picture helps, and what it should show; the
encoder finds candidates for that; the model selects with the text so far and pictures already placed in view.

Whatever goes wrong leaves what the encoder found: candidate A, and a note with the reason. Without a model
the first sentence of a paragraph asks for its picture.

Equations:
- what `fit` minimises: \mathcal{L} = -\frac1b \sum_i \log p(z_i \mid y_i, x_{i1}, \dots, x_{ik})
- low-rank adapters of the attention: W' = W + B A
- the choice, of both orders the encoder's better one: j = \min(j_1, \, k + 1 - j_2)
where $y_i$ is a text, $x_{i1}$ to $x_{ik}$ are the right picture and the encoder's best others in an order
that is drawn, $z_i$ is the letter of the right one and the end, and $j_2$ is what is chosen (from 1) when the
candidates are turned around. Unless `both_orders` is set, $j_1$ is the choice.

Differs from the paper:
- Any model that sees selects, in place of InternLM-XComposer's own, whose checkpoints need remote code. One
  that does not see selects by captions, where all candidates have one.
- Writing the article is not part of it; the text is given.
- Only a letter that stands alone, or before punctuation, counts as a choice (the demo takes the first letter,
  so that "A picture of ..." means candidate A).
- Optionally the candidates are shown in both orders; where the choices differ, the encoder's better counts.
- `fit` tunes a model of a folder by low-rank adapters of the language model's attention alone, with the rates
  of the released script; candidates are the right picture and the encoder's best others, in an order that is
  drawn, and what is learned is the letter of the right one. The paper tunes on articles and instructions.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from diptych import catalogue
from diptych.core import Hits, Item, Run, Side, Stage
from diptych.errors import BadParameter, UsageError
from diptych.llm import (
    RULE,
    Answer,
    LanguageModel,
    Prompt,
    Unusable,
    Usage,
    ask,
    asked,
    each,
    fenced,
    named,
    sentence,
    wanted,
)
from diptych.pipeline import RESCORED, hits_of, over
from diptych.provenance import commit, versions

if TYPE_CHECKING:  # selecting needs neither data sets nor torch
    from diptych.data.base import Split
    from diptych.llm.local import LocalModel
    from diptych.training.trainer import Trainer

__all__ = ["InternLMXComposer"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "both": {"both_orders": True},
    "tiny": {"depth": 3},
}
RECIPES: Mapping[str, Mapping[str, Any]] = {}

_MOST = 8  # candidates that a model is shown
_CONTEXT = 1_500  # characters of the text so far that a prompt holds
_EARLIER = 2  # pictures already placed that a prompt shows

# The language model's attention; what sees, and what samples from it, stays as it is.
_ADAPTED = r"(?!.*(?:vision|visual)).*\.(?:q|k|v|o)_proj"
_TUNED = "model"  # folder of a run that holds the tuned model

_CHOICE = re.compile(
    r"(?:(?:candidate|picture|option|answer)\W{0,3}\s*)?([A-Z])(?:[.,:;)\]!]|\s*$)", re.IGNORECASE
)
_SELECT = (
    "You choose the picture that fits best. Look at everything that is asked for: objects, numbers, "
    f"attributes and relations. {RULE}"
)
_LETTER = "Which candidate fits best? Answer with its letter alone."
_SPOTS = (
    "Text with paragraph numbers follows. List the numbers of the paragraphs after which an illustration "
    "helps the reader, separated by commas, and nothing else; at most {most}."
)
_CAPTION = (
    "Here is a text up to the place of an illustration. State in at most {words} words what the illustration "
    "shows: things that a photograph can show. Reply with that alone."
)


class InternLMXComposer:
    """Lets a model that sees select among what an encoder found, and illustrates articles so.

    Args:
        encoder: Finds candidates: a system's name, an `Encoder`, or None for the built-in one.
        llm: The model, or its name; None for the one that the environment sets.
        depth: Candidates that the model is shown, at most 8.
        both_orders: Whether it is asked a second time with the candidates turned around.
        words: Longest description of a wanted picture.
        epochs, batch_size, lr, rank: Of `fit`: passes over the pairs, pairs in a batch, the highest rate, and
            the rank of the adapters, which count fully.

    Raises:
        BadParameter: a number out of range.
    """

    name = "internlm_xcomposer"

    def __init__(
        self,
        encoder: Any = None,
        llm: Any = None,
        *,
        depth: int = 4,
        both_orders: bool = False,
        words: int = 30,
        epochs: int = 1,
        batch_size: int = 4,
        lr: float = 5e-5,
        rank: int = 64,
    ) -> None:
        if not 1 <= depth <= _MOST or words < 1:
            raise BadParameter(
                f"a model selects among 1 to {_MOST} candidates, for descriptions of at least one word, not "
                f"among {depth} for {words}",
                argument="settings",
            )
        if min(epochs, batch_size, rank) < 1 or lr <= 0:
            raise BadParameter(
                "it is tuned for at least one epoch, pair a batch and rank, at a positive rate, not for "
                f"epochs {epochs}, batch_size {batch_size}, rank {rank} and lr {lr:g}",
                argument="settings",
            )
        self.hyperparameters: dict[str, Any] = {
            "encoder": encoder, "llm": llm, "depth": depth, "both_orders": both_orders, "words": words,
            "epochs": epochs, "batch_size": batch_size, "lr": lr, "rank": rank,
        }  # fmt: skip
        self.encoder, self.llm = encoder, llm
        self.depth, self.both_orders, self.words = depth, both_orders, words

    def over(self, gallery: Sequence[Item], k: int, to: Side = "image") -> Stage:
        """The encoder's search, and the selection of one of its first hits, which comes first.

        Raises:
            UsageError: no language model is named.
        """
        model = wanted(self.llm, "internlm_xcomposer")
        encoder = _encoder(self.encoder)
        return over(encoder, gallery, max(k, self.depth), to=to) >> Choose(self, model, to, k)

    # Learning to select

    @classmethod
    def from_weights(cls, weights: str, **parameters: Any) -> Self:
        """The system whose tuned model `save` wrote into a folder.

        Raises:
            MissingData: it is not there.
            BadData: its card is damaged.
        """
        folder = Path(weights).expanduser()
        found: Self = catalogue.restored(
            cls, folder / "card.json", **{"llm": f"llm:{folder / _TUNED}", **parameters}
        )
        return found

    def save(self, folder: Path | str, **facts: Any) -> None:
        """Write the tuned model, as transformers saves it, and a card.

        Args:
            folder: Made if it is not there; its part `model` can be named as ``llm:FOLDER`` elsewhere, too.
            facts: What else the card should hold and JSON can (data, command).
        """
        place = Path(folder) / _TUNED
        place.mkdir(parents=True, exist_ok=True)
        for part in self._local().loaded:
            part.save_pretrained(place)
        catalogue.write(self, Path(folder) / "card.json", versions=versions(), commit=commit(), **facts)

    @property
    def fingerprint(self) -> str:
        """Changes whenever what was tuned does."""
        settings = {**self.hyperparameters, "llm": ""}  # whose name is where it happens to be
        digest = hashlib.sha256(str(sorted(settings.items())).encode())
        for name, value in sorted(self._local().loaded[0].state_dict().items()):
            if re.fullmatch(_ADAPTED, name.removesuffix(".weight")):
                digest.update(value.float().cpu().numpy().tobytes())
        return f"{self.name}:{digest.hexdigest()[:12]}"

    def check(self, split: Split) -> None:
        """Refuse what cannot be learned from.

        Raises:
            UsageError: no model of a folder is named, the data are features, or the model does not see and
                pictures have a single caption.
        """
        if isinstance(split.image, np.ndarray) or isinstance(split.text, np.ndarray):
            raise UsageError(
                "internlm_xcomposer shows pictures and texts to a model, and these data are features"
            )
        captions = np.bincount(split.pairs[:, 0], minlength=len(split.image))
        if not self._local().abilities.pictures and (captions[split.pairs[:, 0]] < 2).any():
            raise UsageError(
                f"{self._local().name} sees no pictures, so that it selects by other captions of them, and "
                "some have one alone; name a model that sees"
            )

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """Teach a model of a folder to select the right picture; the folder itself stays as it is.

        Args:
            split: Pictures and texts; of each pair, the text asks for the picture.
            trainer: Runs the loop; its seed draws everything. None takes ``Trainer()``.

        Raises:
            UsageError: see `check`.
            MissingExtra: transformers or peft is not installed.
            ImageError: a picture cannot be read.
        """
        from diptych.training.adapting import taught
        from diptych.training.trainer import Trainer

        self.check(split)
        self.llm = model = self._local()
        how = {name: self.hyperparameters[name] for name in ("epochs", "batch_size", "lr", "rank")}
        taught(model, split, _Lessons(self, split, model), trainer or Trainer(), _ADAPTED, **how)
        return self

    def _local(self) -> LocalModel:
        from diptych.llm.local import LocalModel

        found = named(self.llm) if isinstance(self.llm, str) else self.llm
        if not isinstance(found, LocalModel):
            raise UsageError(
                "internlm_xcomposer tunes a model that is in a folder; name one: llm=llm:FOLDER",
                argument="settings",
            )
        return found

    def illustrate(
        self,
        paragraphs: Sequence[str],
        find: Callable[[str, int], Sequence[Item]],
        *,
        most: int = 4,
        model: LanguageModel | None = None,
    ) -> list[Illustration]:
        """Pictures for an article, in the order of their places.

        Args:
            paragraphs: Of the article.
            find: Gives the best so many candidates for a text, best first.
            most: Pictures, at most.
            model: Spots, describes and selects; None leaves all to the encoder.
        """
        spots, note = self._spots(paragraphs, most, model)
        placed: list[Illustration] = []
        for spot in spots:
            used = {one.picture.id for one in placed}
            one = self._placed(paragraphs, spot, find, model, placed, used)
            if one is not None:
                one.note.update({**note, **one.note})
                placed.append(one)
        return placed

    # Steps of the illustration

    def _spots(
        self, paragraphs: Sequence[str], most: int, model: LanguageModel | None
    ) -> tuple[list[int], Mapping[str, Any]]:
        """Places behind which paragraphs, ascending."""
        able = [at for at, text in enumerate(paragraphs) if re.search(r"\w", text)]
        if not able or most < 1:
            return [], {}
        if model is None:
            step = max(1, -(-len(able) // most))
            return able[::step][:most], {"degraded": "no language model is set"}
        listed = [f"{number}. {fenced(paragraphs[at])}" for number, at in enumerate(able, start=1)]
        prompt = asked(_SPOTS.format(most=most), *listed, system=RULE, max_tokens=8 * most + 8)
        answer = ask(model, prompt, partial(spots, count=len(able)))
        if answer.value is None:  # as the demo: no picture where nothing can be read
            return [], {}
        return [able[place] for place in answer.value[:most]], {}

    def _placed(
        self,
        paragraphs: Sequence[str],
        spot: int,
        find: Callable[[str, int], Sequence[Item]],
        model: LanguageModel | None,
        placed: Sequence[Illustration],
        used: set[str],
    ) -> Illustration | None:
        """The picture behind one paragraph; None if no candidate is left."""
        note: dict[str, Any] = {}
        query, usage = first_sentence(paragraphs[spot]), Usage()
        if model is not None:
            context = "\n".join(paragraphs[: spot + 1])[-_CONTEXT:]
            told = _CAPTION.format(words=self.words), fenced(context, _CONTEXT)
            prompt = asked(*told, system=RULE, max_tokens=3 * self.words)
            said = ask(model, prompt, partial(sentence, words=2 * self.words))
            usage += said.usage
            if said.value is None:
                why = f"nothing describes the picture ({said.reason})"
                note |= {"degraded": why, "reason": said.reason}
            else:
                query = said.value
        found = [one for one in find(query, self.depth + len(used)) if one.id not in used][: self.depth]
        if not found:
            return None
        choice = 0
        if model is not None and len(found) > 1:
            earlier = [_part(one.picture, "image", model) or ("a picture",) for one in placed[-_EARLIER:]]
            before = [part for one in earlier for part in ("Already placed:", *one)]
            context = "\n".join(paragraphs[: spot + 1])[-_CONTEXT:]
            parts: tuple[Any, ...] = ("The text so far:", fenced(context, _CONTEXT), *before)
            parts = (*parts, "The picture should show:", fenced(query))
            chosen = self.select(model, parts, found, "image")
            usage += chosen.usage
            if chosen.value is None:
                why = f"the first candidate was taken ({chosen.reason})"
                note |= {"degraded": why, "reason": chosen.reason}
            else:
                choice = chosen.value
        if usage.calls:
            note["usage"] = usage.as_dict()
        return Illustration(spot, query, found[choice], choice, note)

    def select(
        self, model: LanguageModel, question: Sequence[Any], candidates: Sequence[Item], to: Side
    ) -> Answer[int]:
        """The place of the candidate that a model chooses; no value where it chooses none.

        Args:
            model: Is asked.
            question: What is wanted, as parts of a message.
            candidates: At most `depth`, best first.
            to: The side of the candidates that is shown.
        """
        parts = [_part(one, to, model) for one in candidates]
        if any(part is None for part in parts):
            return Answer(None, "pictures")
        shown = [part for part in parts if part is not None]
        first = ask(model, selecting(question, shown), partial(letter, count=len(shown)))
        if not self.both_orders or first.value is None or len(shown) < 2:
            return first
        turned = ask(model, selecting(question, shown[::-1]), partial(letter, count=len(shown)))
        second = first.value if turned.value is None else len(shown) - 1 - turned.value
        return Answer(min(first.value, second), "", first.usage + turned.usage, first.text)


@dataclass(frozen=True, slots=True)
class Illustration:
    """A picture in an article.

    Args:
        after: The paragraph that it stands behind, from 0.
        caption: What was asked for.
        picture: What was found.
        choice: Which candidate it was, from 0.
        note: What it cost, and why it is less than was asked for.
    """

    after: int
    caption: str
    picture: Item
    choice: int
    note: dict[str, Any] = field(default_factory=dict)


class _Lessons:
    """What a model is asked and should reply, for each pair of a picture and a text that asks for it.

    Args:
        how: Depth and encoder.
        split: Pictures and texts.
        model: Is taught.
    """

    def __init__(self, how: InternLMXComposer, split: Split, model: LocalModel) -> None:
        self.how, self.split, self.model = how, split, model
        self.captions: dict[int, list[int]] = {}
        self.right: dict[int, set[int]] = {}
        for image, text in split.pairs.tolist():
            self.captions.setdefault(image, []).append(text)
            self.right.setdefault(text, set()).add(image)
        gallery = [Item(str(row), image=picture) for row, picture in enumerate(split.image)]
        queries = [Item(text=str(text)) for text in split.text]
        most = min(len(gallery), how.depth - 1 + max(map(len, self.right.values())))
        self.found = hits_of(
            over(_encoder(how.encoder), gallery, most, to="image")(Run(queries, gallery))
        ).rows

    def __call__(self, image: int, text: int, seed: Sequence[int]) -> tuple[Prompt, str]:
        """The prompt of a pair, and the letter of the right candidate."""
        wrong = [row for row in self.found[text].tolist() if row >= 0 and row not in self.right[text]]
        rows = [image, *wrong[: self.how.depth - 1]]
        order = np.random.default_rng([*seed, image, text]).permutation(len(rows)).tolist()
        shown = [self._shown(rows[place], text) for place in order]
        question = ("Wanted:", fenced(str(self.split.text[text])))
        return selecting(question, shown), ascii_uppercase[order.index(0)]

    def _shown(self, image: int, text: int) -> tuple[Any, ...]:
        others = [str(self.split.text[one]) for one in self.captions.get(image, []) if one != text]
        item = Item(str(image), image=self.split.image[image], text=others[0] if others else "a picture")
        part = _part(item, "image", self.model)
        assert part is not None  # there are always words
        return part


class Choose(Stage):
    """Puts the hit that a model selects first.

    Args:
        how: Depth, and whether both orders are asked.
        model: Is asked.
        to: The side of the gallery.
        k: Hits to keep.
    """

    def __init__(self, how: InternLMXComposer, model: LanguageModel, to: Side, k: int) -> None:
        self.how, self.model, self.to, self.k = how, model, to, k

    def __call__(self, run: Run) -> Run:
        """The run with the selected hit first; notes say what it cost, and why where nothing was selected."""
        before = hits_of(run)
        rows, scores = before.rows.copy(), before.scores.copy()
        lines = list(range(len(run.queries)))
        answers = each(lambda at: self._chosen(run, at), lines, self.model)
        notes: list[Mapping[str, Any]] = []
        for at, answer in zip(lines, answers, strict=True):
            note: dict[str, Any] = {"usage": answer.usage.as_dict()} if answer.usage.calls else {}
            if answer.value is None:
                if answer.reason:
                    why = f"the model selected none ({answer.reason})"
                    note |= {"degraded": why, "reason": answer.reason}
                notes.append(note)
                continue
            place = answer.value
            rows[at, : place + 1] = np.roll(before.rows[at, : place + 1], 1)
            scores[at, 1 : place + 1] = before.scores[at, :place]
            scores[at, 0] = before.scores[at, 0] + 1  # above whatever the search gave
            notes.append({**note, RESCORED: int((before.rows[at, : self.how.depth] >= 0).sum())})
        return run.with_hits(Hits(rows, scores).top(self.k)).noted(notes)

    def _chosen(self, run: Run, at: int) -> Answer[int]:
        found = hits_of(run).rows[at, : self.how.depth]
        candidates = [run.gallery[int(row)] for row in found[found >= 0]]
        if not candidates:
            return Answer(None)
        query = run.queries[at]
        question = _part(query, "text" if query.text is not None else "image", self.model)
        if question is None:
            return Answer(None, "pictures")
        return self.how.select(self.model, ("Wanted:", *question), candidates, self.to)


def selecting(question: Sequence[Any], candidates: Sequence[Sequence[Any]]) -> Prompt:
    """The prompt that asks for the letter of one candidate.

    Args:
        question: What is wanted, as parts of a message.
        candidates: Each as parts of a message.
    """
    named = zip(ascii_uppercase, candidates, strict=False)
    listed = [part for name, one in named for part in (f"Candidate {name}:", *one)]
    return asked(*question, *listed, _LETTER, system=_SELECT, max_tokens=10)


def letter(text: str, count: int) -> int:
    """The place of the candidate whose letter a reply gives, alone or before punctuation.

    Raises:
        Unusable: there is no such letter, or it is beyond the candidates.

    Example:
        >>> letter("C.", 4), letter("Candidate D", 4)
        (2, 3)
    """
    last = ascii_uppercase[count - 1]
    said = text.strip().strip("\"'`*()[]")
    found = _CHOICE.match(said)
    if found is None:
        raise Unusable(f"It is no letter; one letter from A to {last} is wanted.")
    place = ascii_uppercase.index(found[1].upper())
    if place >= count:
        raise Unusable(f"{found[1].upper()} is no candidate; one letter from A to {last} is wanted.")
    return place


def spots(text: str, count: int) -> list[int]:
    """The paragraphs that a reply lists, from 0, ascending; those that there are not are dropped.

    Raises:
        Unusable: it lists none.

    Example:
        >>> spots("After paragraphs 2, 1 and 9.", 3)
        [0, 1]
    """
    found = sorted({int(one) - 1 for one in re.findall(r"\d{1,4}", text)})
    valid = [place for place in found if 0 <= place < count]
    if not valid:
        raise Unusable(f"It lists no number from 1 to {count}; such, separated by commas, are wanted.")
    return valid


def first_sentence(text: str) -> str:
    """The first sentence of a paragraph, without marks of Markdown.

    Example:
        >>> first_sentence("## A *lake* at dawn. It is cold.")
        'A lake at dawn.'
    """
    plain = " ".join(re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"[*_`#>]+", "", text)).split())
    return re.split(r"(?<=[.!?])\s", plain, maxsplit=1)[0]


def _encoder(given: Any) -> Any:
    from diptych.catalogue import load

    return load(given or "builtin") if given is None or isinstance(given, str) else given


def _part(item: Item, side: Side, model: LanguageModel) -> tuple[Any, ...] | None:
    """An item as parts of a message: the side that is meant, or its captions where the model does not see."""
    if side == "image" and item.image is not None and model.abilities.pictures != 0:
        return (Path(item.image) if isinstance(item.image, str) else item.image,)  # a str would be text
    return (fenced(item.text),) if isinstance(item.text, str) and item.text.strip() else None
