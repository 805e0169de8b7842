"""Dual towers whose weights are drawn, to be trained from the start, with Diptych's own tokeniser.

The papers' own vocabularies are parts of their checkpoints; this one is BERT's uncased word pieces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diptych.optional import optional
from diptych.towers.onnx import WEIGHTS

__all__ = ["AlignShape", "ClipShape", "drawn_align", "drawn_clip"]

_PURPOSE = "training a dual encoder"
_SINGLE = {"dtype": "float32"}  # as a configuration says that was saved and read
_VOCABULARY, _PAD, _START, _END = 30522, 0, 101, 102  # of the word pieces


@dataclass(frozen=True)
class ClipShape:
    """The numbers of a CLIP.

    Args:
        size, patch: Width and height of the pictures and of their patches.
        image, text: Width, layers and heads of each transformer; its perceptrons are four times as wide.
        dim: Dimensions of the common space.
        context: Word pieces of a text.
    """

    size: int
    patch: int
    image: tuple[int, int, int]
    text: tuple[int, int, int]
    dim: int
    context: int = 77


@dataclass(frozen=True)
class AlignShape:
    """The numbers of an ALIGN.

    Args:
        size: Width and height of the pictures, which are cut out of somewhat larger ones.
        width, depth: What EfficientNet-B0's channels and blocks are multiplied by.
        text: Width, layers and heads of BERT.
        dropped: Share of EfficientNet's last block's outputs that are dropped; of earlier ones it is less.
        context: Word pieces of a text.
    """

    size: int
    width: float
    depth: float
    text: tuple[int, int, int]
    dropped: float = 0.2
    context: int = 64


def drawn_clip(shape: ClipShape) -> tuple[Any, Any, Any]:
    """Model, tokenizer and image processor of a CLIP with drawn weights.

    Raises:
        MissingExtra: transformers is not installed.
    """
    library = optional("transformers", _PURPOSE, "towers")
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    config = library.CLIPConfig(
        text_config={
            **_transformer(shape.text),
            "max_position_embeddings": shape.context,
            "vocab_size": _VOCABULARY,
            "bos_token_id": _START,
            "eos_token_id": _END,
            "pad_token_id": _PAD,
        },
        vision_config={**_transformer(shape.image), "image_size": shape.size, "patch_size": shape.patch},
        projection_dim=shape.dim,
    )
    whole = {"height": shape.size, "width": shape.size}
    processor = CLIPImageProcessorPil(size={"shortest_edge": shape.size}, crop_size=whole)
    return library.CLIPModel(config), _tokenizer(library, shape.context), processor


def drawn_align(shape: AlignShape) -> tuple[Any, Any, Any]:
    """Model, tokenizer and image processor of an ALIGN with drawn weights.

    Raises:
        MissingExtra: transformers is not installed.
    """
    library = optional("transformers", _PURPOSE, "towers")
    from transformers.models.efficientnet.image_processing_pil_efficientnet import (
        EfficientNetImageProcessorPil,
    )

    dim = _channels(320, shape.width)  # of the last block, which is what is pooled
    config = library.AlignConfig(
        text_config={
            **_transformer(shape.text),
            "vocab_size": _VOCABULARY,
            "max_position_embeddings": shape.context,
            "pad_token_id": _PAD,
        },
        vision_config={
            **_SINGLE,
            "image_size": shape.size,
            "width_coefficient": shape.width,
            "depth_coefficient": shape.depth,
            # The library's 0.99 is what Keras calls so; torch's is one minus it, and steps are fewer here.
            "batch_norm_momentum": 0.1,
            "drop_connect_rate": shape.dropped,
        },
        projection_dim=dim,
    )
    larger = round(shape.size * 346 / 289)  # as the paper has them
    processor = EfficientNetImageProcessorPil(
        size={"height": larger, "width": larger},
        crop_size={"height": shape.size, "width": shape.size},
        do_center_crop=True,
    )
    model = library.AlignModel(config)
    _as_efficientnet(model.vision_model)
    return model, _tokenizer(library, shape.context), processor


def _transformer(numbers: tuple[int, int, int]) -> Mapping[str, Any]:
    width, layers, heads = numbers
    return {
        **_SINGLE,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


def _as_efficientnet(vision: Any) -> None:
    """Draw convolutions as EfficientNet does, by their fan-out; the library's spread lets signals die out."""
    torch = optional("torch", _PURPOSE, "towers")
    for module in vision.modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            torch.nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)


def _channels(count: int, width: float) -> int:
    """So many channels times the width, to a multiple of 8 that is not much less (Tan, Le, ICML 2019)."""
    wide = count * width
    found = max(8, int(wide + 4) // 8 * 8)
    return found + 8 if found < 0.9 * wide else found


def _tokenizer(library: Any, length: int) -> Any:
    return library.PreTrainedTokenizerFast(
        tokenizer_file=str(WEIGHTS / "tokenizer.json"),
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=length,
    )
