"""Every component that comes with slotlab, or stands in its documentation, keeps the laws of its kind."""

import ast
import re
from pathlib import Path

import pytest

from slotlab.framework.laws.kinds import LAWS
from slotlab.framework.laws.runner import check
from slotlab.framework.laws.selection import select
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.registry import KINDS

ROOT = Path(__file__).resolve().parents[3]
REGISTRY = load_registry()
FILES = {
    ("auxiliary", "attention_distill"),
    ("codec", "autoencoder_kl"),
    ("codec", "trained"),
    *(("dataset", name) for name in ("clevrtex", "clevrtex_flat", "coco_panoptic", "image_folder")),
    *(("dataset", name) for name in ("clevrer", "physion", "video_folder", "youtube_vis")),
    *(("dataset", name) for name in ("davis", "frame_folders", "movi", "multi_object_hdf5", "obj3d")),
    ("encoder", "trained"),
    ("metric", "lpips"),
    ("objective", "latent_noise"),
    ("objective", "token_cross_entropy"),
}
"""Components that need data, a run or weights; test_laws.py and their own tests make some for them."""

KNOWN = {("metric", "slotformer_ar"): "a perfect prediction has"}
"""What a published definition breaks: of objects with one box, as in noise, SlotFormer's recall finds one."""


def small_settings():
    """Return the settings of small instances, which test_laws.py keeps."""
    tree = ast.parse((ROOT / "tests" / "plugins" / "test_laws.py").read_text())
    (node,) = (
        one
        for one in tree.body
        if isinstance(one, ast.AnnAssign) and getattr(one.target, "id", "") == "SETTINGS"
    )
    return ast.literal_eval(node.value)


SETTINGS = small_settings()
SHIPPED = [item for item in REGISTRY.all() if (item.kind, item.component.name) not in FILES]


@pytest.mark.parametrize("item", SHIPPED, ids=[f"{item.kind}-{item.component.name}" for item in SHIPPED])
def test_a_shipped_component_keeps_the_laws(item):
    verdicts = check([item], REGISTRY, SETTINGS)
    failed = [str(one) for one in verdicts if one.state == "failed"]
    known = KNOWN.get((item.kind, item.component.name))
    assert [text for text in failed if known is None or known not in text] == []
    assert any(one.state == "passed" for one in verdicts)


def test_tokens_of_a_codec_that_is_trained_with_the_rest_keep_the_laws():
    key = ("objective", "token_cross_entropy")
    verdicts = check(
        [REGISTRY.find(*key)], REGISTRY, {key: {"codec": {"name": "dvae", "codes": 8, "width": 8}}}
    )
    assert [str(one) for one in verdicts if one.state == "failed"] == []
    passed = {one.law for one in verdicts if one.state == "passed"}
    assert {"what makes the target is trained", "it prepares by its generator"} <= passed
    (alone,) = [one for one in verdicts if one.law == "it prepares each image alone"]
    assert (alone.state, alone.reason) == ("skipped", "it draws, other numbers for an image alone")


def test_components_without_their_files_say_what_they_need():
    for kind, name in sorted(FILES):
        given = SETTINGS if kind == "dataset" else {}
        verdicts = check([REGISTRY.find(kind, name)], REGISTRY, given)
        (wrong,) = [one for one in verdicts if one.state == "failed"]
        assert wrong.law == "can be built"
        words = ("has no default", "needs 'backbone", "there is no ", "there are no files", "No such file")
        assert any(word in wrong.reason for word in words), wrong


def test_every_law_has_a_name_of_its_own_and_says_what_it_checks():
    assert set(LAWS) <= set(KINDS)
    for kind, laws in LAWS.items():
        assert len({law.name for law in laws}) == len(laws), kind
        names = [law.name for law in laws]
        for law in laws:
            assert law.check.__doc__
            assert law.repair
            assert all(name in [*names, "can be built"] for name in law.needs)


FENCE = re.compile(r"^```python file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIRST = ROOT / "docs" / "tutorials" / "first_plugin.md"
PAGES = [FIRST, *sorted((ROOT / "docs" / "how_to" / "plugins").glob("*.md"))]
WRITTEN = {name: text for page in PAGES for name, text in FENCE.findall(page.read_text())}
DOCUMENTED = {name: text for name, text in WRITTEN.items() if "@hookimpl" in text}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_documented_component_keeps_the_laws(name):
    Path(name).write_text(DOCUMENTED[name])
    registry, items = select([name])
    if name == "numpy_file.py":
        exec(WRITTEN["make_pictures.py"], {})
    given = {
        ("model", "mixture"): {"slots": 3},
        ("start", "published"): {"file": "published.pth"},
        ("dataset", "numpy_file"): {"file": "squares.npz"},
    }
    assert [str(one) for one in check(items, registry, given) if one.state == "failed"] == []


def test_the_broken_law_of_the_page_is_what_is_printed(slotlab):
    build = "        self.channels = width\n"
    text = DOCUMENTED["dilated_cnn.py"]
    assert text.count(build) == 1
    Path("dilated_cnn.py").write_text(text.replace(build, f"        self.spare = nn.Linear(2, 2)\n{build}"))
    code, out, _ = slotlab("check", "dilated_cnn.py")
    assert code == 1
    assert f"\n{out.splitlines()[0]}\n" in FIRST.read_text()


def test_the_cheap_half_calls_nothing_that_is_built():
    verdicts = check(REGISTRY.all(), REGISTRY, SETTINGS, cheap=True)
    assert [str(one) for one in verdicts if one.state == "failed"] == []
    assert {one.law for one in verdicts} == {
        "is described",
        "settings are documented",
        "settings are closed and frozen",
        "settings survive saving",
        "imports are found",
    }
