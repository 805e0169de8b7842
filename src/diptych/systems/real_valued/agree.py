r"""AGREE: Aligning Cross-Modal Entities for Image-Text Retrieval (Wang et al., WSDM 2023).

Paper: "... Upon Vision-Language Pre-trained Models", WSDM 2023, pages 456-464
Code: alibaba/EasyNLP@a4ee956 (examples/agree)
Tables: survey Table 4, which counts it among multimodal language models; it is none
Inputs: image features and text features; or, as in the paper, pictures and texts themselves, with CLIP
  ViT-L/14 fine-tuned (agree:clip)
Learns from: pairs
Structure: apart
Representation: real-valued
Survey: only in Table 4, among multimodal language models.

A fine-tuned dual tower that is also taught that a pair fits worse when an entity is masked on either side.
After the search, the lists of both directions are made to agree: a hit that does not find its query back
falls behind those that do (text-image bi-directional re-ranking).

`agree:clip` trains both towers of a CLIP checkpoint (`clip=FOLDER`, or a repository of the hub) and its
logit scale, from pixels and up to 77 word pieces, with the paper's recipe and nothing added to CLIP.

Equations:
- the objective: \mathcal{L} = w_c \mathcal{L}_{\mathrm{clip}} + w_t \mathcal{L}_{\mathrm{mask}}
    + w_v \mathcal{L}_{\mathrm{vg\_mask}}
- pairs against others of the batch: \mathcal{L}_{\mathrm{clip}} = -\frac{1}{2b} \sum_i \left(
    \log \frac{e^{s_{ii}}}{\sum_{j \notin O_i} e^{s_{ij}}}
    + \log \frac{e^{s_{ii}}}{\sum_{j \notin O_i} e^{s_{ji}}} \right)
- scaled cosines: s_{ij} = \sigma \cos(x_i, y_j), \quad \sigma = \min(e^a, 100)
- a masked text fits no better: \mathcal{L}_{\mathrm{mask}} = \frac{1}{\sigma} \sum_i
    \max\left( 0, \sigma \cos(x_i, y'_i) - s_{ii} \right)
- nor does a masked picture: \mathcal{L}_{\mathrm{vg\_mask}} = \frac{1}{\sigma} \sum_i
    \max\left( 0, \sigma \cos(x'_i, y_i) - s_{ii} \right)
- lists sorted anew, least first: r(q, h) = \frac12 \left( r_q(h) + r_h(q) \right)
where $x_i$ and $y_i$ are a picture and its text, with a prime one of which a part is masked, $O_i$ other
captions of the same picture, and $r_q(h)$ is the rank of $h$ in the list of $q$, from 0, or 10,000 if it is
not there.

Differs from the paper:
- Entities, their boxes and the pictures of Visual Genome are not at hand. In `agree:clip` what is masked is a
  random square of the picture, as in the released code where it found no entity, and one random word piece,
  which becomes number 0 ("!" in CLIP's vocabulary) where that code puts "[MASK]" for an entity; with features
  it is a random piece of the vector. The terms that need an entity's name (L_prompt, L_da, L_da_mask) and
  the re-ranking that needs one (EGR) are left out.
- With features the towers are frozen, each side learns a head of two layers, and the optimiser is Adam.
- The 10,000 steps of warm-up are at most a tenth of the training, for small data sets. The epoch is chosen by
  validation; the authors take the second.
- Other captions of an image are no negatives of L_clip, and the masking terms send gradients into the
  encoders. `released=True` takes the former as negatives, and detaches the latter, as the code does. On
  planted data with five captions an image that changes R@1 by up to .03 either way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from diptych.core import Rows
from diptych.data.base import Split
from diptych.nets.clip_towers import ClipTexts
from diptych.nets.fronts import FromClip
from diptych.nets.optimizers import WarmedAdamW
from diptych.nets.scaling import Scaling, fit_scaling
from diptych.towers.preprocess import CLIP_NORMAL
from diptych.training.learner import Learner
from diptych.training.trainer import Batch

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
    "clip": {"clip": "openai/clip-vit-large-patch14", "epochs": 50, "batch_size": 32, "lr": 1e-5},
}
FEATURES: Mapping[str, str] = {"clip": "image=pixels,text=tokens:77@{clip}"}
RECIPES: Mapping[str, Mapping[str, Any]] = {}


@dataclass(kw_only=True, eq=False)
class AGREE(FromClip, Learner):
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
        released: Detach the masking terms and take an image's other captions as negatives, as the code does.
        warmup: Steps in which the rate of `clip` rises, at most a tenth of all.
        weight_decay: Of the weights of `clip`; biases, layer norms and the logit scale have none.
        clip: Folder or hub repository of a CLIP checkpoint whose towers are trained, on pixels and word
            pieces; "" reads features.
        clip_config: Its configuration, which fills itself in.
    """

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
    warmup: int = 10_000
    weight_decay: float = 0.1

    def __post_init__(self) -> None:
        towers = self.clip_front()
        if towers is None:
            self.image_net = _tower(self.image_dim, self.hidden_dim, self.dim, self.scaling)
            self.text_net = _tower(self.text_dim, self.hidden_dim, self.dim, self.scaling)
            self.scale = _Scale()
        else:
            self.dim = towers.dim
            self.image_net, self.text_net = towers.image, towers.text
            self.scale = _HeldScale(towers.log_scale)
        self.total_steps = 1

    def study(self, split: Split) -> None:
        """Take the statistics of the training features, or count the steps for CLIP's schedule."""
        self.total_steps = self.epochs * ceil(len(split.pairs) / self.batch_size)
        if not self.clip_config:
            fit_scaling(self.image_net, self.checked_inputs(split.image, "image"))
            fit_scaling(self.text_net, self.checked_inputs(split.text, "text"))

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam over the heads; for CLIP itself AdamW, with decay of its weights only."""
        if not self.clip_config:
            return super().optimizer()
        modules = [module for net in self.networks.values() for module in net.modules()]
        norms = {id(p) for m in modules if isinstance(m, nn.LayerNorm) for p in m.parameters()}
        plain: list[nn.Parameter] = []
        decayed: list[nn.Parameter] = []
        for net in self.networks.values():
            for name, parameter in net.named_parameters():
                free = id(parameter) in norms or net is self.scale or name.endswith("bias")
                (plain if free else decayed).append(parameter)
        return WarmedAdamW(
            [{"params": plain, "weight_decay": 0.0}, {"params": decayed}],
            self.lr,
            total=self.total_steps,
            warmup=min(self.warmup, self.total_steps // 10),
            betas=(0.9, 0.98),
            eps=1e-6,
            weight_decay=self.weight_decay,
        )

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """L_clip, L_mask and L_vg_mask."""
        scale = self.scale()
        image, text = self._encoded(batch.image, batch.text)
        same = batch.image_row[:, None] == batch.image_row[None]
        if self.released:
            same = torch.eye(len(batch), dtype=torch.bool, device=same.device)
        whole = scale * (image * text).sum(dim=1)
        masked_image, masked_text = self._encoded(*self._without(batch))
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

    def _without(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images and texts of the batch, with a random part of each masked."""
        if isinstance(self.text_net, ClipTexts):
            return without_square(batch.image), without_piece(batch.text, self.text_net.ends(batch.text))
        return self._masked(batch.image), self._masked(batch.text)

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

    def __init__(self, start: float = float(np.log(1 / 0.07))) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(start))

    def forward(self) -> Tensor:
        return self.log.exp().clamp(max=100)


class _HeldScale(_Scale):
    """The same for the scale of a trained CLIP, which starts at the limit.

    As in the released code the parameter is put back to between 0 and ln 100, so that it still has a gradient
    there.
    """

    def forward(self) -> Tensor:
        with torch.no_grad():
            self.log.clamp_(0, log(100))
        return self.log.exp()


def _tower(inputs: int, hidden: int, dim: int, scaling: str) -> nn.Sequential:
    return nn.Sequential(
        Scaling(inputs, scaling), nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, dim)
    )


def without_square(pixels: Tensor) -> Tensor:
    """Pictures (b, 3, s, s) uint8 with a random square each in CLIP's mean colour, which it sees as zero.

    The square is 32 of 224 pixels wide; its upper left corner is anywhere, so it may hang over the border.
    """
    size = pixels.shape[-1]
    width = max(round(size * 32 / 224), 1)
    corner = torch.randint(size, (len(pixels), 2, 1), device=pixels.device)
    place = torch.arange(size, device=pixels.device)
    inside = (place >= corner) & (place < corner + width)  # (b, 2, s): rows and columns
    square = inside[:, 0, :, None] & inside[:, 1, None, :]
    mean = (255 * torch.tensor(CLIP_NORMAL.mean, device=pixels.device)).round().to(pixels.dtype)
    return torch.where(square[:, None], mean.view(3, 1, 1), pixels)


def without_piece(tokens: Tensor, ends: Tensor) -> Tensor:
    """Texts (b, n) with one random piece between start and end token each replaced by number 0.

    Args:
        tokens: (b, n) int64.
        ends: (b,) where the end tokens are; a text with nothing before it stays.
    """
    place = torch.arange(tokens.shape[1], device=tokens.device)
    chosen = 1 + (torch.rand(len(tokens), device=tokens.device) * (ends - 1)).long()
    return tokens.masked_fill((place == chosen[:, None]) & (place < ends[:, None]), 0)


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
