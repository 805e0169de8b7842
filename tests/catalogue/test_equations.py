"""Equations of cards: their form, how a terminal shows them, and that all of ours can be drawn."""

from __future__ import annotations

import pytest
from latex2mathml.converter import convert

from diptych import catalogue
from diptych.catalogue.equations import Equation, faults, parted, plain

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
    assert block.explained(plain) == "where x is one side and λ a weight, as `weight` says."
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


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\frac1n \sum_i x_i^2", "1/n Σ_i x_i²"),
        (r"\frac{1}{nb} \sum_{i \in I} x", "1/(nb) Σ_(i ∈ I) x"),
        (r"\frac{a + b}{c} - \frac{x_i}{\lVert x_i \rVert}", "((a + b) / c) - x_i/‖x_i‖"),
        (r"W = (A^\top A + \lambda I)^{-1} A^\top Y", "W = (Aᵀ A + λ I)⁻¹ Aᵀ Y"),
        (r"\left\lVert B - F \right\rVert_F^2", "‖B - F‖_F²"),
        (r"e^{x_i / \tau} + e^{\theta} - e^{s_{ij}}", "e^(x_i / τ) + e^θ - e^(s_ij)"),
        (r"\frac{0.1}{K} + \frac{1}{|z|^\alpha} + \frac{\lambda_1}{b^2}", "0.1/K + 1/(|z|^α) + λ_1/b²"),
        (r"\begin{cases} 1 & \text{if } x > 0 \\ -1 & \text{else} \end{cases}", "{ 1 if x > 0; -1 else }"),
        (r"\hat y, \bar{Y}, \widetilde{xy}", "ŷ, Ȳ, widetilde(xy)"),
        (r"\sqrt{2 c} \log\left( 1 + e^x \right)", "√(2 c) log(1 + e^x)"),
        (r"\mathcal{L}_{\mathrm{adv}}", "L_adv"),
        (r"\foo{x}", r"\foox"),
    ],
)
def test_a_terminal_shows_equations_on_one_line(latex: str, text: str) -> None:
    assert plain(latex) == text


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
        assert "\\" not in plain(latex), "the terminal does not know a command"
        assert "\\" not in convert(latex), "the site's converter does not know a command"
