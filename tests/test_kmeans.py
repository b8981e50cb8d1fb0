"""k-means on a line: against all clusterings of few points, plain dynamic programming of more, and its own laws."""

import subprocess
import sys
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from commonweight.errors import KernelError
from commonweight.kernels import cuts, kmeans
from commonweight.kernels.native_library import library

HERE = ("off", "portable") if library() else ("off",)
EPS = 2.0**-52


@pytest.fixture(params=HERE)
def chosen(request, monkeypatch):
    monkeypatch.setenv("COMMONWEIGHT_KERNELS", request.param)
    return request.param


def run_cost(points, weights):
    """Σ w (x - mean)² of one cluster."""
    if not weights.sum():
        return 0.0
    mean = (weights * points).sum() / weights.sum()
    return float((weights * (points - mean) ** 2).sum())


def of_all_clusterings(points, weights, k):
    """The least cost, by trying every way to cut the sorted points into at most k runs."""
    order = np.argsort(points)
    x, w = points[order], weights[order]
    best = np.inf
    for inner in combinations(range(1, len(x)), min(k, len(x)) - 1):
        ends = (0, *inner, len(x))
        best = min(best, sum(run_cost(x[a:b], w[a:b]) for a, b in pairwise(ends)))
    return best


def by_plain_programming(points, weights, k):
    """The cost of the clusters that O(k n²) steps find, from the table of all runs' costs."""
    order = np.argsort(points)
    x, w = points[order], weights[order]
    x = x - np.average(x, weights=w)
    sums = [np.concatenate([[0.0], np.cumsum(w * x**p)]) for p in range(3)]
    weight, first, second = (s[None, :] - s[:, None] for s in sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = np.where(weight > 0, np.maximum(0, second - first**2 / weight), 0.0)
    cost[np.tril_indices(len(x) + 1, -1)] = np.inf
    best, origins = cost[0], []
    for _ in range(k - 1):
        table = best[:, None] + cost
        origins.append(table.argmin(0))
        best = table.min(0)
    ends = [len(x)]
    for origin in reversed(origins):
        ends.append(origin[ends[-1]])
    return sum(run_cost(x[a:b], w[a:b]) for a, b in pairwise([0, *ends[::-1]]))


def check(points, weights, k, found, optimum):
    """Codes and centres belong together, each cluster is used, and the cost is that of the optimum."""
    centres, codes, cost = (part.numpy() for part in found)
    assert (np.diff(centres) >= 0).all()
    assert set(codes.tolist()) == set(range(k))
    slack = 64 * k * EPS * run_cost(points, weights)
    assert abs(float((weights * (points - centres[codes]) ** 2).sum()) - cost) <= slack
    assert cost <= optimum + slack
    distance = np.abs(points[:, None] - centres[None, :])
    reach = np.abs(points).max() * 1e-6  # centres are where points of no weight would be rounded to
    assert (distance[np.arange(len(points)), codes] <= distance.min(1) + reach).all()


WEIGHT = st.integers(0, 4) | st.floats(1e-6, 4)
POINTS = st.lists(st.integers(-6, 6) | st.floats(-10, 10, width=32), min_size=1, max_size=9)


@given(st.sampled_from(HERE), POINTS, st.data(), st.booleans())
@settings(max_examples=400, deadline=None)
def test_no_clustering_of_few_points_is_better(name, values, data, double):
    n = len(values)
    k = data.draw(st.integers(1, n))
    weights = data.draw(st.none() | st.lists(WEIGHT, min_size=n, max_size=n).filter(any))
    dtype = torch.float64 if double else torch.float32
    points = torch.tensor(values, dtype=dtype)
    given_weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMMONWEIGHT_KERNELS", name)
        found = kmeans(points, k, given_weights)
    x, w = points.double().numpy(), np.ones(n) if weights is None else given_weights.numpy()
    check(x, w, k, found, of_all_clusterings(x, w, k))


def test_the_smallest_number_is_its_own_centre(chosen):
    points = torch.tensor([2.0**-149], dtype=torch.float32)
    found = kmeans(points, 1)
    assert (found.centres.item(), found.cost.item()) == (2.0**-149, 0.0)


def drawn(kind, n, generator):
    """Points of which cells, bounds and ties are hard in different ways."""
    if kind == "normal":
        return generator.normal(size=n)
    if kind == "even":
        return np.arange(n) / n
    if kind == "clumps":
        return generator.integers(0, 7, n) + 1e-4 * generator.normal(size=n)
    if kind == "heavy tails":
        return generator.standard_cauchy(n)
    if kind == "few values":
        return generator.integers(-9, 10, n).astype(float)
    return np.exp(generator.uniform(-20, 20, n))  # "all magnitudes"


KINDS = ("normal", "even", "clumps", "heavy tails", "few values", "all magnitudes")


@given(
    st.sampled_from(HERE),
    st.sampled_from(KINDS),
    st.integers(1, 700),
    st.integers(1, 20),
    st.sampled_from((None, "uniform", "sparse", "far apart")),
    st.integers(0, 10**6),
)
@settings(max_examples=250, deadline=None)
def test_no_clustering_of_more_points_is_better(name, kind, n, k, weighting, seed):
    generator = np.random.default_rng(seed)
    points, k = drawn(kind, n, generator), min(k, n)
    weights = {
        None: np.ones(n),
        "uniform": generator.uniform(0.1, 1, n),
        "sparse": np.maximum(generator.uniform(-1, 1, n), 0) + (np.arange(n) == 0),
        "far apart": np.exp(generator.uniform(-15, 15, n)),
    }[weighting]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMMONWEIGHT_KERNELS", name)
        found = kmeans(torch.from_numpy(points), k, None if weighting is None else torch.from_numpy(weights))
    check(points, weights, k, found, by_plain_programming(points, weights, k))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "k"), [(3000, 2), (2500, 5), (2000, 13)])
def test_cells_that_are_divided_twice_hold_the_optimum(chosen, kind, n, k):
    points = drawn(kind, n, np.random.default_rng(n))
    check(points, np.ones(n), k, kmeans(torch.from_numpy(points), k), by_plain_programming(points, np.ones(n), k))


@pytest.mark.skipif(library() is None, reason="without compiled kernels there are not two of them to compare")
@pytest.mark.parametrize(
    ("kind", "n", "k"),
    [
        ("normal", 9000, 150),
        ("clumps", 9000, 150),
        ("even", 60_000, 31),
        ("normal", 200_000, 16),
        ("clumps", 50_000, 5),
    ],
)
def test_both_kernels_agree_where_trying_all_is_too_much(monkeypatch, kind, n, k):
    points = torch.from_numpy(drawn(kind, n, np.random.default_rng(k))).float()
    weights = torch.from_numpy(np.random.default_rng(n).uniform(0, 1, n))
    found = []
    for name in HERE:
        monkeypatch.setenv("COMMONWEIGHT_KERNELS", name)
        found.append(kmeans(points, k, weights))
    torch.testing.assert_close(found[0].cost, found[1].cost, rtol=1e-9, atol=0)
    if kind != "even":  # where ties make several clusterings the best
        assert torch.equal(found[0].codes, found[1].codes)
        torch.testing.assert_close(found[0].centres, found[1].centres, rtol=1e-12, atol=1e-14)


def test_many_clusters_of_known_points_are_found():
    """So many cells that no memory is taken for them: the cuts are found half by half."""
    generator = np.random.default_rng(0)
    alone = 10.0 * np.arange(2900)
    beside = generator.choice(2900, 100, replace=False)
    gaps = generator.uniform(0.1, 1, 100)
    points = generator.permutation(np.concatenate([alone, alone[beside] + gaps]))
    found = kmeans(torch.from_numpy(points), 2900)
    assert found.codes.tolist() == (points // 10).astype(int).tolist()
    assert found.cost.item() == pytest.approx((gaps**2 / 2).sum(), rel=1e-9)


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 40), st.sampled_from(HERE))
@settings(max_examples=50, deadline=None)
def test_rows_are_clustered_each_by_itself(seed, n_rows, n, name):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randint(-3, 4, (2, n_rows, n), generator=generator).float()
    weights = torch.rand(points.shape, generator=generator)
    k = 1 + seed % n
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMMONWEIGHT_KERNELS", name)
        together = kmeans(points, k, weights)
        for i in range(2):
            for row in range(n_rows):
                alone = kmeans(points[i, row], k, weights[i, row])
                assert all(torch.equal(part[i, row], one) for part, one in zip(together, alone, strict=True))


def test_equal_points_are_shared_out(chosen):
    found = kmeans(torch.tensor([[5.0, 5, 2, 5, 2, 5], [1, 1, 1, 1, 1, 1]]), 4)
    assert found.centres.tolist() == [[2, 2, 5, 5], [1, 1, 1, 1]]
    assert found.codes.tolist() == [[2, 3, 0, 3, 1, 3], [0, 1, 2, 3, 3, 3]]
    assert found.cost.tolist() == [0, 0]


def test_points_of_no_weight_go_to_the_nearest_centre(chosen):
    found = kmeans(torch.tensor([0.0, 4.0, 6.0, 10.0]), 2, torch.tensor([1.0, 0.0, 0.0, 1.0]))
    assert found.codes.tolist() == [0, 0, 1, 1]
    found = kmeans(torch.tensor([0.0, 4.0, 6.0, 10.0]), 3, torch.tensor([1.0, 0.0, 0.0, 1.0]))
    assert (found.centres.tolist(), found.codes.tolist()) == ([0, 0, 10], [0, 1, 2, 2])


LITTLE_MEMORY = """
import resource, torch
from commonweight.kernels import kmeans
torch.set_num_threads(2)
points = torch.randn(1 << 18, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
points.exp()  # the threads are there from now on
size = 4096 * int(open("/proc/self/statm").read().split()[0])
refused = 0
for more in range(2, 40, 6):
    resource.setrlimit(resource.RLIMIT_AS, (size + (more << 20), resource.RLIM_INFINITY))
    try:
        kmeans(points, 200)
    except (MemoryError, RuntimeError):
        refused += 1
print(refused)
"""


@pytest.mark.skipif(
    library() is None or sys.platform != "linux", reason="the kernels' threads, and Linux's way to limit"
)
def test_where_memory_ends_there_is_an_error_and_no_crash():
    done = subprocess.run([sys.executable, "-c", LITTLE_MEMORY], capture_output=True, text=True, check=False)
    assert (done.returncode, int(done.stdout or 0) > 0) == (0, True), done.stderr


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_types_views_and_gradients_do_not_matter(chosen, dtype):
    points = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    found = kmeans(points.t(), 4)
    assert not found.centres.requires_grad
    for one, other in zip(found, kmeans(points.detach().double().t().contiguous(), 4), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e150, 1e300])
def test_magnitudes_do_not_matter(chosen, scale):
    points = torch.randn(300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, scaled = kmeans(points, 7), kmeans(points * scale, 7)
    assert torch.equal(scaled.codes, found.codes)
    torch.testing.assert_close(scaled.centres / scale, found.centres, rtol=1e-12, atol=0)


def test_the_largest_and_the_smallest_numbers_are_told_apart(chosen):
    most = torch.finfo(torch.float64).max
    assert kmeans(torch.tensor([-most, most, most], dtype=torch.float64), 2).centres.tolist() == [-most, most]
    small = torch.tensor([0.0, -0.0, 5e-324], dtype=torch.float64)
    assert kmeans(small, 2).codes.tolist() == [0, 0, 1]
    narrow = torch.tensor([1.0, 1 + EPS, 1 + 2 * EPS], dtype=torch.float64)
    assert kmeans(narrow, 3).codes.tolist() == [0, 1, 2]


def test_threads_do_not_change_an_answer():
    points = torch.randn(1 << 18, generator=torch.Generator().manual_seed(0))
    threads, found = torch.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            found += [kmeans(points, 16), kmeans(points.view(256, -1), 4)]
    finally:
        torch.set_num_threads(threads)
    for other in (found[2:4], found[4:]):
        for one, same in zip(found[:2], other, strict=True):
            assert all(torch.equal(*parts) for parts in zip(one, same, strict=True))


def test_torch_sees_an_operator(chosen):
    points, weights = torch.randn(2, 3, 20), torch.rand(2, 3, 20)
    for inputs in ((points, 4, None), (points, 4, weights)):
        torch.library.opcheck(torch.ops.commonweight.kmeans, inputs)
    assert kmeans(torch.empty(0, 5), 2).centres.shape == (0, 2)
    assert kmeans(torch.empty(3, 5, device="meta"), 2).codes.shape == (3, 5)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_row_minima_of_monge_matrices(n_rows, n_columns, seed):
    generator = np.random.default_rng(seed)
    density = generator.integers(0, 3, (n_rows, n_columns))  # -Σ over what is above and left: the law of Monge
    matrix = generator.normal(size=(n_rows, 1)) + generator.normal(size=n_columns) - density.cumsum(0).cumsum(1)
    ends = np.sort(generator.integers(0, n_columns + 1, n_rows))
    for begins, stops in ((ends, np.full(n_rows, n_columns)), (np.zeros(n_rows, dtype=np.int64), ends)):
        found, at = cuts.row_minima(n_columns, begins, stops, lambda row, column: matrix[row, column])
        for row, (begin, stop) in enumerate(zip(begins, stops, strict=True)):
            part = matrix[row, begin:stop]
            assert found[row] == (part.min() if len(part) else np.inf)
            assert not len(part) or at[row] == begin + part.argmin()


X = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: kmeans(torch.zeros(3, dtype=torch.int64), 2), "16 to 64 bits; got torch.int64: convert"),
        (lambda: kmeans(torch.tensor(1.0), 1), r"1 to 2\^31 - 1 points; got shape \(\)"),
        (lambda: kmeans(torch.zeros(3, 0), 1), r"1 to 2\^31 - 1 points; got shape \(3, 0\)"),
        (lambda: kmeans(X, 4), "of 3 points finds 1 to 3 clusters; got k = 4"),
        (lambda: kmeans(X, 0), "of 3 points finds 1 to 3 clusters; got k = 0"),
        (lambda: kmeans(X, 2.0), "of 3 points finds 1 to 3 clusters; got k = 2.0"),
        (lambda: kmeans(3, 2), "kmeans takes a tensor of points; got int: 3"),
        (lambda: kmeans(X, 2, 3), "The weights of points are a tensor; got int: 3"),
        (lambda: kmeans(X.to(torch.float8_e4m3fn), 2), "16 to 64 bits; got torch.float8_e4m3fn: convert"),
        (lambda: kmeans(X, 2, torch.zeros(3)), r"shape \(2, 3\) are floating numbers of that shape; got .* \(3,\)"),
        (lambda: kmeans(X, 2, torch.ones(2, 3, dtype=torch.int64)), r"that shape; got torch.int64"),
        (lambda: kmeans(torch.tensor([1.0, torch.nan, torch.inf]), 2), "are finite; got 2 that are not"),
        (lambda: kmeans(X, 2, torch.tensor([[1, 1, 1], [2, 0, -1.0]])), "not negative; got -1 to 2"),
        (lambda: kmeans(X, 2, X + torch.nan), "finite and not negative; got nan to nan"),
        (lambda: kmeans(X, 2, torch.tensor([[1, 1, 1], [0, 0, 0.0]])), "Row 1 of the points has only weights of 0"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(chosen, call, sentence):
    with pytest.raises(KernelError, match=sentence):
        call()
