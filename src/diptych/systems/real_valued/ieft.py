r"""IEFT: Interacting-Enhancing Feature Transformer for Cross-Modal Retrieval (Tang et al., IEEE TGRS 2023).

Paper: "... for Cross-Modal Remote-Sensing Image and Text Retrieval", IEEE TGRS 2023
Code: TangXu-Group/Cross-modal-remote-sensing-image-and-text-retrieval-models@8475de0 (folder IEFT)
Tables: 1 (which describes two streams; the code is a single one)
Inputs: pictures and texts (variants raw, raw-tiny), or image features and text features
Learns from: pairs
Structure: together
Representation: real-valued
Survey: Table 1: features enhanced channel by channel. Strength: both sides are embedded at once, which
    eases misalignment; weakness: looks at differences between modalities only. Described as two streams;
    its code reads both sides as one.

One transformer reads words and patches together and scores the pair; there is no vector of either side, so it
can only rank what something else has found. Before three of its blocks the patches are enhanced: attention
between their channels, then a gated depth-wise convolution over their grid.

`ieft:raw` reads pixels in patches and word pieces as the paper does; `ieft` and `ieft:tiny` read features.

Equations:
- the objective: \mathcal{L} = -\frac1b \sum_i \log
    \frac{\exp(s(x_i, y_i))}{\exp(s(x_i, y_i)) + \sum_{y \in F_i} \exp(s(x_i, y))}
- the score, of the first word's output: s(x, y) = w^\top \tanh(W \operatorname{LN}(h_0) + b) + c
- patches, by attention between channels: P' = B(P^\top)^\top
- and by a gated convolution over their grid: P'' = P' + (\operatorname{GELU}(C_1) \odot C_2) W_2, \quad
    (C_1, C_2) = \operatorname{DW}(\operatorname{LN}(P') W_1)
where $F_i$ are random captions of other images, $h_0$ is what the last block gives for the first word, $B$ a
transformer block whose tokens are the channels, DW a depth-wise convolution of 3 x 3, and $P''$ goes into the
next block. With `symmetric` the loss is the mean of this one and that of each caption's images.

Differs from the paper:
- In the variants that read features, patches and words come from feature vectors by learned linear maps, so
  that the patches have the places of a grid but not its meaning.
- The variants that read pictures start from drawn weights (the code from ViLT's), see every picture as a
  square without augmentation (the code also takes oblong ones, which its own grid cannot), and learn their
  word pieces from the training texts unless `tokens@FOLDER` brings BERT's.
- `raw` takes 32 pairs a step, where the code gathers the gradients of 256: each image is read 16 times.
- Only the blocks that are used exist (the code builds twelve and runs six), and patches keep their order (the
  code shuffles them at every call).
- False captions are the other captions of a batch; those of the same image are no false ones, nor are those
  of the same words where words are read.
- `symmetric` (off by default) lets every caption tell its image from those of the batch, too. The paper's
  loss compares captions of one image only, so that a constant added to all scores of an image costs nothing,
  and a text query ranks images by just these constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, NoReturn, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core import Floats
from diptych.data.base import InputKind, Split
from diptych.errors import BadParameter
from diptych.nets.scaling import fit_scaling
from diptych.nets.tokens import FeatureTokens, Patches, Words
from diptych.training.learner import Learner
from diptych.training.trainer import Batch, Trainer

__all__ = ["IEFT"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "tiny": {
        "image_dim": 32,
        "text_dim": 24,
        "grid": 3,
        "words": 2,
        "width": 48,
        "heads": 3,
        "channel_heads": 3,
        "blocks": 2,
        "enhanced": 1,
        "false_texts": 4,
        "epochs": 8,
        "batch_size": 40,
        "lr": 4e-3,
    },
    "raw": {"inputs": "raw", "batch_size": 32},
    "raw-tiny": {
        "inputs": "raw",
        "image_size": 96,
        "patch": 32,
        "text_length": 24,
        "vocabulary": 512,
        "width": 48,
        "heads": 3,
        "channel_heads": 3,
        "blocks": 3,
        "enhanced": 2,
        "false_texts": 5,
        "dropout": 0.0,
        "epochs": 6,
        "batch_size": 16,
        "lr": 2e-3,
    },
}
FEATURES: Mapping[str, str] = {
    "raw": "image=pixels:384,text=tokens:40",
    "raw-tiny": "image=pixels:96,text=tokens:24",
}
RECIPES: Mapping[str, Mapping[str, Any]] = {}

_PAIRS = 1024  # scored at a time
_EPS = 1e-6  # of ViT's layer norms; the one before a gate is Restormer's, with torch's own 1e-5


@dataclass(kw_only=True, eq=False)
class IEFT(Learner):
    """Interacting-enhancing feature transformer, a scorer of pairs.

    Args:
        inputs: "features", or "raw" for pixels and word pieces.
        image_dim, text_dim: Dimensions of the input features.
        image_size, patch: Width and height of the pictures and of their patches.
        text_length, vocabulary: Word pieces of a text, and how many different ones there are.
        grid: Side of the square of patches that features become; pictures decide it by themselves.
        words: Words that features become; texts have `text_length`.
        width: Of a token.
        heads: Of the blocks' attention.
        channel_heads: Of the attention between channels; divides grid squared.
        blocks: Transformer blocks.
        enhanced: Blocks 1 to this many get enhanced patches.
        expansion: Width of the gated convolution, in widths of a token.
        false_texts: Random captions that each image must tell its own from.
        symmetric: Whether each caption must also tell its own image from those that were paired with it.
        dropout: In the blocks, and where pictures and texts become tokens.
        scaling: "none", "global" or "standard", see `diptych.nets.scaling`.

    Raises:
        BadParameter: heads that do not divide what they share, more enhanced blocks than there are, patches
            that do not fill a picture, or other inputs.
    """

    inputs: str = "features"
    image_dim: int = 768
    text_dim: int = 768
    image_size: int = 384
    patch: int = 32
    text_length: int = 40
    vocabulary: int = 30522
    grid: int = 12
    words: int = 40
    width: int = 768
    heads: int = 12
    channel_heads: int = 12
    blocks: int = 6
    enhanced: int = 3
    expansion: float = 2.66
    false_texts: int = 15
    symmetric: bool = False
    dropout: float = 0.1
    scaling: str = "standard"
    epochs: int = 50
    batch_size: int = 256
    lr: float = 1e-4

    def __post_init__(self) -> None:
        if self.inputs not in ("features", "raw"):
            raise BadParameter(f"inputs of IEFT must be features or raw, not {self.inputs!r}")
        if self.inputs == "raw":
            self.grid, self.words = self.image_size // max(self.patch, 1), self.text_length
        patches = self.grid**2
        if self.width % self.heads or patches % self.channel_heads or self.enhanced >= self.blocks:
            raise BadParameter(
                f"IEFT needs heads that divide width, channel_heads that divide grid squared ({patches}) and "
                f"enhanced below blocks, not {self.heads}, {self.channel_heads} and {self.enhanced}"
            )
        self.image_net: FeatureTokens | Patches
        self.text_net: FeatureTokens | Words
        if self.inputs == "raw":
            self.image_net = Patches(self.image_size, self.patch, self.width, self.dropout)
            self.text_net = Words(self.vocabulary, self.text_length, self.width, self.dropout)
        else:
            self.image_net = FeatureTokens(self.image_dim, patches, self.width, self.scaling)
            self.text_net = FeatureTokens(self.text_dim, self.words, self.width, self.scaling)
        self.joint = _Joint(self)

    @property
    def reads(self) -> dict[str, InputKind]:
        """Pixels and tokens, or features."""
        if self.inputs == "raw":
            return {"image": "pixels", "text": "tokens"}
        return {"image": "features", "text": "features"}

    def study(self, split: Split) -> None:
        """Take the statistics of the training features."""
        if self.inputs == "features":
            fit_scaling(self.image_net, self.checked_inputs(split.image, "image"))
            fit_scaling(self.text_net, self.checked_inputs(split.text, "text"))

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW, without decay of biases and normalisation, but for the scale of the one before each gate.

        The released code chooses by the names of its parameters, and that one has a name of its own.
        """
        gates = {id(m.norm.weight) for m in self.joint.modules() if isinstance(m, Enhance)}
        decayed = [p for p in self.trainable() if p.ndim > 1 or id(p) in gates]
        chosen = {id(p) for p in decayed}
        plain = [p for p in self.trainable() if id(p) not in chosen]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=self.lr, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01)

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """Minimise the objective at a `rate` that rises from 0 in a tenth of the steps, then falls to 0."""
        trainer = self.begin(split, trainer)
        self.study(split)
        optimizer = self.optimizer()
        steps = self.epochs * ceil(len(split.pairs) / self.batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: rate(done, steps))
        for _ in trainer.epochs(self.epochs, keep=(*self.networks.values(), optimizer, schedule)):
            for batch in trainer.batches(split, self.batch_size):
                trainer.step(optimizer, self.objective(batch))
                schedule.step()
        return self

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of each image's own caption against random others; `symmetric`, of images as well."""
        same = batch.image_row[:, None] == batch.image_row[None]
        if self.inputs == "raw":
            # Captions of several images may be the same words, which are false of neither.
            same = same | (batch.text[:, None] == batch.text[None]).all(dim=2)
        others = torch.where(same, -1.0, torch.rand(same.shape, device=same.device))
        count = min(self.false_texts, int((~same).sum(dim=1).min()))
        texts = torch.cat([torch.arange(len(same))[:, None].to(same.device), others.topk(count, dim=1)[1]], 1)
        images = torch.arange(len(same), device=same.device)[:, None].expand_as(texts)
        patches, words = self.image_net(batch.image), self.text_net(batch.text)
        padding = self.text_net.padding(batch.text)
        asked, answers = images.reshape(-1), texts.reshape(-1)
        empty = None if padding is None else padding[answers]
        scores = self.joint(patches[asked], words[answers], empty).view(texts.shape)
        loss = rank_loss(scores)
        if self.symmetric:
            loss = (loss + image_loss(scores, texts)) / 2
        return {"rank": loss}

    @property
    def encode_image(self) -> NoReturn:
        """There is none: both sides are read together."""
        raise AttributeError("IEFT has no vector of one side; use score_pairs")

    @property
    def encode_text(self) -> NoReturn:
        """There is none: both sides are read together."""
        raise AttributeError("IEFT has no vector of one side; use score_pairs")

    def score_pairs(self, images: Sequence[Any], texts: Sequence[Any], pairs: Any) -> Floats:
        """Scores (p,) of the pairs (p, 2), image row and text row."""
        texts = self.checked_inputs(texts, "text")
        padding = self.text_net.padding(torch.from_numpy(texts))
        patches = self.outputs(self.image_net, self.checked_inputs(images, "image"))
        words = self.outputs(self.text_net, texts)
        mode = self.joint.training
        self.joint.eval()
        found = [np.zeros(0, np.float32)]
        with torch.no_grad():
            parts = -(-len(pairs) // _PAIRS)
            for part in np.array_split(np.asarray(pairs), parts) if parts else ():
                both = (torch.from_numpy(side[part[:, at]]) for at, side in enumerate((patches, words)))
                empty = None if padding is None else padding[part[:, 1]].to(self.device)
                scores = self.joint(*(side.to(self.device) for side in both), empty)
                found.append(scores.float().cpu().numpy())
        self.joint.train(mode)
        return np.concatenate(found)


class _Joint(nn.Module):
    """Words and patches through one transformer, and the score of the first word."""

    def __init__(self, system: IEFT) -> None:
        super().__init__()
        width, patches, features = system.width, system.grid**2, system.inputs == "features"
        self.words, self.enhanced = system.words, system.enhanced
        # Pictures and texts come with their places, and pictures with their first token.
        self.place = nn.Parameter(_drawn(1, system.words + 1 + patches, width)) if features else None
        self.kind = nn.Parameter(_drawn(2, width))
        self.first = nn.Parameter(_drawn(1, 1, width)) if features else None
        self.blocks = nn.ModuleList(block(width, system.heads, system.dropout) for _ in range(system.blocks))
        self.enhance = nn.ModuleList(Enhance(system) for _ in range(system.enhanced))
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.pool = nn.Linear(width, width)
        self.rank = nn.Linear(width, 1)

    def forward(self, image: Tensor, words: Tensor, padding: Tensor | None = None) -> Tensor:
        """Scores (b,) of pairs.

        Args:
            image: Patches (b, grid^2, width) of features, or (b, 1 + grid^2, width) of pictures.
            words: (b, words, width).
            padding: (b, words), True where there is no word.
        """
        if self.first is not None:
            image = torch.cat([self.first.expand(len(image), 1, -1), image], dim=1)
        x = torch.cat([words + self.kind[0], image + self.kind[1]], dim=1)
        if self.place is not None:
            x = x + self.place
        if padding is not None:
            padding = functional.pad(padding, (0, image.shape[1]), value=False)
        start = self.words + 1
        for number, layer in enumerate(self.blocks):
            if 1 <= number <= self.enhanced:
                x = torch.cat([x[:, :start], self.enhance[number - 1](x[:, start:])], dim=1)
            x = layer(x, src_key_padding_mask=padding)
        pooled = torch.tanh(self.pool(self.norm(x[:, 0])))
        score: Tensor = self.rank(pooled)[:, 0]
        return score


class Enhance(nn.Module):
    """Attention between channels, then a gated depth-wise convolution over the grid, both residual."""

    def __init__(self, system: IEFT) -> None:
        super().__init__()
        self.grid = system.grid
        self.channels = block(system.grid**2, system.channel_heads, system.dropout)
        self.norm = nn.LayerNorm(system.width)
        self.gate = GatedConvolution(system.width, system.expansion)

    def forward(self, patches: Tensor) -> Tensor:
        """(b, grid^2, width) to the same."""
        patches = self.channels(patches.transpose(1, 2)).transpose(1, 2)
        square = self.norm(patches).transpose(1, 2).unflatten(2, (self.grid, self.grid))
        enhanced: Tensor = patches + self.gate(square).flatten(2).transpose(1, 2)
        return enhanced


class GatedConvolution(nn.Module):
    """GDFN of Restormer: expand, convolve each channel, let one half gate the other, project back."""

    def __init__(self, width: int, expansion: float) -> None:
        super().__init__()
        hidden = int(width * expansion)
        self.expand = nn.Conv2d(width, 2 * hidden, 1, bias=False)
        self.depthwise = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project = nn.Conv2d(hidden, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(b, width, h, w) to the same."""
        first, second = self.depthwise(self.expand(x)).chunk(2, dim=1)
        projected: Tensor = self.project(functional.gelu(first) * second)
        return projected


def block(width: int, heads: int, dropout: float) -> nn.Module:
    """A block of a vision transformer: normalisation first, GELU, four times as wide inside.

    Dropout follows attention and both layers of the perceptron; attention weights are not dropped.
    """
    made = nn.TransformerEncoderLayer(
        width,
        heads,
        4 * width,
        dropout,
        activation="gelu",
        layer_norm_eps=_EPS,
        batch_first=True,
        norm_first=True,
    )
    made.self_attn.dropout = 0.0
    return made


def rate(done: int, steps: int) -> float:
    """Factor of the learning rate after `done` of all steps: from 0 up in a tenth, then straight down."""
    rising = steps // 10
    return done / rising if done < rising else (steps - done) / (steps - rising)


def rank_loss(scores: Tensor) -> Tensor:
    """Cross-entropy of the first of each row's scores (b, 1 + false captions)."""
    return functional.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long, device=scores.device))


def image_loss(scores: Tensor, texts: Tensor) -> Tensor:
    """Cross-entropy of each text's own image against the other images that met it; not in the paper.

    Args:
        scores: (b, k) of image i with its k texts, its own first.
        texts: (b, k) rows of these texts, 0 to b - 1; texts[i, 0] is i.
    """
    met = scores.new_full((len(scores), len(scores)), -torch.inf).scatter(1, texts, scores)
    return functional.cross_entropy(met.T, texts[:, 0])


def _drawn(*shape: int) -> Tensor:
    return 0.02 * torch.randn(*shape)
