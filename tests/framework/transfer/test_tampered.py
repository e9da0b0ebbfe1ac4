"""What is not as it was pushed is refused by its name, and a manifest names nothing outside of its folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import slotlab
from slotlab.registry import SlotlabError

ELSEWHERE = (
    "../spec.yaml",
    "/etc/passwd",
    "plugins/../../x.py",
    "plugins\\..\\x.py",
    "~/x",
    ".ssh/authorized_keys",
    "plugins/.hidden.py",
    "run.sh",
    "plugins//x.py",
    "plugins/\nx.py",
    "",
)


@pytest.fixture
def shared(run: Path) -> Path:
    slotlab.push(run, "shared")
    return Path("shared")


def test_a_changed_file_is_refused_by_its_name(shared: Path) -> None:
    names = list(json.loads((shared / "manifest.json").read_text())["files"])
    assert len(names) > 10
    for name in names:
        path = shared / name
        content = path.read_bytes()
        for changed in (bytes([content[0] ^ 1]) + content[1:], content[:-1], content + b"x", b""):
            path.write_bytes(changed)
            with pytest.raises(SlotlabError) as error:
                slotlab.pull("shared", "there")
            assert str(error.value).startswith(f"shared: {name} is not as manifest.json says: it")
            assert not Path("there").exists()
        path.unlink()
        with pytest.raises(SlotlabError, match=f"shared: {name} is missing"):
            slotlab.pull("shared", "there")
        path.write_bytes(content)
        shutil.rmtree(*Path().glob(".there.*"))  # else what was right is not fetched again
    assert slotlab.pull("shared", "there").is_dir()


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_manifest_names_no_file_elsewhere(name: str, shared: Path, tmp_path: Path) -> None:
    manifest: dict[str, Any] = json.loads((shared / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": "0" * 64, "size": 1}
    (shared / "manifest.json").write_text(json.dumps(manifest))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(SlotlabError, match="no run has a file"):
        slotlab.pull("shared", "there")
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object"),
        ('{"format": 1, "name": "x"}', "manifest.json: files"),
        ('{"format": 9, "name": "x", "files": {}}', "this is format 9, and slotlab reads 1"),
        ('{"format": 1, "name": "../x", "files": {}}', "manifest.json: name"),
        ('{"format": 1, "name": "x", "files": {"spec.yaml": {"sha256": "abc", "size": 1}}}', "sha256"),
    ],
)
def test_a_manifest_that_is_none(content: str, reason: str, shared: Path) -> None:
    (shared / "manifest.json").write_text(content)
    with pytest.raises(SlotlabError, match=reason):
        slotlab.pull("shared", "there")


def test_a_place_that_was_damaged_is_repaired(run: Path, shared: Path) -> None:
    (shared / "spec.yaml").write_text("name: another\n")
    with pytest.raises(SlotlabError, match=r"spec.yaml is not as .* again with --overwrite"):
        slotlab.pull("shared", "there")
    slotlab.push(run, "shared", overwrite=True)
    assert slotlab.pull("shared", "there").is_dir()
