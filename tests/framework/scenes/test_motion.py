"""Laws of sliding discs: momentum, energy, room and rest."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from slotlab.framework.scenes.motion import GRAVITY, TOUCH, Discs, Motion, Tracks, pairs, simulate, slowed

SMOOTH = Motion(friction=0.0, restitution=1.0)


def discs(positions: object, velocities: object, radii: object = None, present: object = None) -> Discs:
    """One video's discs, from lists; radii are 1."""
    positions_BK2 = torch.tensor(positions, dtype=torch.float64)[None]
    count = positions_BK2.shape[1]
    return Discs(
        positions_BK2,
        torch.tensor(velocities, dtype=torch.float64)[None],
        torch.tensor(radii or [1.0] * count, dtype=torch.float64)[None],
        torch.tensor(present or [True] * count)[None],
    )


def crowd(videos: int = 30, objects: int = 6, seed: int = 0) -> Discs:
    """Discs of several sizes that do not overlap at first, and run into each other."""
    stream = torch.Generator().manual_seed(seed)
    grid_K2 = torch.tensor([[x, y] for x in (-3.0, 0.0, 3.0) for y in (-1.5, 1.5)][:objects]).double()
    shift = 0.2 * torch.rand(videos, objects, 2, generator=stream).double()
    radii_BK = 0.5 + 0.6 * torch.rand(videos, objects, generator=stream).double()
    velocities_BK2 = 6 * torch.rand(videos, objects, 2, generator=stream).double() - 3 - grid_K2
    present_BK = torch.arange(objects) < torch.randint(3, objects + 1, (videos, 1), generator=stream)
    return Discs(grid_K2 + shift, velocities_BK2 * present_BK[..., None], radii_BK, present_BK)


def momentum(tracks: Tracks, radii_BK: Tensor) -> Tensor:
    return (radii_BK[:, None, :, None] ** 3 * tracks.velocities_BFK2).sum(2)


def energy(tracks: Tracks, radii_BK: Tensor) -> Tensor:
    return (radii_BK[:, None] ** 3 * tracks.velocities_BFK2.square().sum(-1)).sum(2) / 2


# --- one contact -------------------------------------------------------------------------


def test_a_disc_moves_evenly_without_friction() -> None:
    tracks = simulate(discs([[0, 0]], [[1.5, -3]]), replace(SMOOTH, frames=5, fps=10))
    expected = torch.arange(6)[:, None] / 10 * torch.tensor([1.5, -3]).double()
    torch.testing.assert_close(tracks.positions_BFK2[0, :, 0], expected)
    assert not tracks.met_BFP.numel()


def test_equal_discs_swap_velocities_head_on() -> None:
    tracks = simulate(discs([[-1.9, 0], [0.5, 0]], [[3, 0], [0, 0]]), replace(SMOOTH, frames=6))
    torch.testing.assert_close(tracks.velocities_BFK2[0, -1], torch.tensor([[0, 0], [3, 0]]).double())
    assert tracks.collisions() == [[[1, 1, 2]]], (
        "0.4 units at 3 a second: in the second of 12 frames a second"
    )


def test_restitution_is_the_part_of_the_speed_that_is_left() -> None:
    start = discs([[-2, 0.3], [0.5, -0.2]], [[3, 0], [-1, 1]], radii=[1.0, 0.6])
    tracks = simulate(start, Motion(friction=0, restitution=0.4))
    [[frame, _, _]] = tracks.collisions()[0]
    before, after = tracks.velocities_BFK2[0, frame], tracks.velocities_BFK2[0, frame + 1]
    change = after[0] - before[0]
    normal = change / change.norm()
    closing, parting = (before[0] - before[1]) @ normal, (after[0] - after[1]) @ normal
    assert parting == pytest.approx(-0.4 * closing)


def test_a_heavy_disc_is_hardly_moved() -> None:
    tracks = simulate(discs([[-2, 0], [1, 0]], [[3, 0], [0, 0]], radii=[0.3, 1.5]), SMOOTH)
    light, heavy = tracks.velocities_BFK2[0, -1, :, 0]
    assert light == pytest.approx(3 * (0.3**3 - 1.5**3) / (0.3**3 + 1.5**3))
    assert heavy == pytest.approx(6 * 0.3**3 / (0.3**3 + 1.5**3))


def test_discs_in_one_place_are_parted() -> None:
    tracks = simulate(discs([[0, 0], [0, 0]], [[0, 0], [0, 0]]), Motion(frames=1))
    first, second = tracks.positions_BFK2[0, 1]
    assert (second - first).tolist() == [2.0, 0.0]


def test_absent_discs_meet_nobody() -> None:
    start = discs([[-2, 0], [0.5, 0], [0.5, 0]], [[3, 0], [0, 0], [0, 0]], present=[True, False, False])
    tracks = simulate(start, SMOOTH)
    assert tracks.velocities_BFK2[0, -1].tolist() == [[3, 0], [0, 0], [0, 0]]
    assert tracks.collisions() == [[]]


# --- friction ----------------------------------------------------------------------------


def test_friction_stops_a_disc_where_it_must() -> None:
    tracks = simulate(discs([[0, 0]], [[0.8, -0.6]]), Motion(friction=0.3, frames=12, substeps=64))
    assert tracks.velocities_BFK2[0, -1].abs().max() == 0, "it rests, exactly"
    way = tracks.positions_BFK2[0, -1, 0].norm()
    assert way == pytest.approx(1 / (2 * 0.3 * GRAVITY), rel=0.03), "v^2 / (2 mu g)"
    assert tracks.positions_BFK2[0, -1].equal(tracks.positions_BFK2[0, -2])


def test_slowed_speeds_keep_their_direction_and_never_turn() -> None:
    velocities = torch.tensor([[3.0, 4.0], [0.1, 0.0], [0.0, 0.0]]).double()[None]
    torch.testing.assert_close(
        slowed(velocities, 1.0)[0], torch.tensor([[2.4, 3.2], [0, 0], [0, 0]]).double()
    )


# --- crowds ------------------------------------------------------------------------------


@pytest.mark.parametrize("restitution", [0.0, 0.6, 1.0])
def test_momentum_stays_and_energy_never_grows(restitution: float) -> None:
    start = crowd()
    tracks = simulate(start, Motion(friction=0, restitution=restitution, frames=20))
    assert sum(map(len, tracks.collisions())) > 60
    total = momentum(tracks, start.radii_BK)
    torch.testing.assert_close(total, total[:, :1].expand_as(total), rtol=0, atol=1e-11)
    found = energy(tracks, start.radii_BK)
    assert (found[:, 1:] <= found[:, :-1] * (1 + 1e-12)).all()
    if restitution == 1:
        torch.testing.assert_close(found, found[:, :1].expand_as(found))


def test_a_break_shot_gains_no_energy() -> None:
    # One disc hits two that touch, in one substep: settled together they would gain.
    start = discs([[-2.2, 0], [0, 1.0], [0, -1.0]], [[10, 0], [0, 0], [0, 0]])
    tracks = simulate(start, SMOOTH)
    found = energy(tracks, start.radii_BK)[0]
    assert found.max() <= found[0] * (1 + 1e-12)
    assert tracks.met_BFP.any(1).all(0).tolist()[:2] == [True, True]


def test_discs_do_not_overlap() -> None:
    start = crowd()
    tracks = simulate(start, Motion(frames=20))
    first, second = pairs(6)
    gap = (tracks.positions_BFK2[:, :, first] - tracks.positions_BFK2[:, :, second]).norm(dim=-1)
    overlap = (start.radii_BK[:, first] + start.radii_BK[:, second])[:, None] - gap
    both = (start.present_BK[:, first] & start.present_BK[:, second])[:, None]
    assert overlap.masked_fill(~both, 0).max() <= 2 * TOUCH


def test_discs_at_rest_stay_where_they_are() -> None:
    start = crowd()
    tracks = simulate(replace(start, velocities_BK2=torch.zeros_like(start.velocities_BK2)), Motion())
    assert tracks.positions_BFK2.equal(start.positions_BK2[:, None].expand_as(tracks.positions_BFK2))


def test_no_bit_depends_on_the_batch() -> None:
    start, motion = crowd(), Motion(frames=15)
    together = simulate(start, motion)
    for video in range(0, 30, 7):
        own = Discs(*(values[video : video + 1] for values in vars(start).values()))
        alone = simulate(own, motion)
        assert alone.positions_BFK2.equal(together.positions_BFK2[video : video + 1])
        assert alone.velocities_BFK2.equal(together.velocities_BFK2[video : video + 1])
        assert alone.collisions() == together.collisions()[video : video + 1]


def test_a_longer_video_begins_as_the_shorter_one() -> None:
    start = crowd()
    short, long = simulate(start, Motion(frames=4)), simulate(start, Motion(frames=9))
    assert short.positions_BFK2.equal(long.positions_BFK2[:, :5])
