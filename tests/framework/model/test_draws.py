"""Draws come from the given streams alone: one for the batch, or one for each image."""

import pytest
import torch
from torch import Generator

from slotlab.framework.model.draws import Drop, drawn, dropping, normal, uniform_steps
from slotlab.registry import ComponentError

LIKE = torch.zeros(3, 2, 4, 5)
CPU = torch.device("cpu")


def streams(*seeds: int) -> list[Generator]:
    return [Generator().manual_seed(seed) for seed in seeds]


def test_one_stream_draws_for_the_whole_batch() -> None:
    (stream, again) = streams(1, 1)
    assert torch.equal(normal(LIKE, stream), torch.randn(3, 2, 4, 5, generator=again))
    assert torch.equal(stream.get_state(), again.get_state())


def test_each_image_draws_from_its_own_stream() -> None:
    together = normal(LIKE, streams(1, 2, 3))
    for i, seed in enumerate((1, 2, 3)):
        assert torch.equal(together[i : i + 1], normal(LIKE[:1], streams(seed)))
        assert torch.equal(together[i : i + 1], normal(LIKE[:1], streams(seed)[0]))


def test_steps_are_uniform_and_each_images_own() -> None:
    found = uniform_steps(4, 10_000, Generator().manual_seed(0), CPU)
    assert found.dtype == torch.int64
    assert found.bincount().tolist() == pytest.approx([2500] * 4, abs=150)
    together = uniform_steps(1000, 3, streams(4, 5, 6), CPU)
    assert together.tolist() == [int(uniform_steps(1000, 1, one, CPU)) for one in streams(4, 5, 6)]


def test_draws_have_the_latents_dtype_and_need_no_values() -> None:
    assert normal(LIKE.double(), streams(0)[0]).dtype == torch.float64
    meta = torch.empty(3, 2, 4, 5, device="meta")
    assert normal(meta, None).is_meta
    assert Drop(0.5, None)(meta).is_meta
    assert uniform_steps(9, 3, None, torch.device("meta")).is_meta


def test_dropout_leaves_out_as_many_as_it_says_and_keeps_the_mean() -> None:
    found = dropping(0.25, Generator().manual_seed(0))(torch.ones(10, 10, 20, 20))
    assert found.unique().tolist() == pytest.approx([0, 4 / 3])
    assert float((found == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(found.mean()) == pytest.approx(1, abs=0.01)


def test_dropout_of_an_image_does_not_depend_on_its_batch() -> None:
    x = torch.rand(3, 2, 4, 5) + 1
    together = Drop(0.5, streams(1, 2, 3))(x)
    assert torch.equal(together[1:2], Drop(0.5, streams(2))(x[1:2]))


def test_no_dropout_draws_nothing() -> None:
    (stream, before) = streams(1, 1)
    x = torch.rand(3, 2, 4, 5)
    assert dropping(0.0, stream)(x) is x
    assert torch.equal(stream.get_state(), before.get_state())


def test_too_few_streams_are_refused() -> None:
    with pytest.raises(ComponentError) as error:
        drawn(lambda number, stream: torch.zeros(number), 3, streams(1, 2))
    assert str(error.value) == "each of 3 images needs a random stream of its own, not 2"
