"""Asking whether code that came with another user's run may be run."""

import sys
from collections.abc import Sequence

from slotlab.framework.plugin_loading.trust import Ask, Code, allow, refuse


def consent(*, given: bool) -> Ask:
    """Return who decides: the caller, the person at the terminal (once for each content), or nobody."""
    if given:
        return allow
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        return refuse
    answers: dict[tuple[Code, ...], bool] = {}

    def once(found: Sequence[Code]) -> bool:
        if tuple(found) not in answers:
            answers[tuple(found)] = ask(found)
        return answers[tuple(found)]

    return once


def ask(found: Sequence[Code]) -> bool:
    """Ask at the terminal."""
    print("this came with a run that is not known to be yours, and is run as a program:", file=sys.stderr)
    for code in found:
        files = f" (with {', '.join(code.files)})" if code.files else ""
        print(f"  {code.shown}{files}, SHA-256 {code.digest}", file=sys.stderr)
    print("run it, and remember this content? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
