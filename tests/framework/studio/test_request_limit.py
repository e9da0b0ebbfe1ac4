"""What comes after a request's headers is bounded: refused with 413 before it is in memory."""

import asyncio
import socket
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest

from slotlab.framework.studio import request_limit
from slotlab.framework.studio.request_limit import LARGEST_BODY, BoundedBodies

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

MEGABYTE = 2**20


def in_a_thread(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in a loop of its own: the browser of other tests keeps one running in this thread."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


class Echo:
    """An application that answers with the length of the body that it was given."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        assert message.get("more_body") is False
        self.given.append(message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        self.after = await receive()


class Client:
    """Sends a body in chunks, and counts those that were taken."""

    def __init__(self, chunks: list[bytes], headers: dict[str, str], ending: str = "http.disconnect"):
        self.chunks, self.taken, self.sent, self.ending = chunks, 0, [], ending  # type: ignore[var-annotated]
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        self.scope = {"type": "http", "method": "POST", "path": "/", "headers": raw}

    async def receive(self) -> dict[str, Any]:
        if self.taken == len(self.chunks):
            return {"type": self.ending}
        self.taken += 1
        more = self.taken < len(self.chunks)
        return {"type": "http.request", "body": self.chunks[self.taken - 1], "more_body": more}

    async def send(self, message: Any) -> None:
        self.sent.append((self.taken, message))

    def ask(self, **options: Any) -> Echo:
        echo = Echo()
        in_a_thread(
            BoundedBodies(echo, headers={"X-One": "1"}, **options)(self.scope, self.receive, self.send)
        )
        return echo

    @property
    def status(self) -> int:
        return cast(int, self.sent[0][1]["status"])

    @property
    def text(self) -> bytes:
        return b"".join(message.get("body", b"") for _, message in self.sent[1:])


@pytest.mark.parametrize("sizes", [[0], [1], [10, 0, 20], [LARGEST_BODY], [LARGEST_BODY - 1, 1]])
def test_small_bodies_are_handed_on_whole(sizes: list[int]) -> None:
    chunks = [bytes([number]) * size for number, size in enumerate(sizes)]
    client = Client(chunks, {})
    echo = client.ask()
    assert echo.given == [b"".join(chunks)]
    assert echo.after == {"type": "http.disconnect"}
    assert client.status == 200


def test_an_announced_length_is_refused_before_anything_is_read() -> None:
    client = Client([b"x"] * 5, {"content-length": str(200 * MEGABYTE)})
    assert client.ask().given == []
    taken, start = client.sent[0]
    assert (taken, client.status) == (0, 413)
    assert client.text == (
        b'{"detail": "the body of this request has 209,715,200 bytes; at most 65,536 are read"}'
    )
    headers = dict(start["headers"])
    assert headers[b"x-one"] == b"1"
    assert headers[b"content-length"] == str(len(client.text)).encode()
    assert headers[b"connection"] == b"close"


def test_a_body_without_a_length_is_refused_as_soon_as_it_is_too_large() -> None:
    client = Client([b"x" * 50_000] * 1_000, {"transfer-encoding": "chunked"})
    assert client.ask().given == []
    assert (client.sent[0][0], client.status) == (2, 413)
    assert client.text == (
        b'{"detail": "the body of this request has more than 65,536 bytes; at most 65,536 are read"}'
    )


def test_a_body_that_is_larger_than_announced_is_refused() -> None:
    client = Client([b"x" * 50_000] * 3, {"content-length": "10"})
    assert client.ask().given == []
    assert client.status == 413


@pytest.mark.parametrize("text", ["many", "-1", "²", ""])
def test_a_length_that_is_no_number_bounds_nothing(text: str) -> None:
    client = Client([b"x"], {})
    client.scope["headers"] = [(b"content-length", text.encode("latin-1", "replace"))]
    assert client.ask().given == [b"x"]


def test_a_client_that_goes_away_gets_no_answer() -> None:
    client = Client([], {})
    assert client.ask().given == []
    assert client.sent == []


def test_the_rest_of_a_refused_body_is_dropped_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limit, "PATIENCE", 0.05)

    class Endless(Client):
        async def receive(self) -> dict[str, Any]:
            await asyncio.sleep(0.001)
            self.taken += 1
            return {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    client = Endless([], {})
    begun = time.monotonic()
    client.ask()
    assert client.status == 413
    assert time.monotonic() - begun < 5


def test_other_protocols_pass() -> None:
    client = Client([], {})
    client.scope["type"] = "lifespan"
    passed = []

    async def note(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["type"])

    in_a_thread(BoundedBodies(note, headers={})(client.scope, client.receive, client.send))
    assert passed == ["lifespan"]


# --- a server ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The studio's own server without a run: whatever is refused needs none."""
    import uvicorn

    from slotlab.framework.studio.app import create_app
    from slotlab.framework.studio.serve import listen

    listener = listen("127.0.0.1", 0)
    app = create_app(cast(Any, SimpleNamespace(clips=None)), hosts=["127.0.0.1"])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(10)
    listener.close()


def answer(port: int, headers: str, body: bytes, *, times: int = 1) -> tuple[bytes, int]:
    """Send a body over and over while it is taken; return the answer and how many bytes were taken."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        head = f"POST /api/compose HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{headers}\r\n\r\n"
        client.sendall(head.encode())
        taken, found = 0, b""
        try:
            for _ in range(times):
                client.sendall(body)
                taken += len(body)
            while chunk := client.recv(65536):
                found += chunk
        except OSError:  # closed while we send: what was answered may still be there
            pass
        return found, taken


def test_200_megabytes_that_are_announced(port: int) -> None:
    found, _ = answer(port, f"Content-Length: {200 * MEGABYTE}", b"", times=0)
    assert found.startswith(b"HTTP/1.1 413 ")
    assert b"209,715,200 bytes; at most 65,536 are read" in found
    assert b"content-security-policy" in found.lower()


def test_megabytes_that_are_sent_are_answered_all_the_same(port: int) -> None:
    found, taken = answer(port, f"Content-Length: {8 * MEGABYTE}", b"x" * MEGABYTE, times=8)
    assert taken == 8 * MEGABYTE
    assert found.startswith(b"HTTP/1.1 413 ")


def test_chunks_without_an_end(port: int) -> None:
    chunk = f"{MEGABYTE:x}\r\n".encode() + b"x" * MEGABYTE + b"\r\n"
    found, _ = answer(port, "Transfer-Encoding: chunked", chunk, times=3)
    assert found.startswith(b"HTTP/1.1 413 ")
    assert b"more than 65,536 bytes" in found


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 60_000, b"4"),
        (b'{"slots": ' + b"9" * 6_000 + b"}", b"4"),
        (b'{"slots": [{"image": ' + b"9" * 6_000 + b', "slot": 0}]}', b"4"),
        (b'{"slots": [' + b'{"image": 0, "slot": 0},' * 2_000 + b'{"image": 0, "slot": 0}]}', b"4"),
        (b'{"slots": [{' + b",".join(b'"%d": 0' % key for key in range(5_000)) + b"}]}", b"4"),
        (b"--x\r\n" * 10_000, b"4"),
        (b"\xff\xfe", b"4"),
        (b"", b"4"),
    ],
    ids=["nested", "number", "position", "picks", "keys", "parts", "bytes", "nothing"],
)
def test_small_bodies_that_are_hard_to_read_are_answered(port: int, body: bytes, status: bytes) -> None:
    begun = time.monotonic()
    found, _ = answer(port, f"Connection: close\r\nContent-Length: {len(body)}", body)
    assert found.startswith(b"HTTP/1.1 " + status), found[:300]
    assert len(found) < 4_000
    assert time.monotonic() - begun < 5
