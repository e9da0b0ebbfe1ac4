"""Initial slots against plain transcriptions of what was published, and how their parameters start."""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import InitializerContext
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.registry import ComponentError

TOLERANCE = 1e-9
REGISTRY = load_registry()
SLOTS, WIDTH, TOKEN_WIDTH = 5, 8, 6
CONTEXT = InitializerContext(num_slots=SLOTS, slot_dim=WIDTH, token_dim=TOKEN_WIDTH)


def built(name: str, context: InitializerContext = CONTEXT, **settings: Any) -> Any:
    item = REGISTRY.find("initializer", name)
    assert item is not None
    config = item.component.config.model_validate(settings, context={"registry": REGISTRY})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return item.component.build(config, context)


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=Generator().manual_seed(seed))


def stream() -> Generator:
    return Generator().manual_seed(3)


def gradients_agree(module: nn.Module, found: Tensor, expected: Tensor) -> set[str]:
    """Compare the gradients of two results; return the names of the parameters that have one."""
    names, parameters = zip(*module.named_parameters(), strict=True)
    pair = [
        torch.autograd.grad((x * noise(*x.shape, seed=9)).sum(), parameters, allow_unused=True)
        for x in (found, expected)
    ]
    for name, mine, theirs in zip(names, *pair, strict=True):
        assert (mine is None) == (theirs is None), name
        if theirs is not None:
            assert theirs.any(), name
            assert (mine - theirs).abs().max() < TOLERANCE, name
    return {name for name, theirs in zip(names, pair[1], strict=True) if theirs is not None}


# --- how parameters start ----------------------------------------------------------------

WIDE = InitializerContext(num_slots=7, slot_dim=4096, token_dim=TOKEN_WIDTH)


def uniform_within(values: Tensor, bound: float) -> bool:
    return values.abs().max().item() <= bound and values.std().item() == pytest.approx(
        bound / 3**0.5, rel=0.03
    )


def test_starts_of_the_shared_gaussian() -> None:
    keras = built("gaussian", WIDE)
    assert uniform_within(keras.mu_D, (6 / 4097) ** 0.5)
    assert uniform_within(keras.log_sigma_D, (6 / 4097) ** 0.5)
    xavier = built("gaussian", WIDE, mean_init="xavier", log_sigma_init="xavier")
    torchs = nn.init.xavier_uniform_(torch.empty(1, 1, 4096))
    assert uniform_within(torchs, (3 / 4096) ** 0.5)
    assert uniform_within(xavier.mu_D, (3 / 4096) ** 0.5)
    assert uniform_within(xavier.log_sigma_D, (3 / 4096) ** 0.5)
    other = built("gaussian", WIDE, mean_init="normal", log_sigma_init="inverse_root")
    assert other.mu_D.std().item() == pytest.approx(1, rel=0.03)
    torch.testing.assert_close(other.log_sigma_D.exp(), torch.full((4096,), 1 / 64))
    zeros = built("gaussian", WIDE, mean_init="zeros", log_sigma_init="zeros")
    assert not zeros.mu_D.any()
    assert not zeros.log_sigma_D.any()


def test_starts_of_learned_slots() -> None:
    assert built("learnable", WIDE, init_std=0.5).vectors_KD.std().item() == pytest.approx(0.5, rel=0.03)
    assert uniform_within(built("learnable", WIDE, init="xavier").vectors_KD, (6 / (7 + 4096)) ** 0.5)


def test_starts_of_a_gaussian_for_each_slot() -> None:
    plain = built("gaussian_per_slot", WIDE)
    assert plain.mu_KD.shape == plain.log_sigma_KD.shape == (7, 4096)
    assert plain.mu_KD.std().item() == pytest.approx(1, rel=0.03)
    bound = (6 / (7 * 4096 + 4096)) ** 0.5
    assert uniform_within(nn.init.xavier_uniform_(torch.empty(1, 7, 4096)), bound)
    assert uniform_within(plain.log_sigma_KD, bound)
    other = built("gaussian_per_slot", WIDE, mean_init="xavier", log_sigma_init="inverse_root")
    assert uniform_within(other.mu_KD, (6 / (7 + 4096)) ** 0.5)
    torch.testing.assert_close(other.log_sigma_KD.exp(), torch.full((7, 4096), 1 / 64))


# --- what is computed --------------------------------------------------------------------


def test_a_gaussian_for_each_slot() -> None:
    module, tokens = built("gaussian_per_slot").double(), torch.zeros(2, 3, TOKEN_WIDTH)
    found = module(tokens, None, generator=stream()).vectors_BKD
    draws = torch.randn(2, SLOTS, WIDTH, dtype=torch.float64, generator=stream())
    expected = module.mu_KD + torch.exp(module.log_sigma_KD) * draws
    assert (found - expected).abs().max() < TOLERANCE
    assert gradients_agree(module, found, expected) == {"mu_KD", "log_sigma_KD"}
    assert torch.equal(module.eval()(tokens, None, generator=stream()).vectors_BKD, found)
    quiet = built("gaussian_per_slot", noise="training").double()
    assert torch.equal(quiet(tokens, None, generator=stream()).vectors_BKD, found)
    for image in quiet.eval()(tokens, None, generator=stream()).vectors_BKD:
        assert torch.equal(image, quiet.mu_KD)


def test_annealed_slots_are_those_of_boqsa() -> None:
    module, tokens = built("learnable", init="xavier", sigma=1.0).double(), torch.zeros(2, 3, TOKEN_WIDTH)
    assert module.schedulable == {"sigma"}
    draws = torch.randn(2, SLOTS, WIDTH, dtype=torch.float64, generator=stream())
    for sigma in (1.0, 0.3):
        module.sigma = sigma
        found = module(tokens, None, generator=stream()).vectors_BKD
        expected = module.vectors_KD + draws * sigma * module.vectors_KD.detach()
        assert (found - expected).abs().max() < TOLERANCE
        assert gradients_agree(module, found, expected) == {"vectors_KD"}


@pytest.mark.parametrize(("sigma", "training"), [(0.0, True), (1.0, False)])
def test_slots_without_noise_draw_nothing(sigma: float, training: bool) -> None:
    module, used = built("learnable", sigma=sigma).train(training), stream()
    found = module(torch.zeros(2, 3, TOKEN_WIDTH), None, generator=used).vectors_BKD
    assert all(torch.equal(image, module.vectors_KD) for image in found)
    assert torch.equal(used.get_state(), stream().get_state())


def heads(layer: nn.MultiheadAttention, queries: Tensor, keys: Tensor) -> Tensor:
    """Attention of four heads, one after the other."""
    q, k, v = (x @ w.T for x, w in zip((queries, keys, keys), layer.in_proj_weight.chunk(3), strict=True))
    size, found = WIDTH // 4, []
    for h in range(4):
        part = slice(h * size, (h + 1) * size)
        weights = (q[..., part] @ k[..., part].mT / size**0.5).softmax(dim=-1)
        found.append(weights @ v[..., part])
    return torch.cat(found, dim=-1) @ layer.out_proj.weight.T


def preheated(module: Any, tokens: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The layer's output and the training's slots, from the description of SmoothSA."""
    used = stream()
    first, second = (
        torch.randn(len(tokens), number, WIDTH, dtype=torch.float64, generator=used) for _ in range(2)
    )
    slots = module.mu_D + first * torch.exp(module.log_sigma_D)
    memory = tokens @ module.from_tokens.weight.T + module.from_tokens.bias
    slots = slots + heads(module.look, slots, memory)
    normal = F.layer_norm(slots, (WIDTH,)) * module.norm_slots.weight
    slots = slots + heads(module.mix, normal, normal)
    norm, up, _, down = module.mlp
    inner = F.layer_norm(slots, (WIDTH,)) * norm.weight
    slots = slots + F.gelu(inner @ up.weight.T) @ down.weight.T
    return slots, slots.detach() + second * torch.exp(module.log_noise_D)


@pytest.mark.parametrize("number", [None, 3])
def test_preheated_slots_are_those_of_smoothsa(number: int | None) -> None:
    module, tokens = built("preheated").double(), noise(2, 7, TOKEN_WIDTH, seed=0)
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter.add_(0.2 * noise(*parameter.shape, seed=index))
    slots = module(tokens, number, generator=stream())
    found, start = preheated(module, tokens, number or SLOTS)
    assert (slots.extras["preheated"] - found).abs().max() < TOLERANCE
    assert (slots.vectors_BKD - start).abs().max() < TOLERANCE
    assert gradients_agree(module, slots.vectors_BKD, start) == {"log_noise_D"}
    names = {name for name, _ in module.named_parameters()}
    assert gradients_agree(module, slots.extras["preheated"], found) == names - {"log_noise_D"}
    calm = module.eval()(tokens, number, generator=stream())
    assert torch.equal(calm.vectors_BKD, calm.extras["preheated"])
    assert (calm.vectors_BKD - found).abs().max() < TOLERANCE


def test_tokens_learn_from_preheating_only_once_they_are_attached() -> None:
    module, tokens = built("preheated"), torch.zeros(2, 7, TOKEN_WIDTH).requires_grad_()
    assert module.schedulable == {"detach"}
    for detach, reached in ((1.0, False), (0.1, False), (0.0, True)):
        module.detach = detach
        found = module(tokens, None, generator=stream()).extras["preheated"]
        (gradient,) = torch.autograd.grad(found.square().sum(), tokens, allow_unused=True)
        assert (gradient is not None) == reached


def test_preheated_slots_have_no_order_and_any_number() -> None:
    module = built("preheated")
    assert not module.fixed_num_slots
    drawn, tokens = noise(2, 4, WIDTH, seed=1).float(), noise(2, 7, TOKEN_WIDTH, seed=0).float()
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(module._layer(drawn[:, order], tokens), module._layer(drawn, tokens)[:, order])


def test_weights_of_the_preheating_layer() -> None:
    """With D = 256 from tokens of 384: two attentions of 4 D^2, MLP 8 D^2, two norms, projection, three vectors."""
    module = built("preheated", InitializerContext(num_slots=7, slot_dim=256, token_dim=384))
    assert sum(p.numel() for p in module.parameters()) == 16 * 256**2 + 2 * 256 + 385 * 256 + 3 * 256


def test_heads_divide_the_width() -> None:
    with pytest.raises(ComponentError, match=r"^3 heads do not divide the slots' width 8$") as raised:
        built("preheated", heads=3)
    assert raised.value.field == "heads"
