"""Products of many samples, on a matrix unit where the processor has one, against those in double precision."""

import pytest
import torch
from conftest import HERE
from hypothesis import example as example_of_hypothesis
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kernels import example

from commonweight import Tied
from commonweight.errors import KernelError
from commonweight.hashing import hashed
from commonweight.kernels import codebook_product, pack, sorted_index, spread, spread_product
from commonweight.lower import lower


@pytest.fixture
def always(monkeypatch):
    """A matrix unit takes the smallest products, too."""
    monkeypatch.setattr("commonweight.kernels.matrix_unit.SAMPLES", 1)
    monkeypatch.setattr("commonweight.kernels.matrix_unit.MULTIPLICATIONS", 1)


def cells(seed, rows, columns, n_weights, dtype=torch.float32):
    """A numbered matrix with signs and holes, its weights, and the matrix itself."""
    generator = torch.Generator().manual_seed(seed)
    numbered = torch.randint(-n_weights, n_weights + 1, (rows, columns), generator=generator)
    weight = torch.randn(n_weights, generator=generator, dtype=torch.float64).to(dtype)
    return numbered, weight, spread(weight.double(), sorted_index(numbered, n_weights)).view(rows, columns)


def assert_near(got, exact, scale, tolerance=3e-6):
    """Within some roundings of a float32 of what the terms of a sum come to."""
    assert got.shape == exact.shape
    assert bool(((got.double() - exact).abs() <= tolerance * scale + 1e-30).all())


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("batch", [16, 33, 400])
def test_rows_and_columns_of_several_pieces(chosen, bits, batch):
    x, codes, values, bias, matrix = example(1, batch, 1300, 301, 301, 1 << bits)
    y = codebook_product(x, pack(codes, bits), values, bias, bits=bits)
    wide = matrix.double().t()
    assert_near(y, x.double() @ wide + bias.double(), x.double().abs() @ wide.abs() + bias.double().abs())


def test_bfloat16_is_rounded_once(chosen):
    x, codes, values, bias, matrix = example(2, 64, 300, 50, 5, 16, torch.bfloat16)
    y = codebook_product(x, pack(codes, 4), values, bias, bits=4)
    exact = x.double() @ matrix.double().t() + bias.double()
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), exact, rtol=2**-8, atol=2**-12 * float(exact.abs().max()))


def test_samples_do_not_depend_on_each_other(chosen):
    """One with an infinite input, one of huge numbers and one of small ones leave the others as they are."""
    x, codes, values, _, matrix = example(3, 40, 256, 33, 33, 16)
    words = pack(codes, 4)
    x[3, 7], x[4, 8], x[5] = torch.inf, torch.nan, x[5] * 1e30
    x[6] *= 1e-25
    y = codebook_product(x, words, values, bits=4)
    expected = x @ matrix.t()
    assert torch.equal(y[3].isnan(), expected[3].isnan())
    assert torch.equal(y[3].isinf(), expected[3].isinf())
    assert bool(y[4].isnan().all())
    rest = [n for n in range(40) if n not in (3, 4)]
    wide = matrix.double().t()
    assert_near(y[rest], x[rest].double() @ wide, x[rest].double().abs() @ wide.abs())


def test_the_largest_number_is_no_infinity(chosen):
    """Parts of a number are cut off, not rounded: rounded up, the first would be infinite."""
    largest = torch.finfo(torch.float32).max
    codes = torch.zeros(40, 64, dtype=torch.long)
    codes[:, 0] = 1
    y = codebook_product(torch.full((40, 64), largest), pack(codes, 1), torch.tensor([[0.0, 1.0]]), bits=1)
    torch.testing.assert_close(y, torch.full((40, 40), largest))


@pytest.mark.parametrize("chosen", HERE[1:], indirect=True)  # torch's own product makes no such promise
def test_a_product_is_the_same_whatever_the_threads(chosen, always):
    x, codes, values, _, _ = example(4, 70, 640, 301, 301, 16)
    words = pack(codes, 4)
    numbered, weight, _ = cells(4, 301, 640, 500)
    index = sorted_index(numbered, 500)
    grad = torch.randn(70, 301, generator=torch.Generator().manual_seed(1))
    ops = torch.ops.commonweight
    tables = (index.index, index.runs, index.positions, index.starts)
    threads = torch.get_num_threads()
    found = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            found.append([codebook_product(x, words, values, bits=4)])
            if chosen == "amx":
                found[-1] += [spread_product(x, weight, index, 640), ops.spread_product_sums(x, grad, *tables)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for later in found[1:] for one, other in zip(found[0], later, strict=True))


@given(
    st.sampled_from(HERE),
    st.integers(1, 70),
    st.integers(1, 80),
    st.sampled_from((1, 5, 16, 31, 32, 64, 100, 530, 1100)),
    st.integers(1, 300),
    st.booleans(),
    st.integers(0, 99),
)
@example_of_hypothesis(HERE[-1], 16, 15, 1, 7, True, 0)  # of one column neighbours are those of a row, too
@settings(max_examples=200, deadline=None)
def test_products_with_spread_weights_and_their_gradients(name, batch, rows, columns, n_weights, transposed, seed):
    numbered, weight, matrix = cells(seed, rows, columns, n_weights)
    index = sorted_index(numbered, n_weights)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, rows if transposed else columns, generator=generator).requires_grad_()
    grad = torch.randn(batch, columns if transposed else rows, generator=generator)
    theta = weight.requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMMONWEIGHT_KERNELS", name)
        patch.setattr("commonweight.kernels.matrix_unit.SAMPLES", 1)
        patch.setattr("commonweight.kernels.matrix_unit.MULTIPLICATIONS", 1)
        y = spread_product(x, theta, index, columns, transposed=transposed)
        of_x, of_theta = torch.autograd.grad(y, (x, theta), grad)
    by = matrix if transposed else matrix.t()
    wide = x.detach().double()
    assert_near(y.detach(), wide @ by, wide.abs() @ by.abs())
    assert_near(of_x, grad.double() @ by.t(), grad.double().abs() @ by.t().abs())
    of_matrix = wide.t() @ grad.double() if transposed else grad.double().t() @ wide
    sizes = wide.abs().t() @ grad.double().abs() if transposed else grad.double().abs().t() @ wide.abs()
    added, of_sizes = (
        torch.zeros(n_weights + 1, dtype=torch.float64).index_add_(0, numbered.abs().view(-1), values.reshape(-1))[1:]
        for values in (of_matrix * numbered.sign(), sizes)
    )
    assert_near(of_theta, added, of_sizes)


@pytest.mark.parametrize("columns", [16, 24, 48, 560])
def test_sixteen_weights_in_a_row_wherever_they_begin(chosen, always, columns):
    """Runs of sixteen numbers that count on, which the sums take as one, need not begin with a row of the matrix."""
    generator = torch.Generator().manual_seed(columns)
    starts = torch.randint(1, 65, (33 * columns // 16 + 1, 1), generator=generator)
    numbered = (starts + torch.arange(16)).view(-1)[: 33 * columns]
    index = sorted_index(numbered, 80)
    assert len(index.runs)
    x, grad = (torch.randn(40, n, generator=generator) for n in (columns, 33))
    sums = torch.ops.commonweight.spread_product_sums(x, grad, index.index, index.runs, index.positions, index.starts)
    exact = torch.zeros(81, dtype=torch.float64).index_add_(0, numbered, (grad.double().t() @ x.double()).view(-1))[1:]
    torch.testing.assert_close(sums.double(), exact, rtol=1e-5, atol=1e-5 * float(exact.abs().max()))


def test_numbers_that_are_not_finite_go_where_they_belong(chosen, always):
    numbered, weight, _ = cells(0, 40, 64, 30)
    x = torch.randn(33, 64, generator=torch.Generator().manual_seed(0))
    x[2, 3] = torch.inf
    weight[4] = torch.nan
    index = sorted_index(numbered, 30)
    written_out = spread(weight, index).view(40, 64)
    y = spread_product(x, weight, index, 64)
    torch.testing.assert_close(y, x @ written_out.t(), equal_nan=True, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("transposed", [False, True])
def test_torch_sees_operators(chosen, always, transposed):
    numbered, weight, _ = cells(0, 33, 48, 20)
    index = sorted_index(numbered, 20)
    tables = (index.index, index.runs, index.positions, index.starts)
    x = torch.randn(40, 33 if transposed else 48, requires_grad=True)
    ops, theta = torch.ops.commonweight, weight.requires_grad_()
    torch.library.opcheck(ops.spread_product.default, (x, theta, *tables, 48, transposed), rtol=1e-4, atol=1e-4)
    x, grad = (torch.randn(40, n, requires_grad=True) for n in (48, 33))
    torch.library.opcheck(ops.spread_product_sums.default, (x, grad, *tables), rtol=1e-4, atol=1e-4)


def test_second_derivatives():
    numbered, weight, _ = cells(0, 5, 6, 4, torch.float64)
    index = sorted_index(numbered, 4)
    inputs = (torch.randn(3, 6, dtype=torch.float64, requires_grad=True), weight.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda x, theta: spread_product(x, theta, index, 6), inputs)


@pytest.mark.parametrize("tile", [False, True])
@pytest.mark.parametrize("bias", ["none", "unit"])
def test_a_hashed_layer_learns_the_same_with_and_without(monkeypatch, tile, bias):
    layer = Tied(hashed(256, 256, 1024, seed=0, tile=tile), bias=bias)
    x = torch.randn(300, 256, generator=torch.Generator().manual_seed(0))
    found = []
    for name in (HERE[-1], "off"):
        monkeypatch.setenv("COMMONWEIGHT_KERNELS", name)
        layer.zero_grad()
        y = layer(x)
        y.square().mean().backward()
        found.append([y.detach(), *(weight.grad.clone() for weight in layer.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_what_a_transform_or_autocast_looks_at_is_written_out():
    operator = lower(hashed(256, 256, 1024, seed=0))
    x, weight = torch.randn(300, 256), torch.randn(1024)
    torch.testing.assert_close(
        torch.func.vmap(lambda one: operator(one[None], weight)[0])(x), operator(x, weight), rtol=1e-3, atol=1e-3
    )
    with torch.autocast("cpu", torch.bfloat16):
        assert operator(x, weight).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"x": torch.ones(3, 5)}, r"inputs \(samples, 4\) .* got torch.float32 of shape \(3, 5\)"),
        ({"x": torch.ones(3, 4).double()}, "of one type; got torch.float64"),
        ({"x": "x"}, "takes a tensor of inputs; got str"),
        ({"weight": torch.ones(3)}, r"weights \(2,\) .* torch.float32 of shape \(3,\)"),
        ({"weight": None}, "takes a tensor of weights; got None"),
        ({"index": [0]}, r"an index that sorted_index made; got list"),
        ({"columns": 3}, "The 8 cells .* got 3 columns"),
        ({"columns": 0}, "The 8 cells .* got 0 columns"),
        ({"columns": 4.0}, "takes a number of columns; got float: 4.0"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(change, sentence):
    index = sorted_index(torch.tensor([1, 2, 1, 2, 1, 2, 1, 2]), 2)
    given = {"x": torch.ones(3, 4), "weight": torch.ones(2), "index": index, "columns": 4} | change
    with pytest.raises(KernelError, match=sentence):
        spread_product(**given)
