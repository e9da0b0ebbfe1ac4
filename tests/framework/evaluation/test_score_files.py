"""Masks of any program: what is read, what is refused, and that nothing but the pixels counts."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from slotlab.framework.contracts import DataError, Metric, MetricContext, Outcome
from slotlab.framework.data.formats.mask_pictures import MaskCode
from slotlab.framework.data.preparation import Preparation
from slotlab.framework.evaluation.score_files import Reader, score
from slotlab.framework.evaluation.score_folders import ScoredFolders
from slotlab.framework.evaluation.score_reading import open_file, read_labels
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.runs.folder import MODEL
from slotlab.registry import SlotlabError

REGISTRY = load_registry()
COLORS = np.array([(0, 0, 0), (0, 0, 200), (10, 0, 0), (255, 255, 0), (255, 255, 255)], np.uint8)
"""In the order of their (red, green, blue), as labels are numbered."""
MATCHED = "files are matched by name without ending"
Pixels = NDArray[np.uint8]


def metrics(*names: str) -> dict[str, Metric]:
    found = {}
    for name in names:
        item = REGISTRY.find("metric", name)
        assert item is not None
        found[name] = item.component.build(item.component.config(), MetricContext(value_range=(0.0, 1.0)))
    return found


def mask(seed: int, labels: int = 5, size: tuple[int, int] = (10, 14)) -> Pixels:
    values: Pixels = np.random.default_rng(seed).integers(0, labels, size, dtype=np.uint8)
    return values


def save(path: Path, values: Pixels, kind: str = "gray") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "gray":
        image = Image.fromarray(values)
    elif kind == "palette":
        image = Image.fromarray(values).convert("P")
        image.putdata(values.ravel().tolist())
        image.putpalette(COLORS.ravel().tolist())
    elif kind == "gray16":
        image = Image.fromarray(values.astype(np.uint16))
    else:
        image = Image.fromarray(COLORS[values])
    image.save(path)


def test_a_photograph_is_no_mask(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for folder in ("true", "pred"):
        (tmp_path / folder).mkdir()
        Image.fromarray(noise).save(tmp_path / folder / "a.png")
    colors = len(np.unique(noise.reshape(-1, 3), axis=0))
    with pytest.raises(DataError) as caught:
        score(Reader(ScoredFolders(true=tmp_path / "true", pred=tmp_path / "pred")), metrics("ari"))
    assert [str(problem) for problem in caught.value.problems] == [
        f"{tmp_path / folder}/a.png: it has {colors:,} labels or colors: a picture, not a mask"
        for folder in ("pred", "true")
    ]


@pytest.fixture
def masks(tmp_path: Path) -> ScoredFolders:
    for i in range(4):
        save(tmp_path / "true" / f"m{i}.png", mask(i))
        save(tmp_path / "pred" / f"m{i}.png", mask(100 + i))
    return ScoredFolders(true=tmp_path / "true", pred=tmp_path / "pred")


def test_values_by_scikit_learn(masks: ScoredFolders) -> None:
    from sklearn.metrics import adjusted_rand_score

    evaluation, sizes = score(Reader(masks), metrics("ari", "fg_ari"))
    rows = evaluation.rows[MODEL]
    assert sizes == {"14x10": 4}
    assert [row["id"] for row in rows] == ["m0", "m1", "m2", "m3"]
    for i, row in enumerate(rows):
        true, predicted = mask(i).ravel(), mask(100 + i).ravel()
        assert row["ari"] == pytest.approx(adjusted_rand_score(true, predicted), abs=1e-12)
        inside = true > 0
        assert row["fg_ari"] == pytest.approx(adjusted_rand_score(true[inside], predicted[inside]), abs=1e-12)


@pytest.mark.parametrize("kind", ["palette", "rgb", "gray16"])
def test_every_kind_of_mask_tells_the_same(masks: ScoredFolders, tmp_path: Path, kind: str) -> None:
    names = ("ari", "fg_ari", "miou_official", "mbo", "dice_official")
    expected, _ = score(Reader(masks), metrics(*names))
    for i in range(4):
        save(tmp_path / "true2" / f"m{i}.png", mask(i), kind)
        save(tmp_path / "pred2" / f"m{i}.png", mask(100 + i), kind)
    found, _ = score(Reader(ScoredFolders(true=tmp_path / "true2", pred=tmp_path / "pred2")), metrics(*names))
    assert found.rows == expected.rows


def test_names_of_segments_do_not_matter_nor_do_great_ones(masks: ScoredFolders, tmp_path: Path) -> None:
    expected, _ = score(Reader(masks), metrics("ari", "mbo"))
    for i in range(4):
        values = mask(100 + i).astype(np.uint16) * 10_000 + 3
        Image.fromarray(values).save(tmp_path / "pred" / f"m{i}.png")
    found, _ = score(Reader(masks), metrics("ari", "mbo"))
    for row, other in zip(found.rows[MODEL], expected.rows[MODEL], strict=True):
        assert (row["ari"], row["mbo"]) == pytest.approx((other["ari"], other["mbo"]), abs=1e-12)


def test_images_of_several_sizes_and_folders_in_folders(masks: ScoredFolders, tmp_path: Path) -> None:
    for name, size in (("a/x", (6, 6)), ("a/y", (10, 14)), ("b/x", (6, 6))):
        save(tmp_path / "true" / f"{name}.png", mask(7, size=size))
        save(tmp_path / "pred" / f"{name}.png", mask(8, size=size))
    evaluation, sizes = score(Reader(masks), metrics("ari"))
    assert sizes == {"6x6": 2, "14x10": 5}
    ids = [row["id"] for row in evaluation.rows[MODEL]]
    assert ids == ["a/x", "a/y", "b/x", "m0", "m1", "m2", "m3"]
    values = [row["ari"] for row in evaluation.rows[MODEL]]
    assert values[0] == values[2]


def test_reconstructions(masks: ScoredFolders, tmp_path: Path) -> None:
    pictures, random_numbers = {}, np.random.default_rng(5)
    for i in range(4):
        for kind in ("images", "recon"):
            pictures[kind, i] = random_numbers.integers(0, 256, (10, 14, 3))
            save_picture(tmp_path / kind / f"m{i}.png", pictures[kind, i])
    folders = ScoredFolders(
        true=masks.true, pred=masks.pred, images=tmp_path / "images", recon=tmp_path / "recon"
    )
    rows = score(Reader(folders), metrics("mse_official"))[0].rows[MODEL]
    for i, row in enumerate(rows):
        expected = (((pictures["images", i] - pictures["recon", i]) / 255) ** 2).sum()
        assert row["mse_official"] == pytest.approx(expected, rel=1e-6)


def save_picture(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def test_what_masks_alone_do_not_tell_is_left_out(masks: ScoredFolders) -> None:
    evaluation, _ = score(Reader(masks), metrics("ari", "mse_unit", "mask_entropy"))
    assert evaluation.left_out == {
        "mse_unit": "no reconstructions are given; add --images and --recon",
        "mask_entropy": "label masks do not tell how soft the masks were",
    }
    assert list(evaluation.rows[MODEL][0]) == ["id", "objects", "ari"]


def test_true_masks_are_prepared_as_the_protocol_says(masks: ScoredFolders, tmp_path: Path) -> None:
    """Crop, then nearest neighbor, in plain NumPy."""
    for i in range(4):
        large = mask(i, size=(24, 32))
        save(tmp_path / "true" / f"m{i}.png", large)
        cut = large[4:20, 8:24]
        save(tmp_path / "small" / f"m{i}.png", np.ascontiguousarray(cut[1::2, 1::2]))
        save(tmp_path / "pred" / f"m{i}.png", mask(50 + i, size=(8, 8)))
    preparation = Preparation(size=(8, 8), crop=16)
    found, sizes = score(Reader(masks, preparation), metrics("ari", "mbo"))
    expected, _ = score(
        Reader(ScoredFolders(true=tmp_path / "small", pred=masks.pred)), metrics("ari", "mbo")
    )
    assert sizes == {"8x8": 4}
    assert found.rows == expected.rows


def test_predictions_have_the_protocols_size_of_masks_and_pictures_that_of_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(2):
        save(tmp_path / "true" / f"m{i}.png", mask(i, size=(24, 24)))
        save(tmp_path / "pred" / f"m{i}.png", mask(50 + i, size=(12, 12)))
        save(tmp_path / "images" / f"m{i}.png", rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
        save(tmp_path / "recon" / f"m{i}.png", rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    folders = {name: tmp_path / name for name in ("true", "pred", "images", "recon")}
    preparation = Preparation(size=(8, 8), mask_size=(12, 12))
    found, sizes = score(Reader(ScoredFolders(**folders), preparation), metrics("ari", "mse"))
    assert (sizes, set(found.rows[MODEL][0])) == ({"12x12": 2}, {"id", "objects", "ari", "mse"})
    lines = refused(Reader(ScoredFolders(**folders | {"recon": tmp_path / "pred"}), preparation))
    assert lines[0].endswith("it has 12x12 pixels, the protocol's images 8x8 once it is prepared")


def test_progress_is_reported(masks: ScoredFolders) -> None:
    calls: list[tuple[int, int]] = []
    score(Reader(masks), metrics("ari"), report=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


# --- what is refused ---------------------------------------------------------------------


def refused(reader: Reader) -> list[str]:
    with pytest.raises(SlotlabError) as error:
        score(reader, metrics("ari"))
    return error.value.lines()


def test_everything_wrong_is_said_at_once(masks: ScoredFolders, tmp_path: Path) -> None:
    true, pred = masks.true, masks.pred
    (pred / "m0.png").unlink()
    (pred / "m1.png").write_bytes(b"no picture")
    save(pred / "m2.png", mask(1, size=(10, 13)))
    save(pred / "extra.png", mask(1))
    save(true / "m4.png", mask(1))
    Image.fromarray(mask(1)).save(pred / "m4.jpg")
    Image.fromarray(np.zeros((10, 14), np.float32)).save(true / "m5.tiff")
    save(pred / "m5.png", mask(1))
    assert refused(Reader(masks)) == [
        f"{pred}/extra.png: there is no extra in --true {true}",
        f"{pred}/m1.png: cannot be read: it is no picture of a known kind",
        f"{pred}/m2.png: it has 13x10 pixels, its true mask 14x10",
        f"{pred}/m4.jpg: a mask must be a PNG: other kinds may change its labels",
        f"{true}/m0.png: there is no m0 in --pred {pred}",
        f"{true}/m5.tiff: a mask is a palette, gray or RGB picture, this one is F",
        f"{true}/m5.tiff: a mask must be a PNG: other kinds may change its labels",
    ]


def test_two_files_of_one_name(masks: ScoredFolders) -> None:
    Image.fromarray(mask(1)).save(masks.pred / "m0.bmp")
    [line] = refused(Reader(masks))
    text = f"it has the name of {masks.pred}/m0.bmp but for the ending; which is meant?"
    assert line == f"{masks.pred}/m0.png: {text}"


def test_labels_beyond_the_slots(masks: ScoredFolders) -> None:
    lines = refused(Reader(masks, slots=4))
    assert lines[0] == f"{masks.pred}/m0.png: it has the label 4, 4 slots have 0 to 3"
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"pred": "nowhere"}, "--pred nowhere: there is no such folder"),
        ({"pred": "empty"}, "--pred empty: there are no masks (PNG, or .npy) in it"),
        (
            {"true": "nowhere", "pred": "nothing"},
            "--true nowhere: there is no such folder; --pred nothing: there is no such folder",
        ),
        (
            {"pred": "other"},
            f"no name is in all of --true true, --pred other; {MATCHED}, such as 'm0' and 'm0_pred'",
        ),
    ],
)
def test_folders_that_cannot_be_scored(
    masks: ScoredFolders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict[str, str], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    save(Path("other/m0_pred.png"), mask(1))
    folders = {"true": "true", "pred": "pred"} | change
    assert refused(Reader(ScoredFolders(**{key: Path(value) for key, value in folders.items()}))) == [text]


def test_pictures_too_small_for_the_protocol(masks: ScoredFolders) -> None:
    lines = refused(Reader(masks, Preparation(size=(8, 8), crop=12)))
    assert lines[0] == f"{masks.true}/m0.png: it has 14x10 pixels, too few for a crop of 12"


def test_other_sizes_after_preparation(masks: ScoredFolders) -> None:
    lines = refused(Reader(masks, Preparation(size=(8, 8), crop=8)))
    assert lines[0] == f"{masks.pred}/m0.png: it has 14x10 pixels, its true mask 8x8 once it is prepared"


def test_a_broken_file_is_a_data_error(masks: ScoredFolders) -> None:
    (masks.pred / "m1.png").write_bytes(b"")
    with pytest.raises(DataError) as error:
        score(Reader(masks), metrics("ari"))
    assert [problem.path for problem in error.value.problems] == [str(masks.pred / "m1.png")]


def test_the_order_of_files_is_no_matter(masks: ScoredFolders, tmp_path: Path) -> None:
    expected, _ = score(Reader(masks), metrics("ari", "mbo_per_object"))
    names = [f"z{i}" for i in range(4)]
    random.Random(3).shuffle(names)
    for i, name in enumerate(names):
        save(tmp_path / "t" / f"{name}.png", mask(i))
        save(tmp_path / "p" / f"{name}.png", mask(100 + i))
    found, _ = score(
        Reader(ScoredFolders(true=tmp_path / "t", pred=tmp_path / "p")), metrics("ari", "mbo_per_object")
    )
    both = metrics("ari", "mbo_per_object")
    assert found.summary(both) == expected.summary(both)


# --- void, background, arrays and EXIF ----------------------------------------------------


def value(masks: ScoredFolders, name: str = "ari", **settings: Any) -> list[float]:
    found, _ = score(Reader(masks, **settings), metrics(name))
    return [row[name] for row in found.rows[MODEL]]


def test_void_is_as_if_it_were_cut_away(masks: ScoredFolders, tmp_path: Path) -> None:
    for i in range(4):
        true, pred = mask(i), mask(100 + i)
        true[:, :3] = 255
        save(tmp_path / "cut/true" / f"m{i}.png", true[:, 3:])
        save(tmp_path / "cut/pred" / f"m{i}.png", pred[:, 3:])
        save(tmp_path / "true" / f"m{i}.png", true)
    cut = ScoredFolders(true=tmp_path / "cut/true", pred=tmp_path / "cut/pred")
    for name in ("ari", "fg_ari", "mbo", "miou_official"):
        assert value(masks, name, code=MaskCode(void=255)) == pytest.approx(value(cut, name), abs=1e-12)
        assert value(masks, name) != pytest.approx(value(cut, name), abs=1e-6)


def test_the_background_may_be_another_label(masks: ScoredFolders, tmp_path: Path) -> None:
    wanted = value(masks, "fg_ari")
    for i in range(4):
        save(tmp_path / "true" / f"m{i}.png", (mask(i) + 250).astype(np.uint8))
    assert value(masks, "fg_ari", code=MaskCode(background=250)) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "uint32"])
def test_arrays_score_as_pictures_do(masks: ScoredFolders, tmp_path: Path, dtype: str) -> None:
    for i in range(4):
        for folder, seed in (("true", i), ("pred", 100 + i)):
            path = tmp_path / "arrays" / folder / f"m{i}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = mask(seed).astype(dtype)
            np.save(path, values if i % 2 else values[..., None])
    arrays = ScoredFolders(true=tmp_path / "arrays/true", pred=tmp_path / "arrays/pred")
    assert value(arrays) == value(masks)
    mixed = ScoredFolders(true=tmp_path / "arrays/true", pred=masks.pred)
    assert value(mixed) == value(masks)


def test_arrays_may_hold_void_as_minus_one(masks: ScoredFolders, tmp_path: Path) -> None:
    np.save(tmp_path / "true/m0.npy", np.full((10, 14), -1))
    (tmp_path / "true/m0.png").unlink()
    [line] = refused(Reader(masks))
    path = tmp_path / "true/m0.npy"
    assert line == f"{path}: it has the label -1; labels start at 0 (--void names one that is not scored)"
    assert np.isnan(value(masks, code=MaskCode(void=-1))[0])


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((3, 4)), "holds float64; a mask is an array of whole numbers"),
        (
            np.zeros((2, 3, 4), int),
            "is an array of shape [2, 3, 4]; a mask is [rows, columns] of labels, or ",
        ),
        (np.zeros(5, int), "is an array of shape [5]; a mask is [rows, columns] of labels, or "),
        (np.array([{}]), "cannot be read as a NumPy array: "),
    ],
)
def test_arrays_that_are_no_masks(masks: ScoredFolders, tmp_path: Path, array: Any, text: str) -> None:
    np.save(tmp_path / "pred/m0.npy", array, allow_pickle=True)
    (tmp_path / "pred/m0.png").unlink()
    [line] = refused(Reader(masks))
    assert line.startswith(f"{tmp_path}/pred/m0.npy: {text}")


def test_a_folder_of_something_else_says_what_it_holds(masks: ScoredFolders, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for name in ("a.npz", "b.npz", "c.txt"):
        (tmp_path / "other" / name).touch()
    [line] = refused(Reader(ScoredFolders(true=masks.true, pred=tmp_path / "other")))
    assert (
        line
        == f"--pred {tmp_path}/other: there are no masks (PNG, or .npy) in it; it holds 2 x .npz, 1 x .txt"
    )


def test_orientations_that_differ_are_refused_or_chosen(masks: ScoredFolders, tmp_path: Path) -> None:
    wanted = value(masks)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(mask(0)[::-1, ::-1].copy()).save(tmp_path / "true/m0.png", exif=exif)
    [line] = refused(Reader(masks))
    assert line.startswith(
        f"{tmp_path}/true/m0.png: has the EXIF orientation 3, and {tmp_path}/pred/m0.png has none"
    )
    assert value(masks, exif="apply") == wanted
    assert value(masks, exif="ignore") != wanted


def test_what_an_evaluation_wrote_is_scored_alike(tmp_path: Path) -> None:
    """Masks that were saved with void come back by --void 255, to the last bit."""
    from slotlab.framework.jobs.saved_masks import gray_labels

    rng = np.random.default_rng(0)
    true, pred = rng.integers(-1, 4, (2, 9, 9)), rng.integers(0, 4, (2, 9, 9))
    for i in range(2):
        save(tmp_path / "true" / f"{i}.png", gray_labels(true[i]).astype(np.uint8))
        save(tmp_path / "pred" / f"{i}.png", gray_labels(pred[i]).astype(np.uint8))
    outcome = Outcome(
        images_BCHW=torch.zeros(2, 3, 9, 9),
        true_BHW=torch.from_numpy(true),
        predicted_BHW=torch.from_numpy(pred),
    )
    folders = ScoredFolders(true=tmp_path / "true", pred=tmp_path / "pred")
    for name in ("ari", "mbo", "boundary_f"):
        found = value(folders, name, code=MaskCode(void=255))
        assert found == metrics(name)[name](outcome).tolist()


@pytest.mark.parametrize("void", ["none", 70_000])
@pytest.mark.parametrize("ground", [True, False])
def test_great_labels_are_numbered_anew_and_0_and_void_keep_theirs(
    tmp_path: Path, void: Any, ground: bool
) -> None:
    """Else the ground would become an object, or what is not scored would be."""
    labels = np.array([[0 if ground else 9, 300, 300], [70_000, 255, 256]], np.int32)
    file = tmp_path / "a.npy"
    np.save(file, labels)
    found = read_labels(file, open_file(file, "--true"), MaskCode(void=void), "ignore")
    first = 0 if ground else 1
    last = -1 if void != "none" else first + 4
    assert found.tolist() == [[first, first + 3, first + 3], [last, first + 1, first + 2]]
    np.save(file, np.array([[0, 255]], np.int32))
    assert read_labels(file, open_file(file, "--true"), MaskCode(), "ignore").tolist() == [[0, 255]], (
        "as they are"
    )
