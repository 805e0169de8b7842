"""Equations of cards: their form, and that all of ours can be drawn."""

from __future__ import annotations

import pytest
from latex2mathml.converter import convert

from diptych import catalogue
from diptych.catalogue.equations import Equation, faults, parted

PROSE = r"""The idea.

Equations:
- the objective (eq. 8): J = J_1
    + \lambda J_2
- a score: s = x^\top y
where $x$ is one side and $\lambda$ a weight,
as `weight` says.

Differs from the paper:
- Nothing."""


def test_a_block_is_parted_from_the_prose_around_it() -> None:
    before, block, after = parted(PROSE)
    assert (before, after) == ("The idea.", "Differs from the paper:\n- Nothing.")
    assert block is not None
    assert block.equations == (
        Equation("the objective", "eq. 8", r"J = J_1 + \lambda J_2"),
        Equation("a score", "", r"s = x^\top y"),
    )
    assert [one.heading for one in block.equations] == ["the objective (eq. 8)", "a score"]
    said = block.explained(lambda symbol: f"<{symbol}>")
    assert said == r"where <x> is one side and <\lambda> a weight, as `weight` says."
    assert faults(block) == []


def test_prose_without_equations_stays_as_it_is() -> None:
    assert parted("The idea.\n\nEquations: none here.") == ("The idea.\n\nEquations: none here.", None, "")


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ("- the objective", "'the objective' is no equation; write '- what it says (eq. 1): LaTeX'"),
        ("- a score: x_{1", "the braces of 'x_{1' do not pair"),
        (r"- a score: \left( x", r"the braces of '\\left( x' do not pair"),
        ("- a score: x\nwhere $x is one", "the dollars of 'where $x is one' do not pair"),
        ("where $x$ is one", "'Equations:' holds none"),
    ],
)
def test_what_is_wrong_with_a_block_is_said(block: str, sentence: str) -> None:
    found = parted(f"Equations:\n{block}")[1]
    assert found is not None
    assert faults(found) == [sentence]


def test_arrows_are_no_left_brackets() -> None:
    found = parted("Equations:\n- an update: x \\leftarrow x + 1\n- a set: \\{ x \\}")[1]
    assert found is not None
    assert faults(found) == []


def ours() -> list[str]:
    return [name for name, card in catalogue.cards("system").items() if not card.package]


@pytest.mark.parametrize("name", ours())
def test_every_system_that_learns_has_equations_that_can_be_drawn(name: str) -> None:
    card = catalogue.card("system", name)
    block = parted(card.idea)[1]
    if block is None:
        assert card.fields["Learns from"] == "nothing", (
            "what learns minimises something, which its card shows"
        )
        return
    assert faults(block) == []
    symbols: list[str] = []
    assert "$" not in block.explained(lambda latex: symbols.append(latex) or "")  # type: ignore[func-returns-value]
    for latex in [*(one.latex for one in block.equations), *symbols]:
        assert latex.isprintable(), "a docstring with backslashes must be raw"
        assert "\\" not in convert(latex), "the site's converter does not know a command"
