"""Runs checks and says which failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["Check", "run_checks"]

Check = tuple[str, Callable[[], None]]
"""Name of a check, and a function that raises AssertionError if it fails."""


def run_checks(subject: str, checks: Iterable[Check]) -> None:
    """Run all checks, also after one that failed, and print a line for each.

    Args:
        subject: What is checked, for the error.
        checks: See `diptych.testing.system_checks` and its siblings.

    Raises:
        AssertionError: naming every check that failed, and why.
    """
    count, failed = 0, []
    for name, check in checks:
        count += 1
        try:
            check()
        except Exception as error:  # noqa: BLE001  # what is checked may raise anything, and the rest still tells
            said = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            failed.append(f"{name}: {said}")
            print(f"failed  {name}: {said}")
        else:
            print(f"passed  {name}")
    if failed:
        raise AssertionError(
            f"{subject} fails {len(failed)} of {count} checks:\n" + "\n".join(f"- {one}" for one in failed)
        )
