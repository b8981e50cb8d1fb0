"""Nets that are a chain of linear layers and activations, which the compiled perceptrons run, and their answers."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import _has_any_global_hook

from commonweight.kernels.native_library import compiled, instructions

NAMES: dict[type[nn.Module], str] = {
    nn.Identity: "identity",
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
}
ACTIVATIONS = tuple(NAMES.values())
"""In the order in which the kernels number them."""
SMALL = 8_000_000
"""Weights times samples of a batch, up to which the kernels are ahead of torch, whose products are the faster ones."""
LANES = 16
"""Numbers in the widest vector of any processor; samples are filled up to whole ones."""
Chain = list[tuple[nn.Linear, str]]


def chain_of(model: nn.Module, x: Tensor) -> Chain:
    """The linear layers of a net, each with the activation that follows; empty if the kernels cannot stand in for it.

    They can where they are compiled, the net is such a chain and nothing else, of float32 numbers on the CPU, in which
    each weight is used once, nobody looks on by hooks, and a batch is small enough that torch would not be faster.

    Args:
        model: the net.
        x: a batch for it, shape (B, ...).

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
        >>> chain_of(net, torch.ones(1, 5))  # with 4 inputs: [(Linear(4, 3), 'tanh'), (Linear(3, 2), 'identity')]
        []
    """
    chain = _layers(model)
    weights = [weight for layer, _ in chain for weight in layer.parameters()]
    if not chain or instructions() == "off" or x.dtype != torch.float32 or not x.is_cpu:
        return []
    if x.ndim < 2 or (x.ndim > 2 and not _flattens(model[0])):  # type: ignore[index]
        return []
    sizes = [prod(x.shape[1:]), *(layer.weight.shape[0] for layer, _ in chain)]
    fits = all(layer.weight.shape[1] == size for (layer, _), size in zip(chain, sizes, strict=False))
    plain = all(w.dtype == torch.float32 and w.is_cpu and w.is_contiguous() and w.requires_grad for w in weights)
    once = len(weights) == len({weight.data_ptr() for weight in weights})
    small = len(x) * sum(weight.numel() for weight in weights) <= SMALL
    return chain if fits and plain and once and small and not _watched(model, weights) else []


def answers(chain: Chain, rows: Tensor, x: Tensor) -> Tensor:
    """What nets of one kind answer to a batch, shape (P, B, outputs), for a row of weights each.

    Args:
        chain: of one of them, see `chain_of`.
        rows: shape (P, n), float32: the weights of each, in the order of `parameters`.
        x: shape (B, ...), float32.
    """
    rows, x = rows.contiguous(), x.flatten(1).contiguous()
    y = torch.empty(len(rows), len(x), chain[-1][0].out_features, dtype=torch.float32)
    if y.numel():
        table, threads = _table(chain, rows), torch.get_num_threads()
        given = (table.data_ptr(), len(chain), *rows.shape, x.data_ptr(), len(x), y.data_ptr(), threads)
        compiled().perceptron_answers(instructions(), *given)
    return y


def answers_on_plane(chain: Chain, centre: Tensor, directions: Tensor, points: Tensor, x: Tensor) -> Tensor:
    """What the nets at points of a plane of weight space answer, θ = centre + a · along + b · up.

    The sums of the first layer are linear in a and b, so three products serve all points.

    Args:
        chain: of one of them, see `chain_of`.
        centre: shape (n,): weights in the order of `parameters`.
        directions: shape (2, n): along and up.
        points: shape (P, 2): a and b of each.
        x: shape (B, ...), float32.

    Returns:
        Shape (P, B, outputs), a view of a tensor (P, outputs, B).
    """
    layer, activation = chain[0]
    n_weights, n_first = layer.weight.numel(), sum(weight.numel() for weight in layer.parameters())
    rows, points = torch.cat([centre[None], directions]).float(), points.float().contiguous()
    padded = F.pad(x.flatten(1), (0, 0, 0, -len(x) % LANES))
    sums = (rows[:, :n_weights].reshape(-1, layer.in_features) @ padded.T).reshape(3, -1, len(padded))
    if layer.bias is not None:
        sums += rows[:, n_weights:n_first, None]
    rest, later = rows[:, n_first:].contiguous(), chain[1:]
    table = _table(later, rest)
    y = torch.empty(len(points), chain[-1][0].out_features, len(padded), dtype=torch.float32)
    if y.numel():
        compiled().perceptrons_on_plane(
            instructions(),
            sums.data_ptr(),
            layer.out_features,
            ACTIVATIONS.index(activation),
            table.data_ptr(),
            len(later),
            rest.data_ptr(),
            rest.shape[1],
            points.data_ptr(),
            len(points),
            len(padded),
            y.data_ptr(),
            torch.get_num_threads(),
        )
    return y[..., : len(x)].transpose(1, 2)


def _table(chain: Chain, rows: Tensor) -> Tensor:
    """What the kernels have to know of the layers, whose weights are the first of the rows."""
    table, place = [], rows.data_ptr()
    for layer, activation in chain:
        outputs, inputs = layer.weight.shape
        bias = 0 if layer.bias is None else place + 4 * outputs * inputs
        table.append([inputs, outputs, ACTIVATIONS.index(activation), place, 0, 0, 0, bias, 0, 0, 0])
        place += 4 * sum(weight.numel() for weight in layer.parameters())
    return torch.tensor(table)


def _layers(model: nn.Module) -> Chain:
    if not isinstance(model, nn.Sequential) or type(model).forward is not nn.Sequential.forward:
        return []
    chain: Chain = []
    for place, module in enumerate(model):
        if type(module) is nn.Linear:
            chain.append((module, "identity"))
        elif type(module) in NAMES and chain and chain[-1][1] == "identity":
            chain[-1] = (chain[-1][0], NAMES[type(module)])
        elif place > 0 or not _flattens(module):
            return []
    return chain if chain and chain[-1][1] == "identity" else []


def _flattens(module: nn.Module) -> bool:
    return type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1)


def _watched(model: nn.Module, weights: Sequence[Tensor]) -> bool:
    """Whether something of the user's is called as the net goes forward or backward."""
    of_modules = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "forward")
    of_weights = ("_backward_hooks", "_post_accumulate_grad_hooks")
    return bool(
        _has_any_global_hook()  # type: ignore[no-untyped-call]
        or any(vars(module).get(name) for module in model.modules() for name in of_modules)
        or any(getattr(weight, name) for weight in weights for name in of_weights)
    )
