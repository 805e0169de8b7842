"""BLIP-2's and BLIP's retrieval checkpoints of transformers: vectors, and matching of pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from diptych.core import Floats
from diptych.media.pictures import open_picture
from diptych.optional import optional
from diptych.towers.checkpoint import WHOLE, folder_of, opened, whole

__all__ = ["PublishedBLIP"]

_KINDS = {"blip-2": "Blip2ForImageTextRetrieval", "blip": "BlipForImageTextRetrieval"}
_PURPOSE = "running a checkpoint of BLIP-2"
_BATCH = 8  # pictures at a time; the large one takes a gigabyte for these
_TEXTS = 64
_LENGTH = 35  # word pieces that the papers evaluate with


class PublishedBLIP:
    """A checkpoint with its two stages.

    Args:
        model: Of transformers, `Blip2ForImageTextRetrieval` or `BlipForImageTextRetrieval`.
        tokenizer, processor: What it has beside it.
    """

    def __init__(self, model: Any, tokenizer: Any, processor: Any) -> None:
        self.model, self.tokenizer, self.processor = model.eval().requires_grad_(False), tokenizer, processor
        self.two = model.config.model_type == "blip-2"
        size = processor.size
        self.image_size = int(size.get("height") or size.get("shortest_edge") or 224)

    @classmethod
    def read(cls, weights: str) -> Self:
        """That of a folder, or of a repository of the hub.

        Raises:
            MissingExtra: transformers is not installed.
            MissingData, BadData: it is not there, is another model, or is not whole.
        """
        transformers = optional("transformers", _PURPOSE, "towers")
        folder = folder_of(weights, WHOLE)
        # BLIP's configurations name classes for captions first, so the class is chosen by the type of model.
        kind = "blip-2" if '"blip-2"' in _config(folder) else "blip"
        model = opened(folder, tuple(_KINDS), network=getattr(transformers, _KINDS[kind]))
        tokenizer = whole(folder, kind, transformers.AutoTokenizer.from_pretrained)
        processor = whole(folder, kind, transformers.AutoImageProcessor.from_pretrained, backend="pil")
        return cls(model, tokenizer, processor)

    @cached_property
    def fingerprint(self) -> str:
        """Equal only for equal weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        return f"{self.model.config.model_type}:{digest.hexdigest()[:16]}"

    def prepare_image(self, picture: Any) -> NDArray[np.float32]:
        """A picture as the vision model takes it, (3, h, w)."""
        shown = open_picture(picture, size=self.image_size).convert("RGB")
        pixels = self.processor(images=[shown], return_tensors="np")["pixel_values"][0]
        return np.asarray(pixels, np.float32)

    @torch.no_grad()
    def image_vectors(self, images: Sequence[Any]) -> Floats:
        """Unit vectors (n, queries, d) of pictures; BLIP has one a picture."""
        found = [self._image(self._seen(part)) for part in _parts(images, _BATCH)]
        return torch.cat(found).numpy() if found else np.zeros((0, 1, 1), np.float32)

    @torch.no_grad()
    def text_vectors(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, 1, d) of texts."""
        found = [self._text(*self._read(part))[:, None] for part in _parts(texts, _TEXTS)]
        return torch.cat(found).numpy() if found else np.zeros((0, 1, 1), np.float32)

    @torch.no_grad()
    def matching(self, images: Sequence[Any], texts: Sequence[str], pairs: NDArray[np.int64]) -> Floats:
        """The logits (p,) of "match" of pairs (p, 2), image row and text row; each picture is read once."""
        found = np.zeros(len(pairs), np.float32)
        for image in np.unique(pairs[:, 0]):
            seen = self._seen([images[int(image)]])
            rows = np.flatnonzero(pairs[:, 0] == image)
            for part in _parts(rows, _TEXTS):
                ids, mask = self._read([texts[int(text)] for text in pairs[part, 1]])
                found[part] = self._match(seen.expand(len(ids), -1, -1), ids, mask).numpy()
        return found

    def _seen(self, images: Sequence[Any]) -> Tensor:
        pixels = np.stack(
            [
                one if isinstance(one, np.ndarray) and one.dtype == np.float32 else self.prepare_image(one)
                for one in images
            ]
        )
        found: Tensor = self.model.vision_model(pixel_values=torch.from_numpy(pixels))[0]
        return found

    def _read(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        read = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=_LENGTH, return_tensors="pt"
        )
        return read["input_ids"], read["attention_mask"]

    def _image(self, seen: Tensor) -> Tensor:
        if not self.two:
            return normalize(self.model.vision_proj(seen[:, :1]), dim=-1)
        asked = self.model.qformer(
            query_embeds=self.model.query_tokens.expand(len(seen), -1, -1),
            encoder_hidden_states=seen,
            encoder_attention_mask=_all(seen),
        )[0]
        return normalize(self.model.vision_projection(asked), dim=-1)

    def _text(self, ids: Tensor, mask: Tensor) -> Tensor:
        if not self.two:
            states = self.model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            return normalize(self.model.text_proj(states[:, 0]), dim=-1)
        states = self.model.qformer(
            query_embeds=self.model.embeddings(input_ids=ids), query_length=0, attention_mask=mask
        )[0]
        return normalize(self.model.text_projection(states[:, 0]), dim=-1)

    def _match(self, seen: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        if not self.two:
            states = self.model.text_encoder(
                input_ids=ids,
                attention_mask=mask,
                encoder_hidden_states=seen,
                encoder_attention_mask=_all(seen),
            ).last_hidden_state
            told: Tensor = self.model.itm_head(states[:, 0])
            return told[:, 1]
        queries = self.model.query_tokens.expand(len(seen), -1, -1)
        states = self.model.qformer(
            query_embeds=self.model.embeddings(input_ids=ids, query_embeds=queries),
            query_length=queries.shape[1],
            attention_mask=torch.cat([_all(queries), mask], dim=1),
            encoder_hidden_states=seen,
            encoder_attention_mask=_all(seen),
        )[0]
        told = self.model.itm_head(states[:, : queries.shape[1]]).mean(dim=1)
        return told[:, 1]


def _all(tokens: Tensor) -> Tensor:
    return torch.ones(tokens.shape[:2], dtype=torch.long)


def _parts(values: Any, size: int) -> Iterator[Any]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _config(folder: Any) -> str:
    path = folder / "config.json"
    return path.read_text(encoding="utf-8") if path.is_file() else ""
