"""A tiny table on planted data, and no data but those."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from diptych.bench.plan import Entry, Plan, Settings
from diptych.data import open_data

PLAN = Plan(
    name="ours",
    title="toy",
    seeds=(0, 1),
    systems={"real": ("random", "cca", "ridge", "dscmr:tiny"), "hashing": ("lsh", "cca_itq", "dsph:tiny")},
    baselines=("random", "cca", "ridge", "lsh", "cca_itq"),
    deterministic=("ridge",),
    bits=(16, 32),
    entries=(
        Entry("planted", "planted", "test", "real", "a note"),
        Entry("absent", "pascal_sentence", "official", "real", ""),
        Entry("syn", "planted:syn", "query", "hashing", "codes"),
    ),
    settings=(
        Settings(("dscmr:tiny",), ("planted",), {"epochs": 2}),
        Settings(("dsph:tiny",), ("syn",), {"epochs": 2}),
    ),
)


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIPTYCH_DATA", str(tmp_path / "data"))


@pytest.fixture
def plan() -> Plan:
    """With the protocols that the planted data have."""
    entries = [replace(entry, protocol=next(iter(open_data(entry.data).protocols))) for entry in PLAN.entries]
    return replace(PLAN, entries=entries)
