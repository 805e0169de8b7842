"""Whether "nothing matches" can be believed: present against absent things in collections of several sizes.

``python benchmarks/relevance.py --data DIR`` measures on pictures and queries that had no part in the fit
of the calibration (`tools/fit_relevance.py`): collections are drawn from Flickr8k dev and, beyond 1,000
pictures, filled up from the part of Flickr8k train that the fit left out. Asked for are captions, each of
one picture, short queries for what many show, the same where only one is left that does, and a hundred
things that no caption of these pictures names. Compared are the best score, the former calibration
(deviations above what the query scores elsewhere) and the relevance of today, for the built-in model and,
by the same code, for one that reads the other captions of a picture in its place. With --keep FOLDER
vectors are kept for the next run.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from builtin_quality import commit

from diptych import open_data
from diptych.core import Floats
from diptych.engine.calibration import LEAST
from diptych.similarity import unit
from diptych.systems.dual_tower.builtin import Builtin
from diptych.towers.calibrating import Captioned, calibrated, directions, named
from diptych.towers.calibration import AVERAGED, Relevance, averages

FITTED = 2_000  # pictures of Flickr8k train, the first ones, that the calibration was fitted to
FALSE = (0.01, 0.02, 0.05, 0.1, 0.2)
CUTS = (50, 80, 90, 95, 96, 97, 98, 99, 99.5, 99.9)

SHORT = (
    "a dog", "a man", "a woman", "a girl", "a boy", "children", "a group of people", "a beach", "snow",
    "water", "a mountain", "a bicycle", "a ball", "grass", "a street", "a crowd", "a park",
    "a swimming pool", "a skateboarder", "a baby", "a horse", "a car", "a fence", "a tree",
    "a rock climber", "people at the beach", "a dog running", "a boy jumping", "a soccer game",
    "a football player", "a woman in a red shirt", "a man in a hat", "a lake", "a hill", "a surfer",
    "a motorcycle", "two dogs", "a dog with a ball", "a river", "a building",
)  # fmt: skip

ABSENT = (
    "a crossword puzzle", "a microscope slide of bacteria", "a spreadsheet of quarterly figures",
    "an x-ray of a broken wrist", "a map of the london underground", "a nuclear power plant", "a submarine",
    "a page of sheet music", "a supernova", "an illuminated manuscript", "a stock market chart",
    "an ultrasound scan", "a coral reef", "a dna double helix", "an oil rig", "a roman mosaic",
    "a lunar eclipse", "an astronaut in a space suit", "a jellyfish", "a scorpion",
    "a chessboard with pieces", "a pyramid in the desert", "a space shuttle launch", "a harp",
    "a typewriter", "a volcano erupting", "a tornado", "northern lights", "a koala", "a rhinoceros",
    "a hippopotamus", "a sea turtle", "a whale", "a spider in its web", "a snail", "a hedgehog", "an owl",
    "a bat hanging upside down", "a cactus", "a bonsai tree", "an orchid", "a vineyard",
    "a stalactite cave", "an iceberg", "a courtroom with a judge", "a dentist treating a patient",
    "a surgeon in an operating theatre", "a diamond necklace", "a banknote", "a passport",
    "a postage stamp", "a barcode", "a calculator", "a globe", "a stethoscope", "a syringe",
    "a pair of handcuffs", "a revolver", "an army tank", "a bowl of ramen", "a wheel of cheese", "a fondue",
    "a jar of honey", "beehives", "a sarcophagus", "a suit of armour", "a totem pole", "a cathedral organ",
    "a bobsled", "a synagogue", "a printing press", "a server rack", "a coal mine", "a cotton field",
    "a wind turbine", "a solar panel", "a satellite dish", "a mummy", "a dinosaur skeleton", "a fossil",
    "a thermometer", "a cement mixer", "a harvester in a wheat field", "a rice terrace", "an abacus",
    "a treadmill", "an hourglass", "a kaleidoscope", "a guillotine", "a xylophone", "an electrocardiogram",
    "a circuit board", "a rack of test tubes", "a stick insect", "a metronome", "a rowing machine",
    "a sphinx", "a locust", "a blowfish", "a barometer",
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """Vectors of the queries, of dev and of what fills up, and the calibration."""

    dev: Captioned
    more: Floats
    short: Floats
    absent: Floats
    relevance: Relevance
    encode_texts: Callable[[Sequence[str]], Floats]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 500, 1000, 5000], help="pictures")
    parser.add_argument(
        "--fitted", type=int, default=FITTED, help="of train, that the stronger model is fitted to"
    )
    parser.add_argument("--dev", type=int, default=1000, help="pictures of dev")
    parser.add_argument("--draws", type=int, default=5, help="collections of each size up to 1,000 pictures")
    parser.add_argument("--keep", type=Path, help="folder for vectors")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ["DIPTYCH_DATA"] = str(options.data)
    made = models(options.dev, max(options.sizes), options.fitted, options.keep)
    facts = {"commit": commit(), "absent": len(ABSENT), "short": len(SHORT), "models": {}}
    for name, model in made.items():
        facts["models"][name] = {
            "sizes": {size: measured(model, size, options.draws) for size in options.sizes},
            "directions": other_directions(model),
        }
    print(json.dumps(facts, indent=2) if options.json else table(facts))


def models(count: int, largest: int, fitted: int, keep: Path | None) -> dict[str, Model]:
    """The built-in model, and what reads captions in place of pictures."""
    encoder = Builtin(threads=1)
    dev = captioned(encoder, "dev", slice(0, count), keep, picture=True)
    more = captioned(encoder, "train", slice(FITTED, FITTED + max(largest - count, 0)), keep, picture=True)
    learned = captioned(encoder, "train", slice(0, fitted), keep, picture=False)
    short, absent = encoder.encode_text(SHORT), encoder.encode_text(ABSENT)
    assert encoder.calibrate is not None
    own = Model(dev, more.image, short, absent, encoder.calibrate, encoder.encode_text)
    found = {"builtin": own}
    relevance = calibrated(reading(learned), encoder.encode_text) if fitted else None
    if relevance is not None:
        found["other captions"] = Model(
            reading(dev), reading(more).image, short, absent, relevance, encoder.encode_text
        )
    return found


def captioned(encoder: Builtin, part: str, rows: slice, keep: Path | None, *, picture: bool) -> Captioned:
    """Pictures of Flickr8k, encoded; without pictures, zeros."""
    split = open_data("flickr8k").split(part)
    pictures = range(len(split.image))[rows]
    pairs = split.pairs[np.isin(split.pairs[:, 0], np.array(pictures, np.int64))]
    captions = [split.text[row] for row in pairs[:, 1].tolist()]
    file = None if keep is None else keep / f"{part}-{pictures.start}-{pictures.stop}-{picture}.npz"
    if file is not None and file.is_file():
        with np.load(file) as kept:
            image, text = kept["image"], kept["text"]
    else:
        image = np.zeros((len(pictures), encoder.dim), np.float32)
        if picture and len(pictures):
            image = encoder.encode_image([split.image[row] for row in pictures])
        text = encoder.encode_text(captions)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, image=image, text=text)
    return Captioned(image, text, captions, pairs[:, 0] - pictures.start)


def reading(given: Captioned) -> Captioned:
    """The first caption of each picture as its caption, and all the others in place of the picture."""
    firsts = np.unique(given.owner, return_index=True)[1]
    others = np.ones(len(given.owner), bool)
    others[firsts] = False
    image = np.zeros((len(firsts), given.text.shape[1]), np.float32)
    np.add.at(image, given.owner[others], given.text[others])
    captions = [given.captions[row] for row in firsts.tolist()]
    return Captioned(unit(image), given.text[firsts], captions, np.arange(len(firsts)))


def measured(model: Model, size: int, draws: int) -> dict:
    """Figures over some collections of a size."""
    told: dict[str, dict[str, list[Floats]]] = {}
    random = np.random.default_rng(0)
    for _ in range(draws if size < 1000 else 1):
        rows = np.sort(random.permutation(len(model.dev.image))[: min(size, len(model.dev.image))])
        image = np.concatenate([model.dev.image[rows], model.more[: max(size - len(rows), 0)]])
        for name, (queries, among) in asked(model, rows, len(image)).items():
            for method, relevance in ways(model, queries, among, image).items():
                told.setdefault(method, {}).setdefault(name, []).append(relevance)
    together = {
        method: {name: np.concatenate(parts) for name, parts in by_name.items()}
        for method, by_name in told.items()
    }
    figures = {method: separated(by_name) for method, by_name in together.items()}
    ours = together["relevance"]
    figures["cuts"] = {
        cut: {name: share(values, cut / 100) for name, values in ours.items()}
        for cut in (*CUTS, *LEAST.values())
    }
    return figures


def asked(model: Model, rows: Floats, entries: int) -> dict[str, tuple[Floats, Floats]]:
    """By name, queries (q, d), and which entries are there for each, (q, n) or (1, n)."""
    every = np.ones((1, entries), bool)
    mine = np.isin(model.dev.owner, rows)
    lines: list[list[str]] = [[] for _ in rows]
    for caption, row in zip(model.dev.captions, model.dev.owner.tolist(), strict=True):
        at = int(np.searchsorted(rows, row))
        if at < len(rows) and rows[at] == row:
            lines[at].append(caption)
    shown = np.array([[named([text], [own])[0] == 1 for own in lines] for text in SHORT])
    many = shown.sum(axis=1) >= max(3, len(rows) // 100)
    one = np.ones((len(SHORT), entries), bool)
    for query, right in enumerate(shown):
        one[query, np.flatnonzero(right)[1:]] = False
        one[query, len(rows) :] = False  # nobody looked there for what is asked
    some = shown.any(axis=1)
    return {
        "captions": (model.dev.text[mine], every),
        "short, many": (model.short[many], every),
        "short, one": (model.short[some], one[some]),
        "absent": (model.absent, every),
    }


def ways(model: Model, queries: Floats, among: Floats, image: Floats) -> dict[str, Floats]:
    """What each method says of the best hit, (q,), larger for what is there."""
    scores = np.where(among, queries @ image.T, -np.inf)
    best = -np.sort(-np.partition(scores, -AVERAGED, axis=1)[:, -AVERAGED:], axis=1)
    entries = int(np.median(among.sum(axis=1)))
    found = {
        "best score": best[:, 0],
        "mean of three": averages(best, AVERAGED)[:, 0],
        "relevance": model.relevance(queries, best, to="image", entries=entries)[:, 0],
    }
    mean, factor, rest = former(model)
    deviation = np.sqrt(np.square(queries @ factor).sum(axis=1) + rest * np.square(queries).sum(axis=1))
    found["deviations (former)"] = (best[:, 0] - queries @ mean) / deviation
    return found


def former(model: Model) -> tuple[Floats, Floats, float]:
    """Mean and spread of pictures, from which the former calibration counted."""
    background = model.relevance.backgrounds["image"]
    return model.dev.image.mean(axis=0), background.factor, background.rest


def separated(by_name: dict[str, Floats]) -> dict:
    """AUC and shares kept by shares falsely kept, against the absent things."""
    absent = by_name["absent"]
    found = {}
    for name, values in by_name.items():
        if name == "absent" or not len(values):
            continue
        above = (values[:, None] > absent) + (values[:, None] == absent) / 2
        kept = {false: share(values, float(np.quantile(absent, 1 - false)), strictly=True) for false in FALSE}
        found[name] = {
            "queries": len(values), "AUC": round(float(above.mean()), 3), "interval": interval(above),
            "kept": kept,
        }  # fmt: skip
    return found


def interval(above: Floats) -> list[float]:
    """Of 95 per cent, of the mean of a table (queries, absent things): both might have been others."""
    random, count = np.random.default_rng(0), 1_000
    rows, columns = (random.multinomial(size, np.full(size, 1 / size), count) / size for size in above.shape)
    means = np.einsum("ra,ra->r", rows @ above, columns)
    return [round(float(one), 3) for one in np.quantile(means, (0.025, 0.975))]


def share(values: Floats, cut: float, *, strictly: bool = False) -> float:
    """Per cent that reach a cut."""
    if not len(values):
        return float("nan")
    return round(100 * float(np.mean(values > cut if strictly else values >= cut)), 1)


def other_directions(model: Model) -> dict[str, dict[str, float]]:
    """AUC and shares at the default cut of each direction, on dev; what is not there is known by words."""
    found = {}
    tasks = directions(model.dev, model.encode_texts, np.random.default_rng(0))
    for (kind, side), (right, wrong) in tasks.items():
        told = []
        for one in (right, wrong):
            best = one.best(model.dev.entries(side), AVERAGED)
            entries = int(np.median(one.among.sum(axis=1)))
            values = model.relevance(one.queries, best, to=side, entries=entries, of=kind)[:, 0]
            told.append(values[np.isfinite(best[:, 0])])
        above = (told[0][:, None] > told[1]).mean() + (told[0][:, None] == told[1]).mean() / 2
        cut = LEAST["fair"] / 100
        found[f"{kind} to {side}"] = {
            "AUC": round(float(above), 3), "kept": share(told[0], cut), "falsely kept": share(told[1], cut),
        }  # fmt: skip
    return found


def table(facts: dict) -> str:
    lines = [f"commit {facts['commit']}; {facts['absent']} absent things, {facts['short']} short queries"]
    for name, model in facts["models"].items():
        for size, figures in model["sizes"].items():
            lines.append(f"\n{name}, {size} pictures: per cent kept where so many absent things are")
            lines.append(
                f"{'':<38}{'queries':>8}{'AUC':>8}{'95 %':>14}"
                + "".join(f"{100 * one:>7.0f} %" for one in FALSE)
            )
            for method, kinds in figures.items():
                for kind, one in kinds.items() if method != "cuts" else ():
                    kept = "".join(f"{one['kept'][false]:>9}" for false in FALSE)
                    low, high = one["interval"]
                    told = f"{one['queries']:>8}{one['AUC']:>8.3f}  {low:.3f}-{high:.3f}"
                    lines.append(f"{method + ', ' + kind:<38}{told}{kept}")
            lines.append(
                "  relevance, per cent of queries that reach a percentage; fair is 96, good 98, strong 99.5"
            )
            cuts = dict(sorted(figures["cuts"].items()))
            lines.append(f"{'':<38}" + "".join(f"{cut:>8}" for cut in cuts))
            for kind in ("captions", "short, many", "short, one", "absent"):
                lines.append(f"{'  ' + kind:<38}" + "".join(f"{one[kind]:>8}" for one in cuts.values()))
        lines.append(f"\n{name}, at the word fair, pictures of dev")
        for direction, one in model["directions"].items():
            lines.append(f"  {direction:<20} " + ", ".join(f"{what} {value}" for what, value in one.items()))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
