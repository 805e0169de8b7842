"""ViLBERT's published checkpoints in the names and shapes of this library's network.

The layout is that of facebookresearch/vilbert-multi-task@0023cff:vilbert/vilbert.py. Text layers are
``bert.encoder.layer``, visual ones ``v_layer``, and meetings ``c_layer``, of whose parts those in 1
are the picture's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from diptych.errors import BadData
from diptych.nets.published import renamed

__all__ = ["OFFICIAL", "ours"]

OFFICIAL = (
    (r"bert\.embeddings\.word_embeddings\.", "words."),
    (r"bert\.embeddings\.position_embeddings\.", "place."),
    (r"bert\.embeddings\.token_type_embeddings\.", "segment."),
    (r"bert\.embeddings\.LayerNorm\.", "word_norm."),
    (r"bert\.v_embeddings\.image_embeddings\.", "feature."),
    (r"bert\.v_embeddings\.image_location_embeddings\.", "box."),
    (r"bert\.v_embeddings\.LayerNorm\.", "visual_norm."),
    (r"bert\.encoder\.layer\.", "text_layers."),
    (r"bert\.encoder\.v_layer\.", "visual_layers."),
    (r"bert\.encoder\.c_layer\.(\d+)\.biOutput\.dense1\.", r"co_layers.\1.to_image."),
    (r"bert\.encoder\.c_layer\.(\d+)\.biOutput\.LayerNorm1\.", r"co_layers.\1.image_norm."),
    (r"bert\.encoder\.c_layer\.(\d+)\.biOutput\.dense2\.", r"co_layers.\1.to_text."),
    (r"bert\.encoder\.c_layer\.(\d+)\.biOutput\.LayerNorm2\.", r"co_layers.\1.text_norm."),
    (r"bert\.encoder\.c_layer\.(\d+)\.v_intermediate\.dense\.", r"co_layers.\1.image_net.up."),
    (r"bert\.encoder\.c_layer\.(\d+)\.v_output\.dense\.", r"co_layers.\1.image_net.down."),
    (r"bert\.encoder\.c_layer\.(\d+)\.v_output\.LayerNorm\.", r"co_layers.\1.image_net.norm."),
    (r"bert\.encoder\.c_layer\.(\d+)\.t_intermediate\.dense\.", r"co_layers.\1.text_net.up."),
    (r"bert\.encoder\.c_layer\.(\d+)\.t_output\.dense\.", r"co_layers.\1.text_net.down."),
    (r"bert\.encoder\.c_layer\.(\d+)\.t_output\.LayerNorm\.", r"co_layers.\1.text_net.norm."),
    (r"bert\.encoder\.c_layer\.", "co_layers."),
    (r"bert\.t_pooler\.dense\.", "text_pool."),
    (r"bert\.v_pooler\.dense\.", "visual_pool."),
    (r"cls\.bi_seq_relationship\.", "alignment."),
    (r"cls\.predictions\.", "mlm."),
    (r"cls\.imagePredictions\.transform\.dense\.", "region.0."),
    (r"cls\.imagePredictions\.transform\.LayerNorm\.", "region.2."),
    (r"cls\.imagePredictions\.decoder\.", "region.3."),
)
"""The authors' names, and ours."""

_LAYER = (
    ("attention.output.dense", "self_attn.out_proj"),
    ("attention.output.LayerNorm", "norm1"),
    ("intermediate.dense", "linear1"),
    ("output.dense", "linear2"),
    ("output.LayerNorm", "norm2"),
)
_ASKS = ("query", "key", "value")


def ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint as this library's network has them.

    Raises:
        BadData: it is one of twelve tasks at once, whose texts begin with a token of the task.
    """
    if "bert.embeddings.task_embeddings.weight" in state:
        raise BadData(
            "this checkpoint of ViLBERT was trained on twelve tasks at once, each told by a token that there "
            "is none of here; take one that was pre-trained, or trained for retrieval alone"
        )
    found = {_inner(key): value for key, value in renamed(state, OFFICIAL).items()}
    for key in [key for key in found if re.search(r"\.query[12]?\.weight$", key)]:
        for kind in ("weight", "bias"):
            names = [key.replace("query", one).replace("weight", kind) for one in _ASKS]
            if all(name in found for name in names):
                joined = torch.cat([found.pop(name) for name in names])
                found[_joined(names[0], kind)] = joined
    return found


def _inner(key: str) -> str:
    """The parts of a layer of one stream under their names in torch."""
    match = re.match(r"((?:text|visual)_layers\.\d+)\.(.+)\.(weight|bias)$", key)
    if match is None:
        return key
    part = dict(_LAYER).get(match[2], match[2])
    return f"{match[1]}.{part}.{match[3]}"


def _joined(query: str, kind: str) -> str:
    """The name of query, key and value in one, of the name of the first."""
    if match := re.match(r"(co_layers\.\d+)\.biattention\.query([12])\.", query):
        return f"{match[1]}.{'of_image' if match[2] == '1' else 'of_text'}.{kind}"
    return query.replace(f"attention.self.query.{kind}", f"self_attn.in_proj_{kind}")
