"""Libraries that only some components need."""

from importlib.util import find_spec

from slotlab.registry import ComponentError


def require(library: str, install: str) -> None:
    """Refuse to build a component whose library is not installed. Does not import the library.

    Raises:
        ComponentError: with the command that installs it.
    """
    if find_spec(library) is None:
        raise ComponentError(f"needs the package {library}, which is not installed: pip install '{install}'")
