r"""ViLBERT: Pretraining Task-Agnostic Visiolinguistic Representations (Lu et al., NeurIPS 2019).

Paper: "... for Vision-and-Language Tasks", arXiv 1908.02265
Code: jiasenlu/vilbert_beta@f0c9a2b, facebookresearch/vilbert-multi-task@f22b84a
Tables: 1 (under two towers, as each side has a stream; but none has a vector before it has seen the other)
Inputs: pictures (as regions) and texts
Learns from: pairs
Structure: together
Representation: real-valued
Survey: Table 1 places it under dual towers, as each side has a stream of its own; no vector of a side
    exists before it meets the other.

Words and regions have a transformer each, which meet in co-attentional layers: the words ask the regions, the
regions ask the words. It first guesses hidden words, what hidden regions show, and whether both are aligned;
then it ranks each pair before three false ones. A text's first six layers know nothing of the picture and are
computed once.

The authors' checkpoints load as ``vilbert@FILE`` or ``checkpoint=FILE``, with a ``tokenizer.json`` beside
them; one that was only pre-trained ranks by its alignment.

The regions are a detector's (``regions@FILE`` with ``regions=36``, and its classes with
``told_classes=1601``), or the cells of a grid over the packaged image tower, which is the default and this
library's substitution; then groups of like regions (k-means) stand for classes.

Equations:
- what ranking minimises: \mathcal{L} = -\frac1b \sum_i \log
    \frac{\exp(s(x_i, y_i))}{\sum_{(x, y) \in Q_i} \exp(s(x, y))}
- the score: s(x, y) = w^\top \left( [W_t h_0]_+ \odot [W_v v_0]_+ \right)
- a co-attentional layer: V' = A(V, T, T), \quad T' = A(T, V, V)
- what pre-training minimises: \mathcal{L} = \mathcal{L}_{\mathrm{words}}
    + w \mathcal{L}_{\mathrm{regions}} + \mathcal{L}_{\mathrm{aligned}}
- hidden words, and hidden regions: \mathcal{L}_{\mathrm{words}} = -\frac{1}{|M|} \sum_{m \in M} \log p(t_m),
    \quad \mathcal{L}_{\mathrm{regions}} = \frac{1}{|R|} \sum_{r \in R} \operatorname{KL}(q_r \,\|\, p_r)
- whether both belong together: \mathcal{L}_{\mathrm{aligned}} = -\frac1b \sum_i \log p(a_i \mid x_i, y_i)
where $Q_i$ holds the pair and three false ones (another caption, another picture, a neighbour's caption),
$h_0$ and $v_0$ are the outputs of the text's first token and of the whole picture, $[a]_+$ is $\max(0, a)$,
$A$ is attention (queries, keys, values; each followed by a perceptron), $q_r$ says what a region shows;
biases are left out.

Differs from the paper:
- Weights are drawn (the paper's text stream is BERT's) and learn at one rate; word pieces are learned from
  the training texts unless `tokens@FOLDER` brings BERT's.
- Pairs that do not match have no words or regions to guess; `mask_mismatched` false asks for them all the
  same, as the released code does.
- Random captions and pictures are never the pair's own in other words.
- Neighbours of a picture, for the hard negative, are those by the mean of its regions. The released code
  calls that negative a hard image and swaps the caption; so does `hard_slot` "caption", and "image" takes the
  image.
- The rate falls to 0 in a line; the code multiplies it by 0.1 twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.data.base import Split
from diptych.errors import BadData, BadParameter
from diptych.nets.masking import WordGuess, guess_loss, hide_regions, hide_words, there
from diptych.nets.published import published, take
from diptych.nets.regions import RegionClasses, Regions, geometry
from diptych.nets.vilbert_names import ours
from diptych.training.pair_learner import States, first_wins
from diptych.training.region_learner import RegionLearner
from diptych.training.trainer import Batch

__all__ = ["ViLBERT"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "tiny": {
        "image_dim": 9 * 1284,
        "regions": 9,
        "text_length": 24,
        "vocabulary": 512,
        "width": 48,
        "heads": 3,
        "layers": 3,
        "visual_width": 64,
        "visual_heads": 4,
        "visual_layers": 2,
        "region_classes": 12,
        "neighbours": 8,
        "dropout": 0.0,
        "pretrain_epochs": 2,
        "epochs": 50,
        "batch_size": 16,
        "lr": 1e-3,
    },
}
# Without a variant, the first one reads.
FEATURES: Mapping[str | None, str] = {
    None: "image=regions,text=tokens:36",
    "paper": "image=regions,text=tokens:36",
    "tiny": "image=regions:3,text=tokens:24",
}
RECIPES: Mapping[str, Mapping[str, Any]] = {}

_EPS = 1e-12  # of BERT's normalisation
_ALIGNED, _RANDOM = 0, 1  # as BERT's next sentence
_BERT_MASK = 103
_HEADS = ("vil_logit", "alignment", "mlm", "region")  # which a checkpoint may lack


@dataclass(kw_only=True, eq=False)
class ViLBERT(RegionLearner):
    """Two streams with co-attention, a scorer of pairs.

    Args:
        told_classes: Classes whose probabilities a detector gives with each region; 0 for none.
        region_classes: Groups that stand for classes where there are none.
        width, heads, layers: Of the text's transformer.
        visual_width, visual_heads, visual_layers: Of the picture's, and of the co-attention; there are as
            many co-attentional layers as visual ones.
        places: Places of a text that have a vector.
        dropout: Of embeddings, and in all layers.
        regions_hidden: Share of the regions that are to be guessed.
        region_weight: Of the loss on these.
        mask_mismatched: Whether pairs that do not match have nothing to guess.
        neighbours: Pictures among which a hard one is drawn.
        hard_slot: "caption" or "image", what the hard negative takes of it.

    Raises:
        BadParameter: heads that do not divide a width, fewer layers of text than visual ones, rows that hold
            no such regions, or another slot.
        MissingData, BadData: see `diptych.nets.published`.
    """

    told_classes: int = 0
    region_classes: int = 1600
    width: int = 768
    heads: int = 12
    layers: int = 12
    visual_width: int = 1024
    visual_heads: int = 8
    visual_layers: int = 6
    places: int = 512
    dropout: float = 0.1
    regions_hidden: float = 0.15
    region_weight: float = 1.0
    mask_mismatched: bool = True
    neighbours: int = 100
    hard_slot: str = "caption"
    epochs: int = 20
    batch_size: int = 64
    lr: float = 2e-5

    def __post_init__(self) -> None:
        state = ours(published(self.checkpoint)) if self.checkpoint else None
        if state is not None:
            self._shaped_by(state)
        odd = self.width % self.heads or self.visual_width % self.visual_heads
        if odd or not 1 <= self.visual_layers <= self.layers or self.text_length > self.places:
            raise BadParameter(
                f"ViLBERT needs heads that divide the widths, as many layers of text as visual ones or "
                f"more, and a place for each piece, not {self.heads} of {self.width}, {self.visual_heads} of "
                f"{self.visual_width}, {self.layers}, {self.visual_layers} and {self.places}",
                argument="settings",
            )
        if self.hard_slot not in ("caption", "image"):
            raise BadParameter(f"hard_slot of ViLBERT must be caption or image, not {self.hard_slot!r}")
        count = self.told_classes or self.region_classes
        self.classes = RegionClasses(self.dim, count, told=self.told_classes > 0)
        self.joint = _Streams(self, count)
        if state is not None and "vil_logit.weight" in take(self.joint, state, "ViLBERT", drawn=_HEADS):
            self.joint.rank_by_alignment()

    def _shaped_by(self, state: Mapping[str, Tensor]) -> None:
        """Take the architecture from the shapes of a checkpoint, with heads of 64 and visual ones of 128."""
        try:
            self.vocabulary, self.width = state["words.weight"].shape
            self.visual_width, seen = state["feature.weight"].shape
            self.places = len(state["place.weight"])
        except KeyError as error:
            raise BadData(f"this is no whole ViLBERT checkpoint: it lacks {error.args[0]}") from error
        if "region.3.bias" in state and not self.told_classes:
            self.region_classes = len(state["region.3.bias"])
        self.image_dim = self.regions * (seen + 4 + self.told_classes)
        self.layers, self.visual_layers, meetings = (
            len({key.split(".")[1] for key in state if key.startswith(f"{name}.")})
            for name in ("text_layers", "visual_layers", "co_layers")
        )
        if meetings != self.visual_layers:
            raise BadData(
                f"this checkpoint of ViLBERT has {meetings} meetings of {self.visual_layers} visual layers, "
                "and here there are as many of both"
            )
        self.heads, self.visual_heads = max(self.width // 64, 1), max(self.visual_width // 128, 1)
        self.mask_piece = _BERT_MASK

    @property
    def told(self) -> int:
        """Classes whose probabilities a detector gives with each region."""
        return self.told_classes

    def study(self, split: Split) -> None:
        """Find the groups that stand for classes, and the neighbours of each picture."""
        image = self.checked_inputs(split.image, "image")
        self.classes.study(image, self.regions)
        parts = [torch.from_numpy(np.asarray(image[at : at + 256])) for at in range(0, len(image), 256)]
        means = torch.cat([_mean(self.seen(part).features, self.seen(part).shown) for part in parts])
        self.near = neighbours(means.numpy(), self.neighbours)
        by_image = np.argsort(split.pairs[:, 0], kind="stable")
        # A picture without a pair takes that of the next.
        first = np.searchsorted(split.pairs[by_image, 0], np.arange(len(image)))
        self.first_pair = torch.from_numpy(by_image[first.clip(max=len(by_image) - 1)])

    def image_states(self, image: Tensor) -> States:
        """Tokens of the whole picture and of its regions, and which there are."""
        seen = self.seen(image)
        return self.joint.pictures(seen, seen.features, seen.shown), _with_whole(seen.shown)

    def text_states(self, text: Tensor) -> States:
        """States after the layers that know nothing of the picture, and which words there are."""
        return self.joint.alone(text), there(text)

    def pair_scores(self, image: States, text: States) -> Tensor:
        """The ranking logit of each pair."""
        _, _, fused = self.joint(*image, *text)
        scores: Tensor = self.joint.vil_logit(fused)[:, 0]
        return scores

    def pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """Hidden words, hidden regions, and alignment."""
        device = batch.text.device
        matched = (torch.rand(len(batch)) < 0.5).to(device)
        false = self.others.texts(self.others.draw(batch, 1)[:, 0], device)
        text, seen = torch.where(matched[:, None], batch.text, false), self.seen(batch.image)
        asked_of = matched[:, None] if self.mask_mismatched else torch.ones_like(matched)[:, None]
        asked, hidden = hide_words(text, share=self.words_hidden, mask=self.mask, vocabulary=self.vocabulary)
        asked, hidden = torch.where(asked_of, asked, text), hidden & asked_of
        features, lost = hide_regions(seen.features, seen.shown & asked_of, share=self.regions_hidden)
        image = self.joint.pictures(seen, features, seen.shown & ~lost), _with_whole(seen.shown)
        parts, words, fused = self.joint(*image, self.joint.alone(asked), there(asked))
        guesses = self.joint.region(parts[:, 1:][lost])
        return {
            "mlm": guess_loss(self.joint.mlm(words[hidden]), text[hidden]),
            "region": self.region_weight * divergence(guesses, self.classes.shares(seen, lost)),
            "align": functional.cross_entropy(
                self.joint.alignment(fused), torch.where(matched, _ALIGNED, _RANDOM)
            ),
        }

    def begin_ranking(self, split: Split) -> None:
        """Let the heads of pre-training be; that of ranking is drawn, as the paper's."""
        for head in (self.joint.region, self.joint.alignment, self.joint.mlm):
            head.requires_grad_(False)
        # The guesses of words share their weights with the words.
        self.joint.words.requires_grad_(True)

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """Each pair against another caption, another picture, and a neighbour's caption (or itself)."""
        device = batch.text.device
        rows = self.others.draw(batch, 2)
        caption, picture = self.others.texts(rows[:, 0], device), self.others.images(rows[:, 1], device)
        hard = self._hard(batch, rows[:, 0])
        images, texts = (
            [batch.image, batch.image, picture, batch.image],
            [batch.text, caption, batch.text, batch.text],
        )
        if self.hard_slot == "caption":
            texts[3] = self.others.texts(hard, device)
        else:
            images[3] = self.others.images(hard, device)
        image, text = torch.stack(images, dim=1).flatten(0, 1), torch.stack(texts, dim=1).flatten(0, 1)
        scores = self.pair_scores(self.image_states(image), self.text_states(text))
        return {"rank": first_wins(scores.view(-1, 4))}

    def _hard(self, batch: Batch, otherwise: Tensor) -> Tensor:
        """A pair (b,) of a neighbour of each picture; a random one where it has the same words."""
        near = torch.from_numpy(self.near)[batch.image_row.cpu()]
        drawn = near.gather(1, torch.randint(near.shape[1], (len(near), 1)))[:, 0]
        pairs = self.others.siblings_of(self.first_pair[drawn])
        return torch.where(self.others.false(batch, pairs), pairs, otherwise)


class _Streams(nn.Module):
    """Both streams, their meetings, and the heads."""

    def __init__(self, system: ViLBERT, classes: int) -> None:
        super().__init__()
        width, visual, dropout = system.width, system.visual_width, system.dropout
        self.words = nn.Embedding(system.pieces, width)
        self.place, self.segment = nn.Embedding(system.places, width), nn.Embedding(2, width)
        for table in (self.words, self.place, self.segment):
            nn.init.normal_(table.weight, std=0.02)
        self.word_norm, self.visual_norm = nn.LayerNorm(width, eps=_EPS), nn.LayerNorm(visual, eps=_EPS)
        self.feature, self.box = nn.Linear(system.dim, visual), nn.Linear(5, visual)
        self.drop = nn.Dropout(dropout)
        self.text_layers = nn.ModuleList(
            _layer(width, system.heads, 4 * width, dropout) for _ in range(system.layers)
        )
        self.visual_layers = nn.ModuleList(
            _layer(visual, system.visual_heads, visual, dropout) for _ in range(system.visual_layers)
        )
        self.co_layers = nn.ModuleList(_CoLayer(system) for _ in range(system.visual_layers))
        self.text_pool, self.visual_pool = nn.Linear(width, visual), nn.Linear(visual, visual)
        self.alignment, self.vil_logit = nn.Linear(visual, 2), nn.Linear(visual, 1)
        self.mlm = WordGuess(width, system.pieces, tied=self.words)
        self.region = nn.Sequential(
            nn.Linear(visual, visual), nn.GELU(), nn.LayerNorm(visual, eps=_EPS), nn.Linear(visual, classes)
        )

    def rank_by_alignment(self) -> None:
        """Rank as the head of pre-training would, by how much more it holds a pair for aligned than not."""
        with torch.no_grad():
            for ranks, tells in zip(self.vil_logit.parameters(), self.alignment.parameters(), strict=True):
                ranks.copy_((tells[_ALIGNED] - tells[_RANDOM]).expand_as(ranks))

    @property
    def before(self) -> int:
        """Layers of text before the first meeting."""
        return len(self.text_layers) - len(self.co_layers)

    def pictures(self, seen: Regions, features: Tensor, counted: Tensor) -> Tensor:
        """Tokens (b, 1 + r, visual), that of the whole picture first.

        Args:
            seen: The regions, for their boxes.
            features: (b, r, d), some of which may be hidden.
            counted: (b, r), whose mean is the whole picture.
        """
        whole = torch.tensor([0.0, 0, 1, 1, 1], device=features.device).expand(len(features), 1, 5)
        boxes = torch.cat([whole, geometry(seen.boxes, 5)], dim=1)
        features = torch.cat([_mean(features, counted)[:, None], features], dim=1)
        tokens: Tensor = self.drop(self.visual_norm(self.feature(features) + self.box(boxes)))
        return tokens

    def alone(self, words: Tensor) -> Tensor:
        """States (b, length, width) of word pieces (b, length) before the first meeting.

        Raises:
            BadParameter: longer texts, or pieces that the network does not know.
        """
        longest, known = self.place.num_embeddings, self.words.num_embeddings
        if words.shape[1] > longest or (words.numel() and int(words.max()) >= known):
            raise BadParameter(
                f"this ViLBERT reads {longest} word pieces with numbers below {known}, not {words.shape[1]} "
                f"with numbers up to {int(words.max())}; take the tokens that it was trained with",
                argument="features",
            )
        placed = self.words(words) + self.place.weight[: words.shape[1]] + self.segment.weight[0]
        states: Tensor = self.drop(self.word_norm(placed))
        for layer in self.text_layers[: self.before]:
            states = layer(states, src_key_padding_mask=~there(words))
        return states

    def forward(
        self, image: Tensor, shown: Tensor, text: Tensor, said: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """States (b, 1 + r, visual) and (b, length, width) of both sides, and both as one (b, visual).

        Args:
            image: (b, 1 + r, visual), see `pictures`.
            shown: (b, 1 + r), True where there is a region.
            text: (b, length, width), see `alone`.
            said: (b, length), True where there is a word.
        """
        later = self.text_layers[self.before :]
        for number, meeting in enumerate(self.co_layers):
            image, text = meeting(image, shown, text, said)
            image = self.visual_layers[number](image, src_key_padding_mask=~shown)
            text = later[number](text, src_key_padding_mask=~said)
        pooled = self.text_pool(text[:, 0]).relu() * self.visual_pool(image[:, 0]).relu()
        return image, text, self.drop(pooled)


class _CoLayer(nn.Module):
    """Each side asks the other, then has a perceptron of its own."""

    def __init__(self, system: ViLBERT) -> None:
        super().__init__()
        width, visual = system.width, system.visual_width
        self.heads, self.dropout = system.visual_heads, system.dropout
        self.of_image, self.of_text = nn.Linear(visual, 3 * visual), nn.Linear(width, 3 * visual)
        self.to_image, self.to_text = nn.Linear(visual, visual), nn.Linear(visual, width)
        self.image_norm, self.text_norm = nn.LayerNorm(visual, eps=_EPS), nn.LayerNorm(width, eps=_EPS)
        self.image_net = _Perceptron(visual, visual, system.dropout)
        self.text_net = _Perceptron(width, 4 * width, system.dropout)
        self.drop = nn.Dropout(system.dropout)

    def forward(self, image: Tensor, shown: Tensor, text: Tensor, said: Tensor) -> tuple[Tensor, Tensor]:
        """(b, 1 + r, visual) and (b, length, width) to the same; arguments as those of the streams."""
        (q, k, v), (ask, key, value) = self._parts(self.of_image(image)), self._parts(self.of_text(text))
        found, told = self._attended(q, key, value, said), self._attended(ask, k, v, shown)
        image = self.image_norm(image + self.drop(self.to_image(found)))
        text = self.text_norm(text + self.drop(self.to_text(told)))
        return self.image_net(image), self.text_net(text)

    def _parts(self, all_three: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads = all_three.reshape(*all_three.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return heads[0], heads[1], heads[2]

    def _attended(self, query: Tensor, key: Tensor, value: Tensor, there: Tensor) -> Tensor:
        dropped = self.dropout if self.training else 0.0
        found = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=there[:, None, None], dropout_p=dropped
        )
        return found.transpose(1, 2).flatten(2)


class _Perceptron(nn.Module):
    """Two layers with GELU, the sum normalised."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.up, self.down, self.norm = (
            nn.Linear(width, inner),
            nn.Linear(inner, width),
            nn.LayerNorm(width, eps=_EPS),
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to the same."""
        changed: Tensor = self.norm(x + self.drop(self.down(functional.gelu(self.up(x)))))
        return changed


def _layer(width: int, heads: int, inner: int, dropout: float) -> nn.Module:
    return nn.TransformerEncoderLayer(
        width, heads, inner, dropout, activation="gelu", layer_norm_eps=_EPS, batch_first=True
    )


def divergence(guesses: Tensor, truth: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of guesses from distributions, both (k, classes); 0 for none."""
    found = functional.kl_div(functional.log_softmax(guesses, dim=1), truth, reduction="sum")
    return found / max(len(guesses), 1)


def neighbours(means: Any, count: int) -> Any:
    """The nearest others (n, count) of each picture by its vector (n, d), fewer where there are fewer.

    A lone picture is its own neighbour.
    """
    import faiss

    index = faiss.IndexFlatL2(means.shape[1])
    index.add(np.ascontiguousarray(means))
    found = index.search(np.ascontiguousarray(means), min(count + 1, len(means)))[1]
    return found[:, 1:] if found.shape[1] > 1 else found


def _mean(features: Tensor, counted: Tensor) -> Tensor:
    """(b, d) of features (b, r, d) that are counted (b, r)."""
    return (features * counted[..., None]).sum(dim=1) / counted.sum(dim=1, keepdim=True).clamp(min=1)


def _with_whole(shown: Tensor) -> Tensor:
    return functional.pad(shown, (1, 0), value=True)
