r"""VisualBERT: A Simple and Performant Baseline for Vision and Language (Li et al., 2019).

Paper: arXiv 1908.03557
Code: uclanlp/visualbert@2a9e8bd; the transformer is that of transformers
Tables: 1
Inputs: pictures (as regions) and texts
Learns from: pairs
Structure: together
Representation: real-valued
Survey: Table 1, among the single towers; no numbers, and the paper has no image-text retrieval either.

BERT reads the words and, behind them, the regions of the picture, each projected to a token. It first guesses
hidden words and whether two captions both describe the picture; then it learns to tell a picture's caption
from fifteen others. The paper publishes no retrieval: this second part, and every figure of it, is
this library's.

The regions are a detector's (``regions@FILE`` with ``regions=36``), or the cells of a grid over the packaged
image tower, which is the default and this library's substitution. ``visualbert@FOLDER`` and
``checkpoint=...`` take weights of the authors' or of transformers.

Equations:
- what ranking minimises, which is ours: \mathcal{L} = -\frac1b \sum_i \log
    \frac{\exp(s(x_i, y_i))}{\exp(s(x_i, y_i)) + \sum_{y \in F_i} \exp(s(x_i, y))}
- the score: s(x, y) = w^\top \tanh(W h_0 + b) + c
- what pre-training minimises: \mathcal{L} = \mathcal{L}_{\mathrm{MLM}} + \mathcal{L}_{\mathrm{SIP}}
- hidden words of both captions: \mathcal{L}_{\mathrm{MLM}} = -\frac{1}{|M|} \sum_{m \in M} \log p(t_m)
- whether the second caption belongs, too: \mathcal{L}_{\mathrm{SIP}} =
    -\frac1b \sum_i \log p(a_i \mid x_i, y_i, y'_i)
where $F_i$ are captions of other pictures, $h_0$ is the output of the first token, and $a_i$ says whether
$y'_i$ is another caption of the picture or a random one.

Differs from the paper:
- Without a checkpoint the weights are drawn (the paper's are BERT's), with a deviation that follows the
  width, and word pieces are learned from the training texts unless `tokens@FOLDER` brings BERT's.
- A picture with one caption has that one as its second, too.
- `geometry` 6 appends the box to the features, as the loader for Flickr30K does; 0 gives features alone.
- Ranking reads one caption, and its head starts as the match minus the mismatch of the pre-training task.
  Which of its two columns means a match is 1 in the authors' code and 0 in the documentation of transformers:
  for a checkpoint it is decided by 20 true and 20 false pairs before ranking is learned, and kept
  (`match_column`).
- Weights that were never taught to rank score a caption that is read as both sentences (`repeated`).
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
from diptych.nets.masking import guess_loss, hide_words, there
from diptych.nets.published import published, renamed, take
from diptych.nets.regions import geometry
from diptych.optional import optional
from diptych.training.pair_learner import States, first_wins
from diptych.training.region_learner import RegionLearner
from diptych.training.trainer import Batch

__all__ = ["VisualBERT"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "tiny": {
        "image_dim": 9 * 1284,
        "regions": 9,
        "geometry": 6,
        "text_length": 24,
        "vocabulary": 512,
        "width": 48,
        "heads": 3,
        "layers": 2,
        "false_texts": 5,
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

_BERT_MASK = 103
_EVIDENCE = 20
_EMBED = "visual_bert.embeddings"

# The authors' names, and those of transformers, which ours are.
_OFFICIAL = (
    (r"bert\.bert\.embeddings\.(token_type|position)_embeddings_visual", rf"{_EMBED}.visual_\1_embeddings"),
    (r"bert\.bert\.embeddings\.projection", rf"{_EMBED}.visual_projection"),
    (r"bert\.bert\.", "visual_bert."),
    (r"bert\.cls\.", "cls."),
)


@dataclass(kw_only=True, eq=False)
class VisualBERT(RegionLearner):
    """BERT over words and regions, a scorer of pairs.

    Args:
        geometry: Numbers of the box behind a region's features: 0 or 6.
        width, heads, layers: Of the transformer.
        dropout: Of embeddings, attention, and after attention and perceptron.
        false_texts: Captions that each picture must tell its own from.
        match_column: Which logit of the pre-training task means a match.
        repeated: Whether a caption is read as both sentences.

    Raises:
        BadParameter: heads that do not divide the width, rows that hold no such regions, another geometry.
        MissingExtra: transformers is not installed.
        MissingData, BadData: see `diptych.nets.published`.
    """

    geometry: int = 0
    width: int = 768
    heads: int = 12
    layers: int = 12
    dropout: float = 0.1
    false_texts: int = 15
    match_column: int = 1
    repeated: bool = False
    epochs: int = 10
    batch_size: int = 32
    lr: float = 5e-5

    def __post_init__(self) -> None:
        state = renamed(published(self.checkpoint), _OFFICIAL) if self.checkpoint else None
        if state is not None:
            self._shaped_by(state)
        if self.width % self.heads or self.geometry not in (0, 6) or self.match_column not in (0, 1):
            raise BadParameter(
                f"VisualBERT needs heads that divide the width, a geometry of 0 or 6 and a match_column of 0 "
                f"or 1, not {self.heads} of {self.width}, {self.geometry} and {self.match_column}",
                argument="settings",
            )
        self.joint = _Joint(self)
        if state is not None:
            tied = ("cls.predictions.decoder", "cls.predictions.bias", "rank_output")
            self.repeated = "rank_output.weight" in take(self.joint, state, "VisualBERT", drawn=tied)
            if self.repeated:
                self.joint.rank_by_matching(self.match_column)

    def _shaped_by(self, state: Mapping[str, Tensor]) -> None:
        """Take the architecture from the shapes of a checkpoint, whose heads have 64 dimensions."""
        try:
            self.vocabulary, self.width = state["visual_bert.embeddings.word_embeddings.weight"].shape
            seen = state["visual_bert.embeddings.visual_projection.weight"].shape[1]
        except KeyError as error:
            raise BadData(f"this is no whole VisualBERT checkpoint: it lacks {error.args[0]}") from error
        self.geometry = 6 if seen == 2054 else 0
        self.image_dim = self.regions * (seen - self.geometry + 4)
        self.mask_piece, self.heads = _BERT_MASK, max(self.width // 64, 1)
        layer = "visual_bert.encoder.layer."
        self.layers = len({key.split(".")[3] for key in state if key.startswith(layer)})

    def image_states(self, image: Tensor) -> States:
        """Features, with boxes if they are read, and which regions there are."""
        seen = self.seen(image)
        if not self.geometry:
            return seen.features, seen.shown
        boxes = geometry(seen.boxes, 6) * seen.shown[..., None]
        return torch.cat([seen.features, boxes], dim=2), seen.shown

    def text_states(self, text: Tensor) -> States:
        """Word pieces and the sentence that each is of."""
        if not self.repeated:
            return text, torch.zeros_like(text)
        return packed(text, text)[:2]

    def pair_scores(self, image: States, text: States) -> Tensor:
        """The rank logit of each pair."""
        scores: Tensor = self.joint.rank_output(self.joint(*image, *text)[1])[:, 0]
        return scores

    def pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """MLM and SIP: words that were hidden, and whether a second caption describes the picture, too."""
        device = batch.text.device
        matched = (torch.rand(len(batch)) < 0.5).to(device)
        siblings, others = self.others.siblings(batch), self.others.draw(batch, 1)[:, 0]
        second = self.others.texts(torch.where(matched.cpu(), siblings, others), device)
        (first, hidden), (then, also) = (
            hide_words(text, share=self.words_hidden, mask=self.mask, vocabulary=self.vocabulary)
            for text in (batch.text, second)
        )
        words, sentence, at = packed(first, then)
        asked = torch.cat([hidden, also], dim=1).gather(1, at) & (words != 0)
        truth = torch.cat([batch.text, second], dim=1).gather(1, at)[asked]
        states, pooled = self.joint(*self.image_states(batch.image), words, sentence)
        guesses = self.joint.cls.predictions(states[:, : words.shape[1]][asked])
        label = torch.where(matched, self.match_column, 1 - self.match_column)
        return {
            "mlm": guess_loss(guesses, truth),
            "sip": functional.cross_entropy(self.joint.cls.seq_relationship(pooled), label),
        }

    def begin_ranking(self, split: Split) -> None:
        """Rank by the match of pre-training, in the column that means it, and let its heads be."""
        if self.repeated:
            self.match_column = self._column(split)
        if self.repeated or not self.checkpoint:
            self.joint.rank_by_matching(self.match_column)
        self.repeated = False
        self.joint.cls.requires_grad_(False)
        # The guesses of words share their weights with the words.
        self.joint.visual_bert.embeddings.word_embeddings.requires_grad_(True)

    def _column(self, split: Split) -> int:
        """The logit that is higher for true pairs than for false ones."""
        rows = np.linspace(0, len(split.pairs) - 1, min(_EVIDENCE, len(split.pairs))).astype(np.int64)
        pairs = split.pairs[rows]
        false = np.stack([pairs[:, 0], np.roll(pairs[:, 1], 1)], axis=1)
        own = np.stack([np.arange(len(pairs))] * 2, axis=1)
        self.joint.rank_by_matching(1)
        image: Any = split.image
        text: Any = split.text
        true, other = (self.score_pairs(image[s[:, 0]], text[s[:, 1]], own).mean() for s in (pairs, false))
        return int(true >= other)

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of each pair against its picture with other captions of the training data."""
        false = self.others.texts(self.others.draw(batch, self.false_texts), batch.text.device)
        texts = torch.cat([batch.text[:, None], false], dim=1)
        states = self.image_states(batch.image)
        image = tuple(state.repeat_interleave(texts.shape[1], dim=0) for state in states)
        scores = self.pair_scores(image, self.text_states(texts.flatten(0, 1)))
        return {"rank": first_wins(scores.view(len(batch), -1))}


class _Joint(nn.Module):
    """The transformer and its heads, by the names of transformers."""

    def __init__(self, system: VisualBERT) -> None:
        super().__init__()
        transformers = optional("transformers", "VisualBERT", "towers")
        # A narrow network would hardly begin to learn with the deviation of a wide one.
        deviation = 0.02 * (768 / system.width) ** 0.5
        config = transformers.VisualBertConfig(
            vocab_size=system.pieces,
            hidden_size=system.width,
            visual_embedding_dim=system.dim + system.geometry,
            num_hidden_layers=system.layers,
            num_attention_heads=system.heads,
            intermediate_size=4 * system.width,
            hidden_dropout_prob=system.dropout,
            attention_probs_dropout_prob=system.dropout,
            initializer_range=deviation,
            pad_token_id=0,
        )
        model = transformers.VisualBertForPreTraining(config)
        self.visual_bert, self.cls = model.visual_bert, model.cls
        self.rank_output = nn.Linear(system.width, 1)
        nn.init.normal_(self.rank_output.weight, std=deviation)
        nn.init.zeros_(self.rank_output.bias)
        places = self.visual_bert.embeddings
        with torch.no_grad():  # the paper's "special visual initialisation"
            places.visual_token_type_embeddings.weight.copy_(places.token_type_embeddings.weight)
            places.visual_position_embeddings.weight.copy_(places.position_embeddings.weight)

    def forward(self, seen: Tensor, shown: Tensor, words: Tensor, sentence: Tensor) -> tuple[Tensor, Tensor]:
        """States (b, length + regions, width), the words' first, and a pooled one (b, width).

        Args:
            seen: (b, r, d).
            shown: (b, r), True where there is a region.
            words, sentence: (b, length), word pieces and the sentence (0 or 1) that each is of.

        Raises:
            BadParameter: pieces that the network does not know.
        """
        config = self.visual_bert.config
        if words.numel() and int(words.max()) >= config.vocab_size:
            raise BadParameter(
                f"this VisualBERT reads word pieces with numbers below {config.vocab_size}, not up to "
                f"{int(words.max())}; take the tokens that it was trained with",
                argument="features",
            )
        found = self.visual_bert(
            input_ids=words,
            attention_mask=there(words).long(),
            token_type_ids=sentence,
            visual_embeds=seen,
            visual_attention_mask=shown.long(),
            visual_token_type_ids=torch.zeros_like(shown, dtype=torch.long),
        )
        return found.last_hidden_state, found.pooler_output

    def rank_by_matching(self, column: int) -> None:
        """Give the rank head the weights of a match minus those of a mismatch."""
        head = self.cls.seq_relationship
        match, other = [column], [1 - column]
        with torch.no_grad():
            self.rank_output.weight.copy_(head.weight[match] - head.weight[other])
            self.rank_output.bias.copy_(head.bias[match] - head.bias[other])


def packed(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Two texts each as one: [CLS] first [SEP] second [SEP].

    Args:
        first, second: (b, n) and (b, m) int64 word pieces.

    Returns:
        Word pieces (b, n + m - 1), the sentence that each is of, and where each comes from in both texts side
        by side (b, n + m).
    """
    length = there(first).sum(dim=1, keepdim=True)
    place = torch.arange(first.shape[1] + second.shape[1] - 1, device=first.device)[None]
    behind = place - length + 1  # in the second text, whose [CLS] is left out
    sentence = (place >= length).long()
    over = (behind >= second.shape[1]) & (place >= length)
    at = torch.where(place < length, place, first.shape[1] + behind.clamp(max=second.shape[1] - 1))
    words = torch.cat([first, second], dim=1).gather(1, at).masked_fill(over, 0)
    return words, sentence * (words != 0), at
