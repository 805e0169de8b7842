"""The command ``diptych`` and ``python -m diptych``: runs the command line, turns errors into sentences."""

from __future__ import annotations

import io
import os
import sys


def main() -> None:
    """Run the command line; the exit code is 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C."""
    from diptych.errors import DiptychError, UsageError

    debug = "--debug" in sys.argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for whatever the terminal's encoding lacks
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        from diptych.cli import app

        app(arguments)
    except (DiptychError, ModuleNotFoundError) as error:
        from diptych.optional import lacking

        # What an extra brings may be missed anywhere below; anything else that is missing is a fault of ours.
        known = (
            error
            if isinstance(error, DiptychError)
            else lacking(error, " ".join(["diptych", *arguments[:1]]))
        )
        if debug or known is None:
            raise
        from diptych.cli._arguments import told
        from diptych.cli._terminal import say

        say(f"diptych: {told(known)}", *getattr(known, "__notes__", ()), err=True)
        sys.exit(2 if isinstance(known, UsageError) else 1)
    except BrokenPipeError:
        # Whoever read our output has enough; nothing more may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        # A file or folder that a command was told to write or read; without a name it is a fault of ours.
        if debug or error.filename is None or error.strerror is None:
            raise
        from diptych.cli._terminal import say

        name = error.filename2 or error.filename  # of two, the one that was to be written
        name = os.fsdecode(name) if isinstance(name, bytes) else name
        say(
            f"diptych: {name} cannot be used: {error.strerror[0].lower()}{error.strerror[1:]}; give another "
            "path, or mend this one",
            err=True,
        )
        sys.exit(1)
    except KeyboardInterrupt:
        print("diptych: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
