r"""Unicoder-VL: Universal Encoder for Vision and Language by Cross-modal Pre-training (Li et al., AAAI 2020).

Paper: arXiv 1908.06066
Code: none published (microsoft/Unicoder@b3d4afd holds the text part only)
Tables: 1
Inputs: pictures (as regions) and texts
Learns from: pairs
Structure: together
Representation: real-valued
Survey: Table 1: one encoder over both modalities with three pre-training tasks; no numbers.

BERT reads the words and then the regions of the picture, each a token of its features and its box. It first
guesses hidden words, the classes of hidden regions, and whether caption and picture match; then it ranks each
pair before false ones of both sides.

The regions are a detector's (``regions@FILE`` with ``regions=100``, and its classes with
``told_classes=1601``), or the cells of a grid over the packaged image tower, which is the default and this
library's substitution; then groups of like regions (k-means) stand for classes.

Equations:
- what ranking minimises: \mathcal{L} = -\frac1b \sum_i \log
    \frac{\exp(s(x_i, y_i))}{\sum_{(x, y) \in Q_i} \exp(s(x, y))}
- or, with the binary loss: \mathcal{L} = -\frac{1}{5b} \sum_i \left( \log \sigma(s(x_i, y_i))
    + \sum_{(x, y) \in Q_i, \, (x, y) \ne (x_i, y_i)} \log(1 - \sigma(s(x, y))) \right)
- the score: s(x, y) = w^\top h_0 + c
- what pre-training minimises: \mathcal{L} = \mathcal{L}_{\mathrm{MLM}} + \mathcal{L}_{\mathrm{MOC}}
    + \mathcal{L}_{\mathrm{VLM}}
- hidden words and classes of hidden regions: \mathcal{L}_{\mathrm{MLM}} =
    -\frac{1}{|M|} \sum_{m \in M} \log p(t_m), \quad
    \mathcal{L}_{\mathrm{MOC}} = -\frac{1}{|R|} \sum_{r \in R} \log p(c_r)
- whether both belong together: \mathcal{L}_{\mathrm{VLM}} = -\frac1b \sum_i \left(
    a_i \log \sigma(s_i) + (1 - a_i) \log(1 - \sigma(s_i)) \right)
where $Q_i$ holds the pair and four false ones, a random and a hard one of each side, $h_0$ is the output of
the first token, and $a_i$ is 1 for a pair that matches; only these have words and regions to guess.

Differs from the paper:
- Weights are drawn (the paper's are BERT's), and word pieces are learned from the training texts unless
  `tokens@FOLDER` brings BERT's.
- What the paper leaves open: all regions share one place, half of the captions are false in pre-training, a
  match is one logit of the first token, and the heads of regions are as BERT's.
- Ranking is a cross-entropy of each pair against four false ones: a random caption, a random picture, and of
  `mined` others each the caption and the picture that score highest now. `loss` "binary" asks of each of the
  five whether it matches, as in pre-training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.data.base import Split
from diptych.errors import BadParameter
from diptych.nets.masking import WordGuess, guess_loss, hide_regions, hide_words, there
from diptych.nets.regions import RegionClasses, Regions, geometry
from diptych.nets.transformer import Transformer
from diptych.training.pair_learner import States, first_wins
from diptych.training.region_learner import RegionLearner
from diptych.training.trainer import Batch

__all__ = ["UnicoderVL"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "tiny": {
        "image_dim": 9 * 1284,
        "regions": 9,
        "text_length": 24,
        "vocabulary": 512,
        "width": 48,
        "heads": 3,
        "layers": 2,
        "region_classes": 12,
        "mined": 4,
        "dropout": 0.0,
        "pretrain_epochs": 2,
        "epochs": 50,
        "batch_size": 16,
        "lr": 1e-3,
    },
}
# Without a variant, the first one reads.
FEATURES: Mapping[str | None, str] = {
    None: "image=regions,text=tokens:40",
    "paper": "image=regions,text=tokens:40",
    "tiny": "image=regions:3,text=tokens:24",
}
RECIPES: Mapping[str, Mapping[str, Any]] = {}


@dataclass(kw_only=True, eq=False)
class UnicoderVL(RegionLearner):
    """BERT over words and regions with their boxes, a scorer of pairs.

    Args:
        told_classes: Classes whose probabilities a detector gives with each region; 0 for none.
        region_classes: Groups that stand for classes where there are none.
        width, heads, layers: Of the transformer.
        dropout: Of embeddings, and in the transformer.
        regions_hidden: Share of the regions that are to be guessed.
        mined: Captions and pictures among which the hardest is looked for.
        loss: "softmax" or "binary".

    Raises:
        BadParameter: heads that do not divide the width, rows that hold no such regions, or another loss.
    """

    told_classes: int = 0
    region_classes: int = 1600
    width: int = 768
    heads: int = 12
    layers: int = 12
    dropout: float = 0.1
    regions_hidden: float = 0.15
    mined: int = 15
    loss: str = "softmax"
    epochs: int = 10
    batch_size: int = 32
    lr: float = 5e-5

    def __post_init__(self) -> None:
        if self.width % self.heads or self.loss not in ("softmax", "binary") or self.mined < 1:
            raise BadParameter(
                f"Unicoder-VL needs heads that divide the width, mined of at least 1, and softmax or binary "
                f"as loss, not {self.heads} of {self.width}, {self.mined} and {self.loss!r}",
                argument="settings",
            )
        if self.checkpoint:
            raise BadParameter("no weights of Unicoder-VL were published, so there is no checkpoint of it")
        count = self.told_classes or self.region_classes
        self.classes = RegionClasses(self.dim, count, told=self.told_classes > 0)
        self.joint = _Joint(self, count)

    @property
    def told(self) -> int:
        """Classes whose probabilities a detector gives with each region."""
        return self.told_classes

    def study(self, split: Split) -> None:
        """Find the groups of regions that stand for classes."""
        self.classes.study(self.checked_inputs(split.image, "image"), self.regions)

    def image_states(self, image: Tensor) -> States:
        """Tokens of the regions, and which there are."""
        seen = self.seen(image)
        return self.joint.regions(seen, seen.features), seen.shown

    def text_states(self, text: Tensor) -> States:
        """The word pieces: no layer of theirs comes before the regions."""
        return (text,)

    def pair_scores(self, image: States, text: States) -> Tensor:
        """The matching logit of each pair."""
        scores: Tensor = self.joint.vlm(self.joint(*image, *text)[:, 0])[:, 0]
        return scores

    def pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """MLM and MOC of pairs that match, and VLM."""
        device = batch.text.device
        matched = (torch.rand(len(batch)) < 0.5).to(device)
        return self.tasks(batch, matched, self.others.texts(self.others.draw(batch, 1)[:, 0], device))

    def tasks(self, batch: Batch, matched: Tensor, false: Tensor) -> dict[str, Tensor]:
        """The three losses.

        Args:
            batch: True pairs.
            matched: (b,), False where the caption is replaced.
            false: (b, length) by which.
        """
        text = torch.where(matched[:, None], batch.text, false)
        asked, hidden = hide_words(text, share=self.words_hidden, mask=self.mask, vocabulary=self.vocabulary)
        hidden = hidden & matched[:, None]
        asked = torch.where(matched[:, None], asked, text)
        seen = self.seen(batch.image)
        features, lost = hide_regions(seen.features, seen.shown & matched[:, None], share=self.regions_hidden)
        states = self.joint(self.joint.regions(seen, features), seen.shown, asked)
        words, parts = states.split([text.shape[1], self.regions], dim=1)
        return {
            "mlm": guess_loss(self.joint.mlm(words[hidden]), text[hidden]),
            "moc": guess_loss(self.joint.moc(parts[lost]), self.classes.numbers(seen, lost)),
            "vlm": functional.binary_cross_entropy_with_logits(
                self.joint.vlm(states[:, 0])[:, 0], matched.float()
            ),
        }

    def begin_ranking(self, split: Split) -> None:
        """Rank by the match, and let the other heads be."""
        self.joint.moc.requires_grad_(False)
        self.joint.mlm.requires_grad_(False)
        # The guesses of words share their weights with the words.
        self.joint.words.requires_grad_(True)

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """Each pair against a random and a hard caption, and a random and a hard picture."""
        device, b = batch.text.device, len(batch)
        rows = self.others.draw(batch, 2 * (1 + self.mined)).view(b, 2, -1)
        texts = self.others.texts(rows[:, 0], device)
        images = self.others.images(rows[:, 1], device)
        own = self.image_states(batch.image)
        with torch.no_grad():
            repeated = tuple(state.repeat_interleave(self.mined, dim=0) for state in own)
            hard = self.pair_scores(repeated, (texts[:, 1:].flatten(0, 1),)).view(b, -1).argmax(dim=1)
            captions = batch.text.repeat_interleave(self.mined, dim=0)
            seen = self.image_states(images[:, 1:].flatten(0, 1))
            harder = self.pair_scores(seen, (captions,)).view(b, -1).argmax(dim=1)
        at = torch.arange(b, device=device)
        captions = torch.stack([batch.text, texts[:, 0], texts[at, 1 + hard]], dim=1).flatten(0, 1)
        of_texts = self.pair_scores(tuple(s.repeat_interleave(3, dim=0) for s in own), (captions,))
        pictures = torch.stack([images[:, 0], images[at, 1 + harder]], dim=1).flatten(0, 1)
        of_images = self.pair_scores(self.image_states(pictures), (batch.text.repeat_interleave(2, dim=0),))
        scores = torch.cat([of_texts.view(b, 3), of_images.view(b, 2)], dim=1)
        if self.loss == "softmax":
            return {"rank": first_wins(scores)}
        truth = torch.zeros_like(scores)
        truth[:, 0] = 1
        return {"match": functional.binary_cross_entropy_with_logits(scores, truth)}


class _Joint(nn.Module):
    """The transformer and its heads."""

    def __init__(self, system: UnicoderVL, classes: int) -> None:
        super().__init__()
        width = system.width
        self.words = nn.Embedding(system.pieces, width)
        self.place = nn.Embedding(system.text_length + 1, width)  # the last one is of all regions
        self.segment = nn.Embedding(2, width)
        self.feature, self.box = nn.Linear(system.dim, width), nn.Linear(5, width)
        self.word_norm, self.region_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.drop = nn.Dropout(system.dropout)
        self.encoder = Transformer(
            width, system.layers, system.heads, norm_first=False, dropout=system.dropout
        )
        for table in (self.words, self.place, self.segment):
            nn.init.normal_(table.weight, std=0.02)
        self.mlm = WordGuess(width, system.pieces, tied=self.words)
        self.moc = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, classes)
        )
        self.vlm = nn.Linear(width, 1)

    def regions(self, seen: Regions, features: Tensor) -> Tensor:
        """Tokens (b, r, width) of features (b, r, d), some of them perhaps hidden, and of all boxes."""
        both = self.region_norm(self.feature(features) + self.box(geometry(seen.boxes, 5)))
        tokens: Tensor = self.drop(both + self.segment.weight[1] + self.place.weight[-1])
        return tokens

    def forward(self, regions: Tensor, shown: Tensor, words: Tensor) -> Tensor:
        """States (b, length + r, width), the words' first.

        Args:
            regions: (b, r, width).
            shown: (b, r), True where there is a region.
            words: (b, length) int64.

        Raises:
            BadParameter: longer texts, or pieces that the network does not know.
        """
        longest, known = self.place.num_embeddings - 1, self.words.num_embeddings
        if words.shape[1] > longest or (words.numel() and int(words.max()) >= known):
            raise BadParameter(
                f"this Unicoder-VL reads {longest} word pieces with numbers below {known}, not "
                f"{words.shape[1]} with numbers up to {int(words.max())}; take the tokens that it was "
                "trained with",
                argument="features",
            )
        placed = self.words(words) + self.place.weight[: words.shape[1]] + self.segment.weight[0]
        tokens = torch.cat([self.drop(self.word_norm(placed)), regions], dim=1)
        states: Tensor = self.encoder(tokens, src_key_padding_mask=~torch.cat([there(words), shown], dim=1))
        return states
