"""A layer whose parameters are exactly the free weights, and which survives all that is done to layers."""

import copy
import pickle
from math import sqrt

import numpy as np
import pytest
import torch
from agreement import close
from torch import nn
from torch.func import functional_call, grad, vmap

from commonweight import patterns as P
from commonweight.codebook import codebook
from commonweight.errors import PatternError
from commonweight.hashing import hashed
from commonweight.lower import RULES
from commonweight.reordering import reordered
from commonweight.tied import Tied

# One pattern for each way that a layer can run.
PATTERNS = {
    "linear": P.dense(3, 5),
    "scale": P.diagonal(4),
    "sum": P.single(3, 4),
    "fourier": P.circulant(160),
    "fourier unrolled": P.transpose(P.circulant(289)),
    "copies": P.copies(3, P.conv1d((1, 5), 2, kernel=3)),
    "covering": P.conv2d((2, 3, 3), 4, kernel=3),
    "convolution": P.conv2d((2, 5, 6), 4, kernel=3, padding=1, stride=2),
    "convolution circular": P.conv2d((2, 5, 6), 4, kernel=3, padding=1, padding_mode="circular"),
    "convolution transposed": P.conv_transpose2d((4, 3, 3), 2, kernel=3, stride=2, padding=1, output_padding=1),
    "convolution nested": P.kron(P.table([[0, 1], [1, 2]], 3), P.conv2d((1, 5, 5), 1, kernel=3)),
    "windows": P.local((2, 4, 4), 3, kernel=3, padding=1),
    "windows transposed": P.transpose(P.tiled((2, 5), 3, kernel=3, padding=1, period=2)),
    "batched": P.block(P.dense(3, 2), P.dense(3, 2)),
    "batched vectorised": P.block(P.circulant(160), P.circulant(160)),
    "side by side": P.block(P.dense(3, 2), P.conv1d((2, 5), 2, kernel=3)),
    "composed": P.compose(P.circulant(196), weights_of=P.antisymmetric(14)),
    "swapped": P.kron(P.conv1d((1, 9), 1, kernel=3, padding=1), P.dense(3, 2)),
    "connected": P.kron(P.table([[0, 1], [1, 2]], 3), P.circulant(256)),
    "reordered": reordered(P.circulant(256), np.arange(256)[::-1], np.arange(256) + 3, n_in=270),
    "codebook": codebook(np.arange(12 * 40).reshape(12, 40) % 5, k=5, rows=2),
    "hashed": hashed(200, 100, 500, seed=1),
    "matrix": P.antisymmetric(5),
    "gather": P.table([[o] for o in range(100)], 200),
}
every = pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS.keys())


def layer_and_input(pattern, dtype=torch.float32, bias="channel"):
    generator = torch.Generator().manual_seed(0)
    layer = Tied(pattern, bias, generator=generator, dtype=dtype)
    return layer, torch.randn(3, *pattern.in_shape, generator=generator, dtype=dtype)


def test_every_rule_has_a_layer_here():
    assert {rule.name for rule in RULES} == {Tied(pattern).operator.rule for pattern in PATTERNS.values()}


@every
@pytest.mark.parametrize("bias", ["channel", "unit", "none"])
def test_parameters_are_the_free_weights(pattern, bias):
    layer = Tied(pattern, bias)
    shapes = {"weight": pattern.weight_shape}
    if bias != "none":
        shapes["bias"] = pattern.out_shape[:1] if bias == "channel" else pattern.out_shape
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == shapes
    assert {name: tuple(p.shape) for name, p in layer.state_dict().items()} == shapes
    assert (layer.bias_pattern.n_weights if layer.bias_pattern else 0) == (0 if bias == "none" else layer.bias.numel())
    assert not list(layer.buffers())


@pytest.mark.parametrize(
    ("pattern", "peer"),
    [
        (P.dense(20, 30), lambda: nn.Linear(20, 30)),
        (P.conv2d((4, 9, 9), 6, kernel=3, groups=2), lambda: nn.Conv2d(4, 6, 3, groups=2)),
        (P.conv1d((4, 9), 6, kernel=3, stride=2), lambda: nn.Conv1d(4, 6, 3, stride=2)),
    ],
)
def test_starts_with_the_draws_of_torch(pattern, peer):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = peer()
        torch.manual_seed(5)
        ours = Tied(pattern)
        unmoved = torch.random.get_rng_state()
        seeded = [Tied(pattern, generator=torch.Generator().manual_seed(5)) for _ in range(2)]
        assert torch.equal(torch.random.get_rng_state(), unmoved)
    for name, value in theirs.named_parameters():
        torch.testing.assert_close(getattr(ours, name), value)
        assert torch.equal(getattr(ours, name), getattr(seeded[0], name))
        assert torch.equal(getattr(seeded[0], name), getattr(seeded[1], name))


def test_starts_within_the_root_of_the_fan_in():
    pattern = P.kron(P.table([[0, 1, 2], [1]], 3), P.conv2d((1, 40, 40), 1, kernel=5))
    layer = Tied(pattern, bias="unit", generator=torch.Generator().manual_seed(0))
    bound = 1 / sqrt(2 * 25)  # two inputs a map, on average
    for parameter in layer.parameters():
        assert bound * 0.9 < parameter.abs().max() <= bound
    assert abs(layer.bias.mean()) < bound * 0.05


@pytest.mark.parametrize("lead", [(), (1,), (2,), (2, 3)])
def test_any_leading_axes(lead):
    layer, _ = layer_and_input(PATTERNS["convolution"], bias="unit")
    x = torch.randn(*lead, *layer.pattern.in_shape)
    y = layer(x)
    assert y.shape == (*lead, *layer.pattern.out_shape)
    each = torch.stack([layer(one) for one in x.reshape(-1, *layer.pattern.in_shape)])
    torch.testing.assert_close(y.reshape(each.shape), each)


@pytest.mark.parametrize("lead", [(0,), (2, 0)])
def test_no_samples_have_no_answers(lead):
    layer, _ = layer_and_input(PATTERNS["convolution"])
    y = layer(torch.zeros(*lead, *layer.pattern.in_shape))
    assert y.shape == (*lead, *layer.pattern.out_shape)


@pytest.mark.parametrize("shape", [(2, 6, 6), (5, 2, 6, 5), (5, 6), (60,), ()])
def test_a_wrong_shape_is_refused_in_one_sentence(shape):
    layer, _ = layer_and_input(PATTERNS["convolution"])
    with pytest.raises(PatternError) as caught:
        layer(torch.zeros(shape))
    assert str(caught.value) == (
        f"{layer.pattern} takes an input of shape (2, 5, 6), after any leading axes; got {shape}."
    )


@pytest.mark.parametrize("pattern", [P.dense(4, 3), P.conv1d((1, 4), 1, 2), hashed(256, 256, 64)])
def test_a_type_that_torch_does_not_take_beside_the_weights_is_refused_in_one_sentence(pattern):
    with pytest.raises(PatternError) as caught:
        Tied(pattern)(torch.ones(2, *pattern.in_shape, dtype=torch.float64))
    assert str(caught.value) == (
        f"{pattern} has weights of torch.float32 and cannot take an input of torch.float64: give both one type, as "
        "layer.to(torch.float64) or x.to(torch.float32) does."
    )


def test_what_else_torch_refuses_stays_its_own_error():
    layer, x = layer_and_input(PATTERNS["linear"])
    with pytest.raises(RuntimeError, match="meta"):
        layer(x.to("meta"))


def test_an_unknown_bias_is_refused():
    with pytest.raises(PatternError, match=r"bias is 'none', 'unit' .* or 'channel' .*; got 'row'"):
        Tied(P.dense(2, 2), bias="row")


@pytest.mark.parametrize("given", [3, None, "dense(2, 3)"])
def test_what_is_no_pattern_is_refused(given):
    with pytest.raises(PatternError, match="lower takes a pattern, such as") as caught:
        Tied(given)
    assert str(caught.value).endswith(f"; got {type(given).__name__}: {given!r}.")


def test_shows_its_notation():
    assert repr(Tied(P.dense(3, 4), bias="none")) == "Tied(dense(3, 4), bias='none')"


@every
def test_copies_are_equal_and_independent(pattern):
    layer, x = layer_and_input(pattern)
    y = layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), y)
        with torch.no_grad():
            twin.weight.add_(1)
    assert torch.equal(layer(x), y)


@every
def test_survives_the_meta_device_emptying_and_loading(pattern):
    layer, x = layer_and_input(pattern)
    with torch.device("meta"):
        empty = Tied(pattern)
        assert empty(torch.empty(3, *pattern.in_shape)).shape == (3, *pattern.out_shape)
    assert {p.device.type for p in empty.parameters()} == {"meta"}
    filled = copy.deepcopy(empty).to_empty(device="cpu")
    filled.load_state_dict(layer.state_dict())
    assert torch.equal(filled(x), layer(x))
    empty.load_state_dict(layer.state_dict(), assign=True)
    assert torch.equal(empty(x), layer(x))
    away = copy.deepcopy(layer).to("meta")
    assert away(x.to("meta")).device.type == "meta"


def test_draws_anew_after_emptying():
    layer = Tied(P.dense(9, 3), device="meta").to_empty(device="cpu")
    layer.reset_parameters(torch.Generator().manual_seed(2))
    assert torch.equal(layer.weight, Tied(P.dense(9, 3), generator=torch.Generator().manual_seed(2)).weight)


@every
def test_vmap_over_weights_is_a_loop(pattern):
    layer, x = layer_and_input(pattern, torch.float64)
    ensemble = {name: torch.stack([p.detach() * scale for scale in (1, -2, 3)]) for name, p in layer.named_parameters()}

    def call(parameters, x):
        return functional_call(layer, parameters, (x,))

    each = torch.stack([call({name: p[n] for name, p in ensemble.items()}, x) for n in range(3)])
    close(vmap(call, in_dims=(0, None))(ensemble, x), each, "output", 1e-12)
    close(vmap(call)(ensemble, torch.stack([x] * 3)), each, "output", 1e-12)


@every
def test_vmap_gives_the_gradient_of_each_sample(pattern):
    layer, x = layer_and_input(pattern, torch.float64)
    parameters = {name: p.detach() for name, p in layer.named_parameters()}

    def loss(parameters, x):
        return functional_call(layer, parameters, (x,)).square().sum()

    each = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    whole = grad(loss)(parameters, x)
    for name in parameters:
        close(each[name].sum(0), whole[name], f"gradient of {name}", 1e-12)


@every
def test_has_second_derivatives(pattern):
    """The derivative of the gradient, along a direction, is the difference quotient of the gradient."""
    layer, x = layer_and_input(pattern, torch.float64)
    weight = layer.weight.detach().requires_grad_()

    def gradient(weight):
        y = functional_call(layer, {"weight": weight}, (x,))
        return torch.autograd.grad(y.square().sum(), weight, create_graph=True)[0]

    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (product,) = torch.autograd.grad((gradient(weight) * direction).sum(), weight)
    # The loss is quadratic in the weights: the quotient is exact for a step of any size.
    close(product, (gradient(weight + direction) - gradient(weight - direction)).detach() / 2, "product", 1e-9)


@every
def test_runs_under_bfloat16_autocast(pattern):
    layer, x = layer_and_input(pattern)
    y = layer(x).detach().double()
    with torch.autocast("cpu", torch.bfloat16):
        for inputs in (x, x.bfloat16()):
            close(layer(inputs).detach(), y, "output", 0.05)
        layer(x).sum().backward()
    assert layer.weight.grad.dtype == torch.float32


@every
def test_runs_in_bfloat16(pattern):
    layer, x = layer_and_input(pattern)
    y = layer(x).detach().double()
    low = copy.deepcopy(layer).bfloat16()(x.bfloat16())
    assert low.dtype == torch.bfloat16
    close(low.detach(), y, "output", 0.1)


@every
def test_compiles_as_one_graph(pattern):
    layer, x = layer_and_input(pattern, torch.float64)
    torch.compiler.reset()
    y = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    y.square().sum().backward()
    got = {name: p.grad for name, p in layer.named_parameters()}
    layer.zero_grad()
    expected = layer(x)
    expected.square().sum().backward()
    close(y.detach(), expected.detach(), "output", 1e-12)
    for name, parameter in layer.named_parameters():
        close(got[name], parameter.grad, f"gradient of {name}", 1e-12)


def test_exports_as_torch_operators():
    layer, x = layer_and_input(PATTERNS["convolution nested"])
    program = torch.export.export(layer, (x,))
    torch.testing.assert_close(program.module()(x), layer(x))
