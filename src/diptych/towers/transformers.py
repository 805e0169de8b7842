"""Runs the two towers of a dual encoder that transformers knows: CLIP, SigLIP, SigLIP 2, ALIGN.

Each family has its own context, padding and shape of pictures; what is common is that both towers end in one
space of unit vectors.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from diptych.core import Floats, Side
from diptych.errors import BadParameter
from diptych.media.pictures import batches, open_picture
from diptych.optional import optional
from diptych.towers.checkpoint import opened, whole

__all__ = ["DualTowers", "tiny_parts"]

_KINDS = ("align", "clip", "siglip", "siglip2")
_CONTEXT = {"align": 64}  # tokens, where the positions of the text tower allow more than it was trained with
_PADDED = ("align", "siglip", "siglip2")  # trained with every text padded to the context
_PREPROCESSING = 1  # raise it when the same picture or text would give other numbers
_PURPOSE = "running a pretrained dual encoder"

_log = logging.getLogger(__name__)


class DualTowers:
    """An image tower and a text tower.

    Args:
        model: A dual encoder of transformers; put into evaluation mode, and no parameter is trained.
        tokenizer, processor: What the checkpoint has beside it.
        device: "auto" (CUDA, then Apple's MPS, then the processor) or a device of torch.
        batch_size: Pictures or texts that go through a tower at once.

    Raises:
        BadParameter: there is no such device, or `batch_size` is not positive.
    """

    def __init__(self, model: Any, tokenizer: Any, processor: Any, *, device: str, batch_size: int) -> None:
        if batch_size < 1:
            raise BadParameter(f"batch_size must be at least 1, not {batch_size}")
        self.batch_size = batch_size
        self.kind: str = model.config.model_type
        # Saving would write it into the configuration, and the digest should not depend on that.
        model.config.architectures = model.config.architectures or [type(model).__name__]
        self.model = model.eval().requires_grad_(False).to(_device(device))
        self.tokenizer, self.processor = tokenizer, processor
        text = model.config.text_config
        self.context: int = min(
            _CONTEXT.get(self.kind, text.max_position_embeddings), tokenizer.model_max_length
        )
        self._warned = False

    @classmethod
    def of(cls, folder: Path, *, kinds: Sequence[str] = _KINDS, **options: Any) -> Self:
        """Those of a folder.

        Args:
            folder: A checkpoint of transformers with safetensors.
            kinds: Types of model that will do.
            options: As for the constructor.

        Raises:
            MissingExtra: transformers is not installed.
            BadData: it is no dual encoder, or not whole.
        """
        library = optional("transformers", _PURPOSE, "towers")
        model = opened(folder, kinds, network=library.AutoModel)
        for tensor in (*model.parameters(), *model.buffers()):
            # Out of a file they lie anywhere, and where a tensor lies decides how its products are rounded.
            tensor.data = tensor.data.clone()
        kind = model.config.model_type
        tokenizer = whole(folder, kind, library.AutoTokenizer.from_pretrained)
        processor = whole(folder, kind, library.AutoImageProcessor.from_pretrained, backend="pil")
        return cls(model, tokenizer, processor, **options)

    @classmethod
    def tiny(cls, **options: Any) -> Self:
        """A CLIP of a few thousand random weights whose tokens are bytes.

        Raises:
            MissingExtra: transformers is not installed.
        """
        return cls(*tiny_parts(), **options)

    def save(self, folder: Path) -> None:
        """Write the checkpoint that `of` reads; its folder is made if it is not there."""
        from transformers.utils import logging as shown

        bars = shown.is_progress_bar_enabled()
        shown.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            for part in (self.model, self.tokenizer, self.processor):
                part.save_pretrained(folder)
        finally:
            if bars:
                shown.enable_progress_bar()  # type: ignore[no-untyped-call]

    @property
    def device(self) -> torch.device:
        """Where the towers are; whoever trains them may move them."""
        found: torch.device = next(self.model.parameters()).device
        return found

    @property
    def image_size(self) -> int:
        """Pixels of the shorter side below which a decoder must not scale pictures down."""
        if self.kind == "siglip2":
            # Pictures keep their shape and are cut into so many patches; a long one may need twice the side.
            return int(2 * self.processor.patch_size * self.processor.max_num_patches**0.5)
        sizes = [value for value in dict(self.processor.size).values() if value]
        return int(max(*sizes, self.model.config.vision_config.image_size))

    @cached_property
    def dim(self) -> int:
        """Dimensions of a vector."""
        config = self.model.config
        return int(getattr(config, "projection_dim", None) or config.vision_config.hidden_size)

    def digest(self, **settings: Any) -> str:
        """24 hex digits over weights, configuration, vocabulary, preprocessing and what else is given."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        own = {
            "config": _meaning(self.model.config.to_dict()),
            "image": _meaning(self.processor.to_dict()),
            "vocabulary": sorted(self.tokenizer.get_vocab().items()),
            "context": self.context,
            "preprocessing": _PREPROCESSING,
        }
        digest.update(json.dumps({**own, **settings}, sort_keys=True, default=str).encode())
        return digest.hexdigest()[:24]

    def prepare_image(self, picture: Any) -> Floats:
        """What the image tower takes of one picture: float32, (3, h, w) for most towers.

        For SigLIP 2 of flexible resolution (patches + 1, d): the patches, then a row that begins with the
        number of patches down and across.

        Raises:
            ImageError: the picture cannot be read.
        """
        found = self.processor(images=[open_picture(picture, size=self.image_size)], return_tensors="np")
        pixels = np.asarray(found["pixel_values"][0], np.float32)
        if "spatial_shapes" in found:
            shape = np.zeros((1, pixels.shape[1]), np.float32)
            shape[0, :2] = found["spatial_shapes"][0]
            return np.concatenate([pixels, shape])
        return pixels

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Unit vectors (n, d) float32 of pictures, or of results of `prepare_image`.

        Raises:
            ImageError: a picture cannot be read.
        """
        ready = batches(images, self)
        return self._encode("image", map(self.image_inputs, ready))

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, d) float32 of texts; the first that is longer than the context is warned of."""
        parts = (texts[start : start + self.batch_size] for start in range(0, len(texts), self.batch_size))
        return self._encode("text", map(self.text_inputs, parts))

    def vectors(self, side: Side, inputs: Mapping[str, Tensor]) -> Tensor:
        """Unit vectors (b, d) on the device, with their gradients where the towers are trained.

        Args:
            side: Which tower.
            inputs: Of `image_inputs` or `text_inputs`.
        """
        tower = self.model.get_image_features if side == "image" else self.model.get_text_features
        found: Tensor = tower(**{k: v.to(self.device) for k, v in inputs.items()}).pooler_output
        return normalize(found.float(), dim=1)

    def _encode(self, side: Side, inputs: Iterable[Mapping[str, Tensor]]) -> Floats:
        found = [np.empty((0, self.dim), np.float32)]
        modes = {module: module.training for module in self.model.modules()}
        self.model.eval()
        try:
            for batch in inputs:
                with torch.inference_mode():
                    found.append(self.vectors(side, batch).cpu().numpy())
        finally:
            for module, mode in modes.items():
                module.training = mode
        return np.concatenate(found)

    def image_inputs(self, ready: NDArray[Any]) -> dict[str, Tensor]:
        """What the image tower takes of results of `prepare_image`, stacked (b, ...)."""
        pixels = torch.from_numpy(ready.astype(np.float32, copy=False))
        if pixels.ndim == 4:
            return {"pixel_values": pixels}
        shapes = pixels[:, -1, :2].long()
        counts = shapes.prod(dim=1, keepdim=True)
        mask = (torch.arange(pixels.shape[1] - 1)[None] < counts).int()
        return {"pixel_values": pixels[:, :-1], "pixel_attention_mask": mask, "spatial_shapes": shapes}

    def text_inputs(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """What the text tower takes of texts; the first that is longer than the context is warned of."""
        self._warn_of_cuts(texts)
        found = self.tokenizer(
            list(texts),
            padding="max_length" if self.kind in _PADDED else "longest",
            truncation=True,
            max_length=self.context,
            return_tensors="pt",
        )
        return dict(found)

    def _warn_of_cuts(self, texts: Sequence[str]) -> None:
        if self._warned:
            return
        for text in texts:
            if len(text) <= self.context - 2:  # no token is shorter than a character
                continue
            tokens = self.tokenizer(text, truncation=False, verbose=False)["input_ids"]
            if len(tokens) > self.context:
                kept = self.tokenizer.decode(
                    self.tokenizer(text, truncation=True, max_length=self.context)["input_ids"],
                    skip_special_tokens=True,
                )
                _log.warning(
                    "a text of %d tokens is cut to %d, after %r; further ones are cut without a word",
                    len(tokens),
                    self.context,
                    kept[-40:],
                )
                self._warned = True
                return


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise BadParameter(f"there is no device {name!r}; use auto, cpu, cuda, cuda:0 or mps") from error


def _meaning(config: dict[str, Any]) -> dict[str, Any]:
    """The settings without where they were read and by which version."""
    return {k: v for k, v in config.items() if k not in ("_name_or_path", "transformers_version", "dtype")}


def tiny_parts() -> tuple[Any, Any, Any]:
    """A CLIP of a few thousand random weights whose tokens are bytes: model, tokenizer, image processor."""
    library = optional("transformers", _PURPOSE, "towers")
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = library.CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=77
    )
    # With the precision, as a configuration has it that was saved and read.
    layers = {
        "dtype": "float32",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    config = library.CLIPConfig(
        text_config={
            **layers,
            "vocab_size": len(words),
            "bos_token_id": len(words) - 2,
            "eos_token_id": len(words) - 1,
            "pad_token_id": len(words) - 1,
        },
        vision_config={**layers, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return library.CLIPModel(config), tokenizer, processor
