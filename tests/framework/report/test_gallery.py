"""Pictures in the page: which run stands for an arm, what is read, and how much it may take."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from slotlab.framework.compare.comparison import compare_paths
from slotlab.framework.report import gallery as module
from slotlab.framework.report.gallery import gallery, middle, ranked_by


@pytest.fixture
def made(study):
    folder = study(arms=2, seeds=3, images=8, pictures=True)
    return compare_paths([folder])


def decoded(picture):
    head, _, data = picture.uri.partition(",")
    assert head == "data:image/png;base64"
    return base64.b64decode(data)


def test_every_arm_shows_the_same_images_by_its_median_run(made):
    found = gallery(made)
    assert [frame.id for frame in found.frames] == [f"{i:06d}" for i in range(8)]
    for frame in found.frames:
        assert [tile.arm for tile in frame.tiles] == [0, 1]
        for tile in frame.tiles:
            members = sorted(made.arms[tile.arm].members, key=lambda one: one.evaluation.values["ari"])
            samples = members[1].evaluation.folder / "samples"
            wanted = [
                (samples / f"{frame.id}-{name}.png").read_bytes() for name in ("reconstruction", "predicted")
            ]
            assert [decoded(picture) for picture in tile.pictures] == wanted
    assert not found.left_out


def test_each_role_has_its_own_images(made):
    extremes = gallery(made).extremes
    assert [extreme.arm for extreme in extremes] == [0, 1]
    for extreme in extremes:
        ids = {role: [tile.score.split(" ")[0] for tile in tiles] for role, tiles in extreme.groups.items()}
        assert ids == {
            "best": ["000008", "000009"],
            "median": ["000010", "000011"],
            "worst": ["000012", "000013"],
        }


def test_images_are_captioned_by_the_metric_that_ranked_them(study):
    entry = {"metrics": {"mask_only": None, "ari": 0.25, "fg_ari": 0.5}}
    assert ranked_by(entry, "fg_ari") == "ari 0.250 · fg_ari 0.500"
    assert ranked_by(entry, "ari") == "ari 0.250"
    assert ranked_by({"metrics": {"ari": None}}, "ari") == ""


def test_the_median_run_is_the_lower_one_of_two_and_any_without_values(made):
    members = made.arms[0].members
    ordered = sorted(members, key=lambda one: one.evaluation.values["ari"])
    assert middle(members, "ari") is ordered[1]
    assert middle(ordered[:2], "ari") is ordered[0]
    assert middle(members, "no such metric") is members[0]


def samples_of_median(made, arm=0):
    return middle(made.arms[arm].members, "ari").evaluation.folder / "samples"


def change_index(folder, change):
    index = json.loads((folder / "index.json").read_text())
    for entry in index:
        change(entry)
    (folder / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("name", ["../../../spec.yaml", "/etc/hostname", "..", "gone.png"])
def test_files_outside_of_the_samples_are_never_read(made, name):
    change_index(samples_of_median(made), lambda entry: entry["files"].update(reconstruction=name))
    tiles = [tile for frame in gallery(made).frames for tile in frame.tiles if tile.arm == 0]
    assert all(
        [picture.alt.split(" by ")[0] for picture in tile.pictures] == ["predicted masks"] for tile in tiles
    )


def test_what_is_no_picture_is_not_passed_on(made):
    folder = samples_of_median(made)
    (folder / "000000-image.png").write_text("<svg onload='alert(1)'/>")
    found = gallery(made)
    shown = [picture for frame in found.frames for picture in frame.truth]
    assert shown
    assert not any("svg" in picture.uri for picture in shown)
    path = folder / "000000-image.png"
    assert found.left_out.startswith(
        f"1 picture cannot be read: {path} (UnidentifiedImageError: cannot identify"
    )


def test_a_broken_index_is_told_and_leaves_the_other_arm(made):
    path = samples_of_median(made) / "index.json"
    path.write_text("[{}]")
    found = gallery(made)
    assert {tile.arm for frame in found.frames for tile in frame.tiles} == {1}
    assert (
        found.left_out
        == f"The samples of {made.arms[0].name} cannot be read: {path}, item 0: id: this key is required."
    )


def test_all_together_take_no_more_than_they_may(made, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 20_000)
    monkeypatch.setattr(module.PictureEmbedder, "__init__", lambda self: album(self, 20_000))
    found = gallery(made)
    shown = [picture for frame in found.frames for tile in frame.tiles for picture in tile.pictures]
    shown += [picture for frame in found.frames for picture in frame.truth]
    assert 0 < sum(len(picture.uri) for picture in shown) <= 20_000
    assert "left out: the pictures may take" in found.left_out


def album(self, left):
    self.left, self.refused, self.known, self.damaged = left, 0, {}, []


def test_large_pictures_are_made_smaller_and_masks_keep_their_colors(made):
    folder = samples_of_median(made)
    colors = np.array([[0, 0, 0], [230, 159, 0], [86, 180, 233]], np.uint8)
    labels = np.random.default_rng(0).integers(0, 3, (500, 500))
    Image.fromarray(colors[labels]).save(folder / "000000-predicted.png")
    tile = gallery(made).frames[0].tiles[0]
    with Image.open(io.BytesIO(decoded(tile.pictures[1]))) as picture:
        assert picture.size == (module.MOST_PIXELS, module.MOST_PIXELS)
        assert {color for _, color in picture.getcolors()} <= {tuple(map(int, color)) for color in colors}


def test_arms_beyond_the_most_that_are_shown_are_counted(made, monkeypatch):
    monkeypatch.setattr(module, "MOST_ARMS", 1)
    found = gallery(made)
    baseline = [arm.name for arm in made.arms].index(made.baseline)
    assert {tile.arm for frame in found.frames for tile in frame.tiles} == {baseline}
    assert found.left_out == "Pictures are shown for 1 of 2 arms with samples."


def change_summary(evaluation, **facts):
    path = evaluation / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def test_pictures_of_other_data_never_stand_beside_the_same_image(study):
    """The arm that was measured on other images shows its own, and the page does not call them the same."""
    folder = study(arms=3, seeds=1, images=8, pictures=True)
    for evaluation in sorted((folder.parents[1] / "runs").glob("000002*/evaluation/*")):
        data = json.loads((evaluation / "summary.json").read_text())["data"]
        change_summary(evaluation, data={**data, "fingerprint": "generated-00000000"})
    found = gallery(compare_paths([folder], across=["data"]))
    assert not found.same
    assert "The arms were evaluated on different images." in found.left_out
    assert {tuple(tile.arm for tile in frame.tiles) for frame in found.frames} == {(0, 1), (2,)}
    assert len(found.frames) == 16
    for frame in found.frames:
        assert [tile.arm for tile in frame.slots] == [tile.arm for tile in frame.tiles]


def test_where_no_summary_tells_which_images_there_were_their_pixels_do(study):
    folder = study(arms=2, seeds=1, images=8, pictures=True)
    runs = sorted((folder.parents[1] / "runs").glob("*/evaluation/*"))
    for evaluation in runs:
        data = json.loads((evaluation / "summary.json").read_text())["data"]
        change_summary(evaluation, data={**data, "fingerprint": "generated"})
    assert gallery(compare_paths([folder])).same
    other = Image.fromarray(np.zeros((24, 24, 3), np.uint8))
    other.save(runs[1] / "samples" / "000003-image.png")
    found = gallery(compare_paths([folder]))
    assert not found.same
    shown = {frame.id: [] for frame in found.frames}
    for frame in found.frames:
        shown[frame.id].append(tuple(tile.arm for tile in frame.tiles))
    assert sorted(shown.pop("000003")) == [(0,), (1,)]
    assert set(map(tuple, shown.values())) == {((0, 1),)}


def test_the_page_says_the_same_images_only_where_they_are(study):
    from slotlab.framework.report.build import build_page
    from slotlab.framework.report.render import render

    folder = study(arms=2, seeds=1, images=8, pictures=True)
    assert "The same images for every arm" in render(build_page(compare_paths([folder])))
    for evaluation in sorted((folder.parents[1] / "runs").glob("000001*/evaluation/*")):
        change_summary(evaluation, filter="0 to 6 objects by metadata")
    page = render(build_page(compare_paths([folder], across=["filter"])))
    assert "The same images for every arm" not in page
    assert "Each image with the arms that were evaluated on it" in page
