"""Laws of the rendered pictures: masks, depth, shadows and textures hold against plain counts."""

from dataclasses import replace

import pytest
import torch

from slotlab.framework.scenes import RECIPES, Pictures, Recipe, draw_pictures
from slotlab.framework.scenes import pictures as draw
from slotlab.framework.scenes.camera import CENTERS, QUARTERS, draw_camera
from slotlab.framework.scenes.colors import CLEAR, choose_clear, difference, encoding, hsv_to_rgb
from slotlab.framework.scenes.counter_random import Chance, picture_keys
from slotlab.framework.scenes.layout import SceneLayout
from slotlab.framework.scenes.light import ground_shadow
from slotlab.framework.scenes.material_families import FAMILIES, Family
from slotlab.framework.scenes.materials import draw_materials
from slotlab.framework.scenes.noise import noise_on
from slotlab.framework.scenes.paint import paint_ground, paint_objects
from slotlab.framework.scenes.vectors import dot, normalize
from slotlab.framework.scenes.visibility import Pairs, meet, see

CPU = torch.device("cpu")
EVERYTHING = replace(RECIPES["full"], shapes=(*RECIPES["full"].shapes, *RECIPES["outd"].shapes))


CORNERS = torch.tensor([[-0.08, 0.2, -0.2, 0.08], [-0.2, -0.08, 0.08, 0.2], [0.0, 0.0, 0.0, 0.0]])[:, None]
"""Points of the lamp, from its middle, (3, 1, S)."""


def pictures(
    recipe: Recipe = EVERYTHING, size: tuple[int, int] = (40, 40), count: int = 8, device: torch.device = CPU
) -> Pictures:
    return draw_pictures(recipe, size, seed=3, split=1, indices=range(count), device=device)


def all_pairs(layout: SceneLayout, pixels: int) -> Pairs:
    """Every object with every pixel of its picture."""
    present = layout.present_BK[..., None].expand(-1, -1, pixels)
    return Pairs(*present.nonzero().unbind(1))


# --- determinism -------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["full", "outd", "camo", "vbg"])
def test_pictures_do_not_depend_on_the_batch(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPES[variant]  # type: ignore[index]
    together = pictures(recipe, size=(36, 52), count=10)
    monkeypatch.setitem(draw._PIXELS, "cpu", 3 * 36 * 52)
    monkeypatch.setitem(draw._SCENES, "cpu", 7 * 36 * 52)
    parts = pictures(recipe, size=(36, 52), count=10)
    alone = draw_pictures(recipe, (36, 52), seed=3, split=1, indices=[6], device=CPU)
    for one, row in ((parts, slice(None)), (alone, slice(6, 7))):
        assert torch.equal(one.images_BHWC, together.images_BHWC[row])
        assert torch.equal(one.masks_BHW, together.masks_BHW[row])
        assert torch.equal(one.depth_BHW, together.depth_BHW[row])
        assert one.attributes() == together.attributes()[row]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_masks_on_cuda_are_those_of_the_cpu() -> None:
    here, there = pictures(count=32), pictures(count=32, device=torch.device("cuda"))
    assert (here.masks_BHW != there.masks_BHW.cpu()).float().mean() < 1e-3
    away = (here.images_BHWC.int() - there.images_BHWC.cpu().int()).abs()
    assert (away > 2).float().mean() < 1e-2


# --- geometry ----------------------------------------------------------------------------


def test_masks_and_depth_are_those_of_the_nearest_object() -> None:
    found = pictures()
    assert (found.masks_BHW.dtype, found.depth_BHW.dtype) == (torch.uint8, torch.float32)
    row = 0
    for scenes in found.scenes:
        layout = scenes.layout
        rays_3B1N, along_1SN = layout.camera.rays(CENTERS)
        count = rays_3B1N.shape[1]
        position = layout.camera.position_3B
        floor_BN = position[2, :, None] / -rays_3B1N[2, :, 0]
        nearest_BN, ids_BN = floor_BN.clone(), torch.zeros_like(floor_BN)
        pairs = all_pairs(layout, rays_3B1N.shape[3])
        origin = position.index_select(1, pairs.picture_Q)[..., None]
        hit_Q = meet(layout, pairs, origin, pairs.pick(rays_3B1N))[:, 0]
        for number in range(layout.shape_BK.shape[1]):
            own = pairs.object_Q == number
            places = (pairs.picture_Q[own], pairs.pixel_Q[own])
            closer = hit_Q[own] < nearest_BN[places]
            places = (places[0][closer], places[1][closer])
            nearest_BN[places] = hit_Q[own][closer]
            ids_BN[places] = number + 1
        shape = (count, *layout.camera.size)
        assert torch.equal(found.masks_BHW[row : row + count], ids_BN.view(shape).byte())
        depth = (nearest_BN * along_1SN[0]).view(shape)
        torch.testing.assert_close(found.depth_BHW[row : row + count], depth)
        row += count


def test_depth_of_the_ground_is_that_of_the_plane() -> None:
    found = pictures(count=4)
    [scenes] = found.scenes
    camera = scenes.layout.camera
    rays_3B1N, _ = camera.rays(CENTERS)
    ahead_BN = dot(camera.forward_3B[:, :, None], rays_3B1N[:, :, 0])
    points_3BN = camera.position_3B[..., None] + rays_3B1N[:, :, 0] / ahead_BN * found.depth_BHW.flatten(1)
    height_BN = points_3BN[2]
    ground_BN = found.masks_BHW.flatten(1) == 0
    assert height_BN[ground_BN].abs().max() < 1e-4
    assert height_BN[~ground_BN].min() > -1e-4
    assert height_BN[~ground_BN].max() > 0.5
    u, v, depth = camera.project(points_3BN)
    torch.testing.assert_close(depth, found.depth_BHW.flatten(1), rtol=1e-4, atol=1e-4)
    assert u.abs().max() < 1
    assert v.abs().max() < 1


def test_few_pairs_hold_all_that_is_seen_and_all_shadows() -> None:
    [scenes] = pictures(size=(32, 48)).scenes
    layout, lights = scenes.layout, scenes.lights
    rays_3BSN, _ = layout.camera.rays(QUARTERS)
    pairs = all_pairs(layout, rays_3BSN.shape[3])
    origin = layout.camera.position_3B.index_select(1, pairs.picture_Q)[..., None]
    hit_QS = meet(layout, pairs, origin, pairs.pick(rays_3BSN))
    position = layout.camera.position_3B[:, :, None, None]
    floor_BSN = position[2] / -rays_3BSN[2]
    index = pairs.samples(*rays_3BSN.shape[2:]).flatten()
    distance = floor_BSN.flatten().scatter_reduce(0, index, hit_QS.flatten(), "amin")
    assert torch.equal(see(layout, rays_3BSN).distance_BSN.flatten(), distance)
    points_3BSN = position + floor_BSN * rays_3BSN
    lit_BSN = ground_shadow(
        layout, lights, points_3BSN, torch.ones_like(points_3BSN[0, :, 0], dtype=torch.bool)
    )
    assert 0.02 < (lit_BSN == 0).float().mean() < 0.4
    origin_3QS = pairs.pick(points_3BSN)
    lamp_3QS = lights.key_3B.index_select(1, pairs.picture_Q)[..., None] + CORNERS
    dark_QS = torch.isfinite(meet(layout, pairs, origin_3QS, normalize(lamp_3QS - origin_3QS)))
    expected = torch.ones_like(lit_BSN).flatten()
    expected[pairs.samples(*lit_BSN.shape[1:])[dark_QS]] = 0
    assert torch.equal(lit_BSN.flatten(), expected)


@pytest.mark.parametrize("view", ["crop", "full"])
@pytest.mark.parametrize("size", [(64, 64), (16, 160), (160, 16), (60, 80)])
def test_every_ray_goes_down_to_the_ground(size: tuple[int, int], view: str) -> None:
    recipe = replace(RECIPES["full"], counts=(1, 1), min_visible=0.0, view=view)  # type: ignore[arg-type]
    for scenes in pictures(recipe, size, 20).scenes:
        rays_3BSN, along = scenes.layout.camera.rays(QUARTERS)
        assert rays_3BSN[2].max() < -0.03
        torch.testing.assert_close(dot(rays_3BSN, rays_3BSN), torch.ones_like(rays_3BSN[0]))
        assert along.max() <= 1


@pytest.mark.parametrize("size", [(24, 48), (48, 24), (24, 24)])
def test_a_point_is_in_view_if_it_falls_on_a_pixel(size: tuple[int, int]) -> None:
    camera = draw_camera(Chance(picture_keys(3, 1, torch.arange(2))), "crop", size)
    steps = torch.linspace(-12, 12, 97)
    x, y = torch.meshgrid(steps, steps, indexing="ij")
    points_3BN = torch.stack([x, y, torch.zeros_like(x)]).flatten(1)[:, None].expand(-1, 2, -1)
    u_BN, v_BN, depth_BN = camera.project(points_3BN)
    column_BN, row_BN = size[1] / 2 + u_BN * min(size) / 2, size[0] / 2 - v_BN * min(size) / 2
    on_BN = (column_BN > 0) & (column_BN < size[1]) & (row_BN > 0) & (row_BN < size[0]) & (depth_BN > 4)
    assert on_BN.any()
    assert torch.equal(camera.holds(points_3BN, torch.zeros_like(depth_BN)), on_BN)


def test_objects_stand_apart() -> None:
    for scenes in pictures(replace(EVERYTHING, counts=(10, 10), view="full"), (48, 64)).scenes:
        centers_3BK = scenes.layout.centers_3BK
        away_3BKK = centers_3BK[..., None] - centers_3BK[:, :, None]
        distance = (away_3BKK[0] ** 2 + away_3BKK[1] ** 2).sqrt() + 9 * torch.eye(10)
        assert distance.min() > 0.4
        assert centers_3BK[:2].abs().max() <= 3


# --- color -------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_texture_is_in_range_and_varies_in_space(family: Family) -> None:
    recipe = replace(RECIPES["full"], textures=(family,), ground_textures=(family,))
    [scenes] = pictures(recipe, (16, 16), 12).scenes
    materials = scenes.materials
    generator = torch.Generator().manual_seed(0)
    points_3Bn = torch.rand(3, 12, 3000, generator=generator) * 4
    spacing_Bn = torch.full((12, 3000), 0.02)
    rows_R = torch.arange(12) * materials.family_BT.shape[1] + 1
    for paint in (
        paint_ground(materials, points_3Bn, spacing_Bn),
        paint_objects(materials, rows_R, points_3Bn, spacing_Bn),
    ):
        assert torch.isfinite(paint.albedo_3Rn).all()
        assert paint.albedo_3Rn.min() >= 0
        assert paint.albedo_3Rn.max() <= 1
        assert torch.isfinite(paint.height_Rn).all()
        spread = paint.albedo_3Rn.std(2).amax(0)
        assert (spread == 0).all() if family == "plain" else (spread > 0.005).all()
        means = paint.albedo_3Rn.mean(2)
        assert (means.std(1) > 0.01).any()


def test_camo_has_the_same_parameters_everywhere() -> None:
    for scenes in pictures(RECIPES["camo"]).scenes:
        materials = scenes.materials
        for values in (materials.family_BT, materials.traits_3BT, materials.repeats_BT, materials.bump_BT):
            assert torch.equal(values, values[..., :1].expand_as(values))
        ramp = materials.ramp_3BTV
        assert torch.equal(ramp, ramp[:, :, :1].expand_as(ramp))


def test_a_gray_ground_is_gray() -> None:
    recipe = replace(RECIPES["full"], ground_colors="gray")
    for scenes in pictures(recipe).scenes:
        ramp_3BV = scenes.materials.ramp_3BTV[:, :, 0]
        assert (ramp_3BV.amax(0) - ramp_3BV.amin(0)).max() < 1e-6


def test_plain_objects_are_told_from_the_ground() -> None:
    recipe = replace(RECIPES["vbg"], ground_textures=("plain",), counts=(4, 4))
    layout_scenes = pictures(recipe, (16, 16), 100).scenes
    for scenes in layout_scenes:
        colors_3BT = scenes.materials.colors_3BT
        clear = difference(colors_3BT[:, :, 1:], colors_3BT[:, :, :1])
        assert clear.min() > 0.25
        assert (clear >= CLEAR - 1e-6).float().mean() > 0.97


def test_the_first_clear_color_is_taken() -> None:
    ground_3B = torch.tensor([[0.5], [0.5], [0.5]])
    tries = torch.tensor([[0.5, 0.5, 0.55], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).T[:, None, None]
    assert choose_clear(tries.expand(-1, -1, 2, -1), ground_3B).tolist() == [[1, 2]]


def test_hues_and_encoding() -> None:
    hues = torch.tensor([0.0, 1 / 3, 2 / 3, 1.0, -1 / 3])
    rgb_3M = hsv_to_rgb(hues, torch.ones(5), torch.ones(5))
    assert rgb_3M.T.round(decimals=5).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 1]]
    table = encoding(CPU)
    assert (table[0], table[-1]) == (0, 255)
    assert (table.int().diff() >= 0).all()


def test_noise_repeats_without_a_seam() -> None:
    noise = noise_on(CPU)
    generator = torch.Generator().manual_seed(0)
    points_3RN = torch.rand(3, 1, 5000, generator=generator) * 8
    fields = noise.in_cube(points_3RN)
    torch.testing.assert_close(noise.in_cube(points_3RN + 8), fields, atol=2e-3, rtol=0)
    x, y, _ = 8 * points_3RN
    torch.testing.assert_close(noise.on_plane(x - 64, y + 64), noise.on_plane(x, y), atol=2e-3, rtol=0)
    edge = torch.stack([torch.tensor([[7.9999, 8.0001]])] * 3)
    before, behind = noise.in_cube(edge).unbind(-1)
    torch.testing.assert_close(before, behind, atol=5e-3, rtol=0)
    assert fields.min() >= 0
    assert fields.max() <= 1
    assert (fields.std(-1) > 0.08).all()
    assert (fields[:2].mean(-1) - 0.5).abs().max() < 0.05


def test_pictures_use_the_range_and_have_no_black_sky() -> None:
    images = pictures(RECIPES["full"], (64, 64), 30).images_BHWC.float()
    assert 115 < images.mean() < 150
    assert (images > 250).float().mean() < 0.01
    assert images.amax() > 230
    assert images[:, 0].amax(dim=(1, 2)).min() > 15
    assert images.std(dim=(1, 2)).mean() > 25


def test_streams_are_not_shared() -> None:
    # Materials drawn with other keys leave no trace of the layout's.
    scenes = pictures(count=2).scenes[0]
    other = draw_materials(Chance(picture_keys(9, 9, torch.arange(2))), EVERYTHING, scenes.layout)
    assert not torch.equal(other.colors_3BT, scenes.materials.colors_3BT)
