"""`check_system` and its siblings run every check and say which failed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from diptych import testing
from diptych.data.sets.planted import Planted
from diptych.index.flat import Flat
from diptych.testing.materials import literal_map
from diptych.testing.running import run_checks


def test_a_healthy_system_passes_with_a_line_a_check(capsys: pytest.CaptureFixture[str]) -> None:
    labels = [label for label, _ in testing.system_checks("dscmr")]
    testing.check_system("dscmr")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"passed  {label}" for label in labels]
    assert len(lines) > 10


def test_all_checks_run_and_those_that_fail_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    def wrong() -> None:
        raise AssertionError("the scores differ")

    def broken() -> None:
        raise KeyError("image")

    with pytest.raises(AssertionError, match="mine fails") as caught:
        run_checks("mine", [("first", wrong), ("second", broken), ("third", lambda: None)])
    assert str(caught.value) == (
        "mine fails 2 of 3 checks:\n- first: the scores differ\n- second: KeyError: 'image'"
    )
    assert capsys.readouterr().out.splitlines() == [
        "failed  first: the scores differ",
        "failed  second: KeyError: 'image'",
        "passed  third",
    ]


def test_indexes_data_sets_and_metrics_are_checked_alike() -> None:
    testing.check_index(lambda: Flat(32))
    testing.check_metric(literal_map)
    data = Planted()
    counts = {
        name: (len(split.image), len(split.text)) for name in data.splits if (split := data.split(name))
    }
    testing.check_dataset(data, counts=counts)
    with pytest.raises(AssertionError, match="planted fails 1 of 6 checks:\n- has_its_counts"):
        testing.check_dataset(data, counts={})


def test_the_public_names_are_sorted_and_resolve() -> None:
    assert testing.__all__ == sorted(testing.__all__) == dir(testing)
    for name in testing.__all__:
        assert getattr(testing, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = testing.nothing


def test_the_encoder_to_try_things_with_needs_no_torch() -> None:
    code = "import sys; from diptych.testing import Colours; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
