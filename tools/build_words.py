"""Makes the list of English words beside the text tower from lists of SCOWL.

    python tools/build_words.py src/diptych/towers/weights/english.txt.gz american-english british-english

The lists are those of Debian's packages wamerican and wbritish 2020.12.07-2 (in /usr/share/dict). Words
that are known without them are left out. SCOWL may be used, changed and given on (Copyright 2000-2011 Kevin
Atkinson).
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

from diptych.towers import vocabulary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("lists", type=Path, nargs="+")
    options = parser.parse_args()
    vocabulary._listed = lambda: frozenset()  # what is known without a list
    words = {word.strip().lower() for path in options.lists for word in path.read_text("utf-8").split("\n")}
    kept = sorted(
        word
        for word in words
        if len(word) > 2 and word.isascii() and word.isalpha() and not vocabulary.is_known(word)
    )
    options.target.write_bytes(gzip.compress("\n".join(kept).encode(), 9, mtime=0))
    print(f"{len(kept)} words, {options.target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
