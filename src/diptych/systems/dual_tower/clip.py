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

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from diptych.core import Floats
from diptych.errors import (
    BadData,
    BadParameter,
    MissingData,
    UnknownName,
    UsageError,
)
from diptych.media.pictures import batches, open_picture
from diptych.optional import optional

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

_KINDS = ("align", "clip", "siglip", "siglip2")
_CONTEXT = {"align": 64}  # tokens, where the positions of the text tower allow more than it was trained with
_PADDED = ("align", "siglip", "siglip2")  # trained with every text padded to the context
_PREPROCESSING = 1  # raise it when the same picture or text would give other numbers
_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
_TIMEOUT = 5.0  # seconds to wait for a hub before saying that it does not answer

_log = logging.getLogger(__name__)


class CLIP:
    """An encoder of pictures and texts into one space of unit vectors.

    Args:
        architecture: A key of `VARIANTS` whose default weights are loaded; "tiny" has random weights and is
            for checks only. Not looked at where `from_weights` is given a folder or a repository.
        prompt: What each text is put into, such as "a photo of {}"; "{}" leaves it as it is.
        device: "auto" (CUDA, then Apple's MPS, then the processor) or a device of torch.
        batch_size: Pictures or texts that go through a tower at once.

    Raises:
        MissingExtra: transformers is not installed.
        MissingData: the weights are in no local cache and the hub does not answer or does not have them.
        BadData: a folder that is no dual encoder, or holds no safetensors.
    """

    similarity = "cosine"

    def __init__(
        self,
        *,
        architecture: str = "vit-b-32",
        prompt: str = "{}",
        device: str = "auto",
        batch_size: int = 32,
    ) -> None:
        tiny = architecture == "tiny"
        parts = _tiny() if tiny else _opened(_fetched(_repository(architecture, None)))
        self._assemble(*parts, prompt=prompt, device=device, batch_size=batch_size)

    @classmethod
    def from_weights(cls, weights: str, **parameters: Any) -> CLIP:
        """The encoder with given weights: a folder, a tag of the architecture, or a repository of the hub.

        Args:
            weights: Searched for in that order.
            parameters: As for the constructor.

        Raises:
            UnknownName: a tag that the architecture does not have.
            MissingExtra, MissingData, BadData: as for the constructor.
        """
        chosen = {
            "architecture": "vit-b-32",
            "prompt": "{}",
            "device": "auto",
            "batch_size": 32,
            **parameters,
        }
        architecture = chosen.pop("architecture")
        system = cls.__new__(cls)
        system._assemble(*_opened(_folder(weights, architecture)), **chosen)
        return system

    def _assemble(
        self, model: Any, tokenizer: Any, processor: Any, *, prompt: str, device: str, batch_size: int
    ) -> None:
        if prompt.count("{}") != 1:
            raise BadParameter(f"prompt must hold {{}} once, where the text goes, not {prompt!r}")
        if batch_size < 1:
            raise BadParameter(f"batch_size must be at least 1, not {batch_size}")
        self.prompt, self.batch_size = prompt, batch_size
        self.device = _device(device)
        self.kind: str = model.config.model_type
        self.model = model.eval().requires_grad_(False).to(self.device)
        self._tokenizer, self._processor = tokenizer, processor
        text = model.config.text_config
        self.context: int = min(
            _CONTEXT.get(self.kind, text.max_position_embeddings), tokenizer.model_max_length
        )
        self._warned = False

    @property
    def image_size(self) -> int:
        """Pixels of the shorter side below which a decoder must not scale pictures down."""
        if self.kind == "siglip2":
            # Pictures keep their shape and are cut into so many patches; a long one may need twice the side.
            return int(2 * self._processor.patch_size * self._processor.max_num_patches**0.5)
        sizes = [value for value in dict(self._processor.size).values() if value]
        return int(max(*sizes, self.model.config.vision_config.image_size))

    @cached_property
    def fingerprint(self) -> str:
        """Equal only for the same weights, configuration, prompt and preprocessing."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        settings = {
            "config": _meaning(self.model.config.to_dict()),
            "image": _meaning(self._processor.to_dict()),
            "vocabulary": sorted(self._tokenizer.get_vocab().items()),
            "context": self.context,
            "prompt": self.prompt,
            "preprocessing": _PREPROCESSING,
        }
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
        return f"clip:{self.kind}:{digest.hexdigest()[:24]}"

    def prepare_image(self, picture: Any) -> Floats:
        """What the image tower takes of one picture: float32, (3, h, w) for most towers.

        For SigLIP 2 of flexible resolution (patches + 1, d): the patches, then a row that begins with the
        number of patches down and across.

        Raises:
            ImageError: the picture cannot be read.
        """
        opened = open_picture(picture, size=self.image_size)
        found = self._processor(images=[opened], return_tensors="np")
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
        return self._encode(map(self._image_inputs, ready), self.model.get_image_features)

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, d) float32 of texts; the first that is longer than the context is warned of."""
        parts = (texts[start : start + self.batch_size] for start in range(0, len(texts), self.batch_size))
        return self._encode(map(self._text_inputs, parts), self.model.get_text_features)

    def _encode(self, inputs: Iterable[Mapping[str, torch.Tensor]], tower: Any) -> Floats:
        found = [np.empty((0, self._dim), np.float32)]
        for batch in inputs:
            with torch.inference_mode():
                vectors = tower(**{k: v.to(self.device) for k, v in batch.items()}).pooler_output
                found.append(normalize(vectors.float(), dim=1).cpu().numpy())
        return np.concatenate(found)

    @property
    def _dim(self) -> int:
        config = self.model.config
        return int(getattr(config, "projection_dim", None) or config.vision_config.hidden_size)

    def _image_inputs(self, ready: NDArray[Any]) -> dict[str, torch.Tensor]:
        pixels = torch.from_numpy(ready.astype(np.float32, copy=False))
        if pixels.ndim == 4:
            return {"pixel_values": pixels}
        shapes = pixels[:, -1, :2].long()
        counts = shapes.prod(dim=1, keepdim=True)
        mask = (torch.arange(pixels.shape[1] - 1)[None] < counts).int()
        return {"pixel_values": pixels[:, :-1], "pixel_attention_mask": mask, "spatial_shapes": shapes}

    def _text_inputs(self, batch: Sequence[str]) -> dict[str, torch.Tensor]:
        texts = [self.prompt.format(text) for text in batch]
        self._warn_of_cuts(texts)
        found = self._tokenizer(
            texts,
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
            tokens = self._tokenizer(text, truncation=False, verbose=False)["input_ids"]
            if len(tokens) > self.context:
                kept = self._tokenizer.decode(
                    self._tokenizer(text, truncation=True, max_length=self.context)["input_ids"],
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


def _transformers() -> Any:
    return optional("transformers", "running a pretrained dual encoder", "hub")


def _repository(architecture: str, tag: str | None) -> str:
    if architecture not in _HUB:
        raise UnknownName("architecture with pretrained weights", architecture, _HUB)
    tags = _HUB[architecture]
    if tag is not None and tag not in tags:
        raise UnknownName(f"folder, repository or tag of clip:{architecture}", tag, tags)
    return tags[tag or next(iter(tags))]


def _folder(weights: str, architecture: str) -> Path:
    """Where the files of those weights are, after fetching them if need be."""
    path = Path(weights).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or weights.startswith((".", "~")) or weights.count("/") > 1 or "\\" in weights:
        raise MissingData(f"there is no folder {path}; give one that holds config.json and model.safetensors")
    if "/" in weights:
        return _fetched(weights)
    if architecture == "tiny":
        raise UsageError(f"clip:tiny has random weights and no tag {weights!r}")
    return _fetched(_repository(architecture, weights))


def _fetched(repository: str) -> Path:
    """The repository's files in the local cache of the hub, downloaded if they are not there yet."""
    _transformers()
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    def snapshot(revision: str | None = None) -> Path:
        found = huggingface_hub.snapshot_download(
            repository, revision=revision, allow_patterns=list(_FILES), etag_timeout=_TIMEOUT
        )
        return Path(found)

    try:
        folder = snapshot()
        if not any(folder.glob("*.safetensors")):
            # Old repositories hold a pickle only, but the hub's own robot proposes the same as safetensors.
            for proposal in huggingface_hub.HfApi().get_repo_discussions(
                repository, author="SFconvertbot", discussion_type="pull_request"
            ):
                folder = snapshot(proposal.git_reference)
                break
        return folder
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise MissingData(
            f"the weights of {repository} are not on this machine and the hub did not give them "
            f"({type(error).__name__}); download the repository elsewhere and use clip@FOLDER"
        ) from error


def _opened(folder: Path) -> tuple[Any, Any, Any]:
    """Model, tokenizer and image processor of a folder."""
    transformers = _transformers()
    kind = _kind(folder)
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for path in folder.glob("*.bin")) or ["none"]
        raise BadData(
            f"{folder} holds no safetensors (other weights: {', '.join(pickles)}); pickled weights can run "
            "code when they are read, so convert them with transformers' save_pretrained first"
        )
    from safetensors import SafetensorError

    try:
        model, report = transformers.AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, backend="pil"
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BadData(f"{folder} is not a whole {kind} checkpoint: {str(error).splitlines()[0]}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise BadData(f"{folder} lacks {len(missing)} tensors of its {kind} model, the first {missing[0]}")
    return model, tokenizer, processor


def _kind(folder: Path) -> str:
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except FileNotFoundError:
        raise BadData(f"{folder} holds no config.json, so it is no folder of transformers") from None
    except (json.JSONDecodeError, AttributeError) as error:
        raise BadData(f"{folder / 'config.json'} is damaged ({error}); fetch it again") from error
    if kind not in _KINDS:
        raise BadData(f"{folder} holds a model of type {kind!r}; dual encoders are {', '.join(_KINDS)}")
    return str(kind)


def _tiny() -> tuple[Any, Any, Any]:
    """A CLIP of a few thousand random weights whose tokens are bytes."""
    transformers = _transformers()
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = transformers.CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=77
    )
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.CLIPConfig(
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
    return transformers.CLIPModel(config), tokenizer, processor
