"""gguf: a model in a GGUF file, run in this process by llama.cpp; nothing leaves the machine.

Name: llm:FILE.gguf
Needs: diptych[llm]
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from functools import cached_property
from pathlib import Path
from typing import Any

from diptych.errors import BadData, MissingData, NoReply
from diptych.llm.openai_api import body_of, completion, refusal
from diptych.llm.protocol import Abilities, Prompt, Reply
from diptych.llm.untrusted import one_line
from diptych.optional import optional

__all__ = ["GGUF"]


class GGUF:
    """A chat model in a GGUF file; loaded when it is first asked.

    Args:
        path: The file.
        context: Tokens of a prompt and its reply together.
        threads: Processor threads; None for as many as ``OMP_NUM_THREADS`` says, or else half the cores.

    Raises:
        MissingData: there is no such file.
        MissingExtra: the package that runs it is not installed.
    """

    def __init__(self, path: str | Path, *, context: int = 4096, threads: int | None = None) -> None:
        self.path, self.context = Path(path).expanduser(), context
        given = os.environ.get("OMP_NUM_THREADS", "")
        self.threads = threads or (int(given) if given.isdecimal() else max((os.cpu_count() or 2) // 2, 1))
        if not self.path.is_file():
            raise MissingData(f"{path} is not there; give the path of a GGUF file")
        self._library = optional("xllamacpp", "running GGUF models", "llm")
        self._turn = threading.Lock()
        self._key = secrets.token_hex(16)

    @property
    def serving(self) -> tuple[str, str]:
        """Address and key of the OpenAI-compatible server that it is, to this machine only."""
        return str(self._server.listening_address), self._key

    @property
    def name(self) -> str:
        """The file's path."""
        return f"llm:{self.path}"

    @property
    def abilities(self) -> Abilities:
        """It reads no pictures here, and tells log-probabilities."""
        return Abilities(pictures=0, logprobs=True, local=True)

    @cached_property
    def _server(self) -> Any:
        params = self._library.CommonParams()
        params.model.path = str(self.path)
        params.n_ctx, params.n_parallel, params.warmup, params.verbosity = self.context, 1, False, -1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self.threads
        # It listens as well; only on this machine, on a port that is free, and to nobody who lacks the key.
        params.port, params.hostnames, params.api_keys = 0, ["127.0.0.1"], [self._key]
        try:
            return self._library.Server(params)
        except RuntimeError as error:
            raise BadData(
                f"{self.path} cannot be loaded: it is cut short, no GGUF file, or of a kind that this "
                "version does not know; fetch it again"
            ) from error

    def reply(self, prompt: Prompt) -> Reply:
        """The reply of the model; several that are asked at once wait for each other.

        Raises:
            NoReply: the prompt is too long, or shows pictures.
            BadData: the file cannot be loaded.
        """
        if prompt.pictures:
            raise NoReply(
                f"{self.name} does not see pictures; ask one that does, such as a server's", reason="pictures"
            )
        started = time.monotonic()
        with self._turn:
            found = self._server.handle_chat_completions(body_of(prompt))
        trouble = found.get("error") if isinstance(found, dict) else {"message": "no answer"}
        if trouble:
            status, said = int(trouble.get("code", 500)), one_line(str(trouble.get("message", "")), 200)
            raise refusal(self.name, status, said) or NoReply(
                f"{self.name} rejects what is asked ({status}: {said})", reason="rejected"
            )
        try:
            reply = completion(found, time.monotonic() - started)
        except ValueError as error:
            raise NoReply(f"{self.name} gives no completion ({error})", reason="parse") from error
        if prompt.heard is not None:
            prompt.heard(reply.text)
        return reply
