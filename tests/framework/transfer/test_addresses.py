"""Addresses that cannot be are refused in words, with what would be right; no traceback, and no network."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import slotlab
from slotlab.framework.transfer.address import Address
from slotlab.registry import SlotlabError

Slotlab = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("gs://bucket/run", "no address begins with gs:// (known: file://, memory://, hf://, s3://"),
        ("sshh://host/run", "begins with sshh://; did you mean 'ssh'?"),
        ("", "an address of a run is empty"),
        ("s3://", "s3://: it names no folder; write s3://BUCKET/FOLDER"),
        ("file://shared", "a file:// address has an absolute path"),
        ("ssh://me:secret@host/run", "ssh://…: a password in an address is seen by others"),
        ("ssh://host", "it names no folder; write ssh://USER@HOST/FOLDER"),
        ("ssh://host:x/run", "the port 'x' is no number"),
        ("hf://name", "it names no repository; write hf://OWNER/NAME"),
        ("hf://datasets/me/name", "runs lie in model repositories, not in datasets"),
    ],
)
def test_what_is_no_address(text: str, reason: str, run: Path, slotlab: Slotlab) -> None:
    for words in (("push", run, text), ("pull", text)):
        code, out, err = slotlab(*words)
        assert (code, out) == (1, "")
        assert reason in err
        assert "secret" not in err


@pytest.mark.parametrize("private", [True, False])
def test_a_pull_prints_the_next_command(run: Path, private: bool, slotlab: Slotlab) -> None:
    spec = yaml.safe_load((run / "spec.yaml").read_text())
    if private:
        spec["data"]["dataset"] = {"name": "image_folder", "images": "/home/me/pictures"}
        (run / "spec.yaml").write_text(yaml.safe_dump(spec))
    assert slotlab("push", run, "shared", "--no-evaluations")[0] == 0
    code, out, err = slotlab("pull", "shared", "the run")
    data = " --set data.dataset.images=FOLDER" if private else ""
    assert (code, out) == (0, f"the run\nnext: slotlab evaluate 'the run'{data}\n"), err
    _, out, _ = slotlab("pull", "shared", "the run", "--json", "-")
    assert json.loads(out) == {"run": "the run", "next": f"slotlab evaluate 'the run'{data}"}


def test_schemes_are_read() -> None:
    assert Address.parse("HF://me/run/") == Address("HF://me/run/", "hf", "me/run")
    assert Address.parse("shared/run").rest == str(Path("shared/run").absolute())


@pytest.mark.parametrize("address", ["nowhere", "memory://nowhere"])
def test_where_no_run_is(address: str) -> None:
    for ask in (slotlab.pull, *([slotlab.open_run, slotlab.compare] if "://" in address else [])):
        with pytest.raises(SlotlabError, match=f"{address}: there is no pushed run"):
            ask(address)


@pytest.mark.parametrize(
    ("module", "address", "extra"),
    [
        ("s3fs", "s3://bucket/run", "s3"),
        ("sshfs", "ssh://host/run", "ssh"),
        ("huggingface_hub", "hf://me/run", "hub"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    module: str, address: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        SlotlabError, match=rf"needs {module}; it comes with: pip install 'slotlab\[{extra}\]'"
    ):
        slotlab.pull(address)


def test_a_folder_that_may_not_be_written_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.local import LocalFileSystem

    def denied(*given: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LocalFileSystem, "makedirs", denied)
    with pytest.raises(SlotlabError, match="shared: permission denied"):
        slotlab.push(run, "shared")
