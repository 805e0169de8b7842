"""Gives kept results the keys of today's code, where it is shown that today's code computes the same.

    python tools/rekey_results.py docs/results/results.jsonl --before FORMER/src --seconds 1800 --write

A result may take today's key if both hold:

1. the key it is kept under is the one that the former source computes for its cell from the data that are
   here: it belongs to that source and to these data;
2. one cell of its family, computed again by today's source, gives every value as it is kept, digit for digit;
   or, where another processor rounds otherwise and a tie falls the other way, every value is within a
   thousandth of what is kept and, digit for digit, what the former source gives on this machine. A family are
   the cells that differ in nothing but seed and code length.

The cheapest cell of each family is computed, the cheapest families first, until the time is used up. What was
computed is kept beside the results in ``proofs.jsonl``, under keys of its own, so that the next call goes on,
and a proof of other code or data proves nothing. Results without a proof, and those that are not equal, are
listed and, with --write, removed: `diptych bench` computes them again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.bench.cells import Cell, open_cell_data
from diptych.bench.run import run
from diptych.bench.store import Result, Store
from diptych.data.base import Dataset
from diptych.errors import DiptychError
from diptych.files import write

COMPARED = ("measure", "results", "epochs")  # of a result
NEAR = 0.001  # a rounding error that moves a tie moves no value further
LENGTHS = ("bits", "dim")  # settings that say how long a code is

FORMER_KEYS = """
import json, sys
from pathlib import Path
from diptych.bench.cells import Cell, open_cell_data
from diptych.errors import DiptychError
opened, keys = {}, {}
for line in sys.stdin:
    kept = json.loads(line)
    cell = Cell(**kept["cell"])
    which = (cell.data, cell.protocol, cell.limit, cell.pairs)
    try:
        if which not in opened:
            opened[which] = open_cell_data(cell, Path(sys.argv[1]) if sys.argv[1] else None)
        keys[kept["key"]] = cell.key(opened[which])
    except DiptychError as error:
        keys[kept["key"]] = str(error)
print(json.dumps(keys))
"""

FORMER_RUN = """
import json, sys, tempfile
from pathlib import Path
try:
    from diptych.bench.run import run
    from diptych.bench.cells import Cell, open_cell_data
except ImportError:  # before it had a module of its own
    from diptych.bench.cells import Cell, open_cell_data, run
cell = Cell(**json.loads(sys.stdin.read()))
data = open_cell_data(cell, Path(sys.argv[1]) if sys.argv[1] else None)
with tempfile.TemporaryDirectory() as folder:
    print(json.dumps(run(cell, data, Path(folder))))
"""


class Former:
    """The former source, run in processes of its own.

    Args:
        source: Its folder, which holds the package.
        root: Folder of the data sets.
    """

    def __init__(self, source: Path, root: Path | None) -> None:
        self.source, self.root = source, root

    def keys(self, kept: Iterable[Result]) -> dict[str, str]:
        """The key, or the error, that it computes for each cell, by the key it is kept under."""
        lines = (json.dumps({"key": one["key"], "cell": one["cell"]}) for one in kept)
        return self._said(FORMER_KEYS, "\n".join(lines))

    def run(self, cell: Mapping[str, Any]) -> dict[str, Any]:
        """What it computes for a cell on this machine."""
        return self._said(FORMER_RUN, json.dumps(cell))

    def _said(self, program: str, given: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", program, str(self.root or "")],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(self.source)},
        )
        if done.returncode:
            raise SystemExit(f"the source in {self.source} failed:\n{done.stderr}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@dataclass(frozen=True)
class Verdict:
    """Whether results may have today's keys.

    Args:
        shown: How it was shown that they may; "" if it was not.
        reason: Why it was not.
    """

    shown: str
    reason: str = ""


def family(cell: Mapping[str, Any]) -> str:
    """What cells share that differ in seed and code length only."""
    settings = {name: value for name, value in cell["settings"].items() if name not in LENGTHS}
    lengths = sorted(set(LENGTHS) & set(cell["settings"]))
    return json.dumps({**cell, "seed": None, "settings": settings, "lengths": lengths}, sort_keys=True)


def difference(kept: Any, now: Any, *, within: float = 0.0, where: str = "") -> str:
    """Where two results first differ by more than a share of a value above 1, in words; "" if they do not."""
    if isinstance(kept, Mapping) and isinstance(now, Mapping) and kept.keys() == now.keys():
        parts = [(f"{where} {name}".strip(), kept[name], now[name]) for name in kept]
    elif isinstance(kept, list) and isinstance(now, list) and len(kept) == len(now):
        parts = [(where, *pair) for pair in zip(kept, now, strict=True)]
    elif kept == now or (
        isinstance(kept, float) and isinstance(now, float) and abs(kept - now) <= within * max(1.0, abs(kept))
    ):
        return ""
    else:
        return f"{where}: {str(kept)[:60]} is kept, {str(now)[:60]} comes out now"
    return next((found for at, *pair in parts if (found := difference(*pair, within=within, where=at))), "")


class Prover:
    """Computes cells with today's source, within a time, and remembers what came out.

    Args:
        proofs: Where to keep it.
        former: The source that made the results.
        root: Folder of the data sets.
        seconds: Of the processor, to compute cells; one that took longer before is not begun.
    """

    def __init__(self, proofs: Path, former: Former, root: Path | None, seconds: float) -> None:
        self.proofs, self.former, self.root, self.left = Store(proofs), former, root, seconds
        self.opened: dict[tuple[Any, ...], Dataset] = {}

    def data(self, cell: Cell) -> Dataset:
        """The data of a cell, opened once."""
        which = (cell.data, cell.protocol, cell.limit, cell.pairs)
        if which not in self.opened:
            self.opened[which] = open_cell_data(cell, self.root)
        return self.opened[which]

    def verdict(self, kept: Result) -> Verdict:
        """Whether today's source computes the same cell alike.

        Raises:
            DiptychError: it cannot compute it.
        """
        cell = Cell(**kept["cell"])
        key = cell.key(self.data(cell))
        proof = self.proofs.get(key)
        if proof is None:
            if kept["cpu_seconds"] > self.left:
                return Verdict("", "there was no time to compute one of its family again")
            with tempfile.TemporaryDirectory() as folder:
                proof = run(cell, self.data(cell), Path(folder))
            self.left -= proof["cpu_seconds"]
            self.proofs.put(proof)
        before, now = ({name: one[name] for name in COMPARED} for one in (kept, proof))
        found = difference(before, now)
        if not found:
            return Verdict("equal to what is kept")
        if far := difference(before, now, within=NEAR):
            return Verdict("", far)
        if "former" not in proof:
            if kept["cpu_seconds"] > self.left:
                return Verdict("", f"{found}; there was no time to ask the former source")
            former = self.former.run(kept["cell"])
            self.left -= former["cpu_seconds"]
            proof = {**proof, "former": {name: former[name] for name in COMPARED}}
            self.proofs.put(proof)
        if difference(proof["former"], now):
            return Verdict("", found)
        return Verdict(f"equal to the former source on this machine ({found})")


def judge(kept: list[Result], prover: Prover) -> Iterator[tuple[Result, Verdict]]:
    """Each result with its new entry, if it has one, and the verdict, in the order in which they are kept."""
    families: dict[str, list[Result]] = {}
    for one in kept:
        families.setdefault(family(one["cell"]), []).append(one)
    cheapest = {name: min(members, key=_seconds) for name, members in families.items()}
    verdicts: dict[str, Verdict] = {}
    for number, (name, one) in enumerate(
        sorted(cheapest.items(), key=lambda item: _seconds(item[1])), start=1
    ):
        try:
            verdicts[name] = prover.verdict(one)
        except DiptychError as error:
            verdicts[name] = Verdict("", f"it cannot be computed here: {error}")
        said = verdicts[name].shown or verdicts[name].reason
        print(f"{number}/{len(cheapest)} {described(one)}: {said}", file=sys.stderr, flush=True)
    former = prover.former.keys(kept)
    for one in kept:
        if former[one["key"]] != one["key"]:
            yield one, Verdict("", f"the former source gives it another key: {former[one['key']]}")
        else:
            yield one, verdicts[family(one["cell"])]


def renewed(kept: Result, shown: str, prover: Prover) -> Result:
    """A result under today's key, which says how it came by it."""
    cell = Cell(**kept["cell"])
    dataset = prover.data(cell)
    how = {"from": kept["key"], "by": "tools/rekey_results.py", "shown": shown}
    return {**kept, "key": cell.key(dataset), "depends": cell.depends(dataset), "rekeyed": how}


def described(kept: Result) -> str:
    """Which cell it is."""
    cell = kept["cell"]
    return f"{cell['system']} on {cell['data']} ({cell['protocol']}) {cell['settings']} seed {cell['seed']}"


def _seconds(kept: Result) -> float:
    return float(kept["cpu_seconds"])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="the results.jsonl to give new keys")
    parser.add_argument("--before", type=Path, required=True, help="source folder of the former version")
    parser.add_argument("--root", type=Path, help="folder of the data sets, if not DIPTYCH_DATA")
    parser.add_argument("--seconds", type=float, default=1800.0, help="CPU seconds to spend on proofs")
    parser.add_argument("--proofs", type=Path, help="where proofs are kept; beside the results, if not given")
    parser.add_argument(
        "--write", action="store_true", help="write the results; without, only say what would be"
    )
    given = parser.parse_args()
    kept = list(Store(given.results))
    proofs = given.proofs or given.results.with_name("proofs.jsonl")
    prover = Prover(proofs, Former(given.before, given.root), given.root, given.seconds)
    lines = []
    for one, verdict in judge(kept, prover):
        if verdict.shown:
            lines.append(json.dumps(renewed(one, verdict.shown, prover)) + "\n")
        else:
            print(f"{described(one)}: {verdict.reason}")
    print(f"{len(lines)} of {len(kept)} results may have today's keys; the others are listed above")
    if given.write:
        write(given.results, "".join(lines))


if __name__ == "__main__":
    main()
