"""Makes visible what must not reach a terminal or a page as it is.

Names of files, captions, and messages that repeat them come from anybody. A terminal obeys some of their
characters, others reorder or hide what stands around them, and half characters cannot be written at all.
"""

from __future__ import annotations

import re

__all__ = ["printable", "printable_json", "type_of"]

_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}

# Controls (C0, DEL, C1), what breaks lines, what directs or hides text, and half characters. The joiners
# that scripts and emoji are written with (U+200C, U+200D) are left: they show in what they join.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def printable(text: object) -> str:
    r"""The text in one line in which every character shows: controls, line breaks and the like escaped.

    Text without any of them stays as it is, so that doing it twice changes nothing.

    Example:
        >>> print(printable("dog\x1b[31m\n"))
        dog\x1b[31m\n
        >>> printable("naïve 猫")
        'naïve 猫'
    """
    return _UNSEEN.sub(_escaped, str(text))


def printable_json(text: str) -> str:
    r"""The same for a text that is JSON, whose own line breaks stay; it says what it said before.

    Example:
        >>> print(printable_json('{"name": "dog\x9b"}'))
        {"name": "dog\u009b"}
    """
    return _UNSEEN.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def type_of(value: object) -> str:
    """What a value is, for a sentence.

    Example:
        >>> type_of(3), type_of("a cat")
        ('an int', 'a str')
    """
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
