"""Words that the text tower can know, and such as it cannot."""

from __future__ import annotations

import pytest

from diptych.towers.vocabulary import unknown_words


@pytest.mark.parametrize(
    "text",
    [
        "a dog runs across the beach",
        "two kayakers' kayaks, a giraffe and a wheelbarrow",
        "the skateboarder's funniest tricks; he is running and making waves",
        "don't", "doesn’t",
        "a stalactite in black-and-white, 1997",
        "colour and color",
    ],
)  # fmt: skip
def test_english_is_known(text: str) -> None:
    assert unknown_words(text) == ()


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("asdf qwrtz", ("asdf", "qwrtz")),
        ("ein Hund läuft am Strand", ("hund", "läuft")),
        ("un chien sur la plage, un chien", ("chien", "plage")),
        ("собака на пляже", ("собака", "на", "пляже")),
        ("砂浜の犬", ("砂浜の犬",)),
        ("", ()),
        ("42 !?", ()),
    ],
)
def test_other_words_are_named_once(text: str, unknown: tuple[str, ...]) -> None:
    assert unknown_words(text) == unknown
