"""All systems through all checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from diptych import catalogue
from diptych.testing.checks import check_system

# What a check needs to know of one system, beyond its `tiny` variant.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "acmr": {
        "reaches": {
            "imi": {"image_net", "text_net"},
            "imd": {"image_net", "text_net", "label_net"},
            "reg": {"image_net", "text_net"},
            "adv": {"image_net", "text_net"},
            "modality": {"modality_net"},
        }
    },
}

# (system, check): why it cannot pass. One that passes all the same fails the build.
EXPECTED_FAILURES: Mapping[tuple[str, str], str] = {}

# Systems that cannot run here at all, with the reason.
ABSENT: Mapping[str, str] = {}


def cases() -> Iterator[Any]:
    for name in catalogue.names("system"):
        if name in ABSENT:
            yield pytest.param(
                name, "all", print, id=f"{name}-all", marks=pytest.mark.skip(reason=ABSENT[name])
            )
            continue
        for label, check in check_system(name, **OPTIONS.get(name, {})):
            yield pytest.param(name, label, check, id=f"{name}-{label}")


@pytest.mark.parametrize(("system", "label", "check"), cases())
def test_system(system: str, label: str, check: Callable[[], None]) -> None:
    if (system, label) in EXPECTED_FAILURES:
        with pytest.raises(AssertionError):
            check()
    else:
        check()


def test_the_table_names_only_what_exists() -> None:
    known = set(catalogue.names("system"))
    assert {system for system, _ in EXPECTED_FAILURES} | set(OPTIONS) | set(ABSENT) <= known
    for system, label in EXPECTED_FAILURES:
        labels = [name for name, _ in check_system(system, **OPTIONS.get(system, {}))]
        assert label in labels, f"{system} has no check {label}"
