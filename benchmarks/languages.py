"""How well the built-in model reads other languages: ``python benchmarks/languages.py --data DIR``.

Three questions. Does the variant `languages` find pictures by English captions as well as `builtin` does
(Flickr8k dev, COCO dev)? Does a caption of Flickr30k test, translated into German, French or Czech, lie
nearest to its own English sentence among 1,000, and does `builtin`, which reads English, see that? And do
short queries in these languages lie nearest to their own English one among 40? English sentences have the
vectors that `builtin` gives them. DIR holds the data sets.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from pathlib import Path

import numpy as np
from builtin_quality import commit, recalls
from relevance import SHORT

from diptych import open_data
from diptych.catalogue import load
from diptych.core import Floats

LANGUAGES = {"de": "German", "fr": "French", "cs": "Czech"}
TARGETS = {"de": 90, "fr": 88, "cs": 80}
SETS = {"flickr8k": "dev", "coco_photos": "dev"}

TRANSLATED = {
    "de": (
        "ein Hund", "ein Mann", "eine Frau", "ein Mädchen", "ein Junge", "Kinder",
        "eine Gruppe von Menschen", "ein Strand", "Schnee", "Wasser", "ein Berg", "ein Fahrrad",
        "ein Ball", "Gras", "eine Straße", "eine Menschenmenge", "ein Park", "ein Schwimmbecken",
        "ein Skateboarder", "ein Baby", "ein Pferd", "ein Auto", "ein Zaun", "ein Baum", "ein Kletterer",
        "Leute am Strand", "ein rennender Hund", "ein springender Junge", "ein Fußballspiel",
        "ein Footballspieler", "eine Frau in einem roten Hemd", "ein Mann mit Hut", "ein See",
        "ein Hügel", "ein Surfer", "ein Motorrad", "zwei Hunde", "ein Hund mit einem Ball", "ein Fluss",
        "ein Gebäude",
    ),
    "fr": (
        "un chien", "un homme", "une femme", "une fille", "un garçon", "des enfants",
        "un groupe de personnes", "une plage", "de la neige", "de l'eau", "une montagne", "un vélo",
        "un ballon", "de l'herbe", "une rue", "une foule", "un parc", "une piscine", "un skateur",
        "un bébé", "un cheval", "une voiture", "une clôture", "un arbre", "un grimpeur",
        "des gens à la plage", "un chien qui court", "un garçon qui saute", "un match de football",
        "un joueur de football américain", "une femme en chemise rouge", "un homme avec un chapeau",
        "un lac", "une colline", "un surfeur", "une moto", "deux chiens", "un chien avec un ballon",
        "une rivière", "un bâtiment",
    ),
    "cs": (
        "pes", "muž", "žena", "dívka", "chlapec", "děti", "skupina lidí", "pláž", "sníh", "voda", "hora",
        "jízdní kolo", "míč", "tráva", "ulice", "dav", "park", "bazén", "skateboardista", "miminko",
        "kůň", "auto", "plot", "strom", "horolezec", "lidé na pláži", "běžící pes", "skákající chlapec",
        "fotbalový zápas", "hráč amerického fotbalu", "žena v červené košili", "muž v klobouku",
        "jezero", "kopec", "surfař", "motocykl", "dva psi", "pes s míčem", "řeka", "budova",
    ),
}  # fmt: skip
"""`relevance.SHORT` in other languages."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument(
        "--sets", nargs="*", default=list(SETS), choices=list(SETS), help="of captioned pictures"
    )
    parser.add_argument("--sentences", type=int, default=1_000, help="with their translations")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ["DIPTYCH_DATA"] = str(options.data)
    english, languages = load("builtin", threads=1), load("builtin:languages", threads=1)
    assert english.space == languages.space  # type: ignore[attr-defined]
    facts = {
        "commit": commit(),
        "models": [english.fingerprint, languages.fingerprint],  # type: ignore[attr-defined]
        "recalls": {},
        "translated": {},
        "short": {},
    }
    for name in options.sets:
        split = open_data(name).split(SETS[name])
        image = english.encode_image(list(split.image))
        facts["recalls"][name] = {
            kind: recalls(image, model.encode_text(list(split.text)), split)
            for kind, model in (("builtin", english), ("builtin:languages", languages))
        }
    with gzip.open(options.data / "flickr30k-text" / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line)["translated"] for line in file][: options.sentences]
    own = [row["en"] for row in rows]
    told = english.encode_text(own)
    short = english.encode_text(list(SHORT))
    for code, language in LANGUAGES.items():
        texts = [row[code] for row in rows]
        facts["translated"][language] = {
            "target": TARGETS[code],
            "builtin:languages": nearest(languages.encode_text(texts), told),
            "builtin": nearest(english.encode_text(texts), told),
        }
        queries = list(TRANSLATED[code])
        facts["short"][language] = {
            "builtin:languages": nearest(languages.encode_text(queries), short),
            "builtin": nearest(english.encode_text(queries), short),
        }
    print(json.dumps(facts, indent=2) if options.json else table(facts))


def nearest(queries: Floats, sentences: Floats) -> float:
    """Per cent of queries (n, d) that lie nearest to the sentence (n, d) of their own row; ties are wrong."""
    scores = queries @ sentences.T
    own = scores.diagonal().copy()
    np.fill_diagonal(scores, -np.inf)
    return round(float((own > scores.max(axis=1)).mean() * 100), 1)


def table(facts: dict) -> str:
    lines = [f"commit {facts['commit']}", *facts["models"], ""]
    for name, models in facts["recalls"].items():
        for model, figures in models.items():
            lines.append(
                f"{name:<14}{model:<20}" + "".join(f"{key} {one:<8}" for key, one in figures.items())
            )
    for what in ("translated", "short"):
        lines.append(f"\n{what}: per cent nearest to their own English one")
        for language, figures in facts[what].items():
            told = ", ".join(f"{name} {one}" for name, one in figures.items())
            lines.append(f"{language:<10}{told}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
