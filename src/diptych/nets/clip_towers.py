"""CLIP's two towers as networks that are trained: pixels and word pieces to the space both share.

The towers are those of transformers, so that any CLIP checkpoint that it reads can be fine-tuned, and what
was fine-tuned gives the vectors that its `CLIPModel` would give.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diptych.errors import BadParameter
from diptych.optional import optional
from diptych.towers.checkpoint import folder_of, opened
from diptych.towers.preprocess import CLIP_NORMAL

__all__ = ["ClipImages", "ClipTexts", "ClipTowers", "clip_towers", "rates"]

_FILES = ("*.json", "*.safetensors")
# What decides the shape of a tower and what it computes; the rest of a configuration is the library's own.
_TOWER = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("hidden_act", "layer_norm_eps", "attention_dropout"),
)
_IMAGES = (*_TOWER, "image_size", "patch_size", "num_channels")
_TEXTS = (*_TOWER, "vocab_size", "max_position_embeddings", "bos_token_id", "eos_token_id")
# Configurations that name this end token are older than the convention; pieces end with their last number.
_OLD_END = 2


class ClipImages(nn.Module):
    """CLIP's image tower.

    Args:
        model: A `CLIPModel` of transformers, whose parts are taken and not copied.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision, self.projection = model.vision_model, model.visual_projection
        self.size: int = model.config.vision_config.image_size
        self.dim: int = model.config.projection_dim
        self.register_buffer("mean", torch.tensor(CLIP_NORMAL.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(CLIP_NORMAL.deviation).view(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(b, 3, size, size) uint8 to (b, dim).

        Raises:
            BadParameter: another size.
        """
        if len(pixels) == 0:
            return torch.zeros((0, self.dim), device=pixels.device)
        if tuple(pixels.shape[1:]) != (3, self.size, self.size):
            raise BadParameter(
                f"this CLIP sees 3 x {self.size} x {self.size} pixels, not {tuple(pixels.shape[1:])}; "
                f"take them with the extractor image=pixels:{self.size}",
                argument="features",
            )
        values = (pixels.float() / 255 - self.mean) / self.deviation
        found: Tensor = self.projection(self.vision(pixel_values=values).pooler_output)
        return found


class ClipTexts(nn.Module):
    """CLIP's text tower.

    No piece attends to a later one, and the vector is read at the end token: what fills up a text after that
    changes nothing, so there is no mask.

    Args:
        model: A `CLIPModel` of transformers, whose parts are taken and not copied.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.text, self.projection = model.text_model, model.text_projection
        config = model.config.text_config
        self.length: int = config.max_position_embeddings
        self.vocabulary: int = config.vocab_size
        old = config.eos_token_id == _OLD_END
        self.end_token: int = config.vocab_size - 1 if old else config.eos_token_id
        self.dim: int = model.config.projection_dim

    def ends(self, tokens: Tensor) -> Tensor:
        """(b,) where each text's end token is.

        Raises:
            BadParameter: a text has none, so the pieces are another model's.
        """
        end = tokens == self.end_token
        if not bool(end.any(dim=1).all()) or int(tokens.max()) >= self.vocabulary:
            raise BadParameter(
                f"these texts are not in word pieces of this CLIP: its end token, {self.end_token}, is "
                f"missing, or there are numbers above {self.vocabulary - 1}; take its own tokenizer.json, "
                "with the extractor text=tokens@FOLDER",
                argument="features",
            )
        first: Tensor = end.int().argmax(dim=1)
        return first

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, n) int64 with n <= length to (b, dim).

        Raises:
            BadParameter: longer texts, or pieces of another model.
        """
        if len(tokens) == 0:
            return torch.zeros((0, self.dim), device=tokens.device)
        if tokens.shape[1] > self.length:
            raise BadParameter(
                f"this CLIP reads {self.length} word pieces, not {tokens.shape[1]}; take fewer with "
                f"the extractor text=tokens:{self.length}@FOLDER",
                argument="features",
            )
        self.ends(tokens)
        found: Tensor = self.projection(self.text(input_ids=tokens).pooler_output)
        return found


@dataclass(frozen=True)
class ClipTowers:
    """Both towers, and what goes with them.

    Args:
        image: From pixels.
        text: From word pieces.
        dim: Dimensions of their common space.
        config: The configuration as JSON; `clip_towers` makes towers of that shape from it.
        log_scale: Logarithm of the factor that the checkpoint's cosines are multiplied by.
    """

    image: ClipImages
    text: ClipTexts
    dim: int
    config: str
    log_scale: float


def clip_towers(clip: str, config: str) -> ClipTowers | None:
    """The towers of a checkpoint, or of its shape with weights that are drawn; None where neither is given.

    A saved learner knows the configuration and fills in its own weights, so it needs the checkpoint no more.

    Args:
        clip: Folder of a CLIP checkpoint with safetensors, or OWNER/NAME of a repository of the hub.
        config: `ClipTowers.config` of one; not looked at where `clip` is given.

    Raises:
        MissingExtra: transformers is not installed.
        MissingData: the checkpoint is not there.
        BadData: it is no CLIP, or not whole.
        BadParameter: `config` is no configuration.
    """
    if not (clip or config):
        return None
    transformers = optional("transformers", "fine-tuning CLIP", "towers")
    if clip:
        # What the library draws on the way must not decide what the heads start from.
        with torch.random.fork_rng(devices=[]):
            model = opened(folder_of(clip, _FILES), ("clip",), network=transformers.CLIPModel)
        config = _shape(model.config)
    else:
        model = transformers.CLIPModel(_configuration(config, transformers))
    return ClipTowers(
        image=ClipImages(model),
        text=ClipTexts(model),
        dim=int(model.config.projection_dim),
        config=config,
        log_scale=float(model.logit_scale.detach()),
    )


def rates(*nets: nn.Module, tower_lr: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser: all that is in a tower at `tower_lr`, the rest at its own rate."""
    towers = [m for net in nets for m in net.modules() if isinstance(m, ClipImages | ClipTexts)]
    inside = [p for tower in towers for p in tower.parameters()]
    known = {id(p) for p in inside}
    heads = [p for net in nets for p in net.parameters() if id(p) not in known]
    groups = ({"params": heads}, {"params": inside, "lr": tower_lr})
    return [group for group in groups if group["params"]]


def _configuration(config: str, transformers: Any) -> Any:
    """The `CLIPConfig` that `_shape` gave as JSON."""
    from huggingface_hub.errors import StrictDataclassError

    try:
        parts = json.loads(config)
        return transformers.CLIPConfig(
            projection_dim=parts["projection_dim"],
            text_config={key: parts["text_config"][key] for key in _TEXTS},
            vision_config={key: parts["vision_config"][key] for key in _IMAGES},
        )
    except (ValueError, TypeError, KeyError, StrictDataclassError) as error:
        raise BadParameter(
            f"clip_config {config[:60]!r} is no configuration of a CLIP; give a checkpoint instead, as "
            "clip=FOLDER",
            argument="settings",
        ) from error


def _shape(config: Any) -> str:
    """What is needed of a `CLIPConfig`, as JSON that is the same whichever version of the library read it."""
    return json.dumps(
        {
            "projection_dim": config.projection_dim,
            "text_config": {key: getattr(config.text_config, key) for key in _TEXTS},
            "vision_config": {key: getattr(config.vision_config, key) for key in _IMAGES},
        }
    )
