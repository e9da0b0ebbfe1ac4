"""Nothing private leaves with a pushed run: whatever its files hold, and whoever wrote them."""

import csv
import io
import json
import os
import shutil
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import slotlab
from slotlab.framework.runs.checkpoints import Checkpoints, checksum
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.transfer.clean_checkpoint import clean_checkpoint
from slotlab.framework.transfer.private import Privacy
from slotlab.registry import SlotlabError

FINISHED = Path(__file__).resolve().parents[1] / "fixtures" / "before_the_move" / "finished"
NAME, HOST, SECRET = "zebedee", "magicroundabout", "correct-horse-battery"
TOKENS = (f"hf_{'Ab3' * 11}", "AKIAABCDEFGHIJKLMNOP", f"ghp_{'a1B2' * 9}", f"sk-{'x9' * 15}", SECRET)
Slotlab = Callable[..., tuple[int, str, str]]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Texts that must not leave: of this user, this machine and its environment."""
    home = tmp_path / "home" / NAME
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USER", NAME)
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setattr(socket, "gethostname", lambda: f"{HOST}.example.org")
    return (
        f"{home}/runs/x",
        f"made by {NAME} on {HOST}",
        f"slotlab train {home}/spec.yaml --set data.dataset.root=/data/{NAME}/clevrtex",
        "/mnt/secretdisk/clevrtex",
        f"{NAME}@{HOST}:/srv/secretdisk",
        f"http://{NAME}:{SECRET}@10.0.0.7:5000/secretdisk",
        "/home/dougal/secretdisk",
        "api_key=dougalsecretdisk",
        *TOKENS,
    )


FORBIDDEN = (NAME, HOST, SECRET, "secretdisk/", "/mnt/", "dougal", "10.0.0.7", *TOKENS)
"""What a scan of everything that was pushed must not find. `secretdisk` alone may stay: a path's last name does."""


def plant_data(value: Any, texts: tuple[str, ...]) -> Any:
    deep = [{"a": {"b": list(texts), texts[2]: 1}}]
    return {**value, "planted": list(texts), texts[0]: texts[1], "deep": deep, "token": "plain words"}


def plant_png(data: bytes, texts: tuple[str, ...]) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    text = " ".join(texts)
    extra = chunk(b"tEXt", b"Comment\0" + text.encode("latin-1"))
    extra += chunk(b"zTXt", b"Author\0\0" + zlib.compress(text.encode()))
    extra += chunk(b"iTXt", b"Path\0\0\0\0\0" + text.encode()) + chunk(b"eXIf", text.encode())
    extra += chunk(b"iCCP", f"{NAME}\0\0".encode() + zlib.compress(text.encode()))
    return data[:33] + extra + data[33:] + text.encode()


def plant_checkpoint(path: Path, texts: tuple[str, ...]) -> Path:
    state = torch.load(path, weights_only=True)
    log = zlib.decompress(state["log"].numpy().tobytes()) + json.dumps({"kind": texts, "step": 1}).encode()
    state["log"] = torch.frombuffer(bytearray(zlib.compress(log)), dtype=torch.uint8)
    state["note"] = {"who": list(texts), texts[0]: (texts[1],)}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = texts[1].encode()
        archive.writestr("archive/notes.txt", " ".join(texts))
    data = buffer.getvalue()
    new = path.with_name(f"step-{state['step']:09d}-{checksum(data)}.pt")
    path.unlink()
    new.write_bytes(data)
    best = path.with_name("best.json")
    best.write_text(best.read_text().replace(path.name, new.name))
    return new


@pytest.fixture
def run(tmp_path: Path, planted: tuple[str, ...]) -> Path:
    """A run with private texts in every file but its code."""
    run = tmp_path / "home" / NAME / "runs" / "one"
    shutil.copytree(FINISHED, run)
    (run / "figures").mkdir()
    shutil.copy(next(run.glob("compositions/*/grid.png")), run / "figures" / "loss.png")
    (run / "figures" / "loss.pdf").write_bytes(" ".join(planted).encode())
    shutil.copytree(run / "compositions", run / "compositions" / f"of-{NAME}")
    for name in (
        "notes.txt",
        "wandb/run.log",
        "tensorboard/events",
        "trackers.json",
        "failure.json",
        "evaluation/x.npz",
    ):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text(json.dumps(planted))
    for path in sorted(run.rglob("*")):
        if path.suffix == ".json" and path.name not in ("best.json", "trackers.json", "failure.json"):
            path.write_text(json.dumps(plant_data(json.loads(path.read_text()), planted)))
        elif path.suffix == ".jsonl":
            line = {"kind": "train", "step": 1, "note": list(planted)}
            path.write_text(path.read_text() + json.dumps(line) + "\n")
        elif path.suffix == ".csv":
            rows = list(csv.reader(io.StringIO(path.read_text())))
            with path.open("a", newline="") as file:
                csv.writer(file).writerows(
                    [*(text for text in planted), *rows[-1]][: len(rows[-1])] for _ in range(2)
                )
                csv.writer(file).writerows([text, *rows[-1][1:]] for text in planted)
        elif path.suffix == ".png":
            path.write_bytes(plant_png(path.read_bytes(), planted))
        elif path.suffix == ".pt":
            plant_checkpoint(path, planted)
    spec = (run / "spec.yaml").read_text()
    places = f"  stores: {planted[0]}\n"
    spec = spec.replace("  stores: null\n", places).replace(
        "notes: ''", f"notes: {json.dumps(' '.join(planted))}"
    )
    assert planted[0] in spec
    (run / "spec.yaml").write_text(spec)
    return run


def contents_of(path: Path) -> list[bytes]:
    """Return a file as a scan sees it: its bytes, and all that is compressed in it."""
    data = path.read_bytes()
    found = [data, path.name.encode()]
    if path.suffix == ".pt":
        with zipfile.ZipFile(path) as archive:
            found += [archive.comment, *map(archive.read, archive.namelist())]
            found += [name.encode() for name in archive.namelist()]
        state = torch.load(path, weights_only=True)
        found += [zlib.decompress(state["log"].numpy().tobytes()), repr(state.get("note")).encode()]
    if path.suffix == ".png":
        at = 8
        while at < len(data):
            (length,) = struct.unpack(">I", data[at : at + 4])
            found.append(data[at + 4 : at + 8])
            at += 12 + length
        assert at == len(data), "nothing follows the end of a picture"
    return found


def test_nothing_private_is_sent(run: Path, planted: tuple[str, ...], tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert sum(NAME.encode() in content for content in before.values()) > 15, "the texts are planted"
    sent = slotlab.push(run, shared, checkpoint=["last", "best"])
    files = [path for path in shared.rglob("*") if path.is_file()]
    kinds = {path.suffix for path in files}
    assert kinds == {".json", ".jsonl", ".csv", ".png", ".pt", ".py", ".yaml", ".md"}
    found = [
        (path.relative_to(shared).as_posix(), text)
        for path in files
        for content in contents_of(path)
        for text in FORBIDDEN
        if text.encode() in content
    ]
    assert found == []
    assert any("has another hash than the run's" in note for note in sent["notes"])
    assert any(note.startswith("not sent: ") and "x.npz" in note for note in sent["notes"])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert not os.environ.keys() & set(" ".join(path.name for path in files).split())


def test_what_was_cleaned_still_works(run: Path, tmp_path: Path, slotlab_: Slotlab) -> None:
    for file in run.rglob("*.csv"):  # the rows that were planted are no rows of images
        shutil.copy(FINISHED / file.relative_to(run), file)
    slotlab.push(run, tmp_path / "shared")
    pulled = slotlab.pull(tmp_path / "shared", "pulled")
    mine, theirs = RunFolder(run).load_weights(), RunFolder(pulled).load_weights()
    assert all(torch.equal(mine.model[name], theirs.model[name]) for name in mine.model)
    [one] = Checkpoints(pulled / "checkpoints").all()
    assert one.read()["log_bytes"] == len(zlib.decompress(one.read()["log"].numpy().tobytes()))
    code, _, err = slotlab_("evaluate", pulled, "--trust", "--device", "cpu", "--no-figures")
    assert code == 0, err
    assert "data.stores" in err
    assert "was left out when the run was pushed" in err
    code, _, err = slotlab_("compare", pulled, "--checkpoint", "last")
    assert code == 0, err


@pytest.fixture
def slotlab_(slotlab: Slotlab) -> Slotlab:
    """The command; the module has its name here."""
    return slotlab


@pytest.mark.parametrize(
    "text", [f"# of {NAME}", "x = '/home/dougal/x'", f"KEY = '{TOKENS[0]}'", f"# {HOST}"]
)
def test_code_is_sent_as_it_is_or_not_at_all(text: str, run: Path, tmp_path: Path) -> None:
    [plugin] = (run / "plugins").glob("*.py")
    plugin.write_text(f"{plugin.read_text()}\n{text}\n")
    line = plugin.read_text().count("\n")
    with pytest.raises(SlotlabError) as error:
        slotlab.push(run, tmp_path / "shared")
    assert str(error.value).startswith(f"{plugin}:{line}: ")
    assert "nothing was sent. Give --code-as-is" in str(error.value)
    assert not (tmp_path / "shared").exists()
    slotlab.push(run, tmp_path / "shared", code_as_is=True)
    assert (tmp_path / "shared" / "plugins" / plugin.name).read_bytes() == plugin.read_bytes()


def test_words_of_the_experiment_stay_if_a_user_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "scenes")
    monkeypatch.setattr(socket, "gethostname", lambda: "slot_attention")
    shutil.copytree(FINISHED, "run")
    slotlab.push("run", "shared")
    name = "evaluation/scenes-val-whole-attention/summary.json"
    assert Path("shared", name).read_bytes() == Path("run", name).read_bytes()
    assert RunFolder(Path("shared")).read_spec() == RunFolder(Path("run")).read_spec()


def test_code_that_was_pulled_is_run_only_as_trust_allows(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slotlab_: Slotlab
) -> None:
    slotlab.push(trained, "memory://trust/run", figures=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("SLOTLAB_TEST_TRACE", str(tmp_path / "trace"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for words in (
        ("evaluate", "memory://trust/run", "--no-figures"),
        ("compose", "memory://trust/run", "--mode", "slots"),
        ("probe", "memory://trust/run"),
        ("studio", "memory://trust/run"),
    ):
        code, _, err = slotlab_(*words, "--device", "cpu")
        assert code == 1
        assert "came with a run that is not known to be yours" in err
        assert str(tmp_path / "cache" / "slotlab" / "runs") in err
    assert slotlab_("compare", "memory://trust/run")[0] == 0
    assert slotlab_("report", "memory://trust/run", "--out", "report.html")[0] == 0
    assert not (tmp_path / "trace").exists(), "no code was run"
    code, _, err = slotlab_("evaluate", "memory://trust/run", "--no-figures", "--device", "cpu", "--trust")
    assert code == 0, err
    assert (tmp_path / "trace").exists()
    assert slotlab.open_run("memory://trust/run", device="cpu").step == 1


@pytest.mark.parametrize("place", ["log", "note", "nowhere"])
def test_a_checkpoint_is_clean_wherever_the_one_private_text_is(
    planted: tuple[str, ...], tmp_path: Path, place: str
) -> None:
    text, plain = planted[1], "the loss falls"
    log = json.dumps({"kind": "note", "text": text if place == "log" else plain}).encode() + b"\n"
    packed = torch.frombuffer(bytearray(zlib.compress(log)), dtype=torch.uint8)
    state = {"step": 1, "log": packed, "log_bytes": len(log), "note": text if place == "note" else plain}
    one = Checkpoints(tmp_path).save(state, keep=1)
    clean = clean_checkpoint(one, Privacy.of_process())
    assert (clean.data is None) == (place == "nowhere")
    if clean.data is not None:
        found = torch.load(io.BytesIO(clean.data), weights_only=True)
        left = zlib.decompress(found["log"].numpy().tobytes()).decode() + found["note"]
        assert NAME not in left
        assert plain in left
