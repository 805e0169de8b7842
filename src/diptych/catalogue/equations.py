r"""Equations of a card: found in its prose, and as plain text for a terminal.

A card may hold a block that begins with the line ``Equations:`` and ends with an empty line or the card::

    Equations:
    - the objective (eq. 8): J = J_1 + \lambda J_2
        + \eta J_3
    - labels, predicted from the common space (eq. 5): J_1 = \frac1n \lVert P^\top U - Y \rVert_F
    where $U$ has the images' vectors as columns.

Each item says in a few words what it is, has the number of its paper in brackets if it has one, and LaTeX as
it stands between dollars. Lines that go on are indented.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["Block", "Equation", "faults", "parted", "plain"]

_BLOCK = re.compile(r"^Equations:[ \t]*\n(.+?)(?:\n[ \t]*\n|\Z)", re.MULTILINE | re.DOTALL)
_ITEM = re.compile(r"(?P<says>[^:$\\]+?)(?:\s+\((?P<number>[^()]+)\))?:\s+(?P<latex>\S.*)")
_INLINE = re.compile(r"\$([^$]+)\$")


@dataclass(frozen=True, slots=True)
class Equation:
    """One equation.

    Args:
        says: What it is, in a few words; all of the item, if that has no equation.
        number: Where its paper has it ("eq. 8"); "" if it does not.
        latex: Without dollars; "" if the item has none.
    """

    says: str
    number: str
    latex: str

    @property
    def heading(self) -> str:
        """What it is, and where its paper has it."""
        return f"{self.says} ({self.number})" if self.number else self.says


@dataclass(frozen=True, slots=True)
class Block:
    """The equations of a card.

    Args:
        equations: In order, the objective first.
        where: A sentence ("where ...") that explains symbols, which stand between dollars; "" if none does.
    """

    equations: tuple[Equation, ...]
    where: str

    def explained(self, turned: Callable[[str], str]) -> str:
        """The sentence, with the LaTeX of its symbols turned into something else."""
        return _INLINE.sub(lambda found: turned(found[1]), self.where)


def parted(prose: str) -> tuple[str, Block | None, str]:
    """A card's prose before its equations, the equations (None if it has none), and the prose after them."""
    found = _BLOCK.search(prose)
    if found is None:
        return prose, None, ""
    items: list[str] = []
    for line in found[1].splitlines():
        if line.startswith("- "):
            items.append(line[2:].strip())
        elif line.startswith("where ") or not items:
            items.append(line.strip())
        else:
            items[-1] += f" {line.strip()}"
    where = items.pop() if items[-1].startswith("where ") else ""
    block = Block(tuple(map(_equation, items)), where)
    return prose[: found.start()].strip(), block, prose[found.end() :].strip()


def faults(block: Block) -> list[str]:
    """What is wrong with the form of a block, a sentence each."""
    told = [
        f"{one.says!r} is no equation; write '- what it says (eq. 1): LaTeX'"
        for one in block.equations
        if not one.latex
    ]
    for text in (*(one.latex for one in block.equations), *_INLINE.findall(block.where)):
        bare = re.sub(r"\\[{}]", "", text)
        left, right = (len(re.findall(rf"\\{side}(?![A-Za-z])", text)) for side in ("left", "right"))
        if bare.count("{") != bare.count("}") or left != right:
            told.append(f"the braces of {text!r} do not pair")
    if _INLINE.sub("", block.where).count("$"):
        told.append(f"the dollars of {block.where!r} do not pair")
    return told if block.equations else ["'Equations:' holds none"]


def plain(latex: str) -> str:
    r"""LaTeX as text of one line that a terminal can show; a command that is not known stays as it is.

    Example:
        >>> print(plain(r"J = \frac{1}{n} \sum_{i,j} \lVert x_i - \hat y_j \rVert^2 + \lambda W^\top W"))
        J = 1/n Σ_(i,j) ‖x_i - ŷ_j‖² + λ Wᵀ W
    """
    text = _LOOSE.sub(lambda found: found[0].strip(" \b"), re.sub(r" +", " ", _Reader(latex).text()))
    return unicodedata.normalize("NFC", text.strip())


def _equation(item: str) -> Equation:
    found = _ITEM.fullmatch(item)
    if found is None:
        return Equation(item, "", "")
    return Equation(found["says"], found["number"] or "", found["latex"])


_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)
# Space inside of what opens and closes; of two bars, which look alike, a mark says which side is inside.
_LOOSE = re.compile(r"[(\[⟨⌊⌈] +| +[)\]⟩⌋⌉,;]|\x08 *| *\x08")
_SIGNS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε", "zeta": "ζ",
    "eta": "η", "theta": "θ", "vartheta": "ϑ", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ",
    "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "varphi": "φ", "chi": "χ", "psi": "ψ",
    "omega": "ω", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Sigma": "Σ", "Phi": "Φ",
    "Psi": "Ψ", "Omega": "Ω",
    "sum": "Σ", "prod": "Π", "int": "∫", "infty": "∞", "partial": "∂", "nabla": "∇", "ell": "ℓ", "top": "ᵀ",
    "cdot": "·", "times": "×", "odot": "⊙", "oplus": "⊕", "otimes": "⊗", "circ": "∘", "pm": "±", "neg": "¬",
    "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "approx": "≈", "equiv": "≡",
    "sim": "~", "propto": "∝", "ll": "≪", "gg": "≫", "in": "∈", "notin": "∉", "subset": "⊂", "cup": "∪",
    "cap": "∩", "setminus": "∖", "forall": "∀", "exists": "∃", "emptyset": "∅", "wedge": "∧", "vee": "∨",
    "to": "→", "leftarrow": "←", "rightarrow": "→", "mapsto": "↦", "mid": "|", "vert": "|", "lvert": "|\b",
    "rvert": "\b|", "Vert": "‖", "lVert": "‖\b", "rVert": "\b‖", "langle": "⟨", "rangle": "⟩", "lfloor": "⌊",
    "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "dots": "...", "ldots": "...", "cdots": "...", "quad": "  ",
    "qquad": "  ", "prime": "′", "star": "*", "ast": "*", "colon": ":", "backslash": "∖", "bot": "⊥",
}  # fmt: skip
_WORDS = {"log", "exp", "max", "min", "sup", "inf", "tanh", "sin", "cos", "ln", "det", "dim", "Pr", "arccos"}
_DROPPED = {
    "left", "right", "big", "Big", "bigl", "bigr", "Bigl", "Bigr", "bigg", "Bigg", "limits", "displaystyle",
}  # fmt: skip
_FONTS = {
    "mathrm", "mathbf", "mathcal", "mathbb", "mathit", "mathsf", "boldsymbol", "operatorname", "text",
    "textrm", "bm",
}  # fmt: skip
_ACCENTS = {"hat": "\u0302", "widehat": "\u0302", "bar": "\u0304", "overline": "\u0304", "tilde": "\u0303",
            "widetilde": "\u0303", "dot": "\u0307", "vec": "\u20d7"}  # fmt: skip
_AROUND = {("begin", "cases"): "{", ("end", "cases"): "}", ("begin", "pmatrix"): "(", ("end", "pmatrix"): ")"}
_ESCAPED = {",": " ", ";": " ", ":": " ", "!": "", " ": " ", "|": "‖", "\\": "; "}
_ATOM = re.compile(r"[|‖][^|‖]+[|‖]|(?:[\d.]+|[^\W\d])[\u0302-\u0304]?(?:_\w+)?[¹²³⁴⁵⁶⁷⁸⁹ᵀ′]*")
_RAISED = str.maketrans("0123456789+-Tn", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀⁿ")


class _Reader:
    """Reads LaTeX from left to right."""

    def __init__(self, latex: str) -> None:
        self._tokens: list[str] = _TOKEN.findall(latex)
        self._at = 0

    def text(self) -> str:
        """All up to the brace that closes, or the end."""
        return "".join(self._parts())

    def _parts(self) -> Iterator[str]:
        while self._at < len(self._tokens):
            token = self._next()
            if token == "}":
                return
            yield self._one(token)

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _argument(self) -> str:
        """What a command, a subscript or a superscript takes: a group, or one token."""
        while self._at < len(self._tokens):
            token = self._next()
            if not token.isspace():
                return self._one(token).strip()
        return ""

    def _one(self, token: str) -> str:
        if token == "{":
            return self.text()
        if token == "_":
            return f"_{_held(self._argument())}"
        if token == "^":
            return _raised(self._argument())
        if token in "&~" or token.isspace():
            return " "
        return self._command(token) if token[0] == "\\" and len(token) > 1 else token

    def _command(self, token: str) -> str:
        name = token[1:]
        if not name.isalpha():
            return _ESCAPED.get(token[1:], token[1:])
        if name in _SIGNS:
            return _SIGNS[name]
        if name in ("frac", "tfrac", "dfrac"):
            return _divided(self._argument(), self._argument())
        if name == "sqrt":
            return f"√{_held(self._argument())}"
        if name in _FONTS:
            return self._argument()
        if name in _ACCENTS:
            held = self._argument()
            return f"{held[:1]}{_ACCENTS[name]}{held[1:]}" if len(held) == 1 else f"{name}({held})"
        if name in ("begin", "end"):
            return _AROUND.get((name, self._argument()), "")
        if name in _WORDS:
            return name
        return "" if name in _DROPPED else token


def _held(text: str, loose: str = "+-*/·× ,=_^") -> str:
    """In brackets, if one of these characters stands outside of all that it has, or it is two factors."""
    depth = 0
    if len(text) == 1:
        return text
    if re.fullmatch(r"\d+[^\W\d]", text):
        return f"({text})"
    for character in text:
        depth += (character in "([{⟨") - (character in ")]}⟩")
        if depth == 0 and character in loose:
            return f"({text})"
    return text


def _divided(above: str, below: str) -> str:
    """A fraction."""
    if _ATOM.fullmatch(above) and _ATOM.fullmatch(below):
        return f"{above}/{below}"
    if " " in above + below:
        return f"({_held(above, '+-')} / {_held(below)})"
    return f"{above}/{below}" if _ATOM.fullmatch(below) else f"{above}/({below})"


def _raised(text: str) -> str:
    """A superscript."""
    if text in "ᵀ′*∘":
        return text
    high = text.translate(_RAISED)
    return high if all(one in "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀⁿ" for one in high) else f"^{_held(text)}"
