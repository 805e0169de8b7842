"""Makes the calibration of relevance that comes with the built-in model's heads.

    cd src/diptych/systems/dual_tower/weights
    python ROOT/tools/fit_relevance.py relevance.npz --data DIR
    python ROOT/tools/fit_relevance.py relevance_languages.npz --data DIR --languages

It is fitted to the first 2,000 pictures of the training split of Flickr8k and their captions; see
`diptych.towers.calibrating`. The other 4,000 and the development split take no part:
`benchmarks/relevance.py` measures on them. The heads learned from these pictures, so that the captions
score higher than those of other pictures do; that says how much the spread counts, and nothing of what
queries score for what is not there.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych import open_data
from diptych.core import Floats
from diptych.systems.dual_tower.builtin import Builtin
from diptych.towers.calibrating import Captioned, calibrated
from diptych.towers.heads import compact
from diptych.towers.languages import LanguageTower

PICTURES = 2_000  # the first ones, of 6,000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--languages", action="store_true", help="for texts as builtin:languages reads them")
    options = parser.parse_args()
    os.environ["DIPTYCH_DATA"] = str(options.data)
    split, encoder = open_data("flickr8k").split("train"), Builtin(threads=1, languages=options.languages)
    pairs = split.pairs[split.pairs[:, 0] < PICTURES]
    captions = [split.text[row] for row in pairs[:, 1].tolist()]
    image = encoder.encode_image([split.image[row] for row in range(PICTURES)])

    def encode_text(texts: Sequence[str]) -> Floats:
        tower = encoder.text_tower
        # English, too, as other languages are read, of which there are no captions of these pictures.
        read = tower.read if isinstance(tower, LanguageTower) else tower
        return encoder._space.text(read(texts))

    given = Captioned(image, encode_text(captions), captions, pairs[:, 0])
    found = calibrated(given, encode_text)
    assert found is not None
    arrays: dict[str, Any] = compact(found.arrays())
    np.savez_compressed(options.target, **arrays)
    for (kind, side), line in found.lines.items():
        print(f"{kind} for {side}: {line}")


if __name__ == "__main__":
    main()
