"""openai_api: OpenAI-compatible servers, such as OpenAI, Gemini's endpoint, vLLM, Ollama and llama.cpp.

Name: llm:URL#MODEL
Needs: diptych[llm]

The key of a host comes from the environment, is sent to that host alone, and stands in no name, log or error.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from diptych.errors import NoReply, UsageError
from diptych.llm.protocol import Abilities, Message, Prompt, Reply, Token, Usage
from diptych.llm.untrusted import one_line
from diptych.optional import optional

__all__ = ["KEY", "OpenAICompatible", "body_of", "completion", "jpeg", "key_for", "refusal"]

KEY = "DIPTYCH_LLM_KEY"
"""The environment's name for the key of whatever server is asked."""

LARGEST = 4 * 2**20
"""Bytes of a reply that are read."""

_KEYS = {"api.openai.com": "OPENAI_API_KEY", "generativelanguage.googleapis.com": "GEMINI_API_KEY"}
_SIDE = 768  # pixels of the longer side of a picture that is sent, to bound its cost


def key_for(url: str) -> str | None:
    """The key for the host of an address, from the environment; None if there is none.

    `DIPTYCH_LLM_KEY` is for any host; the names that two providers use are for their own hosts only.
    """
    return os.environ.get(KEY) or os.environ.get(_KEYS.get(urlsplit(url).hostname or "", "")) or None


def jpeg(picture: Any, side: int = _SIDE) -> bytes:
    """A picture as the bytes of a JPEG whose longer side has at most so many pixels.

    Raises:
        ImageError: it cannot be read.
    """
    import io

    from diptych.media.raw import open_any

    seen = open_any(picture, size=side)
    seen.thumbnail((side, side))
    out = io.BytesIO()
    seen.save(out, "JPEG", quality=85)
    return out.getvalue()


class OpenAICompatible:
    """A model behind the chat-completions API.

    Args:
        url: Where the API begins, such as ``http://127.0.0.1:8080/v1``; without a path, ``/v1`` is meant.
        model: Its name there; empty for the only one, or the first, that the server lists.
        key: Sent as a bearer's token; None takes that of the environment, see `key_for`.
        seconds: For a reply, where the prompt says nothing.
        price: Money for a million tokens in and out.

    Raises:
        UsageError: it is no such address.
        MissingExtra: the package that speaks HTTP is not installed.
    """

    def __init__(
        self,
        url: str,
        model: str = "",
        *,
        key: str | None = None,
        seconds: float = 30.0,
        price: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        try:
            parts = urlsplit(url)
            parts.port  # noqa: B018  # looked at for what it raises
        except ValueError as error:
            raise UsageError(f"{one_line(url)} is no address of a language model ({error})") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(
                f"{one_line(url)} is no address of a language model, which begins with http:// or https:// "
                "and a host"
            )
        if parts.username or parts.password:
            raise UsageError(
                f"the address of a language model holds no user's name or password; put the key into {KEY}"
            )
        self.url = url.rstrip("/") + ("" if parts.path.strip("/") else "/v1")
        self.model, self.seconds, self.price = model, seconds, price
        self._key = key_for(url) if key is None else key
        self._host = parts.hostname
        self._limit = "max_tokens"  # or the newer name, once a server asks for it
        self._httpx = optional("httpx", "asking a language model over the network", "llm")

    def __repr__(self) -> str:
        return f"OpenAICompatible({self.url!r}, {self.model!r})"

    @property
    def name(self) -> str:
        """Address and model."""
        return f"llm:{self.url}#{self.model}"

    @property
    def abilities(self) -> Abilities:
        """What is known beforehand: only whether it is on this machine."""
        return Abilities(local=_is_loopback(self._host))

    def models(self, seconds: float = 3.0) -> list[str]:
        """The names of the models that the server lists.

        Raises:
            NoReply: it cannot be asked.
        """
        found = self._json("GET", "/models", None, time.monotonic() + seconds)
        listed = found.get("data") if isinstance(found, dict) else None
        if not isinstance(listed, list):
            raise self._nonsense("a list of models")
        return [str(one["id"]) for one in listed if isinstance(one, dict) and "id" in one]

    def reply(self, prompt: Prompt) -> Reply:
        """The reply of the server.

        Raises:
            NoReply: whatever goes wrong on the way.
            ImageError: a picture of the prompt cannot be read.
        """
        until = time.monotonic() + (self.seconds if prompt.seconds is None else prompt.seconds)
        started = time.monotonic()
        if not self.model:
            self.model = next(iter(self.models(max(until - time.monotonic(), 0.1))), "default")
        body = self._body(prompt)
        try:
            found = self._asked(body, prompt, until)
        except NoReply as error:
            if "max_completion_tokens" not in str(error) or self._limit == "max_completion_tokens":
                raise
            self._limit = "max_completion_tokens"
            found = self._asked(self._body(prompt), prompt, until)
        try:
            return completion(found, time.monotonic() - started, self.price)
        except ValueError as error:
            raise self._nonsense("a completion") from error

    def _asked(self, body: dict[str, Any], prompt: Prompt, until: float) -> Any:
        if prompt.heard is None:
            return self._json("POST", "/chat/completions", body, until)
        return self._streamed(
            {**body, "stream": True, "stream_options": {"include_usage": True}}, prompt, until
        )

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        return {"model": self.model, **body_of(prompt, self._limit)}

    def _lines(self, method: str, path: str, body: Any, until: float) -> Iterator[bytes]:
        """What the server answers, piece by piece; bounded in time and size."""
        httpx = self._httpx
        left = max(until - time.monotonic(), 0.01)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            with (
                # Proxies and passwords of the environment are for the web, not for a server that was named.
                httpx.Client(timeout=left, trust_env=not _is_loopback(self._host)) as client,
                client.stream(method, self.url + path, json=body, headers=headers) as answer,
            ):
                size, begun = 0, bytearray()
                for piece in answer.iter_bytes():
                    size += len(piece)
                    if size > LARGEST:
                        raise NoReply(
                            f"{self.url} replies with more than {LARGEST >> 20} MB, which is no reply of a "
                            "language model",
                            reason="parse",
                        )
                    if time.monotonic() > until:
                        raise self._late()
                    if answer.status_code >= 400:
                        begun += piece
                    else:
                        yield piece
                if answer.status_code != 200:
                    raise self._refused(answer.status_code, bytes(begun), answer.headers.get("retry-after"))
        except httpx.TimeoutException as error:
            raise self._late() from error
        except httpx.HTTPError as error:
            raise NoReply(
                f"{self.url} cannot be reached ({self._safe(str(error) or type(error).__name__)}); start the "
                "server, or give another address",
                reason="unreachable",
                again=0,
            ) from error

    def _json(self, method: str, path: str, body: Any, until: float) -> Any:
        content = b"".join(self._lines(method, path, body, until))
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._nonsense("JSON") from error

    def _streamed(self, body: Any, prompt: Prompt, until: float) -> Any:
        """The same as one answer, of a stream of events; of a server that does not stream, its answer."""
        rest, seen, text = b"", b"", ""
        tokens: list[Any] = []
        whole: dict[str, Any] = {}
        finish = None
        for piece in self._lines("POST", "/chat/completions", body, until):
            seen += b"" if whole else piece
            rest += piece
            *lines, rest = rest.split(b"\n")
            for line in lines:
                if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
                    continue
                try:
                    event = json.loads(line[5:])
                    choice = (event.get("choices") or [{}])[0]
                    said = (choice.get("delta") or {}).get("content") or ""
                except (ValueError, AttributeError, IndexError, KeyError, RecursionError) as error:
                    raise self._nonsense("a stream of events") from error
                whole |= {key: event[key] for key in ("usage", "error") if event.get(key)}
                whole.setdefault("choices", [])
                text += said
                tokens += (choice.get("logprobs") or {}).get("content") or []
                finish = choice.get("finish_reason") or finish
                if said and prompt.heard is not None:
                    prompt.heard(said)
        if not whole:
            try:
                return json.loads(seen)
            except ValueError as error:
                raise self._nonsense("a stream of events") from error
        choice = {"message": {"content": text}, "finish_reason": finish, "logprobs": {"content": tokens}}
        return {**whole, "choices": [choice]}

    # What goes wrong

    def _late(self) -> NoReply:
        return NoReply(
            f"{self.url} did not reply in time; allow more time, or ask a smaller model",
            reason="timeout",
            again=0,
        )

    def _nonsense(self, wanted: str) -> NoReply:
        return NoReply(
            f"{self.url} does not answer with {wanted}, so that it is no OpenAI-compatible server; look at "
            "the address, which usually ends in /v1",
            reason="parse",
        )

    def _refused(self, status: int, content: bytes, wait: str | None) -> NoReply:
        said = self._safe(_message(content))
        if status in (401, 403):  # a server may repeat the key that it was given
            what = "refuses the key" if self._key else "asks for a key"
            return NoReply(f"{self.url} {what} ({status}); put the right one into {KEY}", reason="key")
        if about := refusal(self.model or self.url, status, said):
            return about
        told = f"{status}: {said}" if said else str(status)
        if status == 429 or status >= 500:
            again = float(wait) if wait and re.fullmatch(r"\d+(\.\d+)?", wait) else 0.0
            return NoReply(
                f"{self.url} cannot reply now ({told}); try again later", reason="unreachable", again=again
            )
        if status == 404:
            return NoReply(
                f"{self.url} has no model {self.model!r}, or no such API ({told}); look at address and name",
                reason="rejected",
            )
        return NoReply(f"{self.url} rejects what is asked ({told})", reason="rejected")

    def _safe(self, text: str) -> str:
        """A text of the server's in one line, without the key."""
        return one_line(text.replace(self._key, "***") if self._key else text, 200)


def completion(found: Any, seconds: float, price: tuple[float, float] = (0.0, 0.0)) -> Reply:
    """The reply in what the API answers.

    Args:
        found: The answer, as JSON gives it.
        seconds: What it took.
        price: Money for a million tokens in and out.

    Raises:
        ValueError: it is no completion.
    """
    try:
        choice = found["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        tokens = tuple(
            Token(
                str(one["token"]),
                float(one["logprob"]),
                {str(other["token"]): float(other["logprob"]) for other in one.get("top_logprobs") or ()},
            )
            for one in (choice.get("logprobs") or {}).get("content") or ()
        )
        used = found.get("usage") or {}
        counts = int(used.get("prompt_tokens") or 0), int(used.get("completion_tokens") or 0)
        if not isinstance(text, str):
            raise TypeError("its content is no text")
        reason, refused = choice.get("finish_reason"), bool(message.get("refusal"))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"no completion ({error})") from error
    finish: Any = "refusal" if refused or reason == "content_filter" else reason
    money = (counts[0] * price[0] + counts[1] * price[1]) / 1e6
    finish = finish if finish in ("refusal", "length") else "stop"
    return Reply(text, tokens, finish, Usage(1, *counts, seconds, money))


def body_of(prompt: Prompt, limit: str = "max_tokens") -> dict[str, Any]:
    """A prompt as the API takes it.

    Args:
        prompt: What is asked.
        limit: What the API calls the longest reply.

    Raises:
        ImageError: a picture cannot be read.
    """
    body: dict[str, Any] = {
        "messages": [_as_json(message) for message in prompt.messages],
        "temperature": prompt.temperature,
        limit: prompt.max_tokens,
    }
    if prompt.stop:
        body["stop"] = list(prompt.stop)
    if prompt.top:
        body |= {"logprobs": True, "top_logprobs": prompt.top}
    return body


def refusal(name: str, status: int, said: str) -> NoReply | None:
    """What a server's error says of the prompt; None if it is no matter of the prompt.

    Args:
        name: Of the model.
        status: The error's number.
        said: Its text, in one line.
    """
    low, told = said.lower(), f"({status}: {said})" if said else f"({status})"
    if "context" in low or "too long" in low or status == 413:
        return NoReply(f"the prompt is too long for {name} {told}", reason="context_overflow")
    if "image" in low or "multimodal" in low or "mmproj" in low:
        return NoReply(f"{name} does not take the picture {told}; ask one that sees", reason="pictures")
    return None


def _as_json(message: Message) -> Mapping[str, Any]:
    if not message.pictures:
        return {"role": message.role, "content": message.text}
    parts: list[Mapping[str, Any]] = []
    for part in message.parts:
        if isinstance(part, str):
            parts.append({"type": "text", "text": part})
        else:
            data = base64.b64encode(jpeg(part)).decode("ascii")
            parts.append({"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}})
    return {"role": message.role, "content": parts}


def _message(content: bytes) -> str:
    """What a server says of an error; nothing if it does not."""
    try:
        found = json.loads(content)
        said = found.get("error", found) if isinstance(found, dict) else ""
        said = said.get("message", "") if isinstance(said, dict) else said
    except (ValueError, RecursionError):
        said = ""
    return said if isinstance(said, str) else ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
