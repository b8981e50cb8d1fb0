"""Plans that multiply: whole matrices, unit by unit, by Fourier transform, or each connection by itself."""

import torch
from torch import Tensor
from torch.nn import functional as F

from commonweight.operators.plan import Plan, Run
from commonweight.operators.spread import Spread, Table, repeat
from commonweight.tiemap import Index, TieMap


def linear(weights: Spread, transposed: bool = False) -> Plan:
    """y = W x, for W of shape (O, I), or (I, O) if transposed."""
    n_out, n_in = weights.shape[::-1] if transposed else weights.shape
    run: Run = (lambda x, weight, bias: F.linear(x, weight.t(), bias)) if transposed else F.linear
    return Plan("torch.nn.functional.linear", run, (n_in,), (n_out,), weights, n_out * n_in, fuses_bias=True)


def scale(n: int) -> Plan:
    """y = θ x, unit by unit."""
    return Plan("torch.mul", lambda x, weight, bias: x * weight, (n,), (n,), Spread((n,)), n)


def total(n_in: int, n_out: int) -> Plan:
    """y = θ Σ x, the same in every output."""

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return (x.sum(1, keepdim=True) * weight).expand(-1, n_out)

    return Plan("torch.sum", run, (n_in,), (n_out,), Spread((1,)), 1)


def batched(n: int, part: Index, n_weights: int) -> Plan:
    """y[p] = W[p] x[p] for n matrices in one product; `part` numbers each, with n_weights weights of its own."""
    n_out, n_in = part.shape

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return torch.bmm(x.transpose(0, 1), weight.mT).transpose(0, 1)

    weights = Spread((n, n_out, n_in), repeat(part, n, n_weights))
    return Plan("torch.bmm", run, (n, n_in), (n, n_out), weights, n * n_out * n_in)


def fourier(n_in: int, n_out: int, *, circular: bool, transposed: bool) -> Plan:
    """y = θ ⊛ x through the Fourier transform: circulant (n_in = n_out, `circular`) or Toeplitz, or its transpose.

    Convolution is a product of spectra (the convolution theorem); a transpose conjugates that of θ. A Toeplitz matrix
    sits in a circulant one of size n_in + n_out - 1 or more. A circulant one whose size has a large prime factor is
    unrolled into a Toeplitz one, because transforms are fast at sizes of small factors. Computed in float32 at least.
    """
    n_weights = n_in if circular else n_in + n_out - 1
    length = fourier_length(n_in, n_out, circular)
    unrolled = circular and length != n_in
    first = 0 if circular and not unrolled else n_in - 1
    if transposed:
        n_in, n_out = n_out, n_in

    rfft, irfft, padded = torch.fft.rfft, torch.fft.irfft, None if length == n_in == n_out else length

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not x.shape[0]:  # which no transform takes
            return (x[:, :1] * weight[:1]).expand(0, n_out)
        if x.dtype in (torch.bfloat16, torch.float16):
            return run(x.float(), weight.float(), bias).to(x.dtype)
        theta = torch.cat([weight[1:], weight]) if unrolled else weight
        if transposed:
            y: Tensor = irfft(rfft(x, padded) * rfft(theta, padded).conj(), length)
        else:
            y = irfft(rfft(x, padded) * rfft(theta, padded), length)
        if padded is None:
            return y
        return y.roll(first, -1)[..., :n_out] if transposed else y[..., first : first + n_out]

    multiplications = 3 * length * length.bit_length() + 2 * length  # three transforms and the product of two spectra
    return Plan("torch.fft.rfft", run, (n_in,), (n_out,), Spread((n_weights,)), multiplications)


def fourier_length(n_in: int, n_out: int, circular: bool) -> int:
    """The size of the transform: that of the circulant if it has no prime factor above 7, else a fast one above."""
    if circular:
        rest = n_in
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n_in
    least = n_in + n_out - 1
    step = 1 << max(0, least.bit_length() - 3)
    return -(-least // step) * step  # 4 to 8 times a power of two


def gather(tiemap: TieMap) -> Plan:
    """y[o] = Σ sign · θ[weight] · x[inp] over the connections into o, one by one: any tie map, and the slowest way."""
    inp, out = Table(tiemap.inp), Table(tiemap.out)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        terms_EB = x.t().contiguous().index_select(0, inp.beside(x)) * weight[:, None]
        return terms_EB.new_zeros(tiemap.n_out, x.shape[0]).index_add(0, out.beside(x), terms_EB).t()

    weights = Spread((tiemap.n_connections,), tiemap.signs * (tiemap.weight + 1))
    tables = inp.bytes + out.bytes
    return Plan("torch.index_add", run, (tiemap.n_in,), (tiemap.n_out,), weights, tiemap.n_connections, tables)
