"""Tokens: texts as numbers of word pieces.

Inputs: texts
Learns from: training texts (the word pieces), or nothing with a tokenizer of yours

What systems with a text network of their own read. `tokens` learns the pieces (byte-pair encoding) from the
training texts and keeps 32 a text, `tokens:77` keeps 77; ``tokens@FOLDER`` takes the ``tokenizer.json`` of a
pretrained model instead, and ``tokens@OWNER/NAME`` that of a repository of the hub. The number 0 fills up
short texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diptych.errors import BadData, BadParameter, MissingData, UsageError
from diptych.towers.checkpoint import folder_of, is_repository

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Tokens"]

_SPECIAL = ("[PAD]", "[CLS]", "[SEP]")  # their numbers are 0 to 2, in this order


class Tokens:
    """Word pieces, between a first and a last special one.

    Args:
        length: Pieces kept of a text, special ones included.
        size: Pieces of a vocabulary that is learned, at most.
        weights: A ``tokenizer.json``, or a folder or repository of the hub that has one; "" learns from the
            training texts.

    Raises:
        BadParameter: lengths that cannot be.
        MissingData, BadData: there is no such file, or it holds something else.
    """

    similarity = "cosine"
    side = "text"
    variant = "length"
    file_optional = True

    def __init__(self, *, length: int = 32, size: int = 8192, weights: str = "") -> None:
        if length < 3 or size < 300:
            raise BadParameter(f"tokens needs length >= 3 and size >= 300, not {length} and {size}")
        self.length, self.size, self.weights = length, size, weights
        self._tokenizer: Tokenizer | None = None
        if weights:
            path = Path(weights).expanduser()
            if not path.exists() and is_repository(weights):
                path = folder_of(weights, ("tokenizer.json",))
            path = path / "tokenizer.json" if path.is_dir() else path
            if not path.is_file():
                raise MissingData(f"there is no {path}; give a tokenizer.json or a folder that has one")
            self.weights = str(path.resolve())  # a run may be loaded from another folder
            self._take(path.read_text(encoding="utf-8"), str(path))

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What the constructor takes; the pieces are in `arrays`, so that the file is needed no more."""
        return {"length": self.length, "size": self.size, "weights": ""}

    @property
    def fitted(self) -> bool:
        """Whether there is a vocabulary."""
        return self._tokenizer is not None

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest number a piece can have.

        Raises:
            UsageError: there was no `fit`.
        """
        return max(self._ready().get_vocab(with_added_tokens=True).values()) + 1

    @property
    def fingerprint(self) -> str:
        """Equal only for the same pieces and the same length."""
        content = self._ready().to_str() if self.fitted else str(self.size)
        return f"tokens:1:{self.length}:{hashlib.sha256(content.encode()).hexdigest()[:24]}"

    def fit(self, texts: Sequence[str]) -> None:
        """Learn the word pieces, all in lower case.

        Raises:
            UsageError: there are no texts.
        """
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

        if len(texts) == 0:
            raise UsageError("there are no texts to learn word pieces from")
        # Pairs of bytes, because the library's WordPiece breaks ties by the order of a hash table.
        made = Tokenizer(models.BPE())
        made.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        trainer = trainers.BpeTrainer(
            vocab_size=self.size,
            special_tokens=list(_SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            min_frequency=2,
            show_progress=False,
        )
        made.train_from_iterator((str(text) for text in texts), trainer)
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
        self._take(made.to_str(), "the vocabulary")

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """What `fit` learned, or the file held."""
        return {"tokenizer": np.frombuffer(self._ready().to_str().encode(), np.uint8)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `arrays` gave."""
        self._take(arrays["tokenizer"].tobytes().decode(), "the saved vocabulary")

    def encode_text(self, texts: Sequence[str]) -> NDArray[np.uint32]:
        """Numbers (n, length) uint32; 0 where a text has no more pieces.

        Raises:
            UsageError: there was no `fit`.
        """
        found = np.zeros((len(texts), self.length), np.uint32)
        for row, coded in enumerate(self._ready().encode_batch([str(text) for text in texts])):
            found[row, : len(coded.ids)] = coded.ids
        return found

    def _ready(self) -> Tokenizer:
        if self._tokenizer is None:
            raise UsageError("Tokens has no word pieces yet; call fit with training texts")
        return self._tokenizer

    def _take(self, content: str, where: str) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_str(content)
        except Exception as error:
            raise BadData(f"{where} is no tokenizer ({error})") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.length)
