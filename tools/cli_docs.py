"""Writes docs/cli.md: the help of every command, as the program prints it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TARGET = Path(__file__).parents[1] / "docs" / "cli.md"
COMMANDS = ("", "index", "search", "chat", "caption", "illustrate", "serve", "duplicates", "remove", "info",
            "list", "doctor", "train", "data",
            "data list", "data info", "data prepare", "data verify", "evaluate", "bench")  # fmt: skip


def text() -> str:
    """The whole page."""
    parts = [
        "# Command line\n\nWritten by `python tools/cli_docs.py`; a test compares it with the program.\n"
    ]
    for command in COMMANDS:
        environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
        arguments = [sys.executable, "-m", "diptych", *command.split(), "--help"]
        done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=True)
        lines = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
        lines = lines.replace("python -m diptych", "diptych")
        parts.append(f"## {f'diptych {command}'.strip()}\n\n```\n{lines}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
