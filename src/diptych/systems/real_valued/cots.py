r"""COTS: Collaborative Two-Stream Vision-Language Pre-Training Model (Lu et al., CVPR 2022).

Paper: CVPR 2022, pages 15692-15701 (title ends "for Cross-Modal Retrieval"); arXiv 2204.07441
Code: none
Tables: 1
Inputs: pictures and texts (variants raw, raw-tiny), or image features and text features
Learns from: pairs
Structure: apart
Representation: real-valued
Survey: Table 1: two-stream pre-training, momentum contrast, masked vision-language modelling. Strengths:
    the best of two-stream methods, inference 10,800 times as fast as single-stream ones; weakness: hangs on
    the quality of pre-training.

Two transformers, one a side, never see each other's tokens. They learn to tell their partner from queues of
keys that slowly moving copies of them made (instance level), to guess masked tokens from the rest of their
own and the partner's global vector (token level), and to agree on how likely each queued pair is (task
level). Pairs that are unusually dissimilar are left out.

`cots:raw` reads pixels in patches and word pieces as the paper does; `cots` and `cots:tiny` read features.

Equations:
- the objective: \mathcal{L} = \mathcal{L}_{\mathrm{instance}} + w_1 \mathcal{L}_{\mathrm{token}}
    + w_2 \mathcal{L}_{\mathrm{task}}
- instance level, own keys before queued ones: \mathcal{L}_{\mathrm{instance}} = -\frac1b \sum_i \left(
    \log p^v_{i0} + \log p^t_{i0} \right)
- how likely key k is: p^v_{ik} = \frac{\exp(f_i^\top q^t_{ik} / \tau)}{\sum_l \exp(f_i^\top q^t_{il} / \tau)}
- token level, of each side: \mathcal{L}_{\mathrm{token}} = -\frac{1}{|M|} \sum_{m \in M}
    \log p(c_m \mid h_m + W g)
- task level, both directions agree: \mathcal{L}_{\mathrm{task}} = \frac{1}{2b} \sum_{ik}
    (p^v_{ik} - p^t_{ik}) (\log p^v_{ik} - \log p^t_{ik})
- copies that make keys, and pairs that count: \theta' \leftarrow m \theta' + (1 - m) \theta, \quad
    f_i^\top g_i \ge \mu - \kappa \sigma
where $f_i$ and $g_i$ are vectors of image and text at unit length, $q^t_{i0}$ is the own text's key and the
others are queued ($p^t$ has both sides exchanged), $M$ are the hidden tokens, $c_m$ their discrete tokens,
$h_m$ their outputs and $g$ the other side's vector, and $\mu$ and $\sigma$ are mean and deviation of recent
similarities of pairs.

Differs from the paper:
- The discrete token of a patch is the nearest of `codes` training patches, instead of the output of a
  variational auto-encoder, whose weights are not at hand; that of a word is the word piece itself, as in the
  paper.
- The variants that read pictures start from drawn weights, do not augment pictures, and learn their word
  pieces from the training texts unless `tokens@FOLDER` brings BERT's.
- In the variants that read features, a side's tokens are pieces of its feature vector, each embedded on its
  own, and the discrete token of a piece is the nearest of `codes` training pieces in the same place.
- There is no official code: temperature, weights, queue length, and the filter's rule (mean - kappa
  deviations of recent positive similarities) are our reading of the paper.
- The contrastive vectors come from an unmasked pass.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.data.base import InputKind, Split
from diptych.errors import BadParameter
from diptych.nets.scaling import Scaling, fit_scaling
from diptych.nets.tokens import Patches, Words
from diptych.nets.transformer import Transformer
from diptych.training.learner import Learner
from diptych.training.trainer import Batch, Trainer

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
    "raw": {"inputs": "raw", "codes": 8192},
    "raw-tiny": {
        "inputs": "raw",
        "image_size": 32,
        "patch": 8,
        "text_length": 24,
        "vocabulary": 512,
        "width": 64,
        "layers": 1,
        "heads": 4,
        "dim": 32,
        "codes": 64,
        "queue": 32,
        "momentum": 0.9,
        "epochs": 16,
        "batch_size": 16,
        "lr": 2e-3,
    },
}
FEATURES: Mapping[str, str] = {
    "raw": "image=pixels:224,text=tokens:40",
    "raw-tiny": "image=pixels:32,text=tokens:24",
}
RECIPES: Mapping[str, Mapping[str, Any]] = {}


@dataclass(kw_only=True, eq=False)
class COTS(Learner):
    """COTS.

    Args:
        inputs: "features", or "raw" for pixels and word pieces.
        image_dim, text_dim: Dimensions of the input features.
        image_size, patch: Width and height of the pictures and of their patches.
        text_length, vocabulary: Word pieces of a text, and how many different ones there are.
        tokens: Pieces that a feature vector is cut into.
        width, layers, heads: Of each side's transformer.
        dim: Dimensions of the common space.
        codes: Discrete tokens of each piece of a feature vector, or of the patches.
        queue: Keys in each queue.
        momentum: Share that the slow copies keep of themselves at each step.
        temperature: tau.
        image_masked, text_masked: Share of tokens to guess.
        token_weight, task_weight: Of the token and the task level, beside the instance level's 1.
        kappa: Deviations below the mean similarity at which a pair counts as noise, from the second epoch on.
        scaling: Of the features: "none", "global" or "standard", see `diptych.nets.scaling`.

    Raises:
        BadParameter: other inputs, more pieces than features, patches that do not fill a picture, or values
            that cannot be.
    """

    image_net: Tower = field(init=False, repr=False)
    text_net: Tower = field(init=False, repr=False)

    inputs: str = "features"
    image_dim: int = 768
    text_dim: int = 768
    image_size: int = 224
    patch: int = 16
    text_length: int = 40
    vocabulary: int = 30522
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
        if self.inputs not in ("features", "raw"):
            raise BadParameter(f"inputs of COTS must be features or raw, not {self.inputs!r}")
        if self.inputs == "features" and not 1 <= self.tokens <= min(self.image_dim, self.text_dim):
            raise BadParameter(
                f"tokens of COTS must be from 1 to the smaller feature dimension "
                f"({min(self.image_dim, self.text_dim)}), not {self.tokens}"
            )
        if self.queue < 1 or not 0 <= self.momentum <= 1 or self.temperature <= 0:
            raise BadParameter("COTS needs queue >= 1, momentum from 0 to 1 and temperature > 0")
        if self.inputs == "raw":
            self.image_net, self.text_net = self._picture_tower(), self._word_tower()
        else:
            self.image_net, self.text_net = map(self._feature_tower, (self.image_dim, self.text_dim))
        self.image_key, self.text_key = _frozen(self.image_net), _frozen(self.text_net)
        words = self.vocabulary if self.inputs == "raw" else self.codes
        self.image_guess, self.text_guess = (
            Guess(self.dim, self.width, codes) for codes in (self.codes, words)
        )
        self.queues = Queues(self.queue, self.dim)

    @property
    def reads(self) -> dict[str, InputKind]:
        """Pixels and tokens, or features."""
        if self.inputs == "raw":
            return {"image": "pixels", "text": "tokens"}
        return {"image": "features", "text": "features"}

    def _picture_tower(self) -> Tower:
        """A vision transformer."""
        return Tower(
            Patches(self.image_size, self.patch, self.width),
            _mask(self.width),
            Transformer(self.width, self.layers, self.heads, norm_first=True),
            nn.Linear(self.width, self.dim),
            PatchCodes(self.codes, 3 * self.patch**2),
        )

    def _word_tower(self) -> Tower:
        """BERT."""
        return Tower(
            Words(self.vocabulary, self.text_length, self.width),
            _mask(self.width),
            Transformer(self.width, self.layers, self.heads, norm_first=False),
            nn.Linear(self.width, self.dim),
            WordCodes(),
        )

    def _feature_tower(self, inputs: int) -> Tower:
        """A transformer over the pieces of a vector."""
        pieces, mask = Pieces(inputs, self.tokens, self.width, self.scaling), _mask(self.width)
        layer = nn.TransformerEncoderLayer(
            self.width, self.heads, 4 * self.width, dropout=0.0, activation="gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        norm = nn.LayerNorm(self.width)
        return Tower(
            pieces,
            mask,
            nn.TransformerEncoder(layer, self.layers, norm, enable_nested_tensor=False),
            nn.Linear(self.width, self.dim),
            PieceCodes(self.tokens, self.codes, pieces.size),
        )

    def study(self, split: Split) -> None:
        """Take the statistics and the discrete tokens of the training data."""
        for side, net, key in (
            ("image", self.image_net, self.image_key),
            ("text", self.text_net, self.text_key),
        ):
            rows = getattr(split, side)
            if self.inputs == "features":
                rows = self.checked_inputs(rows, side)
                fit_scaling(net, rows)
            net.codes.take(rows, net.reader.pieces)
            key.load_state_dict(net.state_dict())

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """Learn from pairs: losses, step, momentum update, queues, in this order."""
        trainer = self.begin(split, trainer)
        self.study(split)
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
            image, text: Features (b, d), or pixels and word pieces, of pairs.
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
    """Reads one side with a transformer, some tokens hidden if need be, and projects its first output.

    Args:
        reader: Turns the input into tokens.
        mask: (width,) stands for a token that is hidden.
        encoder: The transformer.
        project: From its first output to the common space.
        codes: The discrete tokens that are guessed.
    """

    def __init__(
        self,
        reader: Pieces | Patches | Words,
        mask: nn.Parameter,
        encoder: nn.Module,
        project: nn.Module,
        codes: PieceCodes | PatchCodes | WordCodes,
    ) -> None:
        super().__init__()
        self.reader, self.mask, self.encoder = reader, mask, encoder
        self.project, self.codes = project, codes

    def hidden(self, x: Tensor, masked: Tensor | None = None) -> Tensor:
        """Outputs (b, n, width), the global one first; tokens masked (b, tokens) are not seen.

        Pieces and patches stand behind the global one, so that n = 1 + tokens; of words the first, [CLS], is
        the global one.
        """
        tokens = self.reader.tokens(x)
        if masked is not None:
            tokens = torch.where(masked[..., None], self.mask, tokens)
        states: Tensor = self.encoder(self.reader.placed(tokens), src_key_padding_mask=self.reader.padding(x))
        return states

    def forward(self, x: Tensor) -> Tensor:
        """(b, ...) to (b, outputs), not normalised."""
        projected: Tensor = self.project(self.hidden(x)[:, 0])
        return projected

    def hide(self, x: Tensor, share: float) -> Tensor:
        """(b, tokens), True for a random share of each item's tokens, at least one of those that there are.

        Of a text, neither padding nor the first and the last piece, which are no words.
        """
        shape = (len(x), self.reader.count)
        allowed = (
            self.reader.inner(x)
            if isinstance(self.reader, Words)
            else torch.ones(shape, dtype=torch.bool, device=x.device)
        )
        there = allowed.sum(dim=1)
        count = (share * there.double()).round().long().clamp(min=1).minimum(there)
        order = torch.rand(shape, device=x.device).argsort(dim=1)
        # Twice argsort is the rank among what is allowed; without anything forbidden, the order itself.
        rank = order.masked_fill(~allowed, shape[1]).argsort(dim=1).argsort(dim=1)
        return rank < count[:, None]


class Pieces(nn.Module):
    """A feature vector cut into pieces, each embedded alike, behind a token for all of it.

    Args:
        inputs: Features.
        tokens: Pieces.
        width: Of a token.
        scaling: See `diptych.nets.scaling`.
    """

    def __init__(self, inputs: int, tokens: int, width: int, scaling: str) -> None:
        super().__init__()
        self.count, self.size = tokens, -(-inputs // tokens)
        self.scaling = Scaling(inputs, scaling)
        self.embed = nn.Linear(self.size, width)
        self.place = nn.Parameter(0.02 * torch.randn(1 + tokens, width))

    def pieces(self, x: Tensor) -> Tensor:
        """(b, inputs) to (b, tokens, size), scaled; the last piece is padded with zeros."""
        x = self.scaling(x)
        padded = functional.pad(x, (0, self.count * self.size - x.shape[1]))
        return padded.reshape(len(x), self.count, self.size)

    def tokens(self, x: Tensor) -> Tensor:
        """(b, inputs) to (b, tokens, width), without places."""
        tokens: Tensor = self.embed(self.pieces(x))
        return tokens

    def placed(self, tokens: Tensor) -> Tensor:
        """(b, tokens, width) to (b, 1 + tokens, width), the whole vector's first."""
        whole = torch.zeros_like(tokens[:, :1])
        return torch.cat([whole, tokens], dim=1) + self.place

    def padding(self, x: Tensor) -> Tensor | None:
        """None: every piece means something."""
        return None


class PieceCodes(nn.Module):
    """Discrete tokens of pieces: the nearest of training pieces in the same place."""

    codebook: Tensor

    def __init__(self, places: int, codes: int, size: int) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.randn(places, codes, size))

    @torch.no_grad()
    def take(self, rows: Any, pieces: Callable[[Tensor], Tensor]) -> None:
        """Make the pieces of evenly spaced training rows (n, inputs) the discrete tokens."""
        chosen = torch.linspace(0, len(rows) - 1, self.codebook.shape[1]).long()
        found = pieces(torch.from_numpy(rows)[chosen].to(self.codebook.device))
        self.codebook.copy_(found.transpose(0, 1))

    @torch.no_grad()
    def forward(self, pieces: Tensor, masked: Tensor) -> Tensor:
        """Discrete tokens (m,) int64 of the m among pieces (b, tokens, size) that masked (b, tokens) says."""
        distance = torch.cdist(pieces.transpose(0, 1), self.codebook)  # (tokens, b, codes)
        return distance.argmin(dim=2).T[masked]


class PatchCodes(nn.Module):
    """Discrete tokens of patches: the nearest of training patches, wherever they were."""

    codebook: Tensor

    def __init__(self, codes: int, size: int) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.randn(codes, size))

    @torch.no_grad()
    def take(self, rows: Any, pieces: Callable[[Tensor], Tensor]) -> None:
        """Make evenly spaced patches of the training pictures (n, 3, h, w) the discrete tokens."""
        places = pieces(torch.from_numpy(np.array(rows[:1])).to(self.codebook.device)).shape[1]
        at = np.linspace(0, len(rows) * places - 1, len(self.codebook)).astype(np.int64)
        for part in np.array_split(np.arange(len(at)), -(-len(at) // 256)):
            row, place = np.divmod(at[part], places)
            found = pieces(torch.from_numpy(np.array(rows[row])).to(self.codebook.device))
            self.codebook[part] = found[np.arange(len(part)), place]

    @torch.no_grad()
    def forward(self, pieces: Tensor, masked: Tensor) -> Tensor:
        """Discrete tokens (m,) int64 of the m among patches (b, n, size) that masked (b, n) says."""
        return torch.cdist(pieces[masked], self.codebook).argmin(dim=1)


class WordCodes(nn.Module):
    """Discrete tokens of words: their own numbers."""

    def take(self, rows: Any, pieces: Callable[[Tensor], Tensor]) -> None:
        """There is nothing to take."""

    def forward(self, pieces: Tensor, masked: Tensor) -> Tensor:
        """Numbers (m,) int64 of the m among word pieces (b, length) that masked (b, length) says."""
        return pieces[masked]


class Guess(nn.Module):
    """Guesses masked tokens from their outputs plus the projected global vector of the other side."""

    def __init__(self, dim: int, width: int, codes: int) -> None:
        super().__init__()
        self.partner = nn.Linear(dim, width, bias=False)
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, codes))

    def forward(self, tower: Tower, x: Tensor, partner: Tensor, share: float) -> Tensor:
        """Mean cross-entropy over a random share of the tokens of x (b, ...), see `Tower.hide`."""
        masked = tower.hide(x, share)
        # Only pieces and patches have a global token before them.
        states: Tensor = tower.hidden(x, masked)[:, -tower.reader.count :] + self.partner(partner)[:, None]
        if not masked.any():  # texts without a word
            return 0 * states.sum()
        targets: Tensor = tower.codes(tower.reader.pieces(x), masked)
        return functional.cross_entropy(self.head(states[masked]), targets)


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


def _mask(width: int) -> nn.Parameter:
    return nn.Parameter(0.02 * torch.randn(width))


def _unit(x: Tensor) -> Tensor:
    return functional.normalize(x, dim=-1)
