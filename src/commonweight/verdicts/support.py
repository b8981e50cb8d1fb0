"""Structure told by where a matrix is zero: windows, and parts side by side, also below noise.

Which cells are connections is the easier half of a pattern: a window shows in its zeros before any two weights are
compared. Elements clearly smaller than the others count as zeros, and what this takes from the windows by mistake is
filled in again, since the windows of all channels and of all positions look alike. `recognise` names the connections
as if nothing were tied; then the ties that such a pattern can have are tried, the tightest first, on all elements.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from commonweight import patterns
from commonweight.patterns import Block, Conv, Dense, Pattern, Transpose
from commonweight.recognise import recognise
from commonweight.tiemap import TieMap
from commonweight.verdicts.bits import CLOSE, EVIDENCE, Values, scale_of

Mask = NDArray[np.bool_]

_FILLED = 0.75  # part of a window that has to be there for the rest to be filled in
_SPARSE = 0.9  # part of a matrix that is not small, where what is small may be zero
_WORTH = 16  # zeros are at least one part in so many
_MOST = 0.75  # part of the weights that are not taken for large ones
_AXES = 3  # products of so many windows are looked for
_PERIOD = 4  # positions after which a kernel may repeat
_PER_AXIS = ("kernel", "stride", "padding", "dilation")


def by_support(values: Values) -> tuple[Pattern, float] | None:
    """The pattern of fewest weights among those with the connections of this matrix, and max |Δ| to its nearest."""
    supports = {support.tobytes(): support for support in _supports(values)}
    best: tuple[Pattern, float] | None = None
    for support in supports.values():
        used = support[support.any(1)][:, support.any(0)]  # a row of zeros is no window
        if used.size - used.sum() < max(EVIDENCE, used.size / _WORTH) or (untied := _untied(support)) is None:
            continue
        for pattern in _tightest_first(untied):
            if best and pattern.n_weights >= best[0].n_weights:
                break
            if (error := fitted(values, pattern)) is not None:
                best = recognise(pattern.tiemap()) or pattern, error
    return best


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
    # The quartiles of a few weights say little of their spread. Where each is used again, their deviation says it, but
    # for that of the largest: one large weight does not make all others close.
    apart = np.abs(mean - np.median(mean))
    most = mean[apart <= np.quantile(apart, _MOST)]
    shared = 2 * tiemap.n_weights <= tiemap.n_connections
    return error if shared and error <= close * min(mean.std(), 2 * most.std()) else None


def _supports(values: Values) -> Iterator[Mask]:
    """What may be the connections: all that is not zero, or else what is not small, with the gaps filled."""
    size = np.abs(values)
    if np.count_nonzero(size == 0) >= EVIDENCE:  # zeros are as they were: there is no noise
        yield size > 0
        return
    least = float(size.max()) / 8
    while (lower := CLOSE * float(np.sqrt(np.mean(size[size > least] ** 2)))) < least:
        least = lower
    large = size > least
    if large.any(1).mean() >= _FILLED and large.mean() < _SPARSE:  # noise has small elements too
        yield from _completed(large, _AXES)
        yield from _blocks(large)


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
    rows = np.flatnonzero(connected.any(1))
    first, last = connected.argmax(1)[rows], connected.shape[1] - connected[:, ::-1].argmax(1)[rows]
    cuts = np.flatnonzero(np.maximum.accumulate(last)[:-1] <= np.minimum.accumulate(first[::-1])[::-1][1:]) + 1
    if not len(cuts):
        return
    mask = np.zeros_like(connected)
    ends = (
        [0, *rows[cuts].tolist(), len(connected)],
        [0, *np.minimum.accumulate(first[::-1])[::-1][cuts].tolist(), connected.shape[1]],
    )
    for part in zip(*(map(slice, side[:-1], side[1:]) for side in ends), strict=True):
        names = ((block, _untied(block)) for block in _completed(connected[part], _AXES))
        mask[part] = next((block for block, name in names if name and not isinstance(name, patterns.Table)), False)
    yield mask


def _untied(support: Mask) -> Pattern | None:
    """What the connections are called if nothing is tied."""
    return recognise(TieMap.from_matrix(np.where(support, support.cumsum().reshape(support.shape) - 1, -1)))


def _factors(connected: Mask) -> Iterator[tuple[Mask, Mask]]:
    """Masks whose product is nearly this one."""
    (n_out, n_in), count = connected.shape, connected.sum()
    for m, k in product(_divisors(n_out), _divisors(n_in)):
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


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


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
    elif not isinstance(untied, Dense | patterns.Table):
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
