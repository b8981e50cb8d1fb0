"""How a self-organising map learns: from a plane of principal components, by the batch or by the online rule.

Both rules pull units towards samples, by h(k, c) = exp(-d² / 2 r²) at the distance d on the grid between a unit k and
the winner c of the sample, with a radius r that shrinks. Features that a sample lacks, NaN, pull at nothing.
"""

from collections.abc import Sequence
from math import pi

import torch
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from commonweight.nets.som import Grid, winners

_TINY, _EPSILON = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).eps / 2


def principal_start(x: Tensor, grid: Grid, seed: int) -> Tensor:
    """Weights spread along the principal components of the samples (Kohonen 2001, section 3.7): ordered from the start.

    On a plane, w = mean + 2 a s₁ e₁ + 2 b s₂ e₂, where s is the deviation along a component e, and a and b run from -1
    to 1 along the longer and the shorter side. A torus has no sides: w = mean + √2 (s₁ e₁ cos α + s₂ e₂ sin α + s₃ e₃
    cos β + s₄ e₄ sin β), the angles running around it. What is missing counts as the mean of its feature.

    Args:
        x: shape (N, F).
        grid: of the map.
        seed: of the search for the components.

    Returns:
        Shape (units, F).
    """
    mean = x.nanmean(0).nan_to_num(0)
    centred = torch.where(x.isnan(), 0, x - mean)
    n_components = min(4 if grid.torus else 2, *x.shape)
    _, lengths, components = randomized_svd(centred.numpy(), n_components, random_state=seed)
    axes = torch.zeros(4, x.shape[1])
    axes[:n_components] = torch.from_numpy(components * lengths[:, None] / len(x) ** 0.5)
    sides = sorted((grid.rows, grid.columns), reverse=True)
    if grid.torus:
        angles = [2 * pi * torch.arange(side) / side for side in sides]
        along = [2**0.5 * torch.stack([angle.cos(), angle.sin()], 1) for angle in angles]
        first, second = along[0] @ axes[:2], along[1] @ axes[2:]
    else:
        first, second = (
            2 * torch.linspace(-1, 1, side)[:, None] * axis if side > 1 else torch.zeros(1, len(mean))
            for side, axis in zip(sides, axes, strict=False)
        )
    sheet = first[:, None] + second[None, :]
    if grid.columns > grid.rows:
        sheet = sheet.transpose(0, 1)
    return mean + sheet.reshape(grid.units, -1)


def shrinking(radius: float, final: float, steps: int) -> list[float]:
    """From the first radius to the last one, each smaller than the one before by the same factor.

    >>> shrinking(4.0, 1.0, 3)
    [4.0, 2.0, 1.0]
    """
    return [final if step == steps - 1 else radius * (final / radius) ** (step / (steps - 1)) for step in range(steps)]


def learn_batch(weight: Tensor, x: Tensor, grid: Grid, radii: Sequence[float]) -> Tensor:
    """The batch rule, once for each radius: w_k = Σ_i h(k, c_i) x_i / Σ_i h(k, c_i), all winners c found before.

    A unit that no sample pulls at stays where it is.

    Args:
        weight: shape (units, F).
        x: shape (N, F).
        grid: of the map.
        radii: one for each time.

    Returns:
        The new weights.
    """
    missing = x.isnan()
    some_missing = bool(missing.any())
    values = x.masked_fill(missing, 0) if some_missing else x
    present = (~missing).to(x) if some_missing else x.new_ones(len(x), 1)
    for radius in radii:
        won = winners(x, weight)
        sums = x.new_zeros(weight.shape).index_add_(0, won, values)
        counts = x.new_zeros(len(weight), present.shape[1]).index_add_(0, won, present)
        pulled, pulls = grid.smooth(torch.cat([sums, counts], 1), radius).tensor_split([x.shape[1]], 1)
        weight = torch.where(pulls > _TINY, pulled / pulls, weight)
    return weight


def learn_online(weight: Tensor, x: Tensor, grid: Grid, radii: Tensor, rates: Tensor) -> Tensor:
    """The online rule, sample by sample: w_k += α h(k, c) (x - w_k) for every unit k, c the winner of x.

    Units that are pulled at by less than float32 can tell from 1 stay where they are.

    Args:
        weight: shape (units, F).
        x: shape (N, F), in the order of learning.
        grid: of the map.
        radii, rates: r and α of each sample, shape (N,).

    Returns:
        The new weights.
    """
    centre = x.nanmean(0).nan_to_num(0)  # products lose no digits there
    weight, x = weight - centre, x - centre
    halves = weight.square().sum(1) / 2
    apart = grid.squared_distances(torch.arange(grid.units))
    for sample, has_gaps, radius, rate in zip(x, x.isnan().any(1).tolist(), radii, rates, strict=True):
        if has_gaps:
            won = (weight - sample).nan_to_num_(0).square().sum(1).argmin()
        else:
            won = torch.addmv(halves, weight, sample, alpha=-1).argmin()  # of ‖w‖² / 2 - x·w
        pulls = rate * torch.exp(apart[won] / (-2 * radius**2))
        near = (pulls > _EPSILON).nonzero()[:, 0]
        pulled = weight[near]
        pulled += pulls[near, None] * (sample - pulled).nan_to_num_(0)
        weight[near], halves[near] = pulled, pulled.square().sum(1) / 2
    return weight + centre


def learn_vector_quantisation(
    weight: Tensor, answers: Tensor, x: Tensor, index: Tensor, order: Sequence[Tensor], rate: float = 0.05
) -> Tensor:
    """LVQ1: w_c += α (x - w_c) where the winner c of x answers rightly, w_c -= α (x - w_c) where it does not.

    Source: Kohonen, "The self-organizing map" (1990), section IV; it tunes what a map has learned, for classification.
    Deviation: samples are taken by batches, their pulls summed.

    Args:
        weight: shape (units, F).
        answers: the class of each unit, shape (units,).
        x: shape (N, F).
        index: the class of each sample, shape (N,).
        order: the batches, by indices.
        rate: α at first; it falls to 0 over the batches, by a straight line.

    Returns:
        The new weights.
    """
    weight = weight.clone()
    for step, batch in enumerate(order):
        samples = x[batch]
        won = winners(samples, weight)
        pull = rate * (1 - step / len(order)) * torch.where(answers[won] == index[batch], 1.0, -1.0)
        weight.index_add_(0, won, pull[:, None] * (samples - weight[won]).nan_to_num_(0))
    return weight
