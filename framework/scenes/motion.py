"""Discs that slide on the ground: masses, friction and contacts, for B videos at once.

Solids that stand on the ground and do not turn are discs of their footprints, with masses as radius^3.
In each substep friction slows them, they move, and pairs that overlap exchange the normal impulse
(1 + restitution) * closing speed / (1/m1 + 1/m2) and are pushed apart in proportion to the other's mass: the
textbook's inelastic contact. Pairs are settled one after another, the deepest first; settled all at once they
could gain energy.

All is float64 on the CPU, in steps that are rounded alike in every batch, so that every device sees the same
motion. Lengths are in world units, times in seconds. Axes: B videos, F moments (the one before the first
frame, then the frames), K objects, P pairs of objects, R pairs that touch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

GRAVITY = 9.81
"""The acceleration of friction is the coefficient times this: world units per second squared."""
TOUCH = 1e-6
"""Discs may overlap by this much without being pushed apart."""
_ROUNDS = 16
"""The most contacts that are settled in a substep, for each object: a bound for clusters without an end."""


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How objects move. The frame before the first shown one is where they were placed."""

    frames: int = 12
    fps: int = 12
    substeps: int = 8
    """Steps of the physics for each frame."""
    speed: float = 3.0
    """The most of a component of a velocity at first, besides the pull to the middle."""
    friction: float = 0.08
    restitution: float = 0.6
    """The part of the closing speed that is left after a contact."""
    movers: int | None = None
    """How many objects move at first; None for all."""
    launched: bool = False
    """Whether the movers are spheres near the camera, launched at other objects."""
    events: bool = False
    """Whether in every video at least one pair meets or one object hides a part of another."""


@dataclass(frozen=True)
class Discs:
    """The objects of B videos at one moment; all are float64 but `present_BK`."""

    positions_BK2: Tensor
    velocities_BK2: Tensor
    radii_BK: Tensor
    present_BK: Tensor


@dataclass(frozen=True)
class Tracks:
    """Where the objects of B videos are."""

    positions_BFK2: Tensor
    """float64: x and y at frame F - 1; moment 0 is before the first frame."""
    velocities_BFK2: Tensor
    """float64, in world units per second."""
    met_BFP: Tensor
    """Which pairs met since the moment before; bool. Pairs are in the order of `pairs`."""

    def collisions(self) -> list[list[list[int]]]:
        """Return for each video [frame, i, j]: objects i < j, numbered from 1, met right before the frame."""
        first_P, second_P = pairs(self.positions_BFK2.shape[2])
        found: list[list[list[int]]] = [[] for _ in self.met_BFP]
        for video, moment, pair in self.met_BFP.nonzero().tolist():
            found[video].append([moment - 1, int(first_P[pair]) + 1, int(second_P[pair]) + 1])
        return found


def pairs(objects: int) -> tuple[Tensor, Tensor]:
    """Return the numbers of the objects of each pair, int64 (P,): first those of object 0."""
    first_P, second_P = torch.triu_indices(objects, objects, 1)
    return first_P, second_P


def simulate(discs: Discs, motion: Motion) -> Tracks:
    """Return where discs move in `motion.frames` frames, from the moment before the first one on."""
    state = _Contacts(discs, motion.restitution)
    step = 1 / (motion.fps * motion.substeps)
    moments = [(state.positions_BK2.clone(), state.velocities_BK2.clone(), state.met_BP.clone())]
    for _ in range(motion.frames):
        state.met_BP.zero_()
        for _ in range(motion.substeps):
            state.velocities_BK2 = slowed(state.velocities_BK2, motion.friction * GRAVITY * step)
            state.positions_BK2 = state.positions_BK2 + state.velocities_BK2 * step
            state.settle()
        moments.append((state.positions_BK2.clone(), state.velocities_BK2.clone(), state.met_BP.clone()))
    return Tracks(*(torch.stack(values, 1) for values in zip(*moments, strict=True)))


def slowed(velocities_BK2: Tensor, loss: float) -> Tensor:
    """Return velocities whose speeds are less by `loss`; what is slower comes to rest."""
    speed_BK1 = _length(velocities_BK2)[..., None]
    return velocities_BK2 * (1 - loss / speed_BK1.clamp(min=1e-12)).clamp(min=0)


class _Contacts:
    """The discs during a simulation, changed in place where they touch."""

    def __init__(self, discs: Discs, restitution: float):
        self.positions_BK2 = discs.positions_BK2.clone()
        self.velocities_BK2 = discs.velocities_BK2.clone()
        self.masses_BK = discs.radii_BK * discs.radii_BK * discs.radii_BK
        self.restitution = restitution
        self.first_P, self.second_P = pairs(discs.radii_BK.shape[1])
        both_BP = discs.present_BK[:, self.first_P] & discs.present_BK[:, self.second_P]
        reach_BP = discs.radii_BK[:, self.first_P] + discs.radii_BK[:, self.second_P]
        self.reach_BP = reach_BP.masked_fill(~both_BP, -torch.inf)
        self.met_BP = torch.zeros_like(both_BP)

    def settle(self) -> None:
        """Settle contacts until no discs overlap, the deepest of each video first."""
        if not len(self.first_P):
            return
        for _ in range(_ROUNDS * self.masses_BK.shape[1]):
            apart_BP2 = self.positions_BK2[:, self.second_P] - self.positions_BK2[:, self.first_P]
            deepest_B, pair_B = (self.reach_BP - _length(apart_BP2)).max(1)
            rows_R = (deepest_B > TOUCH).nonzero()[:, 0]
            if not len(rows_R):
                return
            self._settle_pairs(rows_R, pair_B[rows_R], apart_BP2[rows_R, pair_B[rows_R]])

    def _settle_pairs(self, rows_R: Tensor, pair_R: Tensor, apart_R2: Tensor) -> None:
        first, second = (rows_R, self.first_P[pair_R]), (rows_R, self.second_P[pair_R])
        distance_R = _length(apart_R2)
        # Two discs in one place have no direction: it is that of x.
        x_R = torch.where(distance_R > 0, apart_R2[:, 0] / distance_R, 1.0)
        y_R = torch.where(distance_R > 0, apart_R2[:, 1] / distance_R, 0.0)
        normal_R2 = torch.stack([x_R, y_R], 1)
        mass_R, other_R = self.masses_BK[first], self.masses_BK[second]
        relative_R2 = self.velocities_BK2[first] - self.velocities_BK2[second]
        closing_R = (relative_R2[:, 0] * x_R + relative_R2[:, 1] * y_R).clamp(min=0)
        reduced_R = mass_R * other_R / (mass_R + other_R)
        impulse_R2 = normal_R2 * ((1 + self.restitution) * closing_R * reduced_R)[:, None]
        self.velocities_BK2[first] -= impulse_R2 / mass_R[:, None]
        self.velocities_BK2[second] += impulse_R2 / other_R[:, None]
        overlap_R = self.reach_BP[rows_R, pair_R] - distance_R
        push_R2 = normal_R2 * (overlap_R / (mass_R + other_R))[:, None]
        self.positions_BK2[first] -= push_R2 * other_R[:, None]
        self.positions_BK2[second] += push_R2 * mass_R[:, None]
        self.met_BP[rows_R, pair_R] |= closing_R > 0


def _length(vectors_M2: Tensor) -> Tensor:
    # Written out, as a sum along an axis may be rounded differently in another batch.
    return (vectors_M2[..., 0] * vectors_M2[..., 0] + vectors_M2[..., 1] * vectors_M2[..., 1]).sqrt()
