"""Which cells our own table has, from `ours.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from diptych.bench.cells import Cell
from diptych.bench.fill import Wanted

__all__ = ["Entry", "Plan", "ours"]


@dataclass(frozen=True)
class Entry:
    """One data set of our table.

    Args:
        id: Its name in the table.
        data, protocol, features, validation, limit, pairs, standardise: See `Cell`.
        half: "real" or "hashing".
        note: What a reader must know.
        bits: Code lengths, if not those of the table.
        systems: Those that are computed on it, if not all of its half.
    """

    id: str
    data: str
    protocol: str
    half: str
    note: str
    features: str = ""
    validation: str = ""
    limit: int = 0
    pairs: bool = False
    standardise: bool = False
    bits: Sequence[int] = ()
    systems: Sequence[str] = ()


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of some systems on some data sets of our table.

    Args:
        systems, entries: Which.
        set: The values.
    """

    systems: Sequence[str]
    entries: Sequence[str]
    set: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """Our table.

    Args:
        title: Of the report.
        seeds: Each system is trained once with each.
        systems: Names by half, baselines first.
        baselines: Those among them that are no trained systems.
        deterministic: Those whose result no seed changes; they are computed with the first.
        bits: Code lengths of the hashing half.
        entries: The data sets.
        settings: What differs from the systems' own recipes, in order; later ones win.
    """

    title: str
    seeds: Sequence[int]
    systems: Mapping[str, Sequence[str]]
    baselines: Sequence[str]
    deterministic: Sequence[str]
    bits: Sequence[int]
    entries: Sequence[Entry]
    settings: Sequence[Settings]

    def wanted(self) -> Iterator[Wanted]:
        """All cells; the row is (entry, system), the part (bits), 0 for real values."""
        for entry in self.entries:
            for system in self.asked(entry):
                for bits in self.lengths(entry):
                    for seed in self.seeds[:1] if system in self.deterministic else self.seeds:
                        where = f"{entry.id} {system}" + (f" {bits} bits" if bits else "")
                        yield Wanted(
                            self.cell(entry, system, bits, seed),
                            entry=entry.id,
                            system=system,
                            row=(entry.id, system),
                            part=(bits,),
                            label=f"{where} seed {seed}",
                        )

    def asked(self, entry: Entry) -> Sequence[str]:
        """Systems that are computed on an entry, in the table's order."""
        return tuple(one for one in self.systems[entry.half] if not entry.systems or one in entry.systems)

    def only(self, rows: Collection[tuple[str, str]]) -> Plan:
        """The same of some (entry, system) alone."""
        entries = [
            replace(entry, systems=chosen)
            for entry in self.entries
            if (chosen := [one for one in self.asked(entry) if (entry.id, one) in rows])
        ]
        return replace(self, entries=entries)

    def lengths(self, entry: Entry) -> Sequence[int]:
        """Code lengths of an entry; 0 for real values."""
        return (entry.bits or self.bits) if entry.half == "hashing" else (0,)

    def cell(self, entry: Entry, system: str, bits: int, seed: int) -> Cell:
        """One cell."""
        name = system.removeprefix("sign:")
        chosen: dict[str, Any] = {}
        for settings in self.settings:
            if name in settings.systems and entry.id in settings.entries:
                chosen |= settings.set
        if bits:
            # A real-valued system has as many signs as dimensions.
            chosen["dim" if system.startswith("sign:") else "bits"] = bits
        return Cell(
            system=system,
            data=entry.data,
            protocol=entry.protocol,
            seed=seed,
            features=entry.features,
            validation=entry.validation,
            limit=entry.limit,
            pairs=entry.pairs,
            standardise=entry.standardise,
            settings=chosen,
        )


def ours() -> Plan:
    """Our table, as the package has it."""
    text = resources.files("diptych.bench").joinpath("ours.toml").read_text(encoding="utf-8")
    content = tomllib.loads(text)
    return Plan(
        title=content["title"],
        seeds=tuple(content["seeds"]),
        systems={
            "real": (*content["baselines"], *content["real_valued"]),
            "hashing": (*content["hashing_baselines"], *content["hashing"]),
        },
        baselines=(*content["baselines"], *content["hashing_baselines"]),
        deterministic=tuple(content["deterministic"]),
        bits=tuple(content["bits"]),
        entries=tuple(Entry(**entry) for entry in content["data"]),
        settings=tuple(Settings(**settings) for settings in content["settings"]),
    )
