"""Every operator is the oracle, faster: output, input gradient, weight gradient; and the rules choose as they say."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
import torch
from agreement import agree, close
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import patterns as any_pattern
from strategies import windows as any_window
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from commonweight import patterns as P
from commonweight import reference
from commonweight.codebook import codebook
from commonweight.errors import PatternError
from commonweight.hashing import hashed
from commonweight.lower import RULES, explain, lower, simplify
from commonweight.operators import products
from commonweight.operators.sliding import sliding
from commonweight.operators.spread import Spread, Table, numbers
from commonweight.reordering import reordered

C3 = [[m % 6, (m + 1) % 6, (m + 2) % 6] for m in range(6)] + [[0, 1, 2, 3], [0, 1, 3, 4], [0, 1, 2, 3, 4, 5]]
SUBSAMPLING = P.kron(P.diagonal(6), P.compose(P.conv2d((1, 8, 8), 1, kernel=2, stride=2), weights_of=P.single(4, 1)))
THIRD_LAYER = P.kron(P.table(C3, 6), P.conv2d((1, 7, 7), 1, kernel=5))
SPARSE = P.table([[o] for o in range(100)], 200)
GROUPED = P.conv2d((4, 5, 4), 6, kernel=(3, 2), stride=(2, 1), padding=1, dilation=(1, 2), groups=2)
LOCAL = P.local((4, 5, 4), 6, kernel=3, padding=1, groups=2)
TILED = P.tiled((2, 7, 5), 3, kernel=3, padding=1, period=(2, 3))

BACKWARDS = np.arange(256)[::-1]

# Rule, operator and pattern: each way of each rule, at both sides of what it distinguishes.
CODED = codebook(np.arange(12 * 40).reshape(12, 40) % 5, k=5, rows=2)
CHOICES = [
    ("linear", "linear", P.dense(3, 5)),
    ("linear", "linear", P.transpose(P.dense(3, 5))),
    ("linear", "linear", P.compose(P.dense(4, 3), weights_of=P.dense(4, 3))),
    ("linear", "linear", P.kron(P.diagonal(1), P.dense(4, 3))),
    ("linear", "linear", P.kron(P.dense(4, 3), P.single(1, 1))),
    ("scale", "mul", P.diagonal(4)),
    ("scale", "mul", P.transpose(P.diagonal(4))),
    ("sum", "sum", P.single(3, 4)),
    ("sum", "sum", P.transpose(P.single(3, 4))),
    ("codebook", "commonweight.kernels.codebook_product", CODED),
    ("hashed", "commonweight.kernels.spread_product", hashed(200, 100, 500, seed=1)),
    ("hashed", "commonweight.kernels.spread_product", P.transpose(hashed(200, 100, 500, seed=1, tile=True))),
    ("matrix", "linear", hashed(9, 7, 12)),
    ("matrix", "linear", P.transpose(CODED)),
    ("matrix", "linear", P.circulant(150)),
    ("fourier", "rfft", P.circulant(160)),
    ("fourier", "rfft", P.transpose(P.circulant(210))),
    ("matrix", "linear", P.circulant(221)),  # 13 · 17: no size for a transform
    ("fourier", "rfft", P.circulant(361)),  # 19 · 19, unrolled
    ("fourier", "rfft", P.transpose(P.circulant(361))),
    ("fourier", "rfft", P.toeplitz(390, 370)),
    ("fourier", "rfft", P.transpose(P.toeplitz(370, 390))),
    ("matrix", "linear", P.toeplitz(20, 300)),
    ("matrix", "linear", P.transpose(P.toeplitz(3, 5))),
    ("matrix", "linear", P.symmetric(4)),
    ("matrix", "linear", P.transpose(P.symmetric(4))),
    ("matrix", "linear", P.antisymmetric(4)),
    ("matrix", "linear", P.transpose(P.antisymmetric(4))),
    ("matrix", "linear", P.table([[0, 1], [], [2]], 3)),
    ("matrix", "linear", P.orbits([[1, 2, 0]], [[1, 0]])),
    ("matrix", "linear", P.kron(P.dense(2, 3), P.dense(4, 2))),
    ("matrix", "linear", P.kron(P.antisymmetric(3), P.symmetric(2))),
    ("matrix", "linear", P.compose(P.dense(4, 4), weights_of=P.antisymmetric(4))),
    ("copies", "conv2d", P.copies(3, P.conv2d((1, 5, 5), 2, kernel=3))),
    ("copies", "linear", P.kron(P.copies(4, P.dense(3, 2)), P.dense(1, 2))),
    ("covering", "linear", P.conv2d((3, 4, 5), 6, kernel=(4, 5))),
    ("covering", "linear", P.transpose(P.conv2d((3, 4, 5), 6, kernel=(4, 5)))),
    ("covering", "linear", P.local((3, 4), 6, kernel=4)),
    ("covering", "linear", P.conv1d((2, 1), 3, kernel=3, padding=1)),  # its outer taps only meet padding
    ("convolution", "conv1d", P.conv1d((2, 4), 4, kernel=4, groups=2)),
    ("convolution", "conv1d", P.conv1d((1, 3), 2, kernel=2, padding=1, stride=2)),
    ("convolution", "conv1d", P.conv1d((1, 1), 2, kernel=5, padding=3, stride=2)),  # dead taps between live ones
    ("convolution", "conv1d", P.conv1d((1, 3), 2, kernel=3, padding=7, padding_mode="circular")),  # around twice
    ("convolution", "conv2d", GROUPED),
    ("convolution", "conv2d", P.conv2d((2, 6, 5), 3, kernel=3, padding=(1, 0), padding_mode="circular", stride=2)),
    ("convolution", "conv3d", P.conv3d((2, 3, 4, 3), 2, kernel=2, padding=(0, 1, 0))),
    ("convolution", "conv_transpose1d", P.transpose(P.conv1d((1, 1), 2, kernel=5, padding=3, stride=2))),
    ("convolution", "conv_transpose1d", P.transpose(P.conv1d((1, 3), 2, kernel=3, padding=7, padding_mode="circular"))),
    ("convolution", "conv_transpose2d", P.transpose(GROUPED)),
    ("convolution", "conv_transpose2d", P.conv_transpose2d((3, 4, 3), 2, kernel=3, stride=2, output_padding=(1, 0))),
    ("convolution", "conv_transpose3d", P.transpose(P.conv3d((2, 3, 4, 3), 2, kernel=2, padding=(0, 1, 0)))),
    ("convolution", "conv2d", SUBSAMPLING),
    ("convolution", "conv_transpose2d", P.transpose(SUBSAMPLING)),
    ("convolution", "conv2d", THIRD_LAYER),
    ("convolution", "conv_transpose2d", P.transpose(THIRD_LAYER)),
    ("convolution", "conv2d", P.kron(P.conv1d((2, 5), 3, kernel=3, padding=1), P.conv1d((1, 4), 1, kernel=2))),
    ("convolution", "conv2d", P.kron(P.dense(2, 3), P.conv2d((4, 5, 5), 2, kernel=2, groups=2))),
    ("convolution", "conv_transpose2d", P.kron(P.dense(2, 3), P.transpose(P.conv2d((1, 5, 5), 1, kernel=3)))),
    ("convolution", "conv1d", P.kron(P.table([[0, 1], [2, 3]], 4), P.conv1d((1, 5), 2, kernel=2))),  # two groups
    ("convolution", "conv1d", P.kron(P.antisymmetric(3), P.conv1d((2, 5), 2, kernel=2))),
    ("convolution", "conv1d", P.kron(P.dense(2, 2), P.copies(3, P.conv1d((1, 5), 1, kernel=2)))),
    ("convolution", "conv1d", P.block(*[P.conv1d((2, 5), 2, kernel=3)] * 3)),
    ("convolution", "conv2d", P.compose(P.conv2d((1, 6, 6), 4, kernel=2), weights_of=P.antisymmetric(4))),
    ("windows", "bmm", LOCAL),
    ("windows", "bmm", P.transpose(LOCAL)),
    ("windows", "bmm", P.local((2, 6), 3, kernel=3, stride=2, padding=1, padding_mode="circular")),
    ("windows", "bmm", TILED),
    ("windows", "bmm", P.transpose(TILED)),
    ("windows", "bmm", P.kron(P.table([[0, 1], [1]], 2), P.local((1, 4, 4), 1, kernel=3))),
    ("windows", "bmm", P.tiled((1, 2, 2, 2, 3), 2, kernel=2, padding=(1, 0, 0, 0), period=1)),  # four axes
    ("batched", "bmm", P.block(P.dense(3, 2), P.dense(3, 2))),
    ("batched", "bmm", P.transpose(P.block(P.dense(3, 2), P.dense(3, 2)))),
    ("batched", "bmm", P.kron(P.diagonal(3), P.symmetric(2))),
    ("batched", "rfft", P.block(P.circulant(160), P.circulant(160))),
    ("batched", "index_add", P.block(SPARSE, SPARSE)),
    ("side by side", "linear + torch.nn.functional.conv1d", P.block(P.dense(3, 2), P.conv1d((2, 4), 2, kernel=3))),
    ("side by side", "mul", P.transpose(P.block(P.diagonal(2), P.diagonal(3)))),
    ("composed", "rfft", P.compose(P.circulant(196), weights_of=P.antisymmetric(14))),
    ("composed", "rfft", P.transpose(P.compose(P.circulant(196), weights_of=P.table([[0, 5]] * 14, 14)))),
    ("composed", "mul", P.compose(P.diagonal(4), weights_of=P.single(2, 2))),
    ("swapped", "conv1d", P.kron(P.conv1d((1, 9), 1, kernel=3, padding=1), P.dense(3, 2))),
    ("swapped", "conv2d", P.kron(P.conv2d((1, 5, 5), 2, kernel=3), P.diagonal(3))),
    ("connected", "rfft", P.kron(P.table([[0, 1], [1, 2]], 3), P.circulant(256))),
    ("connected", "mul", P.kron(P.antisymmetric(3), P.diagonal(30))),
    ("reordered", "rfft", reordered(P.circulant(256), BACKWARDS, np.roll(BACKWARDS, 7))),
    ("reordered", "rfft", P.transpose(reordered(P.circulant(256), BACKWARDS, 2 * BACKWARDS, n_in=512))),
    ("matrix", "linear", reordered(P.circulant(192), np.arange(192)[::-1], np.arange(192))),
    ("reordered", "linear", reordered(P.dense(3, 2), [0, 1], [2, 0, 4], n_in=5)),
    ("reordered", "conv2d", reordered(P.conv2d((1, 4, 4), 2, kernel=3), np.arange(8) ^ 3, np.arange(16) + 2, n_in=20)),
    ("matrix", "linear", reordered(P.symmetric(3), [2, 0, 1], [0, 1, 2])),
    ("scale", "mul", reordered(reordered(P.diagonal(3), [1, 2, 0], [0, 1, 2]), [2, 0, 1], [0, 1, 2])),
    ("gather", "index_add", reordered(SPARSE, np.arange(100)[::-1], np.arange(200))),
    ("gather", "index_add", SPARSE),
    ("gather", "index_add", P.transpose(P.compose(P.dense(100, 2), weights_of=P.table([[0], [0]], 100)))),
]


@pytest.mark.parametrize(("rule", "operator", "pattern"), CHOICES, ids=lambda value: str(value)[:60])
def test_each_choice_is_the_oracle(rule, operator, pattern):
    chosen = lower(pattern)
    assert chosen.rule == rule
    assert chosen.operator.removeprefix("torch.").removeprefix("nn.functional.").removeprefix("fft.") == operator
    agree(pattern)


def test_each_rule_is_chosen_and_named_once():
    names = [rule.name for rule in RULES]
    assert set(names) == {rule for rule, _, _ in CHOICES}
    assert len(set(names)) == len(names)


# A convolution whose weights come transposed: they lie in channels-last order, which torch refuses in float64.
TURNED = P.transpose(P.kron(P.transpose(P.conv2d((1, 1, 2), 1, kernel=(1, 2))), P.dense(1, 2)))


@settings(max_examples=150, deadline=None)
@given(any_pattern(), st.sampled_from(["none", "channel", "unit"]), st.integers(0, 2**32 - 1))
@example(TURNED, "none", 0)
def test_any_nesting_is_the_oracle(pattern, bias, seed):
    agree(pattern, bias, batch=2, seed=seed)


# In float32, channels last, torch's own convolution gives wrong numbers here.
MISREAD = P.conv2d((1, 4, 4), 1, kernel=3, stride=(1, 2))


@settings(max_examples=150, deadline=None)
@given(any_window(), st.integers(0, 2**32 - 1))
@example(MISREAD, 0)
def test_any_window_is_the_oracle(pattern, seed):
    agree(pattern, batch=2, seed=seed)


@settings(max_examples=200, deadline=None)
@given(any_pattern())
def test_a_simpler_notation_means_the_same(pattern):
    simple = simplify(pattern)
    assert np.array_equal(numbers(simple), numbers(pattern))
    assert simplify(simple) == simple


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
@pytest.mark.parametrize("bias", ["channel", "unit"])
def test_biases_are_added(rule, bias):
    agree(next(pattern for name, _, pattern in CHOICES if name == rule), bias)


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_an_empty_batch_has_empty_answers(rule):
    agree(next(pattern for name, _, pattern in CHOICES if name == rule), batch=0)


@settings(deadline=None)
@given(any_pattern(), st.integers(0, 2**32 - 1))
def test_the_last_rule_takes_anything(pattern, seed):
    assert RULES[-1].name == "gather"
    tiemap, generator = pattern.tiemap(), torch.Generator().manual_seed(seed)
    plan = products.gather(tiemap)
    sizes = ((2, tiemap.n_in), (tiemap.n_weights,), (2, tiemap.n_out))
    x, theta, grad = (torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes)
    y = plan.run(x.requires_grad_(), plan.spread(theta.requires_grad_()), None)
    gradients = torch.autograd.grad(y, (x, theta), grad)
    x, theta = x.detach(), theta.detach()
    close(y.detach(), reference.forward(tiemap, theta, x), "output", 1e-12)
    close(gradients[0], reference.input_gradient(tiemap, theta, grad), "input gradient", 1e-12)
    close(gradients[1], reference.weight_gradient(tiemap, x, grad), "weight gradient", 1e-12)


def test_a_convolution_keeps_channels_last():
    x = torch.randn(2, 3, 6, 6).to(memory_format=torch.channels_last)
    pattern = P.conv2d((3, 6, 6), 4, kernel=3)
    assert lower(pattern)(x, torch.randn(4, 3, 3, 3)).is_contiguous(memory_format=torch.channels_last)


def test_subsampling_is_one_grouped_convolution_of_its_weights():
    window = sliding(SUBSAMPLING)
    assert (window.groups, window.kernel_shape) == (6, (6, 1, 2, 2))
    assert [np.unique(kernel).tolist() for kernel in window.numbered] == [[m + 1] for m in range(6)]


def test_the_third_layer_is_one_convolution_with_empty_kernels():
    window = sliding(THIRD_LAYER)
    assert (window.groups, window.kernel_shape) == (1, (9, 6, 5, 5))
    present = [[c for c in range(6) if window.numbered[m, c].any()] for m in range(9)]
    assert present == [sorted(row) for row in C3]


def test_cost_is_that_of_the_operator():
    assert lower(P.conv2d((2, 6, 6), 3, kernel=3, padding=1)).multiplications == 3 * 2 * 9 * 36  # those of padding too
    assert lower(P.dense(5, 4)).multiplications == 20
    assert lower(P.symmetric(4)).multiplications == 16
    assert lower(P.copies(3, P.dense(5, 4))).multiplications == 60
    assert lower(P.circulant(1024)).multiplications < 1024**2 // 20
    assert lower(P.dense(5, 4)).bytes == 4 * 20  # no table
    assert lower(P.symmetric(4)).bytes == 4 * 10 + 4 * 16  # an index for each cell
    assert lower(SPARSE).bytes == 4 * 100 + 4 * 2 * 100  # input and output of each connection


def test_explain_says_rule_cost_and_counts():
    assert explain(P.kron(P.diagonal(2), P.conv1d((1, 9), 1, kernel=3)), bias="channel").splitlines() == [
        "pattern          kron(diagonal(2), conv1d((1, 9), 1, kernel=3))",
        "rule             convolution: one window, one kernel -> torch's convolution",
        "operator         torch.nn.functional.conv1d",
        "multiplications  42 a sample (gather: 42; fully connected: 252)",
        "bytes            24",
        "fully connected  252",
        "connections      42",
        "weights          6",
        "bias             channel: 2 weights, 14 connections",
    ]


def test_an_unknown_bias_is_refused():
    with pytest.raises(PatternError, match=r"bias is 'none', 'unit' .* or 'channel' .*; got 'row'"):
        lower(P.dense(2, 2), bias="row")


def test_an_operator_is_pickled_as_its_notation():
    operator = lower(P.circulant(7), bias="unit")
    x, weight, bias = torch.randn(2, 7), torch.randn(7), torch.randn(7)
    y, written = operator(x, weight, bias), pickle.dumps(operator)
    del operator
    twin = pickle.loads(written)
    assert (twin.pattern, twin.bias, twin.rule) == (P.circulant(7), "unit", "matrix")
    assert torch.equal(twin(x, weight, bias), y)


def test_equal_patterns_have_one_operator_for_as_long_as_somebody_holds_it():
    operator = lower(P.circulant(7), bias="unit")
    assert lower(P.circulant(7), bias="unit") is operator is copy.deepcopy(operator)
    assert lower(P.circulant(7)) is not operator is not lower(P.circulant(8), bias="unit")
    remembered = weakref.ref(operator)
    del operator
    gc.collect()
    assert remembered() is None


@given(st.integers(1, 3000), st.integers(1, 3000), st.booleans())
def test_transforms_are_long_enough_and_of_a_fast_size(n_in, n_out, circular):
    n_out = n_in if circular else n_out
    length = products.fourier_length(n_in, n_out, circular)
    least = n_in + n_out - 1
    assert (circular and length == n_in) or least <= length < 1.25 * least + 1
    for prime in (2, 3, 5, 7):
        while length % prime == 0:
            length //= prime
    assert length == 1


@settings(deadline=None)
@given(any_pattern())
def test_spread_is_the_expansion_of_the_tie_map(pattern):
    theta = torch.randn(pattern.weight_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spread = Spread((pattern.n_out, pattern.n_in), numbers(pattern))
    assert torch.equal(spread(theta), pattern.tiemap().expand(theta.flatten()))


def test_weights_in_order_are_not_gathered():
    assert Spread((2, 3), np.arange(1, 7)).table is None
    assert Spread((2, 3), np.arange(1, 7)[::-1]).table is not None


def test_a_table_is_placed_once_on_each_device_and_stays_at_home():
    table = Table(np.array([[2, 0], [1, 1]]))
    assert table.beside(torch.empty(0, device="cpu")).tolist() == [[2, 0], [1, 1]]
    away = table.beside(torch.empty(0, device="meta"))
    assert away.device.type == "meta"
    assert table.beside(torch.empty(0, device="meta")) is away
    assert table.beside(torch.empty(0, device="cpu")).tolist() == [[2, 0], [1, 1]]
    with torch.device("meta"):  # as when a module is made without memory
        assert Table(np.array([3])).beside(torch.empty(0, device="cpu")).tolist() == [3]


def test_a_table_does_not_keep_the_stand_in_of_a_tracer():
    table, meta = Table(np.array([1, 0])), torch.device("meta")
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert type(table.beside(torch.empty(0, device=meta))) is FakeTensor
    assert type(table.beside(torch.empty(0, device=meta))) is torch.Tensor
