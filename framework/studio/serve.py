"""Serve the page at an address until Ctrl-C."""

import ipaddress
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from importlib.util import find_spec

from slotlab.framework.studio.studio import Studio
from slotlab.registry import SlotlabError

BACKLOG = 128
"""How many connections may wait to be accepted."""


def require_libraries() -> None:
    """Check that the libraries of the extra `studio` are installed.

    Raises:
        SlotlabError: if they are not, with the command that installs them.
    """
    missing = [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]
    if missing:
        raise SlotlabError(f"the studio needs {' and '.join(missing)}: pip install 'slotlab[studio]'")


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at the address; port 0 takes a free one.

    Connections made before the server starts wait for it instead of being refused.

    Raises:
        SlotlabError: if the port is in use, or the host is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(BACKLOG)
    except OSError as error:
        found.close()
        reason = error.strerror or str(error)
        raise SlotlabError(
            f"cannot listen at {host}:{port} ({reason}); try another --port or --host"
        ) from None
    return found


def serve(studio: Studio, *, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C or SIGTERM; `tell` receives its address.

    Raises:
        SlotlabError: if it cannot listen at the address.
    """
    import uvicorn

    from slotlab.framework.studio.app import create_app

    with closing(listen(host, port)) as listener:
        number = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        hosts = [host, "localhost", "127.0.0.1", "[::1]"] if is_loopback(host) else ["*"]
        config = uvicorn.Config(create_app(studio, hosts=hosts), log_level="warning", lifespan="off")
        tell(f"http://{shown}:{number}")
        with suppress(KeyboardInterrupt):  # uvicorn raises it again after closing its connections
            uvicorn.Server(config).run(sockets=[listener])
