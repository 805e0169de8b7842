"""How a published text tower wants its texts, read from ``tokenizer.json`` and the files beside it."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diptych.errors import BadData, MissingData
from diptych.towers.described import settings

__all__ = ["Words", "of_open_clip", "of_transformers"]

Clean = Literal["", "lower", "spaces", "canonical"]

_NO_LIMIT = 1 << 20  # tokenizers write a number beyond it where nobody has set one
_OLD_END = 2  # configurations that name this end token mean the one with the largest number
_OPEN_CLIP_CONTEXT = 77  # what open_clip means where its configuration is silent
_ROUNDED = 0.9  # share of a tower's vocabulary that its tokenizer has at least; towers round theirs up
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Words:
    """Makes numbers of texts.

    Args:
        tokenizer: Of the library tokenizers; neither cuts nor pads.
        context: Tokens at most, those of begin and end included.
        pad: Number that fills up, and on which side.
        padded: Whether the tower was trained with every text filled up to its context.
        clean: What is done to a text before: "canonical" is without capitals and punctuation.
    """

    tokenizer: Any
    context: int
    pad: int
    left: bool
    padded: bool
    clean: Clean

    def ids(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """Numbers of each text, cut to the context, and how many each would have had."""
        cleaned = [self._cleaned(text) for text in texts]
        whole = [encoding.ids for encoding in self.tokenizer.encode_batch(cleaned)]
        long = [row for row, ids in enumerate(whole) if len(ids) > self.context]
        found = list(whole)
        if long:
            self.tokenizer.enable_truncation(self.context)
            cut = self.tokenizer.encode_batch([cleaned[row] for row in long])
            for row, encoding in zip(long, cut, strict=True):
                found[row] = encoding.ids
            self.tokenizer.no_truncation()
        return found, [len(ids) for ids in whole]

    def filled(self, ids: list[int], length: int) -> tuple[list[int], list[int]]:
        """Numbers filled up to a length, and the mask that is 1 where there was one."""
        more = length - len(ids)
        pads, mask = [self.pad] * more, [1] * len(ids)
        return (pads + ids, [0] * more + mask) if self.left else (ids + pads, mask + [0] * more)

    @property
    def largest(self) -> int:
        """The largest number of the vocabulary."""
        return int(max(self.tokenizer.get_vocab(with_added_tokens=True).values()))

    def shown(self, ids: list[int]) -> str:
        """The text of numbers, for a warning."""
        return str(self.tokenizer.decode(ids))

    def meaning(self) -> dict[str, Any]:
        """What decides its result besides ``tokenizer.json``, for a fingerprint."""
        return {name: getattr(self, name) for name in ("context", "pad", "left", "padded", "clean")}

    def _cleaned(self, text: str) -> str:
        if self.clean == "lower":
            return text.lower()
        if self.clean == "canonical":
            text = text.translate(_NO_PUNCTUATION).lower()
        return " ".join(text.split()) if self.clean else text


def of_transformers(folder: Path, config: Mapping[str, Any]) -> Words:
    """What ``tokenizer.json``, ``tokenizer_config.json`` and ``config.json`` say together.

    Args:
        folder: Holds all three.
        config: Content of the third; its ``model_type`` is "clip", "siglip" or "siglip2".

    Raises:
        MissingData: one is not there.
        BadData: one is damaged or leaves something open, or they do not belong together.
    """
    tokenizer = _tokenizer(folder / "tokenizer.json")
    path = folder / "tokenizer_config.json"
    said = settings(path, "how texts are cut and filled up")
    kind, text = str(config["model_type"]), config.get("text_config") or {}
    limits = [text.get("max_position_embeddings"), said.get("model_max_length")]
    known = [int(one) for one in limits if isinstance(one, int | float) and 0 < one < _NO_LIMIT]
    if not known:
        raise BadData(f"neither {path} nor config.json says how many tokens texts have; add model_max_length")
    if said.get("truncation_side", "right") != "right":
        raise BadData(f"{path} cuts texts at their beginning, which is not known here")
    class_ = str(said.get("tokenizer_class") or "")
    canonical = class_.startswith("SiglipTokenizer")
    lower = bool(said.get("do_lower_case")) or class_.startswith("Siglip2Tokenizer")
    words = Words(
        tokenizer,
        min(known),
        _pad(path, tokenizer, said),
        left=said.get("padding_side", "right") == "left",
        padded=kind != "clip",
        clean="canonical" if canonical else "lower" if lower else "",
    )
    _check_vocabulary(folder / "tokenizer.json", words, text.get("vocab_size"))
    if kind == "clip":
        _check_end(folder / "tokenizer.json", words, text.get("eos_token_id"))
    return words


def of_open_clip(folder: Path, config: Mapping[str, Any]) -> Words:
    """What the files of a text tower say that was exported for Immich.

    Args:
        folder: Holds ``tokenizer.json`` and ``tokenizer_config.json``.
        config: Content of the ``config.json`` above: open_clip's.

    Raises:
        MissingData, BadData: as for `of_transformers`.
    """
    tokenizer = _tokenizer(folder / "tokenizer.json")
    path = folder / "tokenizer_config.json"
    said = settings(path, "how texts are filled up")
    text = config.get("text_cfg")
    if not isinstance(text, dict):
        raise BadData(
            f"{folder.parent / 'config.json'} has no text_cfg, so it does not say how texts are read"
        )
    context = text.get("context_length", _OPEN_CLIP_CONTEXT)
    if not isinstance(context, int) or not 0 < context < _NO_LIMIT:
        raise BadData(f"{folder.parent / 'config.json'} says {context!r} for the context_length of texts")
    clean = (text.get("tokenizer_kwargs") or {}).get("clean")
    words = Words(
        tokenizer,
        context,
        _pad(path, tokenizer, said),
        left=False,
        padded=True,
        clean="canonical" if clean == "canonicalize" else "spaces",
    )
    _check_vocabulary(folder / "tokenizer.json", words, text.get("vocab_size"))
    return words


def _tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    if not path.is_file():
        raise MissingData(f"{path} is not there, which makes tokens of texts; fetch it, too")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise BadData(f"{path} is no tokenizer ({error}); fetch it again") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _pad(path: Path, tokenizer: Any, said: Mapping[str, Any]) -> int:
    token = said.get("pad_token")
    token = token.get("content") if isinstance(token, dict) else token
    number = tokenizer.token_to_id(token) if isinstance(token, str) else None
    if number is None:
        raise BadData(
            f"{path} fills texts up with {token!r}, which tokenizer.json does not have; fetch both again"
        )
    return int(number)


def _check_vocabulary(path: Path, words: Words, size: Any) -> None:
    if isinstance(size, int) and not _ROUNDED * size <= words.largest + 1 <= size:
        raise BadData(
            f"{path} is not this model's tokenizer: it has {words.largest + 1} tokens, the model {size}; "
            "fetch both from one place"
        )


def _check_end(path: Path, words: Words, named: Any) -> None:
    """CLIP's text tower gives what stands at the end token, so that every text must have it."""
    end = (words.ids(["a"])[0][0] or [-1])[-1]
    expected = words.largest if named in (None, _OLD_END) else named
    if end != expected:
        raise BadData(
            f"{path} is not this model's tokenizer: it ends texts with token {end}, the model with "
            f"{expected}; fetch both from one place"
        )
