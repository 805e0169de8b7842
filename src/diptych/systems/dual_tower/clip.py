"""CLIP: Learning Transferable Visual Models From Natural Language Supervision (Radford et al., ICML 2021).

Paper: arXiv 2103.00020
Code: openai/CLIP@d05afc4; run by transformers
Tables: none
Inputs: pictures, texts
Learns from: pairs

An image tower and a text tower, trained to agree on 400 million captioned pictures from the web. Runs any
pretrained dual encoder that transformers knows (CLIP, SigLIP, SigLIP 2, ALIGN), from a hub or from a folder:
``clip:vit-b-32@openai``, ``clip@path/to/folder``, ``clip@google/siglip2-base-patch16-224``.

Differs from the paper:
- Texts are encoded as they are; the paper's prompt "a photo of a {}" is the option `prompt`.
- Text beyond the context is cut with a warning; the code of the paper refuses it.
- The towers come ready trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from diptych.core import DECODING, Floats, Forwards
from diptych.errors import BadParameter, UnknownName, UsageError
from diptych.towers.checkpoint import WHOLE, folder_of
from diptych.towers.transformers import DualTowers

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
    "tiny": {"architecture": "tiny"},
}

RECIPES: Mapping[str, Mapping[str, Any]] = {}

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


class CLIP(Forwards):
    """An encoder of pictures and texts into one space of unit vectors.

    Args:
        architecture: A key of `VARIANTS`; "tiny" has random weights and is for checks only. Not looked at
            where `weights` is a folder or a repository.
        weights: A folder, a tag of the architecture, or OWNER/NAME of a repository of the hub, searched for
            in this order; "" takes the architecture's first tag.
        prompt: What each text is put into, such as "a photo of {}"; "{}" leaves it as it is.
        device: "auto" (CUDA, then Apple's MPS, then the processor) or a device of torch.
        batch_size: Pictures or texts that go through a tower at once.

    Raises:
        UnknownName: a tag that the architecture does not have.
        MissingExtra: transformers is not installed.
        MissingData: the weights are in no local cache and the hub does not answer or does not have them.
        BadData: a folder that is no dual encoder, or holds no safetensors.
        BadParameter: a value that is not allowed.
    """

    similarity = "cosine"

    def __init__(
        self,
        *,
        architecture: str = "vit-b-32",
        weights: str = "",
        prompt: str = "{}",
        device: str = "auto",
        batch_size: int = 32,
    ) -> None:
        if prompt.count("{}") != 1:
            raise BadParameter(f"prompt must hold {{}} once, where the text goes, not {prompt!r}")
        self.prompt = prompt
        if architecture == "tiny" and not weights:
            self.towers = DualTowers.tiny(device=device, batch_size=batch_size)
        else:
            folder = folder_of(_checkpoint(architecture, weights), WHOLE)
            self.towers = DualTowers.of(folder, device=device, batch_size=batch_size)

    @classmethod
    def from_weights(cls, weights: str, **parameters: Any) -> Self:
        """The encoder with given weights; see the constructor."""
        return cls(weights=weights, **parameters)

    @cached_property
    def fingerprint(self) -> str:
        """Equal only for the same weights, configuration, prompt and preprocessing."""
        return f"clip:{self.towers.kind}:{self.towers.digest(prompt=self.prompt)}"

    def offering(self, capability: str) -> Any:
        """How pictures are read is the image tower's matter."""
        return self.towers if capability in DECODING else None

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Unit vectors (n, d) float32 of pictures, or of results of `prepare_image`.

        Raises:
            ImageError: a picture cannot be read.
        """
        return self.towers.encode_image(images)

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, d) float32 of texts; the first that is longer than the context is warned of."""
        return self.towers.encode_text([self.prompt.format(text) for text in texts])


def _checkpoint(architecture: str, weights: str) -> str:
    """The folder or repository that is meant."""
    if weights and Path(weights).expanduser().is_dir():
        return weights
    if "/" in weights or "\\" in weights or weights.startswith((".", "~")):
        return weights
    if architecture == "tiny":
        raise UsageError(f"clip:tiny has random weights and no tag {weights!r}")
    if architecture not in _HUB:
        raise UnknownName("architecture with pretrained weights", architecture, _HUB)
    tags = _HUB[architecture]
    if weights and weights not in tags:
        raise UnknownName(f"folder, repository or tag of clip:{architecture}", weights, tags)
    return tags[weights or next(iter(tags))]
