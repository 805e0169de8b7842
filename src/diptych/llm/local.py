"""local: chat and vision-chat models of the transformers library; nothing leaves the machine.

Name: llm:FOLDER
Needs: diptych[towers]
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.errors import BadData, MissingData, NoReply
from diptych.llm.protocol import Abilities, Prompt, Reply, Token, Usage
from diptych.optional import optional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LocalModel"]


class LocalModel:
    """A model in a folder, as transformers saves them; loaded when it is first asked.

    Only code of the library itself runs: a folder that brings code of its own is refused by the library.

    Args:
        folder: With ``config.json``, the weights as safetensors, a tokenizer with a chat template, and a
            picture processor if it sees.

    Raises:
        MissingData: there is no such folder.
        MissingExtra: the library is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        if not (self.folder / "config.json").is_file():
            raise MissingData(
                f"{folder} holds no config.json; give the folder of a model that transformers saved"
            )
        self._library = optional("transformers", "running language models of a folder", "towers")
        self._turn = threading.Lock()

    @property
    def name(self) -> str:
        """The folder's path."""
        return f"llm:{self.folder}"

    @property
    def abilities(self) -> Abilities:
        """Whether it sees, its processor tells."""
        sees = any(
            (self.folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")
        )
        return Abilities(pictures=8 if sees else 0, logprobs=True, local=True)

    @cached_property
    def loaded(self) -> tuple[Any, Any]:
        """The model of transformers, and the processor or tokenizer that makes its inputs.

        Raises:
            BadData: the folder cannot be loaded.
        """
        sees = self.abilities.pictures
        try:
            if sees:
                kind, reader = self._library.AutoModelForImageTextToText, self._library.AutoProcessor
            else:
                kind, reader = self._library.AutoModelForCausalLM, self._library.AutoTokenizer
            model = kind.from_pretrained(str(self.folder), use_safetensors=True).eval()
            processor = reader.from_pretrained(str(self.folder))
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            said = str(error).strip().partition("\n")[0]
            raise BadData(f"{self.folder} holds no chat model that can be loaded ({said})") from error
        if not getattr(processor, "chat_template", None):
            raise BadData(f"{self.folder} has no chat template, so that it cannot be talked to")
        return model, processor

    def reply(self, prompt: Prompt) -> Reply:
        """The reply of the model; several that are asked at once wait for each other.

        Raises:
            NoReply: the prompt is too long, or shows pictures to a model that does not see.
            BadData: the folder cannot be loaded.
            ImageError: a picture cannot be read.
        """
        if prompt.pictures and not self.abilities.pictures:
            raise NoReply(f"{self.name} does not see pictures; ask one that does", reason="pictures")
        with self._turn:
            return self._generated(prompt)

    def _generated(self, prompt: Prompt) -> Reply:
        import torch

        started = time.monotonic()
        model, processor = self.loaded
        tokenizer = getattr(processor, "tokenizer", processor)
        inputs = self._inputs(processor, prompt)
        length = int(inputs["input_ids"].shape[1])
        room = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if room is not None and length + prompt.max_tokens > room:
            raise NoReply(
                f"the prompt is too long for {self.name} ({length} tokens and a reply of "
                f"{prompt.max_tokens}; it has room for {room})",
                reason="context_overflow",
            )
        sampling = {"do_sample": True, "temperature": prompt.temperature} if prompt.temperature else {}
        with torch.inference_mode():
            out = model.generate(
                **inputs,
                max_new_tokens=prompt.max_tokens,
                do_sample=bool(sampling),
                **{key: value for key, value in sampling.items() if key != "do_sample"},
                return_dict_in_generate=True,
                output_logits=bool(prompt.top),
                pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0,
                max_time=prompt.seconds,
                stopping_criteria=[_ended(tokenizer, length, prompt.stop)] if prompt.stop else None,
            )
        ids = out.sequences[0, length:].tolist()
        ends = {tokenizer.eos_token_id, *_ends(model)}
        finished = bool(ids) and ids[-1] in ends
        text = tokenizer.decode(ids, skip_special_tokens=True)
        for stop in prompt.stop:
            before, found, _ = text.partition(stop)
            text, finished = before, finished or bool(found)
        if not finished and len(ids) < prompt.max_tokens:
            raise NoReply(f"{self.name} did not reply within {prompt.seconds:g} seconds", reason="timeout")
        tokens = self._tokens(tokenizer, ids, out.logits, prompt.top) if prompt.top else ()
        usage = Usage(1, length, len(ids), time.monotonic() - started)
        if prompt.heard is not None:
            prompt.heard(text)
        return Reply(text.strip(), tokens, "stop" if finished else "length", usage)

    def log_likelihood(self, prompt: Prompt, reply: str) -> Tensor:
        """Natural logarithm of the chance that the model replies so and ends; a number that has a gradient.

        Args:
            prompt: Its limits are not heeded.
            reply: Without white space around it.

        Raises:
            NoReply: the prompt shows pictures to a model that does not see, or is of a kind that it refuses.
            BadData: the folder cannot be loaded.
            ImageError: a picture cannot be read.
        """
        import torch

        if prompt.pictures and not self.abilities.pictures:
            raise NoReply(f"{self.name} does not see pictures; ask one that does", reason="pictures")
        model, processor = self.loaded
        tokenizer = getattr(processor, "tokenizer", processor)
        inputs = self._inputs(processor, prompt)
        length = inputs["input_ids"].shape[1]
        said = [*tokenizer(reply, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        ids = torch.tensor([said])
        more = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        whole = {  # what else has a value a token, as the kind of each, has 0 for those of a reply
            name: torch.cat([value, more.get(name, value.new_zeros(1, len(said)))], dim=1)
            if value.shape == (1, length)
            else value
            for name, value in inputs.items()
        }
        logits = model(**whole).logits[0, -len(said) - 1 : -1].float()
        chances = logits.log_softmax(dim=1).gather(1, ids.T.to(logits.device))
        found: Tensor = chances.sum()
        return found

    def _inputs(self, processor: Any, prompt: Prompt) -> Mapping[str, Any]:
        said: list[dict[str, Any]]
        if not self.abilities.pictures:
            said = [{"role": one.role, "content": one.text} for one in prompt.messages]
        else:
            said = [
                {
                    "role": one.role,
                    "content": [
                        {"type": "text", "text": part}
                        if isinstance(part, str)
                        else {"type": "image", "image": _seen(part)}
                        for part in one.parts
                    ],
                }
                for one in prompt.messages
            ]
        try:
            inputs: Mapping[str, Any] = processor.apply_chat_template(
                said, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            )
        except (ValueError, TypeError, KeyError, self._template_error) as error:
            raise NoReply(f"{self.name} does not take what is asked ({error})", reason="rejected") from error
        return {key: value for key, value in inputs.items() if key != "token_type_ids"}

    @property
    def _template_error(self) -> type[Exception]:
        """What a template raises that forbids, say, a message of the system."""
        kind: type[Exception] = optional(
            "jinja2", "running language models of a folder", "towers"
        ).TemplateError
        return kind

    @staticmethod
    def _tokens(tokenizer: Any, ids: list[int], logits: Any, top: int) -> tuple[Token, ...]:
        import torch

        found = []
        for token, row in zip(ids, logits, strict=False):
            logprobs = torch.log_softmax(row[0].float(), -1)
            best = torch.topk(logprobs, min(top, len(logprobs)))
            others = {
                tokenizer.decode([other]): float(value)
                for other, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            }
            found.append(Token(tokenizer.decode([token]), float(logprobs[token]), others))
        return tuple(found)


def _seen(picture: Any) -> Any:
    from diptych.media.raw import open_any

    return open_any(picture, size=768)


def _ended(tokenizer: Any, length: int, stop: Sequence[str]) -> Any:
    """Tells generation that the reply, which begins after so many tokens, holds a text that ends it."""
    import torch

    def ended(ids: Any, scores: Any, **more: Any) -> Any:
        text = tokenizer.decode(ids[0, length:], skip_special_tokens=True)
        return torch.tensor([any(one in text for one in stop)], device=ids.device)

    return ended


def _ends(model: Any) -> tuple[int, ...]:
    found = model.generation_config.eos_token_id
    return tuple(found) if isinstance(found, list) else () if found is None else (found,)
