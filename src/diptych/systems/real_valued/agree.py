"""AGREE: Aligning Cross-Modal Entities for Image-Text Retrieval (Wang et al., WSDM 2023).

Paper: "... Upon Vision-Language Pre-trained Models", WSDM 2023, pages 456-464
Code: alibaba/EasyNLP@a4ee956 (examples/agree)
Tables: survey Table 4, which counts it among multimodal language models; it is none
Inputs: image features and text features (the paper: CLIP ViT-L/14 on pixels and words)
Learns from: pairs

A fine-tuned dual tower that is also taught that a pair fits worse when an entity is masked on either side.
After the search, the lists of both directions are made to agree: a hit that does not find its query back
falls behind those that do (text-image bi-directional re-ranking).

Differs from the paper:
- Entities, their boxes and the pictures of Visual Genome are not at hand for feature vectors, so what is
  masked is a random piece of the vector, as the released code masks a random square where it found no entity;
  the terms that need an entity's name are left out of the objective and are functions here (`prompt_loss`,
  `entity_guided`).
- The masking terms send gradients into the encoders; `released=True` detaches them as the code does, by
  accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from diptych.core import Rows
from diptych.data.base import Split
from diptych.learner import Learner
from diptych.nets.scaling import Scaling, fit_scaling
from diptych.trainer import Batch

__all__ = ["AGREE"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "tiny": {
        "image_dim": 32,
        "text_dim": 24,
        "hidden_dim": 64,
        "dim": 32,
        "epochs": 15,
        "batch_size": 50,
        "lr": 2e-3,
    },
}
RECIPES: Mapping[str, Mapping[str, Any]] = {}


@dataclass(kw_only=True, eq=False)
class AGREE(Learner):
    """Aligned cross-modal entities.

    Args:
        image_dim, text_dim: Dimensions of the input features.
        hidden_dim: Width of each side's hidden layer.
        dim: Dimensions of the common space.
        pieces: In how many pieces a vector is cut for masking one.
        clip_weight: Of the contrastive loss of pairs.
        text_mask_weight: Of masking a piece of the text (L_mask).
        image_mask_weight: Of masking a piece of the image (L_vg_mask).
        agree_depth: How many hits of both directions are made to agree; 0 leaves the lists alone.
        scaling: "none", "global" or "standard", see `diptych.nets.scaling`.
        released: Detach the masking terms, as the released code does.
    """

    image_net: nn.Sequential = field(init=False, repr=False)
    text_net: nn.Sequential = field(init=False, repr=False)

    image_dim: int = 768
    text_dim: int = 768
    hidden_dim: int = 1024
    dim: int = 768
    pieces: int = 8
    clip_weight: float = 0.9
    text_mask_weight: float = 0.1
    image_mask_weight: float = 0.1
    agree_depth: int = 10
    scaling: str = "standard"
    released: bool = False
    epochs: int = 50
    batch_size: int = 128
    lr: float = 1e-4

    def __post_init__(self) -> None:
        self.image_net = _tower(self.image_dim, self.hidden_dim, self.dim, self.scaling)
        self.text_net = _tower(self.text_dim, self.hidden_dim, self.dim, self.scaling)
        self.scale = _Scale()

    def prepare(self, split: Split) -> None:
        """Take the statistics of the training features."""
        fit_scaling(self.image_net, self.features(split.image, "image"))
        fit_scaling(self.text_net, self.features(split.text, "text"))

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """L_clip, L_mask and L_vg_mask."""
        scale = self.scale()
        image, text = self._encoded(batch.image, batch.text)
        same = batch.image_row[:, None] == batch.image_row[None]
        whole = scale * (image * text).sum(dim=1)
        masked_image, masked_text = self._encoded(self._masked(batch.image), self._masked(batch.text))
        without_text = scale * (image * masked_text).sum(dim=1)
        without_image = scale * (masked_image * text).sum(dim=1)
        return {
            "clip": self.clip_weight * contrastive(scale * image @ text.T, same),
            "text_mask": self.text_mask_weight * mask_loss(whole, without_text, scale, self.released),
            "image_mask": self.image_mask_weight * mask_loss(whole, without_image, scale, self.released),
        }

    def _encoded(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        return functional.normalize(self.image_net(image), dim=1), functional.normalize(
            self.text_net(text), dim=1
        )

    def _masked(self, rows: Tensor) -> Tensor:
        """The rows with one random piece each set to zero."""
        size = -(-rows.shape[1] // self.pieces)
        chosen = torch.randint(-(-rows.shape[1] // size), (len(rows), 1), device=rows.device)
        piece = torch.arange(rows.shape[1], device=rows.device) // size
        return rows.masked_fill(piece[None] == chosen, 0.0)

    def agree(self, lists: Rows, reverse: Rows) -> Rows:
        """The lists (q, k) of one direction made to agree with those (n, k) of the other."""
        return two_way(lists, reverse)


class _Scale(nn.Module):
    """exp(logit scale), at most 100."""

    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(float(np.log(1 / 0.07))))

    def forward(self) -> Tensor:
        return self.log.exp().clamp(max=100)


def _tower(inputs: int, hidden: int, dim: int, scaling: str) -> nn.Sequential:
    return nn.Sequential(
        Scaling(inputs, scaling), nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, dim)
    )


def contrastive(logits: Tensor, same: Tensor) -> Tensor:
    """Symmetric InfoNCE over a batch; other captions of the same image are no negatives.

    Args:
        logits: (b, b), images by texts.
        same: (b, b), True where two pairs have one image.
    """
    others = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    logits = logits.masked_fill(others, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def mask_loss(whole: Tensor, masked: Tensor, scale: Tensor | float, released: bool = False) -> Tensor:
    """(1 / s) sum_i max(0, masked_i - whole_i): a pair must not fit better with a part of it masked.

    Args:
        whole, masked: (b,) scaled similarities of the pairs.
        scale: s.
        released: Detach the similarities, so that only s is moved.
    """
    gap = (masked - whole).detach() if released else masked - whole
    return functional.relu(gap).sum() / scale


def prompt_loss(image: Tensor, prompts: Tensor, present: Tensor, scale: Tensor | float) -> Tensor:
    """L_prompt: contrastive loss of images and "a photo containing ENTITY", over the slots that hold one.

    Args:
        image: (b, d) unit vectors.
        prompts: (slots, b, d) unit vectors.
        present: (slots, b), False where a slot is empty; the released code takes those for entities, too.
        scale: s.
    """
    losses = []
    for prompt, here in zip(prompts, present, strict=True):
        if int(here.sum()) > 1:
            logits = scale * image[here] @ prompt[here].T
            same = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
            losses.append(contrastive(logits, same))
    return torch.stack(losses).mean() if losses else image.new_zeros(())


def entity_guided(score: float, masked: Sequence[float], prompts: Sequence[float], *, query: str) -> float:
    """The final score of a pair under textual entity-guided re-ranking (EGR).

    Args:
        score: s of the pair.
        masked: s with each entity of the text masked.
        prompts: s of the image with "a photo containing ENTITY" for each entity.
        query: "text" or "image".
    """
    gaps = [score - value for value in masked]
    mean = sum(prompts) / len(prompts) if prompts else 0.0
    if query == "text":
        return 0.99 * (0.9 * score + 0.1 * sum(gaps)) + 0.01 * mean
    return 0.98 * (0.8 * score + 0.2 * mean) + 0.02 * sum(min(0.0, gap) for gap in gaps)


def two_way(lists: NDArray[Any], reverse: NDArray[Any]) -> Rows:
    """Bi-directional re-ranking (TBR): each list sorted by the mean of both directions' ranks.

    A list whose first entry has its query as its own first stays as it is. Ranks count from 0, and an entry
    that does not list the query has the rank 10,000. Ties keep their order.

    Args:
        lists: (q, k) rows of the other side, best first; -1 where there is none.
        reverse: (n, k) rows of this side for each row of the other.

    Returns:
        (q, k), the same rows in another order.
    """
    found = np.array(lists, np.int64)
    for query, line in enumerate(found):
        first = line[0] if len(line) else -1
        if first < 0 or (len(reverse[first]) and reverse[first][0] == query):
            continue
        back = reverse[np.maximum(line, 0)] == query
        ranks = np.where(back.any(axis=1) & (line >= 0), back.argmax(axis=1), 10_000)
        mean = (np.arange(len(line)) + ranks) / 2
        found[query] = line[np.argsort(mean, kind="stable")]
    return found
