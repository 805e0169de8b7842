"""The built-in towers as extractors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from diptych.catalogue import extractors_of, write_extractors
from diptych.features import named


def test_the_raw_towers_are_extractors_of_either_side(tmp_path: Path) -> None:
    extractors = named("image=builtin_image,text=builtin_text")
    image, text = extractors["image"], extractors["text"]
    red, noise = Image.new("RGB", (50, 40), "red"), Image.effect_noise((64, 64), 90).convert("RGB")
    noise.save(tmp_path / "noise.png")
    found = image.encode_image([red, noise])
    assert found.shape == (2, 1280)
    assert found.dtype == np.float32
    assert np.abs(found[0] - found[1]).max() > 0.1
    np.testing.assert_allclose(image.encode_image([tmp_path / "noise.png"])[0], found[1], atol=1e-4)
    np.testing.assert_allclose(image.encode_image([image.prepare_image(red)])[0], found[0], atol=1e-4)
    assert image.encode_image([]).shape == (0, 1280)
    dog, puppy, stocks = text.encode_text(["a dog", "a puppy", "stocks fell"])
    assert dog.shape == (384,)
    assert dog @ puppy > dog @ stocks + 0.2
    write_extractors(tmp_path / "run", extractors)
    assert {side: one.fingerprint for side, one in extractors_of(tmp_path / "run").items()} == {
        "image": image.fingerprint,
        "text": text.fingerprint,
    }
