r"""ALIGN: Scaling Up Visual and Vision-Language Representation Learning With Noisy Text Supervision (Jia et al., ICML 2021).

Paper: arXiv 2102.05918
Code: none by the authors; the towers are transformers' (Kakao Brain's reimplementation)
Tables: none
Inputs: pictures, texts
Learns from: pairs
Structure: apart
Representation: real-valued
Survey: Table 1: over a billion noisy pairs, 76.4 % on ImageNet without training; the paper says 1.8 billion
    and 76.4.

EfficientNet and BERT, trained to agree on 1.8 billion pictures with their alt-texts: noise is no matter where
there is enough of it. One linear layer takes the text's first token to the width of the picture's pooled
features; the temperature is learned, and divides. ``align@FOLDER`` and ``align:base`` (kakaobrain/align-base,
EfficientNet-B7 and BERT-Base, another model than the paper's) run checkpoints, the other variants are drawn.

Equations:
- the objective, both directions: \mathcal{L} = \mathcal{L}_{\mathrm{i2t}} + \mathcal{L}_{\mathrm{t2i}}
- pictures among texts, smoothed (eq. 1): \mathcal{L}_{\mathrm{i2t}} = -\frac1b \sum_i \left(
    (1 - \epsilon) \log p_{ii} + \frac{\epsilon}{b - |O_i|} \sum_{j \notin O_i} \log p_{ij} \right)
- how likely text j is: p_{ij} = \frac{\exp(s_{ij})}{\sum_{k \notin O_i} \exp(s_{ik})}
- cosines over a learned temperature: s_{ij} = \frac{\cos(f(x_i), g(y_j))}{\sigma}, \quad \sigma \ge 0.01
where $f$ and $g$ are image and text tower, $\epsilon$ is `smoothing`, $O_i$ are other captions of the same
picture and other pictures of the same caption (none with `literal`), and $\mathcal{L}_{\mathrm{t2i}}$ (eq. 2)
has both sides exchanged.

Differs from the paper:
- Drawn towers read BERT's uncased word pieces; the paper's vocabulary was made from its alt-texts.
- AdamW with a cosine in place of LAMB with a line, for batches of hundreds and not of 16,384.
- Other captions of the same picture in a batch are left out of both sums; `literal` counts them as wrong.
- Training sees the picture's middle, as search does; `crop` gives a random square, and nothing is mirrored.
- Batch normalisation has the statistics of `batch_size` pictures where a batch has more pairs.
- The temperature is kept above 0.01. It starts at 1 as in the paper, but at 0.1 in `small` and `tiny`: their
  few hundred steps would only bring it down, and until then cosines say little.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diptych.errors import BadParameter, UnknownName
from diptych.towers.checkpoint import WHOLE, folder_of
from diptych.towers.drawn import AlignShape, drawn_align
from diptych.towers.transformers import DualTowers
from diptych.training.tuning import Tuned

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ALIGN"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "base": {"architecture": "base"},
    "paper": {
        "architecture": "l2-bert-large",
        "pairs": 16384,
        "lr": 1e-3,
        "epochs": 12,
        "weight_decay": 1e-5,
    },
    "small": {
        "architecture": "small",
        "temperature": 0.1,
        "pairs": 512,
        "lr": 1e-3,
        "epochs": 30,
        "crop": 0.6,
    },
    "tiny": {"architecture": "tiny", "temperature": 0.1, "pairs": 32, "lr": 1.5e-2, "epochs": 30},
}

RECIPES: Mapping[str, Mapping[str, Any]] = {}

_HUB: Mapping[str, str] = {"base": "kakaobrain/align-base"}

# What weights are drawn for.
_SHAPES: Mapping[str, AlignShape] = {
    "tiny": AlignShape(32, 0.25, 0.25, (32, 1, 4), dropped=0.0),
    "small": AlignShape(96, 0.5, 0.5, (192, 4, 3)),
    "b7-bert-base": AlignShape(289, 2.0, 3.1, (768, 12, 12)),
    "l2-bert-large": AlignShape(289, 4.3, 5.3, (1024, 24, 16)),
}


@dataclass(kw_only=True, eq=False)
class ALIGN(Tuned):
    """An encoder of pictures and texts into one space of unit vectors.

    Args:
        architecture: "base", or what weights are drawn for. Not looked at where `weights` are given.
        weights: A folder, or OWNER/NAME of a repository of the hub.
        temperature: What the learned one starts from where weights are drawn.
        smoothing: Share of the target that goes to all of a batch alike.
        literal: Count other captions of the same picture as wrong answers.
        device, batch_size, tune, layers, rank, pairs, crop, epochs, lr, warmup, weight_decay: See
            `diptych.training.tuning.Tuned`.

    Raises:
        UnknownName: there is no such architecture.
        MissingExtra: transformers is not installed.
        MissingData: the weights are in no local cache and the hub does not answer or does not have them.
        BadData: a folder that holds no ALIGN, or no safetensors.
        BadParameter: a value that is not allowed.
    """

    architecture: str = "small"
    temperature: float = 1.0
    smoothing: float = 0.1
    literal: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature < 1 / 100 or not 0 <= self.smoothing < 1:
            raise BadParameter(
                f"temperature must be at least 0.01, and smoothing from 0 to below 1, not {self.temperature} "
                f"and {self.smoothing}"
            )
        options: dict[str, Any] = {"device": self.device, "batch_size": self.batch_size}
        weights = self.weights or _HUB.get(self.architecture, "")
        if weights:
            self.towers = DualTowers.of(folder_of(weights, WHOLE), kinds=("align",), **options)
        elif self.architecture in _SHAPES:
            model, *rest = drawn_align(_SHAPES[self.architecture])
            model.temperature.data.fill_(self.temperature)
            self.towers = DualTowers(model, *rest, **options)
        else:
            raise UnknownName("architecture of align", self.architecture, [*_HUB, *_SHAPES])

    def loss(self, image: Tensor, text: Tensor, left_out: Tensor) -> dict[str, Tensor]:
        """Eq. 1 and 2, with smoothed targets; their sum is minimised."""
        from diptych.nets.contrastive import info_nce

        scores = image @ text.T / self.towers.model.temperature
        there, back = info_nce(scores, None if self.literal else left_out, smoothing=self.smoothing)
        return {"i2t": there, "t2i": back}

    def bound(self) -> None:
        """Keep the temperature above a hundredth, as CLIP's is."""
        import torch

        from diptych.nets.contrastive import MOST_SCALE

        with torch.no_grad():
            self.towers.model.temperature.clamp_(min=1 / MOST_SCALE)
