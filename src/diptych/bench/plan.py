"""Which cells a table of our own kind has, from `ours.toml` or a file of a user's."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from diptych.bench.cells import Cell
from diptych.bench.fill import Wanted
from diptych.errors import BadData

__all__ = ["Entry", "Plan", "ours", "read_plan"]

_LISTS = ("baselines", "real_valued", "hashing_baselines", "hashing", "deterministic")
_KEYS = {"title", "seeds", "bits", "data", "settings", *_LISTS}


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

    def __post_init__(self) -> None:
        if self.half not in ("real", "hashing"):
            raise BadData(f"half of {self.id} is {self.half!r}, which must be real or hashing")


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
        name: What `diptych bench` takes to fill it.
        title: Of the report.
        seeds: Each system is trained once with each.
        systems: Names by half, baselines first.
        baselines: Those among them that are no trained systems.
        deterministic: Those whose result no seed changes; they are computed with the first.
        bits: Code lengths of the hashing half.
        entries: The data sets.
        settings: What differs from the systems' own recipes, in order; later ones win.
    """

    name: str
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
    path = resources.files("diptych.bench").joinpath("ours.toml")
    return read_plan(path.read_text(encoding="utf-8"), "ours")


def read_plan(text: str, name: str) -> Plan:
    """A table of one's own, written as ``ours.toml`` is: a title, systems, and `[[data]]` entries.

    Args:
        text: TOML. `title` and one `[[data]]` are required; so is `real_valued` or `hashing`, the systems of
            each half. `seeds` are 0, 1 and 2 and `bits` 16, 32 and 64 unless said.
        name: Of the file, as `diptych bench` takes it.

    Raises:
        BadData: it is no TOML, lacks something, or says something that a table does not have.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadData(f"{name} is no TOML, in which a table is written: {error}") from error
    if unknown := sorted(set(content) - _KEYS):
        raise BadData(f"{name} says {unknown[0]!r}, but a table has only {', '.join(sorted(_KEYS))}")
    if not content.get("title") or not content.get("data"):
        raise BadData(f"{name} needs a title and one or more [[data]] with id, data, protocol, half, note")
    listed = {key: tuple(content.get(key, ())) for key in _LISTS}
    if not listed["real_valued"] + listed["hashing"]:
        raise BadData(f"{name} names no system; list some as real_valued or hashing")
    try:
        return Plan(
            name=name,
            title=content["title"],
            seeds=tuple(content.get("seeds", (0, 1, 2))),
            systems={
                "real": (*listed["baselines"], *listed["real_valued"]),
                "hashing": (*listed["hashing_baselines"], *listed["hashing"]),
            },
            baselines=(*listed["baselines"], *listed["hashing_baselines"]),
            deterministic=listed["deterministic"],
            bits=tuple(content.get("bits", (16, 32, 64))),
            entries=tuple(Entry(**entry) for entry in content["data"]),
            settings=tuple(Settings(**settings) for settings in content.get("settings", ())),
        )
    except TypeError as error:  # the constructor's, which names the key
        raise BadData(f"{name}: an entry of data or settings {str(error).partition(') ')[2]}") from error
