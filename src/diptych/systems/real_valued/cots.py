"""COTS: Collaborative Two-Stream Vision-Language Pre-Training Model (Lu et al., CVPR 2022).

Paper: CVPR 2022, pages 15692-15701 (title ends "for Cross-Modal Retrieval"); arXiv 2204.07441
Code: none
Tables: 1
Inputs: image features and text features
Learns from: pairs

Two transformers, one a side, never see each other's tokens. They learn to tell their partner from queues of
keys that slowly moving copies of them made (instance level), to guess masked tokens from the rest of their
own and the partner's global vector (token level), and to agree on how likely each queued pair is (task
level). Pairs that are unusually dissimilar are left out.

Differs from the paper:
- A side's tokens are pieces of its feature vector, each embedded on its own, instead of patches and words.
- The discrete token of a piece is the nearest of `codes` training pieces in the same place, instead of a word
  or the output of a variational auto-encoder.
- There is no official code: temperature, weights, queue length, and the filter's rule (mean - kappa
  deviations of recent positive similarities) are our reading of the paper.
- The contrastive vectors come from an unmasked pass.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.data.base import Split
from diptych.errors import BadParameter
from diptych.learner import Learner
from diptych.nets.scaling import Scaling, fit_scaling
from diptych.trainer import Batch, Trainer

__all__ = ["COTS"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "tiny": {
        "image_dim": 32,
        "text_dim": 24,
        "tokens": 4,
        "width": 64,
        "layers": 1,
        "heads": 4,
        "dim": 32,
        "codes": 16,
        "queue": 96,
        "epochs": 20,
        "batch_size": 50,
        "lr": 1e-3,
    },
}

RECIPES: Mapping[str, Mapping[str, Any]] = {}


@dataclass(kw_only=True, eq=False)
class COTS(Learner):
    """COTS.

    Args:
        image_dim, text_dim: Dimensions of the input features.
        tokens: Pieces that a feature vector is cut into.
        width, layers, heads: Of each side's transformer.
        dim: Dimensions of the common space.
        codes: Discrete tokens of each piece.
        queue: Keys in each queue.
        momentum: Share that the slow copies keep of themselves at each step.
        temperature: tau.
        image_masked, text_masked: Share of tokens to guess.
        token_weight, task_weight: Of the token and the task level, beside the instance level's 1.
        kappa: Deviations below the mean similarity at which a pair counts as noise, from the second epoch on.
        scaling: Of the features: "none", "global" or "standard", see `diptych.nets.scaling`.
    """

    image_dim: int = 768
    text_dim: int = 768
    tokens: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12
    dim: int = 256
    codes: int = 256
    queue: int = 16384
    momentum: float = 0.99
    temperature: float = 0.05
    image_masked: float = 0.4
    text_masked: float = 0.15
    token_weight: float = 1.0
    task_weight: float = 1.0
    kappa: float = 1.0
    scaling: str = "standard"
    epochs: int = 30
    batch_size: int = 256
    lr: float = 1e-4

    def __post_init__(self) -> None:
        if not 1 <= self.tokens <= min(self.image_dim, self.text_dim):
            raise BadParameter(
                f"tokens of COTS must be from 1 to the smaller feature dimension "
                f"({min(self.image_dim, self.text_dim)}), not {self.tokens}"
            )
        if self.queue < 1 or not 0 <= self.momentum <= 1 or self.temperature <= 0:
            raise BadParameter("COTS needs queue >= 1, momentum from 0 to 1 and temperature > 0")
        self.image_net, self.text_net = self._tower(self.image_dim), self._tower(self.text_dim)
        self.image_key, self.text_key = _frozen(self.image_net), _frozen(self.text_net)
        self.image_guess, self.text_guess = (Guess(self.dim, self.width, self.codes) for _ in range(2))
        self.queues = Queues(self.queue, self.dim)

    def _tower(self, inputs: int) -> Tower:
        return Tower(
            inputs, self.dim, tokens=self.tokens, width=self.width, layers=self.layers,
            heads=self.heads, codes=self.codes, scaling=self.scaling,
        )  # fmt: skip

    def prepare(self, split: Split) -> None:
        """Take the statistics and the discrete tokens of the training features."""
        for side, net, key in (
            ("image", self.image_net, self.image_key),
            ("text", self.text_net, self.text_key),
        ):
            rows = self.features(getattr(split, side), side)
            fit_scaling(net, rows)
            assert isinstance(net, Tower)
            net.take_codes(torch.from_numpy(rows).to(self.device))
            key.load_state_dict(net.state_dict())

    def fit(self, split: Split, trainer: Trainer) -> Self:
        """Learn from pairs: losses, step, momentum update, queues, in this order."""
        self.check(split)
        self.prepare(split)
        optimizer = self.optimizer()
        for epoch in trainer.epochs(self.epochs, keep=(*self.networks.values(), optimizer)):
            for batch in trainer.batches(split, self.batch_size):
                kept = self.clean(batch, filtering=epoch > 0)
                if not kept.any():
                    continue
                image, text = batch.image[kept], batch.text[kept]
                with torch.no_grad():
                    keys = _unit(self.image_key(image)), _unit(self.text_key(text))
                trainer.step(optimizer, self.terms(image, text, *keys))
                follow(self.image_key, self.image_net, momentum=self.momentum)
                follow(self.text_key, self.text_net, momentum=self.momentum)
                self.queues.add(*keys)
        return self

    @torch.no_grad()
    def clean(self, batch: Batch, *, filtering: bool) -> Tensor:
        """Which pairs (b,) of a batch to learn from; remembers the similarities of all of them."""
        positive = (_unit(self.image_net(batch.image)) * _unit(self.text_net(batch.text))).sum(dim=1)
        recent = self.queues.recent()
        self.queues.remember(positive)
        if not filtering:
            return torch.ones_like(positive, dtype=torch.bool)
        return trusted(positive, recent, kappa=self.kappa)

    def terms(self, image: Tensor, text: Tensor, image_key: Tensor, text_key: Tensor) -> dict[str, Tensor]:
        """The three levels, weighed; the task level only once the queues are full.

        Args:
            image, text: Features (b, d) of pairs.
            image_key, text_key: Their unit keys (b, dim), without gradient.
        """
        f, g = _unit(self.image_net(image)), _unit(self.text_net(text))
        to_text = log_match(f, text_key, self.queues.text, temperature=self.temperature)
        to_image = log_match(g, image_key, self.queues.image, temperature=self.temperature)
        found = {"instance": -(to_text[:, 0] + to_image[:, 0]).mean()}
        if self.token_weight:
            guessed = self.image_guess(self.image_net, image, g, self.image_masked)
            guessed = guessed + self.text_guess(self.text_net, text, f, self.text_masked)
            found["token"] = self.token_weight * guessed
        if self.task_weight and self.queues.full:
            found["task"] = self.task_weight * disagreement(to_text, to_image)
        return found


class Tower(nn.Module):
    """Cuts a vector into pieces, reads them with a transformer and projects its first output.

    Args:
        inputs, outputs: Dimensions of the vector and of the result.
        tokens, width, layers, heads, codes, scaling: As in `COTS`.
    """

    codebook: Tensor

    def __init__(
        self, inputs: int, outputs: int, *, tokens: int, width: int, layers: int, heads: int, codes: int,
        scaling: str,
    ) -> None:  # fmt: skip
        super().__init__()
        self.tokens, self.codes = tokens, codes
        self.size = -(-inputs // tokens)
        self.scaling = Scaling(inputs, scaling)
        self.embed = nn.Linear(self.size, width)
        self.place = nn.Parameter(0.02 * torch.randn(1 + tokens, width))
        self.mask = nn.Parameter(0.02 * torch.randn(width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.project = nn.Linear(width, outputs)
        self.register_buffer("codebook", torch.randn(tokens, codes, self.size))

    def pieces(self, x: Tensor) -> Tensor:
        """(b, inputs) to (b, tokens, size), scaled; the last piece is padded with zeros."""
        x = self.scaling(x)
        padded = functional.pad(x, (0, self.tokens * self.size - x.shape[1]))
        return padded.reshape(len(x), self.tokens, self.size)

    def hidden(self, x: Tensor, masked: Tensor | None = None) -> Tensor:
        """Outputs (b, 1 + tokens, width), the global one first; tokens masked (b, tokens) are not seen."""
        tokens = self.embed(self.pieces(x))
        if masked is not None:
            tokens = torch.where(masked[..., None], self.mask, tokens)
        first = torch.zeros_like(tokens[:, :1])
        states: Tensor = self.encoder(torch.cat([first, tokens], dim=1) + self.place)
        return states

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs) to (b, outputs), not normalised."""
        projected: Tensor = self.project(self.hidden(x)[:, 0])
        return projected

    @torch.no_grad()
    def take_codes(self, x: Tensor) -> None:
        """Make the pieces of evenly spaced training rows (n, inputs) the discrete tokens."""
        rows = torch.linspace(0, len(x) - 1, self.codes, device=x.device).long()
        self.codebook.copy_(self.pieces(x[rows]).transpose(0, 1))

    @torch.no_grad()
    def discrete(self, x: Tensor) -> Tensor:
        """Discrete tokens (b, tokens) int64 of (b, inputs)."""
        distance = torch.cdist(self.pieces(x).transpose(0, 1), self.codebook)  # (tokens, b, codes)
        return distance.argmin(dim=2).T


class Guess(nn.Module):
    """Guesses masked tokens from their outputs plus the projected global vector of the other side."""

    def __init__(self, dim: int, width: int, codes: int) -> None:
        super().__init__()
        self.partner = nn.Linear(dim, width, bias=False)
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, codes))

    def forward(self, tower: Tower, x: Tensor, partner: Tensor, share: float) -> Tensor:
        """Mean cross-entropy over a random share of the tokens of x (b, inputs), at least one an item."""
        count = max(1, round(share * tower.tokens))
        order = torch.rand(len(x), tower.tokens, device=x.device).argsort(dim=1)
        masked = order < count
        states = tower.hidden(x, masked)[:, 1:] + self.partner(partner)[:, None]
        return functional.cross_entropy(self.head(states[masked]), tower.discrete(x)[masked])


class Queues(nn.Module):
    """Two rings of keys in which one place always holds one pair, and one of recent similarities.

    Args:
        length: Places.
        dim: Dimensions of a key.
    """

    image: Tensor
    text: Tensor
    similarity: Tensor
    added: Tensor
    seen: Tensor

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.length = length
        self.register_buffer("image", _unit(torch.randn(length, dim)))
        self.register_buffer("text", _unit(torch.randn(length, dim)))
        self.register_buffer("similarity", torch.zeros(length))
        self.register_buffer("added", torch.zeros((), dtype=torch.int64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @property
    def full(self) -> bool:
        """Whether no random key is left."""
        return int(self.added) >= self.length

    def add(self, image: Tensor, text: Tensor) -> None:
        """Put the keys (b, dim) of pairs over the oldest."""
        places = self._places(self.added, len(image))
        self.image[places], self.text[places] = image[-self.length :], text[-self.length :]
        self.added += len(image)

    def remember(self, similarity: Tensor) -> None:
        """Put the similarities (b,) of positive pairs over the oldest."""
        self.similarity[self._places(self.seen, len(similarity))] = similarity[-self.length :]
        self.seen += len(similarity)

    def recent(self) -> Tensor:
        """A copy of the similarities remembered, at most `length`."""
        return self.similarity[: int(self.seen)].clone()

    def _places(self, done: Tensor, count: int) -> Tensor:
        """Where the last `length` of `count` new entries go; the ring wraps anywhere."""
        return (done + torch.arange(count, device=done.device)[-self.length :]) % self.length


def log_match(anchor: Tensor, key: Tensor, queue: Tensor, *, temperature: float) -> Tensor:
    """Log-probabilities (b, 1 + n) of the own key (b, dim), first, and the queued ones (n, dim)."""
    positive = (anchor * key).sum(dim=1, keepdim=True)
    # A copy, because the queue changes in place before a second backward pass could need it.
    logits = torch.cat([positive, anchor @ queue.clone().T], dim=1) / temperature
    return functional.log_softmax(logits, dim=1)


def disagreement(first: Tensor, second: Tensor) -> Tensor:
    """Half the sum of both Kullback-Leibler divergences of log-probabilities (b, n), mean over the rows."""
    return ((first.exp() - second.exp()) * (first - second)).sum(dim=1).mean() / 2


def trusted(similarity: Tensor, recent: Tensor, *, kappa: float) -> Tensor:
    """Which similarities (b,) are at least mean - kappa deviations of the recent ones (n,)."""
    if len(recent) == 0 or kappa == float("inf"):
        return torch.ones_like(similarity, dtype=torch.bool)
    return similarity >= recent.mean() - kappa * recent.std(correction=0)


@torch.no_grad()
def follow(key: nn.Module, net: nn.Module, *, momentum: float) -> None:
    """Move the parameters of `key` to momentum * key + (1 - momentum) * net."""
    for slow, fast in zip(key.parameters(), net.parameters(), strict=True):
        slow.mul_(momentum).add_(fast, alpha=1 - momentum)


def _frozen(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net).requires_grad_(False)


def _unit(x: Tensor) -> Tensor:
    return functional.normalize(x, dim=-1)
