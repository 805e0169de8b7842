"""How fast a dual encoder runs in ONNX Runtime and in transformers, with the same weights.

The weights are drawn, for the shape of CLIP ViT-B/32 unless `--size tiny` is asked for; speed does not depend
on what they are. Both run in one process, in turns, so that what else the machine does meets both alike. Cold
is a process of its own, from its start to the first vector of a text.

    python benchmarks/towers.py
    python benchmarks/towers.py --pictures 64 --rounds 5 --threads 1 2 4
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

RUNTIMES = ("onnx", "transformers")
COLD = (
    "import sys, diptych; system = diptych.load('clip@' + sys.argv[1], runtime=sys.argv[2]); "
    "system.encode_text(['two dogs on a beach'])"
)


def made(size: str, folder: Path) -> None:
    """Write a checkpoint for both runtimes."""
    import torch
    import transformers

    from checkpoints import for_transformers_js
    from diptych.towers.transformers import tiny_parts

    model, tokenizer, processor = tiny_parts()
    torch.manual_seed(0)
    if size == "vit-b-32":
        # The tokens are bytes, whose table is shorter than CLIP's; looking up in it takes no time.
        numbers = {
            key: getattr(model.config.text_config, key)
            for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")
        }
        model = transformers.CLIPModel(transformers.CLIPConfig(text_config=numbers, vision_config={}))
        processor = type(processor)()
    model.eval()
    model.save_pretrained(folder)
    for_transformers_js(folder, "clip", (model, tokenizer, processor))


def seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def rates(folder: Path, threads: int, options: argparse.Namespace) -> None:
    import torch

    from diptych.towers.exported import ExportedTowers
    from diptych.towers.transformers import DualTowers

    torch.set_num_threads(threads)
    systems: Mapping[str, Any] = {
        "onnx": ExportedTowers(folder, device="cpu", batch_size=options.batch, threads=threads),
        "transformers": DualTowers.of(folder, device="cpu", batch_size=options.batch),
    }
    random = np.random.default_rng(0)
    pictures = list(random.integers(0, 256, (options.pictures, 480, 640, 3), dtype=np.uint8))
    texts = [
        "".join(chr(97 + n) for n in random.integers(0, 26, 6 + row % 9)) for row in range(options.texts)
    ]
    ready = [systems["onnx"].prepare_image(picture) for picture in pictures]
    apart = 0.0
    for encode, items in (("encode_image", ready[:2]), ("encode_text", texts[:9])):
        both = [getattr(system, encode)(items) for system in systems.values()]
        apart = max(apart, float(np.abs(both[0] - both[1]).max()))
    print(f"{threads} threads: vectors differ by {apart:.1e} at most")
    work: Mapping[str, tuple[str, list[Any]]] = {
        "pictures of 640 x 480": ("encode_image", pictures),
        "pictures, prepared": ("encode_image", ready),
        "texts of 8 to 16 tokens": ("encode_text", texts),
        "one text at a time": ("encode_text", texts[:1]),
    }
    for what, (encode, items) in work.items():
        took: dict[str, list[float]] = {runtime: [] for runtime in RUNTIMES}
        for _ in range(options.rounds):
            for runtime in RUNTIMES:
                took[runtime].append(seconds(partial(getattr(systems[runtime], encode), items)))
        speeds = {runtime: len(items) / statistics.median(took[runtime]) for runtime in RUNTIMES}
        print(
            f"  {what}: ONNX {speeds['onnx']:.1f}/s, transformers {speeds['transformers']:.1f}/s, "
            f"ratio {speeds['onnx'] / speeds['transformers']:.2f}",
            flush=True,
        )


def cold(folder: Path, rounds: int) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    took: dict[str, list[float]] = {runtime: [] for runtime in RUNTIMES}
    for _ in range(rounds):
        for runtime in RUNTIMES:
            command = [sys.executable, "-c", COLD, str(folder), runtime]
            call = partial(subprocess.run, command, check=True, capture_output=True, env=environment)
            took[runtime].append(seconds(call))
    found = {runtime: statistics.median(took[runtime]) for runtime in RUNTIMES}
    print(
        f"cold, to the first text: ONNX {found['onnx']:.1f} s, transformers {found['transformers']:.1f} s, "
        f"ratio {found['transformers'] / found['onnx']:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=["vit-b-32", "tiny"], default="vit-b-32")
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        made(options.size, Path(name))
        for threads in options.threads:
            rates(Path(name), threads, options)
        cold(Path(name), options.rounds)


main()
