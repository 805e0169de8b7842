"""Each check can fail: a healthy system passes all of them, and one broken on purpose fails the one meant."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diptych.index.flat import Flat
from diptych.testing import checks, system_checks

LEARNER = '''"""NAME: A healthy system (Somebody, Nowhere 2026).

Paper: none
Code: none
Inputs: features
Learns from: pairs
Structure: apart
Representation: real-valued

Paired items come together; a critic tells the sides apart.

Equations:
- the objective: L = P + w A
where $P$ is of pairs and $A$ of the critic.

Differs from the paper:
- Nothing.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from diptych.training.learner import Learner

__all__ = ["CLASS"]
VARIANTS = {"paper": {}, "tiny": {"epochs": 6}}
RECIPES = {}


@dataclass(kw_only=True, eq=False)
class CLASS(Learner):
    image_dim: int = 32
    text_dim: int = 24
    bits: int = 16
    batch_size: int = 40
    lr: float = 1e-2

    def __post_init__(self):
        self.image_net = nn.Sequential(nn.Linear(self.image_dim, self.bits), nn.Dropout(0.1))
        self.text_net = nn.Linear(self.text_dim, self.bits)
        self.critic = nn.Linear(self.bits, 1, bias=False)

    def fit(self, split, trainer):
        main = torch.optim.Adam(self.trainable("image_net", "text_net"), lr=self.lr)
        critic = torch.optim.Adam(self.trainable("critic"), lr=self.lr)
        for _ in trainer.epochs(self.epochs, keep=(*self.networks.values(), main, critic)):
            for batch in trainer.batches(split, self.batch_size):
                trainer.step(main, self.objective(batch))
                u, v = self.image_net(batch.image), self.text_net(batch.text)
                trainer.step(critic, {"critic": (self.critic(u) - self.critic(v)).mean().exp()})
        return self

    def objective(self, batch):
        u, v = self.image_net(batch.image), self.text_net(batch.text)
        logits = 10 * functional.normalize(u) @ functional.normalize(v).T
        pairs = functional.cross_entropy(logits, torch.arange(len(u)))
        return {"pairs": pairs, "adv": 0.01 * (self.critic(u) - self.critic(v)).mean().square()}

    def encode_image(self, images):
        return super().encode_image(images)

    def encode_text(self, texts):
        return super().encode_text(texts)
'''

SCORER = '''"""NAME: A healthy scorer (Somebody, Nowhere 2026).

Paper: none
Code: none
Inputs: features
Learns from: nothing
Structure: together
Representation: real-valued

Compares the first features.

Differs from the paper:
- Nothing.
"""

import numpy as np

__all__ = ["CLASS"]
VARIANTS = {"paper": {}, "tiny": {}}
RECIPES = {}


class CLASS:
    def __init__(self, *, image_dim: int = 32):
        self.image_dim = image_dim

    def score_pairs(self, images, texts, pairs):
        found = (np.asarray(images)[pairs[:, 0], :8] * np.asarray(texts)[pairs[:, 1], :8]).sum(axis=1)
        return found.astype(np.float32)
'''

RETRIEVER = '''"""NAME: A healthy retriever (Somebody, Nowhere 2026).

Paper: none
Code: none
Inputs: pictures
Learns from: nothing
Structure: pipeline
Representation: none

Counts the words that a picture's name shares with the query.

Differs from the paper:
- Nothing.
"""

import itertools

import numpy as np

from diptych.core import Hits, Stage

__all__ = ["CLASS"]
VARIANTS = {"paper": {}, "tiny": {}}
RECIPES = {}
calls = itertools.count()


class CLASS:
    def over(self, gallery, k, to):
        return Ranking(len(gallery), k)


class Ranking(Stage):
    def __init__(self, n, k):
        self.n, self.k = n, k

    def __call__(self, run):
        rows = np.array([[len(q.text) % self.n + i for i in range(self.k)] for q in run.queries]) % self.n
        scores = -np.arange(self.k, dtype=np.float32) * np.ones((len(rows), 1), np.float32)
        return run.with_hits(Hits(rows, scores))
'''

IMAGE = "return super().encode_image(images)"
BROKEN = [
    ("card", "Code: none\n", "", "lacks the line 'Code: ...'"),
    (
        "card",
        "Learns from: pairs",
        "Learns from: thin air",
        "must name labels, pairs or nothing, not 'thin air'",
    ),
    ("card", "- the objective: L = P + w A", "- the objective", "'the objective' is no equation"),
    ("card", "w A", "w_{A", "the braces of 'L = .* do not pair"),
    ("card", "$A$ of", "$A of", "the dollars of .* do not pair"),
    ("card", "Paired items come together; a critic tells the sides apart.\n", "", "must follow the idea"),
    ("card", "Structure: apart\n", "", "lacks the line 'Structure: ...'"),
    (
        "place_in_the_survey",
        "Structure: apart",
        "Structure: together",
        "'Structure: together', but what the class offers makes it apart",
    ),
    (
        "place_in_the_survey",
        "Representation: real-valued",
        "Representation: binary",
        "'Representation: binary', but what the class offers makes it real-valued",
    ),
    ("card", "Differs from the paper:", "Otherwise:", "lacks 'Differs from the paper:'"),
    (
        "class_and_name",
        '__all__ = ["CLASS"]',
        '__all__ = ["Other"]\nclass Other: ...',
        "class Other does not carry the file's name",
    ),
    (
        "class_and_name",
        '__all__ = ["CLASS"]',
        '__all__ = ["CLASS", "Learner"]',
        "__all__ must hold exactly the system's class",
    ),
    ("variants", '"paper": {}, ', "", "VARIANTS lacks 'paper'"),
    ("variants", '{"epochs": 6}', '{"epoch": 6}', "tiny: there is no parameter 'epoch' of "),
    (
        "variants",
        "RECIPES = {}",
        'RECIPES = {"wikipedia": {"lr": "fast"}}',
        "wikipedia: lr of .* must be a number like",
    ),
    (
        "same_seed_same_system",
        "self.critic = ",
        "torch.seed(); self.critic = ",
        "draws weights that the seed does not decide",
    ),
    (
        "same_seed_same_system",
        "self.critic = nn.Linear(self.bits, 1, bias=False)",
        "self.critic = nn.Linear(self.bits, 1, bias=False)\n"
        "        for net in self.networks.values():\n"
        "            for p in net.parameters(): nn.init.ones_(p)",
        "draws the same weights from every seed",
    ),
    ("vectors", IMAGE, "return super().encode_image(images).astype(float)", "encode_image gives float64"),
    ("vectors", IMAGE, "return super().encode_image(images).tolist()", "encode_image gives list"),
    ("vectors", IMAGE, "return 2 * super().encode_image(images)", "gives lengths 1.99"),
    ("vectors", IMAGE, "return np.float32('nan') * super().encode_image(images)", "not finite"),
    ("vectors", IMAGE, "return super().encode_image(images)[1:]", r"encode_image gives \(6, 16\)"),
    (
        "vectors",
        "    bits: int = 16",
        '    similarity = "hamming"\n    bits: int = 16\n    def as_vectors(self, x): return x',
        "codes other than",
    ),
    (
        "vectors",
        "    bits: int = 16",
        '    similarity = "closeness"\n    bits: int = 16',
        "no similarity 'closeness'",
    ),
    (
        "number_of_bits",
        "nn.Linear(self.image_dim, self.bits)",
        "nn.Linear(self.image_dim, 16)",
        "gives 16 bits for images, not 32",
    ),
    (
        "sides_share_a_space",
        "nn.Linear(self.text_dim, self.bits)",
        "nn.Linear(self.text_dim, self.bits + 1)",
        "different dimensions",
    ),
    (
        "one_by_one_equals_batch",
        IMAGE,
        "found = super().encode_image(images); return found - found.mean(0)",
        "of one item differs from the batch's",
    ),
    (
        "order_does_not_matter",
        IMAGE,
        "found = super().encode_image(images); found[0] = 1; return found",
        "depends on the order of its inputs",
    ),
    (
        "encoding_leaves_no_trace",
        IMAGE,
        "self.image_net.train(); return self.image_net(torch.tensor(images)).detach().numpy()",
        "gives other vectors each time",
    ),
    (
        "encoding_leaves_no_trace",
        IMAGE,
        "self.image_net.eval(); return super().encode_image(images)",
        "leaves image_net in evaluation mode",
    ),
    (
        "encoding_leaves_no_trace",
        IMAGE,
        "found = super().encode_image(images); images *= 1.5; return found",
        "gives other vectors each time",
    ),
    (
        "encoding_leaves_no_trace",
        IMAGE,
        "self.text_net(torch.zeros(1, self.text_dim)).sum().backward(); return super().encode_image(images)",
        "leaves gradients in text_net",
    ),
    (
        "encoding_leaves_no_trace",
        IMAGE,
        "found = super().encode_image(images)\n"
        "        with torch.no_grad(): self.text_net.weight += 1\n"
        "        return found",
        "changes its weights when it encodes",
    ),
    (
        "saved_and_loaded",
        "        return self\n",
        "        self.shift = 1\n        return self\n\n"
        "    shift = 0\n    def as_vectors(self, x): return super().as_vectors(x + self.shift)\n",
        "encodes images differently once saved",
    ),
    (
        "learns",
        '{"pairs": pairs, ',
        '{"pairs": 0 * pairs + u.square().mean() + v.square().mean(), ',
        r"reaches MAP 0\.\d+ from image",
    ),
    (
        "above_chance_on_digits_with_64_bits",
        "logits = 10 *",
        "logits = (10 if self.bits < 64 else 0) *",
        r"reaches MAP 0\.\d+ from image on the digits data with 64 bits; 0\.4\d+ are required",
    ),
    ("gradients", '"adv": 0.01', '"dead": u.detach().mean(), "adv": 0.01', "term 'dead' has no gradient"),
    ("gradients", 'self.trainable("image_net", "text_net")', "self.trainable()", "term 'adv' trains"),
    (
        "gradients",
        "self.critic = ",
        "self.unused = nn.Linear(2, 2); self.critic = ",
        "no step ever trains unused.weight",
    ),
    (
        "goes_through_the_trainer",
        "        for _ in trainer.epochs",
        "        return self\n        for _ in trainer.epochs",
        "trained without Trainer.epochs and step",
    ),
    (
        "input_unchanged",
        "        main = ",
        "        split.image[0] = 0\n        main = ",
        "changes its training data",
    ),
    (
        "repeats",
        "        main = ",
        "        with torch.no_grad(): self.text_net.weight += torch.randn(self.bits, self.text_dim)\n"
        "        main = ",
        "does not repeat with the same seed",
    ),
    ("resumes", ", main, critic)", ", critic)", "does not resume bit for bit"),
    (
        "resumes",
        "*self.networks.values(), main",
        "self.image_net, self.critic, main",
        "does not resume bit for bit",
    ),
    (
        "poisoned_labels_change_nothing",
        '{"pairs": pairs, ',
        '{"pairs": pairs * (1 + batch.label[0, 0]), ',
        "but labels change it",
    ),
    (
        "loss_falls",
        "    def fit(",
        "    def optimizer(self): return torch.optim.SGD(self.trainable(), lr=0.1, maximize=True)\n\n"
        "    def unused_fit(",
        "the objective rose",
    ),
]

BROKEN_SCORERS = [
    (
        "scores",
        "return found.astype(np.float32)",
        "return found[None].astype(np.float32)",
        r"gives \(1, 12\)",
    ),
    ("scores", "return found.astype(np.float32)", "return found.astype(float)", r"gives \(12,\)"),
    ("scores", "return found.astype(np.float32)", "return np.full_like(found, np.nan)", "not finite"),
    (
        "permuting_permutes_scores",
        "return found.astype",
        "found[0] += 1; return found.astype",
        "depends on the order",
    ),
    (
        "pair_equals_matrix_entry",
        "return found.astype",
        "found -= found.mean(); return found.astype",
        "of a pair alone differs from its score among others",
    ),
]

BROKEN_RETRIEVERS = [
    ("ranks_the_gallery", "return run.with_hits(Hits(rows, scores))", "return run", "leaves no hits"),
    ("ranks_the_gallery", "Ranking(len(gallery), k)", "Ranking(len(gallery), k + 1)", r"have shape \(3, 6\)"),
    ("ranks_the_gallery", "% self.n\n", "+ 1000\n", r"rows \[1000 "),
    ("ranks_the_gallery", "Hits(rows, scores)", "Hits(rows, -scores)", "does not rank by score"),
    ("ranks_the_gallery", "Hits(rows, scores)", "Hits(0 * rows, scores)", r"rows \[0 0 "),
    ("ranks_the_gallery", "Hits(rows, scores)", "Hits(0 * rows - 1, scores)", "finds nothing for a query"),
    ("ranks_the_same_twice", "len(q.text) % self.n", "next(calls)", "gives other hits"),
]

Install = Callable[[str], str]
_numbers = itertools.count()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes a third party's system of a source text, found through its entry point; gives its name."""

    def installed(source: str, package: str = "") -> str:
        name = f"mine{next(_numbers)}"
        folder = tmp_path / f"package_{name}"
        folder.mkdir()
        (folder / "__init__.py").write_text(package)
        text = source.replace("NAME", name.upper()).replace("CLASS", name.capitalize())
        (folder / f"{name}.py").write_text(text)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        points = f"[diptych.systems]\n{name} = package_{name}.{name}:{name.capitalize()}\n"
        (info / "entry_points.txt").write_text(points)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return name

    yield installed  # type: ignore[misc]
    for module in [key for key in sys.modules if key.startswith("package_mine")]:
        del sys.modules[module]


def changed(source: str, old: str, new: str) -> str:
    assert old in source
    return source.replace(old, new, 1)


def check_of(name: str, label: str) -> Callable[[], None]:
    reaches = {"adv": {"image_net", "text_net"}, "critic": {"critic"}} if label == "gradients" else None
    return dict(system_checks(name, reaches=reaches))[label]


def test_the_healthy_systems_pass_every_check(install: Install) -> None:
    seen = set()
    for source in (LEARNER, changed(LEARNER, "    def fit(", "    def unused_fit("), SCORER, RETRIEVER):
        for label, check in system_checks(install(source)):
            check()
            seen.add(label)
    broken = {label for label, *_ in BROKEN + BROKEN_SCORERS + BROKEN_RETRIEVERS}
    elsewhere = {"listed_without_torch", "builds_in_seconds", "index_equals_brute_force"}
    # One check, whatever the data and the number of bits.
    elsewhere |= {label for label in seen if label.startswith("above_chance_on_")}
    assert seen == broken | elsewhere, "every check needs a system that fails it"


@pytest.mark.parametrize(
    ("label", "old", "new", "said"), BROKEN, ids=[f"{label}{at}" for at, (label, *_) in enumerate(BROKEN)]
)
def test_a_broken_learner_is_found_out(install: Install, label: str, old: str, new: str, said: str) -> None:
    check = check_of(install(changed(LEARNER, old, new)), label)
    with pytest.raises(AssertionError, match=said):
        check()


@pytest.mark.parametrize(("label", "old", "new", "said"), BROKEN_SCORERS)
def test_a_broken_scorer_is_found_out(install: Install, label: str, old: str, new: str, said: str) -> None:
    check = check_of(install(changed(SCORER, old, new)), label)
    with pytest.raises(AssertionError, match=said):
        check()


@pytest.mark.parametrize(("label", "old", "new", "said"), BROKEN_RETRIEVERS)
def test_a_broken_retriever_is_found_out(install: Install, label: str, old: str, new: str, said: str) -> None:
    check = check_of(install(changed(RETRIEVER, old, new)), label)
    with pytest.raises(AssertionError, match=said):
        check()


def test_a_package_that_imports_torch_is_found_out(install: Install) -> None:
    check = check_of(install(LEARNER, package="import torch"), "listed_without_torch")
    with pytest.raises(AssertionError, match="imports torch"):
        check()


def test_a_slow_constructor_is_found_out(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    check = check_of(install(LEARNER), "builds_in_seconds")
    clock = itertools.count(0, 6)
    monkeypatch.setattr(checks.time, "process_time", lambda: float(next(clock)))
    with pytest.raises(AssertionError, match=r"6\.0 s to build"):
        check()


def test_a_slow_training_is_found_out(install: Install) -> None:
    found = dict(system_checks(install(LEARNER), seconds=0))["learns"]
    with pytest.raises(AssertionError, match="0 s are allowed"):
        found()


def test_a_wrong_index_is_found_out(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    check = check_of(install(LEARNER), "index_equals_brute_force")
    check()
    right = Flat.search

    def wrong(self: object, queries: np.ndarray, k: int) -> object:
        return right(self, -queries, k)

    monkeypatch.setattr(Flat, "search", wrong)
    with pytest.raises(AssertionError, match="other scores than brute force"):
        check()
