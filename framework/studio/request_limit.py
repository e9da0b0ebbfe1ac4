"""A limit on the bodies of requests: larger ones are refused before they are read into memory."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

LARGEST_BODY = 65_536
"""In bytes; the largest request of the page has about 10,000."""
PATIENCE = 2.0
"""Seconds for reading the rest of a refused body, so that its sender gets to read the answer."""


@dataclass
class BoundedBodies:
    """An ASGI application with a limit on the bodies of requests; larger ones get status 413."""

    app: Application
    headers: Mapping[str, str]
    """Headers of the refusal."""
    limit: int = LARGEST_BODY

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request: read its body if it is small enough, and pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = announced_length(scope["headers"])
        if announced is not None and announced > self.limit:
            await self._refuse(f"{announced:,} bytes", receive, send)
            return
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":  # the client has disconnected
                return
            body += message.get("body", b"")
            if len(body) > self.limit:
                await self._refuse(f"more than {self.limit:,} bytes", receive, send)
                return
            if not message.get("more_body", False):
                break
        await self.app(scope, replayed(bytes(body), receive), send)

    async def _refuse(self, size: str, receive: Receive, send: Send) -> None:
        detail = f"the body of this request has {size}; at most {self.limit:,} are read"
        text = json.dumps({"detail": detail}).encode()
        facts = {
            **self.headers,
            "Content-Type": "application/json",
            "Content-Length": str(len(text)),
            "Connection": "close",
        }
        headers = [(name.lower().encode(), value.encode()) for name, value in facts.items()]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": text, "more_body": True})
        with suppress(TimeoutError):
            await asyncio.wait_for(drop(receive), PATIENCE)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def announced_length(headers: Any) -> int | None:
    """Return the length of the body according to the headers; None if they do not have it."""
    texts = [value.decode("latin-1") for name, value in headers if name.lower() == b"content-length"]
    return int(texts[0]) if texts and texts[0].isascii() and texts[0].isdigit() else None


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a receiver that gives a body, which was read already, and then what comes after it."""
    waiting = [body]

    async def receive_again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return receive_again


async def drop(receive: Receive) -> None:
    """Read the rest of a body and discard it."""
    while True:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
