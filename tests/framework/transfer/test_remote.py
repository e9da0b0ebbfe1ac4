"""Runs in a bucket of S3 and on a machine with SSH: servers of this machine, which PyPI brings."""

import asyncio
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import slotlab
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.transfer.address import Address
from slotlab.framework.transfer.folder_store import FolderStore
from slotlab.registry import SlotlabError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a local S3."""
    server_of: Any = pytest.importorskip("moto.server")
    boto3: Any = pytest.importorskip("boto3")
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3").create_bucket(Bucket="runs")
    yield "s3://runs"
    server.stop()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A machine with SSH: its address, and the line that `known_hosts` has of it."""
    asyncssh: Any = pytest.importorskip("asyncssh")
    key = asyncssh.generate_private_key("ssh-ed25519")
    loop = asyncio.new_event_loop()

    class Open(asyncssh.SSHServer):  # type: ignore[misc]
        def begin_auth(self, username: str) -> bool:
            return False

    async def serve() -> Any:
        return await asyncssh.create_server(Open, "127.0.0.1", 0, server_host_keys=[key], sftp_factory=True)

    # All of it runs in a thread of its own: a browser that a test before this one opened has a loop in this one.
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(serve(), loop).result()
    port = server.sockets[0].getsockname()[1]
    public = key.export_public_key().decode().strip()
    yield f"ssh://me@127.0.0.1:{port}{tmp_path}/remote", f"[127.0.0.1]:{port} {public}\n"

    async def end() -> None:
        server.close()
        await server.wait_closed()

    asyncio.run_coroutine_threadsafe(end(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    gc.collect()  # what the libraries leave open is told now, where warnings of it are ignored


def check(address: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Push, push again, replace, go on after an error, pull, and refuse what was changed."""
    with pytest.raises(SlotlabError, match="there is no pushed run"):
        slotlab.pull(address, "there")
    send, names = FolderStore.send, []

    def frail(self: FolderStore, name: str, item: Any) -> None:
        if len(names) == 4:
            names.append("cut")
            raise SlotlabError("the line is cut")
        names.append(name)
        send(self, name, item)

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "send", frail)
        with pytest.raises(SlotlabError, match="the line is cut"):
            slotlab.push(run, address)
        with pytest.raises(SlotlabError, match="there is no pushed run"):
            slotlab.pull(address, "there")
        before = set(names[:4])
        slotlab.push(run, address)
        assert not (before - {"unfinished.json"}) & set(names[5:]), "what was sent is not sent again"
    assert slotlab.push(run, address)["sent"] == 0
    slotlab.push(run, address, figures=False, overwrite=True)
    found = slotlab.pull(address, "there")
    assert not list(found.rglob("*.png"))
    assert RunFolder(found).load_weights().step == 108
    store = FolderStore.open(Address.parse(address))
    store.fs.pipe_file(store.path("spec.yaml"), b"name: another\n")
    with pytest.raises(SlotlabError, match=f"{address}: spec.yaml is not as manifest.json says"):
        slotlab.pull(address, "again")


def test_a_bucket(bucket: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(f"{bucket}/mine/run", run, monkeypatch)
    with pytest.raises(SlotlabError, match="s3://nowhere/run"):
        slotlab.push(run, "s3://nowhere/run")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(SlotlabError, match="s3://runs/other cannot be read or written: "):
        slotlab.pull("s3://runs/other")


def test_a_machine_with_ssh(host: tuple[str, str], run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address, line = host
    with pytest.raises(SlotlabError, match="Host key is not trusted"):
        slotlab.push(run, address)
    known = Path(os.environ["HOME"], ".ssh", "known_hosts")
    known.parent.mkdir(mode=0o700)
    known.write_text(line)
    check(address, run, monkeypatch)
