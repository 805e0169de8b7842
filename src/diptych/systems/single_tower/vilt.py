r"""ViLT: Vision-and-Language Transformer Without Convolution or Region Supervision (Kim et al., ICML 2021).

Paper: arXiv 2102.03334
Code: dandelin/ViLT@762fd39; the transformer is that of transformers
Tables: 1 (which credits it with contrastive learning; it has none)
Inputs: pictures and texts
Learns from: pairs
Structure: together
Representation: real-valued
Survey: Table 1: no convolutions and no regions. Strength: inference of about 15 ms where region-based
    models take about 900 ms. Credited with a contrastive loss, which it does not have.

One transformer reads word pieces and raw patches together, without a network for pictures before it, and
scores the pair; there is no vector of either side, so it can only rank what something else has found. It
first learns whether picture and text match, which words were hidden, and to carry words to patches at little
cost; then to tell a picture's caption from fifteen others.

``vilt@dandelin/vilt-b32-finetuned-coco`` (or a folder, or the authors' ``.ckpt``) are the published weights;
a training starts from them with ``checkpoint=...`` and ``text=tokens:40@google-bert/bert-base-uncased``.

Equations:
- what ranking minimises: \mathcal{L} = -\frac1b \sum_i \log
    \frac{\exp(s(x_i, y_i))}{\exp(s(x_i, y_i)) + \sum_{y \in F_i} \exp(s(x_i, y))}
- the score: s(x, y) = w^\top \tanh(W h_0 + b) + c
- what pre-training minimises: \mathcal{L} = \mathcal{L}_{\mathrm{ITM}} + \mathcal{L}_{\mathrm{MLM}}
    + \lambda \mathcal{L}_{\mathrm{WPA}}
- whether both belong together, and hidden words: \mathcal{L}_{\mathrm{ITM}} =
    -\frac1b \sum_i \log p(a_i \mid x_i, y_i), \quad
    \mathcal{L}_{\mathrm{MLM}} = -\frac{1}{|M|} \sum_{m \in M} \log p(t_m)
- words near patches where both do: \mathcal{L}_{\mathrm{WPA}} = \frac1b \sum_i z_i D_i, \quad
    z_i = \begin{cases} 1 & \text{if they match} \\ -\nu & \text{else} \end{cases}
- the cost of carrying words to patches: D_i = \sum_{w, p} T_{wp} \left( 1 - \cos(h_w, h_p) \right)
where $F_i$ are captions of other pictures, $h_0$ the output of the first token, $M$ the hidden word pieces of
pairs that match, $T$ the plan of optimal transport with even marginals (by IPOT, a constant for the
gradient), $\lambda$ is `wpa_weight` and $\nu$ `wpa_negative_weight`.

Differs from the paper:
- Pictures are cut to squares of 384 pixels, as all come in one array, and are not augmented; the network
  reads oblong ones as well. The paper's have a shorter side of 384 and at most 608 pixels.
- Without a checkpoint the weights are drawn (the paper's from ViT-B/32), with a deviation that follows the
  width, and word pieces are learned from the training texts unless `tokens@FOLDER` brings BERT's.
- Word pieces are hidden one by one, not in whole words, as their numbers do not say where a word begins.
  Where the vocabulary has no mask (`mask_piece` below 0), one more piece is made.
- Texts and pictures that are drawn as false are never the pair's own in other words: captions of the same
  picture and captions of the same words are left out (the code draws from all).
- Alignment pushes the pairs that do not match apart, as the code does; the paper does not say so.
  `wpa_negative_weight` 0 leaves them alone.
- A batch is as large as `batch_size` says; the paper's are 4,096 and 256.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.data.base import Split
from diptych.errors import BadData, BadParameter
from diptych.nets.masking import WordGuess, guess_loss, hide_words, inside, there
from diptych.nets.published import published, renamed, take
from diptych.optional import optional
from diptych.training.pair_learner import PairLearner, States, first_wins
from diptych.training.trainer import Batch

__all__ = ["ViLT"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "tiny": {
        "image_size": 32,
        "patch": 8,
        "text_length": 24,
        "vocabulary": 512,
        "width": 48,
        "heads": 3,
        "layers": 2,
        "false_texts": 5,
        "dropout": 0.0,
        "pretrain_epochs": 4,
        "epochs": 20,
        "batch_size": 16,
        "lr": 2e-3,
    },
}
# Without a variant, the first one reads.
FEATURES: Mapping[str | None, str] = {
    None: "image=pixels:384,text=tokens:40",
    "paper": "image=pixels:384,text=tokens:40",
    "tiny": "image=pixels:32,text=tokens:24",
}
RECIPES: Mapping[str, Mapping[str, Any]] = {}

_BERT_MASK = 103
_FAR = 1e4

# The authors' names, and those of transformers, which ours are.
_OFFICIAL = (
    (r"transformer\.patch_embed\.proj\.", "vilt.embeddings.patch_embeddings.projection."),
    (r"transformer\.cls_token", "vilt.embeddings.cls_token"),
    (r"transformer\.pos_embed", "vilt.embeddings.position_embeddings"),
    (r"transformer\.norm\.", "vilt.layernorm."),
    (r"transformer\.blocks\.(\d+)\.norm1\.", r"vilt.encoder.layer.\1.layernorm_before."),
    (r"transformer\.blocks\.(\d+)\.norm2\.", r"vilt.encoder.layer.\1.layernorm_after."),
    (r"transformer\.blocks\.(\d+)\.attn\.proj\.", r"vilt.encoder.layer.\1.attention.output.dense."),
    (r"transformer\.blocks\.(\d+)\.mlp\.fc1\.", r"vilt.encoder.layer.\1.intermediate.dense."),
    (r"transformer\.blocks\.(\d+)\.mlp\.fc2\.", r"vilt.encoder.layer.\1.output.dense."),
    (r"text_embeddings\.", "vilt.embeddings.text_embeddings."),
    (r"token_type_embeddings\.", "vilt.embeddings.token_type_embeddings."),
    (r"pooler\.", "vilt.pooler."),
    (r"itm_score\.fc\.", "itm_score."),
)
_QKV = "transformer.blocks.{}.attn.qkv.{}"


@dataclass(kw_only=True, eq=False)
class ViLT(PairLearner):
    """Vision-and-language transformer, a scorer of pairs.

    Args:
        image_size, patch: Width and height of the pictures and of their patches.
        text_length, vocabulary: Word pieces of a text, and how many different ones there are.
        mask_piece: Number of the piece that hides others (BERT's is 103); below 0 makes one more.
        width, heads, layers: Of the transformer.
        dropout: Of embeddings, and after attention and perceptron.
        false_texts: Captions that each picture must tell its own from.
        max_patches: Patches of a picture that pre-training looks at, drawn anew each time.
        words_hidden: Share of the word pieces that are to be guessed.
        wpa_weight: Of the alignment of words and patches.
        wpa_negative_weight: How much pairs that do not match are pushed apart, against the others.

    Raises:
        BadParameter: patches that do not fill a picture, or heads that do not divide the width.
        MissingExtra: transformers is not installed.
        MissingData, BadData: see `diptych.nets.published`.
    """

    image_size: int = 384
    patch: int = 32
    text_length: int = 40
    vocabulary: int = 30522
    mask_piece: int = -1
    width: int = 768
    heads: int = 12
    layers: int = 12
    dropout: float = 0.1
    false_texts: int = 15
    max_patches: int = 200
    words_hidden: float = 0.15
    wpa_weight: float = 0.1
    wpa_negative_weight: float = 1.0
    epochs: int = 10
    batch_size: int = 32
    lr: float = 1e-4

    def __post_init__(self) -> None:
        state = _ours(published(self.checkpoint)) if self.checkpoint else None
        if state is not None:
            self._shaped_by(state)
        if self.width % self.heads or self.patch < 1 or self.image_size % self.patch:
            raise BadParameter(
                f"ViLT needs heads that divide the width, and patches that fill a picture, not "
                f"{self.heads} of {self.width} and {self.patch} of {self.image_size} pixels",
                argument="settings",
            )
        self.joint = _Joint(self)
        if state is not None:
            lacking = take(self.joint, state, "ViLT", drawn=("itm_score", "mlm_score", "rank_output"))
            if "rank_output.weight" in lacking and "itm_score.weight" not in lacking:
                self.joint.rank_by_matching()

    def _shaped_by(self, state: Mapping[str, Tensor]) -> None:
        """Take the architecture from the shapes of a checkpoint, whose heads have 64 dimensions."""
        try:
            words = state["vilt.embeddings.text_embeddings.word_embeddings.weight"]
            self.vocabulary, self.width = words.shape
            self.text_length = len(state["vilt.embeddings.text_embeddings.position_embeddings.weight"])
            self.patch = state["vilt.embeddings.patch_embeddings.projection.weight"].shape[-1]
            places = state["vilt.embeddings.position_embeddings"].shape[1] - 1
        except KeyError as error:
            raise BadData(f"this is no whole ViLT checkpoint: it lacks {error.args[0]}") from error
        self.image_size, self.mask_piece = isqrt(places) * self.patch, _BERT_MASK
        self.layers = len({key.split(".")[3] for key in state if key.startswith("vilt.encoder.layer.")})
        self.heads = max(self.width // 64, 1)

    @property
    def image_reader(self) -> str:
        """The extractor whose pictures it reads."""
        return f"pixels:{self.image_size}"

    @property
    def mask(self) -> int:
        """Number of the piece that hides others."""
        return self.vocabulary if self.mask_piece < 0 else self.mask_piece

    def image_states(self, image: Tensor) -> States:
        """Patches with their places."""
        return (self.joint.patches(image),)

    def text_states(self, text: Tensor) -> States:
        """The word pieces: no layer of theirs comes before the patches."""
        return (text,)

    def pair_scores(self, image: States, text: States) -> Tensor:
        """The rank logit of each pair."""
        scores: Tensor = self.joint.rank_output(self.joint(image[0], text[0])[1])[:, 0]
        return scores

    def pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """ITM, MLM and WPA."""
        device = batch.text.device
        # Exactly half of a batch has a false picture.
        matched = (torch.arange(len(batch)) >= len(batch) // 2)[torch.randperm(len(batch))].to(device)
        false = self.others.images(self.others.draw(batch, 1)[:, 0], device)
        pictures = torch.where(matched[:, None, None, None], batch.image, false)
        patches = self._some(self.joint.patches(pictures))
        states, pooled = self.joint(patches, batch.text)
        words, seen = states.split([batch.text.shape[1], patches.shape[1]], dim=1)
        distance = carrying_cost(words, inside(batch.text), seen[:, 1:])
        sign = torch.where(matched, 1.0, -self.wpa_negative_weight)

        asked, hidden = hide_words(
            batch.text, share=self.words_hidden, mask=self.mask, vocabulary=self.vocabulary
        )
        guessed = self.joint(self._some(self.joint.patches(batch.image)), asked)[0]
        guesses = self.joint.mlm_score(guessed[:, : asked.shape[1]][hidden])
        return {
            "itm": functional.cross_entropy(self.joint.itm_score(pooled), matched.long()),
            "mlm": guess_loss(guesses, batch.text[hidden]),
            "wpa": self.wpa_weight * (sign * distance).mean(),
        }

    def _some(self, patches: Tensor) -> Tensor:
        """At most `max_patches` of each picture's, behind its first token."""
        count = patches.shape[1] - 1
        if count <= self.max_patches:
            return patches
        order = torch.rand(len(patches), count, device=patches.device).argsort(dim=1)[:, : self.max_patches]
        kept = order[..., None].expand(-1, -1, patches.shape[2])
        return torch.cat([patches[:, :1], patches[:, 1:].gather(1, kept)], dim=1)

    def begin_ranking(self, split: Split) -> None:
        """Rank by the match logit, unless a checkpoint brings more, and let the heads of pre-training be."""
        if not self.checkpoint:
            self.joint.rank_by_matching()
        for head in (self.joint.itm_score, self.joint.mlm_score):
            head.requires_grad_(False)

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of each pair against its picture with other captions of the training data."""
        false = self.others.texts(self.others.draw(batch, self.false_texts), batch.text.device)
        texts = torch.cat([batch.text[:, None], false], dim=1)
        (patches,) = self.image_states(batch.image)
        patches = patches.repeat_interleave(texts.shape[1], dim=0)
        scores = self.pair_scores((patches,), self.text_states(texts.flatten(0, 1)))
        return {"rank": first_wins(scores.view(len(batch), -1))}


class _Joint(nn.Module):
    """The transformer and its heads, by the names that transformers and published weights have for them."""

    def __init__(self, system: ViLT) -> None:
        super().__init__()
        transformers = optional("transformers", "ViLT", "towers")
        self.pieces = system.vocabulary + (system.mask_piece < 0)
        # A narrow network would hardly begin to learn with the deviation of a wide one.
        deviation = 0.02 * (768 / system.width) ** 0.5
        config = transformers.ViltConfig(
            vocab_size=self.pieces,
            max_position_embeddings=system.text_length,
            hidden_size=system.width,
            num_hidden_layers=system.layers,
            num_attention_heads=system.heads,
            intermediate_size=4 * system.width,
            hidden_dropout_prob=system.dropout,
            initializer_range=deviation,
            image_size=system.image_size,
            patch_size=system.patch,
        )
        self.vilt = transformers.ViltModel(config)
        self.itm_score = nn.Linear(system.width, 2)
        self.mlm_score = WordGuess(system.width, self.pieces)
        self.rank_output = nn.Linear(system.width, 1)
        places = self.vilt.embeddings
        for drawn in (places.cls_token, places.position_embeddings, *self._matrices()):
            nn.init.normal_(drawn, std=deviation)
        for head in (self.itm_score, self.rank_output):
            nn.init.zeros_(head.bias)

    def _matrices(self) -> list[Tensor]:
        heads = (self.itm_score, self.mlm_score, self.rank_output)
        return [p for head in heads for name, p in head.named_parameters() if p.ndim > 1]

    def patches(self, pixels: Tensor) -> Tensor:
        """(b, 3, h, w) uint8, sides whole numbers of patches, to (b, 1 + patches, width), with their places.

        The places of the square grid are stretched to the picture's own, corner on corner.

        Raises:
            BadParameter: pictures that patches do not fill.
        """
        embeddings = self.vilt.embeddings
        size = self.vilt.config.patch_size
        if pixels.ndim != 4 or pixels.shape[1] != 3 or pixels.shape[2] % size or pixels.shape[3] % size:
            raise BadParameter(
                f"this ViLT sees pictures 3 x height x width in whole patches of {size} pixels, not "
                f"{tuple(pixels.shape[1:])}; take them with the extractor "
                f"image=pixels:{self.vilt.config.image_size}",
                argument="features",
            )
        seen = embeddings.patch_embeddings(pixels.float() / 127.5 - 1)
        first, square = embeddings.position_embeddings.split([1, embeddings.patch_embeddings.num_patches], 1)
        side = isqrt(square.shape[1])
        grid = square.transpose(1, 2).unflatten(2, (side, side))
        grid = functional.interpolate(grid, size=seen.shape[2:], mode="bilinear", align_corners=True)
        whole = (embeddings.cls_token + first).expand(len(pixels), -1, -1)
        tokens = torch.cat([whole, (seen + grid).flatten(2).transpose(1, 2)], dim=1)
        dropped: Tensor = embeddings.dropout(tokens)
        return dropped

    def forward(self, patches: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """States (b, length + patches, width), the words' first, and a pooled one (b, width).

        Args:
            patches: (b, patches, width), with their places.
            words: (b, length) int64.

        Raises:
            BadParameter: longer texts, or pieces that the network does not know.
        """
        longest = self.vilt.config.max_position_embeddings
        if words.shape[1] > longest or (words.numel() and int(words.max()) >= self.pieces):
            raise BadParameter(
                f"this ViLT reads {longest} word pieces with numbers below {self.pieces}, not "
                f"{words.shape[1]} with numbers up to {int(words.max())}; take the tokens that it was "
                f"trained with, by the extractor text=tokens:{longest}@FOLDER",
                argument="features",
            )
        found = self.vilt(
            input_ids=words,
            attention_mask=there(words).long(),
            image_embeds=patches,
            pixel_mask=torch.ones(patches.shape[:2], dtype=torch.long, device=patches.device),
        )
        return found.last_hidden_state, found.pooler_output

    def rank_by_matching(self) -> None:
        """Give the rank head the weights of a match in the matching head."""
        with torch.no_grad():
            self.rank_output.weight.copy_(self.itm_score.weight[1:])
            self.rank_output.bias.copy_(self.itm_score.bias[1:])


def carrying_cost(words: Tensor, counted: Tensor, patches: Tensor) -> Tensor:
    """What it costs (b,) to carry the words to the patches: the paper's word-patch alignment.

    Args:
        words: (b, m, width).
        counted: (b, m), the words that are counted.
        patches: (b, n, width), all counted.
    """
    unit_words, unit_patches = functional.normalize(words, dim=2), functional.normalize(patches, dim=2)
    cost = (1 - unit_words @ unit_patches.transpose(1, 2)).masked_fill(~counted[..., None], 0.0)
    shown = torch.ones(patches.shape[:2], dtype=torch.bool, device=patches.device)
    plan = transport(cost.detach().float(), counted, shown)
    return (cost * plan.transpose(1, 2)).sum(dim=(1, 2))


@torch.no_grad()
def transport(
    cost: Tensor, words: Tensor, patches: Tensor, *, beta: float = 0.5, steps: int = 50, inner: int = 1
) -> Tensor:
    """Plans (b, n, m) by inexact proximal optimal transport (IPOT, arXiv 1802.04307) between even marginals.

    Args:
        cost: (b, m, n) of a word and a patch, 0 for those that are not counted.
        words, patches: (b, m) and (b, n), those that are counted.
        beta: Of the proximal term.
        steps, inner: Iterations, and those of the scaling within each.
    """
    valid = patches[:, :, None] & words[:, None, :]
    m, n = (counted.sum(dim=1, keepdim=True).clamp(min=1).float() for counted in (words, patches))
    kernel = torch.exp(-cost.transpose(1, 2) / beta) * valid
    plan, sigma = valid.float(), words / m
    # Keeps the scales of what is not counted near 0, where they would be divided by 0.
    off_words, off_patches = _FAR * ~valid.any(dim=1), _FAR * ~valid.any(dim=2)
    for _ in range(steps):
        scaled = kernel * plan
        for _ in range(inner):
            delta = 1 / (n * (scaled @ sigma[..., None])[..., 0] + off_patches)
            sigma = 1 / (m * (scaled.transpose(1, 2) @ delta[..., None])[..., 0] + off_words)
        plan = delta[:, :, None] * scaled * sigma[:, None, :]
    return plan * valid


def _ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint by the names of transformers; the authors' are translated."""
    found = renamed(state, _OFFICIAL)
    layer = 0
    while _QKV.format(layer, "weight") in found:
        for kind in ("weight", "bias"):
            parts = found.pop(_QKV.format(layer, kind)).chunk(3)
            for name, part in zip(("query", "key", "value"), parts, strict=True):
                found[f"vilt.encoder.layer.{layer}.attention.attention.{name}.{kind}"] = part
        layer += 1
    return found
