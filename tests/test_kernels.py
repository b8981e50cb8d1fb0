"""The kernels against torch on written-out matrices, in every instruction set that this processor has."""

import os
from types import SimpleNamespace

import pytest
import torch
from conftest import HERE
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import forward_ad

from commonweight.errors import KernelError
from commonweight.kernels import adjoint as summed
from commonweight.kernels import codebook_product, native_library, pack, sorted_index, spread, unpack
from commonweight.kernels.codes import BITS, bits_for
from commonweight.kernels.native_library import instructions, library


def example(seed, batch, columns, rows, codebooks, k, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(k, (rows, columns), generator=generator)
    values = torch.randn(codebooks, k, generator=generator, dtype=torch.float64).to(dtype)
    x = torch.randn(batch, columns, generator=generator, dtype=torch.float64).to(dtype)
    bias = torch.randn(rows, generator=generator, dtype=torch.float64).to(dtype)
    per = max(1, -(-rows // codebooks))
    matrix = values[torch.arange(rows) // per].gather(1, codes)
    return x, codes, values, bias, matrix


def test_the_compiled_kernels_are_here():
    assert library() is not None, "the package was built without a compiler: install one and install again"


@given(st.sampled_from(BITS), st.integers(0, 9), st.integers(0, 1100), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_packing_loses_nothing(bits, rows, columns, seed):
    codes = torch.randint(1 << bits, (rows, columns), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(unpack(pack(codes, bits), columns, bits).long(), codes)


@given(
    st.sampled_from(HERE),
    st.sampled_from((1, 2, 3, 4, 5, 8, 16, 200, 256)),
    st.integers(1, 13) | st.integers(14, 70),
    st.integers(1, 700),
    st.integers(1, 70),
    st.integers(1, 70),
    st.booleans(),
    st.integers(0, 99),
)
@settings(max_examples=500, deadline=None)
def test_the_product_equals_that_with_the_matrix(name, k, batch, columns, rows, codebooks, with_bias, seed):
    codebooks = min(codebooks, rows)
    x, codes, values, bias, matrix = example(seed, batch, columns, rows, codebooks, k)
    bits = bits_for(k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMMONWEIGHT_KERNELS", name)
        y = codebook_product(x, pack(codes, bits), values, bias if with_bias else None, bits=bits)
    expected = x.double() @ matrix.double().t() + (bias.double() if with_bias else 0)
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5 * columns**0.5)


@pytest.mark.parametrize("k", [2, 8, 16, 256])
def test_many_samples_and_columns_take_several_blocks(chosen, k):
    x, codes, values, bias, matrix = example(5, 131, 2100, 31, 5, k)
    y = codebook_product(x, pack(codes, bits_for(k)), values, bias, bits=bits_for(k))
    expected = x.double() @ matrix.double().t() + bias.double()
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("k", [2, 4, 8, 16, 256])
@pytest.mark.parametrize("codebooks", [1, 5, 24])
def test_gradients_equal_those_through_the_matrix(chosen, dtype, k, codebooks):
    x, codes, values, bias, _ = example(0, 6, 333, 24, codebooks, k, dtype)
    bits = bits_for(k)
    words = pack(codes, bits)
    inputs = [tensor.clone().requires_grad_() for tensor in (x, values, bias)]
    y = codebook_product(inputs[0].view(2, 3, 333), words, inputs[1], inputs[2], bits=bits)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    got = torch.autograd.grad(y, inputs, grad)
    wide = [tensor.double().requires_grad_() for tensor in (x, values, bias)]
    per = -(-24 // codebooks)
    matrix = wide[1][torch.arange(24) // per].gather(1, codes)
    wanted_y = (wide[0] @ matrix.t() + wide[2]).view(2, 3, 24)
    wanted = torch.autograd.grad(wanted_y, wide, grad.double())
    tolerance = {torch.float32: 2e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}[dtype]
    for one, other in zip((y, *got), (wanted_y, *wanted), strict=True):
        assert one.dtype == dtype
        scale = float(other.detach().abs().max())
        torch.testing.assert_close(one.detach().double(), other.detach(), rtol=tolerance, atol=tolerance * scale)


def test_the_default_type_of_torch_changes_no_product(chosen, other_default):
    x, codes, values, bias, matrix = example(8, 6, 333, 24, 24, 16)
    x.requires_grad_()
    y = codebook_product(x, pack(codes, 4), values, bias, bits=4)
    torch.testing.assert_close(y, x @ matrix.t() + bias, rtol=1e-4, atol=1e-4)
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(grad, matrix.sum(0).expand(6, -1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("chosen", HERE[1:], indirect=True)  # torch's own product makes no such promise
@pytest.mark.parametrize(("batch", "columns", "rows"), [(7, 640, 301), (9, 1100, 2051)])  # the second in integers
def test_a_product_is_the_same_whatever_the_threads(chosen, batch, columns, rows):
    x, codes, values, _, _ = example(3, batch, columns, rows, rows, 16)
    words = pack(codes, 4)
    threads = torch.get_num_threads()
    found = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            found.append(codebook_product(x, words, values, bits=4))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0], other) for other in found)


def test_inputs_that_are_views_count_as_what_they_show(chosen):
    x, codes, values, bias, matrix = example(4, 256, 256, 9, 9, 16)
    words = pack(codes, 4)
    for view in (x.t(), x[::2], x[:, ::2].repeat(1, 2), x.expand(3, 256, 256), x[:0]):
        y = codebook_product(view, words, values, bias, bits=4)
        torch.testing.assert_close(y, view @ matrix.t() + bias, rtol=1e-4, atol=1e-4)


def placed(tensor, how):
    """The same numbers, differently in memory: between others, or at an address that is no multiple of their size."""
    if how == "between":
        return torch.stack([tensor, torch.full_like(tensor, 77)], -1)[..., 0]
    if how == "askew" and tensor.numel():
        memory = bytearray(1) + bytearray(tensor.numpy().tobytes())
        return torch.frombuffer(memory, dtype=tensor.dtype, offset=1).view(tensor.shape)
    return tensor


@given(
    st.sampled_from(HERE),
    st.sampled_from(("in order", "between", "askew")),
    st.integers(1, 3),
    st.sampled_from((2, 4, 7, 16, 200)),
    st.integers(0, 7),
    st.integers(1, 300),
    st.integers(0, 30),
    st.integers(0, 99),
)
@settings(max_examples=200, deadline=None)
def test_wherever_the_numbers_lie(name, how, threads, k, batch, columns, rows, seed):
    codebooks = max(1, rows // 3)
    x, codes, values, bias, matrix = example(seed, batch, columns, rows, codebooks, k)
    words = placed(pack(codes, bits_for(k)), how)
    x, values, bias = (placed(tensor, how).requires_grad_() for tensor in (x, values, bias))
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMMONWEIGHT_KERNELS", name)
        try:
            torch.set_num_threads(threads)
            y = codebook_product(x, words, values, bias, bits=bits_for(k))
            grads = torch.autograd.grad(y.sum(), (x, values, bias))
        finally:
            torch.set_num_threads(before)
    expected = x.double() @ matrix.double().t() + bias.double()
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5 * columns**0.5)
    torch.testing.assert_close(grads[0], matrix.sum(0).expand(batch, -1), rtol=1e-5, atol=1e-4)
    assert torch.equal(grads[2], torch.full((rows,), float(batch)))


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_padding_stays_silent_beside_values_that_are_not_finite(chosen, value):
    codes = torch.tensor([[1, 1, 1], [0, 1, 1]])
    values = torch.tensor([[value, 2.0]])
    y = codebook_product(torch.ones(1, 3), pack(codes, 1), values, bits=1)
    torch.testing.assert_close(y, torch.tensor([[6.0, value]]), equal_nan=True)


@pytest.mark.parametrize(("k", "bits"), [(3, 2), (5, 3), (3, 4), (9, 4), (3, 8)])
def test_a_code_beyond_the_values_is_zero(chosen, k, bits):
    codes = torch.tensor([[k, 1, (1 << bits) - 1]])
    values = torch.arange(1.0, k + 1).view(1, k).requires_grad_()
    y = codebook_product(torch.ones(3), pack(codes, bits), values, bits=bits)
    (grad,) = torch.autograd.grad(y.sum(), values)
    assert (y.item(), grad.nonzero().tolist()) == (2.0, [[0, 1]])


def test_words_that_do_not_fit_never_reach_the_kernels(chosen):
    ops, words = torch.ops.commonweight, torch.zeros(2, 16, dtype=torch.int64)
    with pytest.raises(KernelError, match="are int32 words"):
        ops.codebook_matrix(words, torch.zeros(1, 2), 3, 1)
    with pytest.raises(KernelError, match="are int32 words"):
        ops.codebook_sums(torch.zeros(2, 3), words, 1, 2, 1)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.bfloat16, torch.float16, torch.int64])
def test_sums_of_any_type(chosen, dtype):
    index = sorted_index(torch.tensor([2, 1, 0, -2], dtype=torch.int8), 2)
    grad = torch.tensor([1 + 2j, 3j, 5, 7 - 1j], dtype=torch.complex64).to(dtype) if dtype.is_complex else None
    grad = torch.tensor([1, 3, 5, 7], dtype=dtype) if grad is None else grad
    expected = torch.stack([grad[1], grad[0] - grad[3]])
    assert torch.equal(summed(grad, index), expected)


def test_transforms_of_torch_func_see_through_the_product(chosen):
    x, codes, values, bias, _ = example(9, 5, 40, 6, 3, 16)
    words, of = pack(codes, 4), torch.func

    def product(x, values, bias):
        return codebook_product(x, words, values, bias, bits=4).sin().sum()

    def dense(x, values, bias):
        return (x @ values[torch.arange(6) // 2].gather(1, codes).t() + bias).sin().sum()

    moved = (x, values, bias), (x.flip(0), values.flip(0), bias.flip(0))
    everything = tuple(range(3))
    for transform in (
        lambda f: of.grad(f, everything)(x, values, bias),
        lambda f: of.jvp(f, *moved)[1],
        lambda f: of.vmap(f, (0, None, None))(x, values, bias),
        lambda f: of.vmap(of.grad(f, everything), (0, None, None))(x, values, bias),
        lambda f: of.grad(lambda x: of.vmap(f, (0, None, None))(x, values, bias).sum())(x),
        lambda f: of.hessian(f)(x[0], values, bias),
    ):
        torch.testing.assert_close(transform(product), transform(dense), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("with_gradient", [False, True])
def test_dual_numbers_keep_their_tangents(chosen, with_gradient):
    x, codes, values, _, matrix = example(2, 3, 40, 6, 3, 16)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x.requires_grad_(with_gradient), x.detach().flip(0))
        y = codebook_product(dual, pack(codes, 4), values, bits=4)
        torch.testing.assert_close(forward_ad.unpack_dual(y).tangent, x.flip(0) @ matrix.t())


def test_torch_sees_an_operator(chosen):
    x, codes, values, bias, _ = example(5, 3, 40, 6, 6, 16)
    words = pack(codes, 4)
    inputs = (x.requires_grad_(), words, values.requires_grad_(), bias.requires_grad_(), 4)
    torch.library.opcheck(torch.ops.commonweight.codebook_product, inputs)
    index = sorted_index(torch.tensor([3, 1, 0, -2, 1]), 3)
    torch.library.opcheck(
        torch.ops.commonweight.spread,
        (torch.randn(3, requires_grad=True), index.index, index.runs, index.positions, index.starts),
    )
    torch.library.opcheck(
        torch.ops.commonweight.adjoint,
        (torch.randn(5, requires_grad=True), index.index, index.runs, index.positions, index.starts),
    )


def in_runs(numbered, n_weights, generator):
    """Most sixteens of the positions count on from a random weight, up or down."""
    whole = len(numbered) // 16
    first = torch.randint(1, n_weights - 14, (whole, 1), generator=generator)
    sign = torch.randint(2, (whole, 1), generator=generator) * 2 - 1
    counting = (torch.rand(whole, 1, generator=generator) < 0.8).expand(-1, 16)
    sixteens = torch.where(counting, sign * (first + torch.arange(16)), numbered[: whole * 16].view(-1, 16))
    return torch.cat([sixteens.flatten(), numbered[whole * 16 :]])


@given(
    st.sampled_from(HERE), st.integers(1, 50), st.integers(0, 60_000), st.booleans(), st.booleans(), st.integers(0, 99)
)
@settings(max_examples=100, deadline=None)
def test_spread_and_its_adjoint(name, n_weights, n_positions, runs, double, seed):
    generator = torch.Generator().manual_seed(seed)
    numbered = torch.randint(-n_weights, n_weights + 1, (n_positions,), generator=generator)
    if runs and n_weights >= 16:
        numbered = in_runs(numbered, n_weights, generator)
    dtype = torch.float64 if double else torch.float32
    weight = torch.randn(n_weights, generator=generator, dtype=dtype).requires_grad_()
    grad = torch.randn(n_positions, generator=generator, dtype=dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMMONWEIGHT_KERNELS", name)
        index = sorted_index(numbered, n_weights)
        out = spread(weight, index)
        (got,) = torch.autograd.grad(out, weight, grad)
        assert torch.equal(got, summed(grad, index))
    expected = torch.cat([torch.zeros(1, dtype=dtype), weight.detach()])[numbered.abs()] * numbered.sign()
    assert torch.equal(out.detach(), expected)
    sums = torch.zeros(n_weights + 1, dtype=torch.float64)
    sums.index_add_(0, numbered.abs(), grad.double() * numbered.sign())
    torch.testing.assert_close(got.double(), sums[1:], rtol=1e-6, atol=1e-6 if not double else 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("runs", [False, True])
def test_a_tensor_larger_than_the_caches(chosen, dtype, runs):
    generator = torch.Generator().manual_seed(0)
    numbered = torch.randint(-500, 501, ((1 << 20) + 37,), generator=generator)
    index = sorted_index(in_runs(numbered, 500, generator) if runs else numbered, 500)
    weight = torch.randn(500, generator=generator, dtype=dtype)
    signed = torch.cat([-weight.flip(0), torch.zeros(1, dtype=dtype), weight])
    assert torch.equal(spread(weight, index), signed[index.index.long() + 500])


def test_runs_are_found_where_most_positions_lie_in_some():
    up, down, mixed = torch.arange(1, 17), -torch.arange(5, 21), torch.ones(16, dtype=torch.int64)
    assert sorted_index(torch.cat([up, down, mixed, up[:3]]), 20).runs.tolist() == [1, -5, 0]
    assert sorted_index(torch.cat([up, mixed, mixed]), 20).runs.tolist() == []


def test_one_weight_used_everywhere_is_summed_by_all_threads(chosen):
    grad = torch.randn(1 << 18, generator=torch.Generator().manual_seed(0))
    index = sorted_index(torch.ones(1 << 18, dtype=torch.int64), 1)
    torch.testing.assert_close(summed(grad, index).double(), grad.double().sum()[None], rtol=1e-6, atol=1e-6)


X, WORDS, VALUES = torch.zeros(3), torch.zeros(2, 16, dtype=torch.int32), torch.zeros(1, 2)
FLOAT8 = torch.float8_e4m3fn


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: bits_for(257), "1 to 256 values; got 257"),
        (lambda: bits_for(0), "1 to 256 values; got 0"),
        (lambda: pack(torch.zeros(2, 2), 1), r"matrix of whole numbers; got torch.float32 of shape \(2, 2\)"),
        (lambda: pack(torch.zeros(2, 2, dtype=torch.int64), 5), "1, 2, 3, 4 or 8 bits; got 5"),
        (
            lambda: codebook_product(torch.ones(2, 3), torch.zeros(2, 16, dtype=torch.int32), torch.ones(1, 2), bits=5),
            "1, 2, 3, 4 or 8 bits; got 5",
        ),
        (lambda: unpack(torch.zeros(2, 16, dtype=torch.int32), 3, 0), "1, 2, 3, 4 or 8 bits; got 0"),
        (lambda: pack(torch.tensor([[4]]), 2), r"lie in 0 … 3; got 4 to 4"),
        (lambda: unpack(torch.zeros(2, 16), 3, 1), r"3 columns are int32 words .*\(outputs, 16\); got torch.float32"),
        (lambda: unpack(torch.zeros(1, 16, dtype=torch.int32), 3000, 1), r"\(outputs, 96\); got .* \(1, 16\)"),
        (lambda: codebook_product(torch.tensor(1.0), WORDS, VALUES, bits=1), "got a single number"),
        (lambda: codebook_product(X, WORDS, VALUES, bits=1.0), "or 8 bits; got 1.0"),
        (lambda: codebook_product(X.to(FLOAT8), WORDS, VALUES.to(FLOAT8), bits=1), "64 bits; got"),
        (
            lambda: codebook_product(X, WORDS, VALUES, torch.zeros(2).double(), bits=1),
            "got torch.float32, torch.float32, torch.float64",
        ),
        (lambda: sorted_index(torch.tensor([7]), 3), "3 weights asks for weight 6"),
        (lambda: sorted_index(torch.tensor([-(2**63)]), 3), "3 weights asks for weight 9,223,372,036,854,775,807"),
        (lambda: sorted_index(torch.tensor([1.5]), 3), "made of whole numbers; got torch.float32"),
        (lambda: sorted_index(torch.tensor([True]), 3), "made of whole numbers; got torch.bool"),
        (lambda: sorted_index(torch.tensor([1]), 1 << 31), r"less than 2\^31 positions and weights; got 1 and 2,147"),
        (
            lambda: spread(torch.ones(1), sorted_index(torch.tensor([2, 1]), 2)),
            r"into 2 weights takes as many; got shape \(1,\)",
        ),
        (
            lambda: spread(torch.ones(2, dtype=torch.bool), sorted_index(torch.tensor([2, 1]), 2)),
            r"Weights are numbers that have a sign; got torch.bool: say weight.float\(\) before",
        ),
        (lambda: summed(torch.zeros(2), sorted_index(torch.tensor([1]), 1)), r"1 positions is flat; got shape \(2,\)"),
        (
            lambda: codebook_product(torch.ones(2, 3), torch.zeros(2, 2, dtype=torch.int32), torch.ones(1, 2), bits=1),
            r"int32 words of shape \(outputs, 16\); got torch.int32 of shape \(2, 2\)",
        ),
        (
            lambda: codebook_product(torch.zeros(3), torch.zeros(2, 16, dtype=torch.int32), torch.zeros(3, 2), bits=1),
            r"1 to 2 codebooks of at most 2 values; got values of shape \(3, 2\)",
        ),
        (
            lambda: codebook_product(
                torch.zeros(3), torch.zeros(2, 16, dtype=torch.int32), torch.zeros(1, 2), torch.zeros(3), bits=1
            ),
            r"bias for 2 outputs has shape \(2,\); got \(3,\)",
        ),
        (
            lambda: codebook_product(
                torch.zeros(3), torch.zeros(2, 16, dtype=torch.int32), torch.zeros(1, 2).double(), bits=1
            ),
            "one floating type, of 16 to 64 bits; got torch.float32, torch.float64",
        ),
        (lambda: pack([[1]], 1), r"pack takes a tensor of codes; got list: \[\[1\]\]"),
        (lambda: unpack(3, 1, 1), "Packed codes are a tensor of words; got int: 3"),
        (lambda: unpack(torch.zeros(2, 16, dtype=torch.int32), 1.5, 1), "takes a number of columns; got float: 1.5"),
        (lambda: bits_for("x"), "1 to 256 values; got 'x'"),
        (lambda: sorted_index(3, 1), "sorted_index takes a tensor of numbers; got int: 3"),
        (lambda: sorted_index(torch.tensor([1]), -1), "An index is one into 0 weights or more; got -1"),
        (lambda: sorted_index(torch.tensor([1]), None), "An index is one into 0 weights or more; got None"),
        (lambda: spread(3, sorted_index(torch.tensor([1]), 1)), "spread takes a tensor of weights; got int: 3"),
        (lambda: spread(torch.ones(1), 3), "spread takes an index that sorted_index made; got int: 3"),
        (lambda: summed(3, sorted_index(torch.tensor([1]), 1)), "adjoint takes a tensor of gradients; got int: 3"),
        (lambda: summed(torch.ones(1), 3), "adjoint takes an index that sorted_index made; got int: 3"),
        (lambda: codebook_product(3, 3, 3, bits=1), "codebook_product takes a tensor of inputs; got int: 3"),
        (lambda: codebook_product(torch.ones(1), 3, torch.ones(1, 2), bits=1), "tensor of words; got int: 3"),
        (lambda: codebook_product(torch.ones(1), 3, 3, bits=1), "takes a tensor of codebooks; got int: 3"),
        (lambda: codebook_product(torch.ones(1), 3, torch.ones(1, 2), 3, bits=1), "A bias is a tensor; got int: 3"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(call, sentence):
    with pytest.raises(KernelError, match=sentence):
        call()


def test_a_choice_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("COMMONWEIGHT_KERNELS", "sse9")
    with pytest.raises(KernelError, match="'sse9'; expected off, portable, avx2, avx512, amx"):
        instructions()


@pytest.fixture
def forgotten():
    """What the process knows of the kernels is found out anew, in the test and after it."""
    native_library.library.cache_clear()
    native_library._instructions.cache_clear()
    yield
    native_library.library.cache_clear()
    native_library._instructions.cache_clear()


def without_file(name):
    raise ModuleNotFoundError(name)


def damaged(name):
    raise ImportError("undefined symbol: _ZN5torch")


def of_an_old_processor(name):
    offered = dict.fromkeys(native_library.FUNCTIONS, lambda address: None)
    return SimpleNamespace(**offered | {"instructions": lambda: "portable", "said": os.environ.get})


def of_an_old_version(name):
    return SimpleNamespace(instructions=lambda: "avx2")


@pytest.mark.parametrize(
    ("find", "best", "sentence"),
    [
        (without_file, "off", "asks for 'avx2', but the kernels were not compiled; unset it, or choose 'off'"),
        (
            of_an_old_processor,
            "portable",
            "'avx2', but this processor has not those .*; unset it, or choose 'portable'",
        ),
    ],
)
def test_an_installation_or_a_processor_that_has_less(monkeypatch, forgotten, find, best, sentence):
    monkeypatch.setattr(native_library, "import_module", find)
    monkeypatch.delenv("COMMONWEIGHT_KERNELS", raising=False)
    assert instructions() == best
    monkeypatch.setenv("COMMONWEIGHT_KERNELS", "avx2")
    with pytest.raises(KernelError, match=sentence):
        instructions()


@pytest.mark.parametrize(
    ("find", "sentence"),
    [
        (of_an_old_version, "are of another version of it and lack adjoint_float32, adjoint_float64, codebook_expand"),
        (damaged, r"cannot be loaded \(undefined symbol: _ZN5torch\)"),
    ],
)
def test_compiled_kernels_of_no_use_are_left_out_with_one_warning(monkeypatch, forgotten, find, sentence):
    monkeypatch.delenv("COMMONWEIGHT_KERNELS", raising=False)
    monkeypatch.setattr(native_library, "import_module", find)
    with pytest.warns(UserWarning, match=sentence + ".*: it computes by torch alone; install the package once more"):
        assert instructions() == "off"
    x, codes, values, bias, matrix = example(7, 3, 40, 6, 6, 16)  # warnings are errors: there is no second one
    torch.testing.assert_close(codebook_product(x, pack(codes, 4), values, bias, bits=4), x @ matrix.t() + bias)


def test_every_function_of_the_compiled_module_is_asked_for():
    assert sorted(native_library.FUNCTIONS) == sorted(name for name in dir(library()) if not name.startswith("_"))


def test_kernels_that_are_not_there_are_said_to_be(monkeypatch):
    monkeypatch.setattr(native_library, "library", lambda: None)
    with pytest.raises(KernelError, match="were not compiled; install a C"):
        native_library.compiled()


def test_the_children_of_a_fork_have_threads_of_their_own(chosen):
    x, codes, values, _, _ = example(6, 2, 512, 600, 600, 16)
    words = pack(codes, 4)
    before = codebook_product(x, words, values, bits=4)
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(codebook_product(x, words, values, bits=4), before) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
