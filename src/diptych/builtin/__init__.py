"""BUILTIN: the encoder that comes with Diptych (the Diptych maintainers, 2026).

Paper: none; the concepts follow ConSE (Norouzi et al., ICLR 2014), the heads CLIP (Radford et al., ICML 2021)
Code: here
Tables: none of the survey's; measured in docs/models/builtin.md
Inputs: pictures and English texts
Learns from: pairs

Two packaged towers (EfficientNet-Lite0 and MiniLM) run in ONNX Runtime. Their outputs meet in two blocks side
by side, so that one inner product is a weighted sum: a picture's likely ImageNet concepts as a mean of their
names' vectors, and two small contrastive heads trained on captioned photographs.
"""

from __future__ import annotations

from typing import Any

from diptych.builtin.encoder import Builtin

__all__ = ["Builtin"]

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    # For those who may not use weights that were trained on data given out for research only.
    "concepts": {"heads": False},
}
