"""Laws of flow, depth and boxes: what rests has no flow, and flow leads to where a surface was and will be."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from slotlab.framework.scenes.coverage import cover
from slotlab.framework.scenes.layout import SceneLayout
from slotlab.framework.scenes.motion import Motion
from slotlab.framework.scenes.motion_fields import backward_flow, boxes, forward_flow
from slotlab.framework.scenes.moving_recipe import MOVING
from slotlab.framework.scenes.render import Centers, see_centers
from slotlab.framework.scenes.vectors import pictures
from slotlab.framework.scenes.videos import Course, draw_videos

CPU = torch.device("cpu")
SIZE = (48, 64)
COURSES = draw_videos(
    MOVING["movi_a"][0], Motion(frames=3), SIZE, seed=0, split=0, indices=range(4), device=CPU
).courses


def shifted(layout: SceneLayout, way_3: Tensor) -> SceneLayout:
    return replace(layout, centers_3BK=layout.centers_3BK + way_3[:, None, None])


def frame(course: Course, moment: int) -> tuple[SceneLayout, Centers]:
    layout = course.at([moment])
    return layout, see_centers(layout)


@pytest.mark.parametrize("course", COURSES)
def test_the_ground_and_what_rests_have_no_flow(course: Course) -> None:
    layout, centers = frame(course, 2)
    flow = backward_flow(layout, course.at([1]), centers)
    ground = centers.masks_BHW == 0
    assert flow[ground].abs().max() == 0
    assert flow[~ground].abs().amax() > 0.2
    assert backward_flow(layout, layout, centers).abs().max() == 0


@pytest.mark.parametrize("course", COURSES)
def test_a_shift_across_moves_surfaces_by_their_distance(course: Course) -> None:
    """Motion to the right keeps depth: pixels times depth are the same for all points of an object."""
    layout, centers = frame(course, 1)
    way_3 = 0.3 * layout.camera.right_3B[:, 0]
    flow = backward_flow(layout, shifted(layout, -way_3), centers)
    seen = centers.masks_BHW > 0
    pixels = 0.3 / layout.camera.half_view * min(SIZE) / 2
    rows, columns = (flow[seen] * centers.depth_BHW[seen][:, None]).unbind(-1)
    torch.testing.assert_close(columns, torch.full_like(columns, pixels), rtol=1e-3, atol=0)
    assert rows.abs().max() < 1e-3
    u, _, depth = layout.camera.project(layout.centers_3BK)
    former_u, _, _ = layout.camera.project(layout.centers_3BK - way_3[:, None, None])
    present = layout.present_BK
    of_centers = ((u - former_u) * min(SIZE) / 2 * depth)[present]
    torch.testing.assert_close(of_centers, torch.full_like(of_centers, pixels), rtol=1e-3, atol=0)


def test_rows_count_downward() -> None:
    layout, centers = frame(COURSES[0], 1)
    nearer = shifted(layout, torch.tensor([0.0, 0.4, 0.0]))  # it was farther from the camera: higher up
    flow = backward_flow(layout, nearer, centers)[centers.masks_BHW > 0]
    assert flow[:, 0].min() > 0.1


@pytest.mark.parametrize("course", COURSES)
def test_forward_and_backward_agree(course: Course) -> None:
    """A pixel's surface, followed forward, comes to a pixel that says it came from there."""
    (now, here), (after, there) = frame(course, 1), frame(course, 2)
    forward, backward = forward_flow(now, after, here)[0], backward_flow(after, now, there)[0]
    rows, columns = SIZE
    place = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), -1)
    end = (place + forward).round().long()
    inside = (end >= 0).all(-1) & (end < torch.tensor(SIZE)).all(-1) & (here.masks_BHW[0] > 0)
    row, column = end[inside].unbind(-1)
    same = there.masks_BHW[0][row, column] == here.masks_BHW[0][inside]
    assert same.float().mean() > 0.75, "the others are hidden, or at outlines"
    off = (forward[inside] - backward[row, column])[same].norm(dim=-1)
    assert off.quantile(0.9) < 0.1
    assert off.max() < 1


def test_no_bit_depends_on_the_batch() -> None:
    course = COURSES[1]
    moments = list(course.frames)
    layout, before = course.at(moments), course.at([moment - 1 for moment in moments])
    together = backward_flow(layout, before, see_centers(layout))
    for place, moment in enumerate(moments):
        own, centers = frame(course, moment)
        assert backward_flow(own, course.at([moment - 1]), centers)[0].equal(together[place])
        assert pictures(layout, place, place + 1).centers_3BK.equal(own.centers_3BK)


def test_boxes_are_tight() -> None:
    mask = torch.zeros(2, 8, 10, dtype=torch.uint8)
    mask[0, 2:5, 3] = 1
    mask[0, 7, 0:10] = 3
    mask[1] = 2
    found = boxes(mask, 4)
    assert found.shape == (2, 4, 4)
    torch.testing.assert_close(found[0, 0], torch.tensor([2 / 8, 3 / 10, 5 / 8, 4 / 10]))
    assert found[0, 2].tolist() == [0.875, 0, 1, 1]
    assert found[1].tolist() == [[0] * 4, [0, 0, 1, 1], [0] * 4, [0] * 4]
    assert found[0, [1, 3]].abs().max() == 0


@pytest.mark.parametrize("course", COURSES)
def test_coverage_counts_the_masks_pixels_and_those_behind_others(course: Course) -> None:
    layout, centers = frame(course, 2)
    found = cover(layout)
    for number in range(int(layout.count_B[0])):
        assert found.seen_BK[0, number] == (centers.masks_BHW == number + 1).sum()
        alone = torch.full_like(layout.centers_3BK, 1e3)
        alone[:, :, number] = layout.centers_3BK[:, :, number]
        only = see_centers(replace(layout, centers_3BK=alone))
        assert found.alone_BK[0, number] == (only.masks_BHW == number + 1).sum()
    assert ((found.visible_BK >= 0) & (found.visible_BK <= 1)).all()
