"""Worker processes for packing: each receives positions of items and returns their lines.

Processes are spawned, because a fork copies the locks of torch's threads. A worker ends when its connection
closes, so that none outlives its parent, however the parent ended.
"""

import multiprocessing
import pickle
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from slotlab.framework.data.source import Source
from slotlab.framework.data.store.format import Layout
from slotlab.framework.data.store.rows import Rows, pack_items
from slotlab.registry import SlotlabError
from slotlab.registry.errors import describe

Chunk = Sequence[int]
"""Positions of items that are packed together."""


@dataclass(frozen=True)
class PackJob:
    """What every worker receives when it starts."""

    source: Source
    folder: Path
    layout: Layout


def pack_chunks(job: PackJob, chunks: Sequence[Chunk], workers: int) -> Generator[list[bytes], None, None]:
    """Pack chunks, in any order, and yield the lines of each after its rows are on the disk.

    Args:
        job: what to pack, and where.
        chunks: the positions.
        workers: the number of processes; 0 packs in this one.

    Raises:
        WideLabels, SlotlabError, OSError: from `pack_items`.
        SlotlabError: if a worker was killed.
    """
    if workers == 0:
        with Rows(job.folder, job.layout, writable=True) as rows:
            for chunk in chunks:
                yield pack_items(job.source, rows, chunk)
        return
    content = pickled(job)
    with started(min(workers, len(chunks))) as pool:
        for worker in pool:
            worker.send_bytes(content)
        waiting = iter(chunks)
        busy = {worker.connection: worker for worker in pool if worker.give(waiting)}
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                answer = busy[connection].answer()
                if not busy[connection].give(waiting):
                    del busy[connection]
                yield answer


def pickled(job: PackJob) -> bytes:
    """Return a job as bytes.

    Raises:
        SlotlabError: if the dataset cannot be sent to another process.
    """
    try:
        return pickle.dumps(job)
    except Exception as error:  # pickle passes on whatever a third party's class raises
        text = f"the dataset cannot be sent to another process: {describe(error)}"
        raise SlotlabError(f"{job.source.name}: {text}; pack it with --workers 0") from error


@dataclass(frozen=True)
class Worker:
    """One worker process, seen from the parent."""

    process: SpawnProcess
    connection: Connection

    def send_bytes(self, content: bytes) -> None:
        """Send bytes; this may wait until the process has started.

        Raises:
            SlotlabError: if the process has ended.
        """
        try:
            self.connection.send_bytes(content)
        except OSError:
            raise self._ended() from None

    def give(self, waiting: Iterator[Chunk]) -> bool:
        """Send the next chunk; return whether there was one."""
        chunk = next(waiting, None)
        if chunk is not None:
            self.send_bytes(pickle.dumps(chunk))
        return chunk is not None

    def answer(self) -> list[bytes]:
        """Return the lines of a chunk, or raise the exception that the worker sends instead."""
        try:
            answer: list[bytes] | Exception = self.connection.recv()
        except (EOFError, OSError):
            raise self._ended() from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _ended(self) -> SlotlabError:
        self.process.join(5)
        code = self.process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
        hint = "if memory ran out, give fewer --workers; packing again goes on where it stopped"
        return SlotlabError(f"a worker process {how}; {hint}")


@contextmanager
def started(number: int) -> Iterator[list[Worker]]:
    """Start workers, and end them afterwards."""
    context = multiprocessing.get_context("spawn")
    pool: list[Worker] = []
    try:
        with no_interrupt():
            for _ in range(number):
                mine, its = context.Pipe()
                process = context.Process(target=work, args=(its,), daemon=True)
                process.start()
                its.close()
                pool.append(Worker(process, mine))
        yield pool
    finally:
        for worker in pool:
            worker.connection.close()
            worker.process.terminate()
        for worker in pool:
            worker.process.join()


@contextmanager
def no_interrupt() -> Iterator[None]:
    """Ignore Ctrl-C in the block, and for good in processes that it starts: only the parent handles it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: Any = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def work(connection: Connection) -> None:
    """Receive a job, then pack one chunk after another until the connection closes."""
    torch.set_num_threads(1)
    try:
        first = connection.recv_bytes()
        try:
            job = pickle.loads(first)
        except Exception as error:
            text = f"the dataset cannot be read in another process: {describe(error)}"
            connection.send(SlotlabError(f"{text}; pack it with --workers 0"))
            return
        with Rows(job.folder, job.layout, writable=True) as rows:
            while True:
                connection.send(answer(job, rows, connection.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent has ended, or needs nothing more


def answer(job: PackJob, rows: Rows[Layout], chunk: Chunk) -> list[bytes] | Exception:
    """Pack a chunk; return its lines, or the exception that it raised."""
    try:
        return pack_items(job.source, rows, chunk)
    except Exception as error:
        return error
