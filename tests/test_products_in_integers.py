"""Products that a matrix unit computes in integers, against those in double precision.

They are of 2²¹ weights and more, 3 to 47 samples, and codes of up to 4 bits. Every instruction set holds to the same.
"""

import pytest
import torch
from conftest import HERE
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kernels import example

from commonweight.kernels import codebook_product, pack
from commonweight.kernels.codes import bits_for

ROUNDING = 3e-6  # of a product in float32, of what its terms come to


def written_out(codes, values):
    per = -(-len(codes) // len(values))
    return values[torch.arange(len(codes)) // per].gather(1, codes)


def sizes_of_terms(x, matrix):
    return x.double().abs() @ matrix.double().abs().t()


@given(
    st.sampled_from(HERE),
    st.sampled_from((2, 3, 4, 7, 8, 13, 16)),
    st.sampled_from((3, 4, 5, 8, 9, 15, 16, 47)),
    st.sampled_from(((2049, 1030), (3000, 700), (1301, 1613), (128, 16384), (16400, 128), (70_001, 30))),
    st.sampled_from(("tensor", "groups", "row")),
    st.sampled_from((1e-30, 1.0, 1e15)),
    st.sampled_from((1e-3, 1.0, 1e15)),
    st.integers(1, 3),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_products_of_every_shape(name, k, batch, shape, sharing, of_values, of_x, threads, seed):
    rows, columns = shape
    codebooks = {"tensor": 1, "groups": rows // 100 + 1, "row": rows}[sharing]
    x, codes, values, bias, _ = example(seed, batch, columns, rows, codebooks, k)
    x, values, bias = x * of_x, values * of_values, bias * of_x * of_values
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMMONWEIGHT_KERNELS", name)
        try:
            torch.set_num_threads(threads)
            y = codebook_product(x, pack(codes, bits_for(k)), values, bias, bits=bits_for(k))
        finally:
            torch.set_num_threads(before)
    matrix = written_out(codes, values)
    error = (y.double() - x.double() @ matrix.double().t() - bias.double()).abs()
    rounded = values.double().abs().amax() * x.double().abs().sum(1, keepdim=True) * 2**-22
    assert bool((error <= ROUNDING * (sizes_of_terms(x, matrix) + bias.double().abs()) + rounded).all())


def test_whole_numbers_are_exact(chosen):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(16, (1027, 2100), generator=generator)
    x = torch.randint(-8, 9, (5, 2100), generator=generator).float()
    values = torch.randperm(1027 * 16, generator=generator).remainder(33).sub(16).view(1027, 16).float()
    y = codebook_product(x, pack(codes, 4), values, bits=4)
    assert torch.equal(y.double(), x.double() @ written_out(codes, values).double().t())


def test_the_largest_digits_of_the_longest_rows(chosen):
    """Digits of -128 add up to nearly 2³¹."""
    most = -float((127 << 16) + (128 << 8) + 128)
    codes, columns = torch.ones(17, 130_944, dtype=torch.long), 130_944
    y = codebook_product(torch.full((3, columns), most), pack(codes, 4), torch.tensor([[0.0, most]]), bits=4)
    torch.testing.assert_close(y, torch.full((3, 17), columns * most**2), rtol=1e-4, atol=0)


def test_rows_with_values_that_integers_would_round_too_far(chosen):
    """Small values beside large ones that no weight of the row has; numbers that are not finite; nothing but zeros."""
    x, codes, values, _, _ = example(1, 7, 2100, 1030, 1030, 16)
    codes[:500] = codes[:500].clamp(min=1)
    values[:500] *= 1e-6
    values[:500, 0] = 1.0
    values[500], values[501], values[502, 3] = torch.nan, 0.0, torch.inf
    values[503] = 1e-41
    y = codebook_product(x, pack(codes, 4), values, bits=4)
    assert bool(y[:, 500].isnan().all())
    assert not bool(y[:, 501].any())
    assert not bool(y[:, 502].isfinite().any())
    matrix = written_out(codes, values)
    rest = [row for row in range(1030) if row not in (500, 502)]
    error = (y.double() - x.double() @ matrix.double().t()).abs()[:, rest]
    assert bool((error <= ROUNDING * sizes_of_terms(x, matrix)[:, rest] + 2**-148).all())


def test_inputs_that_integers_would_round_too_far(chosen):
    """A large one that meets only zeros, a sample of zeros, and numbers that are not finite."""
    x, codes, values, _, _ = example(2, 6, 2100, 1030, 1030, 16)
    values[:, 0], codes[:, 7] = 0.0, 0
    words = pack(codes, 4)
    matrix = written_out(codes, values)
    x[1], x[2, 7] = 0.0, 1e9
    y = codebook_product(x, words, values, bits=4)
    assert not bool(y[1].any())
    error = (y.double() - x.double() @ matrix.double().t()).abs()
    scale = values.double().abs().amax() * x.double().abs().sum(1, keepdim=True) * 2**-22
    scale[2] = 0
    assert bool((error <= ROUNDING * sizes_of_terms(x, matrix) + scale).all())
    x[3, 8], x[4, 9] = torch.inf, torch.nan
    y = codebook_product(x, words, values, bits=4)
    assert not bool(y[3].isfinite().any())
    assert bool(y[4].isnan().all())
    assert bool(y[[0, 1, 2, 5]].isfinite().all())
