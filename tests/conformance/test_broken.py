"""Each check can fail: a healthy system passes all of them, and one broken on purpose fails the one meant."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diptych.testing import checks
from diptych.testing.checks import check_system

LEARNER = '''"""NAME: A healthy system (Somebody, Nowhere 2026).

Paper: none
Code: none
Inputs: features
Learns from: pairs

Paired items come together; a critic tells the sides apart.

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

    def score(self, images, texts):
        found = np.asarray(images)[:, :8] @ np.asarray(texts)[:, :8].T
        return found.astype(np.float32)
'''

RETRIEVER = '''"""NAME: A healthy retriever (Somebody, Nowhere 2026).

Paper: none
Code: none
Inputs: pictures
Learns from: nothing

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
    def over(self, gallery, k):
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
    ("card", "Code: none\n", ""),
    ("card", "Learns from: pairs", "Learns from: thin air"),
    ("card", "Differs from the paper:", "Otherwise:"),
    ("class_and_name", '__all__ = ["CLASS"]', '__all__ = ["Other"]\nclass Other: ...'),
    ("class_and_name", '__all__ = ["CLASS"]', '__all__ = ["CLASS", "Learner"]'),
    ("variants", '"paper": {}, ', ""),
    ("variants", '{"epochs": 6}', '{"epoch": 6}'),
    ("variants", "RECIPES = {}", 'RECIPES = {"wikipedia": {"lr": "fast"}}'),
    ("same_seed_same_system", "self.critic = ", "torch.seed(); self.critic = "),
    (
        "same_seed_same_system",
        "self.critic = nn.Linear(self.bits, 1, bias=False)",
        "self.critic = nn.Linear(self.bits, 1, bias=False)\n"
        "        for net in self.networks.values():\n"
        "            for p in net.parameters(): nn.init.ones_(p)",
    ),
    ("vectors", IMAGE, "return super().encode_image(images).astype(float)"),
    ("vectors", IMAGE, "return super().encode_image(images).tolist()"),
    ("vectors", IMAGE, "return 2 * super().encode_image(images)"),
    ("vectors", IMAGE, "return np.float32('nan') * super().encode_image(images)"),
    ("vectors", IMAGE, "return super().encode_image(images)[1:]"),
    (
        "vectors",
        "    bits: int = 16",
        '    similarity = "hamming"\n    bits: int = 16\n    def as_vectors(self, x): return x',
    ),
    ("vectors", "    bits: int = 16", '    similarity = "closeness"\n    bits: int = 16'),
    ("number_of_bits", "nn.Linear(self.image_dim, self.bits)", "nn.Linear(self.image_dim, 16)"),
    ("sides_share_a_space", "nn.Linear(self.text_dim, self.bits)", "nn.Linear(self.text_dim, self.bits + 1)"),
    ("one_by_one_equals_batch", IMAGE, "found = super().encode_image(images); return found - found.mean(0)"),
    (
        "order_does_not_matter",
        IMAGE,
        "found = super().encode_image(images); found[0] = 1; return found",
    ),
    (
        "encoding_leaves_no_trace",
        IMAGE,
        "self.image_net.train(); return self.image_net(torch.tensor(images)).detach().numpy()",
    ),
    ("encoding_leaves_no_trace", IMAGE, "self.image_net.eval(); return super().encode_image(images)"),
    ("encoding_leaves_no_trace", IMAGE, "found = super().encode_image(images); images *= 1.5; return found"),
    (
        "encoding_leaves_no_trace",
        IMAGE,
        "self.text_net(torch.zeros(1, self.text_dim)).sum().backward(); return super().encode_image(images)",
    ),
    (
        "encoding_leaves_no_trace",
        IMAGE,
        "found = super().encode_image(images)\n"
        "        with torch.no_grad(): self.text_net.weight += 1\n"
        "        return found",
    ),
    (
        "saved_and_loaded",
        "        return self\n",
        "        self.shift = 1\n        return self\n\n"
        "    shift = 0\n    def as_vectors(self, x): return super().as_vectors(x + self.shift)\n",
    ),
    ("learns", '{"pairs": pairs, ', '{"pairs": 0 * pairs + u.square().mean() + v.square().mean(), '),
    ("gradients", '"adv": 0.01', '"dead": u.detach().mean(), "adv": 0.01'),
    ("gradients", 'self.trainable("image_net", "text_net")', "self.trainable()"),
    ("gradients", "self.critic = ", "self.unused = nn.Linear(2, 2); self.critic = "),
    (
        "goes_through_the_trainer",
        "        for _ in trainer.epochs",
        "        return self\n        for _ in trainer.epochs",
    ),
    ("input_unchanged", "        main = ", "        split.image[0] = 0\n        main = "),
    (
        "repeats",
        "        main = ",
        "        with torch.no_grad(): self.text_net.weight += torch.randn(self.bits, self.text_dim)\n"
        "        main = ",
    ),
    ("resumes", ", main, critic)", ", critic)"),
    ("resumes", "*self.networks.values(), main", "self.image_net, self.critic, main"),
    ("poisoned_labels_change_nothing", '{"pairs": pairs, ', '{"pairs": pairs * (1 + batch.label[0, 0]), '),
    (
        "loss_falls",
        "    def fit(",
        "    def optimizer(self): return torch.optim.SGD(self.trainable(), lr=0.1, maximize=True)\n\n"
        "    def unused_fit(",
    ),
]  # fmt: skip

BROKEN_SCORERS = [
    ("scores", "return found.astype(np.float32)", "return found.T.astype(np.float32)"),
    ("scores", "return found.astype(np.float32)", "return found.astype(float)"),
    ("scores", "return found.astype(np.float32)", "return np.full_like(found, np.nan)"),
    ("permuting_permutes_scores", "return found.astype", "found[0] += 1; return found.astype"),
    ("pair_equals_matrix_entry", "return found.astype", "found -= found.mean(); return found.astype"),
]

BROKEN_RETRIEVERS = [
    ("ranks_the_gallery", "return run.with_hits(Hits(rows, scores))", "return run"),
    ("ranks_the_gallery", "Ranking(len(gallery), k)", "Ranking(len(gallery), k + 1)"),
    ("ranks_the_gallery", "% self.n\n", "+ 1000\n"),
    ("ranks_the_gallery", "Hits(rows, scores)", "Hits(rows, -scores)"),
    ("ranks_the_gallery", "Hits(rows, scores)", "Hits(0 * rows, scores)"),
    ("ranks_the_gallery", "Hits(rows, scores)", "Hits(0 * rows - 1, scores)"),
    ("ranks_the_same_twice", "len(q.text) % self.n", "next(calls)"),
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
    return dict(check_system(name, reaches=reaches))[label]


def test_the_healthy_systems_pass_every_check(install: Install) -> None:
    seen = set()
    for source in (LEARNER, changed(LEARNER, "    def fit(", "    def unused_fit("), SCORER, RETRIEVER):
        for label, check in check_system(install(source)):
            check()
            seen.add(label)
    broken = {label for label, _, _ in BROKEN + BROKEN_SCORERS + BROKEN_RETRIEVERS}
    elsewhere = {"listed_without_torch", "builds_in_seconds", "index_equals_brute_force"}
    assert seen == broken | elsewhere, "every check needs a system that fails it"


@pytest.mark.parametrize(
    ("label", "old", "new"), BROKEN, ids=[f"{label}{at}" for at, (label, _, _) in enumerate(BROKEN)]
)
def test_a_broken_learner_is_found_out(install: Install, label: str, old: str, new: str) -> None:
    check = check_of(install(changed(LEARNER, old, new)), label)
    with pytest.raises(AssertionError):
        check()


@pytest.mark.parametrize(("label", "old", "new"), BROKEN_SCORERS)
def test_a_broken_scorer_is_found_out(install: Install, label: str, old: str, new: str) -> None:
    check = check_of(install(changed(SCORER, old, new)), label)
    with pytest.raises(AssertionError):
        check()


@pytest.mark.parametrize(("label", "old", "new"), BROKEN_RETRIEVERS)
def test_a_broken_retriever_is_found_out(install: Install, label: str, old: str, new: str) -> None:
    check = check_of(install(changed(RETRIEVER, old, new)), label)
    with pytest.raises(AssertionError):
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
    found = dict(check_system(install(LEARNER), seconds=0))["learns"]
    with pytest.raises(AssertionError, match="0 s are allowed"):
        found()


def test_a_wrong_index_is_found_out(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = pytest.importorskip("diptych.index.flat", reason="the index is not there yet")
    check = check_of(install(LEARNER), "index_equals_brute_force")
    check()
    right = flat.Flat.search

    def wrong(self: object, queries: np.ndarray, k: int) -> object:
        return right(self, -queries, k)

    monkeypatch.setattr(flat.Flat, "search", wrong)
    with pytest.raises(AssertionError, match="other scores than brute force"):
        check()
