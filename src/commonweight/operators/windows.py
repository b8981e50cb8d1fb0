"""How a sliding window runs: as torch's convolution, as one fully connected product, or as gathered windows.

Each function plans one way for the geometry and the kernel that `sliding` found; `lower` chooses among them.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from commonweight.operators.plan import Plan
from commonweight.operators.products import linear
from commonweight.operators.sliding import Axis, Sliding
from commonweight.operators.spread import Spread, Table
from commonweight.tiemap import Index


def covering(window: Sliding) -> Plan:
    """A window with a single position that covers the whole input: a fully connected product."""
    out_channels, *rest = window.kernel_shape
    return linear(Spread((out_channels, prod(rest)), window.numbered), window.transposed)


def convolution(window: Sliding) -> Plan:
    """torch's convolution; padding that torch cannot express is written out before."""
    axes, groups = window.axes, window.groups
    call = (F.conv1d, F.conv2d, F.conv3d)[len(axes) - 1]
    native = [_torch_positions(axis) == axis.positions for axis in axes]
    odd = [(dim, axis) for dim, axis in enumerate(axes, 2) if not native[dim - 2]]
    stride, dilation = tuple(axis.stride for axis in axes), tuple(axis.dilation for axis in axes)
    padding = tuple(axis.left if is_native else 0 for axis, is_native in zip(axes, native, strict=True))

    # One channel that lies as channels last, with a stride of its own on each axis: torch 2.13 gives wrong numbers for
    # some sizes in float32. Flattened and shaped again, it lies as channels first.
    misread = window.shapes[0][0] == 1 and len(set(stride)) > 1

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = _pad(x, odd) if odd else x
        x = x.flatten(1).view(x.shape) if misread else x
        return call(x, weight, bias, stride, padding, dilation, groups)

    weights, name = Spread(window.kernel_shape, window.numbered), f"torch.nn.functional.conv{len(axes)}d"
    return Plan(name, run, *window.shapes, weights, window.multiplications, fuses_bias=True)


def transposed_convolution(window: Sliding) -> Plan:
    """torch's transposed convolution; padding that torch cannot express is cut or folded afterwards."""
    axes, groups = window.axes, window.groups
    call = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[len(axes) - 1]
    # Inputs behind the last window receive nothing: torch calls them output padding.
    rest = [axis.left - axis.right for axis in axes]
    native = [not a.circular and a.left >= 0 and 0 <= n < a.stride for a, n in zip(axes, rest, strict=True)]
    odd = [(dim, axis) for dim, axis in enumerate(axes, 2) if not native[dim - 2]]
    stride, dilation = tuple(axis.stride for axis in axes), tuple(axis.dilation for axis in axes)
    padding = tuple(axis.left if is_native else 0 for axis, is_native in zip(axes, native, strict=True))
    extra = tuple(n if is_native else 0 for n, is_native in zip(rest, native, strict=True))

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y = call(x, weight, bias, stride, padding, extra, groups, dilation)
        return _unpad(y, odd) if odd else y

    weights, name = Spread(window.kernel_shape, window.numbered), f"torch.nn.functional.conv_transpose{len(axes)}d"
    return Plan(name, run, *window.shapes, weights, window.multiplications, fuses_bias=not odd)


def _torch_positions(axis: Axis) -> int:
    """How many positions torch's convolution finds with zeros of equal number on both sides; 0 if it cannot do that."""
    if axis.circular or axis.left < 0:
        return 0
    return (axis.size + 2 * axis.left - axis.span) // axis.stride + 1


def _pad(x: Tensor, axes: Sequence[tuple[int, Axis]]) -> Tensor:
    """Puts before and behind the dimensions of x what a window meets there: zeros, or the other end."""
    widths = [0] * (2 * x.ndim)
    turned = [0] * (2 * x.ndim - 4)
    for dim, axis in axes:
        at = 2 * (x.ndim - 1 - dim)  # torch counts from the last dimension
        if not axis.circular:
            widths[at : at + 2] = [axis.left, axis.right]
        elif 0 <= axis.left <= axis.size and axis.right <= axis.size:
            turned[at : at + 2] = [axis.left, max(axis.right, 0)]
        else:  # around more than once
            start, length = -axis.left % axis.size, axis.left + axis.size + axis.right
            turns = -(-(start + length) // axis.size)
            x = torch.cat([x] * turns, dim).narrow(dim, start, length)
    if any(turned):
        x = F.pad(x, turned, mode="circular")
    return F.pad(x, widths) if any(widths) else x


def _unpad(y: Tensor, axes: Sequence[tuple[int, Axis]]) -> Tensor:
    """The transpose of `_pad`: drops what was padded with zeros, adds what came from the other end back to it."""
    for dim, axis in axes:
        before, behind = -axis.left, -axis.right
        if axis.circular:
            before %= axis.size
            behind = -(y.shape[dim] + before) % axis.size
        y = F.pad(y, [*(0, 0) * (y.ndim - 1 - dim), before, behind])
        if axis.circular:
            y = y.reshape(*y.shape[:dim], y.shape[dim] // axis.size, axis.size, *y.shape[dim + 1 :]).sum(dim)
    return y


def windows(window: Sliding) -> Plan:
    """A window whose kernel depends on the position: the windows are gathered, then multiplied in one batched product.

    Positions with the same kernel, those of one residue, are one matrix of the batch. Rows of xᵀ are gathered, B
    neighbours at a time, and a table holds stride, padding, dilation and wrapping alike. The transpose scatters them.
    """
    n_in, n_out = map(prod, window._replace(transposed=False).shapes)
    met, made = _met_inputs(window, n_in), _made_outputs(window, n_out)
    inputs, outputs, padded = Table(met.ravel()), Table(made.ravel()), bool((met == n_in).any())
    places = Table(np.argsort(made, axis=None)[:n_out])  # where the product makes each output; surplus ones come last
    # The kernel's cells (group, out, in, residue and tap of each axis) become one matrix for each residue and group.
    groups, (out_channels, channels) = window.groups, window.kernel_shape[:2]
    split = [n for axis in window.axes for n in (axis.residues, axis.taps)]
    cells = window.cells().reshape(groups, -1, channels, *split)
    cells = cells.transpose(*range(3, cells.ndim, 2), 0, 1, 2, *range(4, cells.ndim, 2))
    n_matrices, rows, cols = groups * prod(split[::2]), out_channels // groups, channels * prod(split[1::2])
    count = made.size // (n_matrices * rows)

    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        batch = x.shape[0]
        units_IB = x.reshape(batch, n_in).t().contiguous()
        units_IB = F.pad(units_IB, (0, 0, 0, 1)) if padded else units_IB
        terms = units_IB.index_select(0, inputs.beside(x)).reshape(n_matrices, cols, count * batch)
        sums = torch.bmm(weight, terms).reshape(n_matrices * rows * count, batch)
        return sums.index_select(0, places.beside(x)).t()

    def backward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        batch = x.shape[0]
        units_OB = F.pad(x.reshape(batch, n_out).t(), (0, 0, 0, 1))
        sums = units_OB.index_select(0, outputs.beside(x)).reshape(n_matrices, rows, count * batch)
        terms = torch.bmm(weight.mT, sums).reshape(n_matrices * cols * count, batch)
        return terms.new_zeros(n_in + 1, batch).index_add(0, inputs.beside(x), terms)[:n_in].t()

    (in_shape, out_shape), weights = window.shapes, Spread((n_matrices, rows, cols), cells)
    run, tables = (backward, (inputs, outputs)) if window.transposed else (forward, (inputs, places))
    n_bytes = sum(table.bytes for table in tables)
    return Plan("torch.bmm", run, (prod(in_shape),), (prod(out_shape),), weights, window.multiplications, n_bytes)


def _met_inputs(window: Sliding, n_in: int) -> Index:
    """The input unit at each (residues, group, channel, taps, count) of a window; n_in where there is padding."""
    units = np.arange(window.in_channels).reshape(window.groups, -1)
    for axis in window.axes:
        residue, tap, count = np.ogrid[: axis.residues, : axis.taps, : -(-axis.positions // axis.residues)]
        out = count * axis.residues + residue
        inp = out * axis.stride - axis.left + tap * axis.dilation
        inp = inp % axis.size if axis.circular else inp
        met = (out < axis.positions) & (inp >= 0) & (inp < axis.size)
        units = units[..., None, None, None]
        units = np.where(met & (units >= 0), units * axis.size + inp, -1)
    residues, taps, counts = (range(2 + k, units.ndim, 3) for k in range(3))
    return np.where(units < 0, n_in, units).transpose(*residues, 0, 1, *taps, *counts)


def _made_outputs(window: Sliding, n_out: int) -> Index:
    """The output unit at each (residues, group, channel, count) of the product; n_out where it makes a surplus one."""
    units = np.arange(window.out_channels).reshape(window.groups, -1)
    for axis in window.axes:
        residue, count = np.ogrid[: axis.residues, : -(-axis.positions // axis.residues)]
        out = count * axis.residues + residue
        units = units[..., None, None]
        units = np.where((out < axis.positions) & (units >= 0), units * axis.positions + out, -1)
    residues, counts = (range(2 + k, units.ndim, 2) for k in range(2))
    return np.where(units < 0, n_out, units).transpose(*residues, 0, 1, *counts)
