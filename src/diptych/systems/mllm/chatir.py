r"""ChatIR: Chatting Makes Perfect: Chat-based Image Retrieval (Levy et al., NeurIPS 2023).

Paper: arXiv 2305.20062; the rewriting is PlugIR's (arXiv 2406.03411)
Code: levymsn/ChatIR@c62600c (evaluation, dialogues), Saehyung-Lee/PlugIR@ce79c9f (finetune/train.py, eval.py)
Tables: survey Table 1 only, as CbIR
Inputs: a caption with questions and answers, and pictures
Learns from: nothing (its dialogue encoder is a system of its own, `dialogue`)
Structure: pipeline
Representation: real-valued
Survey: contrastive training, 256 numbers, cosine. The retriever is BLIP's text encoder, no large language
    model, which only asks; and the code trains with a surrogate of recall.

Whoever searches describes a picture; a language model asks one short question after the other about it, and
after each answer the whole dialogue is searched with anew.

With `form` "joined" the encoder reads the dialogue as it stands, as in the paper; it suits best one that was
trained on dialogues (`dialogue`). With "rewritten" a language model first makes one description of it
(PlugIR), which is worth no more than the model: the small one that was tried did worse with it, so that it
has to be asked for. A question that was asked before, or that means the same, is asked anew once, and then
one of a list takes its place; so does it when the model fails, and the dialogue goes on. An answer that
says nothing is left out. What is too long for the encoder loses its oldest rounds, never the description.

Equations:
- what is searched with after round t: D_t = (y, q_1, a_1, \dots, q_t, a_t)
- the score: s_t(x) = \cos(f(x), g(r(D_t)))
- a question that was asked before: \max_{i < t} \cos(g(q_t), g(q_i)) > \theta
where $y$ is the description, $q_i$ and $a_i$ are questions and answers, $r$ joins them or lets the model
rewrite them, $f$ and $g$ are the encoder's towers, and $\theta$ is `alike`.

Differs from the paper: our own prompt, with its examples as turns of a chat; rounds are joined by ", " as
in the code (the paper says [SEP]).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from diptych.core import Item, Run, Side, Stage
from diptych.errors import UsageError
from diptych.llm import (
    RULE,
    LanguageModel,
    Prompt,
    Unusable,
    Usage,
    ask,
    asked,
    assistant,
    fenced,
    labelled,
    sentence,
    user,
    wanted,
)
from diptych.llm import system as told
from diptych.pipeline import over
from diptych.similarity import unit

__all__ = ["ChatIR"]

Answerer: TypeAlias = Callable[[Item, str], str]
"""Query and question in, the answer out."""

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "plugir": {"form": "rewritten"},
    "tiny": {"rounds": 2},
}
RECIPES: Mapping[str, Mapping[str, Any]] = {}

STOCK = (
    "What colours stand out?",
    "How many people are there?",
    "Is it indoors or outdoors?",
    "What is in the background?",
    "What is the time of day?",
    "Are there animals?",
    "What are they doing?",
    "Is there any text to be seen?",
    "What do they wear?",
    "Is it seen from near or from far?",
)
"""Asked where the model asks nothing that can be used."""

SEPARATOR = ", "
LABEL = "Description"

_ASK = (
    f"You help somebody to find a picture that only they have seen. {RULE} Ask one new short question "
    "whose answer helps to tell the picture from others like it. It must be possible to answer it by "
    "looking at the picture, and it must not have been asked or answered before. Reply with the question "
    "alone."
)
_EXAMPLES = (
    (("a man rides a bicycle", ()), "What is the man wearing?"),
    (("two dogs play", (("Where are they?", "on a beach"),)), "What colour are the dogs?"),
    (("a kitchen", (("Is anybody there?", "no"),)), "What stands on the table?"),
)
_REWRITE = (
    f"You are given a description of a picture and what was asked and answered about it. {RULE} Reply "
    f"with one sentence of at most 40 words after '{LABEL}:' that describes the picture with all that is "
    "known. Say what is there, not what is missing, and invent nothing."
)

_SILENT = re.compile(
    r"\W*(?:i )?(?:don'?t know|do not know|dunno|no idea|not sure|unsure|unknown|\?)?\W*$", re.I
)


class ChatIR:
    """Asks about the picture that somebody looks for, and searches with what they answer.

    Args:
        encoder: Searches: a system's name, an `Encoder`, or None for the built-in one.
        llm: Asks and rewrites: a `LanguageModel`, its name, or None for the one that the environment sets.
        answer: Answers; None asks nothing and searches with the dialogue that a query brings in its
            ``meta["dialogue"]``, pairs of question and answer.
        rounds: Questions at most.
        form: What is searched with, "joined" or "rewritten".
        words: Words of a joined dialogue that the encoder reads.
        alike: Cosine of two questions' vectors from which they ask the same.

    Raises:
        UsageError: there is no such form, or a number is out of range.
    """

    def __init__(
        self,
        encoder: Any = None,
        llm: Any = None,
        answer: Any = None,
        *,
        rounds: int = 10,
        form: str = "joined",
        words: int = 200,
        alike: float = 0.95,
    ) -> None:
        if form not in ("joined", "rewritten"):
            raise UsageError(f"a dialogue is searched joined or rewritten, not {form!r}")
        if rounds < 0 or words < 1:
            raise UsageError(f"there are no {rounds} rounds, nor {words} words of a dialogue")
        self.encoder, self.llm, self.answer = encoder, llm, answer
        self.rounds, self.form, self.words, self.alike = rounds, form, words, alike

    def over(self, gallery: Sequence[Item], k: int, to: Side) -> Stage:
        """The dialogue, and the encoder's search after each round.

        Raises:
            UsageError: no language model is named.
        """
        encoder = _encoder(self.encoder)
        return Chat(self, self.talking(encoder), over(encoder, gallery, k, to=to))

    def talking(self, encoder: Any) -> Talk:
        """What asks, and makes a query of a dialogue, for whoever leads the dialogue themselves.

        Raises:
            UsageError: no language model is named.
        """
        return Talk(self, wanted(self.llm, "chatir"), encoder)


def _encoder(given: Any) -> Any:
    from diptych.catalogue import load

    return load(given or "builtin") if given is None or isinstance(given, str) else given


@dataclass(frozen=True)
class Dialogue:
    """A description and what was asked and answered since.

    Args:
        caption: The description.
        turns: Question and answer of each round.
    """

    caption: str
    turns: tuple[tuple[str, str], ...] = ()

    def then(self, question: str, answer: str) -> Dialogue:
        """With one round more; without it, where the answer says nothing."""
        if _SILENT.match(answer):
            return self
        return Dialogue(self.caption, (*self.turns, (question, answer)))

    def joined(self, words: int = 200) -> str:
        """All of it in one line: the description and the latest rounds, as long as there is room."""
        rounds = [f"{question.strip()} {answer.strip()}" for question, answer in self.turns]
        room, kept = words - len(self.caption.split()), []
        for one in reversed(rounds):
            room -= len(one.split())
            if room < 0:
                break
            kept.append(one)
        return SEPARATOR.join([self.caption, *reversed(kept)])


@dataclass(frozen=True)
class Said:
    """What came of asking the model for something: a text, why it is only a substitute, and the cost."""

    text: str
    reason: str = ""
    usage: Usage = field(default_factory=Usage)


class Talk:
    """Asks questions, and makes queries of dialogues.

    Args:
        how: Form, words and likeness.
        model: Asks and rewrites.
        encoder: Whose vectors tell whether two questions ask the same.
    """

    def __init__(self, how: ChatIR, model: LanguageModel, encoder: Any) -> None:
        self.how, self.model, self.encoder = how, model, encoder

    def question(self, dialogue: Dialogue, before: Sequence[str] = ()) -> Said:
        """The next question; one of `STOCK` where the model has none that can be used.

        Args:
            dialogue: So far.
            before: Questions that were asked and are not in it, as nobody could answer them.
        """
        past = [*before, *(question for question, _ in dialogue.turns)]

        def read(text: str) -> str:
            found = sentence(text, words=25)
            question = found.partition("?")[0].strip() + "?"
            if self._is_known(question, past):
                raise Unusable("It was asked before; ask something else.")
            return question

        answer = ask(self.model, questioning(dialogue, past), read)
        if answer.value is not None:
            return Said(answer.value, "", answer.usage)
        left = [one for one in STOCK if _plain(one) not in {_plain(old) for old in past}]
        return Said((left or STOCK)[0], answer.reason, answer.usage)

    def query(self, dialogue: Dialogue) -> Said:
        """What is searched with: the dialogue as it stands, or one description of it."""
        joined = dialogue.joined(self.how.words)
        if self.how.form == "joined" or not dialogue.turns:
            return Said(joined)
        answer = ask(self.model, rewriting(dialogue), lambda text: labelled(text, LABEL, words=60))
        if answer.value is None:
            return Said(joined, answer.reason, answer.usage)
        return Said(answer.value, "", answer.usage)

    def _is_known(self, question: str, past: Sequence[str]) -> bool:
        if _plain(question) in {_plain(one) for one in past}:
            return True
        if not past or self.encoder is None or self.encoder.similarity != "cosine":
            return False
        vectors = unit(self.encoder.encode_text([question, *past]))
        return bool((vectors[1:] @ vectors[0]).max() > self.how.alike)


class Chat(Stage):
    """Leads the dialogue of every query with what answers, and searches after each round.

    Args:
        how: The answerer, and how many rounds.
        talk: Asks, and makes queries.
        search: Finds.
    """

    def __init__(self, how: ChatIR, talk: Talk, search: Stage) -> None:
        self.how, self.talk, self.search = how, talk, search

    def __call__(self, run: Run) -> Run:
        """The run after the last round."""
        for done in self.rounds(run):
            run = done
        return run

    def rounds(self, run: Run) -> Iterator[Run]:
        """The run after each round, the first before any question; notes hold dialogue, query and cost."""
        dialogues = [_dialogue(query) for query in run.queries]
        silent: list[list[str]] = [[] for _ in dialogues]
        notes: list[dict[str, Any]] = [{} for _ in dialogues]
        spent = [Usage() for _ in dialogues]
        for at in range(self.how.rounds + 1 if self.how.answer is not None else 1):
            if at:
                for one, query in enumerate(run.queries):
                    asked_now = self.talk.question(dialogues[one], silent[one])
                    answer = self.how.answer(query, asked_now.text)
                    longer = dialogues[one].then(asked_now.text, answer)
                    if longer is dialogues[one]:
                        silent[one].append(asked_now.text)
                    dialogues[one] = longer
                    spent[one] += asked_now.usage
                    _tell(notes[one], "a question of the list was asked", asked_now.reason)
            queries = []
            for one, query in enumerate(run.queries):
                said = self.talk.query(dialogues[one])
                spent[one] += said.usage
                _tell(notes[one], "the dialogue was searched as it stands", said.reason)
                notes[one] |= {"dialogue": list(dialogues[one].turns), "rewritten": said.text}
                notes[one]["usage"] = spent[one].as_dict()
                # What is no text is searched as it is.
                asks = isinstance(query.text, str) and query.image is None and not query.terms
                queries.append(Item(query.id, text=said.text, meta=query.meta) if asks else query)
            found = self.search(Run(queries, run.gallery))
            assert found.hits is not None
            yield run.with_hits(found.hits).noted([dict(note) for note in notes])


def _dialogue(query: Item) -> Dialogue:
    turns = tuple((str(question), str(answer)) for question, answer in query.meta.get("dialogue", ()))
    return Dialogue(query.text if isinstance(query.text, str) else "", turns)


def _tell(note: dict[str, Any], what: str, reason: str) -> None:
    if reason:
        note |= {
            "degraded": f"{what}, as the model had no reply that could be used ({reason})",
            "reason": reason,
        }


def questioning(dialogue: Dialogue, past: Sequence[str] = ()) -> Prompt:
    """The prompt for the next question."""
    shots = [
        turn
        for (caption, turns), question in _EXAMPLES
        for turn in (user(_shown(Dialogue(caption, turns))), assistant(question))
    ]
    lost = [one for one in past if one not in {question for question, _ in dialogue.turns}]
    more = f"\nAsked, but not known: {'; '.join(map(fenced, lost))}" if lost else ""
    return Prompt((told(_ASK), *shots, user(_shown(dialogue) + more)), max_tokens=40, stop=("\n",))


def rewriting(dialogue: Dialogue) -> Prompt:
    """The prompt for one description of a dialogue."""
    return asked(_shown(dialogue), system=_REWRITE, max_tokens=96)


def _shown(dialogue: Dialogue) -> str:
    lines = [f"Description: {fenced(dialogue.caption)}"]
    lines += [f"Question: {fenced(question)} Answer: {fenced(answer)}" for question, answer in dialogue.turns]
    return "\n".join(lines)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
