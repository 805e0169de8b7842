"""Language models of transformers so small that a test makes them: with drawn weights, one of which sees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}> {% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %} {% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"
)


def tokenizer(more: Sequence[str] = ()) -> Any:
    made = Tokenizer(models.WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    words = [f"w{at}" for at in range(40)]
    special = ["<unk>", "<pad>", "<end>", "<image>"]
    made.train_from_iterator([" ".join([*words, *more])], trainers.WordLevelTrainer(special_tokens=special))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="<end>",
        chat_template=TEMPLATE,
        extra_special_tokens={"image_token": "<image>"},
    )


def text_config(size: int, **given: Any) -> Any:
    usual = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "max_position_embeddings": 64,
    }  # fmt: skip
    tokens = {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 1}
    return transformers.LlamaConfig(vocab_size=size, **{**usual, **given}, **tokens)


def save_seeing(folder: Path, more: Sequence[str] = (), **given: Any) -> None:
    """A model that sees pictures of 16 x 16 in four patches."""
    words = tokenizer(more)
    vision = transformers.CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    config = transformers.LlavaConfig(
        vision_config=vision,
        text_config=text_config(len(words), **given),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    torch.manual_seed(0)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    images = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
    )
    transformers.LlavaProcessor(
        images,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
