"""The patterns whose weights are looked up, `hashed` and `codebook`: what they mean, and how they count and run."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import forward_ad

from commonweight import patterns as P
from commonweight.codebook import codebook
from commonweight.errors import PatternError
from commonweight.hashing import TILE, hashed, mixed
from commonweight.lower import lower
from commonweight.tied import Tied

M64 = (1 << 64) - 1


def splitmix64(seed, n):
    """The generator as its authors wrote it, one number after the other."""
    state, numbers = seed, []
    for _ in range(n):
        state = (state + 0x9E3779B97F4A7C15) & M64
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
        numbers.append(z ^ (z >> 31))
    return numbers


def test_the_hash_is_that_of_the_source():
    assert splitmix64(1234567, 1) == [6457827717110365317]  # as printed in the generator's published test
    for seed in (0, 1, (1 << 63) - 1):
        assert mixed(np.arange(20, dtype=np.uint64), seed).tolist() == splitmix64(seed, 20)


@given(st.integers(1, 30), st.integers(1, 30), st.data(), st.integers(0, 1 << 40))
@settings(max_examples=100, deadline=None)
def test_a_hashed_map_connects_all_and_uses_all(n_in, n_out, data, seed):
    weights = data.draw(st.integers(1, n_in * n_out))
    tiemap = hashed(n_in, n_out, weights, seed).tiemap()  # a tie map refuses weights without a use
    assert (tiemap.n_weights, tiemap.n_connections) == (weights, n_in * n_out)
    hashes = splitmix64(seed, n_in * n_out)
    taken_over = sum(int(w) != h % weights for w, h in zip(tiemap.weight, hashes, strict=True))
    assert taken_over == weights - len({h % weights for h in hashes})  # no more than there were without a use
    assert tiemap.signs.tolist() == [-1 if h >> 63 else 1 for h in hashes]


def test_a_seed_is_a_map():
    one, same, other = (hashed(40, 30, 50, seed).tiemap() for seed in (1, 1, 2))
    assert np.array_equal(one.weight, same.weight)
    assert not np.array_equal(one.weight, other.weight)


def test_uses_are_spread_as_by_chance():
    uses = np.bincount(hashed(256, 256, 1024, seed=3).tiemap().weight)  # 64 each in the mean, as a Poisson number
    assert abs(uses.std() - 8) < 1
    assert abs(hashed(256, 256, 1024, seed=3).tiemap().signs.mean()) < 4 / 256


def test_tiles_take_neighbouring_weights():
    index = hashed(64, 50, 200, seed=0, tile=True).index().reshape(50, 4, TILE)
    assert (np.diff(index, axis=2) == 1).mean() > 0.99  # but for the few that took over a use
    assert len(np.unique(index[..., 0])) > 50


@pytest.mark.parametrize("rows", [1, 2, 5, 12])
def test_a_codebook_counts_its_values(rows):
    codes = np.random.default_rng(0).integers(0, 4, (12, 50))
    pattern = codebook(codes, k=4, rows=rows)
    assert pattern.weight_shape == (-(-12 // rows), 4)
    assert pattern.n_connections == pattern.n_full == 600
    values = torch.randn(pattern.weight_shape, generator=torch.Generator().manual_seed(0))
    expected = values[torch.arange(12) // rows].gather(1, torch.from_numpy(codes))
    assert torch.equal(pattern.tiemap().expand(values.flatten()), expected)


def test_a_codebook_over_a_convolution():
    kernel = P.conv2d((3, 8, 8), 4, kernel=3, padding=1)
    codes = np.arange(kernel.n_weights).reshape(4, -1) % 8
    pattern = P.compose(kernel, weights_of=codebook(codes.reshape(1, -1), k=8))
    with pytest.raises(PatternError, match="cells to set them"):
        P.compose(kernel, weights_of=codebook(codes[:2], k=8))
    assert (pattern.n_weights, pattern.n_connections) == (8, kernel.n_connections)


def test_layers_learn_their_looked_up_weights():
    codes = np.random.default_rng(1).integers(0, 16, (30, 200))
    for pattern in (codebook(codes, k=16, rows=30), hashed(200, 150, 400)):
        layer = Tied(pattern, generator=torch.Generator().manual_seed(0))
        assert layer.weight.numel() == pattern.n_weights
        x = torch.randn(64, 200, generator=torch.Generator().manual_seed(1))
        target = torch.randn(64, pattern.n_out, generator=torch.Generator().manual_seed(2))
        optimiser, losses = torch.optim.Adam(layer.parameters(), 0.01), []
        for _ in range(20):
            loss = (layer(x) - target).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0] - 0.01


@pytest.mark.parametrize("pattern", [hashed(300, 200, weights=50), codebook(np.arange(600).reshape(3, 200) % 16, k=16)])
def test_dual_numbers_keep_their_tangents(pattern):
    layer = Tied(pattern, bias="none", generator=torch.Generator().manual_seed(0))
    x, moved = torch.randn(2, 4, pattern.n_in)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, moved))).tangent
        torch.testing.assert_close(tangent, layer(moved))


def test_a_layer_with_a_codebook_runs_in_every_way():
    codes = np.random.default_rng(1).integers(0, 16, (30, 200))
    layer = Tied(codebook(codes, k=16, rows=3), generator=torch.Generator().manual_seed(0))
    x = torch.randn(5, 200)
    expected = layer(x)
    torch.testing.assert_close(torch.func.functional_call(layer, dict(layer.named_parameters()), x), expected)
    torch.testing.assert_close(torch.compile(layer, backend="aot_eager", fullgraph=True)(x), expected)
    torch.testing.assert_close(torch.func.vmap(layer)(x.view(5, 1, 200))[:, 0], expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(x.bfloat16()).float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: hashed(3, 4, 13), "from 1 to the 12 connections; got 13"),
        (lambda: codebook([[0, 1]], k=2**40), "2 weights cannot use 1 codebooks of 1,099,511,627,776 values"),
        (lambda: hashed(30, 4, 13, tile=True), "from 16 to the 120 connections; got 13"),
        (lambda: hashed(3, 4, 5, seed=-1), r"from 0 to 2\^63 - 1; got -1"),
        (lambda: codebook([1, 2], k=3), r"matrix of whole numbers, one for each weight; got int64 \(2,\)"),
        (lambda: codebook([[0.5]], k=3), r"got float64 \(1, 1\)"),
        (lambda: codebook([[0, 1], [0]], k=2), "one for each weight; got rows of different lengths"),
        (lambda: codebook([[0, 1]], k=2.0), "codebook takes whole numbers of at least 1; got 2.0, 1"),
        (lambda: codebook([[0, 1]], k=2, rows="all"), "codebook takes whole numbers of at least 1; got 2, 'all'"),
        (lambda: hashed(3.0, 4, 5), "hashed takes whole numbers of at least 1; got 3.0, 4, 5"),
        (lambda: hashed(3, 4, 5, seed=1.5), r"from 0 to 2\^63 - 1; got 1.5"),
        (lambda: codebook([[0, 3]], k=3), r"codes for 3 values lie in 0..2; got 0 to 3"),
        (lambda: codebook([[0, 1], [0, 0]], k=2), "no code asks for value 1 of codebook 1; take fewer than 2"),
        (lambda: codebook([[0, 1]], k=2, rows=2), "1 to 1 of 1 rows share a codebook; got 2"),
    ],
)
def test_what_cannot_be_is_refused(make, sentence):
    with pytest.raises(PatternError, match=sentence):
        make()


def test_a_codebook_that_no_kernel_takes_is_a_matrix():
    pattern = codebook(np.arange(600).reshape(20, 30) % 300, k=300, rows=20)
    assert lower(pattern).rule == "matrix"


@pytest.mark.parametrize(("n_rows", "rows"), [(10, 6), (12, 5), (12, 7), (10, 4), (5, 3)])
def test_rows_that_the_codebooks_do_not_share_out_evenly(n_rows, rows):
    codes = np.arange(n_rows * 8).reshape(n_rows, 8) % 4
    layer = Tied(codebook(codes, k=4, rows=rows), bias="none", generator=torch.Generator().manual_seed(0))
    expected = layer.weight[torch.arange(n_rows) // rows].gather(1, torch.from_numpy(codes))
    torch.testing.assert_close(layer(torch.eye(8)), expected.t())
