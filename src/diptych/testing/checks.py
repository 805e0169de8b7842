"""The checks of a system, each a function of a `Subject` that raises AssertionError with one sentence."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from diptych import catalogue, similarity
from diptych.catalogue.equations import faults, parted
from diptych.core import SIDES, Run, encodes
from diptych.data.base import Split
from diptych.errors import BadParameter
from diptych.pipeline import score_matrix
from diptych.testing.materials import (
    Spy,
    Stopped,
    chance,
    digits,
    mean_average_precision,
    planted,
)
from diptych.testing.subject import Subject
from diptych.training.trainer import Trainer

__all__ = [
    "EASY",
    "above_chance",
    "builds_in_seconds",
    "card",
    "class_and_name",
    "encoding_leaves_no_trace",
    "goes_through_the_trainer",
    "gradients",
    "index_equals_brute_force",
    "input_unchanged",
    "learns",
    "listed_without_torch",
    "loss_falls",
    "number_of_bits",
    "one_by_one_equals_batch",
    "order_does_not_matter",
    "pair_equals_matrix_entry",
    "permuting_permutes_scores",
    "place_in_the_survey",
    "poisoned_labels_change_nothing",
    "ranks_the_gallery",
    "ranks_the_same_twice",
    "repeats",
    "resumes",
    "same_seed_same_system",
    "saved_and_loaded",
    "scores",
    "sides_share_a_space",
    "variants",
    "vectors",
]

_PAIRS = np.stack(np.divmod(np.arange(12), 4), axis=1)  # of three images with four texts

EASY: Mapping[str, Callable[[], tuple[Split, Split]]] = {"planted": planted, "digits": digits}
"""Feature splits on which whatever learns must end clearly above chance."""

# Of the way from chance to perfect. Chance itself deviates by a hundredth of it.
_CLEARLY = 0.3

_FIELDS = ("Paper", "Code", "Inputs", "Learns from", "Structure", "Representation")


def card(subject: Subject) -> None:
    """The card says title, paper, code, inputs, what it learns from, the idea and the differences; its
    equations, if it has any, can be read."""
    found = subject.card
    _must(
        bool(found.title), f"{found.path}: the first line must be 'NAME: full title (authors, venue year).'"
    )
    for field in _FIELDS:
        _must(bool(found.fields.get(field)), f"{found.path}: the card lacks the line '{field}: ...'")
    words = found.fields["Learns from"].lower()
    _must(
        any(word in words for word in ("labels", "pairs", "nothing")),
        f"{found.path}: 'Learns from:' must name labels, pairs or nothing, not {words!r}",
    )
    _must("Equations" not in found.fields, f"{found.path}: 'Equations:' must follow the idea, not the lines")
    block = parted(found.idea)[1]
    for fault in () if block is None else faults(block):
        raise AssertionError(f"{found.path}: {fault}")
    _must(
        "Differs from the paper:" in found.idea,
        f"{found.path}: the card lacks 'Differs from the paper:' (say 'nothing' if so)",
    )


def place_in_the_survey(subject: Subject) -> None:
    """The card answers the survey's two questions as what the system offers does; a pipeline's representation
    is that of what it searches with."""
    system, said, path = subject.system, subject.card.fields, subject.card.path
    if callable(getattr(system, "over", None)):
        answers = {"Structure": "pipeline"}
    elif any(encodes(system, side) for side in SIDES):
        binary = system.similarity == "hamming"
        answers = {"Structure": "apart", "Representation": "binary" if binary else "real-valued"}
    else:
        answers = {"Structure": "together", "Representation": "real-valued"}
    for field, answer in answers.items():
        _must(
            said.get(field) == answer,
            f"{path}: '{field}: {said.get(field)}', but what the class offers makes it {answer}",
        )


def class_and_name(subject: Subject) -> None:
    """`__all__` names one class, called as the file is."""
    path = subject.card.path
    names: Sequence[str] = getattr(subject.module, "__all__", ())
    _must(len(names) == 1, f"{path}: __all__ must hold exactly the system's class, not {list(names)}")
    _must(subject.type is not None, f"{path}: {names[0]!r} of __all__ is not a class")
    plain = [text.replace("_", "").replace("-", "").lower() for text in (names[0], subject.name)]
    _must(plain[0] == plain[1], f"{path}: class {names[0]} does not carry the file's name")


def variants(subject: Subject) -> None:
    """`paper` and `tiny` exist, and the constructor takes every variant and recipe."""
    path, module = subject.card.path, subject.module
    for name in ("paper", "tiny"):
        _must(name in getattr(module, "VARIANTS", {}), f"{path}: VARIANTS lacks {name!r}")
    _must(hasattr(module, "RECIPES"), f"{path}: RECIPES is missing (it may be empty)")
    assert subject.type is not None
    for name, chosen in {**module.VARIANTS, **module.RECIPES}.items():
        try:
            catalogue.checked(subject.type, chosen)
        except BadParameter as error:
            raise AssertionError(f"{path}: {name}: {error}") from error


def listed_without_torch(subject: Subject) -> None:
    """Reading the card in a fresh process does not import torch."""
    code = (
        "import sys; from diptych import catalogue; "
        f"catalogue.card('system', {subject.name!r}); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    _must(done.returncode == 0, f"reading the card of {subject.name} imports torch")


def builds_in_seconds(subject: Subject) -> None:
    """The tiny variant builds from its name alone, in seconds."""
    name = f"{subject.name}:{subject.variant}"
    catalogue.load(name, **subject.parameters)  # the first one may import libraries
    started = time.process_time()
    catalogue.load(name, **subject.parameters)
    took = time.process_time() - started
    _must(took < 5, f"{subject.name}:{subject.variant} took {took:.1f} s to build; 5 s are allowed")


def same_seed_same_system(subject: Subject) -> None:
    """The same seed gives the same weights, and another seed others."""
    if not subject.trains:
        return
    first, again, other = subject.build(0), subject.build(0), subject.build(1)
    _must(
        first.fingerprint == again.fingerprint, f"{subject.name} draws weights that the seed does not decide"
    )
    _must(first.fingerprint != other.fingerprint, f"{subject.name} draws the same weights from every seed")


def vectors(subject: Subject) -> None:
    """Vectors are (n, d) float32, finite, and as their similarity wants them."""
    kind = subject.system.similarity
    _must(kind in similarity.SIMILARITIES, f"{subject.name}: there is no similarity {kind!r}")
    for encode, inputs in subject.sides():
        found = encode(inputs)
        where = f"{subject.name}.{encode.__name__}"
        _must(isinstance(found, np.ndarray), f"{where} gives {type(found).__name__}, not a numpy array")
        _must(found.dtype == np.float32, f"{where} gives {found.dtype}, not float32")
        ndim = 3 if kind == "maxsim" else 2
        _must(found.ndim == ndim and len(found) == len(inputs), f"{where} gives {found.shape}")
        if kind != "maxsim":  # there NaN marks what is no token
            _must(bool(np.isfinite(found).all()), f"{where} gives numbers that are not finite")
        if kind == "cosine":
            length = np.linalg.norm(found, axis=1)
            _must(bool(np.allclose(length, 1, atol=1e-5)), f"{where} gives lengths {length.min()}, not 1")
        if kind == "hamming":
            _must(bool(np.isin(found, (-1, 1)).all()), f"{where} gives codes other than +1 and -1")


def number_of_bits(subject: Subject) -> None:
    """A hasher gives as many bits as it is asked for."""
    for bits in (16, 32, 64):
        system = subject.build(bits=bits)
        for side in ("image", "text"):
            found = getattr(system, f"encode_{side}")(getattr(subject.data[1], side)[:3]).shape[1]
            _must(found == bits, f"{subject.name} gives {found} bits for {side}s, not {bits}")


def sides_share_a_space(subject: Subject) -> None:
    """Images and texts have vectors of one dimension."""
    widths = {encode.__name__: encode(inputs).shape[-1] for encode, inputs in subject.sides()}
    _must(len(set(widths.values())) == 1, f"{subject.name} gives different dimensions: {widths}")


def one_by_one_equals_batch(subject: Subject) -> None:
    """One at a time gives what a batch gives: to 1e-5, and exactly for codes."""
    for encode, inputs in subject.sides():
        batch = encode(inputs)
        for row in range(len(inputs)):
            single = encode(inputs[row : row + 1])[0]
            if batch.ndim == 3:
                ours = batch[row][np.isfinite(batch[row]).all(axis=1)]
                single = single[np.isfinite(single).all(axis=1)]
            else:
                ours = batch[row]
            _must(
                ours.shape == single.shape
                and bool(np.allclose(ours, single, atol=_tolerance(subject), rtol=0)),
                f"{subject.name}.{encode.__name__} of one item differs from the batch's",
            )


def order_does_not_matter(subject: Subject) -> None:
    """Encoding in another order gives the same vectors in that order."""
    for encode, inputs in subject.sides():
        backwards = inputs[::-1]
        straight, turned = encode(inputs), encode(backwards)[::-1]
        same = np.allclose(straight, turned, atol=_tolerance(subject), rtol=0, equal_nan=True)
        _must(bool(same), f"{subject.name}.{encode.__name__} depends on the order of its inputs")


def encoding_leaves_no_trace(subject: Subject) -> None:
    """Encoding runs in evaluation mode, puts the mode back, changes no weight, no gradient and no input."""
    system = subject.system
    nets = system.networks if subject.trains else {}
    for net in nets.values():
        net.train()
    before = system.fingerprint if nets else ""
    for encode, inputs in subject.sides():
        copy = np.array(inputs, copy=True) if isinstance(inputs, np.ndarray) else None
        first, second = encode(inputs), encode(inputs)
        where = f"{subject.name}.{encode.__name__}"
        _must(bool(np.array_equal(first, second, equal_nan=True)), f"{where} gives other vectors each time")
        _must(copy is None or bool(np.array_equal(copy, inputs)), f"{where} changes its input")
    for name, net in nets.items():
        _must(net.training, f"{subject.name} leaves {name} in evaluation mode though it was training")
        _must(all(p.grad is None for p in net.parameters()), f"{subject.name} leaves gradients in {name}")
        net.eval()
    _must(not nets or system.fingerprint == before, f"{subject.name} changes its weights when it encodes")


def index_equals_brute_force(subject: Subject) -> None:
    """Searching its vectors through an index gives what comparing all of them gives."""
    from diptych.index.flat import Flat

    system, split = subject.system, subject.data[1]
    kind = system.similarity
    queries, gallery = system.encode_text(split.text[:5]), system.encode_image(split.image[:20])
    index = Flat(gallery.shape[-1], similarity=kind)
    index.add(np.arange(len(gallery), dtype=np.int64), gallery)
    hits = index.search(queries, 5)
    scores = similarity.named(kind)(queries, gallery)
    best = -np.sort(-scores, axis=1)[:, :5]
    _must(
        bool(np.allclose(hits.scores, best, atol=1e-5)),
        f"{subject.name}: the index finds other scores than brute force",
    )


def scores(subject: Subject) -> None:
    """Scores of pairs (p, 2) are (p,) float32 and finite."""
    images, texts = subject.data[1].image[:3], subject.data[1].text[:4]
    found = subject.system.score_pairs(images, texts, _PAIRS)
    _must(
        isinstance(found, np.ndarray) and found.dtype == np.float32 and found.shape == (12,),
        f"{subject.name}.score_pairs of 12 pairs gives {getattr(found, 'shape', type(found))}",
    )
    _must(bool(np.isfinite(found).all()), f"{subject.name}.score_pairs gives numbers that are not finite")


def permuting_permutes_scores(subject: Subject) -> None:
    """Inputs, and pairs, in another order give the same scores in that order."""
    images, texts = subject.data[1].image[:3], subject.data[1].text[:4]
    straight = subject.system.score_pairs(images, texts, _PAIRS)
    turned = subject.system.score_pairs(images[::-1], texts[::-1], (2, 3) - _PAIRS)
    mixed = subject.system.score_pairs(images, texts, _PAIRS[::-1].copy())[::-1]
    same = np.allclose(straight, turned, atol=1e-5) and np.allclose(straight, mixed, atol=1e-5)
    _must(same, f"{subject.name}.score_pairs depends on the order")


def pair_equals_matrix_entry(subject: Subject) -> None:
    """A pair alone gets the score that it has among others, and in the matrix of a system that offers one."""
    images, texts = subject.data[1].image[:3], subject.data[1].text[:4]
    together = subject.system.score_pairs(images, texts, _PAIRS)
    matrix = score_matrix(subject.system, images, texts).reshape(-1)
    for at, (image, text) in enumerate(_PAIRS.tolist()):
        pair = images[image : image + 1], texts[text : text + 1]
        alone = subject.system.score_pairs(*pair, np.zeros((1, 2), np.int64))[0]
        _must(
            abs(alone - together[at]) < 1e-5 and abs(alone - matrix[at]) < 1e-5,
            f"{subject.name}.score_pairs of a pair alone differs from its score among others",
        )


def ranks_the_gallery(subject: Subject) -> None:
    """The stage of a retriever gives each query at most k rows of the gallery, each once, best first."""
    run = _retrieved(subject)
    hits, n = run.hits, len(run.gallery)
    _must(hits is not None, f"{subject.name}: its stage leaves no hits")
    assert hits is not None
    _must(
        len(hits.rows) == len(run.queries) and hits.rows.shape[1] <= 5,
        f"{subject.name}: 5 hits of {len(run.queries)} queries have shape {hits.rows.shape}",
    )
    for rows, row_scores in zip(hits.rows, hits.scores, strict=True):
        found = rows[rows >= 0]
        _must(len(found) > 0, f"{subject.name} finds nothing for a query")
        _must(
            bool((found < n).all()) and len(set(found.tolist())) == len(found),
            f"{subject.name}: rows {found}",
        )
        _must(bool((np.diff(row_scores[rows >= 0]) <= 0).all()), f"{subject.name} does not rank by score")


def ranks_the_same_twice(subject: Subject) -> None:
    """A retriever gives the same hits again."""
    first, second = _retrieved(subject).hits, _retrieved(subject).hits
    assert first is not None
    assert second is not None
    same = np.array_equal(first.rows, second.rows) and np.allclose(first.scores, second.scores, atol=1e-6)
    _must(same, f"{subject.name} gives other hits when it is asked again")


def _retrieved(subject: Subject) -> Run:
    split = subject.data[1]
    gallery = split.items("image")
    return subject.build().over(gallery, 5, "image")(Run(subject.queries, gallery))  # type: ignore[no-any-return]


def saved_and_loaded(subject: Subject) -> None:
    """What was saved and loaded has the same fingerprint and vectors; the folder holds a card, weights in
    safetensors, and nothing but JSON and plain text beside them.
    """
    system = subject.trained[0]
    with tempfile.TemporaryDirectory() as folder:
        system.save(folder, seed=0)
        files = sorted(path.name for path in Path(folder).iterdir())
        again = catalogue.load(folder)
    plain = all(name.endswith((".json", ".safetensors", ".txt", ".jinja")) for name in files)
    whole = "card.json" in files and any(name.endswith(".safetensors") for name in files)
    _must(plain and whole, f"{subject.name}.save wrote {files}")
    _must(again.fingerprint == system.fingerprint, f"{subject.name} loads with another fingerprint")
    for side in SIDES:
        if encodes(system, side):
            inputs = getattr(subject.data[1], side)[:5]
            ours, theirs = (getattr(one, f"encode_{side}")(inputs) for one in (system, again))
            _must(
                bool(np.array_equal(ours, theirs, equal_nan=True)),
                f"{subject.name} encodes {side}s differently once saved and loaded",
            )


def learns(subject: Subject, *, margin: float, seconds: float) -> None:
    """After training, MAP exceeds chance by the margin in both directions, within the time."""
    learner, _, took = subject.trained
    _must(took <= seconds, f"{subject.name} took {took:.1f} s to train; {seconds:.0f} s are allowed")
    split = subject.data[1]
    floor = chance(split)
    for direction, found in mean_average_precision(learner, split).items():
        _must(
            found >= floor + margin,
            f"{subject.name} reaches MAP {found:.3f} {direction}; {floor + margin:.3f} are required "
            f"(chance is {floor:.3f})",
        )


def above_chance(subject: Subject, *, data: str, bits: int | None) -> None:
    """On easy data it ends clearly above chance in both directions, with codes of any usual length.

    Args:
        subject: What is checked.
        data: One of `EASY`.
        bits: Code length; None for real vectors.
    """
    learn, ask = EASY[data]()
    easy = Subject(f"{subject.name}:{subject.variant}", subject.parameters, EASY[data])
    system = easy.build(**({} if bits is None else {"bits": bits}))
    system.fit(learn, Trainer(seed=0, quiet=True, device="cpu"))
    floor = chance(ask)
    needed = floor + _CLEARLY * (1 - floor)
    for direction, found in mean_average_precision(system, ask).items():
        _must(
            found >= needed,
            f"{subject.name} reaches MAP {found:.3f} {direction} on the {data} data"
            f"{f' with {bits} bits' if bits else ''}; {needed:.3f} are required (chance is {floor:.3f})",
        )


def gradients(subject: Subject, *, reaches: Mapping[str, set[str]]) -> None:
    """Each term trains the networks it should and no other; none is dead; every parameter is trained."""
    learner, spy, _ = subject.trained
    unknown = set(reaches) - set(spy.reached)
    _must(not unknown, f"{subject.name} has no loss term {', '.join(sorted(unknown))}")
    for term, nets in spy.reached.items():
        _must(bool(nets), f"{subject.name}: term {term!r} has no gradient for what its optimiser trains")
        if term in reaches:
            _must(
                nets == reaches[term],
                f"{subject.name}: term {term!r} trains {sorted(nets)}, not {sorted(reaches[term])}",
            )
    dead = [
        f"{net}.{key}"
        for net, module in learner.networks.items()
        for key, parameter in module.named_parameters()
        if parameter.requires_grad and id(parameter) not in spy.moved
    ]
    _must(not dead, f"{subject.name}: no step ever trains {', '.join(dead[:5])}")


def goes_through_the_trainer(subject: Subject) -> None:
    """Training made its steps through the trainer's verbs."""
    spy = subject.trained[1]
    _must(spy.steps > 0 and len(spy.history) > 0, f"{subject.name} trained without Trainer.epochs and step")


def loss_falls(subject: Subject) -> None:
    """The objective is smaller in the last epoch than in the first."""
    history = subject.trained[1].history
    first, last = (sum(entry["terms"].values()) for entry in (history[0], history[-1]))
    _must(last < first, f"{subject.name}: the objective rose from {first:.4g} to {last:.4g}")


def input_unchanged(subject: Subject) -> None:
    """Training does not change the data."""
    _must(subject.brief.unchanged, f"{subject.name} changes its training data")


def repeats(subject: Subject) -> None:
    """The same seed and data give the same weights, bit for bit."""
    first = subject.brief
    torch.rand(3)  # whoever draws from the global generator outside the trainer is found out
    again, _ = subject.trained_briefly(subject.few)
    _must(first.fingerprint == again.fingerprint, f"{subject.name} does not repeat with the same seed")


def resumes(subject: Subject) -> None:
    """Training that was stopped goes on to the same weights, bit for bit."""
    whole = subject.brief
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        spy = Spy(run, seed=0, quiet=True, device="cpu", checkpoint_seconds=0)
        spy.stop_after = max(1, whole.steps * 3 // 4)
        try:
            subject.trained_briefly(subject.few, spy)
        except Stopped:
            torch.rand(5)
        else:
            raise AssertionError(f"{subject.name} made {spy.steps} steps where it had made {whole.steps}")
        rest = Trainer(run, seed=0, quiet=True, device="cpu", checkpoint_seconds=0)
        again, _ = subject.trained_briefly(subject.few, rest)
        _must(
            again.fingerprint == whole.fingerprint and rest.steps == whole.steps,
            f"{subject.name} does not resume bit for bit; is everything that changes named in keep?",
        )


def poisoned_labels_change_nothing(subject: Subject) -> None:
    """A system that learns from pairs gives the same weights when the labels are wrong."""
    split = subject.few
    if split.label is None:
        return
    wrong = Split(split.image, split.text, split.label[::-1].copy(), split.pairs)
    poisoned, _ = subject.trained_briefly(wrong)
    _must(
        subject.brief.fingerprint == poisoned.fingerprint,
        f"{subject.name} says that it learns from {subject.card.fields['Learns from']}, but labels change it",
    )


def _tolerance(subject: Subject) -> float:
    return 0.0 if subject.system.similarity == "hamming" else 1e-5


def _must(condition: bool, otherwise: str) -> None:
    if not condition:
        raise AssertionError(otherwise)
