"""Words that the text tower can know, and such as it cannot."""

from __future__ import annotations

import pytest

from diptych.towers.vocabulary import language_of, unknown_words


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


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("ein roter Ball", "German"),
        ("un chien sur la plage", "French"),
        ("pes na pláži", "Czech"),
        ("dos perros en la playa", "Spanish"),
        ("un cane sulla spiaggia", "Italian"),
        ("een hond op het strand", "Dutch"),
        ("砂浜の犬", "Japanese"),
        ("собака на пляже", "a language in Cyrillic letters"),
        ("two dogs on the beach", "English"),
        ("las vegas", None),
        ("die hard", None),
        ("la tour eiffel", None),
        ("Hund", None),
        ("", None),
    ],
)
def test_languages_are_told_by_short_words_and_letters(text: str, language: str | None) -> None:
    assert language_of(text) == language
