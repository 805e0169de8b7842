"""Whether the towers of the survey learn: small ones on Flickr8k, beside the built-in model and behind it.

    python benchmarks/learning.py --data DIR                       # fills the table as far as it is empty
    python benchmarks/learning.py --data DIR --system vilt:tiny --train 600 --dev 100
    python benchmarks/learning.py                                  # writes it from what is there

Two towers are measured by themselves on development pictures and their captions; scorers of pairs rank the
first 50 hits of the built-in model anew, with both scores counting alike, beside that model alone; BLIP-2 is
measured by its own first stage, and with its matching head on the best 128 of it. Each row says on how many
pictures it learned and was measured: these are small settings, which show that a system learns and not how
good it can be. What was not run says so. Results stand in docs/results/towers.jsonl, and as a table in
docs/results/towers.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1] / "docs" / "results"
LINES, TABLE = ROOT / "towers.jsonl", ROOT / "towers.md"
TOWERS = ("clip:tiny", "clip:packaged", "align:tiny")
SCORERS = ("vilt:tiny", "visualbert:tiny", "unicoder_vl:tiny", "vilbert:tiny")
STAGED = ("blip2:tiny",)
DEPTH, MATCHED = 50, 128


def small(train: int, dev: int) -> Any:
    """The first pictures of both splits of Flickr8k, with their captions."""
    from diptych import open_data
    from diptych.data.base import Loaded, Protocol

    whole = open_data("flickr8k")
    parts = {
        name: whole.split(name).take(np.arange(count)) for name, count in (("train", train), ("dev", dev))
    }
    return Loaded("flickr8k-small", parts, protocols={"dev": Protocol("dev", "dev", "pair", captions=5)})


def figures(found: Any) -> dict[str, list[float]]:
    """R@1, 5, 10 in per cent by direction."""
    names = {"text to image": "TqI", "image to text": "IqT"}
    return {
        names[direction]: [round(100 * one[f"R@{n}"], 1) for n in (1, 5, 10)]
        for direction, one in found.measured.items()
    }


def row(system: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train one system and measure it."""
    from diptych import catalogue, evaluate
    from diptych.training.run import train

    data = small(options.train, options.dev)
    settings = dict(one.split("=", 1) for one in options.set or [])
    told = {name: json.loads(value) for name, value in settings.items()}
    started, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        train(system, data, Path(folder) / "run", settings=told, protocol="dev", device="cpu")
        trained = catalogue.load(Path(folder) / "run")
        facts = {
            "system": system, "settings": told, "train": options.train, "dev": options.dev, "seed": 0,
            "cpu_seconds": round(time.process_time() - cpu), "seconds": round(time.perf_counter() - started),
        }  # fmt: skip
        first = catalogue.load("builtin", threads=1)
        alone = figures(evaluate(first, data, "dev"))
        if system in TOWERS:
            found = evaluate(trained, data, "dev")
        elif system in STAGED:
            trained.head.depth = 1  # one hit by itself stays where it is
            facts |= {"first": figures(evaluate(trained, data, "dev")), "depth": MATCHED}
            trained.head.depth = MATCHED
            found = evaluate(trained, data, "dev")
        else:
            found = evaluate(first, data, "dev", rerank=trained, depth=DEPTH)
            facts |= {"depth": DEPTH, "ms_a_pair": found.facts["rerank"]["milliseconds_a_pair"]}
    return {**facts, "found": figures(found), "builtin": alone, "commit": found.facts["commit"]}


def table(lines: list[dict[str, Any]]) -> str:
    """All rows as Markdown; the last result of each system counts."""
    known = {one["system"]: one for one in lines}
    parts = [
        "# Towers: what small ones learn on Flickr8k",
        "",
        "`python benchmarks/learning.py --data DIR`; R@1 / R@5 / R@10 in per cent, seed 0, CPU. Small"
        " settings: they show that a system learns, and not how good it can be. The built-in model alone is"
        " measured on the same development pictures.",
    ]
    heading = "| system | learned from | measured on | TqI | IqT | builtin alone, TqI | IqT | CPU s |"
    for title, systems in (
        ("Two towers, by themselves", TOWERS),
        (f"Scorers of pairs, behind the built-in model at depth {DEPTH}", SCORERS),
        (f"Two stages of one system, which matches the best {MATCHED}", STAGED),
    ):
        parts += ["", f"## {title}", "", heading, "|---|---|---|---|---|---|---|---|"]
        for system in systems:
            one = known.get(system)
            if one is None:
                parts.append(f"| {system} | not run: no processor time was left | | | | | | |")
                continue
            name = f"{system} {json.dumps(one['settings'])}" if one["settings"] else system
            where = f"{one['train']} pictures | {one['dev']} pictures"
            for more, who in ((", first stage alone", "first"), ("", "found")):
                if who in one:
                    cells = [
                        " / ".join(f"{value:.1f}" for value in one[which][direction])
                        for which in (who, "builtin")
                        for direction in ("TqI", "IqT")
                    ]
                    parts.append(f"| {name}{more} | {where} | {' | '.join(cells)} | {one['cpu_seconds']} |")
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets; without it nothing is computed")
    parser.add_argument("--system", nargs="*", help="those that are computed, also anew; default: what lacks")
    parser.add_argument("--train", type=int, default=600, help="pictures to learn from")
    parser.add_argument("--dev", type=int, default=200, help="pictures to measure on")
    parser.add_argument("--set", nargs="*", help="NAME=VALUE of the systems' settings, in JSON")
    parser.add_argument("--out", type=Path, default=ROOT, help="folder of the results")
    options = parser.parse_args()
    kept = options.out / LINES.name
    lines = [json.loads(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
    if options.data:
        os.environ["DIPTYCH_DATA"] = str(options.data)
        there = {one["system"] for one in lines}
        wanted = options.system or [one for one in (*TOWERS, *SCORERS, *STAGED) if one not in there]
        for system in wanted:
            lines.append(row(system, options))
            kept.write_text("".join(json.dumps(one) + "\n" for one in lines))
            print(json.dumps(lines[-1]), flush=True)
    text = table(lines)
    (options.out / TABLE.name).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
