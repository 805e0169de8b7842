"""Makes the built-in model's concept vectors: the names of the ImageNet classes through the text tower.

The names are those of torchvision (BSD-3). Download its wheel with ``pip download --no-deps torchvision`` and
run ``python tools/build_concepts.py WHEEL src/diptych/systems/dual_tower/weights/concepts.npz``.
"""

from __future__ import annotations

import ast
import sys
import zipfile
from pathlib import Path

import numpy as np

from diptych.towers.onnx import TextTower

TEMPLATES = ("{}", "a photo of a {}", "a picture of a {}.", "{} in the scene")


def main(wheel: Path, target: Path) -> None:
    source = zipfile.ZipFile(wheel).read("torchvision/models/_meta.py").decode()
    names = next(
        ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "_IMAGENET_CATEGORIES"
    )
    tower = TextTower()
    vectors = np.mean([tower([form.format(name) for name in names]) for form in TEMPLATES], axis=0)
    centred = vectors - vectors.mean(axis=0)
    np.savez(
        target,
        concepts=centred.astype(np.float16),
        concepts_origin=vectors.mean(axis=0).astype(np.float16),
    )
    print(target, len(names), target.stat().st_size)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
