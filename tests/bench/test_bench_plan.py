"""A table of a user's own, as a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from diptych.bench.plan import ours, read_plan
from diptych.bench.produce import produce
from diptych.errors import BadData, MissingData

TABLE = """
title = "Mine"
seeds = [0]
baselines = ["random"]
real_valued = ["cca"]
[[data]]
id = "made"
data = "planted"
protocol = "label"
half = "real"
note = "Made here."
"""


def test_a_file_is_filled_like_our_own_table(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TABLE, encoding="utf-8")
    report = produce(str(tmp_path / "mine.toml"), tmp_path / "out")
    assert (report.finished, report.asked) == (2, 2)
    text = report.markdown()
    assert "# Mine" in text
    assert "| cca |" in text
    assert f"diptych bench {tmp_path / 'mine.toml'} --data made" in text


def test_our_own_is_read_by_the_same_rules() -> None:
    assert len(ours().entries) > 5
    assert ours().seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('title = "Mine"', "title = ", "is no TOML, in which a table is written"),
        ('title = "Mine"', "", "needs a title and one or more"),
        ("seeds = [0]", "sedes = [0]", "says 'sedes', but a table has only"),
        ('real_valued = ["cca"]', "", "names no system"),
        ('half = "real"', "", "missing 1 required positional argument: 'half'"),
        ('half = "real"', 'half = "real"\nhalves = 2', "unexpected keyword argument 'halves'"),
        ('half = "real"', 'half = "unreal"', "half of made is 'unreal', which must be real or hashing"),
    ],
)
def test_what_is_no_table_is_said_in_a_sentence(before: str, after: str, said: str) -> None:
    with pytest.raises(BadData, match=said):
        read_plan(TABLE.replace('baselines = ["random"]\n', "").replace(before, after), "mine.toml")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        MissingData, match=r"mine\.toml does not exist; give a table in TOML, or one of ours, "
    ):
        produce(str(tmp_path / "mine.toml"), tmp_path)
