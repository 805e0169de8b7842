"""Tiny dual encoders with random weights, as their authors publish them: for transformers and in ONNX."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from diptych.towers.transformers import tiny_parts

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "green", "dog", "cat"]
TEXT = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}


def words_tokenizer(length: int, *, masked: bool = False) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer(WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=length,
        model_input_names=["input_ids", *(["attention_mask"] if masked else [])],
    )


def a_clip() -> tuple[Any, Any, Any]:
    return tiny_parts()


def a_siglip() -> tuple[Any, Any, Any]:
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    config = transformers.SiglipConfig(
        text_config={**TEXT, "max_position_embeddings": 16},
        vision_config={**VISION, "image_size": 24, "patch_size": 8},
    )
    processor = SiglipImageProcessorPil(size={"height": 24, "width": 24})
    return transformers.SiglipModel(config), words_tokenizer(16), processor


def a_siglip2() -> tuple[Any, Any, Any]:
    from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

    config = transformers.Siglip2Config(
        text_config={**TEXT, "max_position_embeddings": 16},
        vision_config={**VISION, "num_patches": 16, "patch_size": 8},
    )
    processor = Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    return transformers.Siglip2Model(config), words_tokenizer(16), processor


def an_align() -> tuple[Any, Any, Any]:
    from transformers.models.efficientnet.image_processing_pil_efficientnet import (
        EfficientNetImageProcessorPil,
    )

    config = transformers.AlignConfig(
        text_config={**TEXT, "max_position_embeddings": 128},
        vision_config={
            "image_size": 32,
            "width_coefficient": 0.1,
            "depth_coefficient": 0.1,
            "hidden_dim": 32,
            "num_block_repeats": [1],
            "kernel_sizes": [3],
            "in_channels": [32],
            "out_channels": [320],
            "strides": [1],
            "expand_ratios": [1],
            "depthwise_padding": [],
        },
        projection_dim=32,
    )
    processor = EfficientNetImageProcessorPil(
        size={"height": 36, "width": 36}, crop_size={"height": 32, "width": 32}
    )
    return transformers.AlignModel(config), words_tokenizer(128, masked=True), processor


MAKERS = {"clip": a_clip, "siglip": a_siglip, "siglip2": a_siglip2, "align": an_align}


class _Calls(torch.nn.Module):
    """Some of a model's work as a module of its own, which is what can be exported."""

    def __init__(self, model: Any, call: Callable[..., Any]) -> None:
        super().__init__()
        self.model, self.call = model, call

    def forward(self, *inputs: Any) -> Any:
        return self.call(self.model, *inputs)


def export(
    model: Any,
    call: Callable[..., Any],
    inputs: Mapping[str, torch.Tensor],
    outputs: Sequence[str],
    path: Path,
    *,
    fixed: bool = False,
    opset: int = 17,
) -> None:
    """Write an ONNX graph of `call(model, *inputs)`; `fixed` leaves no side of its inputs open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    open_sides = {
        name: {0: "batch"} | ({1: "sequence"} if value.ndim == 2 else {}) for name, value in inputs.items()
    }
    if "spatial_shapes" in inputs:
        open_sides |= {name: {0: "batch"} for name in ("spatial_shapes", "pixel_attention_mask")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Calls(model, call).eval(),
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=opset,
            dynamo=False,
            dynamic_axes=None if fixed else {**open_sides, **{name: {0: "batch"} for name in outputs}},
        )


def image_inputs(kind: str, processor: Any, *, count: int = 2) -> dict[str, torch.Tensor]:
    """What a kind's image tower takes, for tracing."""
    from PIL import Image

    return dict(processor(images=[Image.new("RGB", (40, 30))] * count, return_tensors="pt"))


def _pooled(found: Any) -> Any:
    return found.pooler_output


def for_transformers_js(
    folder: Path, kind: str, parts: Sequence[Any], *, joint: bool = False, suffix: str = ""
) -> None:
    """The layout of transformers.js: graphs under ``onnx/``, settings beside it."""
    model, tokenizer, processor = parts
    for part in (model.config, tokenizer, processor):
        part.save_pretrained(folder)
    pictures = image_inputs(kind, processor)
    length = model.config.text_config.max_position_embeddings
    ids = torch.tensor([[3, 4, 5][: min(3, length)]] * 2)
    names = list(pictures)
    if joint:
        inputs = {"input_ids": ids, **pictures, "attention_mask": torch.ones_like(ids)}

        def both(network: Any, ids: Any, *rest: Any) -> Any:
            mask = rest[-1]
            found = network(input_ids=ids, attention_mask=mask, **dict(zip(names, rest[:-1], strict=True)))
            return found.logits_per_image, found.logits_per_text, found.text_embeds, found.image_embeds

        outputs = ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"]
        export(model, both, inputs, outputs, folder / "onnx" / f"model{suffix}.onnx")
        return
    image, text = ("image_embeds",), ("text_embeds",)
    if kind != "clip":
        image = text = ("last_hidden_state", "pooler_output")

    def sees(network: Any, *values: Any) -> Any:
        given = dict(zip(names, values, strict=True))
        if kind == "clip":
            return _pooled(network.get_image_features(**given))
        found = network.vision_model(**given)
        return found.last_hidden_state, found.pooler_output

    def reads(network: Any, ids: Any) -> Any:
        if kind == "clip":
            return _pooled(network.get_text_features(input_ids=ids))
        found = network.text_model(input_ids=ids)
        return found.last_hidden_state, found.pooler_output

    if kind != "clip":
        ids = ids.new_full((2, length), 4)
    export(model, sees, pictures, image, folder / "onnx" / f"vision_model{suffix}.onnx")
    export(model, reads, {"input_ids": ids}, text, folder / "onnx" / f"text_model{suffix}.onnx")


def for_immich(folder: Path, kind: str, parts: Sequence[Any], *, preprocess: Mapping[str, Any]) -> None:
    """Immich's layout: one picture and one text at a time, vectors of length one."""
    model, tokenizer, processor = parts
    tokenizer.save_pretrained(folder / "textual")
    (folder / "visual").mkdir(parents=True)
    (folder / "visual" / "preprocess_cfg.json").write_text(json.dumps(preprocess))
    length = model.config.text_config.max_position_embeddings
    text = {"context_length": length, "vocab_size": model.config.text_config.vocab_size}
    if kind != "clip":
        text["tokenizer_kwargs"] = {"clean": "canonicalize"}
    (folder / "config.json").write_text(json.dumps({"embed_dim": 16, "text_cfg": text}))
    pixels = image_inputs(kind, processor, count=1)["pixel_values"]
    normalize = torch.nn.functional.normalize
    export(
        model,
        lambda network, values: normalize(_pooled(network.get_image_features(pixel_values=values)), dim=-1),
        {"image": pixels},
        ["embedding"],
        folder / "visual" / "model.onnx",
        fixed=True,
    )
    export(
        model,
        lambda network, ids: normalize(_pooled(network.get_text_features(input_ids=ids.long())), dim=-1),
        {"text": torch.full((1, length), 4, dtype=torch.int32)},
        ["embedding"],
        folder / "textual" / "model.onnx",
        fixed=True,
    )
