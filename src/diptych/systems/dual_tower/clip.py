"""CLIP: Learning Transferable Visual Models From Natural Language Supervision (Radford et al., ICML 2021).

Paper: arXiv 2103.00020
Code: openai/CLIP@d05afc4; run by transformers
Tables: none
Inputs: pictures, texts
Learns from: pairs

An image tower and a text tower, trained to agree on 400 million captioned pictures from the web. Runs any
pretrained dual encoder that transformers knows (CLIP, SigLIP, SigLIP 2, ALIGN), from a hub or from a folder:
``clip:vit-b-32@openai``, ``clip@path/to/folder``, ``clip@google/siglip2-base-patch16-224``. `diptych train`
trains it from the start or fine-tunes it: all of it, its last layers, its heads, or low-rank adapters; SigLIP
by its own loss.

Differs from the paper:
- Texts are encoded as they are; the paper's prompt "a photo of a {}" is the option `prompt`.
- Text beyond the context is cut with a warning; the code of the paper refuses it.
- Towers come ready trained, or with drawn weights (`@drawn`, and the size `small`), whose tokens are BERT's
  uncased word pieces.
- Other captions of the same picture in a batch are left out of both sums, being neither right nor wrong.
- Training sees pictures whole; `crop` gives the paper's random square. Its defaults are for fine-tuning on
  thousands of pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.data.base import Split
from diptych.errors import BadParameter, UnknownName, UsageError
from diptych.towers.checkpoint import WHOLE, folder_of
from diptych.towers.drawn import ClipShape, drawn_clip
from diptych.towers.transformers import DualTowers
from diptych.training.tuning import Tuned

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CLIP"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "vit-b-32": {"architecture": "vit-b-32"},
    "vit-b-16": {"architecture": "vit-b-16"},
    "vit-l-14": {"architecture": "vit-l-14"},
    "vit-l-14-336": {"architecture": "vit-l-14-336"},
    "vit-h-14": {"architecture": "vit-h-14"},
    "siglip-b-16": {"architecture": "siglip-b-16"},
    "siglip2-b-16": {"architecture": "siglip2-b-16"},
    "paper": {"architecture": "vit-l-14-336"},
    "small": {"architecture": "small", "lr": 1e-3, "epochs": 30, "crop": 0.6},
    "tiny": {"architecture": "tiny", "lr": 3e-3, "epochs": 20, "pairs": 32},
}

RECIPES: Mapping[str, Mapping[str, Any]] = {}

# What drawn weights are drawn for.
_SHAPES: Mapping[str, ClipShape] = {
    "small": ClipShape(64, 8, (192, 6, 3), (192, 4, 3), 128),
    "vit-b-32": ClipShape(224, 32, (768, 12, 12), (512, 12, 8), 512),
    "vit-b-16": ClipShape(224, 16, (768, 12, 12), (512, 12, 8), 512),
    "vit-l-14": ClipShape(224, 14, (1024, 24, 16), (768, 12, 12), 768),
    "vit-l-14-336": ClipShape(336, 14, (1024, 24, 16), (768, 12, 12), 768),
}

# Architecture -> tag -> repository on the hub; the first tag is the default.
_HUB: Mapping[str, Mapping[str, str]] = {
    "vit-b-32": {
        "openai": "openai/clip-vit-base-patch32",
        "laion2b": "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    },
    "vit-b-16": {
        "openai": "openai/clip-vit-base-patch16",
        "laion2b": "laion/CLIP-ViT-B-16-laion2B-s34B-b88K",
    },
    "vit-l-14": {
        "openai": "openai/clip-vit-large-patch14",
        "laion2b": "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
    },
    "vit-l-14-336": {"openai": "openai/clip-vit-large-patch14-336"},
    "vit-h-14": {"laion2b": "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"},
    "siglip-b-16": {"webli": "google/siglip-base-patch16-224"},
    "siglip2-b-16": {"webli": "google/siglip2-base-patch16-224"},
}


@dataclass(kw_only=True, eq=False)
class CLIP(Tuned):
    """An encoder of pictures and texts into one space of unit vectors.

    Args:
        architecture: A key of `VARIANTS`; "tiny" has random weights and is for checks only. Not looked at
            where `weights` is a folder or a repository.
        weights: A folder, a tag of the architecture, or OWNER/NAME of a repository of the hub, searched for
            in this order; "" takes the architecture's first tag, and "drawn" weights that are drawn.
        prompt: What each text is put into, such as "a photo of {}"; "{}" leaves it as it is.
        device, batch_size, tune, layers, rank, pairs, crop, epochs, lr, warmup, weight_decay: See
            `diptych.training.tuning.Tuned`.

    Raises:
        UnknownName: a tag that the architecture does not have.
        MissingExtra: transformers is not installed.
        MissingData: the weights are in no local cache and the hub does not answer or does not have them.
        BadData: a folder that is no dual encoder, or holds no safetensors.
        BadParameter: a value that is not allowed.
    """

    architecture: str = "vit-b-32"
    prompt: str = "{}"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt.count("{}") != 1:
            raise BadParameter(f"prompt must hold {{}} once, where the text goes, not {self.prompt!r}")
        options: dict[str, Any] = {"device": self.device, "batch_size": self.batch_size}
        if self.architecture == "tiny" and not self.weights:
            self.towers = DualTowers.tiny(**options)
        elif self.weights == "drawn" or (self.architecture == "small" and not self.weights):
            self.towers = DualTowers(*drawn_clip(_shape(self.architecture)), **options)
        else:
            folder = folder_of(_checkpoint(self.architecture, self.weights), WHOLE)
            self.towers = DualTowers.of(folder, **options)

    @cached_property
    def fingerprint(self) -> str:
        """Equal only for the same weights, configuration, prompt and preprocessing."""
        return f"clip:{self.towers.kind}:{self.towers.digest(prompt=self.prompt)}"

    def check(self, split: Split) -> None:
        """Refuse what cannot be learned from; see `Tuned.check`.

        Raises:
            UsageError: the towers are ALIGN's, which has a system and a loss of its own.
        """
        super().check(split)
        if self.towers.kind == "align":
            raise UsageError("these towers are ALIGN's; train them as align@FOLDER", argument="system")

    def worded(self, text: str) -> str:
        """A text in the prompt."""
        return self.prompt.format(text)

    def loss(self, image: Tensor, text: Tensor, left_out: Tensor) -> dict[str, Tensor]:
        """Figure 3: each picture must tell its text from the others of the batch, and each text its picture.

        SigLIP asks of each pair by itself whether it belongs together (Zhai et al., ICCV 2023, eq. 1).
        """
        from diptych.nets.contrastive import info_nce, pairwise_sigmoid

        model = self.towers.model
        logits = model.logit_scale.exp() * image @ text.T
        if self.towers.kind.startswith("siglip"):
            return {"sigmoid": pairwise_sigmoid(logits + model.logit_bias, left_out)}
        there, back = info_nce(logits, left_out)
        return {"contrast": (there + back) / 2}

    def bound(self) -> None:
        """Section 2.5: the scale is clipped so that logits are multiplied by a hundred at most."""
        from diptych.nets.contrastive import keep_within

        keep_within(self.towers.model.logit_scale)


def _shape(architecture: str) -> ClipShape:
    """The numbers of an architecture whose weights are drawn."""
    if architecture not in _SHAPES:
        raise UnknownName("architecture whose weights can be drawn", architecture, _SHAPES)
    return _SHAPES[architecture]


def _checkpoint(architecture: str, weights: str) -> str:
    """The folder or repository that is meant."""
    if weights and Path(weights).expanduser().is_dir():
        return weights
    if "/" in weights or "\\" in weights or weights.startswith((".", "~")):
        return weights
    if architecture in ("tiny", "small"):
        raise UsageError(f"clip:{architecture} has drawn weights and no tag {weights!r}")
    if architecture not in _HUB:
        raise UnknownName("architecture with pretrained weights", architecture, _HUB)
    tags = _HUB[architecture]
    if weights and weights not in tags:
        raise UnknownName(f"folder, repository or tag of clip:{architecture}", weights, tags)
    return tags[weights or next(iter(tags))]
