"""Structure told by where a matrix is zero: windows, and parts side by side, also below noise.

Which cells are connections is the easier half of a pattern: a window shows in its zeros before any two weights are
compared. Elements clearly smaller than the others count as zeros, and what this takes from the windows by mistake is
filled in again, since the windows of all channels and of all positions look alike. `recognise` names the connections
as if nothing were tied; then the ties that such a pattern can have are tried, the tightest first, on all elements.
"""

from collections.abc import Iterator
from itertools import product
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from commonweight import patterns
from commonweight.patterns import Block, Conv, Dense, Pattern, Table, Transpose
from commonweight.recognise import recognise
from commonweight.tiemap import TieMap
from commonweight.verdicts.bits import CLOSE, EVIDENCE, Values, scale_of

Mask = NDArray[np.bool_]

_FILLED = 0.6  # part of a window that has to be there for the rest to be filled in
_SPARSE = 0.9  # part of a matrix that is not small, where what is small may be zero
_WORTH = 16  # zeros are at least one part in so many
_MOST = 0.75  # part of the weights that are not taken for large ones
_AXES = 3  # products of so many windows are looked for
_PERIOD = 4  # positions after which a kernel may repeat
_PER_AXIS = ("kernel", "stride", "padding", "dilation")


def by_support(values: Values, close: float = CLOSE) -> list[tuple[Pattern, float]]:
    """The patterns of fewest weights with the connections of this matrix: one of its parts side by side, one of all.

    With each, max |Δ| to its nearest matrix.
    """
    best: dict[int, tuple[Pattern, float]] = {}
    for support in {support.tobytes(): support for support in _supports(values)}.values():
        used = support[support.any(1)][:, support.any(0)]  # a row of zeros is no window
        missed = not (support.any(0).all() or support.any(1).all())  # by a weight that is near zero
        if missed or used.size - used.sum() < max(EVIDENCE, used.size / _WORTH):
            continue
        for parted, untied in enumerate((_untied(support), _side_by_side(support))):
            for pattern in _tightest_first(untied) if untied else ():
                if parted in best and pattern.n_weights >= best[parted][0].n_weights:
                    break
                if (error := fitted(values, pattern, close)) is not None:
                    best[parted] = pattern if parted else recognise(pattern.tiemap()) or pattern, error
    return list(best.values())


def fitted(values: Values, pattern: Pattern, close: float = CLOSE) -> float | None:
    """max |Δ| to the nearest matrix of a pattern, None if that is more than close."""
    tiemap = pattern.tiemap()
    on, signs = values.reshape(-1)[tiemap.cells], tiemap.signs
    mean = np.bincount(tiemap.weight, signs * on, minlength=tiemap.n_weights) / tiemap.uses
    rest = values.copy().reshape(-1)
    rest[tiemap.cells] -= signs * mean[tiemap.weight]
    error = float(np.abs(rest).max())
    if error <= close * scale_of(on):
        return error
    # The quartiles of few weights, or of connections of which many use one weight, say little. The deviation of the
    # weights says it too, but for that of the largest quarter: a large weight does not make the others close.
    apart = np.abs(mean - np.median(mean))
    most = mean[apart <= np.quantile(apart, _MOST)]
    return error if error <= close * min(mean.std(), 3 * most.std()) else None


def clearly_connected(values: Values) -> Mask:
    """What is not zero, or where hardly anything is zero, what is not small."""
    size = np.abs(values)
    if _has_zeros(values):
        connected: Mask = size > 0
        return connected
    least = float(size.max()) / 8
    while (lower := CLOSE * float(np.sqrt(np.mean(size[size > least] ** 2)))) < least:
        least = lower
    large: Mask = size > least
    return large if large.mean() < _SPARSE else np.ones_like(large)


def _has_zeros(values: Values) -> bool:
    """Whether zeros are as they were: there is no noise."""
    return int(np.count_nonzero(values == 0)) >= EVIDENCE


def _supports(values: Values) -> Iterator[Mask]:
    """What may be the connections: all that is not zero, or else what is not small, with the gaps filled."""
    connected = clearly_connected(values)
    if _has_zeros(values):
        yield connected
    elif connected.any(1).mean() >= _FILLED and not connected.all():  # noise has small elements too
        yield from _completed(connected, _AXES)
        yield from _blocks(connected)


def _completed(connected: Mask, axes: int) -> Iterator[Mask]:
    """The mask itself, and what it becomes when the windows of which it may consist are filled; the smallest first."""
    found = {connected.tobytes(): connected}
    for mask in (*_filled(connected), *(mask.T for mask in _filled(connected.T))):
        found.setdefault(mask.tobytes(), mask)
    for outer, inner in _factors(connected) if axes > 1 else ():
        for a, b in product(_completed(outer, axes - 1), _completed(inner, 1)):
            mask = np.kron(a, b)
            if connected.sum() >= _FILLED * mask.sum():
                found.setdefault(mask.tobytes(), mask)
    yield from sorted(found.values(), key=lambda mask: int(mask.sum()))


def _blocks(connected: Mask) -> Iterator[Mask]:
    """Blocks on the diagonal, each filled as far as it takes to have a name."""
    parts = _parts(connected)
    if len(parts) > 1:
        mask = np.zeros_like(connected)
        for part in parts:
            names = ((block, _untied(block)) for block in _completed(connected[part], _AXES))
            whole = bool(connected[part].mean() >= _FILLED)
            mask[part] = next((block for block, name in names if name and not isinstance(name, Table)), whole)
        yield mask


def _parts(connected: Mask) -> list[tuple[slice, slice]]:
    """Where the blocks on the diagonal are, if all units are connected."""
    if not (connected.any(0).all() and connected.any(1).all()):
        return []
    (n_out, n_in), first = connected.shape, connected.argmax(1)
    highest = np.maximum.accumulate(n_in - connected[:, ::-1].argmax(1))
    lowest = np.minimum.accumulate(first[::-1])[::-1]
    rows = np.flatnonzero(highest[:-1] <= lowest[1:]) + 1
    ends = [0, *rows.tolist(), n_out], [0, *lowest[rows].tolist(), n_in]
    return list(zip(*(map(slice, side[:-1], side[1:]) for side in ends), strict=True))


def _side_by_side(support: Mask) -> Pattern | None:
    """Blocks on the diagonal as parts, each by its own name."""
    parts = _parts(support)
    names = [_untied(support[part]) for part in parts] if len(parts) < len(support) else []
    each = [name for name in names if name and not isinstance(name, Table)]
    return patterns.block(*each) if 1 < len(parts) == len(each) else None


def _untied(support: Mask) -> Pattern | None:
    """What the connections are called if nothing is tied."""
    return recognise(TieMap.from_matrix(np.where(support, support.cumsum().reshape(support.shape) - 1, -1)))


def _factors(connected: Mask) -> Iterator[tuple[Mask, Mask]]:
    """Masks whose product is nearly this one."""
    (n_out, n_in), count = connected.shape, connected.sum()
    for m, k in product(divisors(n_out), divisors(n_in)):
        if 1 < m * k < n_out * n_in:
            blocks = connected.reshape(n_out // m, m, n_in // k, k)
            outer, inner = (np.asarray(blocks.any(axes)) for axes in ((1, 3), (0, 2)))
            if count >= _FILLED * outer.sum() * inner.sum():
                yield outer, inner


def _filled(connected: Mask) -> Iterator[Mask]:
    """A window along one axis, at each position what it is at any: dense, or sliding at some stride, perhaps around."""
    (n_out, n_in), count = connected.shape, connected.sum()
    out, inp = np.indices(connected.shape)
    if count >= _FILLED * connected.size:
        yield np.ones_like(connected)
    for stride in range(1, max(1, n_in // n_out) + 2):
        offset = inp - stride * out
        for offsets in (offset - offset.min(), offset % n_in):
            mask = np.isin(offsets, np.unique(offsets[connected]))
            if not mask.all() and count >= _FILLED * mask.sum():
                yield mask


def divisors(n: int) -> list[int]:
    """All of them, from 1 on."""
    small = [d for d in range(1, isqrt(n) + 1) if n % d == 0]
    return sorted({*small, *(n // d for d in small)})


def _tightest_first(untied: Pattern) -> Iterator[Pattern]:
    """The patterns with the same connections and some ties, those with the fewest weights first."""
    found = {pattern.notation: pattern for pattern in _tied(untied)}
    yield from sorted(found.values(), key=lambda pattern: pattern.n_weights)


def _tied(untied: Pattern) -> Iterator[Pattern]:
    if isinstance(untied, Transpose):
        yield from (Transpose(pattern) for pattern in _tied(untied.a))
    elif isinstance(untied, Conv):
        yield from _windows(untied)
        if untied.groups > 1:
            one = _window(untied, untied.period, untied.groups)
            yield from (patterns.copies(untied.groups, pattern) for pattern in _windows(one))
    elif isinstance(untied, Block):
        yield untied
        if untied.is_stack:
            yield patterns.copies(len(untied.parts), untied.parts[0])
    elif not isinstance(untied, Dense | Table):
        yield untied


def _windows(untied: Conv) -> Iterator[Conv]:
    """A kernel for all positions, kernels that repeat after some, and one for each."""
    positions = untied.out_shape[1:]
    for period in product(*([*range(1, min(_PERIOD, n - 1) + 1), n] if n > 1 else [1] for n in positions)):
        yield _window(untied, period)


def _window(untied: Conv, period: tuple[int, ...], parts: int = 1) -> Conv:
    """The same windows with kernels that repeat after so many positions, or those of one of so many parts."""
    window = {key: getattr(untied, key) for key in _PER_AXIS}
    window |= {"groups": untied.groups // parts, "padding_mode": untied.padding_mode}
    positions = untied.out_shape[1:]
    name = f"conv{len(positions)}d" if set(period) == {1} else "local" if period == positions else "tiled"
    in_shape = (untied.in_channels // parts, *untied.size)
    return Conv(name, in_shape, untied.out_channels // parts, period=period if name != "local" else None, **window)
