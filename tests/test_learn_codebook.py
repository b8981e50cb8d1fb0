"""`codebook.learn`: the nearest codebooks, as a pattern that every layer takes; and what it refuses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

import commonweight as cw
from commonweight import patterns as P
from commonweight.codebook import learn
from commonweight.errors import KernelError, PatternError
from commonweight.kernels import kmeans
from commonweight.kernels.native_library import library


@pytest.fixture(params=("off", "portable") if library() else ("off",))
def chosen(request, monkeypatch):
    monkeypatch.setenv("COMMONWEIGHT_KERNELS", request.param)


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def written_out(pattern, values):
    """W, by the tie map."""
    return pattern.tiemap().expand(values.double().flatten())


def error(weight, pattern, values, importance=1.0):
    return float((importance * (weight.double().flatten(1) - written_out(pattern, values)) ** 2).sum())


@given(
    st.integers(1, 9),
    st.integers(1, 12),
    st.data(),
    st.sampled_from((torch.float32, torch.float64, torch.bfloat16)),
    st.booleans(),
    st.integers(0, 10**6),
)
@settings(max_examples=200, deadline=None)
def test_values_are_used_and_are_the_means_of_their_uses(n_out, n_in, data, dtype, few, seed):
    weight = random(n_out, n_in, seed=seed, dtype=dtype)
    if few:
        weight = weight.sign()  # fewer values than a codebook has
    per = data.draw(st.sampled_from(("row", "tensor")) | st.integers(1, n_out))
    rows = {"row": 1, "tensor": n_out}.get(per, per)
    k = data.draw(st.integers(1, (n_out % rows or rows) * n_in))
    importance = data.draw(st.none() | st.just(random(n_out, n_in, seed=seed + 1).double() ** 2))
    pattern, values = learn(weight, k, per, importance)  # a pattern refuses values without a use
    assert (pattern.rows, pattern.k, values.dtype) == (rows, k, dtype)
    assert tuple(values.shape) == pattern.weight_shape == (-(-n_out // rows), k)
    for group, (codes, elements) in enumerate(
        zip(torch.from_numpy(pattern.codes.copy()).split(rows), weight.double().split(rows), strict=True)
    ):
        part = torch.ones_like(elements) if importance is None else importance[group * rows : (group + 1) * rows]
        for code in range(k):
            used = codes == code
            mean = (part * elements)[used].sum() / part[used].sum()
            tolerance = {torch.float32: 1e-6, torch.float64: 1e-9, torch.bfloat16: 1e-2}[dtype]
            torch.testing.assert_close(values[group, code].double(), mean, rtol=tolerance, atol=tolerance)


def test_no_descent_finds_better_codebooks(chosen):
    weight = random(6, 200).double()
    importance = random(6, 200, seed=1).double() ** 2
    pattern, values = learn(weight, 8, importance=importance)
    for row in range(6):
        descent = KMeans(8, n_init=20, random_state=0)
        descent.fit(weight[row, :, None].numpy(), sample_weight=importance[row].numpy())
        got = float((importance[row] * (weight[row] - written_out(pattern, values)[row]) ** 2).sum())
        assert got <= descent.inertia_ * (1 + 1e-12)


def test_sharing_less_or_more_values_never_hurts(chosen):
    weight = random(12, 40, dtype=torch.float64)
    by_rows = [error(weight, *learn(weight, 4, per)) for per in ("row", 2, 4, "tensor")]
    assert by_rows == sorted(by_rows)
    by_values = [error(weight, *learn(weight, k, "tensor")) for k in (1, 2, 3, 8, 16, 400)]
    assert by_values == sorted(by_values, reverse=True)
    assert by_values[0] == pytest.approx(float(((weight - weight.mean()) ** 2).sum()))


def test_a_weight_of_few_values_is_kept_exactly(chosen):
    weight = torch.tensor([[0.5, 0.5, 2.0, 0.5], [1.0, 1.0, 1.0, 1.0]])
    pattern, values = learn(weight, 3)
    assert torch.equal(written_out(pattern, values).float(), weight)
    assert values.tolist() == [[0.5, 0.5, 2.0], [1.0, 1.0, 1.0]]


def test_importance_decides(chosen):
    weight = torch.tensor([[0.0, 1.0, 10.0, 11.0]])
    pattern, values = learn(weight, 2, importance=torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    assert (values.tolist(), pattern.codes.tolist()) == ([[0, 1]], [[0, 1, 1, 1]])


def test_a_layer_with_what_was_learned_is_close_to_the_dense_one(chosen):
    dense = torch.nn.Linear(64, 32, dtype=torch.float64)
    dense.weight.data = random(32, 64, dtype=torch.float64) / 8
    pattern, values = learn(dense.weight, 16)
    assert not values.requires_grad
    layer = cw.Tied(pattern, bias="none").double()
    layer.weight.data.copy_(values)
    x = random(5, 64, seed=2, dtype=torch.float64)
    torch.testing.assert_close(layer(x), x @ written_out(pattern, values).t())
    torch.testing.assert_close(layer(x), x @ dense.weight.t(), rtol=0, atol=0.5)


@pytest.mark.parametrize("per", ["row", 2, "tensor"])
def test_a_convolution_with_a_codebook(per):
    kernel = random(4, 3, 3, 3)
    pattern, values = learn(kernel, 8, per)
    composed = P.compose(P.conv2d((3, 8, 8), 4, kernel=3, padding=1), weights_of=pattern)
    layer = cw.Tied(composed, bias="none")
    layer.weight.data.copy_(values)
    x = random(2, 3, 8, 8, seed=1)
    written = written_out(pattern, values).float().view(kernel.shape)
    torch.testing.assert_close(layer(x), torch.nn.functional.conv2d(x, written, padding=1), rtol=1e-4, atol=1e-5)


def test_views_count_as_what_they_show(chosen):
    weight = random(40, 30)
    for view in (weight.t(), weight[::2, ::3], weight[:, :1].expand(40, 30), random(6, 5, 4).transpose(0, 2)):
        one, other = learn(view, 3, 2), learn(view.contiguous(), 3, 2)
        assert (one[0].codes == other[0].codes).all()
        assert torch.equal(one[1], other[1])


def test_rows_that_share_are_clustered_together():
    weight = random(5, 30)
    _, values = learn(weight, 4, 2)
    for group, elements in enumerate(weight.split(2)):
        assert torch.equal(values[group], kmeans(elements.flatten(), 4).centres.float())


W = torch.ones(3, 4)
SOME = torch.tensor([[1.0] * 4, [0.0] * 4, [1.0] * 4])


@pytest.mark.parametrize(
    ("call", "kind", "sentence"),
    [
        (lambda: learn(torch.ones(4), 2), PatternError, r"of floating numbers; got torch.float32 \(4,\) on cpu"),
        (lambda: learn(torch.ones(0, 4), 2), PatternError, r"got torch.float32 \(0, 4\)"),
        (lambda: learn(torch.ones(4, 0), 2), PatternError, r"got torch.float32 \(4, 0\)"),
        (lambda: learn(W.long(), 2), PatternError, r"got torch.int64 \(3, 4\)"),
        (lambda: learn(W.numpy(), 2), PatternError, "of floating numbers; got a ndarray"),
        (lambda: learn(W.to("meta"), 2), PatternError, r"got torch.float32 \(3, 4\) on meta"),
        (lambda: learn(W, 2.0), PatternError, "2.0 values for a codebook of 4 elements"),
        (lambda: learn(W, 2, 1.5), PatternError, "how many of 3 rows share; got 1.5"),
        (lambda: learn(W, 2, "channel"), PatternError, "how many of 3 rows share; got 'channel'"),
        (lambda: learn(W, 2, 0), PatternError, "how many of 3 rows share; got 0"),
        (lambda: learn(W, 2, 4), PatternError, "how many of 3 rows share; got 4"),
        (lambda: learn(W, 5), PatternError, "5 values for a codebook of 4 elements; take 1 to 4 values, or let more"),
        (lambda: learn(W, 5, 2), PatternError, "5 values for a codebook of 4 elements"),
        (lambda: learn(W, 13, "tensor"), PatternError, "13 values for a codebook of 12 elements"),
        (lambda: learn(W, 0), PatternError, "0 values for a codebook of 4 elements"),
        (lambda: learn(W, 2, importance=torch.ones(4)), PatternError, r"of the weight, \(3, 4\); got \(4,\)"),
        (lambda: learn(W * torch.nan, 2), KernelError, "are finite; got 12 that are not"),
        (lambda: learn(W / 0, 2, "tensor"), KernelError, "are finite; got 12 that are not"),
        (lambda: learn(W, 2, importance=-W), KernelError, "finite and not negative; got -1 to -1"),
        (lambda: learn(W, 2, importance=SOME), KernelError, "Row 1 of the points has only weights of 0"),
        (lambda: learn(W, 2, importance=W.long()), KernelError, "floating numbers of that shape; got torch.int64"),
    ],
)
def test_what_cannot_be_is_refused(call, kind, sentence):
    with pytest.raises(kind, match=sentence):
        call()
