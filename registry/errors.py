"""Errors for the user: their text says what is wrong and what would be right."""

from pathlib import Path


class SlotlabError(Exception):
    """A mistake that the user can correct. The command line prints its text, never a traceback."""

    exit_code = 1
    """The exit code of the command."""

    def lines(self) -> list[str]:
        """One line for each mistake."""
        return [str(self)]


class PluginError(SlotlabError):
    """A plugin that cannot be loaded or breaks the rules for plugins."""

    def __init__(self, *reasons: str, source: str | None = None):
        self.reason = "; ".join(reasons)
        super().__init__(f"{source}: {self.reason}" if source else self.reason)
        self.reasons, self.source = reasons, source

    def lines(self) -> list[str]:
        """One line for each mistake that was found at once."""
        return [f"{self.source}: {reason}" if self.source else reason for reason in self.reasons]


PUBLIC = (
    "plugins import from slotlab, slotlab.contracts, slotlab.metrics, slotlab.images and "
    "slotlab.composition, and nothing else of slotlab is sure to stay"
)
"""Where a plugin should look that imports something of slotlab that has moved."""


class ComponentError(SlotlabError, ValueError):
    """A component refuses its settings or its context.

    Raised by a component's `build` when its settings do not fit what surrounds it
    (a width, an image size, a missing file). `field` names the setting to change, so
    that the message can be shown with its line in the spec; None means the component.
    """

    def __init__(self, message: str, *, field: str | None = None):
        super().__init__(message)
        self.field = field


def describe(error: BaseException, path: Path | None = None) -> str:
    """Describe an exception of a component in one line, with the line of the file `path` that led to it."""
    text, line = str(error).partition("\nException raised from ")[0], None  # torch's frames in C++
    trace = error.__traceback__
    while trace is not None:
        if path is not None and Path(trace.tb_frame.f_code.co_filename).resolve() == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and path is not None and error.filename == str(path):
        text, line = error.msg, error.lineno
    if isinstance(error, ImportError) and str(error.name).startswith("slotlab."):
        text += f"; {PUBLIC}"
    where = f" (line {line})" if line else ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{where}"
