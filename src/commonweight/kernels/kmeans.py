"""k-means of points on a line, as an operator of torch: the best of all clusterings, and the same one at each call.

On a line the clusters of an optimal clustering are runs of the sorted points, so that dynamic programming over the
cuts between them finds it; Lloyd's descent, which other k-means are, ends in some local optimum.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from commonweight.errors import KernelError, require_kind
from commonweight.kernels.codes import FLOATS
from commonweight.kernels.cuts import clusters_of_a_row
from commonweight.kernels.native_library import compiled, instructions, laid_out
from commonweight.sizes import WHOLE


class Clusters(NamedTuple):
    """What `kmeans` finds.

    Attributes:
        centres: shape (*lead, k), float64, rising.
        codes: shape (*lead, n), int32: the cluster of each point. Each cluster has a point.
        cost: shape lead, float64: Σ w (x - centre)²; infinite where a square is too large for a number.
    """

    centres: Tensor
    codes: Tensor
    cost: Tensor


def kmeans(points: Tensor, k: int, weights: Tensor | None = None) -> Clusters:
    """k centres c and a code for each point, with the least Σ_i w_i (x_i - c[code_i])² that there is.

    Args:
        points: shape (*lead, n), finite; each row of n is clustered by itself.
        k: clusters, 1 … n.
        weights: of the points, finite and not negative, in each row one at least positive; None for 1 each. A point of
            weight 0 goes to the nearest centre.

    Returns:
        Centres, codes and costs, without gradients. Where fewer than k distinct values have weight, the cost is 0 and
        centres repeat: the points of a cluster are shared out, in their order, until each of the k clusters has one.

    The optimum is that of real numbers, but for rounding in double precision: the cost found exceeds it by a few times
    k · 2⁻⁵² · Σ w (x - mean)² at most.

    Source: dynamic programming over sorted points (Wang, Song 2011, "Ckmeans.1d.dp"), with row minima of Monge matrices
    (Grønlund et al. 2017, arXiv:1701.07204). Deviation: cuts that bounds show to be worse than a clustering that is
    known already are left out, which changes the time and the memory, not the answer.

    Raises:
        KernelError: points or weights of another shape, type or value than these.

    Example:
        >>> found = kmeans(torch.tensor([0.0, 9.0, 1.0, 8.0, 4.0]), 2, weights=torch.tensor([1.0, 1.0, 1.0, 1.0, 2.0]))
        >>> found.centres.tolist(), found.codes.tolist(), found.cost.item()
        ([2.25, 8.5], [0, 1, 0, 1, 0], 13.25)
    """
    require_kind(points, Tensor, "kmeans takes a tensor of points", KernelError)
    require_kind(weights, Tensor | None, "The weights of points are a tensor", KernelError)
    n = points.shape[-1] if points.ndim else 0
    if points.dtype not in FLOATS:
        raise KernelError(
            f"Points for k-means are floating numbers of 16 to 64 bits; got {points.dtype}: convert them."
        )
    if not n or n >= 1 << 31:
        raise KernelError(f"k-means takes rows of 1 to 2^31 - 1 points; got shape {tuple(points.shape)}.")
    if not isinstance(k, WHOLE) or not 1 <= k <= n:
        raise KernelError(f"k-means of {n:,} points finds 1 to {n:,} clusters; got k = {k!r}.")
    if weights is not None and (weights.shape != points.shape or weights.dtype not in FLOATS):
        raise KernelError(
            f"Weights for points of shape {tuple(points.shape)} are floating numbers of that shape; got "
            f"{weights.dtype} of shape {tuple(weights.shape)}."
        )
    of_points = None if weights is None else weights.detach()
    return Clusters(*torch.ops.commonweight.kmeans(points.detach(), int(k), of_points))


torch.library.define("commonweight::kmeans", "(Tensor points, int k, Tensor? weights) -> (Tensor, Tensor, Tensor)")


def _prepared(points: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Rows of float32 or float64 points, and float64 weights."""
    if not bool(points.isfinite().all()):
        raise KernelError(f"Points for k-means are finite; got {int((~points.isfinite()).sum()):,} that are not.")
    n = points.shape[-1]
    wide = points if points.dtype == torch.float64 else points.float()
    rows = laid_out(wide.reshape(-1, n))
    if weights is None:
        return rows, None
    weights = laid_out(weights.double().reshape(-1, n))
    if not bool((weights.isfinite() & (weights >= 0)).all()):
        raise KernelError(f"Weights of points are finite and not negative; got {weights.min():g} to {weights.max():g}.")
    empty = (weights == 0).all(1).nonzero()
    if len(empty):
        raise KernelError(f"Row {int(empty[0])} of the points has only weights of 0; give one at least a positive one.")
    return rows, weights


def _on_cpu(points: Tensor, k: int, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    if instructions() == "off":
        return _by_numpy(points, k, weights)
    rows, wide_weights = _prepared(points, weights)
    run = compiled().kmeans_float32 if rows.dtype == torch.float32 else compiled().kmeans_float64
    centres, codes, cost = _empty(rows, k)
    found = torch.empty(len(rows), dtype=torch.int32)
    run(
        rows.data_ptr(),
        0 if wide_weights is None else wide_weights.data_ptr(),
        *rows.shape,
        k,
        centres.data_ptr(),
        codes.data_ptr(),
        cost.data_ptr(),
        found.data_ptr(),
        torch.get_num_threads(),
    )
    for row in (found < k).nonzero()[:, 0].tolist():
        _share_out(centres[row], codes[row], int(found[row]))
    return _shaped(points, centres, codes, cost)


def _by_numpy(points: Tensor, k: int, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    rows, wide_weights = _prepared(points.cpu(), None if weights is None else weights.cpu())
    centres, codes, cost = _empty(rows, k)
    for row in range(len(rows)):
        of_points = None if wide_weights is None else wide_weights[row].numpy()
        found, numbers, cost[row] = clusters_of_a_row(rows[row].numpy(), k, of_points)
        centres[row, : len(found)], codes[row] = torch.from_numpy(found), torch.from_numpy(numbers)
        if len(found) < k:
            _share_out(centres[row], codes[row], len(found))
    return _shaped(points, centres, codes, cost)


def _empty(rows: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    centres = torch.empty(len(rows), k, dtype=torch.float64)
    return centres, torch.empty(rows.shape, dtype=torch.int32), torch.empty(len(rows), dtype=torch.float64)


def _shaped(points: Tensor, centres: Tensor, codes: Tensor, cost: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    lead, device = points.shape[:-1], points.device
    return (
        centres.view(*lead, centres.shape[1]).to(device),
        codes.view(points.shape).to(device),
        cost.view(lead).to(device),
    )


def _share_out(centres: Tensor, codes: Tensor, found: int) -> None:
    """Gives the points of the `found` clusters to as many as there are centres, in place."""
    uses = torch.bincount(codes, minlength=found)
    room, wanted = uses - 1, len(centres) - found
    copies = 1 + torch.minimum((wanted - (room.cumsum(0) - room)).clamp_(min=0), room)
    order = codes.argsort(stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(codes)) - (uses.cumsum(0) - uses)[codes[order]]
    codes.copy_((copies.cumsum(0) - copies)[codes] + torch.minimum(rank, copies[codes] - 1))
    centres.copy_(centres[:found].repeat_interleave(copies))


torch.library.impl("commonweight::kmeans", "cpu", _on_cpu)
torch.library.impl("commonweight::kmeans", "default", _by_numpy)


def _shape_only(points: Tensor, k: int, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    lead = points.shape[:-1]
    return (
        points.new_empty((*lead, k), dtype=torch.float64),
        points.new_empty(points.shape, dtype=torch.int32),
        points.new_empty(lead, dtype=torch.float64),
    )


torch.library.register_fake("commonweight::kmeans", _shape_only)
