"""Files of weights are data: whatever a pickle says is not done. TorchScript is a program, and treated as one."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from slotlab.framework.contracts import EncoderContext, SetMetricContext
from slotlab.framework.metrics.image_sets import extractors
from slotlab.framework.metrics.image_sets.extractors import CleanInception
from slotlab.framework.runs.checkpoints import Checkpoint, checksum
from slotlab.registry import ComponentError, Ref, Registry, SlotlabError

IMAGES = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)


class Payload:
    """Does something as soon as it is unpickled."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def evil(tmp_path: Path) -> bytes:
    file = io.BytesIO()
    torch.save({"format": 1, "state_dict": {"a": torch.zeros(1)}, "x": Payload(tmp_path / "trace")}, file)
    return file.getvalue()


def build(registry: Registry, kind: str, name: str, context: Any, **settings: Any) -> Any:
    found = registry.find(kind, name)
    assert found is not None
    return Ref(found, found.component.config.model_validate(settings)).build(context)


def test_no_reader_of_weights_does_what_a_pickle_says(
    registry: Registry, tmp_path: Path, evil: bytes
) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(evil)
    saved = tmp_path / "saved.pt"
    saved.write_bytes(evil)
    facts = {"model": "test_resnet", "weights": weights}
    with pytest.raises(ComponentError, match="cannot be read"):
        build(registry, "encoder", "timm", EncoderContext(image_size=(64, 64)), **facts)
    metric = build(
        registry, "set_metric", "frechet_timm", SetMetricContext(device=torch.device("cpu")), **facts
    )
    with pytest.raises(SlotlabError, match="does not fit"):
        metric.features(IMAGES)
    with pytest.raises(SlotlabError, match="cannot be read"):
        Checkpoint(saved, 1, checksum(evil)).read()
    assert not (tmp_path / "trace").exists()


def test_a_program_that_another_user_left_in_a_shared_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extractors, "inception_folder", lambda: tmp_path)
    path = tmp_path / extractors.INCEPTION
    path.write_text("x")
    owner = path.stat().st_uid
    assert owner in extractors.owners()
    monkeypatch.setattr(extractors, "owners", lambda: (owner + 1,))
    with pytest.raises(SlotlabError, match="belongs to another user"):
        CleanInception(None, torch.device("cpu"))(IMAGES)
    with pytest.raises(SlotlabError, match="is not clean-fid's Inception"):
        CleanInception(path, torch.device("cpu"))(IMAGES)
