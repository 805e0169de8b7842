"""Nothing that commands a terminal, reorders its line or breaks it goes through."""

from __future__ import annotations

import json
import unicodedata

import pytest

from diptych.printable import printable, printable_json
from diptych.report.style import safe

SEEN = "naïve 猫 שלום 👩\u200d💻 می\u200cخواهم \\n C:\\x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b]0;PWNED\x07\x1b[31m", r"\x1b]0;PWNED\x07\x1b[31m"),
        ("\x9b31m\x85\x7f\0", r"\x9b31m\x85\x7f\x00"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("photo\u202egpj.exe\u2066\u200f", r"photo\u202egpj.exe\u2066\u200f"),
        ("one\u2028two\u2029", r"one\u2028two\u2029"),
        ("half \ud83d byte \udcff", r"half \ud83d byte \udcff"),
        (SEEN, SEEN),
    ],
)
def test_what_does_not_show_is_made_visible(text: str, expected: str) -> None:
    assert printable(text) == expected
    assert printable(printable(text)) == expected


def test_no_control_of_any_kind_is_left() -> None:
    every = "".join(map(chr, range(0x3100))) + "".join(map(chr, range(0xD700, 0x10000)))
    left = {one: unicodedata.category(one) for one in printable(every)}
    assert not {"Cc", "Cs", "Zl", "Zp"} & set(left.values())
    directing = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert not directing & {unicodedata.bidirectional(one) for one in left}
    printable(every).encode("utf-8")


def test_json_says_what_it_said() -> None:
    facts = {"text": "\x1b[31m \x9b \u202e \u2028 \udcff \n é 猫 😀 C:\\x41 \\u0041"}
    text = printable_json(json.dumps(facts, ensure_ascii=False, indent=1))
    assert json.loads(text) == facts
    assert "é 猫 😀" in text
    assert printable(text.replace("\n", "")) == text.replace("\n", "")


def test_pages_show_the_same() -> None:
    assert (
        safe("<b>\x1b\u202e\x9b\0 two\nlines \ud83d") == "&lt;b&gt;\\x1b\\u202e\\x9b\\x00 two\nlines \\ud83d"
    )
